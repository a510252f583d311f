/** Keys, leases and watches: all that sessions, locks, elections and transactions in memory need. */

import type { Bytes } from "./bytes.ts";
import type { KVClient } from "./kv.ts";
import type { LeaseClient } from "./lease.ts";
import type { Watcher, WatchOptions } from "./watch.ts";

/** A client, or the part of its keys under a prefix. */
export interface Keyspace {
  readonly kv: KVClient;
  readonly lease: LeaseClient;
  watch(key: Bytes, options?: WatchOptions): Watcher;
}
