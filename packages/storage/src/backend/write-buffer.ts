/**
 * Changes that are not yet in the file, readable in key order.
 *
 * Invariants:
 * - The newest change of a key is the only one kept; a deletion is a change without a value.
 * - While `#byName` is undefined, `#changes` holds each key once, in byte order. Afterwards
 *   `#byName` holds the changes and `#names` their keys once, in byte order while `#isOrdered`.
 * - The bytes of a change are never modified after they came in.
 */

import { compareBytes, latin1FromBytes } from "@etcd-ts/base";
import type { BucketName } from "./bucket.ts";
import { RevisionLog } from "./revision-log.ts";

export interface Change {
  readonly key: Uint8Array;
  /** Undefined: the key is deleted. */
  readonly value: Uint8Array | undefined;
}

/** Changes of one bucket in key order. */
export interface ChangeLayer {
  readonly size: number;
  get(key: Uint8Array): Change | undefined;
  /** The change at a position in key order; undefined past the end. */
  at(position: number): Change | undefined;
  /** Position of the first change at or after `key`. */
  lowerBound(key: Uint8Array): number;
}

/**
 * Changes of one bucket. Keys that come in order, as new revisions do, are kept as a list; the
 * first that does not turns the list into a map.
 */
export class BucketBuffer implements ChangeLayer {
  #changes: Change[] = [];
  #byName: Map<string, Change> | undefined;
  #names: string[] = [];
  #isOrdered = true;

  get size(): number {
    return this.#byName === undefined ? this.#changes.length : this.#byName.size;
  }

  set(change: Change): void {
    if (this.#byName === undefined) {
      const changes = this.#changes;
      const last = changes[changes.length - 1];
      const order = last === undefined ? 1 : compareBytes(change.key, last.key);
      if (order > 0) {
        changes.push(change);
        return;
      }
      if (order === 0) {
        changes[changes.length - 1] = change;
        return;
      }
    }
    this.#setByName(latin1FromBytes(change.key), change);
  }

  get(key: Uint8Array): Change | undefined {
    if (this.#byName !== undefined) return this.#byName.get(latin1FromBytes(key));
    const changes = this.#changes;
    const { length } = changes;
    // Most reads are of what has long been committed.
    if (length === 0 || compareBytes(key, changes[0]!.key) < 0) return undefined;
    const change = changes[this.#lowerBoundInList(key)];
    return change !== undefined && compareBytes(change.key, key) === 0 ? change : undefined;
  }

  at(position: number): Change | undefined {
    if (this.#byName === undefined) return this.#changes[position];
    const name = this.#ordered()[position];
    return name === undefined ? undefined : this.#byName.get(name);
  }

  lowerBound(key: Uint8Array): number {
    if (this.#byName === undefined) return this.#lowerBoundInList(key);
    const name = latin1FromBytes(key);
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

  #lowerBoundInList(key: Uint8Array): number {
    let low = 0;
    let high = this.#changes.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareBytes(this.#changes[middle]!.key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #setByName(name: string, change: Change): void {
    let byName = this.#byName;
    if (byName === undefined) {
      byName = new Map();
      for (const each of this.#changes) byName.set(latin1FromBytes(each.key), each);
      this.#names = [...byName.keys()];
      this.#byName = byName;
      this.#changes = [];
    }
    const before = byName.size;
    byName.set(name, change);
    if (byName.size === before) return;
    const last = this.#names[this.#names.length - 1];
    if (last !== undefined && name < last) this.#isOrdered = false;
    this.#names.push(name);
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
  /** New records of the `key` bucket; the other changes to it hide them. */
  #records: RevisionLog | undefined;
  /** Those other changes. */
  #keyChanges: BucketBuffer | undefined;
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
    return this.#buckets.size === 0 && this.#records === undefined;
  }

  get records(): RevisionLog | undefined {
    return this.#records;
  }

  /** Whether a record of revision `main` may have changed here, so that it has to be looked for. */
  mayHold(main: number): boolean {
    if (this.#keyChanges !== undefined && this.#keyChanges.size > 0) return true;
    return this.#records !== undefined && main >= this.#records.firstMain;
  }

  get(bucket: BucketName, key: Uint8Array): Change | undefined {
    const change = this.#buckets.get(bucket)?.get(key);
    if (change !== undefined || bucket !== "key") return change;
    return this.#records?.get(key);
  }

  /** Adds what has changed in a bucket to `layers`, what hides before what is hidden. */
  addLayers(bucket: BucketName, layers: ChangeLayer[]): void {
    const changes = this.#buckets.get(bucket);
    if (changes !== undefined && changes.size > 0) layers.push(changes);
    const records = bucket === "key" ? this.#records : undefined;
    if (records !== undefined) layers.push(records);
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
      if (name === "key") this.#keyChanges = bucket;
    }
    return bucket;
  }

  /** Makes room for the next record of the `key` bucket, as `RevisionLog.append`. */
  appendRecord(main: number, sub: number, isTombstone: boolean, bytes: number): RevisionLog {
    const records = (this.#records ??= new RevisionLog());
    records.append(main, sub, isTombstone, bytes);
    this.#changes++;
    this.#bytes += records.keyBytes(records.count - 1) + bytes;
    return records;
  }

  set(bucket: BucketName, key: Uint8Array, value: Uint8Array | undefined): void {
    this.createBucket(bucket).set({ key, value });
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
  readonly #layers: readonly ChangeLayer[];
  readonly #positions: number[];

  /** @param layers - newest first */
  constructor(layers: readonly ChangeLayer[], begin: Uint8Array) {
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
