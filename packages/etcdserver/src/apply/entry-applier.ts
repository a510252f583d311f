/**
 * Applies committed entries in log order and answers those who wait for them.
 *
 * Invariants:
 * - Entries come without gaps; `appliedIndex` is the last one carried out.
 * - An entry at or below the consistent index has already changed the store, so it changes only
 *   what is rebuilt at every start: raft's configuration and the replay view of membership.
 * - The consistent index moves to an entry in the same synchronous stretch as its changes.
 * - An entry that cannot be read or carried out stops the member: skipping it would make this
 *   member differ from the others.
 */

import { WireFormatError, decodeMessage, invariant, unreachable } from "@etcd-ts/base";
import type { EtcdError, Logger } from "@etcd-ts/base";
import {
  InternalRaftRequestCodec,
  SERVER_ERRORS,
  V2RequestSchema,
  compareVersions,
  generatedCodec,
  parseVersion,
} from "@etcd-ts/api";
import type { InternalRaftRequest, RaftOperation } from "@etcd-ts/api";
import { ConfChangeCodec } from "@etcd-ts/raft";
import type { ConfChange, ConfState, Entry } from "@etcd-ts/raft";

import { decodeConfChangeContext, decodeMemberContext } from "../membership/index.ts";
import type { Cluster, Member } from "../membership/index.ts";
import type { PendingProposal, PendingProposals } from "../pending-proposals.ts";
import type { PendingRequests } from "../pending-requests.ts";
import type { AuthIdentity, PeerTransport } from "../server-api.ts";
import type { ConsistentIndex } from "./consistent-index.ts";
import { operationFromV2 } from "./legacy-request.ts";
import type { ApplyResult, RequestApplier, StoreOperation } from "./request-applier.ts";
import type { ApplyMeter } from "./apply-metrics.ts";

const V2RequestCodec = generatedCodec(V2RequestSchema);

const DONE: ApplyResult = { error: undefined, response: undefined };

/** What the member does when an entry asks for more than a change of state. */
export interface ApplyHooks {
  /** The first entry of a term has been applied: nothing of an earlier term is left. */
  termBegan(): void;
  applyConfChange(change: ConfChange): ConfState;
  /** Has the alarm raised through the log, then runs `next`. */
  raiseNoSpace(next: () => void): void;
  clusterVersionChanged(): void;
  forceSnapshot(): void;
  removedSelf(): void;
}

export interface EntryApplierParts {
  readonly memberID: bigint;
  readonly requests: RequestApplier;
  readonly cluster: Cluster;
  readonly maxLearners: number;
  readonly consistentIndex: ConsistentIndex;
  readonly pending: PendingProposals;
  readonly pendingChanges: PendingRequests<EtcdError | undefined>;
  readonly hasNoSpaceAlarm: () => boolean;
  readonly transport: PeerTransport | undefined;
  readonly meter: ApplyMeter;
  readonly logger: Logger;
  readonly hooks: ApplyHooks;
}

export class EntryApplier {
  readonly #parts: EntryApplierParts;
  #appliedIndex: number;
  #appliedTerm: number;
  #confState: ConfState;
  readonly #loggedIndex: number;
  /** Answers to configuration changes, due once raft knows that they were applied. */
  #changeAnswers: (() => void)[] = [];

