/**
 * What happened, in order, as one number and as counts: two runs of a seed are the same run if
 * their traces are equal.
 */

export class Trace {
  #low = 0x811c9dc5;
  #high = 0x9dc5811c;
  readonly #counts = new Map<string, number>();
  /** The last lines, for a report of a failure. */
  readonly #lines: string[] = [];
  readonly #linesMax: number;

  constructor(linesMax = 200) {
    this.#linesMax = linesMax;
  }

  /** Takes a line into the hash. */
  add(line: string): void {
    for (let i = 0; i < line.length; i++) {
      const code = line.charCodeAt(i);
      this.#low = Math.imul(this.#low ^ code, 0x01000193);
      this.#high = Math.imul(this.#high ^ (code + i), 0x01000193) ^ (this.#low >>> 15);
    }
  }

  /** Takes a line into the hash and keeps it for the report. */
  tell(line: string): void {
    this.add(line);
    this.#lines.push(line);
    if (this.#lines.length > 2 * this.#linesMax) this.#lines.splice(0, this.#linesMax);
  }

  count(name: string, by = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + by);
  }

  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  get lines(): readonly string[] {
    return this.#lines.slice(-this.#linesMax);
  }

  /** 16 hex digits. */
  get hash(): string {
    return [this.#high, this.#low]
      .map((word) => (word >>> 0).toString(16).padStart(8, "0"))
      .join("");
  }
}
