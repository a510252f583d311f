/**
 * What needs a store of its own: a million keys (memory, restart, lists, snapshot, compaction,
 * defragmentation, and how late others are served meanwhile), cost by store size, and kill -9.
 */
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";

import { Member, root } from "./member.mjs";
import { count, field } from "./protobuf.mjs";

const PREFIX = "/big/";
const values = { prefix: PREFIX, valueBytes: 256 };

/** Writes under load, kills, starts again and counts what each worker had been promised. */
export async function measureDurability({ load, scratch, kinds, facts }) {
  for (const kind of kinds) {
    const directory = join(scratch, `${kind}-killed`);
    const member = await Member.start(kind, directory);
    const job = { kind: "untilKilled", connections: 10, streams: 10, ...values };
    const loading = load({ ...job, urls: [member.url] });
    await new Promise((resolve) => setTimeout(resolve, 3000));
    await member.down("SIGKILL");
    const { acknowledged } = await loading;
    await member.up();
    let promised = 0;
    for (const [worker, keys] of acknowledged.entries()) {
      const stored = await member.countOf(`${PREFIX}${worker}/`);
      // One more may have been stored and not acknowledged.
      if (stored < keys || stored > keys + 1) {
        throw new Error(`${kind}: worker ${worker} was promised ${keys} keys, ${stored} are there`);
      }
      promised += keys;
    }
    facts.push([`kill -9 under load, ${kind}`, `${promised} puts acknowledged, all there`]);
    console.error(facts.at(-1).join(": "));
    await member.end();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Both kinds one after the other: two such stores at once would measure the page cache. */
export async function measureBig(context) {
  for (const kind of context.kinds) await measureOneBig(context, kind);
}

async function measureOneBig({ load, scratch, options, facts }, kind) {
  const directory = join(scratch, `${kind}-big`);
  const member = await Member.start(kind, directory);
  const tell = (what, text) => {
    facts.push([`${what}, ${kind}`, text]);
    console.error(facts.at(-1).join(": "));
  };
  const urls = [member.url];
  try {
    const sizes = [10_000, 100_000, 1_000_000].filter((size) => size <= options.keys);
    for (const size of sizes) {
      const fill = { kind: "fill", connections: 8, streams: 4, ...values, keys: size, urls };
      const { seconds } = await load(fill);
      tell(`load of ${size} keys`, `${seconds.toFixed(1)} s`);
      for (const [what, job] of Object.entries(costs(size))) {
        const before = member.cpuSeconds();
        const result = await load({ ...job, urls });
        const cpu = ((member.cpuSeconds() - before) / result.requests) * 1e6;
        const rate = result.requests / result.seconds;
        tell(`${what} at ${size} keys`, `${rate.toFixed(0)}/s, ${cpu.toFixed(1)} µs CPU`);
      }
    }
    tell("RSS after load", megabytes(member.rssBytes()));
    await member.down("SIGTERM");
    const restarts = [];
    for (let i = 0; i < 3; i++) {
      restarts.push(await member.up());
      if (i < 2) await member.down("SIGTERM");
    }
    tell("restart", restarts.map((seconds) => seconds.toFixed(2)).join(", ") + " s");
    tell("RSS after restart", megabytes(member.rssBytes()));
    for (const [what, job] of await disturbances(member)) await disturb(what, job);
    tell("RSS at the end", megabytes(member.rssBytes()));
    const late = await member.metric("etcd_ts_event_loop_delay_seconds");
    if (late.length > 0) tell("event loop delay", late.join("; "));
  } finally {
    await member.end();
    rmSync(directory, { recursive: true, force: true });
  }

  async function disturb(what, job) {
    const words = { kind: "probe", connections: 1, streams: 1, prefix: `${PREFIX}00000007`, urls };
    const prober = spawn(process.execPath, [join(root, "bench/load.mjs"), JSON.stringify(words)]);
    let out = "";
    prober.stdout.on("data", (chunk) => (out += chunk));
    const ended = new Promise((resolve) => prober.once("close", resolve));
    await new Promise((resolve) => prober.stderr.once("data", resolve));
    const result = await load({ ...job, connections: 1, streams: 1, urls });
    prober.stdin.end();
    await ended;
    const { p50, p99, p999, max } = JSON.parse(out);
    const times = [p50, p99, p999, max].map((ms) => ms.toFixed(1)).join(" / ");
    tell(what, `${result.seconds.toFixed(2)} s; a get beside it p50/p99/p99.9/max ${times} ms`);
  }
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;

/** What one operation costs, at a size. */
function costs(keys) {
  const at = { connections: 10, streams: 10, secondsMax: 20, ...values, keys };
  return {
    put: { ...at, kind: "put", requests: 30_000 },
    "linearizable get": { ...at, kind: "get", requests: 50_000 },
    "range of 100": { ...at, kind: "range", limit: 100, requests: 5000 },
  };
}

/** Long work that others must not feel. */
async function disturbances(member) {
  const hex = (...parts) => Buffer.concat(parts).toString("hex");
  const once = (path, body = "") => ({ kind: "once", path: `/etcdserverpb.${path}`, body });
  const all = [field(1, PREFIX), field(2, `${PREFIX}~`)];
  const revision = await member.revision();
  return [
    ["list of all keys", once("KV/Range", hex(...all))],
    ["snapshot", { kind: "snapshot" }],
    // Answered when the old revisions are gone.
    ["compaction", once("KV/Compact", hex(count(1, revision), count(2, 1)))],
    ["defragmentation", once("Maintenance/Defragment")],
  ];
}
