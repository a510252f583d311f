/**
 * The three kinds of failure.
 *
 * - *Ours*: `invariant()` throws `InvariantError`. Nobody catches it; the member stops, because a
 *   crash is safer than a wrong answer.
 * - *The world's*: a class extending `EtcdError` with a stable `code`, `cause` set when it wraps.
 * - *Ordinary outcomes* are return values and have no class here.
 */

/** A failure the world caused, told apart by its stable, upper-snake `code`. */
export abstract class EtcdError extends Error {
  abstract readonly code: string;

  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = new.target.name;
  }
}

/** A broken promise of our own code. */
export class InvariantError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "InvariantError";
  }
}

/** Bytes at rest that are not what was written. */
export class CorruptionError extends EtcdError {
  readonly code: string = "CORRUPTION";
  readonly path: string;
  readonly offsetBytes: number;

  constructor(message: string, path: string, offsetBytes: number, options?: ErrorOptions) {
    super(`${message} (${path} at byte ${offsetBytes})`, options);
    this.path = path;
    this.offsetBytes = offsetBytes;
  }
}

/**
 * Stops the caller unless `condition` holds.
 *
 * @param message - built only on failure; names the function and the values
 * @throws {InvariantError}
 */
export function invariant(condition: boolean, message: () => string): asserts condition {
  if (!condition) throw new InvariantError(message());
}

/** The default branch of an exhaustive switch. */
export function unreachable(value: never, where: string): never {
  throw new InvariantError(`${where}: unexpected ${String(value)}`);
}
