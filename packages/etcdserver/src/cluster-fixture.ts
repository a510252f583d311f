/**
 * Several members on one virtual clock, and a network between them whose links can be cut, slowed
 * and made lossy: for the tests of this package. The same seed gives the same run.
 */

import {
  EtcdError,
  MemoryDisk,
  MemoryLogger,
  MemoryMetrics,
  SeededRandom,
  VirtualClock,
  decodeMessage,
  encodeMessage,
  invariant,
} from "@etcd-ts/base";
import type { Clock, Timer } from "@etcd-ts/base";
import { PutRequestCodec, RangeRequestCodec, SERVER_VERSION } from "@etcd-ts/api";
import type { PutResponse, RangeRequest, RangeResponse } from "@etcd-ts/api";
import { MessageCodec } from "@etcd-ts/raft";
import type { Message } from "@etcd-ts/raft";

import type { AuthPorts } from "./auth/ports.ts";
import { bytes, promised, text } from "./member-fixture.ts";
import { INTERNAL_CONTEXT, defaultServerConfig } from "./server-api.ts";
import type {
  Completion,
  HashKVResult,
  PeerInbound,
  PeerQuestions,
  PeerTransport,
  RequestContext,
  ServerConfig,
  SnapshotImage,
} from "./server-api.ts";
import { EtcdServer } from "./server.ts";

const LATENCY_MS = 1;

/** A clock that can stand still for one member, as when its process is stopped. */
class PausableClock implements Clock {
  readonly #clock: VirtualClock;
  #held: (() => void)[] | undefined;
  /** How much later than asked for timers fire, as on a busy machine. */
  lateMs = 0;

  constructor(clock: VirtualClock) {
    this.#clock = clock;
  }

  wallMs(): number {
    return this.#clock.wallMs();
  }

  monotonicMs(): number {
    return this.#clock.monotonicMs();
  }

  setTimer(delayMs: number, run: () => void): Timer {
    let isCancelled = false;
    const timer = this.#clock.setTimer(delayMs === 0 ? 0 : delayMs + this.lateMs, () => {
      const fire = (): void => {
        if (!isCancelled) run();
      };
      if (this.#held === undefined) fire();
      else this.#held.push(fire);
    });
    return {
      cancel: () => {
        isCancelled = true;
        timer.cancel();
      },
    };
  }

  nextTurn(run: () => void): Timer {
    return this.setTimer(0, run);
  }

  get isPaused(): boolean {
    return this.#held !== undefined;
  }

  pause(): void {
    this.#held ??= [];
  }

  /** What fell due meanwhile happens in turns to come, in order. */
  resume(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const run of held) this.#clock.nextTurn(run);
  }
}

export interface ClusterOptions {
  readonly size?: number;
  readonly seed?: number;
  readonly config?: Partial<ServerConfig>;
  readonly auth?: AuthPorts;
}

/** One member of the cluster, running or not. */
export class ClusterMember {
  readonly name: string;
  readonly disk: MemoryDisk;
  readonly clock: PausableClock;
  readonly logger = new MemoryLogger("info");
  readonly metrics = new MemoryMetrics();
  /** How long the disk takes to make something durable. */
  syncDelayMs = 0;
  fatal: Error | undefined;
  isRemoved = false;
  isRunning = false;
  server: EtcdServer | undefined;
  inbound: PeerInbound | undefined;
  /**
   * Tells the transport who sent something: as between real members, whose requests name the
   * sender's URLs, a member answers one that its own log does not tell of yet.
   */
  meet: (id: bigint, peerURL: string) => void = () => undefined;

  constructor(name: string, clock: VirtualClock) {
    this.name = name;
    this.clock = new PausableClock(clock);
    this.disk = new MemoryDisk({
      clock: this.clock,
      latencyMs: (operation) => (operation === "dataSync" ? this.syncDelayMs : 0),
    });
  }

  get peerURL(): string {
    return `http://${this.name}:2380`;
  }

