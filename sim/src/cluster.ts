/**
 * The members, the links between them, and what watches them from outside: the raft invariants on
 * every message, and an auditor on every life that compares its history with that of all others.
 */

import { EtcdError, SeededRandom, VirtualClock, latin1FromBytes, sleep } from "@etcd-ts/base";
import { EventType, SERVER_VERSION } from "@etcd-ts/api";
import type { Event } from "@etcd-ts/api";
import { ROOT_CONTEXT } from "@etcd-ts/etcdserver";
import type {
  Completion,
  EtcdServer,
  MemberInfo,
  MemberListResult,
  MemberChangeResult,
  PeerQuestions,
  PeerTransport,
  RequestContext,
  SnapshotImage,
  StatusResult,
} from "@etcd-ts/etcdserver";
import type { Message } from "@etcd-ts/raft";

import { RaftInvariants } from "./checkers/raft-invariants.ts";
import { RevisionLedger } from "./checkers/revision-ledger.ts";
import type { WatchedEvent } from "./checkers/watch-check.ts";
import { SimMember } from "./member.ts";
import type { Life, MemberHost } from "./member.ts";
import { SimNetwork } from "./network.ts";
import { pick } from "./options.ts";
import type { SimOptions } from "./options.ts";
import { PlantedCore } from "./planted-core.ts";
import { Trace } from "./trace.ts";

export interface SimulatorPorts {
  /** Runs steps until one says it was the last; all promises settle before each, none is left. */
  readonly pump: (step: () => boolean) => Promise<void>;
  /** For tests that show that the last judges see something: comes before them. */
  readonly sabotage?: (cluster: SimCluster) => Promise<void>;
}

/** Begins a call at a server. */
export type Call<T> = (server: EtcdServer, context: RequestContext, done: Completion<T>) => void;

const ALL_KEYS = { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) };
const ASK_TIMEOUT_MS = 2000;

export class SimCluster implements MemberHost {
  readonly options: SimOptions;
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly trace = new Trace();
  readonly network: SimNetwork;
  readonly raft = new RaftInvariants();
  readonly ledger = new RevisionLedger();
  readonly #planted: PlantedCore;
  members: SimMember[] = [];
  /** What operators are at; one thing at a time, for neither may be while the other is. */
  change: "replacement" | "downgrade" | undefined;
  /** The first thing that must not be. */
  failure: Error | undefined;
  /** Told of every revision when it is first seen. */
  onRevision: (revision: number, events: readonly WatchedEvent[]) => void = () => undefined;
  /** Told of every life that ended by itself. */
  onStopped: (member: SimMember) => void = () => undefined;
  #named = 0;

  constructor(options: SimOptions, ports: SimulatorPorts) {
    this.options = options;
    this.random = new SeededRandom(options.seed);
    this.#planted = new PlantedCore(options.plant);
    this.clock = new VirtualClock({ random: this.random.split("order"), pump: ports.pump });
    this.network = new SimNetwork(this.clock, this.random.split("network"), options, this.trace);
    const names = Array.from({ length: options.size }, () => this.#nextName());
    const initialCluster = new Map(names.map((name) => [name, [urlOf(name)]]));
    this.members = names.map((name) => new SimMember(name, this, { initialCluster }));
    this.trace.count(`clusters of ${options.size}`);
  }

  #nextName(): string {
    return `m${++this.#named}`;
  }

  /** A member that is to join the cluster of `others`; not in `members` yet. */
  newcomer(): SimMember {
    const name = this.#nextName();
    const known = this.members.filter(({ isRemoved }) => !isRemoved);
    const initialCluster = new Map(
      [...known, { name, peerURL: urlOf(name) }].map((member) => [member.name, [member.peerURL]]),
    );
    return new SimMember(name, this, { initialClusterState: "existing", initialCluster });
  }

  urlOfNext(): string {
    return urlOf(`m${this.#named + 1}`);
  }

  broken(error: Error): void {
    this.failure ??= error;
  }

