/**
 * A window over a segment, so that reading one never holds more than the window and one record.
 *
 * A view lives until the next call. Lengths are checked against the file before memory is taken.
 */

import { CorruptionError, invariant } from "@etcd-ts/base";
import type { DiskFile } from "@etcd-ts/base";

const WINDOW_BYTES = 1 << 20;

export class SegmentBytes {
  readonly path: string;
  readonly sizeBytes: number;
  readonly #file: DiskFile;
  #window = new Uint8Array(0);
  #start = 0;
  #end = 0;

  constructor(file: DiskFile, path: string) {
    this.#file = file;
    this.path = path;
    this.sizeBytes = file.sizeBytes();
  }

  /** `length` bytes from `offsetBytes`; both must lie inside the file. */
  view(offsetBytes: number, length: number): Uint8Array {
    invariant(
      offsetBytes >= 0 && length >= 0 && offsetBytes + length <= this.sizeBytes,
      () => `SegmentBytes.view: [${offsetBytes}, +${length}) of ${this.sizeBytes}`,
    );
    if (offsetBytes < this.#start || offsetBytes + length > this.#end) {
      this.#load(offsetBytes, length);
    }
    return this.#window.subarray(offsetBytes - this.#start, offsetBytes - this.#start + length);
  }

  /** As `view`, cut at the end of the file. */
  viewUpTo(offsetBytes: number, length: number): Uint8Array {
    return this.view(offsetBytes, Math.max(0, Math.min(length, this.sizeBytes - offsetBytes)));
  }

  /** Position of the first byte in [start, end) that is not zero; `end` if there is none. */
  firstNonZero(start: number, end: number = this.sizeBytes): number {
    for (let at = start; at < end;) {
      const loaded = at >= this.#start && at < this.#end ? this.#end - at : WINDOW_BYTES;
      const bytes = this.view(at, Math.min(loaded, end - at));
      const found = firstNonZeroIn(bytes);
      if (found < bytes.length) return at + found;
      at += bytes.length;
    }
    return end;
  }

  #load(offsetBytes: number, length: number): void {
    const wanted = Math.min(Math.max(length, WINDOW_BYTES), this.sizeBytes - offsetBytes);
    if (this.#window.length < wanted) this.#window = new Uint8Array(wanted);
    const got = this.#file.read(this.#window.subarray(0, wanted), offsetBytes);
    this.#start = offsetBytes;
    this.#end = offsetBytes + got;
    if (got < length) {
      throw new CorruptionError("wal: file ended while it was read", this.path, offsetBytes + got);
    }
  }
}

function firstNonZeroIn(bytes: Uint8Array): number {
  let at = 0;
  while (at < bytes.length && (bytes.byteOffset + at) % 4 !== 0) {
    if (bytes[at] !== 0) return at;
    at++;
  }
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset + at, (bytes.length - at) >> 2);
  for (let i = 0; i < words.length; i++) {
    if (words[i] !== 0) {
      at += 4 * i;
      while (bytes[at] === 0) at++;
      return at;
    }
  }
  for (at += 4 * words.length; at < bytes.length; at++) if (bytes[at] !== 0) return at;
  return bytes.length;
}
