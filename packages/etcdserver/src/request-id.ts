/**
 * Ids of requests, unique over the members of a cluster and over restarts.
 *
 * 64 bits: the low 16 of the member's id, then 40 of the start time in milliseconds, then a count
 * of 8 bits that runs over into the time. A member that restarts therefore goes on above what it
 * gave out, as long as it made fewer than 256 requests a millisecond on average.
 */

import { invariant } from "@etcd-ts/base";

const TIME_BITS = 40n;
const COUNT_BITS = 8n;
const SUFFIX_BITS = TIME_BITS + COUNT_BITS;
/** Ids of one member; after so many they come again. */
export const ID_COUNTS = 2 ** 48;
const TWO_POW_32 = 2 ** 32;

export class RequestIDs {
  readonly #prefix: bigint;
  /** The high 32 bits of an id, less what comes of the count. */
  readonly #prefixHigh: number;
  #suffix: number;

  constructor(memberID: bigint, wallMs: number) {
    invariant(wallMs >= 0, () => `RequestIDs: time ${wallMs} before 1970`);
    this.#prefix = BigInt.asUintN(16, memberID) << SUFFIX_BITS;
    const time = BigInt.asUintN(Number(TIME_BITS), BigInt(Math.floor(wallMs)));
    this.#suffix = Number(time << COUNT_BITS);
    this.#prefixHigh = Number(this.#prefix >> 32n);
  }

  next(): bigint {
    return this.#prefix | BigInt(this.nextCount() % ID_COUNTS);
  }

  /** As `next`, as a number that only grows: the id is its residue of `ID_COUNTS`. */
  nextCount(): number {
    return ++this.#suffix;
  }

  /** The high 32 bits of the id with this count. */
  highOf(count: number): number {
    return this.#prefixHigh + Math.floor((count % ID_COUNTS) / TWO_POW_32);
  }

  /** The low 32 bits of the id with this count. */
  lowOf(count: number): number {
    return count % TWO_POW_32;
  }

  /** The residue of the count of an id; undefined if this member gave out no such id. */
  countOf(id: bigint): number | undefined {
    if (id >> SUFFIX_BITS !== this.#prefix >> SUFFIX_BITS) return undefined;
    return Number(BigInt.asUintN(Number(SUFFIX_BITS), id));
  }
}
