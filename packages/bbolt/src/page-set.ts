/** A set of page ids, a bit each. */

export class PageSet {
  #words: Uint32Array;

  /** @param pages - ids up to this one need no growth */
  constructor(pages: number) {
    this.#words = new Uint32Array((pages >>> 5) + 1);
  }

  /** Ids are below this. */
  get limit(): number {
    return this.#words.length * 32;
  }

  has(page: number): boolean {
    const word = page >>> 5;
    return word < this.#words.length && (this.#words[word]! & (1 << (page & 31))) !== 0;
  }

  add(page: number): void {
    if (page >= this.limit) this.#grow(page);
    this.#words[page >>> 5]! |= 1 << (page & 31);
  }

  delete(page: number): void {
    if (page < this.limit) this.#words[page >>> 5]! &= ~(1 << (page & 31));
  }

  /**
   * The first id at or after `page` that is in the set, `Infinity` if there is none; with `isIn`
   * false, the first that is not in it.
   */
  next(page: number, isIn = true): number {
    const flip = isIn ? 0 : -1;
    for (let at = page; at < this.limit; at = (at | 31) + 1) {
      const word = (this.#words[at >>> 5]! ^ flip) >>> (at & 31);
      if (word !== 0) return at + 31 - Math.clz32(word & -word);
    }
    return isIn ? Infinity : Math.max(page, this.limit);
  }

  #grow(page: number): void {
    const words = new Uint32Array(Math.max((page >>> 5) + 1, this.#words.length * 2));
    words.set(this.#words);
    this.#words = words;
  }
}
