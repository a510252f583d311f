/**
 * Which pages of a file are in use, found by a scan: how a freelist that was not stored is
 * rebuilt.
 *
 * The tree is walked level by level, each level in file order, so that the disk is read in large
 * pieces. A page met twice is refused, so the scan ends whatever the file says.
 */

import {
  BUCKET_HEADER_BYTES,
  FIRST_DATA_PAGE,
  FREELIST_COUNT_LARGE,
  KIND_FREELIST,
  PAGE_HEADER_BYTES,
  readUint16,
  readUint64,
} from "./format.ts";
import { Freelist } from "./freelist.ts";
import type { Meta } from "./meta.ts";
import { type Page, kindName } from "./page.ts";
import { PageSet } from "./page-set.ts";
import type { PageStore } from "./page-store.ts";
import type { Slices } from "./slices.ts";

/**
 * The freelist of the state `meta`, as stored or by a scan.
 *
 * @throws {CorruptionError}
 */
export async function loadFreelist(
  store: PageStore,
  meta: Meta,
  slices: Slices,
): Promise<Freelist> {
  if (meta.freelistPageID !== undefined) {
    return freelistOf(storedFreeIDs(store, meta.freelistPageID), meta.highWater);
  }
  const inUse = await scanInUse(store, meta, slices);
  const freelist = new Freelist(meta.highWater);
  for (let page = FIRST_DATA_PAGE; ;) {
    const first = inUse.next(page, false);
    if (first >= meta.highWater) break;
    page = Math.min(inUse.next(first), meta.highWater);
    freelist.addFree(first, page - first);
  }
  return freelist;
}

function freelistOf(ids: Uint32Array, highWater: number): Freelist {
  const freelist = new Freelist(highWater);
  for (let i = 0; i < ids.length;) {
    const start = i;
    while (i < ids.length && ids[i] === ids[start]! + i - start) i++;
    freelist.addFree(ids[start]!, i - start);
  }
  return freelist;
}

/**
 * The page ids in a stored freelist, in order.
 *
 * @throws {CorruptionError} if an id is out of bounds, or there twice, or of the freelist itself
 */
export function storedFreeIDs(store: PageStore, freelistPageID: number): Uint32Array {
  const bytes = store.rawPage(freelistPageID);
  const fault = (text: string): Error =>
    store.fault(freelistPageID, `page ${freelistPageID}: ${text}`);
  if (readUint64(bytes, 0) !== freelistPageID) {
    throw fault(`identifies as ${readUint64(bytes, 0)}`);
  }
  const kind = readUint16(bytes, 8);
  if (kind !== KIND_FREELIST) {
    throw fault(`invalid freelist page, page type is ${kindName(kind)}`);
  }
  let at = PAGE_HEADER_BYTES;
  let count = readUint16(bytes, 10);
  if (count === FREELIST_COUNT_LARGE) {
    count = readUint64(bytes, at);
    at += 8;
  }
  if (count > (bytes.length - at) / 8) throw fault(`${count} free pages do not fit`);
  const ids = new Uint32Array(count);
  const ownEnd = freelistPageID + bytes.length / store.pageBytes;
  for (let i = 0; i < count; i++, at += 8) {
    const id = readUint64(bytes, at);
    const isOwn = id >= freelistPageID && id < ownEnd;
    if (id < FIRST_DATA_PAGE || id >= store.filePages || isOwn) {
      throw fault(`free page ${id} is out of bounds`);
    }
    ids[i] = id;
  }
  ids.sort();
  for (let i = 1; i < count; i++) {
    if (ids[i] === ids[i - 1]) throw fault(`page ${ids[i]!}: already freed`);
  }
  return ids;
}

async function scanInUse(store: PageStore, meta: Meta, slices: Slices): Promise<PageSet> {
  const inUse = new PageSet(meta.highWater);
  for (let level = Uint32Array.of(meta.rootPageID); level.length > 0;) {
    const below: number[] = [];
    for (const id of level) {
      const page = store.passingPage(id);
      for (let run = id; run < id + page.pageCount; run++) {
        if (inUse.has(run)) throw store.fault(run, `page ${run}: multiple references`);
        inUse.add(run);
      }
      addChildren(page, below);
      if (slices.isDue()) await slices.pause();
    }
    level = Uint32Array.from(below).sort();
  }
  return inUse;
}

/** Adds the pages `page` refers to: its children, and the roots of buckets in it. */
function addChildren(page: Page, target: number[]): void {
  if (!page.isLeaf) {
    for (let i = 0; i < page.count; i++) target.push(page.childIDAt(i));
    return;
  }
  for (let i = 0; i < page.count; i++) {
    if (!page.isBucketAt(i)) continue;
    const value = page.valueAt(i);
    if (value.length < BUCKET_HEADER_BYTES) continue;
    const root = readUint64(value, 0);
    if (root !== 0) target.push(root);
  }
}
