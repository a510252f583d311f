/** The client library on three members of the reference. */

import { fileURLToPath } from "node:url";
import { describeClient } from "../../client/cluster-suite.ts";
import { ProcessCluster } from "../../processes/cluster.ts";

const program = fileURLToPath(new URL("../bin/etcd", import.meta.url));

describeClient("client on the reference's members", () =>
  ProcessCluster.start({ program: [program], members: 3 }),
);
