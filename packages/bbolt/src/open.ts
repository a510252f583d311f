/**
 * The start and end of a file's life without data: making a new one, finding the current state.
 *
 * A new file is four pages: two metas, an empty freelist, an empty leaf as the top level.
 */

import { CorruptionError, type Disk, type DiskFile, equalBytes } from "@etcd-ts/base";
import {
  FIRST_DATA_PAGE,
  KIND_FREELIST,
  KIND_LEAF,
  KIND_META,
  PAGE_BYTES_MAX,
  PAGE_BYTES_MIN,
  readUint16,
  readUint64,
  writePageHeader,
} from "./format.ts";
import {
  META_BYTES,
  type Meta,
  decodeMeta,
  encodeMeta,
  invalidDatabase,
  metaFault,
} from "./meta.ts";

const INITIAL_PAGES = 4;

/** Written whole or not at all, whatever happens. */
const SECTOR_BYTES = 512;

function initialImage(pageBytes: number): Uint8Array {
  const image = new Uint8Array(INITIAL_PAGES * pageBytes);
  const page = (id: number): Uint8Array => image.subarray(id * pageBytes, (id + 1) * pageBytes);
  for (const txid of [0, 1]) {
    const meta: Meta = {
      pageBytes,
      rootPageID: 3,
      rootSequence: 0,
      freelistPageID: 2,
      highWater: INITIAL_PAGES,
      txid,
    };
    encodeMeta(meta, txid, page(txid));
  }
  writePageHeader(page(2), 2, KIND_FREELIST, 0, 0);
  writePageHeader(page(3), 3, KIND_LEAF, 0, 0);
  return image;
}

/**
 * Whether nothing was ever stored: the file is empty, or a crash came between its making and the
 * first sync, so that each sector is as in a new file or zeros.
 */
export function needsInitialising(file: DiskFile, pageBytes: number): boolean {
  const size = file.sizeBytes();
  if (size === 0) return true;
  const image = initialImage(pageBytes);
  if (size > image.length) return false;
  const bytes = new Uint8Array(size);
  file.read(bytes, 0);
  for (let start = 0; start < size; start += SECTOR_BYTES) {
    const sector = bytes.subarray(start, start + SECTOR_BYTES);
    const isZero = sector.every((byte) => byte === 0);
    if (!isZero && !sector.every((byte, i) => byte === image[start + i])) return false;
  }
  return !equalBytes(bytes, image);
}

export async function initialise(
  disk: Disk,
  file: DiskFile,
  pageBytes: number,
  noSync: boolean,
): Promise<void> {
  await file.write([initialImage(pageBytes)], 0);
  if (noSync) return;
  await file.dataSync();
  const slash = file.path.lastIndexOf("/");
  await disk.syncDirectory(slash < 0 ? "." : file.path.slice(0, Math.max(1, slash)));
}

/**
 * The state to go on from: the newer of the two metas whose checksum is right.
 *
 * @throws {InvalidDatabaseError} if neither is
 * @throws {CorruptionError} if its numbers cannot be true
 */
export function readCurrentMeta(file: DiskFile): Meta {
  const { path } = file;
  const size = file.sizeBytes();
  const head = new Uint8Array(Math.min(size, PAGE_BYTES_MAX + META_BYTES));
  file.read(head, 0);
  const fault = metaFault(head);
  const first = fault === undefined ? decodeMeta(head, path, 0) : undefined;
  const second = first === undefined ? findSecondMeta(head, path) : secondMeta(head, path, first);
  const meta =
    first === undefined || (second !== undefined && second.txid > first.txid) ? second : first;
  if (meta === undefined) {
    throw invalidDatabase(size < META_BYTES ? "INVALID_DATABASE" : fault!, path, 0);
  }
  if (size < FIRST_DATA_PAGE * meta.pageBytes) {
    throw invalidDatabase("FILE_SIZE_TOO_SMALL", path, size, ` ${size}`);
  }
  if (size < meta.highWater * meta.pageBytes) {
    throw new CorruptionError(
      `file is shorter than its ${meta.highWater} pages of ${meta.pageBytes} bytes`,
      path,
      size,
    );
  }
  return meta;
}

/**
 * What is wrong with the meta pages, one text each. With one of two a file opens, but perhaps in the
 * state before the last commit.
 */
export function metaProblems(file: DiskFile, pageBytes: number): string[] {
  const problems: string[] = [];
  for (const id of [0, 1]) {
    const page = new Uint8Array(META_BYTES);
    const got = file.read(page, id * pageBytes);
    const fault = metaFault(page.subarray(0, got));
    if (fault !== undefined) {
      const { message } = invalidDatabase(fault, file.path, id * pageBytes);
      problems.push(`meta page ${id}: ${message}; the state may be that before the last commit`);
    } else if (readUint64(page, 0) !== id || readUint16(page, 8) !== KIND_META) {
      problems.push(`meta page ${id}: its header is that of another page`);
    }
  }
  return problems;
}

function secondMeta(head: Uint8Array, path: string, first: Meta): Meta | undefined {
  const page = head.subarray(first.pageBytes);
  if (metaFault(page) !== undefined) return undefined;
  const second = decodeMeta(page, path, first.pageBytes);
  if (second.pageBytes === first.pageBytes) return second;
  throw new CorruptionError("meta pages differ in page size", path, first.pageBytes);
}

/** Without a first meta the page size is unknown: the second is where it says it is. */
function findSecondMeta(head: Uint8Array, path: string): Meta | undefined {
  for (let at = PAGE_BYTES_MIN; at <= PAGE_BYTES_MAX; at *= 2) {
    const page = head.subarray(at);
    if (metaFault(page) !== undefined) continue;
    const meta = decodeMeta(page, path, at);
    if (meta.pageBytes === at) return meta;
  }
  return undefined;
}
