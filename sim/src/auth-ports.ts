/** What authentication needs from outside, in virtual time: a hash that takes a while. */

import { sha256, sleep, utf8FromString } from "@etcd-ts/base";
import type { Clock, Random } from "@etcd-ts/base";
import type { AuthPorts, PasswordHasher } from "@etcd-ts/etcdserver";

/** Simple tokens run out after this time without use. */
export const TOKEN_TTL_MS = 6000;
/** Long enough for users to change, and members to end, while a password is looked at. */
const HASH_MS_MAX = 200;

class SlowHasher implements PasswordHasher {
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(clock: Clock, random: Random) {
    this.#clock = clock;
    this.#random = random;
  }

  async hash(password: string): Promise<Uint8Array> {
    await sleep(this.#clock, HASH_MS_MAX * this.#random.float());
    return this.hashNow(password);
  }

  async matches(password: string, hash: Uint8Array): Promise<boolean> {
    const own = await this.hash(password);
    return own.length === hash.length && own.every((byte, i) => byte === hash[i]);
  }

  hashNow(password: string): Uint8Array {
    return sha256(utf8FromString(password));
  }
}

export function simAuthPorts(clock: Clock, random: Random): AuthPorts {
  return {
    passwords: new SlowHasher(clock, random),
    tokens: { kind: "simple", ttlMs: TOKEN_TTL_MS },
  };
}
