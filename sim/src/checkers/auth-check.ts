/**
 * What permissions promise: from the moment users are told to count, a call its caller has no right
 * to make is refused by every member, whatever it lags behind, and leaves no trace in the history.
 */

import { ViolationError } from "../violation.ts";
import type { Change } from "./revision-ledger.ts";

export class AuthCheck {
  /** Values that were written without the right to. */
  readonly #forbidden = new Set<string>();
  /** Calls that were refused, or had no answer. */
  refused = 0;

  /** Somebody is about to write a value it may not write. */
  attempted(value: string): void {
    this.#forbidden.add(value);
  }

  /** What was asked for without a right may happen from now on: users do not count. */
  lifted(): void {
    this.#forbidden.clear();
  }

  /** Somebody may have been allowed to write it after all. */
  forget(value: string): void {
    this.#forbidden.delete(value);
  }

  /** How such a call, or one that reads, ended. */
  ended(name: string, error: Error | undefined): void {
    if (error === undefined) {
      throw new ViolationError("auth", `${name} was answered, the caller has no right to it`);
    }
    this.refused++;
  }

  /** A revision came to be. */
  happened(revision: number, changes: readonly Change[]): void {
    for (const { key, value } of changes) {
      if (value !== undefined && this.#forbidden.has(value)) {
        throw new ViolationError(
          "auth",
          `revision ${revision} put ${key} to ${value}, which its caller had no right to write`,
        );
      }
    }
  }
}
