/** How long the tools take that are typed by hand: from start to end, and of the processor. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";

import { root, startCluster } from "./member.mjs";

const RUNS = 15;
const PROGRAMS = { reference: "tests/conformance/bin", "etcd-ts": "bin" };
/** Bash's own measure of a child: elapsed, user and system seconds. */
const TIMED = `TIMEFORMAT="%R %U %S"; time "$@" >/dev/null 2>/dev/null`;

/** Milliseconds of one run. */
function run(words) {
  const { stderr } = spawnSync("bash", ["-c", TIMED, "bash", ...words], { encoding: "utf8" });
  const [elapsed, user, system] = stderr.trim().split("\n").at(-1).split(" ").map(Number);
  return { elapsed: elapsed * 1000, cpu: (user + system) * 1000 };
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

function describe(runs) {
  const of = (figure) => median(runs.map((one) => one[figure])).toFixed(0);
  return `${of("elapsed")} ms, ${of("cpu")} ms of the processor`;
}

/** All commands in turn, so that they share the machine's moods. */
export async function measureStartup({ scratch, tell, kinds }) {
  const [member] = await startCluster("reference", [join(scratch, "startup")]);
  const rows = [["an empty script of Node", "etcd-ts", [process.execPath, "-e", "0"]]];
  for (const [tool, ...words] of [
    ["etcdctl", "version"],
    ["etcdutl", "version"],
    ["etcdctl", `--endpoints=${member.url}`, "get", "key"],
    ["etcdctl", `--endpoints=${member.url}`, "endpoint", "status"],
  ]) {
    const shown = [tool, ...words.filter((word) => !word.startsWith("--"))].join(" ");
    for (const kind of kinds)
      rows.push([shown, kind, [join(root, PROGRAMS[kind], tool), ...words]]);
  }
  const runs = rows.map(() => []);
  try {
    for (let i = 0; i < RUNS; i++) rows.forEach(([, , words], j) => runs[j].push(run(words)));
  } finally {
    await member.down();
  }
  rows.forEach(([name, kind], j) => tell(`startup: ${name}`, kind, describe(runs[j])));
}
