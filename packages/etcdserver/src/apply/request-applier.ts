/**
 * What each kind of committed request does to the state.
 *
 * Synchronous and deterministic: the same requests leave the same bytes on every member. The
 * layers are those of etcd, outermost first: a corrupt cluster refuses to touch keys, a full one
 * refuses to grow, the proposer must have had the permission, and a write found over the quota is
 * carried out and yet answered with "no space", because every member must do the same with it
 * whatever its own file's size is.
 */

import type { EtcdError, Family, Gauge, Metrics } from "@etcd-ts/base";
import { AlarmAction, AlarmType, SERVER_ERRORS } from "@etcd-ts/api";
import type {
  AlarmMember,
  AlarmRequest,
  CompactionRequest,
  CompactionResponse,
  DeleteRangeResponse,
  LeaseCheckpointRequest,
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeResponse,
  PutResponse,
  RangeResponse,
  RaftOperation,
  TxnResponse,
} from "@etcd-ts/api";
import type { Compaction, MvccStore } from "@etcd-ts/storage";

import { alarmName } from "../alarm/alarm-store.ts";
import type { AlarmStore } from "../alarm/alarm-store.ts";
import type { AuthStore } from "../auth/auth-store.ts";
import type { RequestPermissions } from "../auth/request-permissions.ts";
import type { Lessor } from "../lease/index.ts";
import type { AuthIdentity, AuthResponse } from "../server-api.ts";
import { LEASE_COST_BYTES, putCost, txnCost } from "../quota/quota.ts";
import type { BackendQuota } from "../quota/quota.ts";
import { executeDeleteRange, executePut, executeTxn } from "../txn/execute.ts";
import type { LeaseLookup } from "../txn/execute.ts";
import { executeRange, revisionHeader } from "../txn/range.ts";
import type { ApplyMeter } from "./apply-metrics.ts";

/** What the proposer of a request is told. Headers carry the revision alone. */
export type ApplyResponse =
  | RangeResponse
  | PutResponse
  | DeleteRangeResponse
  | TxnResponse
  | CompactionResponse
  | LeaseGrantResponse
  | LeaseRevokeResponse
  | AuthResponse
  | readonly AlarmMember[];

export interface ApplyResult {
  readonly error: EtcdError | undefined;
  /** Undefined if it failed, or if there is nothing to say. */
  readonly response: ApplyResponse | undefined;
  /** Of a compaction: when the revisions are physically gone. */
  readonly compaction?: Compaction;
}

const DONE: ApplyResult = { error: undefined, response: undefined };

/** Operations of the log that this applier takes; those of membership go elsewhere. */
export type StoreOperation = Exclude<
  RaftOperation,
  {
    readonly kind:
      | "none"
      | "v2"
      | "clusterVersionSet"
      | "clusterMemberAttrSet"
      | "downgradeInfoSet"
      | "downgradeVersionTest";
  }
>;

export interface RequestApplierParts {
  readonly store: MvccStore;
  readonly lessor: Lessor;
  readonly alarms: AlarmStore;
  readonly quota: BackendQuota;
  readonly auth: AuthStore;
  readonly permissions: RequestPermissions;
  readonly meter: ApplyMeter;
  readonly metrics: Metrics;
}

/** What is refused while the cluster is corrupt. */
const TOUCHES_KEYS: ReadonlySet<string> = new Set([
  "range",
  "put",
  "deleteRange",
  "txn",
  "compaction",
  "leaseGrant",
  "leaseRevoke",
]);

export class RequestApplier {
  readonly #parts: RequestApplierParts;
  readonly #alarmGauges: Family<Gauge>;
  readonly #leases: LeaseLookup;

