/** Flags from environment variables: `PREFIX_` + the flag's name in capitals, `-` as `_`. */

import type { FlagSet, FlagTable } from "./flag-set.ts";
import { FlagError } from "./flag-set.ts";

export function environmentName(prefix: string, flag: string): string {
  return `${prefix}_${flag.toUpperCase().replaceAll("-", "_")}`;
}

/** A variable and a flag that both set the same thing: neither is silently preferred. */
export class ConflictingEnvironmentError extends FlagError {
  readonly variable: string;

  constructor(variable: string) {
    super(
      "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))",
    );
    this.variable = variable;
  }
}

export interface EnvironmentReport {
  /** Variables that set a flag, in the order of the table. */
  readonly used: readonly { readonly variable: string; readonly value: string }[];
  /** Variables with the prefix that no flag knows, as `NAME=value`. */
  readonly unrecognized: readonly string[];
}

/**
 * Sets each flag that has a non-empty variable.
 *
 * @param known - further variables that belong to the program and are no flags
 * @throws {ConflictingEnvironmentError} if the flag was given too
 * @throws {FlagError} if a value does not fit
 */
export function applyEnvironment<Table extends FlagTable>(
  flags: FlagSet<Table>,
  prefix: string,
  environment: { readonly [name: string]: string | undefined },
  known: readonly string[] = [],
): EnvironmentReport {
  const used: { variable: string; value: string }[] = [];
  const expected = new Set(known);
  for (const name of Object.keys(flags.table)) {
    const variable = environmentName(prefix, name);
    expected.add(variable);
    const value = environment[variable];
    if (value === undefined || value === "") continue;
    if (flags.isExplicit(name)) throw new ConflictingEnvironmentError(variable);
    flags.setFromEnvironment(name, variable, value);
    used.push({ variable, value });
  }
  const unrecognized = Object.entries(environment)
    .filter(([name, value]) => name.startsWith(`${prefix}_`) && !expected.has(name) && value !== "")
    .map(([name, value]) => `${name}=${value ?? ""}`);
  return { used, unrecognized };
}
