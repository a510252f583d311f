/** Entropy from the operating system, drawn in blocks because single draws are dear. */

import { randomFillSync } from "node:crypto";

import type { Random } from "@etcd-ts/base";

const POOL_BYTES = 4096;

export class NodeRandom implements Random {
  readonly #pool = Buffer.alloc(POOL_BYTES);
  #used = POOL_BYTES;

  fill(target: Uint8Array): Uint8Array {
    return randomFillSync(target);
  }

  uint32(): number {
    if (this.#used === POOL_BYTES) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    const word = this.#pool.readUInt32LE(this.#used);
    this.#used += 4;
    return word;
  }

  float(): number {
    return ((this.uint32() >>> 5) * 0x400_0000 + (this.uint32() >>> 6)) / 0x20_0000_0000_0000;
  }
}
