/** Tables in ASCII, and text in columns at tab stops. */

/** Terminal columns of a text; wide characters count twice. */
function width(text: string): number {
  let columns = 0;
  for (const character of text) {
    const point = character.codePointAt(0)!;
    const isWide =
      (point >= 0x1100 && point <= 0x115f) ||
      (point >= 0x2e80 && point <= 0xa4cf) ||
      (point >= 0xac00 && point <= 0xd7a3) ||
      (point >= 0xf900 && point <= 0xfaff) ||
      (point >= 0xfe30 && point <= 0xfe6f) ||
      (point >= 0xff00 && point <= 0xff60) ||
      (point >= 0x1f300 && point <= 0x1f64f);
    columns += isWide ? 2 : 1;
  }
  return columns;
}

/** Characters of a cell before its words go to the next line. */
const CELL_WIDTH_MAX = 30;

/** Breaks a cell into lines of up to `CELL_WIDTH_MAX`, between words. */
function wrap(text: string, limit: number): string[] {
  const words = text.trim().split(/\s+/);
  if (text.trim() === "") return [""];
  const lines: string[] = [];
  let line = "";
  for (const word of words) {
    if (line === "") line = word;
    else if (width(line) + 1 + width(word) <= limit) line += ` ${word}`;
    else {
      lines.push(line);
      line = word;
    }
  }
  lines.push(line);
  return lines;
}

/** A table with borders, headers in capitals and centred, cells to the right. */
export function textTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const titles = header.map((title) =>
    wrap(title.replaceAll("_", " ").toUpperCase(), CELL_WIDTH_MAX),
  );
  const cells = rows.map((row) => row.map((cell) => wrapCell(cell)));
  const widths = titles.map((lines, column) =>
    Math.max(...[lines, ...cells.map((row) => row[column]!)].flat().map((line) => width(line))),
  );
  const border = `+${widths.map((columns) => "-".repeat(columns + 2)).join("+")}+\n`;
  const lines = (row: readonly (readonly string[])[], pad: typeof padLeft): string => {
    const height = Math.max(...row.map((cell) => cell.length));
    let text = "";
    for (let i = 0; i < height; i++) {
      text += `|${row.map((cell, column) => ` ${pad(cell[i] ?? "", widths[column]!)} `).join("|")}|\n`;
    }
    return text;
  };
  const body = cells.map((row) => lines(row, padLeft)).join("");
  return `${border}${lines(titles, centre)}${border}${body}${rows.length > 0 ? border : ""}`;
}

/** A cell is as wide as its longest word, or as the limit. */
function wrapCell(cell: string): string[] {
  const longest = Math.max(...cell.split(/\s+/).map((word) => width(word)));
  return wrap(cell, Math.max(CELL_WIDTH_MAX, longest));
}

function padLeft(text: string, columns: number): string {
  return " ".repeat(Math.max(0, columns - width(text))) + text;
}

function centre(text: string, columns: number): string {
  const gap = Math.max(0, columns - width(text));
  const left = Math.floor(gap / 2);
  return " ".repeat(left) + text + " ".repeat(gap - left);
}

const TAB_COLUMNS = 8;

/**
 * Lines whose cells end with a tab, padded with tabs to common columns: a column is common to
 * lines that follow each other and all have it (Go's `text/tabwriter`, cells of 8, padding 1).
 */
export function alignTabs(text: string): string {
  const lines = text.split("\n").map((line) => line.split("\t"));
  const widths = lines.map((cells) => Array<number>(Math.max(0, cells.length - 1)).fill(0));
  const columns = Math.max(...lines.map((cells) => cells.length)) - 1;
  for (let column = 0; column < columns; column++) {
    for (let first = 0; first < lines.length; first++) {
      if (lines[first]!.length - 1 <= column) continue;
      let last = first;
      while (last + 1 < lines.length && lines[last + 1]!.length - 1 > column) last++;
      let widest = 0;
      for (let i = first; i <= last; i++) widest = Math.max(widest, width(lines[i]![column]!) + 1);
      const columnWidth = Math.ceil(widest / TAB_COLUMNS) * TAB_COLUMNS;
      for (let i = first; i <= last; i++) widths[i]![column] = columnWidth;
      first = last;
    }
  }
  return lines.map((cells, i) => joinCells(cells, widths[i]!)).join("\n");
}

function joinCells(cells: readonly string[], widths: readonly number[]): string {
  let text = "";
  cells.forEach((cell, column) => {
    text += cell;
    const columnWidth = widths[column];
    if (columnWidth === undefined) return;
    text += "\t".repeat(Math.ceil((columnWidth - width(cell)) / TAB_COLUMNS));
  });
  return text;
}
