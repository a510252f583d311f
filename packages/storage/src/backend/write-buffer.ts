/**
 * Changes that are not yet in the file, readable in key order.
 *
 * Invariants:
 * - The newest change of a key is the only one kept; a deletion is a change without a value.
 * - `#names` holds each key of `#changes` once; it is in byte order while `#isOrdered`.
 * - The bytes of a change are never modified after they came in.
 */

import { compareBytes, latin1FromBytes } from "@etcd-ts/base";
import type { BucketName } from "./bucket.ts";

export interface Change {
  readonly key: Uint8Array;
  /** Undefined: the key is deleted. */
  readonly value: Uint8Array | undefined;
}

export class BucketBuffer {
  readonly #changes = new Map<string, Change>();
  #names: string[] = [];
  #isOrdered = true;

  get size(): number {
    return this.#changes.size;
  }

  set(name: string, change: Change): void {
    const before = this.#changes.size;
    this.#changes.set(name, change);
    if (this.#changes.size === before) return;
    const last = this.#names[this.#names.length - 1];
    if (last !== undefined && name < last) this.#isOrdered = false;
    this.#names.push(name);
  }

  get(name: string): Change | undefined {
    return this.#changes.get(name);
  }

  /** The change at a position in key order; undefined past the end. */
  at(position: number): Change | undefined {
    const name = this.#ordered()[position];
    return name === undefined ? undefined : this.#changes.get(name);
  }

  /** Position of the first change at or after `name`. */
  lowerBound(name: string): number {
    const names = this.#ordered();
    let low = 0;
    let high = names.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (names[middle]! < name) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #ordered(): readonly string[] {
    if (!this.#isOrdered) {
      this.#names.sort();
      this.#isOrdered = true;
    }
    return this.#names;
  }
}

export class WriteBuffer {
  readonly #buckets = new Map<BucketName, BucketBuffer>();
  #changes = 0;
  #bytes = 0;

  /** Changes taken in, counting each change of the same key. */
  get changes(): number {
    return this.#changes;
  }

  /** Bytes of the keys and values taken in. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#buckets.size === 0;
  }

  bucket(name: BucketName): BucketBuffer | undefined {
    return this.#buckets.get(name);
  }

  buckets(): Iterable<readonly [BucketName, BucketBuffer]> {
    return this.#buckets;
  }

  /** Makes sure the bucket exists once this buffer is committed. */
  createBucket(name: BucketName): BucketBuffer {
    let bucket = this.#buckets.get(name);
    if (bucket === undefined) {
      bucket = new BucketBuffer();
      this.#buckets.set(name, bucket);
    }
    return bucket;
  }

  set(bucket: BucketName, key: Uint8Array, value: Uint8Array | undefined): void {
    this.createBucket(bucket).set(latin1FromBytes(key), { key, value });
    this.#changes++;
    this.#bytes += key.length + (value === undefined ? 0 : value.length);
  }
}

/**
 * Walks the changes of several buffers in key order, the first buffer hiding the others.
 *
 * Valid until one of the buffers is changed.
 */
export class ChangeCursor {
  readonly #layers: readonly BucketBuffer[];
  readonly #positions: number[];

  /** @param layers - newest first */
  constructor(layers: readonly BucketBuffer[], begin: string) {
    this.#layers = layers;
    this.#positions = layers.map((layer) => layer.lowerBound(begin));
  }

  /** The change with the smallest key that was not passed yet. */
  peek(): Change | undefined {
    let smallest: Change | undefined;
    for (let i = 0; i < this.#layers.length; i++) {
      const change = this.#layers[i]!.at(this.#positions[i]!);
      if (change === undefined) continue;
      if (smallest === undefined || compareBytes(change.key, smallest.key) < 0) smallest = change;
    }
    return smallest;
  }

  /** Passes every change of `key`, which must be the smallest. */
  pass(key: Uint8Array): void {
    for (let i = 0; i < this.#layers.length; i++) {
      const change = this.#layers[i]!.at(this.#positions[i]!);
      if (change !== undefined && compareBytes(change.key, key) === 0) this.#positions[i]!++;
    }
  }
}
