/**
 * The meta page: which state is the committed one.
 *
 * Page 0 holds the states with even transaction ids, page 1 those with odd ones, so that a torn
 * write of one leaves the state before it in the other. After the page header: magic (4), version
 * (4), page size (4), flags (4), root page id (8), root sequence (8), freelist page id (8), high-
 * water mark (8), transaction id (8), FNV-64a over the 56 bytes before it (8).
 */

import { CorruptionError, invariant } from "@etcd-ts/base";
import { type InvalidDatabaseCode, InvalidDatabaseError } from "./errors.ts";
import {
  FILE_PAGES_MAX,
  FIRST_DATA_PAGE,
  FORMAT_VERSION,
  KIND_META,
  MAGIC,
  PAGE_HEADER_BYTES,
  isPageSize,
  readUint32,
  readUint64,
  writePageHeader,
  writeUint32,
  writeUint64,
} from "./format.ts";

export interface Meta {
  readonly pageBytes: number;
  readonly rootPageID: number;
  readonly rootSequence: number;
  /** Undefined: the freelist is not stored. */
  readonly freelistPageID: number | undefined;
  /** One above the highest page in use. */
  readonly highWater: number;
  readonly txid: number;
}

/** Bytes of a page that a meta uses. */
export const META_BYTES = PAGE_HEADER_BYTES + 64;

const CHECKSUM_OFFSET = PAGE_HEADER_BYTES + 56;
const NO_FREELIST_HALF = 0xffffffff;

const FNV_OFFSET_BASIS = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;

/** FNV-64a (Fowler, Noll and Vo). */
export function fnv64a(bytes: Uint8Array, start: number, end: number): bigint {
  let hash = FNV_OFFSET_BASIS;
  for (let i = start; i < end; i++) {
    hash = BigInt.asUintN(64, (hash ^ BigInt(bytes[i]!)) * FNV_PRIME);
  }
  return hash;
}

/** Fills the first `META_BYTES` of `page`; `pageID` is 0 or 1. */
export function encodeMeta(meta: Meta, pageID: number, page: Uint8Array): void {
  invariant(meta.rootPageID < meta.highWater, () => `encodeMeta: root ${meta.rootPageID}`);
  writePageHeader(page, pageID, KIND_META, 0, 0);
  const at = PAGE_HEADER_BYTES;
  writeUint32(page, at, MAGIC);
  writeUint32(page, at + 4, FORMAT_VERSION);
  writeUint32(page, at + 8, meta.pageBytes);
  writeUint32(page, at + 12, 0);
  writeUint64(page, at + 16, meta.rootPageID);
  writeUint64(page, at + 24, meta.rootSequence);
  if (meta.freelistPageID === undefined) {
    writeUint32(page, at + 32, NO_FREELIST_HALF);
    writeUint32(page, at + 36, NO_FREELIST_HALF);
  } else writeUint64(page, at + 32, meta.freelistPageID);
  writeUint64(page, at + 40, meta.highWater);
  writeUint64(page, at + 48, meta.txid);
  const sum = fnv64a(page, PAGE_HEADER_BYTES, CHECKSUM_OFFSET);
  writeUint32(page, CHECKSUM_OFFSET, Number(sum & 0xffffffffn));
  writeUint32(page, CHECKSUM_OFFSET + 4, Number(sum >> 32n));
}

/** What is wrong with the meta in `page`, undefined if its marks and checksum are right. */
export function metaFault(page: Uint8Array): InvalidDatabaseCode | undefined {
  if (page.length < META_BYTES) return "INVALID_DATABASE";
  if (readUint32(page, PAGE_HEADER_BYTES) !== MAGIC) return "INVALID_DATABASE";
  if (readUint32(page, PAGE_HEADER_BYTES + 4) !== FORMAT_VERSION) return "VERSION_MISMATCH";
  const sum = fnv64a(page, PAGE_HEADER_BYTES, CHECKSUM_OFFSET);
  const low = readUint32(page, CHECKSUM_OFFSET);
  const high = readUint32(page, CHECKSUM_OFFSET + 4);
  if (sum !== (BigInt(high) << 32n) + BigInt(low)) return "CHECKSUM_ERROR";
  return undefined;
}

/**
 * Reads a meta without `metaFault`.
 *
 * @throws {CorruptionError} if its numbers cannot be true
 */
export function decodeMeta(page: Uint8Array, path: string, offsetBytes: number): Meta {
  const at = PAGE_HEADER_BYTES;
  const noFreelist =
    readUint32(page, at + 32) === NO_FREELIST_HALF &&
    readUint32(page, at + 36) === NO_FREELIST_HALF;
  const meta: Meta = {
    pageBytes: readUint32(page, at + 8),
    rootPageID: readUint64(page, at + 16),
    rootSequence: readUint64(page, at + 24),
    freelistPageID: noFreelist ? undefined : readUint64(page, at + 32),
    highWater: readUint64(page, at + 40),
    txid: readUint64(page, at + 48),
  };
  const { highWater } = meta;
  const isData = (id: number): boolean => id >= FIRST_DATA_PAGE && id < highWater;
  const fault = (text: string): CorruptionError =>
    new CorruptionError(`meta page: ${text}`, path, offsetBytes);
  if (!isPageSize(meta.pageBytes)) throw fault(`page size ${meta.pageBytes}`);
  if (!Number.isSafeInteger(meta.txid)) throw fault("transaction id is beyond 2^53-1");
  if (!Number.isSafeInteger(meta.rootSequence)) throw fault("sequence is beyond 2^53-1");
  if (highWater > FILE_PAGES_MAX) {
    throw fault(`high-water mark ${highWater} is beyond ${FILE_PAGES_MAX} pages`);
  }
  if (!isData(meta.rootPageID)) {
    throw fault(`root page ${meta.rootPageID} is outside of [${FIRST_DATA_PAGE}, ${highWater})`);
  }
  if (meta.freelistPageID !== undefined && !isData(meta.freelistPageID)) {
    throw fault(`freelist page ${meta.freelistPageID} is outside of [2, ${highWater})`);
  }
  return meta;
}

const FAULT_TEXTS: Readonly<Record<InvalidDatabaseCode, string>> = {
  INVALID_DATABASE: "invalid database",
  VERSION_MISMATCH: "version mismatch",
  CHECKSUM_ERROR: "checksum error",
  FILE_SIZE_TOO_SMALL: "file size too small",
};

export function invalidDatabase(
  code: InvalidDatabaseCode,
  path: string,
  offsetBytes: number,
  detail = "",
): InvalidDatabaseError {
  return new InvalidDatabaseError(code, FAULT_TEXTS[code] + detail, path, offsetBytes);
}
