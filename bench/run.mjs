/**
 * `npm run bench`: ours beside the reference, in one run, in turn, on the same disk.
 *
 * The load is a process of its own (`load.mjs`), the same for both. Every answer is checked, and
 * after a write workload the revision says whether everything acknowledged was stored. The
 * reference is the `etcd` built by tests/conformance/run.
 *
 *   npm run bench -- [--rounds N] [--only NAME] [--kind KIND] [--quick] [--keys N] [--results FILE] [--write FILE]
 *
 * `--only` takes a part of names, of workloads or "kill -9", "startup", "big store", "official"; of
 * those, which compare no rounds, `--kind` measures "reference" or "etcd-ts" alone. `--results`
 * keeps what was measured in FILE, with what is there from earlier runs, so that a long run can be
 * done in pieces; `--write` puts the table and the plot beside it into FILE. BENCH_NODE_FLAGS are
 * given to our members, which are then ended in peace, so that profiles get written.
 */
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { dirname, join } from "node:path";

import { commandOf, root, startCluster } from "./member.mjs";
import { measureBig, measureDurability } from "./big.mjs";
import { measureOfficial } from "./official.mjs";
import { report } from "./report.mjs";
import { measureStartup } from "./startup.mjs";
import { WORKLOADS } from "./workloads.mjs";

const options = parseOptions(process.argv.slice(2));
const scratch = mkdtempSync(join(process.env["BENCH_DIR"] ?? tmpdir(), "etcd-bench-"));
const KINDS = ["reference", "etcd-ts"];

function parseOptions(words) {
  const found = { rounds: 5, quick: false, keys: 1_000_000 };
  for (const name of ["only", "kind", "results", "write"]) found[name] = undefined;
  for (let i = 0; i < words.length; i++) {
    const name = words[i].replace(/^--/, "");
    if (name === "quick") {
      found.quick = true;
      found.rounds = 1;
      found.keys = 100_000;
    } else if (name in found && words[i + 1] !== undefined) {
      const word = words[++i];
      found[name] = name === "rounds" || name === "keys" ? Number(word) : word;
    } else {
      console.error(
        "usage: npm run bench -- [--rounds N] [--only NAME] [--kind KIND] [--quick] [--keys N] [--results FILE] [--write FILE]",
      );
      process.exit(2);
    }
  }
  return found;
}

/** Runs a load to its end; throws if it failed. */
function load(job) {
  const child = spawn(process.execPath, [join(root, "bench/load.mjs"), JSON.stringify(job)]);
  let out = "";
  let errors = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (errors += chunk));
  return new Promise((resolve, reject) => {
    child.once("close", (code) => {
      if (code === 0) resolve(JSON.parse(out));
      else reject(new Error(`${job.kind}: ${errors.slice(-1000)}`));
    });
  });
}

/** One member, or three, with 10,000 small objects. */
async function startBed(kind, bed) {
  const count = bed === "three" ? 3 : 1;
  const directories = Array.from({ length: count }, (_, i) => join(scratch, `${kind}-${bed}-${i}`));
  const members = await startCluster(kind, directories);
  const status = await members[0].post("maintenance/status");
  const statuses = await Promise.all(members.map((member) => member.post("maintenance/status")));
  const leader = statuses.findIndex(({ header }) => header.member_id === status.leader);
  const first = members[Math.max(0, leader)];
  const job = { kind: "fill", connections: 4, streams: 2, prefix: "/small/", valueBytes: 256 };
  await load({ ...job, keys: 10_000, urls: [first.url] });
  return { kind, members, first };
}

/** One round; throws if requests failed or writes are missing. */
async function measure({ members, first }, { name, job, isWrite }, scale) {
  const before = await first.revision();
  const cpuOf = () => members.reduce((sum, member) => sum + member.cpuSeconds(), 0);
  const cpu = cpuOf();
  const requests = job.requests === undefined ? undefined : Math.ceil(job.requests * scale);
  const seconds = job.seconds === undefined ? undefined : Math.max(2, job.seconds * scale);
  const result = await load({ ...job, requests, seconds, urls: [first.url] });
  const used = cpuOf() - cpu;
  const written = (await first.revision()) - before;
  const acknowledged = result.requests - (result.refused ?? 0);
  if (isWrite && written < acknowledged) {
    throw new Error(`${name}: ${acknowledged} acknowledged, ${written} stored`);
  }
  return {
    ...result,
    rate: result.requests / result.seconds,
    cpuMicroseconds: (used / result.requests) * 1e6,
  };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) / 2)];

