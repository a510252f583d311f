/**
 * Transactions of a program's own code over keys: what it read is checked when its writes are
 * committed, all at once; if something came between, the code runs again.
 *
 * What is checked when committing:
 * - `serializableSnapshot`: the keys read, all at the revision of the first read, are unchanged,
 *   and the keys written were not written since.
 * - `serializable`: the keys read, all at the revision of the first read, are unchanged.
 * - `repeatableReads`: the keys read, each once and at its own time, are unchanged.
 * - `readCommitted`: nothing.
 */

import { RpcError } from "@etcd-ts/api";
import type { Compare, KeyValue, RequestOp, TxnResponse } from "@etcd-ts/api";
import { bytesFromLatin1, latin1FromBytes } from "@etcd-ts/base";

import { bytesOf } from "./bytes.ts";
import type { Bytes } from "./bytes.ts";
import { compare } from "./compare.ts";
import { aborted } from "./errors.ts";
import type { Keyspace } from "./keyspace.ts";
import { op } from "./kv.ts";
import type { RequestOptions } from "./options.ts";
import { remaining } from "./waiting.ts";

export type Isolation =
  | "serializableSnapshot"
  | "serializable"
  | "repeatableReads"
  | "readCommitted";

export interface StmOptions extends Pick<RequestOptions, "timeoutMs" | "signal"> {
  /** Default `serializableSnapshot`. */
  readonly isolation?: Isolation;
  /** Keys that will be read: fetched together before the first run. */
  readonly prefetch?: readonly Bytes[];
}

/** What the code of a transaction sees. Its own writes come before what is stored. */
export interface Stm {
  /** @returns undefined if the key is not there */
  get(key: Bytes): Promise<Uint8Array | undefined>;
  /** @returns the revision of the last change of what is stored; 0 if the key is not there */
  revision(key: Bytes): Promise<number>;
  put(key: Bytes, value: Bytes, options?: { readonly lease?: bigint }): void;
  delete(key: Bytes): void;
}

export interface StmResult<T> {
  /** What the last run of the code returned. */
  readonly value: T;
  /** Of the commit; undefined if there was nothing to commit. */
  readonly response: TxnResponse | undefined;
  /** How often the code ran. */
  readonly runs: number;
}

/**
 * Runs `code` until its transaction commits. It may run several times, so it should do nothing
 * but read and write through `stm`; what it throws ends the transaction without a write.
 *
 * @throws {RpcError} after UNAVAILABLE the writes may have happened or not
 */
export async function transact<T>(
  keyspace: Keyspace,
  code: (stm: Stm) => Promise<T> | T,
  options: StmOptions = {},
): Promise<StmResult<T>> {
  const deadlineMs = performance.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY);
  const requestOptions = (): RequestOptions => {
    if (options.signal?.aborted === true) throw aborted(options.signal);
    return {
      ...remaining(deadlineMs),
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    };
  };
  const isolation = options.isolation ?? "serializableSnapshot";
  let known: ReadSet | undefined;
  const prefetch = (options.prefetch ?? []).map(nameOf);
  for (let runs = 1; ; runs++) {
    const attempt = new Attempt(keyspace, isolation, requestOptions, known);
    try {
      if (runs === 1 && prefetch.length > 0) await attempt.fetch(prefetch);
      const value = await code(attempt);
      const outcome = await attempt.commit();
      if (outcome.isCommitted) return { value, response: outcome.response, runs };
      known = outcome.known;
    } catch (error) {
      // A revision read at was compacted away meanwhile: begin at a newer one.
      if (!(error instanceof RpcError) || error.code !== "COMPACTED") throw error;
      known = undefined;
    }
  }
}

/** Keys as they were at one revision, or each at its own. By name: one character a byte. */
interface ReadSet {
  readonly revision: number;
  readonly kvs: Map<string, KeyValue | undefined>;
}

interface Write {
  readonly value: Uint8Array | undefined;
  readonly operation: RequestOp;
}

function nameOf(key: Bytes): string {
  return latin1FromBytes(bytesOf(key));
}

/** One run of the code. */
class Attempt implements Stm {
  readonly #keyspace: Keyspace;
  readonly #isolation: Isolation;
  readonly #requestOptions: () => RequestOptions;
  readonly #reads = new Map<string, KeyValue | undefined>();
  readonly #writes = new Map<string, Write>();
  /** What the commit before this run, which failed, found; taken over as the code asks for it. */
  readonly #known: ReadSet | undefined;
  /** Of the first read; 0 before it. */
  #revision = 0;

