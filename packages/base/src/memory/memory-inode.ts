/**
 * The contents of one file in memory: what reads see, and what a crash would leave.
 *
 * Contents are chunks of `CHUNK_BYTES`; an absent chunk is all zeros, so a preallocated file costs
 * nothing. The bytes a crash would leave are kept as the old chunks of what changed since, in
 * layers: the newest layer collects changes since the last sync began, older ones belong to syncs
 * under way.
 *
 * Invariants:
 * - A chunk named in the newest layer is owned by the visible side and may be changed in place; any
 *   other chunk is shared with the durable side and is replaced, never changed.
 * - The durable image of chunk i is the one of the oldest layer that names i, else the visible one.
 * - Visible bytes at and past `sizeBytes` inside the last chunk are zero.
 */

import { compareBytes } from "../bytes.ts";
import { invariant } from "../errors.ts";
import type { Random } from "../ports/random.ts";
import { randomBelow } from "../ports/random.ts";

export const CHUNK_BYTES = 16_384;
/** What a device writes as a whole: a torn write ends at a multiple of this. */
export const SECTOR_BYTES = 512;

type Chunk = Uint8Array | undefined;

type Layer = {
  /** Durable images of the chunks changed since this layer began. */
  readonly before: Map<number, Chunk>;
  /** The durable size if no older layer stands. */
  sizeBytes: number;
};

const ZEROS = new Uint8Array(CHUNK_BYTES);

/** What a sync under way will make durable once it succeeds. */
export type PendingSync = { readonly layer: Layer };

/** How much of what was not synced survives a crash. */
export interface CrashPlan {
  /** The chance, 0 to 1, that a changed unit survives. */
  readonly keepChance: number;
  /** Bytes that survive or vanish together. */
  readonly unitBytes: number;
  /** The chance that a size that was not synced survives. */
  readonly keepSizeChance: number;
}

/** What a crash did to bytes that were not synced. */
export interface CrashLoss {
  /** Units whose bytes are gone, and units that made it. */
  lostUnits: number;
  keptUnits: number;
  /** Files of which a part made it and a part did not, by the size of the parts. */
  tornSectors: number;
  tornPages: number;
}

export function noLoss(): CrashLoss {
  return { lostUnits: 0, keptUnits: 0, tornSectors: 0, tornPages: 0 };
}

export class MemoryInode {
  mode: number;
  /** Whether a directory names it; an open file may outlive its name. */
  isLinked = true;
  exclusive = false;
  sharedHolders = 0;
  #chunks: Chunk[] = [];
  #sizeBytes = 0;
  /** Oldest first; never empty. */
  #layers: Layer[] = [{ before: new Map(), sizeBytes: 0 }];
  /** Chunks a failed sync gave up on: they stay lost until they are written again. */
  readonly #lost = new Map<number, Chunk>();

