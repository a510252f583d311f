/**
 * A branch or leaf page as it is on disk, read in place.
 *
 * Invariants, checked once in `parsePage`, so that look-ups need no checks of their own:
 * - `bytes` is the page with its continuation pages; all elements, keys and values lie within,
 *   and together take no more than it.
 * - A leaf's keys have 1 to 32768 bytes.
 * - A child page id is in [2, number of pages in the file).
 * Not checked here: that keys are in order, and that no page is reached twice.
 */

import { CorruptionError } from "@etcd-ts/base";
import {
  ELEMENT_BYTES,
  ELEMENT_IS_BUCKET,
  FIRST_DATA_PAGE,
  KEY_BYTES_MAX,
  KIND_BRANCH,
  KIND_LEAF,
  PAGE_HEADER_BYTES,
  readUint16,
  readUint32,
  readUint64,
  writeUint32,
} from "./format.ts";
import type { EntryVisit } from "./types.ts";

/** More bytes than this are copied faster by `set`, which needs a view. */
const COPY_BYTES_MAX = 64;

/** What a page is called in an error text. */
export function kindName(kind: number): string {
  if (kind === KIND_BRANCH) return "branch";
  if (kind === KIND_LEAF) return "leaf";
  if (kind === 0x04) return "meta";
  if (kind === 0x10) return "freelist";
  return `unknown<${kind.toString(16).padStart(2, "0")}>`;
}

export class Page {
  /** 0 for the page of an inline bucket. */
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly isLeaf: boolean;
  readonly count: number;
  /** Pages of the file it takes, 1 + overflow. */
  readonly pageCount: number;
  /** Looked at since the cache last passed by. */
  isRecent = false;
  /** Its place in the ring of the cache that holds it. */
  cacheSlot = -1;

  constructor(id: number, bytes: Uint8Array, isLeaf: boolean, count: number, pageCount: number) {
    this.id = id;
    this.bytes = bytes;
    this.isLeaf = isLeaf;
    this.count = count;
    this.pageCount = pageCount;
  }

