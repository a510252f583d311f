/**
 * The one history of the key space: what each revision changed.
 *
 * Every life of every member tells its history anew, from its compact revision on; all must tell
 * the same. What was acknowledged must be in it, and stays in it: a write lost by a crash shows as
 * a revision that changed something else, or as one the final history does not reach.
 */

import { ViolationError } from "../violation.ts";

export interface Change {
  readonly key: string;
  /** Undefined: deleted. */
  readonly value: string | undefined;
}

export class RevisionLedger {
  readonly #revisions = new Map<
    number,
    { readonly changes: readonly Change[]; readonly text: string }
  >();
  #newest = 1;
  /** Revisions told by members. */
  checked = 0;

  get newest(): number {
    return this.#newest;
  }

  /** @param who - for the report */
  tell(revision: number, changes: readonly Change[], who: string): boolean {
    this.checked++;
    const text = changeText(changes);
    const known = this.#revisions.get(revision);
    if (known !== undefined) {
      if (known.text !== text) {
        throw new ViolationError(
          "state machine",
          `${who} has "${text}" at revision ${revision}, told before was "${known.text}"`,
        );
      }
      return false;
    }
    this.#revisions.set(revision, { changes, text });
    if (revision > this.#newest) this.#newest = revision;
    return true;
  }

  changesAt(revision: number): readonly Change[] | undefined {
    return this.#revisions.get(revision)?.changes;
  }

  /** The text of the changes at `revision`. */
  textAt(revision: number): string | undefined {
    return this.#revisions.get(revision)?.text;
  }

  /** All revisions from 2 to `last` must have been told, and no acknowledged one is above it. */
  checkAcknowledged(acknowledged: Iterable<number>, last: number): void {
    for (const revision of acknowledged) {
      if (revision > last) {
        throw new ViolationError(
          "durability",
          `revision ${revision} was acknowledged, the end is ${last}`,
        );
      }
      if (!this.#revisions.has(revision)) {
        throw new ViolationError(
          "durability",
          `revision ${revision} was acknowledged, no member tells of it`,
        );
      }
    }
  }
}

export function changeText(changes: readonly Change[]): string {
  return changes
    .map(({ key, value }) => (value === undefined ? `-${key}` : `${key}=${value}`))
    .sort()
    .join(" ");
}