  get id(): bigint {
    return this.server!.facts().memberID;
  }
}

export class ClusterFixture {
  readonly clock = new VirtualClock();
  readonly random: SeededRandom;
  readonly members: ClusterMember[] = [];
  /** `from>to` by name: messages on these links vanish. */
  readonly #cut = new Set<string>();
  /** Of each message, in percent. */
  lossPercent = 0;
  readonly #config: Partial<ServerConfig>;
  readonly #auth: AuthPorts | undefined;

  constructor({ size = 3, seed = 1, config = {}, auth }: ClusterOptions = {}) {
    this.#auth = auth;
    this.random = new SeededRandom(seed);
    this.#config = config;
    for (let i = 1; i <= size; i++) this.members.push(new ClusterMember(`m${i}`, this.clock));
  }

  run<T>(promise: Promise<T>): Promise<T> {
    return this.clock.runUntil(promise);
  }

  /** Starts all members of a new cluster and has them ready. */
  async startAll(): Promise<void> {
    await this.run(Promise.all(this.members.map((member) => this.start(member))));
  }

  /** To be carried on by `run`. */
  async start(member: ClusterMember, config: Partial<ServerConfig> = {}): Promise<void> {
    const { clock, disk, logger, metrics } = member;
    const random = this.random.split(member.name);
    member.fatal = undefined;
    const server = await EtcdServer.open(
      defaultServerConfig({
        name: member.name,
        dataDirectory: "/data",
        walSegmentBytes: 64 * 1024,
        advertisePeerURLs: [member.peerURL],
        advertiseClientURLs: [`http://${member.name}:2379`],
        initialCluster: new Map(this.members.map(({ name, peerURL }) => [name, [peerURL]])),
        ...this.#config,
        ...config,
      }),
      {
        clock,
        disk,
        logger,
        metrics,
        random,
        transport: this.#transport(member),
        questions: this.#questions(member),
        auth: this.#auth,
      },
      {
        onFatal: (error) => {
          member.fatal = error;
          member.isRunning = false;
        },
        onRemoved: () => {
          member.isRemoved = true;
          member.isRunning = false;
        },
      },
    );
    member.server = server;
    member.isRunning = true;
    server.start();
    await server.whenReady();
  }

  async stop(member: ClusterMember): Promise<void> {
    await this.run(member.server!.stop());
    member.isRunning = false;
  }

  /** Takes the power away: what was not synced is gone. */
  async crash(member: ClusterMember): Promise<void> {
    member.isRunning = false;
    member.disk.powerOffAfter(0);
    await this.run(member.server!.stop().catch(() => undefined));
    member.disk.crash(this.random);
  }

  /** Cuts all links between `side` and the others, both ways. */
  isolate(side: readonly ClusterMember[]): void {
    for (const a of side) {
      for (const b of this.members) {
        if (side.includes(b)) continue;
        this.#cut.add(`${a.name}>${b.name}`);
        this.#cut.add(`${b.name}>${a.name}`);
      }
    }
  }

  heal(): void {
    this.#cut.clear();
  }

  /** The member all running members follow; undefined if they do not agree. */
  leader(among: readonly ClusterMember[] = this.members): ClusterMember | undefined {
    const running = among.filter(({ isRunning }) => isRunning);
    const [first] = running.map(({ server }) => server!.facts().leaderID);
    const agree = running.every(({ server }) => server!.facts().leaderID === first);
    return agree ? running.find(({ id }) => id === first) : undefined;
  }

  /** Lets time pass until they agree on a leader. */
  async elect(among: readonly ClusterMember[] = this.members): Promise<ClusterMember> {
    for (let i = 0; i < 400; i++) {
      const leader = this.leader(among);
      if (leader !== undefined) return leader;
      await this.clock.advanceSettled(50);
    }
    throw new Error("no leader within 20 s");
  }

  put(member: ClusterMember, key: string, value: string): Promise<PutResponse> {
    return this.run(this.putLater(member, key, value));
  }

