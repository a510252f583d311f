/**
 * Is there an order of all operations that explains every answer and keeps real time? The search
 * of Wing and Gong with the memo of Lowe, over the whole key space at once.
 *
 * The revision in each answer says where the operation stands, so there is only one thing to
 * choose: which operation without an answer made a revision nobody was told. Such an operation may
 * have happened at any time after its call, once, or never. Where the history of the members is at
 * hand it says what each revision changed, and leaves few candidates.
 */

import { ViolationError } from "../violation.ts";
import type { KeySpace, Request } from "./model.ts";
import { EMPTY_KEY_SPACE, afterRequest, changesOf, modRevisionOf, readText } from "./model.ts";
import { changeText } from "./revision-ledger.ts";

export interface Answer {
  /** The revision of the header. */
  readonly revision: number;
  /** Whether it made that revision. */
  readonly isChange: boolean;
  /** For a read, `readText`; for a write, how it says it went. */
  readonly read?: string;
  readonly succeeded?: boolean;
}

export interface Operation {
  readonly name: string;
  readonly callMs: number;
  /** Infinity while unknown. */
  returnMs: number;
  readonly request: Request;
  /** Undefined: nobody knows whether it happened. */
  answer: Answer | undefined;
}

/** Choices tried before the search gives up; a history of a run needs a few times its length. */
const STEPS_MAX = 2_000_000;

interface Frame {
  readonly state: KeySpace;
  /** The latest point in time anything up to here needs. */
  readonly atMs: number;
  readonly candidates: readonly Operation[];
  next: number;
  /** The one without an answer that made the next revision, while deeper frames are tried. */
  chosen: Operation | undefined;
}

/**
 * @param changesAt - `changeText` of what a revision changed, if it is known
 * @throws {ViolationError} with the operation no order explains
 */
export function checkLinearizable(
  operations: readonly Operation[],
  changesAt: (revision: number) => string | undefined = () => undefined,
): void {
  new Search(operations, changesAt).run();
}

class Search {
  readonly #writes = new Map<number, Operation>();
  readonly #reads = new Map<number, Operation[]>();
  readonly #unknown: Operation[] = [];
  readonly #used = new Set<Operation>();
  readonly #failed = new Map<string, number>();
  readonly #changesAt: (revision: number) => string | undefined;
  #last = 1;
  #deepest = { revision: 0, text: "" };

  constructor(
    operations: readonly Operation[],
    changesAt: (revision: number) => string | undefined,
  ) {
    this.#changesAt = changesAt;
    for (const operation of operations) this.#place(operation);
  }

