/**
 * One member: a disk that outlives crashes, and a life at a time of the real server on it.
 *
 * Invariants:
 * - A life that is over does nothing any more: its clock is dead, its disk never answers, its
 *   messages go nowhere.
 * - A life ends by itself only if a fault was asked of its disk, or because it was removed.
 */

import { EtcdError, MemoryDisk, MemoryLogger, NULL_METRICS, randomBelow } from "@etcd-ts/base";
import type { Random, SeededRandom, VirtualClock } from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";
import { Database, check } from "@etcd-ts/bbolt";
import { EtcdServer, defaultServerConfig } from "@etcd-ts/etcdserver";
import type { PeerInbound, PeerQuestions, PeerTransport, ServerConfig } from "@etcd-ts/etcdserver";

import { simAuthPorts } from "./auth-ports.ts";
import { LifeDisk } from "./life-disk.ts";
import { MemberClock } from "./member-clock.ts";
import type { SimOptions } from "./options.ts";
import { around } from "./options.ts";
import type { Trace } from "./trace.ts";
import { ViolationError } from "./violation.ts";

const DATA_DIRECTORY = "/data";
const DATABASE_PATH = `${DATA_DIRECTORY}/member/snap/db`;

/** One run of the process. */
export interface Life {
  readonly number: number;
  readonly clock: MemberClock;
  readonly disk: LifeDisk;
  readonly log: MemoryLogger;
  server: EtcdServer | undefined;
  inbound: PeerInbound | undefined;
  /**
   * Tells the transport who sent something: as over HTTP, where a request names its sender's URLs,
   * a member answers one that its own log does not tell of yet.
   */
  meet: (id: bigint, peerURL: string) => void;
  isReady: boolean;
  isOver: boolean;
}

export interface MemberHost {
  readonly clock: VirtualClock;
  readonly random: SeededRandom;
  readonly options: SimOptions;
  readonly trace: Trace;
  transport(member: SimMember, life: Life): PeerTransport;
  questions(member: SimMember, life: Life): PeerQuestions;
  /** A life has a server that runs. */
  started(member: SimMember, life: Life): void;
  /** A life ended by itself, on a fault. */
  stopped(member: SimMember): void;
  /** Something must not be: told once, ends the run. */
  broken(error: Error): void;
}

export class SimMember {
  readonly name: string;
  readonly disk: MemoryDisk;
  readonly #host: MemberHost;
  readonly #random: SeededRandom;
  readonly #rate: number;
  #lives = 0;
  life: Life | undefined;
  /** The last lines the member logged in its last life. */
  lastLog: MemoryLogger | undefined;
  /** Multiplies how long the disk takes. */
  slowness = 1;
  /** A fault was asked of the disk: the member may stop by itself. */
  isDiskFaulty = false;
  isRemoved = false;
  /** A bit of its log was flipped; it may refuse to start. */
  isRotten = false;
  /** It refused to start: only another member in its place can help. */
  isLost = false;
  /** 0n until it is known. */
  id = 0n;
  #wasReady = false;
  #wallOffsetMs = 0;
  /** How it came to be a member. */
  readonly #initial: Partial<ServerConfig>;

  constructor(name: string, host: MemberHost, initial: Partial<ServerConfig>) {
    this.name = name;
    this.#host = host;
    this.#initial = initial;
    this.#random = host.random.split(name);
    const { driftPerMille, syncMs } = host.options;
    this.#rate = 1 + ((2 * this.#random.float() - 1) * driftPerMille) / 1000;
    const latency = this.#random.split("latency");
    this.disk = new MemoryDisk({
      clock: host.clock,
      latencyMs: (operation) => {
        const isSync = operation === "dataSync" || operation === "sync";
        return (
          (isSync ? around(latency, syncMs) : 0) +
          (this.slowness > 1 ? this.slowness * latency.float() : 0)
        );
      },
      onFault: ({ code }) => {
        const isFull = code === "NO_SPACE";
        host.trace.count(isFull ? "writes refused by a full disk" : "syncs failed");
      },
    });
  }

  get peerURL(): string {
    return `http://${this.name}:2380`;
  }

  /** The server if it runs, and is not paused. */
  get server(): EtcdServer | undefined {
    const { life } = this;
    return life === undefined || life.isOver || life.clock.isPaused ? undefined : life.server;
  }

  /** The server if it runs; while it is paused nothing asked of it happens. */
  get process(): EtcdServer | undefined {
    return this.isUp ? this.life!.server : undefined;
  }

  get isUp(): boolean {
    return this.life !== undefined && !this.life.isOver;
  }

  /** Whether a life of it has taken part in the cluster. */
  get hasJoined(): boolean {
    return this.#wasReady;
  }

