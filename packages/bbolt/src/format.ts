/**
 * The numbers of the file format (bbolt version 2) and its little-endian integers.
 *
 * A file is a row of pages. A page starts with 16 bytes: id (8), kind (2), count (2) and overflow
 * (4), the number of pages that follow it as its continuation. A leaf has `count` elements of 16
 * bytes (flags, position, key size, value size), a branch elements of 16 bytes (position, key
 * size, child page id); positions count from the start of their element.
 */

export const MAGIC = 0xed0cdaed;
export const FORMAT_VERSION = 2;

export const PAGE_HEADER_BYTES = 16;
export const ELEMENT_BYTES = 16;

export const KIND_BRANCH = 0x01;
export const KIND_LEAF = 0x02;
export const KIND_META = 0x04;
export const KIND_FREELIST = 0x10;

/** In the flags of a leaf element: its value is a bucket. */
export const ELEMENT_IS_BUCKET = 0x01;

/** Root page id (8) and sequence (8), before the page of an inline bucket. */
export const BUCKET_HEADER_BYTES = 16;

export const PAGE_BYTES_MIN = 512;
export const PAGE_BYTES_MAX = 65536;
export const KEY_BYTES_MAX = 32768;
export const VALUE_BYTES_MAX = 2 ** 31 - 2;

/** A count of this in a freelist page: the true count is its first entry. */
export const FREELIST_COUNT_LARGE = 0xffff;

/** Pages 0 and 1 are the meta pages. */
export const FIRST_DATA_PAGE = 2;

/** Pages in a file: 8 TiB of 4 KiB. The freelist counts in 31 bits. */
export const FILE_PAGES_MAX = 2 ** 31 - 64;

/** Levels of a tree; more than 2^53 pages with two children each could need. */
export const TREE_DEPTH_MAX = 64;

/** Bytes of one page with its continuation; a value is below 2^31, so this is ample. */
export const RUN_BYTES_MAX = 2 ** 32;

export function readUint16(bytes: Uint8Array, offset: number): number {
  return bytes[offset]! | (bytes[offset + 1]! << 8);
}

export function readUint32(bytes: Uint8Array, offset: number): number {
  return (
    (bytes[offset]! |
      (bytes[offset + 1]! << 8) |
      (bytes[offset + 2]! << 16) |
      (bytes[offset + 3]! << 24)) >>>
    0
  );
}

/** Inexact above 2^53 - 1, where the caller refuses it. */
export function readUint64(bytes: Uint8Array, offset: number): number {
  return readUint32(bytes, offset) + readUint32(bytes, offset + 4) * 2 ** 32;
}

export function writeUint16(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
}

export function writeUint32(bytes: Uint8Array, offset: number, value: number): void {
  bytes[offset] = value;
  bytes[offset + 1] = value >>> 8;
  bytes[offset + 2] = value >>> 16;
  bytes[offset + 3] = value >>> 24;
}

export function writeUint64(bytes: Uint8Array, offset: number, value: number): void {
  writeUint32(bytes, offset, value >>> 0);
  writeUint32(bytes, offset + 4, Math.floor(value / 2 ** 32));
}

export function writePageHeader(
  bytes: Uint8Array,
  id: number,
  kind: number,
  count: number,
  overflow: number,
): void {
  writeUint64(bytes, 0, id);
  writeUint16(bytes, 8, kind);
  writeUint16(bytes, 10, count);
  writeUint32(bytes, 12, overflow);
}

export function isPageSize(bytes: number): boolean {
  return bytes >= PAGE_BYTES_MIN && bytes <= PAGE_BYTES_MAX && (bytes & (bytes - 1)) === 0;
}
