/** A promise of the system that was broken: what every checker throws. */

import { EtcdError } from "@etcd-ts/base";

export type Guarantee =
  | "raft"
  | "state machine"
  | "linearizability"
  | "durability"
  | "watch"
  | "lease"
  | "liveness"
  | "hash"
  | "auth"
  | "version"
  | "database"
  | "member";

export class ViolationError extends EtcdError {
  readonly code = "VIOLATION";
  readonly guarantee: Guarantee;

  constructor(guarantee: Guarantee, message: string, options?: ErrorOptions) {
    super(`${guarantee}: ${message}`, options);
    this.guarantee = guarantee;
  }
}