  /**
   * Starts at the snapshot raft starts from.
   *
   * @param loggedIndex - the last entry of the log when the member was opened
   */
  constructor(
    parts: EntryApplierParts,
    start: { readonly index: number; readonly term: number; readonly confState: ConfState },
    loggedIndex: number,
  ) {
    this.#parts = parts;
    this.#loggedIndex = loggedIndex;
    this.#appliedIndex = start.index;
    this.#appliedTerm = start.term;
    this.#confState = start.confState;
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  get appliedTerm(): number {
    return this.#appliedTerm;
  }

  get confState(): ConfState {
    return this.#confState;
  }

  /** A snapshot stands for everything up to its index. */
  installed(snapshot: {
    readonly index: number;
    readonly term: number;
    readonly confState: ConfState;
  }): void {
    this.#appliedIndex = snapshot.index;
    this.#appliedTerm = snapshot.term;
    this.#confState = snapshot.confState;
  }

  apply(entry: Entry): void {
    invariant(
      entry.index === this.#appliedIndex + 1,
      () => `EntryApplier.apply: ${entry.index} after ${this.#appliedIndex}`,
    );
    const { consistentIndex } = this.#parts;
    const isNew = entry.index > consistentIndex.index;
    switch (entry.type) {
      case "EntryNormal":
        this.#applyNormal(entry, isNew);
        break;
      case "EntryConfChange":
        this.#applyChange(decodeMessage(ConfChangeCodec, entry.data), entry.index, isNew);
        break;
      default:
        // Members of etcd agree on one change at a time; none of them takes joint consensus.
        invariant(false, () => `unknown entry type ${entry.type} at index ${entry.index}`);
    }
    if (isNew) consistentIndex.set(entry.index, entry.term);
    this.#appliedIndex = entry.index;
    this.#appliedTerm = entry.term;
  }

  /** Raft has been told of everything applied so far. */
  advanced(): void {
    if (this.#changeAnswers.length === 0) return;
    const answers = this.#changeAnswers;
    this.#changeAnswers = [];
    for (const answer of answers) answer();
  }

  #applyNormal(entry: Entry, isNew: boolean): void {
    if (entry.data.length === 0) {
      this.#parts.hooks.termBegan();
      return;
    }
    const own = this.#parts.pending.firstIf(entry.data);
    if (own !== undefined && isPlain(own.operation)) {
      const { operation, identity } = own;
      this.#answer(own, this.#applyOperation(operation, identity, true, isNew), isNew);
      return;
    }
    const request = readRequest(entry);
    const id = request.id === 0n ? (request.header?.id ?? 0n) : request.id;
    // What was logged before this start answers nobody, even if a fast member used its id again.
    const waiting = entry.index > this.#loggedIndex ? this.#parts.pending.find(id) : undefined;
    const { operation } = request;
    const isAwaited = waiting !== undefined;
    const result = this.#applyOperation(operation, identityOf(request), isAwaited, isNew);
    this.#answer(waiting, result, isNew);
  }

  #answer(
    waiting: PendingProposal | undefined,
    result: ApplyResult | undefined,
    isNew: boolean,
  ): void {
    if (result === undefined) return;
    const { pending } = this.#parts;
    if (result.error === SERVER_ERRORS.noSpace) {
      if (waiting !== undefined) {
        this.#raiseNoSpace(result.error, () => pending.succeed(waiting, result));
      } else if (isNew) this.#raiseNoSpace(result.error);
    } else if (waiting !== undefined) pending.succeed(waiting, result);
  }

