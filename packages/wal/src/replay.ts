/**
 * What the records of a log mean: the state a member had when it wrote the last of them.
 *
 * Invariants:
 * - `entries[i].index === start.index + 1 + i`: entries at or below the start are passed over, one at
 *   an index already read replaces it and all after it, and a gap is damage.
 * - The metadata of all segments is the same.
 */

import { CorruptionError, WireReader, decodeMessage, equalBytes, yieldTurn } from "@etcd-ts/base";
import type { Clock, Codec } from "@etcd-ts/base";
import { EntryCodec, HardStateCodec } from "@etcd-ts/raft";
import type { Entry, HardState } from "@etcd-ts/raft";
import { WalError } from "./errors.ts";
import type { LogReader } from "./log-reader.ts";
import {
  RECORD_CRC,
  RECORD_ENTRY,
  RECORD_METADATA,
  RECORD_SNAPSHOT,
  RECORD_STATE,
} from "./record.ts";
import type { LogRecord } from "./record.ts";
import { WalSnapshotCodec } from "./walpb.ts";
import type { WalSnapshot } from "./walpb.ts";

/** Bytes of records read before other work gets a turn. */
const SLICE_BYTES = 4 << 20;

export interface WalContents {
  readonly metadata: Uint8Array;
  /** Undefined if none was ever written. */
  readonly hardState: HardState | undefined;
  readonly entries: Entry[];
}

/** Records are copied into blocks of this size: a buffer of its own for each costs far more. */
const BLOCK_BYTES = 256 << 10;

/** Copies byte strings into few buffers. */
class Copies {
  #block = new Uint8Array(0);
  #used = 0;

  /** A copy that lives as long as anything keeps it, and its neighbours with it. */
  of(bytes: Uint8Array): Uint8Array {
    if (bytes.length > BLOCK_BYTES / 8) return bytes.slice();
    if (this.#used + bytes.length > this.#block.length) {
      this.#block = new Uint8Array(BLOCK_BYTES);
      this.#used = 0;
    }
    const copy = this.#block.subarray(this.#used, this.#used + bytes.length);
    copy.set(bytes);
    this.#used += bytes.length;
    return copy;
  }
}

export class Replay {
  readonly #start: WalSnapshot;
  readonly #entries: Entry[] = [];
  readonly #snapshots: WalSnapshot[] = [];
  readonly #keepEntries: boolean;
  readonly #copies = new Copies();
  #metadata: Uint8Array | undefined;
  #hardState: HardState | undefined;
  #lastIndex = 0;
  #startFound = false;

  /** @param options.keepEntries - false to collect snapshots and the hard state only */
  constructor(start: WalSnapshot, options: { readonly keepEntries: boolean }) {
    this.#start = start;
    this.#keepEntries = options.keepEntries;
  }

  /** The index written last: what the name of the next segment counts from. */
  get lastIndex(): number {
    return this.#lastIndex;
  }

  get hardState(): HardState | undefined {
    return this.#hardState;
  }

  /** All snapshot records, in order. */
  get snapshots(): readonly WalSnapshot[] {
    return this.#snapshots;
  }

  /** @throws {CorruptionError} @throws {WalError} if the log holds no record of the start */
  contents(path: string): WalContents {
    if (this.#metadata === undefined) throw new CorruptionError("wal: no metadata", path, 0);
    if (!this.#startFound) throw new WalError("WAL_SNAPSHOT_NOT_FOUND", "wal: snapshot not found");
    return { metadata: this.#metadata, hardState: this.#hardState, entries: this.#entries };
  }

  /** @throws {CorruptionError} @throws {WalError} if the start has another term in the log */
  apply(record: LogRecord, path: string): void {
    switch (record.type) {
      case RECORD_METADATA:
        this.#applyMetadata(record, path);
        return;
      case RECORD_ENTRY:
        this.#applyEntry(record, path);
        return;
      case RECORD_STATE:
        this.#hardState = decodeHardState(record, path);
        return;
      case RECORD_SNAPSHOT:
        this.#applySnapshot(record, path);
        return;
      case RECORD_CRC:
        return;
    }
  }

  #applyMetadata(record: LogRecord, path: string): void {
    if (this.#metadata !== undefined && !equalBytes(this.#metadata, record.data)) {
      throw new CorruptionError("wal: conflicting metadata found", path, record.offsetBytes);
    }
    this.#metadata = record.data.slice();
  }

  #applyEntry(record: LogRecord, path: string): void {
    const keep = this.#keepEntries;
    const data = keep ? this.#copies.of(record.data) : record.data;
    const entry = decode(EntryCodec, data, record, path);
    if (entry.type === "EntryConfChange" && entry.data.length === 0) {
      throw new CorruptionError("wal: conf change without data", path, record.offsetBytes);
    }
    this.#lastIndex = entry.index;
    if (!keep || entry.index <= this.#start.index) return;
    const position = entry.index - this.#start.index - 1;
    if (position > this.#entries.length) {
      const message = `wal: slice bounds out of range, entry ${entry.index} leaves a gap`;
      throw new CorruptionError(message, path, record.offsetBytes);
    }
    this.#entries.length = position;
    this.#entries.push(entry);
  }

  #applySnapshot(record: LogRecord, path: string): void {
    const snapshot = decode(WalSnapshotCodec, record.data, record, path);
    this.#snapshots.push(snapshot);
    this.#lastIndex = Math.max(this.#lastIndex, snapshot.index);
    if (snapshot.index !== this.#start.index) return;
    if (snapshot.term !== this.#start.term) {
      throw new WalError("WAL_SNAPSHOT_MISMATCH", "wal: snapshot mismatch");
    }
    this.#startFound = true;
  }
}

/**
 * Feeds `replay` with all records, letting others run between slices.
 *
 * @returns why the tail is torn; undefined if the log ends cleanly
 */
export async function replayAll(
  reader: LogReader,
  replay: Replay,
  clock: Clock,
): Promise<string | undefined> {
  let sliceBytes = 0;
  for (;;) {
    const step = reader.next();
    if (step.kind === "end") return undefined;
    if (step.kind === "torn") return step.reason;
    replay.apply(step.record, reader.segment.path);
    sliceBytes += step.record.data.length + 32;
    if (sliceBytes >= SLICE_BYTES) {
      sliceBytes = 0;
      await yieldTurn(clock);
    }
  }
}

function decode<T>(codec: Codec<T>, data: Uint8Array, record: LogRecord, path: string): T {
  try {
    return decodeMessage(codec, data);
  } catch (error) {
    const message = `wal: record of type ${record.type} does not decode`;
    throw new CorruptionError(message, path, record.offsetBytes, { cause: error });
  }
}

/**
 * An entry without data has the same form as a hard state, save that its first field, the type, is
 * 0 where a hard state has its term: hence the checks, since no checksum covers a record's type.
 */
function decodeHardState(record: LogRecord, path: string): HardState {
  const hardState = decode(HardStateCodec, record.data, record, path);
  const fields = new WireReader(record.data);
  while (fields.next()) {
    if (fields.field > 3 || hardState.term === 0) {
      throw new CorruptionError("wal: illegal hard state", path, record.offsetBytes);
    }
    fields.skip();
  }
  return hardState;
}
