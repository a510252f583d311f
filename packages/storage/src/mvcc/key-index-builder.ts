/**
 * Makes an index of changes that come in revision order, as a scan of the file gives them.
 *
 * Keys are only put into order at the end: runs of a few thousand are sorted as they fill up and
 * then merged pairwise. Putting each key in its place at once would touch memory all over.
 *
 * Invariant: each key of `#byKey` is in exactly one run, or in `#run`.
 */

import type { Clock } from "@etcd-ts/base";
import { Slice } from "../backend/slice.ts";
import { BLOCK_KEYS_MAX, KeyIndex, KeyRecord, pushNewest } from "./key-index.ts";
import type { KeyBlock } from "./key-index.ts";
import { KeyMap } from "./key-map.ts";

/** Keys sorted in one go: some milliseconds. */
const RUN_KEYS = 16_384;
/** Leaves room in each block, so that the first new keys do not split them all. */
const BLOCK_KEYS = (BLOCK_KEYS_MAX * 3) / 4;

export class KeyIndexBuilder {
  readonly #byKey = new KeyMap<KeyRecord>();
  readonly #runKeys: number;
  #runs: string[][] = [];
  #run: string[] = [];

  constructor(runKeys: number = RUN_KEYS) {
    this.#runKeys = runKeys;
  }

  /**
   * Adds a change; a key's changes come in revision order.
   *
   * @param createRevision - as stored; what came before may be compacted away
   * @param version - as stored; 0 for a tombstone
   */
  add(key: string, main: number, sub: number, createRevision: number, version: number): void {
    const record = this.#byKey.get(key);
    if (record !== undefined) {
      pushNewest(record, main, sub, createRevision, version);
      return;
    }
    this.#byKey.set(key, new KeyRecord(main, sub, createRevision, version));
    this.#run.push(key);
    if (this.#run.length >= this.#runKeys) this.#endRun();
  }

  /** Puts all keys into order, in slices. The builder is used up. */
  async build(clock: Clock): Promise<KeyIndex> {
    this.#endRun();
    const slice = new Slice(clock);
    let runs = this.#runs;
    while (runs.length > 1) {
      const merged: string[][] = [];
      for (let i = 0; i < runs.length; i += 2) {
        const other = runs[i + 1];
        merged.push(other === undefined ? runs[i]! : await mergeRuns(runs[i]!, other, slice));
      }
      runs = merged;
    }
    return KeyIndex.adopt(this.#byKey, await this.#blocks(runs[0] ?? [], slice));
  }

  #endRun(): void {
    if (this.#run.length === 0) return;
    this.#runs.push(this.#run.sort());
    this.#run = [];
  }

  async #blocks(keys: readonly string[], slice: Slice): Promise<KeyBlock[]> {
    const blocks: KeyBlock[] = [];
    for (let from = 0; from < keys.length; from += BLOCK_KEYS) {
      const block: KeyBlock = { keys: keys.slice(from, from + BLOCK_KEYS), records: [], live: 0 };
      for (const key of block.keys) {
        const record = this.#byKey.get(key)!;
        block.records.push(record);
        if (record.version > 0) block.live++;
      }
      blocks.push(block);
      if (slice.isOver(BLOCK_KEYS)) await slice.pause();
    }
    return blocks;
  }
}

/** Two ascending runs as one; no key is in both. */
async function mergeRuns(
  a: readonly string[],
  b: readonly string[],
  slice: Slice,
): Promise<string[]> {
  const merged: string[] = [];
  let fromA = 0;
  let fromB = 0;
  while (fromA < a.length && fromB < b.length) {
    merged.push(a[fromA]! < b[fromB]! ? a[fromA++]! : b[fromB++]!);
    if (slice.isOver()) await slice.pause();
  }
  for (; fromA < a.length; fromA++) merged.push(a[fromA]!);
  for (; fromB < b.length; fromB++) merged.push(b[fromB]!);
  return merged;
}
