/**
 * The reference's own load generator (`tools/benchmark` of etcd, in Go) on both programs: a check of
 * what our load generator says. Go is needed; the source is the module the reference is built of.
 *
 * It costs several times as much of the processor as ours, which on few cores is what limits rates;
 * the processor time a request takes of the member does not depend on that.
 */
import { spawn, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";

import { base64, Member, root } from "./member.mjs";

const PACKAGE = "go.etcd.io/etcd/v3/tools/benchmark";
const ROUNDS_MAX = 3;
const KEY = "official";
const VALUE_BYTES = 256;
const CONNECTIONS = 10;
const CLIENTS = 100;

const inFlight = { connections: CONNECTIONS, streams: CLIENTS / CONNECTIONS };
const own = { ...inFlight, prefix: "/official/", valueBytes: VALUE_BYTES };
const value = `--val-size=${VALUE_BYTES}`;
/** `requests` of each; `ours` is the same load by our generator, where it has one. */
const LOADS = [
  {
    name: "put",
    words: ["put", "--key-space-size=10000", "--key-size=18", value],
    requests: 20_000,
    ours: { kind: "put", keys: 10_000 },
  },
  {
    name: "range of one key",
    words: ["range", KEY, "--consistency=l"],
    requests: 20_000,
    ours: { kind: "get", keys: 1 },
  },
  {
    name: "txn-put of 10",
    words: ["txn-put", "--key-space-size=10000", "--key-size=18", value, "--txn-ops=10"],
    requests: 5000,
    ours: { kind: "fill", keysPerCall: 10, keys: 50_000 },
  },
  {
    name: "watch-latency, 100 watchers, 500 puts a second",
    words: ["watch-latency", "--streams=10", "--watchers-per-stream=10", "--put-rate=500"],
    totalFlag: "--put-total",
    requests: 1500,
  },
];

export async function measureOfficial({ load, scratch, options, kinds, tell }) {
  const program = buildProgram();
  const members = [];
  try {
    for (const kind of kinds) members.push(await Member.start(kind, join(scratch, `${kind}-tool`)));
    for (const member of members) {
      const put = { key: base64(KEY), value: base64("v".repeat(VALUE_BYTES)) };
      await member.post("kv/put", put);
    }
    for (const one of LOADS) {
      const found = new Map(kinds.map((kind) => [kind, []]));
      for (let round = 0; round < Math.min(ROUNDS_MAX, options.rounds); round++) {
        const inTurn = round % 2 === 0 ? members : members.toReversed();
        for (const member of inTurn) {
          found.get(member.kind).push(await measure(one, member, program, load));
        }
      }
      for (const [kind, rounds] of found) tell(`official: ${one.name}`, kind, describe(rounds));
    }
  } finally {
    for (const member of members) {
      await member.end();
      rmSync(member.directory, { recursive: true, force: true });
    }
  }
}

function buildProgram() {
  const program = join(root, "dist/benchmark");
  const { status, error } = spawnSync("go", ["build", "-o", program, PACKAGE], {
    cwd: join(root, "bench/official"),
    stdio: "inherit",
  });
  if (status !== 0) throw new Error(`go build ${PACKAGE}: ${error?.message ?? `status ${status}`}`);
  return program;
}

async function measure({ words, requests, ours, totalFlag = "--total" }, member, program, load) {
  const before = await member.revision();
  const flags = [`--endpoints=${member.url}`, `--conns=${CONNECTIONS}`, `--clients=${CLIENTS}`];
  const theirs = await measured(member, requests, () =>
    run(program, [...flags, ...words, `${totalFlag}=${requests}`]),
  );
  const isWrite = words[0] !== "range";
  const written = (await member.revision()) - before;
  if (isWrite && written < requests) {
    throw new Error(`${words[0]}: ${requests} sent, ${written} stored by ${member.kind}`);
  }
  if (ours === undefined) return { theirs };
  const byOurs = await measured(member, requests, async () => {
    const result = await load({ ...own, ...ours, requests, urls: [member.url] });
    return { ...result, rate: result.requests / result.seconds };
  });
  return { theirs, byOurs };
}

async function measured(member, requests, work) {
  const before = member.cpuSeconds();
  const result = await work();
  return { ...result, cpu: ((member.cpuSeconds() - before) / requests) * 1e6 };
}

/** Rate, and latency in ms, of the last summary the program prints. */
function run(program, words) {
  const child = spawn(program, words, { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (out += chunk));
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => {
      const last = (pattern) => Number([...out.matchAll(pattern)].at(-1)?.[1]);
      const rate = last(/Requests\/sec:\s+([\d.]+)/g);
      const p50 = last(/50% in ([\d.]+) secs/g) * 1000;
      const p99 = last(/99% in ([\d.]+) secs/g) * 1000;
      const isWhole = code === 0 && !/Error distribution/.test(out) && rate + p50 + p99 > 0;
      if (isWhole) resolve({ rate, p50, p99 });
      else reject(new Error(`benchmark ${words.join(" ")}: code ${code}: ${out.slice(-1000)}`));
    });
  });
}

function describe(rounds) {
  const median = (values) => values.toSorted((a, b) => a - b)[(values.length - 1) >> 1];
  const side = (which) => {
    const of = (figure) => median(rounds.map((round) => round[which][figure]));
    const latency = `p50 ${of("p50").toFixed(2)}, p99 ${of("p99").toFixed(2)} ms`;
    return `${of("rate").toFixed(0)}/s, ${latency}, ${of("cpu").toFixed(0)} µs CPU`;
  };
  const theirs = side("theirs");
  return rounds[0].byOurs === undefined
    ? theirs
    : `${theirs} (by bench/load.mjs ${side("byOurs")})`;
}