  /** The alarm comes first: whoever is told of it finds it raised. */
  #raiseNoSpace(error: EtcdError, next: () => void = () => undefined): void {
    const { hooks, hasNoSpaceAlarm, logger } = this.#parts;
    if (hasNoSpaceAlarm()) {
      next();
      return;
    }
    logger.warn("message exceeded backend quota; raising alarm", { error: error.message });
    hooks.raiseNoSpace(next);
  }

  /** Undefined: nobody waits, and there is nothing to do. */
  #applyOperation(
    operation: RaftOperation,
    identity: AuthIdentity,
    isAwaited: boolean,
    isNew: boolean,
  ): ApplyResult | undefined {
    switch (operation.kind) {
      case "none":
        invariant(false, () => "not implemented apply");
        break;
      case "v2":
        return this.#applyOperation(operationFromV2(operation.request), identity, isAwaited, isNew);
      case "clusterVersionSet":
      case "clusterMemberAttrSet":
      case "downgradeInfoSet":
      case "downgradeVersionTest":
        return this.#applyMembership(operation, isNew);
      case "range":
      case "authUserGet":
      case "authRoleGet":
      case "authStatus":
        return isNew && isAwaited ? this.#applyRequest(operation, identity) : undefined;
      default:
        return isNew ? this.#applyRequest(operation, identity) : undefined;
    }
  }

  #applyRequest(operation: StoreOperation, identity: AuthIdentity): ApplyResult {
    return this.#parts.requests.apply(operation, identity, this.#parts.consistentIndex.index);
  }

  #applyMembership(
    operation: Extract<
      RaftOperation,
      {
        kind:
          | "clusterVersionSet"
          | "clusterMemberAttrSet"
          | "downgradeInfoSet"
          | "downgradeVersionTest";
      }
    >,
    isNew: boolean,
  ): ApplyResult {
    const { cluster, meter } = this.#parts;
    const startMs = meter.start();
    switch (operation.kind) {
      case "clusterVersionSet":
        this.#setClusterVersion(operation.request.ver, isNew);
        break;
      case "clusterMemberAttrSet": {
        const { memberID, memberAttributes } = operation.request;
        const name = memberAttributes?.name ?? "";
        const clientURLs = memberAttributes?.clientUrls ?? [];
        cluster.updateAttributes(memberID, { name, clientURLs }, isNew);
        break;
      }
      case "downgradeInfoSet": {
        const { enabled, ver } = operation.request;
        cluster.setDowngradeInfo({ enabled, targetVersion: enabled ? ver : "" }, isNew);
        break;
      }
      case "downgradeVersionTest":
        break;
      default:
        return unreachable(operation, "applyMembership");
    }
    meter.finish(operation.kind, startMs, undefined);
    return DONE;
  }

  #setClusterVersion(text: string, isNew: boolean): void {
    const { cluster, hooks, logger } = this.#parts;
    const next = parseVersion(text);
    invariant(next !== undefined, () => `cluster version ${text} is no version`);
    const before = cluster.version();
    cluster.setVersion(text, isNew);
    hooks.clusterVersionChanged();
    const previous = before === undefined ? undefined : parseVersion(before);
    if (previous !== undefined && compareVersions(next, previous) < 0) {
      logger.info("Cluster version downgrade detected, forcing snapshot", {
        "prev-cluster-version": before,
        "new-cluster-version": text,
      });
      hooks.forceSnapshot();
    }
  }

  #applyChange(change: ConfChange, index: number, isNew: boolean): void {
    const { pendingChanges } = this.#parts;
    const refusal = this.#applyChangeOrRefuse(change, isNew);
    if (index > this.#loggedIndex && pendingChanges.has(change.id)) {
      this.#changeAnswers.push(() => pendingChanges.succeed(change.id, refusal));
    }
  }

  #applyChangeOrRefuse(change: ConfChange, isNew: boolean): EtcdError | undefined {
    const { cluster, hooks, consistentIndex, maxLearners, logger } = this.#parts;
    const refusal = cluster.validateConfigurationChange(change, {
      persist: isNew,
      learnersMax: maxLearners,
    });
    if (refusal !== undefined) {
      logger.error("Validation on configuration change failed", {
        shouldApplyV3: isNew,
        error: refusal.message,
      });
      // Raft must be told of every change it logged; this one names nobody.
      hooks.applyConfChange({ ...change, nodeID: 0n });
      return refusal;
    }
    this.#confState = hooks.applyConfChange(change);
    if (isNew) consistentIndex.setConfState(this.#confState);
    this.#changeMembers(change, isNew);
    return undefined;
  }

  #changeMembers(change: ConfChange, isNew: boolean): void {
    const { cluster, memberID, transport, hooks } = this.#parts;
    switch (change.type) {
      case "ConfChangeAddNode":
      case "ConfChangeAddLearnerNode": {
        const { member, isPromote } = decodeConfChangeContext(change.context);
        mustMatch(change, member);
        if (isPromote) cluster.promoteMember(member.id, isNew);
        else {
          cluster.addMember(member, isNew);
          if (member.id !== memberID) transport?.addPeer(member.id, member.peerURLs);
        }
        return;
      }
      case "ConfChangeRemoveNode":
        cluster.removeMember(change.nodeID, isNew);
        if (change.nodeID === memberID) hooks.removedSelf();
        else transport?.removePeer(change.nodeID);
        return;
      case "ConfChangeUpdateNode": {
        const member = decodeMemberContext(change.context);
        mustMatch(change, member);
        cluster.updateRaftAttributes(member.id, member.peerURLs, isNew);
        if (member.id !== memberID) transport?.updatePeer(member.id, member.peerURLs);
        return;
      }
      default:
        unreachable(change.type, "changeMembers");
    }
  }
}

/**
 * Whether an operation is surely what would be read back from its entry: it holds bytes and numbers
 * only. Text, for one, may have been no text before it was written as such.
 */
function isPlain({ kind }: RaftOperation): boolean {
  return kind === "put" || kind === "txn" || kind === "deleteRange";
}

/** Who proposed a request; nobody while authentication was off. */
function identityOf({ header }: InternalRaftRequest): AuthIdentity {
  return { username: header?.username ?? "", authRevision: header?.authRevision ?? 0 };
}

function mustMatch(change: ConfChange, member: Member): void {
  invariant(
    change.nodeID === member.id,
    () => `got different member ID: ${change.nodeID.toString(16)} and ${member.id.toString(16)}`,
  );
}

/** An InternalRaftRequest, or the bare v2 request that older members wrote. */
function readRequest(entry: Entry): InternalRaftRequest {
  try {
    return decodeMessage(InternalRaftRequestCodec, entry.data);
  } catch (error) {
    if (!(error instanceof WireFormatError)) throw error;
    const request = decodeMessage(V2RequestCodec, entry.data);
    return { id: request.ID, header: undefined, operation: { kind: "v2", request } };
  }
}