  /** Begins a life; how it goes is told to the host. */
  start(): void {
    if (this.isUp || this.isRemoved || this.isLost) return;
    const { clock, trace } = this.#host;
    const life: Life = {
      number: ++this.#lives,
      clock: new MemberClock(clock, this.#rate, this.#wallOffsetMs),
      disk: new LifeDisk(this.disk, this.#host.options.plant),
      log: new MemoryLogger("info"),
      server: undefined,
      inbound: undefined,
      meet: () => undefined,
      isReady: false,
      isOver: false,
    };
    this.life = life;
    this.lastLog = life.log;
    trace.tell(`${this.#at()} ${this.name} starts its life ${life.number}`);
    trace.count("starts");
    if (this.#rate !== 1) trace.count("lives with a drifting clock");
    this.#open(life).catch((error: unknown) => this.#ended(life, error as Error));
  }

  async #open(life: Life): Promise<void> {
    const { options } = this.#host;
    const random = this.#random.split(`life ${life.number}`);
    const server = await EtcdServer.open(
      defaultServerConfig({
        name: this.name,
        dataDirectory: DATA_DIRECTORY,
        walSegmentBytes: options.walSegmentBytes,
        heartbeatIntervalMs: options.heartbeatIntervalMs,
        electionTimeoutMs: options.electionTimeoutMs,
        snapshotCount: options.snapshotCount,
        snapshotCatchUpEntries: options.snapshotCatchUpEntries,
        preVote: options.preVote,
        leaseCheckpoint: options.leaseCheckpoint,
        leaseCheckpointPersist: options.leaseCheckpoint,
        corruptCheckMs: options.corruptCheckMs,
        compactHashCheckMs: options.compactHashCheckMs,
        unsafeNoFsync: options.plant === "no sync",
        advertisePeerURLs: [this.peerURL],
        advertiseClientURLs: [`http://${this.name}:2379`],
        ...this.#initial,
      }),
      {
        clock: life.clock,
        disk: life.disk,
        logger: life.log,
        metrics: NULL_METRICS,
        random,
        auth: simAuthPorts(life.clock, random.split("passwords")),
        transport: this.#host.transport(this, life),
        questions: this.#host.questions(this, life),
      },
      {
        onFatal: (error) => this.#ended(life, error),
        onRemoved: () => {
          if (life.isOver) return;
          this.#host.trace.tell(`${this.#at()} ${this.name} was removed and stops`);
          this.isRemoved = true;
          this.#end(life);
        },
      },
    );
    if (life.isOver) return;
    life.server = server;
    this.id = server.facts().memberID;
    server.start();
    this.#host.started(this, life);
    try {
      await server.whenReady();
    } catch (error) {
      // Why it stopped is an event of its own, which follows.
      if (error === SERVER_ERRORS.stopped) return;
      throw error;
    }
    if (life.isOver) return;
    life.isReady = true;
    this.#wasReady = true;
  }

  /** The process ended by itself. */
  #ended(life: Life, error: Error): void {
    if (life.isOver) return;
    const { trace } = this.#host;
    trace.tell(`${this.#at()} ${this.name} ended: ${error.message}`);
    trace.count("members that stopped on a fault");
    const isExpected = this.isDiskFaulty && error instanceof EtcdError;
    const isUnjoined = this.#initial.initialClusterState === "existing" && !this.#wasReady;
    this.crash("power loss");
    if (this.isRotten && life.server === undefined && error instanceof EtcdError) {
      trace.count("members that refused a damaged log");
      this.isLost = true;
      return;
    }
    if (!isExpected && !isUnjoined) {
      this.#host.broken(
        new ViolationError("member", `${this.name} ended by itself: ${error.message}`, {
          cause: error,
        }),
      );
    }
    this.#host.stopped(this);
  }

  #end(life: Life): void {
    life.isOver = true;
    this.#wallOffsetMs = life.clock.wallOffsetMs;
    life.clock.kill();
    life.disk.end();
  }

  /** Ends the process; with a power loss what was not synced is lost, in part. */
  crash(kind: "power loss" | "kill"): void {
    const { life } = this;
    if (life === undefined) return;
    this.#host.trace.tell(`${this.#at()} ${this.name}: ${kind}`);
    this.#end(life);
    this.life = undefined;
    if (kind === "kill") this.disk.settle();
    this.#crashDisk(kind);
    this.isDiskFaulty = false;
    this.slowness = 1;
  }

  #crashDisk(kind: "power loss" | "kill"): void {
    const { trace } = this.#host;
    if (this.disk.isPoweredOff) trace.count("power went off within an operation");
    const loss = this.disk.crash(kind === "kill" ? undefined : this.#random);
    if (kind === "kill") return;
    trace.count("unsynced sectors or pages lost", loss.lostUnits);
    trace.count("unsynced sectors or pages kept", loss.keptUnits);
    trace.count("files torn at a sector", loss.tornSectors);
    trace.count("files torn at a page", loss.tornPages);
  }

  /**
   * Flips a bit in a part of the log that is complete, of a member that is down: what was torn by
   * a crash and what rotted cannot be told apart at the end of the log.
   *
   * @returns false if there is no such part yet
   */
  async rot(random: Random): Promise<boolean> {
    const directory = `${DATA_DIRECTORY}/member/wal`;
    if ((await this.disk.stat(directory)) === undefined) return false;
    const names = (await this.disk.list(directory)).filter((name) => name.endsWith(".wal"));
    const name = names.at(-2);
    if (name === undefined || this.isUp) return false;
    const path = `${directory}/${name}`;
    const sizeBytes = this.disk.fileBytes(path).length;
    if (sizeBytes === 0) return false;
    this.isRotten = true;
    this.disk.flipBit(path, randomBelow(random, sizeBytes), randomBelow(random, 8));
    return true;
  }

  /** Runs the check of the database file on the disk of a member that is down. */
  async checkDatabase(): Promise<void> {
    if (this.isUp || !this.#wasReady) return;
    const database = await Database.open(this.disk, DATABASE_PATH, { readOnly: true });
    const tx = database.beginRead();
    try {
      for (const text of check(tx)) {
        throw new ViolationError("database", `${this.name}: ${text}`);
      }
    } finally {
      tx.close();
      await database.close();
    }
    this.#host.trace.count("database checks");
  }

  /** Stops in order; everything it has is durable after it. */
  async stop(): Promise<void> {
    const { life } = this;
    if (life?.server === undefined || life.isOver) return;
    await life.server.stop();
    this.#end(life);
    this.life = undefined;
  }

  #at(): string {
    return `${Math.round(this.#host.clock.monotonicMs())} ms`;
  }
}