/** Medians of both, measured in turn; the ratio is the median of the rounds' ratios. */
async function compare(workload, beds) {
  const results = new Map(KINDS.map((kind) => [kind, []]));
  const scale = options.quick ? 0.5 : 1;
  // Neither side is measured cold.
  for (const bed of beds) await measure(bed, workload, scale / 2);
  for (let round = 0; round < options.rounds; round++) {
    const inTurn = round % 2 === 0 ? beds : beds.toReversed();
    for (const bed of inTurn) results.get(bed.kind).push(await measure(bed, workload, scale));
  }
  const of = (kind, figure) => median(results.get(kind).map((result) => result[figure]));
  const row = { name: workload.name, wanted: workload.wanted, by: workload.by ?? "rate" };
  for (const kind of KINDS) {
    row[kind] = {};
    for (const figure of ["rate", "p50", "p99", "cpuMicroseconds"]) {
      row[kind][figure] = of(kind, figure);
    }
  }
  const ratio = (theirs, ours) =>
    row.by === "cpu" ? theirs.cpuMicroseconds / ours.cpuMicroseconds : ours.rate / theirs.rate;
  const ours = results.get("etcd-ts");
  row.ratio = median(results.get("reference").map((theirs, i) => ratio(theirs, ours[i])));
  console.error(describe(row));
  return row;
}

function describe({ name, wanted, ratio, reference, "etcd-ts": ours }) {
  const side = ({ rate, p50, p99, cpuMicroseconds: cpu }) =>
    `${rate.toFixed(0)}/s p50 ${p50.toFixed(2)} p99 ${p99.toFixed(2)} ms ${cpu.toFixed(1)} µs CPU`;
  const goal = wanted === undefined ? "" : ` (wanted ${wanted})`;
  return `${name}: reference ${side(reference)}; ours ${side(ours)}; ratio ${ratio.toFixed(2)}${goal}`;
}

const isWantedKind = (kind) => options.kind === undefined || kind === options.kind;
const isWanted = (name) => options.only === undefined || name.includes(options.only);

async function measureBed(bedName, rows) {
  const workloads = WORKLOADS.filter(({ bed, name }) => bed === bedName && isWanted(name));
  if (workloads.length === 0) return;
  const beds = [];
  try {
    for (const kind of KINDS) beds.push(await startBed(kind, bedName));
    for (const workload of workloads) {
      try {
        rows.push(await compare(workload, beds));
      } catch (error) {
        // Said and counted: the other workloads still say something.
        console.error(`${workload.name}: ${error.message}`);
        process.exitCode = 1;
      }
    }
  } finally {
    for (const { members } of beds) await Promise.all(members.map((member) => member.end()));
  }
}

function version(kind) {
  const [program, ...words] = commandOf(kind);
  return spawnSync(program, [...words, "--version"], { encoding: "utf8" }).stdout.split("\n")[0];
}

async function main() {
  if (!existsSync(join(root, "tests/conformance/bin/etcd"))) {
    throw new Error("the reference is not built: run tests/conformance/run once");
  }
  const { rows, facts, commands } = earlierResults();
  const context = { load, scratch, options, kinds: KINDS.filter(isWantedKind) };
  /** Measures what is not a workload; its facts are known by the name of the group. */
  const measureGroup = async (group, measureIt) => {
    if (!isWanted(group)) return;
    const tell = (what, kind, text) => {
      facts.push({ group, what, kind, text });
      console.error(`${what}, ${kind}: ${text}`);
    };
    await measureIt({ ...context, tell });
  };
  try {
    await measureBed("one", rows);
    await measureBed("three", rows);
    await measureGroup("kill -9", measureDurability);
    await measureGroup("startup", measureStartup);
    await measureGroup("big store", measureBig);
    await measureGroup("official", measureOfficial);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  commands.push(["npm run bench", ...process.argv.slice(2).map(quoted)].join(" "));
  if (options.results !== undefined) {
    mkdirSync(dirname(options.results), { recursive: true });
    writeFileSync(options.results, JSON.stringify({ rows, facts, commands }, undefined, 2));
  }
  const type = statfsSync(tmpdir()).type.toString(16);
  const machine = `${cpus().length} cores (${cpus()[0].model}), file system type 0x${type}, Node ${process.version}, reference ${version("reference")}; rounds in turn, medians; ${loadavg()[1].toFixed(0)} processes wanted a core at the end of the run`;
  report({ rows: inOrder(rows), facts, machine, file: options.write, commands });
}

/** What the file of results holds, less what is measured now. */
function earlierResults() {
  const { results } = options;
  if (results === undefined || !existsSync(results)) return { rows: [], facts: [], commands: [] };
  const { rows, facts, commands } = JSON.parse(readFileSync(results, "utf8"));
  return {
    rows: rows.filter(({ name }) => !isWanted(name)),
    facts: facts.filter(({ group, kind }) => !isWanted(group) || !isWantedKind(kind)),
    commands,
  };
}

/** As the workloads are listed, whatever was measured first. */
function inOrder(rows) {
  const place = new Map(WORKLOADS.map(({ name }, i) => [name, i]));
  return rows.toSorted((a, b) => place.get(a.name) - place.get(b.name));
}

const quoted = (word, i) => (i === 0 ? `-- ${word}` : /\s/.test(word) ? `"${word}"` : word);

await main();
