/**
 * Gets of single keys, a batch at a time: the reads of a turn wait for one ReadIndex, and what is
 * stored is copied from where it is to where it is sent from.
 *
 * A request that asks for more than a key, and a caller who has a name, take the way of ordinary
 * calls; so does a read that has become slow, for the request log to tell what was asked.
 */

import { rpcErrorFrom } from "@etcd-ts/api";
import type { EtcdError } from "@etcd-ts/base";
import { INTERNAL_CONTEXT } from "@etcd-ts/etcdserver";
import type { KeyReads, ServerOperations } from "@etcd-ts/etcdserver";
import type { BatchHandler, CallBatch, Metadata, Peer } from "@etcd-ts/rpc";

import { claimOf } from "./headers.ts";

/** RangeRequest: the tags of its key, and of `serializable` with the only value it is sent for. */
const KEY_TAG = 0x0a;
const SERIALIZABLE_TAG = 0x38;
/** Where `CallBatch.firsts` has the start of the key, and whether the read may be of old state. */
const NOT_A_GET = -1;

export class GetBatch implements BatchHandler {
  readonly #server: ServerOperations;
  readonly #reads: KeyReads;
  /** Reads that took longer than this are slow. */
  readonly #slowMs: number;

  constructor(server: ServerOperations, slowMs: number) {
    this.#server = server;
    this.#reads = server.keyReads;
    this.#slowMs = slowMs;
  }

  accepts(metadata: Metadata, peer: Peer): boolean {
    return claimOf({ metadata, peer }) === undefined;
  }

  run(batch: CallBatch): void {
    let linearizable = 0;
    let serializable = 0;
    for (let i = 0; i < batch.count; i++) {
      if (!batch.isOpen(i)) continue;
      const isKnown = readKey(batch, i);
      if (isKnown === NOT_A_GET) batch.handOver(i);
      else if (isKnown === 0) linearizable++;
      else serializable++;
    }
    if (serializable > 0) this.#answer(batch, true);
    if (linearizable === 0) return;
    this.#server.linearizableRead(INTERNAL_CONTEXT, (error) => this.#confirmed(batch, error));
  }

  #confirmed(batch: CallBatch, error: EtcdError | undefined): void {
    if (error === undefined) this.#answer(batch, false);
    else batch.handOverAll((_, call) => call.fail(rpcErrorFrom(error)));
  }

  #answer(batch: CallBatch, isSerializable: boolean): void {
    const reads = this.#reads;
    const latestMs = batch.startMs + this.#slowMs;
    let isQuick = reads.isOpenToAll && reads.begin() <= latestMs;
    for (let i = 0; i < batch.count; i++) {
      if (!batch.isOpen(i) || isSerializable !== batch.seconds[i]! < 0) continue;
      if (isQuick) isQuick = this.#read(batch, i, latestMs);
      else batch.handOver(i);
    }
  }

  /** @returns false if it took too long; then the call was handed over */
  #read(batch: CallBatch, i: number, latestMs: number): boolean {
    const writer = batch.begin(i);
    const end = Math.abs(batch.seconds[i]!);
    let isQuick = false;
    try {
      isQuick = this.#reads.read(writer, batch.bytes, batch.firsts[i]!, end) <= latestMs;
    } finally {
      // Of a damaged record the ordinary way makes the end of the member.
      if (!isQuick) batch.drop();
    }
    if (isQuick) batch.respond(i);
    else batch.handOver(i);
    return isQuick;
  }
}

/**
 * Finds the key of request `i` if it has nothing else but `serializable`: the start goes to
 * `firsts`, the end to `seconds`, negative for a serializable read.
 *
 * @returns 1 if it is serializable, 0 if not, `NOT_A_GET` if it asks for something else
 */
function readKey(batch: CallBatch, i: number): number {
  const { bytes } = batch;
  const end = batch.ends[i]!;
  let at = batch.starts[i]!;
  if (end - at < 3 || bytes[at] !== KEY_TAG) return NOT_A_GET;
  let length = bytes[at + 1]!;
  at += 2;
  if (length >= 0x80) {
    const more = bytes[at++]!;
    if (more >= 0x80) return NOT_A_GET;
    length = (length & 0x7f) | (more << 7);
  }
  const keyEnd = at + length;
  const isSerializable = end === keyEnd + 2;
  if (length === 0 || (end !== keyEnd && !isSerializable)) return NOT_A_GET;
  if (isSerializable && (bytes[keyEnd] !== SERIALIZABLE_TAG || bytes[keyEnd + 1] !== 1)) {
    return NOT_A_GET;
  }
  batch.firsts[i] = at;
  batch.seconds[i] = isSerializable ? -keyEnd : keyEnd;
  return isSerializable ? 1 : 0;
}