  /** The first position whose key is not below `key`; `count` if there is none. */
  lowerBound(key: Uint8Array): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.compareKeyAt(middle, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Of a branch: the child whose range holds `key`. */
  childPosition(key: Uint8Array): number {
    let low = 1;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.compareKeyAt(middle, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** Orders the key at `i` against `key` as memcmp does. */
  compareKeyAt(i: number, key: Uint8Array): number {
    const { bytes } = this;
    const element = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    const fields = this.isLeaf ? element + 4 : element;
    const start = element + readUint32(bytes, fields);
    const size = readUint32(bytes, fields + 4);
    const shared = size < key.length ? size : key.length;
    for (let k = 0; k < shared; k++) {
      const difference = bytes[start + k]! - key[k]!;
      if (difference !== 0) return difference;
    }
    return size - key.length;
  }

  keyAt(i: number): Uint8Array {
    const element = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    const fields = this.isLeaf ? element + 4 : element;
    const start = element + readUint32(this.bytes, fields);
    return this.bytes.subarray(start, start + readUint32(this.bytes, fields + 4));
  }

  /** Of a leaf; the stored bytes of a bucket if it is one. */
  valueAt(i: number): Uint8Array {
    const { bytes } = this;
    const element = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    const start = element + readUint32(bytes, element + 4) + readUint32(bytes, element + 8);
    return bytes.subarray(start, start + readUint32(bytes, element + 12));
  }

  /** Shows an entry of a leaf to `visit` without making views of it. */
  visitAt(i: number, visit: EntryVisit): boolean {
    const { bytes } = this;
    const element = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    const keyStart = element + readUint32(bytes, element + 4);
    const valueStart = keyStart + readUint32(bytes, element + 8);
    return visit(bytes, keyStart, valueStart, valueStart + readUint32(bytes, element + 12));
  }

  /** What the entry takes in a page: element, key and value. */
  entryBytesAt(i: number): number {
    const { bytes } = this;
    const element = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    if (!this.isLeaf) return ELEMENT_BYTES + readUint32(bytes, element + 4);
    return ELEMENT_BYTES + readUint32(bytes, element + 8) + readUint32(bytes, element + 12);
  }

  /**
   * Copies an entry into another page: the element to `element`, key and value to `at`.
   *
   * @returns where the value ends
   */
  copyEntry(i: number, target: Uint8Array, element: number, at: number): number {
    const { bytes } = this;
    const from = PAGE_HEADER_BYTES + i * ELEMENT_BYTES;
    for (let k = 0; k < ELEMENT_BYTES; k++) target[element + k] = bytes[from + k]!;
    const position = this.isLeaf ? 4 : 0;
    const start = from + readUint32(bytes, from + position);
    const length = this.entryBytesAt(i) - ELEMENT_BYTES;
    writeUint32(target, element + position, at - element);
    if (length > COPY_BYTES_MAX) target.set(bytes.subarray(start, start + length), at);
    else for (let k = 0; k < length; k++) target[at + k] = bytes[start + k]!;
    return at + length;
  }

  isBucketAt(i: number): boolean {
    return (this.bytes[PAGE_HEADER_BYTES + i * ELEMENT_BYTES]! & ELEMENT_IS_BUCKET) !== 0;
  }

  /** Of a branch. */
  childIDAt(i: number): number {
    return readUint64(this.bytes, PAGE_HEADER_BYTES + i * ELEMENT_BYTES + 8);
  }
}

/** Where a page comes from, for bounds and error texts. */
export interface PageOrigin {
  readonly path: string;
  readonly offsetBytes: number;
  /** Pages in the file. */
  readonly filePages: number;
}

/**
 * Checks that `bytes` is a branch or leaf page and nothing in it points outside.
 *
 * @param bytes - the page with its continuation; kept
 * @param id - the id it must carry
 * @throws {CorruptionError}
 */
export function parsePage(
  bytes: Uint8Array,
  id: number,
  pageCount: number,
  origin: PageOrigin,
): Page {
  const storedID = readUint64(bytes, 0);
  if (storedID !== id) throw fault(origin, `page ${id} identifies as ${storedID}`);
  const kind = readUint16(bytes, 8);
  if (kind !== KIND_LEAF && kind !== KIND_BRANCH) {
    throw fault(origin, `page ${id}: invalid type: ${kindName(kind)}`);
  }
  const count = readUint16(bytes, 10);
  const dataStart = PAGE_HEADER_BYTES + count * ELEMENT_BYTES;
  if (dataStart > bytes.length) throw fault(origin, `page ${id}: ${count} elements do not fit`);
  if (kind === KIND_LEAF) checkLeafElements(bytes, id, count, origin);
  else if (count === 0) throw fault(origin, `page ${id}: branch without elements`);
  else checkBranchElements(bytes, id, count, origin);
  return new Page(id, bytes, kind === KIND_LEAF, count, pageCount);
}

function checkLeafElements(bytes: Uint8Array, id: number, count: number, origin: PageOrigin): void {
  const end = PAGE_HEADER_BYTES + count * ELEMENT_BYTES;
  let total = end;
  for (let element = PAGE_HEADER_BYTES; element < end; element += ELEMENT_BYTES) {
    const keyStart = element + readUint32(bytes, element + 4);
    const keyBytes = readUint32(bytes, element + 8);
    const valueBytes = readUint32(bytes, element + 12);
    if (keyStart < end || keyStart + keyBytes + valueBytes > bytes.length) {
      throw badElement(origin, id, element);
    }
    if (keyBytes === 0 || keyBytes > KEY_BYTES_MAX) {
      throw fault(origin, `page ${id}: key of ${keyBytes} bytes`);
    }
    total += keyBytes + valueBytes;
  }
  if (total > bytes.length) throw fault(origin, `page ${id}: elements overlap`);
}

function checkBranchElements(
  bytes: Uint8Array,
  id: number,
  count: number,
  origin: PageOrigin,
): void {
  const end = PAGE_HEADER_BYTES + count * ELEMENT_BYTES;
  let total = end;
  for (let element = PAGE_HEADER_BYTES; element < end; element += ELEMENT_BYTES) {
    const keyStart = element + readUint32(bytes, element);
    const keyBytes = readUint32(bytes, element + 4);
    if (keyStart < end || keyStart + keyBytes > bytes.length) {
      throw badElement(origin, id, element);
    }
    const child = readUint64(bytes, element + 8);
    if (child < FIRST_DATA_PAGE || child >= origin.filePages) {
      throw fault(origin, `page ${id}: child page ${child} is out of bounds`);
    }
    total += keyBytes;
  }
  if (total > bytes.length) throw fault(origin, `page ${id}: elements overlap`);
}

function badElement(origin: PageOrigin, id: number, element: number): CorruptionError {
  const i = (element - PAGE_HEADER_BYTES) / ELEMENT_BYTES;
  return fault(origin, `page ${id}: element ${i} is out of bounds`);
}

function fault(origin: PageOrigin, text: string): CorruptionError {
  return new CorruptionError(text, origin.path, origin.offsetBytes);
}
