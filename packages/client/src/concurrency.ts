/**
 * Sessions, locks and elections among clients.
 *
 * A session is a lease kept alive. Whoever wants a lock, or to lead, puts a key that ends with the
 * lease's id under the common name; the keys queue in the order of their creation, and the oldest
 * one holds. A key goes with its lease, so a client that dies does not hold for ever. The layout
 * of the keys is the one etcd's own clients use: they take turns with ours.
 */

import { GRPC_CODES, RpcError } from "@etcd-ts/api";
import type { KeyValue, ResponseHeader, TxnResponse } from "@etcd-ts/api";
import { hexFromID, stringFromUtf8 } from "@etcd-ts/base";

import { compare } from "./compare.ts";
import { aborted, typedError } from "./errors.ts";
import type { Keyspace } from "./keyspace.ts";
import type { Watcher } from "./watch.ts";
import { op } from "./kv.ts";
import type { RequestOptions } from "./options.ts";
import { sleep } from "./waiting.ts";

const UNDO_TIMEOUT_MS = 3000;
/** Between looks at an election whose events were compacted away. */
const LOOK_AGAIN_MS = 100;

/** Signals of one call; `AbortSignal.timeout` is a deadline. */
export type WaitOptions = Pick<RequestOptions, "signal">;

/** What was held is held no longer. */
function lost(code: string, text: string): RpcError {
  return new RpcError(code, GRPC_CODES.FAILED_PRECONDITION, text);
}

/** A lease that is kept alive for as long as the session lasts. */
export class Session {
  readonly client: Keyspace;
  readonly leaseID: bigint;
  /** Settles when the lease is gone: the end of everything held through it. */
  readonly done: Promise<void>;
  readonly #abort = new AbortController();

  /** A session of a lease there is already, which is kept alive from now on. */
  constructor(client: Keyspace, leaseID: bigint) {
    this.client = client;
    this.leaseID = leaseID;
    this.done = this.#keep();
    this.done.catch(() => undefined);
  }

  static async create(
    client: Keyspace,
    options: { readonly ttlSeconds?: number } & RequestOptions = {},
  ): Promise<Session> {
    // Granted twice, the lease that is not used runs out.
    const { id } = await client.lease.grant(options.ttlSeconds ?? 60, {
      repeatable: true,
      ...options,
    });
    return new Session(client, id);
  }

  async #keep(): Promise<void> {
    const { signal } = this.#abort;
    for await (const answer of this.client.lease.keepAlive(this.leaseID, { signal })) {
      if (answer.ttl <= 0) return;
    }
  }

  /** Ends the session and lets go of what it holds. */
  async close(options: RequestOptions = {}): Promise<void> {
    this.#abort.abort();
    await this.client.lease.revoke(this.leaseID, options);
  }

  /** Stops renewing; what is held goes when the lease runs out. */
  orphan(): void {
    this.#abort.abort();
  }
}

/** Waits until no key under `prefix` is as old as `createRevisionMax`. */
async function waitForElders(
  client: Keyspace,
  prefix: string,
  createRevisionMax: number,
  options: WaitOptions,
): Promise<ResponseHeader | undefined> {
  for (;;) {
    const { kvs, header } = await client.kv.get(prefix, {
      prefix: true,
      sortBy: "CREATE",
      order: "DESCEND",
      limit: 1,
      maxCreateRevision: createRevisionMax,
      ...options,
    });
    const elder = kvs[0];
    if (elder === undefined) return header;
    const watcher = client.watch(elder.key, {
      startRevision: header?.revision ?? 0,
      noPut: true,
      ...options,
    });
    await firstEvent(watcher);
    if (options.signal?.aborted === true) throw aborted(options.signal);
  }
}

/** Also returns when the events were compacted away, or the watch was canceled. */
async function firstEvent(watcher: Watcher): Promise<void> {
  try {
    for await (const { events } of watcher) if (events.length > 0) return;
  } catch (error) {
    if (typedError(error).code !== "COMPACTED") throw error;
  }
}

/**
 * Ends what an interrupted call may have begun. The call's own time is over, so this has its own;
 * if it fails too, the key goes with the session's lease.
 */
