/**
 * A map from latin-1 keys, in shards.
 *
 * A hash table grows by moving all its entries at once, which takes tens of milliseconds with a
 * million of them; each shard moves only its own few.
 *
 * Invariant: a key is in the shard `shardOf` names, and in no other.
 */

const SHARDS = 512;

export class KeyMap<V> {
  readonly #shards: (Map<string, V> | undefined)[] = Array.from({ length: SHARDS });
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: string): V | undefined {
    return this.#shards[shardOf(key)]?.get(key);
  }

  set(key: string, value: V): void {
    const at = shardOf(key);
    const shard = (this.#shards[at] ??= new Map());
    const before = shard.size;
    shard.set(key, value);
    this.#size += shard.size - before;
  }

  delete(key: string): boolean {
    const isDeleted = this.#shards[shardOf(key)]?.delete(key) === true;
    if (isDeleted) this.#size--;
    return isDeleted;
  }
}

/** Characters at the end of a key that choose its shard: keys differ there more than in front. */
const MIXED_CHARACTERS = 24;

function shardOf(key: string): number {
  const { length } = key;
  let mixed = length;
  for (let i = Math.max(0, length - MIXED_CHARACTERS); i < length; i++) {
    mixed = Math.imul(mixed, 31) + key.charCodeAt(i);
  }
  return (mixed ^ (mixed >>> 9)) & (SHARDS - 1);
}
