/**
 * Tokens that are nothing but known: 16 random letters and the log index they were made at.
 *
 * Every member assigns the same token to the same user when it applies the entry, and keeps it in
 * memory alone. How long one lives is each member's own clock: it is prolonged by use.
 *
 * Invariant: while disabled there are no tokens.
 */

import { invariant } from "@etcd-ts/base";
import type { Clock, Random } from "@etcd-ts/base";
import { randomBelow } from "@etcd-ts/base";

const LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const PREFIX_LETTERS = 16;
/** Expired tokens are looked for no more often than this. */
const SWEEP_MS = 1000;

interface SimpleToken {
  readonly username: string;
  expiresMs: number;
}

export class SimpleTokens {
  readonly #clock: Clock;
  readonly #ttlMs: number;
  readonly #tokens = new Map<string, SimpleToken>();
  #isEnabled = false;
  #sweptMs = 0;

  constructor(clock: Clock, ttlMs: number) {
    this.#clock = clock;
    this.#ttlMs = ttlMs;
  }

  enable(): void {
    this.#isEnabled = true;
  }

  disable(): void {
    this.#isEnabled = false;
    this.#tokens.clear();
  }

  assign(username: string, prefix: string, index: number): string {
    const token = `${prefix}.${index}`;
    if (!this.#isEnabled) return token;
    const nowMs = this.#clock.monotonicMs();
    this.#sweep(nowMs);
    invariant(!this.#tokens.has(token), () => `SimpleTokens.assign: used twice at ${index}`);
    this.#tokens.set(token, { username, expiresMs: nowMs + this.#ttlMs });
    return token;
  }

  /** The user of a token, which is prolonged. */
  userOf(token: string): string | undefined {
    const found = this.#tokens.get(token);
    if (found === undefined) return undefined;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs > found.expiresMs) {
      this.#tokens.delete(token);
      return undefined;
    }
    found.expiresMs = nowMs + this.#ttlMs;
    return found.username;
  }

  invalidateUser(username: string): void {
    for (const [token, { username: owner }] of this.#tokens) {
      if (owner === username) this.#tokens.delete(token);
    }
  }

  #sweep(nowMs: number): void {
    if (nowMs - this.#sweptMs < SWEEP_MS) return;
    this.#sweptMs = nowMs;
    for (const [token, { expiresMs }] of this.#tokens) {
      if (nowMs > expiresMs) this.#tokens.delete(token);
    }
  }
}

export function newTokenPrefix(random: Random): string {
  let prefix = "";
  for (let i = 0; i < PREFIX_LETTERS; i++) prefix += LETTERS[randomBelow(random, LETTERS.length)]!;
  return prefix;
}

/** The log index a simple token was made at; undefined if it is none. */
export function indexOfToken(token: string): number | undefined {
  const match = /^[^.]*\.(\d{1,20})$/.exec(token);
  return match === null ? undefined : Number(match[1]);
}
