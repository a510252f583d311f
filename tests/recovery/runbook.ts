/**
 * The blocks of docs/recovery.md that are run.
 *
 * "```sh run m1" is run on machine m1, "```sh run each" on every machine in turn. A "```text sees"
 * block behind it is what its output must show: line by line in this order, other lines may stand
 * between them, and `…` stands for anything.
 */

export interface RunBlock {
  readonly kind: "run";
  readonly line: number;
  /** Name of a machine, or `each`. */
  readonly machine: string;
  readonly script: string;
  readonly sees: readonly string[];
}

export interface Section {
  readonly title: string;
  readonly blocks: readonly RunBlock[];
}

interface Fence {
  readonly line: number;
  readonly info: string;
  readonly text: string;
}

/** All sections with something to run, in order. @throws {Error} for a block that is not understood */
export function sectionsOf(markdown: string): Section[] {
  const sections: { title: string; blocks: RunBlock[] }[] = [];
  let title = "";
  for (const part of parts(markdown)) {
    if (typeof part === "string") {
      title = part;
      continue;
    }
    const [language, word, machine] = part.info.split(" ");
    if (word === undefined) continue;
    let section = sections.at(-1);
    if (section?.title !== title) {
      section = { title, blocks: [] };
      sections.push(section);
    }
    if (language === "sh" && word === "run" && machine !== undefined) {
      const block = { kind: "run", line: part.line, machine, script: part.text, sees: [] } as const;
      section.blocks.push(block);
    } else if (part.info === "text sees" && section.blocks.length > 0) {
      const last = section.blocks.pop()!;
      section.blocks.push({ ...last, sees: part.text.trimEnd().split("\n") });
    } else throw new Error(`line ${part.line}: what is a block ${JSON.stringify(part.info)}?`);
  }
  return sections;
}

/** Headings of the second level, and fenced blocks. */
function* parts(markdown: string): Generator<string | Fence> {
  let open: { line: number; info: string; lines: string[] } | undefined;
  for (const [i, line] of markdown.split("\n").entries()) {
    if (open === undefined) {
      if (line.startsWith("## ")) yield line.slice(3);
      else if (line.startsWith("```")) open = { line: i + 1, info: line.slice(3), lines: [] };
    } else if (line === "```") {
      yield { line: open.line, info: open.info, text: open.lines.join("\n") + "\n" };
      open = undefined;
    } else open.lines.push(line);
  }
  if (open !== undefined) throw new Error(`line ${open.line}: the block does not end`);
}

/** The first line of `sees` that `output` does not show where it should; undefined if it shows all. */
export function missingLine(output: string, sees: readonly string[]): string | undefined {
  const lines = output.split("\n").map((line) => line.trim());
  let from = 0;
  for (const expected of sees) {
    const pattern = patternOf(expected.trim());
    const found = lines.findIndex((line, i) => i >= from && pattern.test(line));
    if (found < 0) return expected;
    from = found + 1;
  }
  return undefined;
}

function patternOf(text: string): RegExp {
  const parts = text.split("…").map((part) =>
    part
      .trim()
      .replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
      .replace(/\s+/g, "\\s+"),
  );
  return new RegExp(`^${parts.join(".*")}$`);
}
