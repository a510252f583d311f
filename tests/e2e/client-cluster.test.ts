/** The client library on three members of ours. */

import { describeClient } from "../client/cluster-suite.ts";
import { ProcessCluster } from "../processes/cluster.ts";

describeClient("client on our members", () => ProcessCluster.start({ members: 3 }));