  constructor(parts: RequestApplierParts) {
    this.#parts = parts;
    this.#leases = { has: (id) => parts.lessor.lookup(id) !== undefined };
    this.#alarmGauges = parts.metrics.gaugeFamily({
      name: "etcd_debugging_server_alarms",
      help: "Alarms for every member in cluster. 1 for 'server_id' label with current ID. 2 for 'alarm_type' label with type of this alarm",
      labelNames: ["server_id", "alarm_type"],
    });
  }

  /**
   * Carries out a committed operation. What a client did wrong is in the result, not thrown.
   *
   * @param identity - who proposed it, as the entry tells
   * @param previousIndex - of the entry before
   */
  apply(operation: StoreOperation, identity: AuthIdentity, previousIndex: number): ApplyResult {
    const { meter } = this.#parts;
    const startMs = meter.start();
    let result: ApplyResult;
    try {
      const refusal = this.#refusal(operation) ?? this.#permissionRefusal(operation, identity);
      result =
        refusal === undefined
          ? this.#dispatch(operation, identity, previousIndex)
          : failed(refusal);
    } catch (error) {
      if (!isClientError(error)) throw error;
      result = failed(error);
    }
    meter.finish(operation.kind, startMs, result.error);
    return result;
  }

  #refusal(operation: StoreOperation): EtcdError | undefined {
    const { alarms } = this.#parts;
    if (TOUCHES_KEYS.has(operation.kind) && alarms.has(AlarmType.CORRUPT)) {
      return SERVER_ERRORS.corrupt;
    }
    if (!alarms.has(AlarmType.NOSPACE)) return undefined;
    const grows =
      operation.kind === "put" ||
      operation.kind === "leaseGrant" ||
      (operation.kind === "txn" && txnCost(operation.request) > 0);
    return grows ? SERVER_ERRORS.noSpace : undefined;
  }

  /** Asked again here: users and roles may have changed since the proposal. */
  #permissionRefusal(operation: StoreOperation, identity: AuthIdentity): EtcdError | undefined {
    const { auth, permissions } = this.#parts;
    switch (operation.kind) {
      case "range": {
        const { key, rangeEnd } = operation.request;
        return auth.rangeRefusal(identity, "read", key, rangeEnd);
      }
      case "put":
        return permissions.put(identity, operation.request);
      case "deleteRange":
        return permissions.deleteRange(identity, operation.request);
      case "txn":
        return permissions.txn(identity, operation.request);
      case "leaseRevoke":
        return permissions.leaseWrite(identity, operation.request.id);
      default:
        // Operations of the auth store are its own to judge; the rest was judged when asked for.
        return undefined;
    }
  }

  #dispatch(operation: StoreOperation, identity: AuthIdentity, previousIndex: number): ApplyResult {
    const { store, lessor, quota } = this.#parts;
    switch (operation.kind) {
      case "range":
        return succeeded(this.#range(operation.request));
      case "put":
        return judged(
          quota.isAvailable(putCost(operation.request)),
          executePut(store, this.#leases, operation.request),
        );
      case "deleteRange":
        return succeeded(executeDeleteRange(store, operation.request));
      case "txn":
        return judged(
          quota.isAvailable(txnCost(operation.request)),
          executeTxn(store, this.#leases, operation.request),
        );
      case "compaction":
        return this.#compact(operation.request);
      case "leaseGrant":
        return judged(quota.isAvailable(LEASE_COST_BYTES), this.#grant(operation.request));
      case "leaseRevoke":
        lessor.revoke(operation.request.id);
        return succeeded({ header: revisionHeader(store.currentRevision) });
      case "leaseCheckpoint":
        return this.#checkpoint(operation.request);
      case "alarm":
        return succeeded(this.#alarm(operation.request));
      default: {
        const result = this.#parts.auth.apply(operation, identity, previousIndex);
        return succeeded({ header: revisionHeader(store.currentRevision), result });
      }
    }
  }

  #range(request: Parameters<typeof executeRange>[1]): RangeResponse {
    const txn = this.#parts.store.readTxn();
    try {
      return executeRange(txn, request);
    } finally {
      txn.end();
    }
  }

  #compact(request: CompactionRequest): ApplyResult {
    const { store } = this.#parts;
    const compaction = store.compact(request.revision);
    const response = { header: revisionHeader(store.currentRevision) };
    return { error: undefined, response, compaction };
  }

  #grant(request: LeaseGrantRequest): LeaseGrantResponse {
    const { store, lessor } = this.#parts;
    const { id, ttlSeconds } = lessor.grant(request.id, request.ttl);
    return { header: revisionHeader(store.currentRevision), id, ttl: ttlSeconds, error: "" };
  }

  #checkpoint(request: LeaseCheckpointRequest): ApplyResult {
    const { lessor } = this.#parts;
    for (const { id, remainingTTL } of request.checkpoints) lessor.checkpoint(id, remainingTTL);
    return DONE;
  }

  #alarm(request: AlarmRequest): readonly AlarmMember[] {
    const { alarms } = this.#parts;
    switch (request.action) {
      case AlarmAction.GET:
        return alarms.get(request.alarm);
      case AlarmAction.ACTIVATE: {
        if (request.alarm === AlarmType.NONE) return [];
        const raised = alarms.activate(request.memberID, request.alarm);
        this.#alarmGauge(raised).set(1);
        return [raised];
      }
      case AlarmAction.DEACTIVATE: {
        const lifted = alarms.deactivate(request.memberID, request.alarm);
        if (lifted === undefined) return [];
        this.#alarmGauge(lifted).set(0);
        return [lifted];
      }
      default:
        return [];
    }
  }

  #alarmGauge({ memberID, alarm }: AlarmMember): Gauge {
    const labels = { server_id: memberID.toString(16), alarm_type: alarmName(alarm) };
    return this.#alarmGauges.labels(labels);
  }
}

function succeeded(response: ApplyResponse): ApplyResult {
  return { error: undefined, response };
}

/** Judged before, told after: the operation is carried out whether it `fits` the quota or not. */
function judged(fits: boolean, response: ApplyResponse): ApplyResult {
  return { error: fits ? undefined : SERVER_ERRORS.noSpace, response };
}

function failed(error: EtcdError): ApplyResult {
  return { error, response: undefined };
}

const CLIENT_ERRORS: ReadonlySet<unknown> = new Set(Object.values(SERVER_ERRORS));

/** What a request can be refused with. Anything else thrown by apply must stop the member. */
function isClientError(error: unknown): error is EtcdError {
  return CLIENT_ERRORS.has(error);
}