async function undo(run: (options: RequestOptions) => Promise<void>): Promise<void> {
  try {
    await run({ timeoutMs: UNDO_TIMEOUT_MS });
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
  }
}

function keyUnder(prefix: string, session: Session): string {
  return `${prefix}${hexFromID(session.leaseID)}`;
}

/** A lock that one session at a time holds. */
export class Mutex {
  readonly #session: Session;
  readonly #prefix: string;
  #key = "";
  #createRevision = 0;
  #header: ResponseHeader | undefined;

  constructor(session: Session, name: string) {
    this.#session = session;
    this.#prefix = `${name}/`;
  }

  /** The key that holds the lock; empty while it is not held. */
  get key(): string {
    return this.#key;
  }

  /** Of the answer that gave the lock. */
  get header(): ResponseHeader | undefined {
    return this.#header;
  }

  /** Holds while this session holds the lock: put it into transactions. */
  isOwner(): ReturnType<typeof compare.createRevision> {
    return compare.createRevision(this.#key, "=", this.#createRevision);
  }

  /** Waits for the lock. @throws {RpcError} SESSION_EXPIRED, CANCELED */
  async lock(options: WaitOptions = {}): Promise<void> {
    const owner = await this.#enter(options);
    if (owner === undefined || owner.createRevision === this.#createRevision) return;
    const { kv } = this.#session.client;
    try {
      await waitForElders(this.#session.client, this.#prefix, this.#createRevision - 1, options);
      const mine = await kv.get(this.#key, options);
      if (mine.kvs.length === 0) throw lost("SESSION_EXPIRED", "mutex: session is expired");
      this.#header = mine.header;
    } catch (error) {
      await undo((rest) => this.unlock(rest));
      throw error;
    }
  }

  /** @throws {RpcError} LOCKED, if another session holds it */
  async tryLock(options: WaitOptions = {}): Promise<void> {
    const owner = await this.#enter(options);
    if (owner === undefined || owner.createRevision === this.#createRevision) return;
    await this.unlock();
    throw lost("LOCKED", "mutex: Locked by another session");
  }

  async unlock(options: RequestOptions = {}): Promise<void> {
    const key = this.#key;
    if (key === "") return;
    // The key is this session's alone: deleting it twice does no more than once.
    await this.#session.client.kv.delete(key, { repeatable: true, ...options });
    this.#key = "";
    this.#createRevision = 0;
  }

  /** Joins the queue. @returns who is at its head */
  async #enter(options: WaitOptions): Promise<KeyValue | undefined> {
    const key = keyUnder(this.#prefix, this.#session);
    const head = op.get(this.#prefix, {
      prefix: true,
      sortBy: "CREATE",
      order: "ASCEND",
      limit: 1,
    });
    const txn = this.#session.client.kv
      .txn()
      .if(compare.createRevision(key, "=", 0))
      .do(op.put(key, "", { lease: this.#session.leaseID }), head)
      .else(op.get(key), head);
    this.#key = key;
    let answer: TxnResponse;
    try {
      // Sent twice, the second finds the key and takes the other branch.
      answer = await txn.commit({ repeatable: true, ...options });
    } catch (error) {
      await undo((rest) => this.unlock(rest));
      this.#key = "";
      throw error;
    }
    this.#header = answer.header;
    const [own, first] = answer.responses;
    this.#createRevision =
      own?.kind === "range"
        ? (own.range.kvs[0]?.createRevision ?? 0)
        : (answer.header?.revision ?? 0);
    return first?.kind === "range" ? first.range.kvs[0] : undefined;
  }
}

/** A leader, and what it says. */
export interface Observation {
  readonly header: ResponseHeader | undefined;
  readonly kv: KeyValue;
  /** Of a proclamation: whether others were waiting, and how many keys there were, at its election. */
  readonly more: boolean;
  readonly count: number;
}

/** One session at a time leads, and says something with it. */
export class Election {
  readonly #session: Session;
  readonly #prefix: string;
  #key = "";
  #createRevision = 0;

  constructor(session: Session, name: string) {
    this.#session = session;
    this.#prefix = `${name}/`;
  }

  /**
   * An election that a key of this session is known to lead, as after a restart of the program that
   * kept `key` and `createRevision`.
   */
  static resume(session: Session, name: string, key: string, createRevision: number): Election {
    const election = new Election(session, name);
    election.#key = key;
    election.#createRevision = createRevision;
    return election;
  }

  /** Empty while not elected. */
  get key(): string {
    return this.#key;
  }

  /** Of the key; with it another program can go on leading, see `resume`. */
  get createRevision(): number {
    return this.#createRevision;
  }

  /** Waits until this session leads. @throws {RpcError} CANCELED */
  async campaign(value: string, options: WaitOptions = {}): Promise<void> {
    const { client, leaseID } = this.#session;
    const key = keyUnder(this.#prefix, this.#session);
    const txn = client.kv
      .txn()
      .if(compare.createRevision(key, "=", 0))
      .do(op.put(key, value, { lease: leaseID }))
      .else(op.get(key));
    let answer: TxnResponse;
    try {
      answer = await txn.commit({ repeatable: true, ...options });
    } catch (error) {
      await undo(async (rest) => void (await client.kv.delete(key, { repeatable: true, ...rest })));
      throw error;
    }
    this.#key = key;
    this.#createRevision = answer.header?.revision ?? 0;
    const own = answer.responses[0];
    const existing = own?.kind === "range" ? own.range.kvs[0] : undefined;
    try {
      if (existing !== undefined) {
        this.#createRevision = existing.createRevision;
        if (stringFromUtf8(existing.value) !== value) await this.proclaim(value, options);
      }
      await waitForElders(client, this.#prefix, this.#createRevision - 1, options);
    } catch (error) {
      await undo((rest) => this.resign(rest));
      throw error;
    }
  }

  /** Says something else without a new election. @throws {RpcError} NOT_LEADER */
  async proclaim(value: string, options: RequestOptions = {}): Promise<void> {
    if (this.#key === "") throw lost("NOT_LEADER", "election: not leader");
    const answer = await this.#session.client.kv
      .txn()
      .if(compare.createRevision(this.#key, "=", this.#createRevision))
      .do(op.put(this.#key, value, { lease: this.#session.leaseID }))
      .commit(options);
    if (answer.succeeded) return;
    this.#key = "";
    throw lost("NOT_LEADER", "election: not leader");
  }

  /** Lets another one lead. */
  async resign(options: RequestOptions = {}): Promise<void> {
    const key = this.#key;
    if (key === "") return;
    this.#key = "";
    await this.#session.client.kv
      .txn()
      .if(compare.createRevision(key, "=", this.#createRevision))
      .do(op.delete(key))
      .commit({ repeatable: true, ...options });
  }

  /** The leader's key and what it says; undefined if nobody leads. */
  async leader(options: RequestOptions = {}): Promise<KeyValue | undefined> {
    const { kvs } = await this.#session.client.kv.get(this.#prefix, {
      prefix: true,
      sortBy: "CREATE",
      order: "ASCEND",
      limit: 1,
      ...options,
    });
    return kvs[0];
  }

  /** Each leader and each of its proclamations, from now on. */
  async *observe(options: WaitOptions = {}): AsyncGenerator<Observation, void> {
    const { client } = this.#session;
    while (options.signal?.aborted !== true) {
      const { kvs, header, more, count } = await client.kv.get(this.#prefix, {
        prefix: true,
        sortBy: "CREATE",
        order: "ASCEND",
        limit: 1,
        ...options,
      });
      const revision = header?.revision ?? 0;
      const leader = kvs[0];
      if (leader === undefined) {
        const coming = client.watch(this.#prefix, {
          prefix: true,
          startRevision: revision,
          noDelete: true,
          ...options,
        });
        await firstEvent(coming);
        continue;
      }
      yield { header, kv: leader, more: false, count: 0 };
      const changes = client.watch(leader.key, { startRevision: revision + 1, ...options });
      try {
        reading: for await (const response of changes) {
          for (const event of response.events) {
            if (event.type !== 0 || event.kv === undefined) break reading;
            yield { header: response.header, kv: event.kv, more, count };
          }
        }
      } catch (error) {
        if (typedError(error).code !== "COMPACTED") throw error;
        await sleep(LOOK_AGAIN_MS, options.signal);
      }
    }
  }
}
