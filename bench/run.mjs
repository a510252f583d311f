/**
 * `npm run bench`: ours beside the reference, in one run, alternating, on the same disk.
 *
 * Load comes from `h2load` (Debian's nghttp2-client), so that the client costs little. Every
 * request is checked: a put by the revision the store is at afterwards, a read by its bytes.
 * The reference is the `etcd` built by tests/conformance/run.
 *
 *   npm run bench -- [--rounds N] [--scale F] [--only NAME]
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { cpus, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const options = parseOptions(process.argv.slice(2));
const scratch = mkdtempSync(join(tmpdir(), "etcd-bench-"));
const KEYS_LOADED = 2000;
/** Requests of one measurement, by how many are in flight. */
const REQUESTS = new Map([
  [1, 2000],
  [10, 2000],
  [100, 30_000],
  [1000, 60_000],
]);

function parseOptions(words) {
  const found = { rounds: 3, scale: 1, only: undefined };
  for (let i = 0; i < words.length; i += 2) {
    const name = words[i]?.replace(/^--/, "");
    if (!(name in found) || words[i + 1] === undefined) {
      console.error("usage: npm run bench -- [--rounds N] [--scale F] [--only NAME]");
      process.exit(2);
    }
    found[name] = name === "only" ? words[i + 1] : Number(words[i + 1]);
  }
  return found;
}

// Just enough protobuf to write requests by hand.
const varint = (value) => {
  const bytes = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) bytes.push((value % 0x80) | 0x80);
  return [...bytes, value];
};
const field = (number, bytes) => [...varint(number * 8 + 2), ...varint(bytes.length), ...bytes];
const flag = (number) => [...varint(number * 8), 1];
const count = (number, value) => [...varint(number * 8), ...varint(value)];
const text = (value) => [...Buffer.from(value)];
const message = (bytes) =>
  Buffer.from([0, 0, 0, ...[bytes.length >> 8, bytes.length & 0xff], ...bytes]);