  putLater(member: ClusterMember, key: string, value: string, lease = 0n): Promise<PutResponse> {
    const request = PutRequestCodec.create({ key: bytes(key), value: bytes(value), lease });
    return promised((context, done) => member.server!.put(request, context, done));
  }

  getLater(
    member: ClusterMember,
    key: string,
    fields: Partial<RangeRequest> = {},
  ): Promise<string | undefined> {
    const request = RangeRequestCodec.create({ key: bytes(key), ...fields });
    return promised<RangeResponse>((context, done) =>
      member.server!.range(request, context, done),
    ).then(({ kvs }) => (kvs[0] === undefined ? undefined : text(kvs[0].value)));
  }

  get(
    member: ClusterMember,
    key: string,
    fields?: Partial<RangeRequest>,
  ): Promise<string | undefined> {
    return this.run(this.getLater(member, key, fields));
  }

  call<T>(start: (context: RequestContext, done: Completion<T>) => void): Promise<T> {
    return this.run(promised(start));
  }

  /** Waits until all have applied the same, and gives the hash of each. */
  async hashes(): Promise<Set<string>> {
    const running = this.members.filter(({ isRunning }) => isRunning);
    for (let i = 0; i < 400; i++) {
      const applied = new Set(running.map(({ server }) => server!.facts().appliedIndex));
      if (applied.size === 1) break;
      await this.clock.advanceSettled(50);
    }
    const hashes = new Set<string>();
    for (const { server } of running) {
      const { hash, hashRevision } = await this.call<HashKVResult>((context, done) =>
        server!.hashKV(0, context, done),
      );
      hashes.add(`${hashRevision}:${hash}`);
    }
    return hashes;
  }

