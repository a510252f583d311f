/**
 * Changes of membership, on behalf of a client.
 *
 * With strict reconfiguration a change is refused if the cluster could not go on with the members
 * that are started and connected. Whether the change fits the present membership is judged when
 * its entry is applied, so that all members agree.
 */

import type { EtcdError } from "@etcd-ts/base";
import { GRPC_CODES, RpcError, SERVER_ERRORS } from "@etcd-ts/api";
import type { ConfChange } from "@etcd-ts/raft";

import { encodeConfChangeContext, encodeMemberContext, memberID } from "./membership/index.ts";
import type { Member } from "./membership/index.ts";
import { forwardToLeader } from "./leader-forwarding.ts";
import type { MemberCore } from "./member-core.ts";
import type {
  Completion,
  MemberChangeResult,
  MemberListResult,
  PeerQuestions,
  RequestContext,
} from "./server-api.ts";

/** A connection counts as healthy after this long. */
const HEALTHY_CONNECTION_MS = 5000;
/** A learner may be promoted when it has this part of the leader's log. */
const LEARNER_READY_RATIO = 0.9;

/** What a leader may say to a promotion; after anything else it is asked again. */
const PROMOTE_ANSWERS: ReadonlySet<EtcdError> = new Set([
  SERVER_ERRORS.memberIDNotFound,
  SERVER_ERRORS.memberNotLearner,
  SERVER_ERRORS.learnerNotReady,
  SERVER_ERRORS.timeout,
]);

export class ClusterOperations {
  readonly #core: MemberCore;

  constructor(core: MemberCore) {
    this.#core = core;
  }

  list(linearizable: boolean, done: Completion<MemberListResult>): void {
    const answer = (error: EtcdError | undefined): void =>
      error === undefined ? done(undefined, this.#members()) : done(error, undefined);
    if (linearizable) this.#core.linearizableRead(answer);
    else this.#core.ports.clock.nextTurn(() => answer(this.#core.end));
  }

  add(peerURLs: readonly string[], isLearner: boolean, done: Completion<MemberChangeResult>): void {
    const { cluster, ports, config } = this.#core;
    if (ports.transport === undefined) {
      // A second voter that cannot be reached would take the quorum away for good.
      this.#core.failLater(done, unimplemented("Cluster.MemberAdd"));
      return;
    }
    const refusal = config.strictReconfigCheck ? this.#addRefusal(isLearner) : undefined;
    if (refusal !== undefined) {
      this.#core.failLater(done, refusal);
      return;
    }
    const seconds = Math.floor(ports.clock.wallMs() / 1000);
    const member: Member = {
      id: memberID(peerURLs, "", seconds),
      name: "",
      peerURLs: [...peerURLs],
      clientURLs: [],
      isLearner,
    };
    const change: Omit<ConfChange, "id"> = {
      type: isLearner ? "ConfChangeAddLearnerNode" : "ConfChangeAddNode",
      nodeID: member.id,
      context: encodeConfChangeContext(member),
    };
    this.#change(change, () => cluster.member(member.id) ?? member, done);
  }

  remove(id: bigint, done: Completion<MemberChangeResult>): void {
    const refusal = this.#core.config.strictReconfigCheck ? this.#removeRefusal(id) : undefined;
    if (refusal !== undefined) {
      this.#core.failLater(done, refusal);
      return;
    }
    const change = {
      type: "ConfChangeRemoveNode",
      nodeID: id,
      context: new Uint8Array(0),
    } as const;
    this.#change(change, () => undefined, done);
  }

  update(id: bigint, peerURLs: readonly string[], done: Completion<MemberChangeResult>): void {
    const { cluster } = this.#core;
    const member: Member = {
      id,
      name: "",
      peerURLs: [...peerURLs],
      clientURLs: [],
      isLearner: cluster.member(id)?.isLearner ?? false,
    };
    const change = {
      type: "ConfChangeUpdateNode",
      nodeID: id,
      context: encodeMemberContext(member),
    } as const;
    this.#change(change, () => cluster.member(id), done);
  }

  /** Only the leader knows how far a learner is. */
  promote(id: bigint, context: RequestContext, done: Completion<MemberChangeResult>): void {
    const { ports, timeoutMs } = this.#core;
    const token = context.auth?.kind === "token" ? context.auth.token : undefined;
    if (this.#core.isLeader) {
      this.#promoteHere(id, done);
      return;
    }
    const forwarding = {
      deadlineMs: ports.clock.monotonicMs() + timeoutMs,
      ask: async (questions: PeerQuestions, url: string, leftMs: number) => {
        const members = await questions.promoteMember(url, { id, token }, leftMs);
        return { members, member: members.find((member) => member.id === id) };
      },
      isAnswer: (error: EtcdError) => PROMOTE_ANSWERS.has(error),
      answerHere: () => this.#promoteHere(id, done),
    };
    forwardToLeader(this.#core, forwarding, done);
  }

  #promoteHere(id: bigint, done: Completion<MemberChangeResult>): void {
    const { cluster, config, metrics } = this.#core;
    const refusal = this.#promoteRefusal(id, config.strictReconfigCheck);
    if (refusal !== undefined) {
      metrics.learnerPromoteFailures.labels({ Reason: refusal.message }).inc();
      this.#core.failLater(done, refusal);
      return;
    }
    const member = { ...cluster.member(id)!, isLearner: false };
    const change = {
      type: "ConfChangeAddNode",
      nodeID: id,
      context: encodeConfChangeContext(member, true),
    } as const;
    this.#change(
      change,
      () => cluster.member(id),
      (error, result) => {
        if (error === undefined) metrics.learnerPromotions.inc();
        else metrics.learnerPromoteFailures.labels({ Reason: error.message }).inc();
        done(error, result);
      },
    );
  }