  constructor(mode: number) {
    this.mode = mode;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Bytes held by visible chunks. */
  get residentBytes(): number {
    let count = 0;
    for (const chunk of this.#chunks) if (chunk !== undefined) count++;
    return count * CHUNK_BYTES;
  }

  read(target: Uint8Array, offsetBytes: number): number {
    const end = Math.min(this.#sizeBytes, offsetBytes + target.length);
    let at = offsetBytes;
    while (at < end) {
      const i = Math.floor(at / CHUNK_BYTES);
      const from = at - i * CHUNK_BYTES;
      const length = Math.min(CHUNK_BYTES - from, end - at);
      const source = this.#chunks[i] ?? ZEROS;
      target.set(source.subarray(from, from + length), at - offsetBytes);
      at += length;
    }
    return Math.max(0, end - offsetBytes);
  }

  write(bytes: Uint8Array, offsetBytes: number): void {
    this.#reserve(offsetBytes + bytes.length);
    for (let at = 0; at < bytes.length;) {
      const i = Math.floor((offsetBytes + at) / CHUNK_BYTES);
      const from = offsetBytes + at - i * CHUNK_BYTES;
      const length = Math.min(CHUNK_BYTES - from, bytes.length - at);
      this.#own(i, length === CHUNK_BYTES).set(bytes.subarray(at, at + length), from);
      at += length;
    }
    this.#sizeBytes = Math.max(this.#sizeBytes, offsetBytes + bytes.length);
  }

  /** Cuts, or extends with zeros that take no memory. */
  resize(sizeBytes: number): void {
    if (sizeBytes < this.#sizeBytes) {
      const kept = Math.ceil(sizeBytes / CHUNK_BYTES);
      for (let i = kept; i < this.#chunks.length; i++) {
        if (this.#chunks[i] !== undefined) this.#replace(i, undefined);
      }
      this.#chunks.length = Math.min(this.#chunks.length, kept);
      const tail = sizeBytes % CHUNK_BYTES;
      if (tail > 0 && this.#chunks[kept - 1] !== undefined)
        this.#own(kept - 1, false).fill(0, tail);
    } else this.#reserve(sizeBytes);
    this.#sizeBytes = sizeBytes;
  }

  /** Begins a sync: what is visible now becomes durable when `finishSync` is called. */
  beginSync(): PendingSync {
    const layer = this.#newest();
    this.#layers.push({ before: new Map(), sizeBytes: this.#sizeBytes });
    return { layer };
  }

  /** Makes durable what `pending` covers. A no-op if a later sync has done so already. */
  finishSync(pending: PendingSync): void {
    const position = this.#layers.indexOf(pending.layer);
    if (position >= 0) this.#layers.splice(0, position + 1);
    invariant(this.#layers.length > 0, () => "MemoryInode.finishSync: no layer left");
  }

  /**
   * Ends a sync that failed. As on a system that marks pages clean when writing them back fails,
   * a later sync does not bring these bytes to the device unless they are written again.
   */
  failSync(pending: PendingSync): void {
    const position = this.#layers.indexOf(pending.layer);
    if (position < 0) return;
    const [oldest, ...others] = this.#layers.splice(0, position + 1);
    const images = imagesOf([oldest!, ...others]);
    for (const [i, image] of images) {
      // Changed again since the sync began: a later sync covers it.
      const again = this.#layers.find((layer) => layer.before.has(i));
      if (again !== undefined) again.before.set(i, image);
      else if (!this.#lost.has(i)) this.#lost.set(i, image);
    }
    this.#layers[0]!.sizeBytes = oldest!.sizeBytes;
  }

  /** Makes all that is visible durable at once, without a sync. */
  settle(): void {
    this.#lost.clear();
    this.#layers = [{ before: new Map(), sizeBytes: this.#sizeBytes }];
  }

  /** Bytes at rest change under everybody's feet: both sides see the flip. */
  flipBit(offsetBytes: number, bit: number): void {
    const i = Math.floor(offsetBytes / CHUNK_BYTES);
    const from = offsetBytes % CHUNK_BYTES;
    const flipped = new Map<Uint8Array, Uint8Array>();
    const flip = (chunk: Chunk): Uint8Array => {
      const known = chunk === undefined ? undefined : flipped.get(chunk);
      if (known !== undefined) return known;
      const copy = copyChunk(chunk);
      copy[from] = copy[from]! ^ (1 << bit);
      if (chunk !== undefined) flipped.set(chunk, copy);
      return copy;
    };
    for (const layer of this.#layers) {
      if (layer.before.has(i)) layer.before.set(i, flip(layer.before.get(i)));
    }
    if (this.#lost.has(i)) this.#lost.set(i, flip(this.#lost.get(i)));
    this.#chunks[i] = flip(this.#chunks[i]);
  }

  /**
   * Forgets what was not synced, except what `plan` lets survive. Locks are gone.
   *
   * @param loss - what became of it is added here
   */
  crash(plan: CrashPlan, random: Random | undefined, loss = noLoss()): void {
    const file = noLoss();
    const visibleSizeBytes = this.#sizeBytes;
    const durableSizeBytes = this.#layers[0]!.sizeBytes;
    const images = new Map([...imagesOf(this.#layers), ...this.#lost]);
    for (const [i, durable] of [...images].sort((a, b) => a[0] - b[0])) {
      const isLost = this.#lost.has(i) || random === undefined;
      // Units past the visible end were cut, not written: the device still has them.
      const limit = visibleSizeBytes - i * CHUNK_BYTES;
      const visible = this.#chunks[i];
      const left = isLost ? durable : mixUnits(durable, visible, limit, plan, random);
      countUnits(file, durable, visible, left, plan.unitBytes);
      this.#chunks[i] = left;
    }
    addLoss(loss, file, plan.unitBytes);
    const keepSize =
      visibleSizeBytes !== durableSizeBytes &&
      random !== undefined &&
      random.float() < plan.keepSizeChance;
    this.#restart(keepSize ? visibleSizeBytes : durableSizeBytes);
  }

  /** Starts over with the visible chunks as the durable ones. */
  #restart(sizeBytes: number): void {
    this.#lost.clear();
    this.exclusive = false;
    this.sharedHolders = 0;
    this.#sizeBytes = Math.max(this.#chunks.length * CHUNK_BYTES, sizeBytes);
    this.#layers = [{ before: new Map(), sizeBytes }];
    this.resize(sizeBytes);
    this.settle();
  }

  #newest(): Layer {
    return this.#layers[this.#layers.length - 1]!;
  }

  #reserve(sizeBytes: number): void {
    const chunks = Math.ceil(sizeBytes / CHUNK_BYTES);
    while (this.#chunks.length < chunks) this.#chunks.push(undefined);
  }

  /** The visible chunk i, ready to be changed. */
  #own(i: number, isOverwritten: boolean): Uint8Array {
    const chunk = this.#chunks[i];
    if (this.#newest().before.has(i) && chunk !== undefined) return chunk;
    const fresh = isOverwritten ? new Uint8Array(CHUNK_BYTES) : copyChunk(chunk);
    this.#replace(i, fresh);
    return fresh;
  }

  #replace(i: number, chunk: Chunk): void {
    const { before } = this.#newest();
    if (!before.has(i)) before.set(i, this.#lost.has(i) ? this.#lost.get(i) : this.#chunks[i]);
    this.#lost.delete(i);
    this.#chunks[i] = chunk;
  }
}

function copyChunk(chunk: Chunk): Uint8Array {
  return chunk === undefined ? new Uint8Array(CHUNK_BYTES) : chunk.slice();
}

/** The image of each chunk in the oldest layer that names it. */
function imagesOf(layers: readonly Layer[]): Map<number, Chunk> {
  const images = new Map<number, Chunk>();
  for (const layer of layers) {
    for (const [i, image] of layer.before) if (!images.has(i)) images.set(i, image);
  }
  return images;
}

/** A chunk whose units below `limit` come from `visible` or from `durable`, as the dice fall. */
function mixUnits(
  durable: Chunk,
  visible: Chunk,
  limit: number,
  plan: CrashPlan,
  random: Random,
): Chunk {
  const mixed = copyChunk(durable);
  const source = visible ?? ZEROS;
  for (let at = 0; at < Math.min(limit, CHUNK_BYTES); at += plan.unitBytes) {
    if (random.float() >= plan.keepChance) continue;
    mixed.set(source.subarray(at, at + plan.unitBytes), at);
  }
  return mixed;
}

/** Counts the units of a chunk that were changed, by whether they are `left` as they were written. */
function countUnits(
  loss: CrashLoss,
  durable: Chunk,
  visible: Chunk,
  left: Chunk,
  unitBytes: number,
) {
  for (let at = 0; at < CHUNK_BYTES; at += unitBytes) {
    const written = unitOf(visible, at, unitBytes);
    if (compareBytes(written, unitOf(durable, at, unitBytes)) === 0) continue;
    if (compareBytes(written, unitOf(left, at, unitBytes)) === 0) loss.keptUnits++;
    else loss.lostUnits++;
  }
}

function unitOf(chunk: Chunk, at: number, unitBytes: number): Uint8Array {
  return (chunk ?? ZEROS).subarray(at, at + unitBytes);
}

function addLoss(loss: CrashLoss, file: CrashLoss, unitBytes: number): void {
  loss.lostUnits += file.lostUnits;
  loss.keptUnits += file.keptUnits;
  if (file.lostUnits === 0 || file.keptUnits === 0) return;
  if (unitBytes === SECTOR_BYTES) loss.tornSectors++;
  else loss.tornPages++;
}

/** A plan drawn at random: nothing, everything, or a part, in pages or in sectors. */
export function drawCrashPlan(random: Random): CrashPlan {
  const keepChance = [0, 1, 0.1, 0.5, 0.9][randomBelow(random, 5)]!;
  const unitBytes = [SECTOR_BYTES, 4096][randomBelow(random, 2)]!;
  return { keepChance, unitBytes, keepSizeChance: [0, 0.5, 1][randomBelow(random, 3)]! };
}