  /** Runs a check that may throw, and keeps what it throws. */
  guard(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.broken(error as Error);
    }
  }

  /** What every member that runs says of itself is looked at. */
  observe(): void {
    for (const member of this.members) {
      const { server } = member;
      if (server === undefined) continue;
      const facts = server.facts();
      this.guard(() => this.raft.told(facts));
    }
  }

  /** One that a client may ask, by chance; paused ones too: a client does not know. */
  someVoter(random: SeededRandom): SimMember | undefined {
    const up = this.members.filter(
      ({ process }) => process !== undefined && !process.facts().isLearner,
    );
    return up.length === 0 ? undefined : pick(random, up);
  }

  leader(): SimMember | undefined {
    return this.members
      .filter(({ server }) => server?.facts().isLeader === true)
      .sort((a, b) => b.server!.facts().raftTerm - a.server!.facts().raftTerm)[0];
  }

  started(member: SimMember, life: Life): void {
    this.#audit(member, life);
  }

  stopped(member: SimMember): void {
    this.onStopped(member);
  }

  /** Tells the whole history of a life, and all that is added to it, to the ledger. */
  #audit(member: SimMember, life: Life): void {
    const who = `${member.name} in its life ${life.number}`;
    const { store } = life.server!;
    const stream = store.newWatchStream();
    stream.watch({ ...ALL_KEYS, startRevision: Math.max(2, store.compactRevision + 1) });
    const take = (): void => {
      if (life.isOver) return;
      for (;;) {
        const batches = stream.take();
        if (batches.length === 0) return;
        for (const batch of batches) {
          if (batch.compactRevision > 0) {
            // It fell behind a compaction: what was compacted others have told.
            stream.watch({ ...ALL_KEYS, startRevision: batch.compactRevision + 1 });
          }
          this.guard(() => this.#tell(batch.events.map(watchedEvent), who));
        }
      }
    };
    stream.onReady(take);
  }

  #tell(events: readonly WatchedEvent[], who: string): void {
    for (let i = 0; i < events.length;) {
      const revision = events[i]!.modRevision;
      let end = i + 1;
      while (end < events.length && events[end]!.modRevision === revision) end++;
      const changes = events.slice(i, end);
      if (this.ledger.tell(revision, changes, who)) this.onRevision(revision, changes);
      i = end;
    }
  }

  #memberAt(peerURL: string | undefined): SimMember | undefined {
    return this.members.find((member) => member.peerURL === peerURL);
  }

  #reaches(own: SimMember, life: Life, other: SimMember | undefined): other is SimMember {
    if (life.isOver || other === undefined || !other.isUp) return false;
    return !this.network.isCut(own.name, other.name);
  }

  transport(own: SimMember, life: Life): PeerTransport {
    const urls = new Map<bigint, string>();
    const target = (id: bigint): SimMember | undefined => this.#memberAt(urls.get(id));
    const removed = new Set<bigint>();
    const startMs = life.clock.monotonicMs();
    life.meet = (id, url) => {
      if (!urls.has(id) && !removed.has(id)) urls.set(id, url);
    };
    return {
      start: (inbound) => {
        life.inbound = inbound;
      },
      send: (messages) => {
        for (const message of messages) this.#send(own, life, target(message.to), message);
      },
      sendSnapshot: (message, image) => {
        void this.#sendSnapshot(own, life, target(message.to), message, image);
      },
      addRemote: (id, [url]) => void urls.set(id, url!),
      addPeer: (id, [url]) => void urls.set(id, url!),
      updatePeer: (id, [url]) => void urls.set(id, url!),
      removePeer: (id) => {
        urls.delete(id);
        removed.add(id);
      },
      // That a process is gone shows; that a network swallows everything does not.
      isReachable: (id) => target(id)?.isUp ?? false,
      activeSinceMs: (id) => (this.#reaches(own, life, target(id)) ? startMs : undefined),
      versionOf: (id) => this.#versionOf(own, life, target(id)),
      stop: () => Promise.resolve(),
    };
  }

  #send(own: SimMember, life: Life, to: SimMember | undefined, made: Message): void {
    if (life.isOver) return;
    const message = this.#planted.said(made);
    this.guard(() => this.raft.sent(message));
    if (to === undefined) return;
    const imagined = this.#planted.imagined(message);
    if (imagined !== undefined && this.network.isCut(own.name, to.name))
      life.clock.nextTurn(() => life.inbound?.step(imagined));
    if (!to.isUp) life.clock.nextTurn(() => life.inbound?.reportUnreachable(message.to));
    this.network.send(own.name, to.name, message, (copy) => this.#deliver(own, to, copy));
  }

  #deliver(from: SimMember, to: SimMember, message: Message): void {
    const { life } = to;
    if (life === undefined || life.isOver) return;
    life.clock.nextTurn(() => {
      this.trace.add(`${from.name}${to.name}${message.type}${message.term},${message.index}`);
      life.meet(message.from, from.peerURL);
      life.inbound?.step(this.#planted.heard(message));
    });
  }

  async #sendSnapshot(
    own: SimMember,
    life: Life,
    to: SimMember | undefined,
    message: Message,
    image: SnapshotImage,
  ): Promise<void> {
    try {
      this.guard(() => this.raft.sent(message));
      if (!this.#reaches(own, life, to)) throw new UnreachableError("unreachable");
      const target = to.life;
      const isLinked = (): boolean => this.#reaches(own, life, to) && to.life === target;
      const { network, clock } = this;
      async function* received(): AsyncGenerator<Uint8Array> {
        for await (const chunk of image.chunks()) {
          await new Promise<void>((resolve) => clock.setTimer(1, resolve));
          if (!isLinked() || network.isCut(own.name, to!.name))
            throw new UnreachableError("cut off");
          yield chunk.slice();
        }
      }
      if (target?.server === undefined) throw new UnreachableError("not up");
      const saved = target.server.saveSnapshotDatabase(
        received(),
        message.snapshot!.metadata.index,
      );
      await Promise.race([saved, this.#breaks(isLinked)]);
      this.trace.count("snapshots sent");
      this.trace.tell(
        `${Math.round(this.clock.monotonicMs())} ms snapshot ${own.name} to ${to.name}`,
      );
      this.network.send(own.name, to.name, message, (copy) => this.#deliver(own, to, copy));
      if (!life.isOver) life.inbound?.reportSnapshot(message.to, "finish");
    } catch (error) {
      if (!(error instanceof EtcdError)) this.broken(error as Error);
      if (!life.isOver) life.inbound?.reportSnapshot(message.to, "failure");
    } finally {
      image.close();
    }
  }

  /** Rejects when the connection is gone: a process that ended answers nothing any more. */
  async #breaks(isLinked: () => boolean): Promise<never> {
    while (isLinked()) await sleep(this.clock, 100);
    throw new UnreachableError("the connection broke");
  }

  async #versionOf(
    own: SimMember,
    life: Life,
    other: SimMember | undefined,
  ): Promise<{ server: string; cluster: string } | undefined> {
    await this.#tripTime();
    if (!this.#reaches(own, life, other) || other.server === undefined) return undefined;
    return {
      server: SERVER_VERSION,
      cluster: other.server.facts().clusterVersion ?? "not_decided",
    };
  }

  #tripTime(): Promise<void> {
    return new Promise((resolve) => this.clock.setTimer(2 * this.options.latencyMs, resolve));
  }

  questions(own: SimMember, life: Life): PeerQuestions {
    const reachable = (urls: readonly string[]): SimMember | undefined =>
      urls
        .map((url) => this.#memberAt(url))
        .find((member) => this.#reaches(own, life, member) && member.server !== undefined);
    const ask = async <T>(url: string, start: Call<T>): Promise<T> => {
      await this.#tripTime();
      const other = reachable([url]);
      if (other === undefined) throw new UnreachableError(`${url} is unreachable`);
      return this.call(other, ASK_TIMEOUT_MS, start);
    };
    return {
      clusterOf: async (urls) => {
        await this.#tripTime();
        const other = reachable(urls.filter((url) => url !== own.peerURL));
        if (other === undefined) throw new UnreachableError("nobody answers");
        const { members } = await this.call<MemberListResult>(
          other,
          ASK_TIMEOUT_MS,
          (server, context, done) => server.memberList(false, context, done),
        );
        return { clusterID: other.server!.facts().clusterID, members };
      },
      versionAt: (_id, urls) => this.#versionOf(own, life, reachable(urls)),
      downgradeEnabledAt: async (_id, urls) => {
        const other = reachable(urls);
        if (other === undefined) return undefined;
        const { downgrade } = await this.call<StatusResult>(
          other,
          ASK_TIMEOUT_MS,
          (server, context, done) => server.status(context, done),
        );
        return downgrade.enabled;
      },
      renewLease: (url, id) =>
        ask(url, (server, context, done) => server.leaseRenew(id, context, done)),
      leaseTimeToLive: (url, { id, withKeys }) =>
        ask(url, (server, context, done) => server.leaseTimeToLive(id, withKeys, context, done)),
      promoteMember: async (url, { id }): Promise<readonly MemberInfo[]> => {
        const { members } = await ask<MemberChangeResult>(url, (server, context, done) =>
          server.memberPromote(id, context, done),
        );
        return members;
      },
      hashKV: (url, { revision }) =>
        ask(url, (server, context, done) => server.hashKV(revision, context, done)),
    };
  }

  /**
   * A call to a member; an error, or no answer in time, throws. A call to a paused member waits
   * for its end, and is then taken up before or after what its peers have sent meanwhile.
   */
  call<T>(
    member: SimMember,
    timeoutMs: number,
    start: Call<T>,
    context = ROOT_CONTEXT,
  ): Promise<T> {
    const { life, process } = member;
    if (process === undefined) {
      return Promise.reject(new UnreachableError(`${member.name} is down`));
    }
    return new Promise((resolve, reject) => {
      const timer = this.clock.setTimer(timeoutMs, () =>
        reject(new UnreachableError(`${member.name} gave no answer in time`)),
      );
      const begin = (): void =>
        start(process, context, (error, result) => {
          if (life!.isOver) return;
          timer.cancel();
          if (error === undefined) resolve(result as T);
          else reject(error);
        });
      if (life!.clock.isPaused) this.trace.count("calls to a paused member");
      life!.clock.ask(begin);
    });
  }
}

/** No answer: whatever was asked may or may not have happened. */
export class UnreachableError extends EtcdError {
  readonly code = "UNREACHABLE";
}

function urlOf(name: string): string {
  return `http://${name}:2380`;
}

export function watchedEvent({ type, kv }: Event): WatchedEvent {
  return {
    key: latin1FromBytes(kv!.key),
    value: type === EventType.DELETE ? undefined : latin1FromBytes(kv!.value),
    modRevision: kv!.modRevision,
  };
}