  #place(operation: Operation): void {
    const { answer, request } = operation;
    if (answer === undefined) {
      if (request.kind !== "read") this.#unknown.push(operation);
      return;
    }
    this.#last = Math.max(this.#last, answer.revision);
    if (!answer.isChange) {
      const reads = this.#reads.get(answer.revision);
      if (reads === undefined) this.#reads.set(answer.revision, [operation]);
      else reads.push(operation);
      return;
    }
    const other = this.#writes.get(answer.revision);
    if (other !== undefined) {
      throw new ViolationError(
        "linearizability",
        `${other.name} and ${operation.name} were both told revision ${answer.revision}`,
      );
    }
    this.#writes.set(answer.revision, operation);
  }

  run(): void {
    const frames: Frame[] = [];
    let frame = this.#enter(EMPTY_KEY_SPACE, 0);
    for (let steps = 0; ; steps++) {
      if (frame !== undefined) {
        if (frame.state.revision >= this.#last) return;
        frames.push(frame);
      }
      const top = frames.at(-1);
      if (top === undefined) {
        throw new ViolationError("linearizability", this.#deepest.text);
      }
      if (steps > STEPS_MAX) {
        throw new ViolationError("linearizability", `gave up at revision ${top.state.revision}`);
      }
      frame = this.#advance(frames, top);
    }
  }

  /** Tries the next candidate of `top`; undefined if it fails or none is left. */
  #advance(frames: Frame[], top: Frame): Frame | undefined {
    if (top.chosen !== undefined) this.#used.delete(top.chosen);
    top.chosen = undefined;
    const candidate = top.candidates[top.next++];
    if (candidate === undefined) {
      this.#failed.set(this.#memoKey(top.state), top.atMs);
      frames.pop();
      return undefined;
    }
    const atMs = Math.max(top.atMs, candidate.callMs);
    if (atMs > candidate.returnMs) {
      this.#fail(top.state, `${candidate.name} ended before something that comes first was called`);
      return undefined;
    }
    if (candidate.answer === undefined) {
      top.chosen = candidate;
      this.#used.add(candidate);
    }
    const state = afterRequest(top.state, candidate.request);
    const failedAtMs = this.#failed.get(this.#memoKey(state));
    if (failedAtMs !== undefined && failedAtMs <= atMs) return undefined;
    return this.#enter(state, atMs);
  }

  /** Takes in the reads at this state; undefined if one of them does not fit. */
  #enter(state: KeySpace, atMs: number): Frame | undefined {
    let lastMs = atMs;
    for (const read of this.#reads.get(state.revision) ?? []) {
      const pointMs = Math.max(atMs, read.callMs);
      lastMs = Math.max(lastMs, pointMs);
      const wrong = pointMs > read.returnMs ? "is stale" : misfit(state, read);
      if (wrong !== undefined) return this.#fail(state, `${read.name} ${wrong}`);
    }
    if (state.revision >= this.#last) {
      return { state, atMs: lastMs, candidates: [], next: 0, chosen: undefined };
    }
    const candidates = this.#candidates(state);
    if (candidates.length === 0) {
      const next = state.revision + 1;
      const known = this.#writes.get(next)?.name ?? "nobody was told of it";
      const told = this.#changesAt(next) ?? "unknown";
      const text = `${known}; its changes: "${told}"; before it: "${readText(state, undefined)}"`;
      return this.#fail(state, `nothing explains revision ${next}: ${text}`);
    }
    return { state, atMs: lastMs, candidates, next: 0, chosen: undefined };
  }

  #candidates(state: KeySpace): readonly Operation[] {
    const told = this.#changesAt(state.revision + 1);
    const fits = (operation: Operation): boolean => {
      const changes = changesOf(state, operation.request);
      return changes.length > 0 && (told === undefined || changeText(changes) === told);
    };
    const known = this.#writes.get(state.revision + 1);
    if (known !== undefined) return fits(known) ? [known] : [];
    return this.#unknown.filter((operation) => !this.#used.has(operation) && fits(operation));
  }

  #fail(state: KeySpace, text: string): undefined {
    if (state.revision >= this.#deepest.revision) {
      this.#deepest = { revision: state.revision, text: `at revision ${state.revision}: ${text}` };
    }
    return undefined;
  }

  #memoKey(state: KeySpace): string {
    const used = [...this.#used].map(({ name }) => name).sort();
    return `${state.revision} ${used.join(",")}`;
  }
}

/** Why an answer that changed nothing cannot come from `state`. */
function misfit(state: KeySpace, { request, answer }: Operation): string | undefined {
  if (request.kind === "read") {
    const expected = readText(state, request.key);
    return answer!.read === expected
      ? undefined
      : `read "${answer!.read}", there was "${expected}"`;
  }
  if (request.kind === "write") {
    const { condition } = request;
    const holds =
      condition === undefined || modRevisionOf(state, condition.key) === condition.modRevision;
    if (answer!.succeeded !== holds)
      return `says succeeded=${answer!.succeeded}, should be ${holds}`;
  }
  const changes = changesOf(state, request);
  return changes.length === 0 ? undefined : `changed nothing, should have "${changeText(changes)}"`;
}
