/**
 * JSON web tokens, made and read under one algorithm and one key.
 *
 * Invariants:
 * - The algorithm is the one configured, whatever a token says of itself; so a token without a
 *   signature, or one that takes a public key for a secret, is refused.
 * - A token that was found valid is not looked into again before it expires; tokens do not become
 *   invalid earlier, because what they permit is asked anew each time.
 */

import type { KeyObject } from "node:crypto";

import type { Clock } from "@etcd-ts/base";
import type { TokenClaims, TokenSigner } from "@etcd-ts/etcdserver";
import { jwtVerify, SignJWT } from "jose";

/** Tokens whose claims are kept. */
export const KNOWN_TOKENS_MAX = 4096;

const COMPACT_FORM = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export interface JwtKeys {
  readonly algorithm: string;
  readonly verifyKey: KeyObject;
  /** Undefined: tokens are only verified. */
  readonly signKey: KeyObject | undefined;
  readonly ttlMs: number;
}

interface KnownToken extends TokenClaims {
  readonly expiresMs: number;
}

export class JwtSigner implements TokenSigner {
  readonly #keys: JwtKeys;
  readonly #clock: Clock;
  /** In order of arrival; the oldest goes first. */
  readonly #known = new Map<string, KnownToken>();

  constructor(keys: JwtKeys, clock: Clock) {
    this.#keys = keys;
    this.#clock = clock;
  }

  get canSign(): boolean {
    return this.#keys.signKey !== undefined;
  }

  async sign({ username, revision }: TokenClaims): Promise<string> {
    const { algorithm, signKey, ttlMs } = this.#keys;
    const expires = Math.floor((this.#clock.wallMs() + ttlMs) / 1000);
    return new SignJWT({ username, revision, exp: expires })
      .setProtectedHeader({ alg: algorithm, typ: "JWT" })
      .sign(signKey!);
  }

  known(token: string): TokenClaims | undefined {
    const known = this.#known.get(token);
    if (known === undefined || this.#clock.wallMs() < known.expiresMs) return known;
    this.#known.delete(token);
    return undefined;
  }

  async verify(token: string): Promise<TokenClaims | undefined> {
    // The library would let padding through.
    if (!COMPACT_FORM.test(token)) return undefined;
    const { algorithm, verifyKey } = this.#keys;
    try {
      const { payload } = await jwtVerify(token, verifyKey, {
        algorithms: [algorithm],
        currentDate: new Date(this.#clock.wallMs()),
      });
      const { username, revision, exp } = payload;
      if (typeof username !== "string" || typeof revision !== "number") return undefined;
      const claims = { username, revision: Math.trunc(revision) };
      if (exp !== undefined) this.#remember(token, { ...claims, expiresMs: exp * 1000 });
      return claims;
    } catch {
      // Whatever is wrong with it, it is no token of ours.
      return undefined;
    }
  }

  #remember(token: string, known: KnownToken): void {
    if (this.#known.size >= KNOWN_TOKENS_MAX) {
      const [oldest] = this.#known.keys();
      if (oldest !== undefined) this.#known.delete(oldest);
    }
    this.#known.set(token, known);
  }
}
