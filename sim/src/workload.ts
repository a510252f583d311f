/**
 * Clients: each makes one call at a time to a member of its choice and writes down when it called,
 * when it was answered and how. A call without an answer stays unknown and is never made again.
 */

import { EtcdError, bytesFromLatin1, latin1FromBytes, randomBelow, sleep } from "@etcd-ts/base";
import type { SeededRandom } from "@etcd-ts/base";
import {
  CompareResult,
  CompareTarget,
  DeleteRangeRequestCodec,
  PutRequestCodec,
  RangeRequestCodec,
  SERVER_ERRORS,
} from "@etcd-ts/api";
import type {
  DeleteRangeResponse,
  LeaseGrantResponse,
  LeaseRevokeResponse,
  PutResponse,
  RangeResponse,
  RequestOp,
  TxnResponse,
} from "@etcd-ts/api";

import { AuthOperator } from "./auth-operator.ts";
import { AuthCheck } from "./checkers/auth-check.ts";
import { LeaseCheck } from "./checkers/lease-check.ts";
import type { Answer, Operation } from "./checkers/linearizability.ts";
import type { Request, Write } from "./checkers/model.ts";
import { pairText } from "./checkers/model.ts";
import type { WatchCheck, WatchedEvent } from "./checkers/watch-check.ts";
import type { Call, SimCluster } from "./cluster.ts";
import { Downgrades } from "./downgrades.ts";
import { Guest } from "./guest.ts";
import type { SimMember } from "./member.ts";
import { around, pick } from "./options.ts";
import { PasswordUser } from "./password-user.ts";
import { Watchers } from "./watchers.ts";

const CALL_TIMEOUT_MS = 8000;
/** Errors that tell that a call did nothing. */
const NOTHING_HAPPENED: ReadonlySet<Error> = new Set<Error>([
  SERVER_ERRORS.leaseNotFound,
  SERVER_ERRORS.permissionDenied,
  SERVER_ERRORS.invalidAuthToken,
  SERVER_ERRORS.authOldRevision,
]);
/** The longest time to live a client asks for. */
export const LEASE_SECONDS_MAX = 12;

export class Workload {
  readonly operations: Operation[] = [];
  readonly leases: LeaseCheck;
  readonly auth = new AuthCheck();
  readonly operator: AuthOperator;
  readonly guest: Guest;
  readonly passwordUser: PasswordUser;
  readonly downgrades: Downgrades;
  readonly #watchers: Watchers;
  readonly #cluster: SimCluster;
  readonly #random: SeededRandom;
  /** Leases clients know of, newest last. */
  readonly #granted: bigint[] = [];
  /** The last revision a client saw of a key. */
  readonly #seen = new Map<string, number>();
  /** The lease of the last put of a key, as the history tells. */
  readonly #values = new Map<string, bigint>();
  readonly #attached = new Map<string, bigint>();
  #serial = 0;
  /** No new calls are made. */
  isOver = false;
  readonly #running: Promise<void>[] = [];

  constructor(cluster: SimCluster) {
    this.#cluster = cluster;
    this.#random = cluster.random.split("workload");
    this.leases = new LeaseCheck(2 * cluster.options.driftPerMille);
    this.#watchers = new Watchers(cluster, this.#random);
    this.operator = new AuthOperator(cluster, this.auth);
    this.guest = new Guest(cluster, this, this.operator, this.auth);
    this.passwordUser = new PasswordUser(cluster, this, this.operator, this.auth);
    this.downgrades = new Downgrades(cluster);
    cluster.onRevision = (revision, events) => this.#happened(revision, events);
  }

  start(): void {
    const { clients, watchers, hasUsers, hasDowngrades } = this.#cluster.options;
    for (let i = 1; i <= clients; i++) this.#running.push(this.#client(`c${i}`));
    if (hasDowngrades) this.downgrades.start();
    if (hasUsers) {
      for (const user of [this.operator, this.guest, this.passwordUser]) {
        this.#running.push(user.run(() => this.isOver));
      }
    }
    for (let i = 1; i <= watchers; i++)
      this.#running.push(this.#watchers.run(`w${i}`, () => this.isOver));
  }