  #change(
    change: Omit<ConfChange, "id">,
    member: () => Member | undefined,
    done: Completion<MemberChangeResult>,
  ): void {
    this.#core.proposeChange(change, (error) => {
      if (error === undefined) done(undefined, { ...this.#members(), member: member() });
      else done(error, undefined);
    });
  }

  #members(): MemberListResult {
    return { members: this.#core.cluster.members() };
  }

  #addRefusal(isLearner: boolean): EtcdError | undefined {
    const { cluster } = this.#core;
    if (!isLearner && !cluster.isReadyToAddVotingMember()) {
      return SERVER_ERRORS.notEnoughStartedMembers;
    }
    const voters = cluster.votingMembers();
    if (voters.length === 1) return undefined;
    const quorum = Math.floor((voters.length + 1) / 2) + 1;
    return this.#connectedVoters() < quorum ? SERVER_ERRORS.unhealthy : undefined;
  }

  #removeRefusal(id: bigint): EtcdError | undefined {
    const { cluster } = this.#core;
    const member = cluster.member(id);
    if (member?.isLearner === true) return undefined;
    if (!cluster.isReadyToRemoveVotingMember(id)) return SERVER_ERRORS.notEnoughStartedMembers;
    if (!this.#core.connectivity.isActive(id)) return undefined;
    const voters = cluster.votingMembers().length;
    const needed = 1 + Math.floor((voters - 1) / 2);
    return this.#connectedVoters() - 1 < needed ? SERVER_ERRORS.unhealthy : undefined;
  }

  #promoteRefusal(id: bigint, isStrict: boolean): EtcdError | undefined {
    const { cluster, boot, isLeader } = this.#core;
    const member = cluster.member(id);
    if (member === undefined) return SERVER_ERRORS.memberIDNotFound;
    if (!member.isLearner) return SERVER_ERRORS.memberNotLearner;
    if (!isLeader) return SERVER_ERRORS.notLeader;
    const { progress } = boot.node.status();
    const learner = progress.get(id)?.match ?? 0;
    const leader = progress.get(this.#core.memberID)?.match ?? 0;
    if (learner < leader * LEARNER_READY_RATIO) return SERVER_ERRORS.learnerNotReady;
    if (isStrict && !cluster.isReadyToPromoteMember(id)) {
      return SERVER_ERRORS.notEnoughStartedMembers;
    }
    return undefined;
  }

  /** Voters this member has been connected to for a while, itself included. */
  #connectedVoters(): number {
    const { connectivity, ports } = this.#core;
    return connectivity.votersSince(ports.clock.monotonicMs() - HEALTHY_CONNECTION_MS);
  }
}

function unimplemented(call: string): RpcError {
  const text = `etcdserver: ${call} is not implemented: this build has no peer transport`;
  return new RpcError("UNIMPLEMENTED", GRPC_CODES.UNIMPLEMENTED, text);
}
