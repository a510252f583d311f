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

export class RequestIDs {
  readonly #prefix: bigint;
  #suffix: number;

  constructor(memberID: bigint, wallMs: number) {
    invariant(wallMs >= 0, () => `RequestIDs: time ${wallMs} before 1970`);
    this.#prefix = BigInt.asUintN(16, memberID) << SUFFIX_BITS;
    const time = BigInt.asUintN(Number(TIME_BITS), BigInt(Math.floor(wallMs)));
    this.#suffix = Number(time << COUNT_BITS);
  }

  next(): bigint {
    this.#suffix = (this.#suffix + 1) % 2 ** Number(SUFFIX_BITS);
    return this.#prefix | BigInt(this.#suffix);
  }
}