  #reaches(from: ClusterMember, to: ClusterMember | undefined): to is ClusterMember {
    return to !== undefined && to.isRunning && !this.#cut.has(`${from.name}>${to.name}`);
  }

  #at(peerURL: string): ClusterMember | undefined {
    return this.members.find((member) => member.peerURL === peerURL);
  }

  #transport(own: ClusterMember): PeerTransport {
    const peers = new Map<bigint, string>();
    const target = (id: bigint): ClusterMember | undefined => this.#at(peers.get(id) ?? "");
    const removed = new Set<bigint>();
    const meet = (id: bigint, peerURL: string): void => {
      if (!peers.has(id) && !removed.has(id)) peers.set(id, peerURL);
    };
    own.meet = meet;
    const start = own.clock.monotonicMs();
    let isStopped = false;
    return {
      start: (inbound) => {
        own.inbound = inbound;
      },
      send: (messages) => {
        if (isStopped) return;
        for (const message of messages) this.#send(own, target(message.to), message);
      },
      sendSnapshot: (message, image) => {
        void this.#sendSnapshot(own, target(message.to), message, image);
      },
      addRemote: (id, urls) => meet(id, urls[0]!),
      addPeer: (id, urls) => peers.set(id, urls[0]!),
      updatePeer: (id, urls) => peers.set(id, urls[0]!),
      removePeer: (id) => {
        peers.delete(id);
        removed.add(id);
      },
      activeSinceMs: (id) => (this.#reaches(own, target(id)) ? start : undefined),
      // That a process is gone shows; that a network swallows everything does not.
      isReachable: (id) => target(id)?.isRunning ?? false,
      versionOf: (id) => Promise.resolve(this.#versionOf(own, target(id))),
      stop: () => {
        isStopped = true;
        return Promise.resolve();
      },
    };
  }

  #versionOf(
    own: ClusterMember,
    other: ClusterMember | undefined,
  ): { server: string; cluster: string } | undefined {
    if (!this.#reaches(own, other)) return undefined;
    return {
      server: SERVER_VERSION,
      cluster: other.server?.facts().clusterVersion ?? "not_decided",
    };
  }

  /** Members share no memory: what arrives was encoded. */
  #send(from: ClusterMember, to: ClusterMember | undefined, message: Message): void {
    if (!this.#reaches(from, to) || this.random.float() * 100 < this.lossPercent) return;
    const sent = encodeMessage(MessageCodec, message);
    to.clock.setTimer(LATENCY_MS, () => {
      if (!to.isRunning) return;
      to.meet(message.from, from.peerURL);
      to.inbound?.step(decodeMessage(MessageCodec, sent));
    });
  }

  async #sendSnapshot(
    from: ClusterMember,
    to: ClusterMember | undefined,
    message: Message,
    image: SnapshotImage,
  ): Promise<void> {
    try {
      if (!this.#reaches(from, to)) throw new UnreachableError("unreachable");
      const chunks: Uint8Array[] = [];
      for await (const chunk of image.chunks()) chunks.push(chunk);
      async function* received(): AsyncGenerator<Uint8Array> {
        yield* chunks;
      }
      const { index } = message.snapshot!.metadata;
      await to.server!.saveSnapshotDatabase(received(), index);
      to.meet(message.from, from.peerURL);
      to.inbound?.step(decodeMessage(MessageCodec, encodeMessage(MessageCodec, message)));
      from.inbound?.reportSnapshot(message.to, "finish");
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      from.inbound?.reportSnapshot(message.to, "failure");
    } finally {
      image.close();
    }
  }

  #questions(own: ClusterMember): PeerQuestions {
    const ask = async <T>(
      url: string,
      start: (server: EtcdServer, context: RequestContext, done: Completion<T>) => void,
    ): Promise<T> => {
      const other = this.#at(url);
      if (!this.#reaches(own, other)) throw new UnreachableError(`${url} is unreachable`);
      return promised((_context, done) => start(other.server!, INTERNAL_CONTEXT, done));
    };
    const reachable = (urls: readonly string[]): ClusterMember | undefined =>
      urls.map((url) => this.#at(url)).find((member) => this.#reaches(own, member));
    return {
      clusterOf: async (urls) => {
        const other = reachable(urls);
        if (other === undefined) throw new UnreachableError("nobody answers");
        const { members } = await ask<{ members: readonly never[] }>(
          other.peerURL,
          (server, context, done) => server.memberList(false, context, done as never),
        );
        return { clusterID: other.server!.facts().clusterID, members };
      },
      versionAt: (_id, urls) => Promise.resolve(this.#versionOf(own, reachable(urls))),
      downgradeEnabledAt: () => Promise.resolve(false),
      renewLease: (url, id) =>
        ask(url, (server, context, done) => server.leaseRenew(id, context, done)),
      leaseTimeToLive: (url, { id, withKeys }) =>
        ask(url, (server, context, done) => server.leaseTimeToLive(id, withKeys, context, done)),
      promoteMember: async (url, { id }) => {
        const result = await ask<{ members: readonly never[] }>(url, (server, context, done) =>
          server.memberPromote(id, context, done as never),
        );
        return result.members;
      },
      hashKV: (url, { revision }) =>
        ask(url, (server, context, done) => server.hashKV(revision, context, done)),
    };
  }
}

class UnreachableError extends EtcdError {
  readonly code = "UNREACHABLE";
}

export function mustBe<T>(value: T | undefined): T {
  invariant(value !== undefined, () => "undefined");
  return value;
}

/** A new cluster with a leader. */
export async function started(options: ClusterOptions = {}): Promise<{
  readonly cluster: ClusterFixture;
  readonly leader: ClusterMember;
  readonly followers: readonly ClusterMember[];
}> {
  const cluster = new ClusterFixture(options);
  await cluster.startAll();
  const leader = await cluster.elect();
  return { cluster, leader, followers: cluster.members.filter((member) => member !== leader) };
}

export async function putMany(
  cluster: ClusterFixture,
  member: ClusterMember,
  count: number,
  prefix = "key",
): Promise<void> {
  for (let i = 0; i < count; i++) await cluster.put(member, `${prefix}${i}`, `value${i}`);
}
