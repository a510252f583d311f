/** The table and the plot. */
import { readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const BEGIN = "<!-- begin of what the benchmark writes -->";
const END = "<!-- end of what the benchmark writes -->";

export function report({ rows, facts, machine, file, commands }) {
  const text = table(rows, facts, machine);
  console.log(text);
  if (file === undefined) return;
  const plot = file.replace(/\.md$/, ".svg");
  writeFileSync(join(dirname(file), basename(plot)), svg(rows));
  const before = readFileSync(file, "utf8");
  const [head, rest] = before.split(BEGIN);
  const tail = rest.split(END)[1];
  const command = ["```sh", ...commands, "```"].join("\n");
  const image = `![ratios to the reference](${basename(plot)})`;
  writeFileSync(file, `${head}${BEGIN}\n\n${command}\n\n${text}\n\n${image}\n\n${END}${tail}`);
}

function table(rows, facts, machine) {
  const lines = [`${machine}.`, ""];
  if (rows.length > 0) {
    lines.push(
      "| workload | reference: rate, p50, p99, CPU a request | etcd-ts | ratio | goal |",
      "|---|---|---|---|---|",
    );
  }
  const side = ({ rate, p50, p99, cpuMicroseconds }) =>
    `${rate.toFixed(0)}/s, ${p50.toFixed(2)} ms, ${p99.toFixed(2)} ms, ${cpuMicroseconds.toFixed(1)} µs`;
  for (const { name, reference, "etcd-ts": ours, ratio, wanted, by } of rows) {
    const goal = wanted === undefined ? "" : `${wanted}${by === "cpu" ? " (per CPU second)" : ""}`;
    lines.push(
      `| ${name} | ${side(reference)} | ${side(ours)} | **${ratio.toFixed(2)}** | ${goal} |`,
    );
  }
  if (facts.length > 0) {
    if (rows.length > 0) lines.push("");
    lines.push("| what | reference | etcd-ts |", "|---|---|---|");
  }
  const byName = new Map();
  for (const { what, kind, text } of facts) {
    byName.set(what, { ...byName.get(what), [kind]: text });
  }
  for (const [name, { reference = "", "etcd-ts": ours = "" }] of byName) {
    lines.push(`| ${name} | ${reference} | ${ours} |`);
  }
  return lines.join("\n");
}

/** Bars of the ratios; a line at 1, a mark at what is wanted. */
function svg(rows) {
  const [left, height, unit] = [330, 22, 45];
  const x = (ratio) => left + Math.min(12, ratio) * unit;
  const bars = rows.map(({ name, ratio, wanted }, i) => {
    const y = 10 + i * height;
    const fill = ratio >= (wanted ?? 1) ? "#2e7d32" : "#c62828";
    const goal =
      wanted === undefined
        ? ""
        : `<path d="M${x(wanted)} ${y - 2}v18" stroke="#000" stroke-width="2"/>`;
    return `<text x="${left - 8}" y="${y + 11}" text-anchor="end">${name}</text><rect x="${left}" y="${y}" width="${x(ratio) - left}" height="14" fill="${fill}"/>${goal}<text x="${x(ratio) + 5}" y="${y + 11}">${ratio.toFixed(2)}</text>`;
  });
  const bottom = 10 + rows.length * height;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="940" height="${bottom + 24}" font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>${bars.join("")}<path d="M${x(1)} 4V${bottom}" stroke="#888" stroke-dasharray="3"/><text x="${x(1)}" y="${bottom + 14}" text-anchor="middle">reference = 1; marks: goals</text></svg>\n`;
}
