/**
 * Reads the records of consecutive segments and tells a torn tail from damage.
 *
 * A crash may leave the last write of the last segment partly on disk: any of its 512-byte sectors
 * may still hold the zeros of preallocation, and the file may be shorter than written. That is a
 * torn tail: nothing in it was acknowledged, and it may be cut off. Everything else that does not
 * read back is damage and is refused, because synced records might stand behind it.
 *
 * A failing record counts as torn only if all of this holds:
 * - it is in the last segment, after the head records that were synced before the segment got its
 *   name;
 * - its length field, type and data length agree, as far as their sectors were written;
 * - a whole sector of it is zero on disk, or it runs past the end of the file;
 * - no later write follows it. One write holds entries and then at most one hard state, so entries
 *   that follow a hard state prove that the entries before that hard state had been synced.
 */

import { CorruptionError, crc32c } from "@etcd-ts/base";
import {
  FRAME_HEADER_BYTES,
  RECORD_CRC,
  RECORD_ENTRY,
  RECORD_HEAD_BYTES_MAX,
  RECORD_METADATA,
  RECORD_STATE,
  decodeFrameSize,
  decodeRecordHead,
  framePaddingBytes,
  impliedRecordHead,
  isZero,
} from "./record.ts";
import type { FrameSize, LogRecord, RecordHead, RecordType } from "./record.ts";
import type { SegmentBytes } from "./segment-bytes.ts";

const SECTOR_BYTES = 512;
/** The crc and metadata records, which each segment begins with. */
const HEAD_RECORDS = 2;

export type LogStep =
  | { readonly kind: "record"; readonly record: LogRecord }
  /** Only zeros, or nothing, follow in the last segment. */
  | { readonly kind: "end" }
  /** What follows `offsetBytes` in the last segment is an interrupted write. */
  | { readonly kind: "torn"; readonly reason: string };

/** A length field that was lost with its sector while its record survived whole. */
export interface LostLength {
  readonly offsetBytes: number;
  readonly recordBytes: number;
}

export class LogReader {
  readonly #segments: readonly SegmentBytes[];
  #position = 0;
  #offset = 0;
  #crc = 0;
  #recordsInSegment = 0;
  readonly #lostLengths: LostLength[] = [];

  /** @param segments - in order of sequence, without gaps, at least one */
  constructor(segments: readonly SegmentBytes[]) {
    this.#segments = segments;
  }

  /** The segment of the record read last. */
  get segment(): SegmentBytes {
    return this.#segments[this.#position]!;
  }

  /** Where the record read last ends in its segment. */
  get offsetBytes(): number {
    return this.#offset;
  }

  /** The running checksum. */
  get crc(): number {
    return this.#crc;
  }

  /** Lengths to write back into the last segment. */
  get lostLengths(): readonly LostLength[] {
    return this.#lostLengths;
  }

  /** @throws {CorruptionError} naming the segment and the offset of the record */
  next(): LogStep {
    for (;;) {
      const step = this.#readFrame();
      if (step.kind !== "end" || this.#isLast()) return step;
      this.#requireHead();
      this.#position++;
      this.#offset = 0;
      this.#recordsInSegment = 0;
    }
  }

  #isLast(): boolean {
    return this.#position === this.#segments.length - 1;
  }

