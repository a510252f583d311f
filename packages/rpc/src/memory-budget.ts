/**
 * Memory that many hold for their clients together, and who has to give way when it is too much:
 * whoever holds more than an equal share. So those that hold little go on whatever others do.
 */

export class MemoryBudget {
  readonly #bytesMax: number;
  #heldBytes = 0;
  #holders = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  join(): void {
    this.#holders += 1;
  }

  /** A holder that holds nothing any more goes. */
  leave(): void {
    this.#holders -= 1;
  }

  /**
   * Counts memory of one holder.
   *
   * @param bytes - more, or less if negative
   * @param ownBytes - what the holder has then
   * @returns false if the holder must give way
   */
  hold(bytes: number, ownBytes: number): boolean {
    this.#heldBytes += bytes;
    return this.#heldBytes <= this.#bytesMax || ownBytes <= this.#bytesMax / this.#holders;
  }
}
