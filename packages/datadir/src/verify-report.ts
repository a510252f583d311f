/** What a verification found: one result for each check, in the order they were made. */

import { CorruptionError, EtcdError } from "@etcd-ts/base";

/** `warning`: odd, but nothing that was promised is broken. `skipped`: nothing there to check. */
export type CheckStatus = "ok" | "warning" | "failed" | "skipped";

export interface CheckResult {
  readonly name: string;
  readonly status: CheckStatus;
  /** What was looked at, or why it was not. */
  readonly summary: string;
  /** The first of them. */
  readonly problems: readonly string[];
  readonly problemCount: number;
}

export interface VerifyReport {
  readonly path: string;
  readonly kind: "snapshot" | "database" | "data directory";
  /** No check failed. */
  readonly isIntact: boolean;
  readonly checks: readonly CheckResult[];
}

/** Problems a check keeps the texts of. */
const PROBLEMS_MAX = 20;

/** One check being made. */
export class Check {
  readonly name: string;
  readonly #problems: string[] = [];
  #count = 0;
  #hasError = false;

  constructor(name: string) {
    this.name = name;
  }

  get hasFailed(): boolean {
    return this.#hasError;
  }

  error(text: string): void {
    this.#hasError = true;
    this.#add(text);
  }

  warn(text: string): void {
    this.#add(text);
  }

  /** Counts problems whose texts are not at hand. */
  addUnnamed(count: number): void {
    this.#count += count;
  }

  result(summary: string): CheckResult {
    const status = this.#hasError ? "failed" : this.#count > 0 ? "warning" : "ok";
    return {
      name: this.name,
      status,
      summary,
      problems: this.#problems,
      problemCount: this.#count,
    };
  }

  #add(text: string): void {
    this.#count++;
    if (this.#problems.length < PROBLEMS_MAX) this.#problems.push(text);
  }
}

export function skipped(name: string, summary: string): CheckResult {
  return { name, status: "skipped", summary, problems: [], problemCount: 0 };
}

/** Makes a check; bytes that do not read back fail it, whatever it was looking at. */
export async function runCheck(
  name: string,
  run: (check: Check) => Promise<string> | string,
): Promise<CheckResult> {
  const check = new Check(name);
  try {
    return check.result(await run(check));
  } catch (error) {
    if (!isFinding(error)) throw error;
    check.error(error.message);
    return check.result("could not be read to its end");
  }
}

/** Whether an error says that the files are wrong, and not the way they were asked for. */
function isFinding(error: unknown): error is EtcdError {
  if (error instanceof CorruptionError) return true;
  if (!(error instanceof EtcdError)) return false;
  return /^(WAL_|V2_|VERSION_TOO_LOW|WIRE|INTEGRITY)/.test(error.code);
}
