/** What every service of the client port is built from. */

import type { Clock, Logger, Metrics, Random } from "@etcd-ts/base";
import type { ServerOperations } from "@etcd-ts/etcdserver";
import type { ServiceTable } from "@etcd-ts/rpc";

import type { EmbedConfig } from "../config.ts";
import type { OpenCalls } from "./open-calls.ts";

/** What etcd allows a message beyond `--max-request-bytes`: its envelope. */
export const REQUEST_OVERHEAD_BYTES = 512 * 1024;

/** What the member gives to its services. */
export interface V3ServicesOptions {
  readonly table: ServiceTable;
  readonly server: ServerOperations;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly config: EmbedConfig;
}

/** The same, and what the services share. */
export interface ServiceParts extends V3ServicesOptions {
  readonly openCalls: OpenCalls;
}
