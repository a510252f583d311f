/**
 * What a request needs permission for: every key it reads, writes, compares or is told about, at
 * any depth, in both branches of a transaction. The order of checks is etcd's.
 */

import { bytesFromLatin1 } from "@etcd-ts/base";
import type { EtcdError } from "@etcd-ts/base";
import type { DeleteRangeRequest, PutRequest, RequestOp, TxnRequest } from "@etcd-ts/api";

import type { AuthIdentity } from "../server-api.ts";
import type { AuthStore } from "./auth-store.ts";
import type { Access } from "./permissions.ts";

/** The keys attached to a lease; undefined if there is no such lease. */
export type LeaseKeys = (id: bigint) => Iterable<string> | undefined;

export class RequestPermissions {
  readonly #auth: AuthStore;
  readonly #leaseKeys: LeaseKeys;

  constructor(auth: AuthStore, leaseKeys: LeaseKeys) {
    this.#auth = auth;
    this.#leaseKeys = leaseKeys;
  }

  /** A lease may be attached only by who may revoke it: that is, write all of its keys. */
  put(identity: AuthIdentity | undefined, request: PutRequest): EtcdError | undefined {
    const { key, lease, prevKV } = request;
    return (
      this.#auth.rangeRefusal(identity, "write", key) ??
      this.leaseWrite(identity, lease) ??
      (prevKV ? this.#auth.rangeRefusal(identity, "read", key) : undefined)
    );
  }

  deleteRange(
    identity: AuthIdentity | undefined,
    { key, rangeEnd, prevKV }: DeleteRangeRequest,
  ): EtcdError | undefined {
    return (
      this.#auth.rangeRefusal(identity, "write", key, rangeEnd) ??
      (prevKV ? this.#auth.rangeRefusal(identity, "read", key, rangeEnd) : undefined)
    );
  }

  txn(identity: AuthIdentity | undefined, request: TxnRequest): EtcdError | undefined {
    if (!this.#auth.isEnabled) return undefined;
    for (const { key, rangeEnd } of request.compare) {
      const refusal = this.#auth.rangeRefusal(identity, "read", key, rangeEnd);
      if (refusal !== undefined) return refusal;
    }
    return this.#ops(identity, request.success) ?? this.#ops(identity, request.failure);
  }

  /** What revoking a lease, attaching it to a key, or renewing it needs. */
  leaseWrite(identity: AuthIdentity | undefined, id: bigint): EtcdError | undefined {
    return this.#lease(identity, "write", id);
  }

  /** What telling the keys of a lease needs. */
  leaseRead(identity: AuthIdentity | undefined, id: bigint): EtcdError | undefined {
    return this.#lease(identity, "read", id);
  }

  #lease(identity: AuthIdentity | undefined, access: Access, id: bigint): EtcdError | undefined {
    if (this.#auth.adminRefusal(identity) === undefined) return undefined;
    for (const key of this.#leaseKeys(id) ?? []) {
      const refusal = this.#auth.rangeRefusal(identity, access, bytesFromLatin1(key));
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  #ops(identity: AuthIdentity | undefined, ops: readonly RequestOp[]): EtcdError | undefined {
    for (const op of ops) {
      const refusal = this.#op(identity, op);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }

  #op(identity: AuthIdentity | undefined, op: RequestOp): EtcdError | undefined {
    switch (op.kind) {
      case "range":
        return this.#auth.rangeRefusal(identity, "read", op.range.key, op.range.rangeEnd);
      case "put":
        return this.put(identity, op.put);
      case "deleteRange":
        return this.deleteRange(identity, op.deleteRange);
      case "txn":
        return this.txn(identity, op.txn);
      default:
        return undefined;
    }
  }
}