  #requireHead(): void {
    if (this.#recordsInSegment < HEAD_RECORDS) {
      throw this.#corruption("wal: segment without its head records");
    }
  }

  #corruption(message: string, offsetBytes: number = this.#offset): CorruptionError {
    return new CorruptionError(message, this.segment.path, offsetBytes);
  }

  #readFrame(): LogStep {
    const { segment } = this;
    const remaining = segment.sizeBytes - this.#offset;
    const header = segment.viewUpTo(this.#offset, FRAME_HEADER_BYTES);
    if (isZero(header)) {
      return remaining <= FRAME_HEADER_BYTES ? this.#cleanEnd() : this.#zeroLength();
    }
    if (remaining < FRAME_HEADER_BYTES) return this.#torn("file ends in a length field");
    const size = decodeFrameSize(header);
    if (size === undefined) throw this.#corruption("wal: illegal frame length");
    const start = this.#offset + FRAME_HEADER_BYTES;
    if (start + size.recordBytes + size.paddingBytes > segment.sizeBytes) {
      return this.#classify(size, "wal: record runs past the end of the file");
    }
    const bytes = segment.view(start, size.recordBytes);
    const head = decodeRecordHead(bytes, size.recordBytes);
    if (head === undefined) return this.#classify(size, "wal: illegal record");
    return this.#accept(bytes, head, size) ?? this.#classify(size, "walpb: crc mismatch");
  }

  /** Undefined if the checksum does not fit. */
  #accept(bytes: Uint8Array, head: RecordHead, size: FrameSize): LogStep | undefined {
    const data = bytes.subarray(head.dataStart, head.dataStart + head.dataBytes);
    if (head.type === RECORD_CRC) {
      if (head.dataBytes > 0) throw this.#corruption("wal: crc record with data");
      if (this.#crc !== 0 && head.crc !== this.#crc) throw this.#corruption("walpb: crc mismatch");
      this.#crc = head.crc;
    } else {
      const crc = crc32c(this.#crc, data);
      if (crc !== head.crc) return undefined;
      this.#crc = crc;
    }
    this.#checkPlace(head.type);
    const record = { type: head.type as RecordType, data, offsetBytes: this.#offset };
    this.#offset += FRAME_HEADER_BYTES + size.recordBytes + size.paddingBytes;
    this.#recordsInSegment++;
    return { kind: "record", record };
  }

  /** Crc and metadata open each segment and stand nowhere else. */
  #checkPlace(type: number): void {
    const place = this.#recordsInSegment;
    if ((type === RECORD_CRC) !== (place === 0))
      throw this.#corruption("wal: misplaced crc record");
    if ((type === RECORD_METADATA) !== (place === 1)) {
      throw this.#corruption("wal: misplaced metadata record");
    }
  }

  #cleanEnd(): LogStep {
    this.#requireHead();
    return { kind: "end" };
  }

  /** A length of zero: the end of the log, or a sector that was never written. */
  #zeroLength(): LogStep {
    const { segment } = this;
    const after = this.#offset + FRAME_HEADER_BYTES;
    const found = segment.firstNonZero(after);
    if (found === segment.sizeBytes) return this.#cleanEnd();
    const sectorEnd = nextSector(this.#offset);
    if (found < sectorEnd) throw this.#corruption("wal: zero length before data");
    if (after === sectorEnd) {
      const step = this.#restoreLength();
      if (step !== undefined) return step;
    }
    return this.#laterWrite(sectorEnd, undefined)
      ? this.#refuse("wal: zero length before synced records")
      : this.#torn("a sector was not written");
  }

  /**
   * A length field alone in the last 8 bytes of its sector: the record behind it says how long it
   * is and the chained checksum proves that it is the next one.
   */
  #restoreLength(): LogStep | undefined {
    const { segment } = this;
    if (!this.#isLast() || this.#recordsInSegment < HEAD_RECORDS) return undefined;
    const start = this.#offset + FRAME_HEADER_BYTES;
    const head = impliedRecordHead(segment.viewUpTo(start, RECORD_HEAD_BYTES_MAX), undefined);
    if (head === undefined) return undefined;
    const recordBytes = head.dataStart + head.dataBytes;
    const paddingBytes = framePaddingBytes(recordBytes);
    if (start + recordBytes + paddingBytes > segment.sizeBytes) return undefined;
    const offsetBytes = this.#offset;
    const bytes = segment.view(start, recordBytes);
    const step = this.#accept(bytes, head, { recordBytes, paddingBytes });
    if (step !== undefined) this.#lostLengths.push({ offsetBytes, recordBytes });
    return step;
  }

  /** Torn or damaged: the rules at the top of this file. */
  #classify(size: FrameSize, reason: string): LogStep {
    const { segment } = this;
    const start = this.#offset + FRAME_HEADER_BYTES;
    const end = start + size.recordBytes + size.paddingBytes;
    const lost = this.#lostSector(Math.min(end, segment.sizeBytes));
    const runsPastEnd = end > segment.sizeBytes;
    if (lost === undefined && !runsPastEnd) return this.#refuse(reason);
    const visibleEnd = Math.min(lost ?? segment.sizeBytes, start + RECORD_HEAD_BYTES_MAX);
    const visible = segment.view(
      start,
      Math.max(0, Math.min(visibleEnd - start, size.recordBytes)),
    );
    const isWhole = visible.length === Math.min(RECORD_HEAD_BYTES_MAX, size.recordBytes);
    const head = decodeRecordHead(visible, size.recordBytes);
    if (isWhole && head === undefined) return this.#refuse(reason);
    if (!runsPastEnd && this.#laterWrite(end, head?.type)) return this.#refuse(reason);
    return this.#torn(reason);
  }

  #refuse(reason: string): never {
    throw this.#corruption(reason);
  }

  #torn(reason: string): LogStep {
    if (!this.#isLast() || this.#recordsInSegment < HEAD_RECORDS) throw this.#corruption(reason);
    return { kind: "torn", reason };
  }

  /** The first sector after the record's own that is all zeros and starts before `end`. */
  #lostSector(end: number): number | undefined {
    const { segment } = this;
    for (let at = nextSector(this.#offset); at < end; at += SECTOR_BYTES) {
      const sectorEnd = Math.min(at + SECTOR_BYTES, segment.sizeBytes);
      if (segment.firstNonZero(at, sectorEnd) === sectorEnd) return at;
    }
    return undefined;
  }

  /**
   * Whether records of a later write stand behind a failing one.
   *
   * Frames are looked for at each multiple of 8; one counts if its checksum follows from the frame
   * before it.
   *
   * @param failing - the type of the failing record, if it could be read
   */
  #laterWrite(from: number, failing: number | undefined): boolean {
    const { segment } = this;
    const order = new WriteOrder();
    if (failing !== undefined) order.add(failing);
    let previous: { type: number; crc: number; counted: boolean } | undefined;
    for (let at = from; at + FRAME_HEADER_BYTES < segment.sizeBytes;) {
      const frame = this.#frameAt(at, previous?.crc);
      if (frame === undefined) {
        previous = undefined;
        const found = segment.firstNonZero(at + 8);
        at = Math.max(at + 8, found - (found % 8));
        continue;
      }
      if (frame.follows && previous !== undefined) {
        if (!previous.counted) order.add(previous.type);
        order.add(frame.type);
        if (order.hasTwoWrites) return true;
      }
      previous = { type: frame.type, crc: frame.crc, counted: frame.follows };
      at = frame.end;
    }
    return false;
  }

  #frameAt(
    offsetBytes: number,
    crcBefore: number | undefined,
  ): { type: number; crc: number; end: number; follows: boolean } | undefined {
    const { segment } = this;
    const header = segment.view(offsetBytes, FRAME_HEADER_BYTES);
    const size = isZero(header) ? undefined : decodeFrameSize(header);
    if (size === undefined) return undefined;
    const start = offsetBytes + FRAME_HEADER_BYTES;
    const end = start + size.recordBytes + size.paddingBytes;
    if (end > segment.sizeBytes) return undefined;
    const bytes = segment.view(start, size.recordBytes);
    const head = decodeRecordHead(bytes, size.recordBytes);
    if (head === undefined) return undefined;
    const follows =
      crcBefore !== undefined && crc32c(crcBefore, bytes, head.dataStart) === head.crc;
    return { type: head.type, crc: head.crc, end, follows };
  }
}

/** Watches for entries, a hard state and entries again: two writes, the first of them synced. */
class WriteOrder {
  #entries = false;
  #state = false;
  hasTwoWrites = false;

  add(type: number): void {
    if (type === RECORD_STATE) this.#state = this.#entries;
    if (type === RECORD_ENTRY) {
      if (this.#state) this.hasTwoWrites = true;
      this.#entries = true;
    }
  }
}

function nextSector(offsetBytes: number): number {
  return offsetBytes - (offsetBytes % SECTOR_BYTES) + SECTOR_BYTES;
}