  constructor(
    keyspace: Keyspace,
    isolation: Isolation,
    requestOptions: () => RequestOptions,
    known: ReadSet | undefined,
  ) {
    this.#keyspace = keyspace;
    this.#isolation = isolation;
    this.#requestOptions = requestOptions;
    this.#known = known;
  }

  async get(key: Bytes): Promise<Uint8Array | undefined> {
    const name = nameOf(key);
    const written = this.#writes.get(name);
    if (written !== undefined) return written.value;
    return (await this.#read(name))?.value;
  }

  async revision(key: Bytes): Promise<number> {
    return (await this.#read(nameOf(key)))?.modRevision ?? 0;
  }

  put(key: Bytes, value: Bytes, options: { readonly lease?: bigint } = {}): void {
    const bytes = bytesOf(value);
    this.#writes.set(nameOf(key), { value: bytes, operation: op.put(key, bytes, options) });
  }

  delete(key: Bytes): void {
    this.#writes.set(nameOf(key), { value: undefined, operation: op.delete(key) });
  }

  async fetch(names: readonly string[]): Promise<void> {
    const operations = names.map((name) =>
      op.get(bytesFromLatin1(name), { revision: this.#isAtOneRevision ? this.#revision : 0 }),
    );
    const answer = await this.#keyspace.kv
      .txn()
      .do(...operations)
      .commit(this.#requestOptions());
    if (this.#revision === 0) this.#revision = answer.header?.revision ?? 0;
    for (const [name, kv] of readsOf(names, answer)) this.#reads.set(name, kv);
  }

  async commit(): Promise<
    | { readonly isCommitted: true; readonly response: TxnResponse | undefined }
    | { readonly isCommitted: false; readonly known: ReadSet }
  > {
    const names = [...this.#reads.keys()];
    const operations = [...this.#writes.values()].map(({ operation }) => operation);
    const isChecked = this.#isolation !== "readCommitted" && names.length > 0;
    // Reads of one revision that lead to no write have nothing to be checked against.
    if (operations.length === 0 && (this.#isAtOneRevision || !isChecked)) {
      return { isCommitted: true, response: undefined };
    }
    const response = await this.#keyspace.kv
      .txn()
      .if(...this.#conditions())
      .do(...operations)
      .else(...names.map((name) => op.get(bytesFromLatin1(name))))
      .commit(this.#requestOptions());
    if (response.succeeded) return { isCommitted: true, response };
    const kvs = readsOf(names, response);
    return { isCommitted: false, known: { revision: response.header?.revision ?? 0, kvs } };
  }

  get #isAtOneRevision(): boolean {
    return this.#isolation === "serializable" || this.#isolation === "serializableSnapshot";
  }

  async #read(name: string): Promise<KeyValue | undefined> {
    if (!this.#reads.has(name)) this.#takeKnown(name);
    if (!this.#reads.has(name)) await this.fetch([name]);
    return this.#reads.get(name);
  }

  #takeKnown(name: string): void {
    const known = this.#known;
    if (known === undefined || !known.kvs.has(name)) return;
    if (this.#revision === 0) this.#revision = known.revision;
    if (this.#isAtOneRevision && this.#revision !== known.revision) return;
    this.#reads.set(name, known.kvs.get(name));
  }

  #conditions(): readonly Compare[] {
    if (this.#isolation === "readCommitted") return [];
    const conditions = [...this.#reads].map(([name, kv]) =>
      compare.modRevision(bytesFromLatin1(name), "=", kv?.modRevision ?? 0),
    );
    if (this.#isolation !== "serializableSnapshot" || this.#revision === 0) return conditions;
    for (const name of this.#writes.keys()) {
      if (this.#reads.has(name)) continue;
      conditions.push(compare.modRevision(bytesFromLatin1(name), "<", this.#revision + 1));
    }
    return conditions;
  }
}

function readsOf(names: readonly string[], answer: TxnResponse): Map<string, KeyValue | undefined> {
  const reads = new Map<string, KeyValue | undefined>();
  for (const [i, name] of names.entries()) {
    const response = answer.responses[i];
    reads.set(name, response?.kind === "range" ? response.range.kvs[0] : undefined);
  }
  return reads;
}