const put = (key, size = 256) => [...field(1, text(key)), ...field(2, text("v".repeat(size)))];
const KEY = "bench/key";
const WORKLOADS = [
  {
    name: "put, 1 in flight",
    path: "KV/Put",
    body: put(KEY),
    connections: 1,
    streams: 1,
    isWrite: true,
  },
  {
    name: "put, 100 in flight",
    path: "KV/Put",
    body: put(KEY),
    connections: 10,
    streams: 10,
    isWrite: true,
  },
  {
    name: "put, 1,000 in flight",
    path: "KV/Put",
    body: put(KEY),
    connections: 100,
    streams: 10,
    isWrite: true,
  },
  {
    name: "linearizable get, 1 in flight",
    path: "KV/Range",
    body: field(1, text(KEY)),
    connections: 1,
    streams: 1,
  },
  {
    name: "linearizable get, 100 in flight",
    path: "KV/Range",
    body: field(1, text(KEY)),
    connections: 10,
    streams: 10,
  },
  {
    name: "linearizable get, 1,000 in flight",
    path: "KV/Range",
    body: field(1, text(KEY)),
    connections: 100,
    streams: 10,
  },
  {
    name: "serializable get, 1,000 in flight",
    path: "KV/Range",
    body: [...field(1, text(KEY)), ...flag(7)],
    connections: 100,
    streams: 10,
  },
  {
    name: "range of 1,000 keys, 10 in flight",
    path: "KV/Range",
    body: [...field(1, text("bench/list/")), ...field(2, text("bench/list0")), ...count(3, 1000)],
    connections: 10,
    streams: 1,
  },
  {
    name: "guarded update of 2 KB (txn), 100 in flight",
    path: "KV/Txn",
    // If the key exists: put it; as the Kubernetes API server updates an object.
    body: [
      ...field(1, [...count(1, 1), ...count(2, 2), ...field(3, text(KEY)), ...count(6, 0)]),
      ...field(2, field(2, put(KEY, 2048))),
      ...field(3, field(1, field(1, text(KEY)))),
    ],
    connections: 10,
    streams: 10,
    isWrite: true,
  },
];

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function startMember(kind) {
  const client = `http://127.0.0.1:${await freePort()}`;
  const peer = `http://127.0.0.1:${await freePort()}`;
  const command =
    kind === "reference"
      ? [join(root, "tests/conformance/bin/etcd")]
      : [process.execPath, join(root, "bin/etcd")];
  const child = spawn(command[0], [
    ...command.slice(1),
    `--data-dir=${join(scratch, `${kind}-${Date.now()}`)}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
  ]);
  let log = "";
  child.stderr.on("data", (chunk) => {
    if (log.length < 1e6) log += chunk;
  });
  for (let i = 0; i < 300 && !log.includes("ready to serve client requests"); i++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const member = { child, client, kind };
  await post(member, "kv/put", { key: base64(KEY), value: base64("v".repeat(256)) });
  for (let i = 0; i < KEYS_LOADED; i++) {
    await post(member, "kv/put", {
      key: base64(`bench/list/${i}`),
      value: base64("v".repeat(256)),
    });
  }
  return member;
}

const base64 = (value) => Buffer.from(value).toString("base64");

async function post(member, path, body) {
  const response = await fetch(`${member.client}/v3/${path}`, {
    method: "POST",
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${member.kind} ${path}: ${await response.text()}`);
  return response.json();
}

const revision = async (member) =>
  Number((await post(member, "kv/range", { key: base64(KEY), limit: 1 })).header.revision);

function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** One measurement; throws if requests failed or writes are missing. */
async function measure(member, workload) {
  const body = join(scratch, "body");
  writeFileSync(body, message(workload.body));
  const before = { revision: await revision(member), cpu: cpuSeconds(member.child.pid) };
  const requests = Math.ceil(REQUESTS.get(workload.connections * workload.streams) * options.scale);
  const words = [
    ...["-n", String(requests), "-c", String(workload.connections)],
    ...["-m", String(workload.streams)],
  ];
  const run = spawnSync(
    "h2load",
    [
      ...words,
      "-d",
      body,
      "-H",
      "content-type: application/grpc",
      "-H",
      "te: trailers",
      `${member.client}/etcdserverpb.${workload.path}`,
    ],
    { encoding: "utf8", timeout: 60_000 },
  );
  const rate = Number(/finished in [^,]*, ([0-9.]+) req\/s/.exec(run.stdout)?.[1]);
  const [, succeeded, failed] =
    /requests: .*?, (\d+) succeeded, (\d+) failed/.exec(run.stdout) ?? [];
  const mean = /request\s*:\s+\S+\s+\S+\s+(\S+)/.exec(run.stdout)?.[1];
  if (!(rate > 0) || Number(failed) > 0)
    throw new Error(`${member.kind}, ${workload.name}: ${run.stdout}${run.stderr}`);
  const after = { revision: await revision(member), cpu: cpuSeconds(member.child.pid) };
  const written = after.revision - before.revision;
  if (workload.isWrite && written < Number(succeeded)) {
    throw new Error(
      `${member.kind}, ${workload.name}: ${succeeded} acknowledged, ${written} stored`,
    );
  }
  return {
    rate,
    mean,
    cpuMicroseconds: ((after.cpu - before.cpu) / requests) * 1e6,
  };
}

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

/** Medians of both members, measured in turn. */
async function compare(workload, members) {
  const results = new Map(members.map(({ kind }) => [kind, []]));
  for (let round = 0; round < options.rounds; round++) {
    for (const member of members) {
      results.get(member.kind).push(await measure(member, workload));
    }
    if (process.stderr.isTTY) {
      process.stderr.write(`${workload.name}: round ${round + 1} of ${options.rounds}\r`);
    }
  }
  const of = (kind, figure) => median(results.get(kind).map((result) => result[figure]));
  const theirs = results.get("reference");
  const row = [
    workload.name,
    of("reference", "rate"),
    of("etcd-ts", "rate"),
    median(results.get("etcd-ts").map(({ rate }, i) => rate / theirs[i].rate)),
    of("reference", "cpuMicroseconds"),
    of("etcd-ts", "cpuMicroseconds"),
  ];
  console.log(
    `${row[0].padEnd(46)} reference ${row[1].toFixed(0).padStart(7)}/s  ours ${row[2].toFixed(0).padStart(7)}/s  ratio ${row[3].toFixed(2)}`,
  );
  return row;
}

async function main() {
  if (!existsSync(join(root, "tests/conformance/bin/etcd"))) {
    throw new Error("the reference is not built: run tests/conformance/run once");
  }
  const members = [await startMember("reference"), await startMember("etcd-ts")];
  const rows = [];
  try {
    for (const workload of WORKLOADS) {
      if (options.only !== undefined && !workload.name.includes(options.only)) continue;
      try {
        rows.push(await compare(workload, members));
      } catch (error) {
        // Said and counted: the other workloads still say something.
        console.error(error.message);
        process.exitCode = 1;
      }
    }
  } finally {
    for (const { child } of members) child.kill("SIGKILL");
    rmSync(scratch, { recursive: true, force: true });
  }
  console.log(
    `\n| workload | reference, requests/s | etcd-ts, requests/s | ratio | CPU a request, reference | etcd-ts |\n|---|---|---|---|---|---|`,
  );
  for (const [name, a, b, ratio, c, d] of rows) {
    console.log(
      `| ${name} | ${a.toFixed(0)} | ${b.toFixed(0)} | ${ratio.toFixed(2)} | ${c.toFixed(1)} µs | ${d.toFixed(1)} µs |`,
    );
  }
  console.log(
    `\n${cpus().length} cores (${cpus()[0].model}), Node ${process.version}, ${options.rounds} rounds, alternating; medians.`,
  );
}

await main();
