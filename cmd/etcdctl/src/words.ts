/** Words of a line that is typed at a prompt. */

import { readGoQuoted } from "@etcd-ts/cli";

import { EXIT, ExitError } from "./exit.ts";

const WORD = /"(?:[^"\\]|\\.)*"|'[^']*'|[^'"\s]\S*[^'"\s]?/g;

/**
 * Splits at spaces; `'...'` is taken as it is, `"..."` as Go writes strings.
 *
 * @throws {ExitError} for a string Go would not write
 */
export function splitWords(line: string): string[] {
  return (line.match(WORD) ?? []).map((word) => {
    if (word.startsWith("'")) return word.slice(1, -1);
    if (!word.startsWith('"')) return word;
    const quoted = readGoQuoted(word);
    if (quoted === undefined) throw new ExitError(EXIT.invalidInput, "invalid syntax");
    return Buffer.from(quoted.value).toString();
  });
}
