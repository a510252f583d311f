/** The client library on three members of ours. */

import { fileURLToPath } from "node:url";
import { describeClient } from "../client/cluster-suite.ts";
import { SpawnedCluster } from "../client/spawned-cluster.ts";

const program = fileURLToPath(new URL("../../bin/etcd", import.meta.url));

describeClient("client on our members", () =>
  SpawnedCluster.start([program], { members: 3, flags: ["--log-level=error"] }),
);
