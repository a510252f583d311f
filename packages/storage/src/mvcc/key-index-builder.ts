/**
 * Makes an index of changes that come in revision order, as a scan of the file gives them.
 *
 * Keys are only put into order at the end: putting each key in its place at once would touch memory
 * all over.
 */

import type { Clock } from "@etcd-ts/base";
import { Slice } from "../backend/slice.ts";
import type { HashKey } from "./key-hash.ts";
import { BLOCK_KEYS_MAX, KeyBlock, KeyIndex } from "./key-index.ts";
import { sortSlots } from "./key-order.ts";
import { KeyTable, NO_SLOT } from "./key-table.ts";

/** Leaves room in each block, so that the first new keys do not split them all. */
const BLOCK_KEYS = (BLOCK_KEYS_MAX * 3) / 4;

export class KeyIndexBuilder {
  readonly #table: KeyTable;
  readonly #runKeys: number | undefined;

  /** @param runKeys - keys sorted in one go */
  constructor(hashKey?: HashKey, runKeys?: number) {
    this.#table = new KeyTable(hashKey);
    this.#runKeys = runKeys;
  }

  /**
   * Adds a change of key `bytes[start, end)`; a key's changes come in revision order.
   *
   * @param createRevision - as stored; what came before may be compacted away
   * @param version - as stored; 0 for a tombstone
   * @returns the key's slot in the index
   */
  add(
    bytes: Uint8Array,
    start: number,
    end: number,
    main: number,
    sub: number,
    createRevision: number,
    version: number,
  ): number {
    const table = this.#table;
    const hash = table.hashOf(bytes, start, end);
    const slot = table.find(hash, bytes, start, end);
    if (slot === NO_SLOT) {
      return table.add(hash, bytes, start, end, main, sub, createRevision, version);
    }
    table.pushNewest(slot, main, sub, createRevision, version);
    return slot;
  }

  /** Puts all keys into order, in slices. The builder is used up. */
  async build(clock: Clock): Promise<KeyIndex> {
    const slice = new Slice(clock);
    const table = this.#table;
    // None was removed: slots are numbered without a gap.
    const slots = new Uint32Array(table.size);
    for (let i = 0; i < slots.length; i++) slots[i] = i;
    await sortSlots(table, slots, slice, this.#runKeys);
    const blocks: KeyBlock[] = [];
    for (let from = 0; from < slots.length; from += BLOCK_KEYS) {
      const block = new KeyBlock();
      block.append(slots.subarray(from, from + BLOCK_KEYS));
      for (let i = 0; i < block.length; i++) if (table.version(block.slots[i]!) > 0) block.live++;
      blocks.push(block);
      if (slice.isOver(BLOCK_KEYS)) await slice.pause();
    }
    return new KeyIndex(table, blocks);
  }
}