  /** No new calls; resolves when those at hand have their end. */
  async stop(): Promise<void> {
    this.isOver = true;
    await Promise.all(this.#running);
  }

  get watches(): readonly WatchCheck[] {
    return this.#watchers.watches;
  }

  /** Revisions a client was told its write made. */
  acknowledged(): number[] {
    return this.operations.flatMap(({ answer }) =>
      answer?.isChange === true ? [answer.revision] : [],
    );
  }

  #nowMs(): number {
    return this.#cluster.clock.monotonicMs();
  }

  async #client(name: string): Promise<void> {
    const random = this.#random.split(name);
    while (!this.isOver) {
      await sleep(this.#cluster.clock, around(random, this.#cluster.options.thinkMs));
      const member = this.#cluster.someVoter(random);
      if (member !== undefined) await this.#act(name, random, member);
    }
  }

  async #act(name: string, random: SeededRandom, member: SimMember): Promise<void> {
    const choice = randomBelow(random, 100);
    if (choice < 30) await this.#put(name, random, member);
    else if (choice < 40) await this.#delete(name, random, member);
    else if (choice < 60) await this.#txn(name, random, member);
    else if (choice < 85) await this.#read(name, random, member);
    else if (choice < 90) await this.#grant(random, member);
    else if (choice < 97) await this.#renew(random, member);
    else await this.#revoke(name, random, member);
  }

  #key(random: SeededRandom): string {
    return `k${randomBelow(random, this.#cluster.options.keys)}`;
  }

  /** Values are told apart: no two writes write the same. */
  #value(): string {
    return `v${++this.#serial}`;
  }

  /**
   * Writes the operation down, makes the call, and writes down the answer. An error the server
   * gives before anything happened takes the operation back.
   */
  async record<T>(
    client: string,
    request: Request,
    call: () => Promise<T>,
    answerOf: (response: T) => Answer,
  ): Promise<T | undefined> {
    const { trace } = this.#cluster;
    const operation: Operation = {
      name: `${client}#${this.operations.length} ${describe(request)}`,
      callMs: this.#nowMs(),
      returnMs: Infinity,
      request,
      answer: undefined,
    };
    this.operations.push(operation);
    try {
      const response = await call();
      operation.returnMs = this.#nowMs();
      operation.answer = answerOf(response);
      trace.count("operations answered");
      trace.add(`${operation.name} ${operation.answer.revision}`);
      return response;
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      trace.add(`${operation.name} ${error.message}`);
      if (NOTHING_HAPPENED.has(error)) {
        trace.count("operations refused");
        this.operations.splice(this.operations.indexOf(operation), 1);
      } else trace.count("operations without an answer");
      return undefined;
    }
  }

  /** A call that should have been refused, and may have been taken: users did not count for a while. */
  mayHappen(name: string, callMs: number, write: Write): void {
    this.operations.push({
      name,
      callMs,
      returnMs: Infinity,
      request: { kind: "write", condition: undefined, writes: [write] },
      answer: undefined,
    });
  }

  #lease(random: SeededRandom): bigint {
    const recent = this.#granted.slice(-4);
    return recent.length > 0 && random.float() < 0.3 ? pick(random, recent) : 0n;
  }

  async #put(client: string, random: SeededRandom, member: SimMember): Promise<void> {
    const write: Write = {
      key: this.#key(random),
      value: this.#value(),
      lease: this.#lease(random),
    };
    this.#values.set(write.value!, write.lease);
    const request = { kind: "write", condition: undefined, writes: [write] } as const;
    await this.record(
      client,
      request,
      () =>
        this.#cluster.call<PutResponse>(member, CALL_TIMEOUT_MS, (server, context, done) =>
          server.put(putRequest(write), context, done),
        ),
      ({ header }) => {
        this.#seen.set(write.key, header!.revision);
        return { revision: header!.revision, isChange: true };
      },
    );
  }

  async #delete(client: string, random: SeededRandom, member: SimMember): Promise<void> {
    const key = this.#key(random);
    const request = {
      kind: "write",
      condition: undefined,
      writes: [{ key, value: undefined, lease: 0n }],
    } as const;
    await this.record(
      client,
      request,
      () => {
        const message = DeleteRangeRequestCodec.create({ key: bytesFromLatin1(key) });
        return this.#cluster.call<DeleteRangeResponse>(
          member,
          CALL_TIMEOUT_MS,
          (server, context, done) => server.deleteRange(message, context, done),
        );
      },
      ({ header, deleted }) => {
        return { revision: header!.revision, isChange: deleted > 0, succeeded: true };
      },
    );
  }

  /** Writes one or two keys if a key is as it was last seen. */
  async #txn(client: string, random: SeededRandom, member: SimMember): Promise<void> {
    const key = this.#key(random);
    const modRevision = this.#seen.get(key) ?? 0;
    const names = random.float() < 0.4 ? [...new Set([key, this.#key(random)])] : [key];
    const writes = names.map((name): Write => {
      const value = random.float() < 0.2 ? undefined : this.#value();
      const lease = value === undefined ? 0n : this.#lease(random);
      if (value !== undefined) this.#values.set(value, lease);
      return { key: name, value, lease };
    });
    const compare = {
      result: CompareResult.EQUAL,
      target: CompareTarget.MOD,
      key: bytesFromLatin1(key),
      rangeEnd: new Uint8Array(0),
      value: { kind: "modRevision", modRevision },
    } as const;
    const message = { compare: [compare], success: writes.map(requestOp), failure: [] };
    await this.record(
      client,
      { kind: "write", condition: { key, modRevision }, writes },
      () =>
        this.#cluster.call<TxnResponse>(member, CALL_TIMEOUT_MS, (server, context, done) =>
          server.txn(message, context, done),
        ),
      ({ header, succeeded, responses }) => {
        const changed = responses.some(
          (response) =>
            response.kind === "put" ||
            (response.kind === "deleteRange" && response.deleteRange!.deleted > 0),
        );
        this.#seen.delete(key);
        return { revision: header!.revision, isChange: succeeded && changed, succeeded };
      },
    );
  }

  async #read(client: string, random: SeededRandom, member: SimMember): Promise<void> {
    const key = random.float() < 0.3 ? undefined : this.#key(random);
    const range =
      key === undefined
        ? { key: Uint8Array.of(0), rangeEnd: Uint8Array.of(0) }
        : { key: bytesFromLatin1(key) };
    const { plant } = this.#cluster.options;
    await this.record(
      client,
      { kind: "read", key },
      () =>
        this.#cluster.call<RangeResponse>(member, CALL_TIMEOUT_MS, (server, context, done) => {
          const serializable =
            plant === "stale reads" ||
            (plant === "stale reads of leaders" && server.facts().isLeader);
          server.range(RangeRequestCodec.create({ ...range, serializable }), context, done);
        }),
      ({ header, kvs }) => {
        for (const kv of kvs) this.#seen.set(latin1FromBytes(kv.key), kv.modRevision);
        return { revision: header!.revision, isChange: false, read: rangeText(kvs) };
      },
    );
  }

  async #grant(random: SeededRandom, member: SimMember): Promise<void> {
    const callMs = this.#nowMs();
    const { plant } = this.#cluster.options;
    const told = 2 + randomBelow(random, LEASE_SECONDS_MAX - 1);
    const request = { id: 0n, ttl: plant === "lease ends early" ? Math.ceil(told / 4) : told };
    try {
      const { id } = await this.#cluster.call<LeaseGrantResponse>(
        member,
        CALL_TIMEOUT_MS,
        (server, context, done) => server.leaseGrant(request, context, done),
      );
      this.#granted.push(id);
      this.leases.granted(id, told, callMs);
      if (plant === "lease never ends") void this.#keepForEver(id);
      this.#cluster.trace.count("leases granted");
      // Its time may run out at any moment, which no client is told.
      this.operations.push({
        name: `end of lease ${id.toString(16)}`,
        callMs,
        returnMs: Infinity,
        request: { kind: "endLease", lease: id },
        answer: undefined,
      });
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
    }
  }

  /** For a planted bug: nobody knows that this client goes on. */
  async #keepForEver(id: bigint): Promise<void> {
    const { clock, members } = this.#cluster;
    for (;;) {
      await sleep(clock, 500);
      for (const member of members) {
        const renew: Call<number> = (server, context, done) => server.leaseRenew(id, context, done);
        await this.#cluster.call<number>(member, 500, renew).catch(() => undefined);
      }
    }
  }

  async #renew(random: SeededRandom, member: SimMember): Promise<void> {
    const id = this.#granted.slice(-4)[randomBelow(random, 4)];
    if (id === undefined) return;
    const callMs = this.#nowMs();
    try {
      const ttl = await this.#cluster.call<number>(
        member,
        CALL_TIMEOUT_MS,
        (server, context, done) => server.leaseRenew(id, context, done),
      );
      this.leases.renewed(id, ttl, callMs);
      this.#cluster.trace.count("leases renewed");
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      if (error !== SERVER_ERRORS.leaseNotFound) return;
      this.#cluster.guard(() => this.leases.gone(id, this.#nowMs()));
    }
  }

  async #revoke(client: string, random: SeededRandom, member: SimMember): Promise<void> {
    const id = this.#granted.slice(-4)[randomBelow(random, 4)];
    if (id === undefined) return;
    this.leases.revoking(id);
    const { trace } = this.#cluster;
    // How many keys went with it the answer does not say, so the history keeps it as the end of
    // the lease, which is written down already.
    try {
      const { header } = await this.#cluster.call<LeaseRevokeResponse>(
        member,
        CALL_TIMEOUT_MS,
        (server, context, done) => server.leaseRevoke({ id }, context, done),
      );
      trace.count("leases revoked");
      trace.add(`${client} revoked ${id} ${header!.revision}`);
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
    }
  }

  /** A revision is seen for the first time: keys that went with a lease show when it ended. */
  #happened(revision: number, events: readonly WatchedEvent[]): void {
    const atMs = this.#nowMs();
    this.auth.happened(revision, events);
    for (const { key, value } of events) {
      const lease = this.#attached.get(key) ?? 0n;
      if (value !== undefined) this.#attached.set(key, this.#values.get(value) ?? 0n);
      else {
        this.#attached.delete(key);
        if (lease !== 0n) this.#ended.push({ revision, lease, atMs });
      }
    }
  }

  readonly #ended: { revision: number; lease: bigint; atMs: number }[] = [];

  /** Judges the ends of leases: deletions no client made are the end of a lease. */
  checkLeases(): void {
    const byClients = new Set<number>();
    const unknownKeys = this.operations.filter(
      ({ answer, request }) => answer === undefined && request.kind === "write",
    );
    for (const { answer } of this.operations) {
      if (answer?.isChange === true) byClients.add(answer.revision);
    }
    for (const { revision, lease, atMs } of this.#ended) {
      if (byClients.has(revision)) continue;
      const changes = this.#cluster.ledger.changesAt(revision)!;
      const deleted = new Set(changes.map(({ key }) => key));
      const mayBeClient = unknownKeys.some(
        ({ request, callMs }) =>
          request.kind === "write" &&
          callMs <= atMs &&
          request.writes.some(({ key, value }) => value === undefined && deleted.has(key)),
      );
      if (!mayBeClient) this.leases.gone(lease, atMs);
    }
  }
}

