/**
 * Where records of the `key` bucket are in the file, of keys that were read lately: so that a read
 * of a key need not search the tree again.
 *
 * A table of numbers in one array; a key has one place in it, which another key may take. Nothing
 * refers to a page, so the bound of the page cache holds.
 *
 * Invariant: an entry is valid for the committed state it was noted in, and `forget` begins another.
 */

/** A power of two; 1 MiB of numbers. */
const PLACES = 32 * 1024;
const NUMBERS = 4;
const MAIN = 1;
const PAGE = 2;
const ENTRY = 3;
/** Slots are below this. */
const SLOTS = 2 ** 32;
/** States told apart before the table is emptied; with a slot it makes a safe integer. */
const STATES = 2 ** 20;
/** Entries of a page are fewer than this. */
const ENTRIES = 2 ** 16;
/** With an entry's number it makes a safe integer. */
const SUB_MAX = 2 ** 32;

export class RecordPlaces {
  /** Of the entry `find` found. */
  pageID = 0;
  position = 0;
  readonly #numbers = new Float64Array(PLACES * NUMBERS);
  /** The state, from 1 on, so that no entry of zeros is valid. */
  #state = 1;

  /** Nothing that was noted is valid any more. */
  forget(): void {
    this.#state++;
    if (this.#state < STATES) return;
    this.#numbers.fill(0);
    this.#state = 1;
  }

  /** Whether the place of a key's record is known; it is in `pageID` and `position` then. */
  find(slot: number, main: number, sub: number): boolean {
    const numbers = this.#numbers;
    const at = (slot & (PLACES - 1)) * NUMBERS;
    if (numbers[at] !== this.#state * SLOTS + slot || numbers[at + MAIN] !== main) return false;
    const position = numbers[at + ENTRY]! - sub * ENTRIES;
    if (position < 0 || position >= ENTRIES) return false;
    this.pageID = numbers[at + PAGE]!;
    this.position = position;
    return true;
  }

  note(slot: number, main: number, sub: number, pageID: number, position: number): void {
    if (position >= ENTRIES || sub >= SUB_MAX) return;
    const numbers = this.#numbers;
    const at = (slot & (PLACES - 1)) * NUMBERS;
    numbers[at] = this.#state * SLOTS + slot;
    numbers[at + MAIN] = main;
    numbers[at + PAGE] = pageID;
    numbers[at + ENTRY] = sub * ENTRIES + position;
  }
}