function putRequest({ key, value, lease }: Write) {
  return PutRequestCodec.create({
    key: bytesFromLatin1(key),
    value: bytesFromLatin1(value!),
    lease,
  });
}

function requestOp(write: Write): RequestOp {
  if (write.value !== undefined) return { kind: "put", put: putRequest(write) };
  const deleteRange = DeleteRangeRequestCodec.create({ key: bytesFromLatin1(write.key) });
  return { kind: "deleteRange", deleteRange };
}

export function rangeText(kvs: RangeResponse["kvs"]): string {
  return kvs
    .map((kv) =>
      pairText(latin1FromBytes(kv.key), {
        value: latin1FromBytes(kv.value),
        createRevision: kv.createRevision,
        modRevision: kv.modRevision,
        version: kv.version,
        lease: kv.lease,
      }),
    )
    .sort()
    .join(" ");
}

function describe(request: Request): string {
  switch (request.kind) {
    case "read":
      return `read ${request.key ?? "all"}`;
    case "endLease":
      return `end of lease ${request.lease.toString(16)}`;
    case "write": {
      const writes = request.writes.map(({ key, value }) =>
        value === undefined ? `-${key}` : `${key}=${value}`,
      );
      const { condition } = request;
      const iff = condition === undefined ? "" : `if ${condition.key}@${condition.modRevision} `;
      return `${iff}${writes.join(" ")}`;
    }
  }
}
