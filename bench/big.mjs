/**
 * What needs a store of its own: a million keys (load, memory, restart, lists, snapshot, a deletion
 * of many, compaction, defragmentation, and how late others are served meanwhile), cost by store
 * size, and kill -9.
 */
import { spawn } from "node:child_process";
import { rmSync, statSync } from "node:fs";
import { join } from "node:path";

import { Member, root } from "./member.mjs";
import { count, field } from "./protobuf.mjs";

const PREFIX = "/big/";
const values = { prefix: PREFIX, valueBytes: 256 };

/** Writes under load, kills, starts again and counts what each worker had been promised. */
export async function measureDurability({ load, scratch, kinds, tell }) {
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
    tell("kill -9 under load", kind, `${promised} puts acknowledged, all there`);
    await member.end();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Sizes at which single operations are measured. */
const SIZES = [10_000, 1_000_000];
const RESTARTS = 3;

/** Both kinds one after the other: two such stores at once would measure the page cache. */
export async function measureBig(context) {
  for (const kind of context.kinds) await measureOneBig(context, kind);
}

async function measureOneBig(context, kind) {
  const { scratch, options } = context;
  const directory = join(scratch, `${kind}-big`);
  const member = await Member.start(kind, directory);
  const store = new BigStore(context, member);
  try {
    const emptyBytes = member.rssBytes();
    for (const size of [...SIZES.filter((each) => each < options.keys), options.keys]) {
      await store.fill(size);
      await store.measureCosts(size);
    }
    const perKey = (bytes) => `${(bytes / options.keys).toFixed(0)} bytes a key`;
    const rss = member.rssBytes();
    store.tell("RSS after load", `${megabytes(rss)}, ${perKey(rss - emptyBytes)}`);
    const fileBytes = statSync(join(directory, "member/snap/db")).size;
    store.tell("database file", `${megabytes(fileBytes)}, ${perKey(fileBytes)}`);
    await store.measureRestart();
    for (const [what, job] of await disturbances(member, options.keys)) {
      await store.disturb(what, job);
    }
    store.tell("RSS at the end", megabytes(member.rssBytes()));
  } finally {
    await member.end();
    rmSync(directory, { recursive: true, force: true });
  }
}

class BigStore {
  #context;
  #member;
  #urls;

  constructor(context, member) {
    this.#context = context;
    this.#member = member;
    this.#urls = [member.url];
  }

  tell(what, text) {
    this.#context.tell(
      `${count3(this.#context.options.keys)} keys: ${what}`,
      this.#member.kind,
      text,
    );
  }

  async fill(size) {
    const job = { kind: "fill", connections: 8, streams: 4, ...values, keys: size };
    const before = this.#member.cpuSeconds();
    const { seconds } = await this.#context.load({ ...job, urls: this.#urls });
    const cpu = this.#member.cpuSeconds() - before;
    const rate = `${(size / seconds).toFixed(0)} keys/s`;
    this.tell(
      `load of ${count3(size)}`,
      `${rate}, ${((cpu / size) * 1e6).toFixed(1)} µs CPU a key`,
    );
  }

  async measureCosts(size) {
    for (const [what, job] of Object.entries(costs(size))) {
      const before = this.#member.cpuSeconds();
      const result = await this.#context.load({ ...job, urls: this.#urls });
      const cpu = ((this.#member.cpuSeconds() - before) / result.requests) * 1e6;
      const rate = result.requests / result.seconds;
      this.tell(`${what} among ${count3(size)}`, `${rate.toFixed(0)}/s, ${cpu.toFixed(1)} µs CPU`);
    }
  }

  async measureRestart() {
    const seconds = [];
    const cpu = [];
    for (let i = 0; i < RESTARTS; i++) {
      await this.#member.down("SIGTERM");
      seconds.push(await this.#member.up());
      cpu.push(this.#member.cpuSeconds());
    }
    const list = (values) => values.map((value) => value.toFixed(2)).join(", ");
    this.tell("restart", `${list(seconds)} s (${list(cpu)} s CPU)`);
    this.tell("RSS after restart", megabytes(this.#member.rssBytes()));
  }

  /** Does `job` beside a client that gets one key every 10 ms, and tells how late it was served. */
  async disturb(what, job) {
    const key = keyAt(this.#context.options.keys - 1);
    const words = { kind: "probe", connections: 1, streams: 1, prefix: key, urls: this.#urls };
    const prober = spawn(process.execPath, [join(root, "bench/load.mjs"), JSON.stringify(words)]);
    let out = "";
    prober.stdout.on("data", (chunk) => (out += chunk));
    const ended = new Promise((resolve) => prober.once("close", resolve));
    await new Promise((resolve) => prober.stderr.once("data", resolve));
    // Each look begins the quantiles anew.
    await this.#member.eventLoopDelay();
    const result = await this.#context.load({
      connections: 1,
      streams: 1,
      ...job,
      urls: this.#urls,
    });
    const delay = await this.#member.eventLoopDelay();
    prober.stdin.end();
    await ended;
    const { p50, p99, p999, max } = JSON.parse(out);
    const times = [p50, p99, p999, max].map((ms) => ms.toFixed(1)).join(" / ");
    const own = delay === undefined ? "" : `; event loop late by ${delay}`;
    this.tell(what, `${result.seconds.toFixed(2)} s; a get beside it ${times} ms${own}`);
  }
}

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
const count3 = (number) => number.toLocaleString("en-US");
/** As `keyOf` in load.mjs. */
const keyAt = (i) => `${PREFIX}${String(i).padStart(8, "0")}`;

/** What one operation costs, at a size. */
function costs(keys) {
  const at = { connections: 10, streams: 10, secondsMax: 8, ...values, keys };
  return {
    put: { ...at, kind: "put", requests: 5000 },
    "linearizable get": { ...at, kind: "get", requests: 10_000 },
    "range of 100": { ...at, kind: "range", limit: 100, requests: 500 },
  };
}

/** Long work that others must not feel. */
async function disturbances(member, keys) {
  const hex = (...parts) => Buffer.concat(parts).toString("hex");
  const once = (path, body = "") => ({ kind: "once", path: `/etcdserverpb.${path}`, body });
  const all = [field(1, PREFIX), field(2, `${PREFIX}~`)];
  const deleted = Math.floor(keys * 0.15);
  const some = [field(1, keyAt(0)), field(2, keyAt(deleted))];
  // Nothing but the deletion is written from here on; its revision is the last.
  const revision = (await member.revision()) + 1;
  return [
    ["list of all", once("KV/Range", hex(...all))],
    ["snapshot", { kind: "snapshot" }],
    [`deletion of ${count3(deleted)} at once`, once("KV/DeleteRange", hex(...some))],
    // Answered when the old revisions are gone.
    ["compaction", once("KV/Compact", hex(count(1, revision), count(2, 1)))],
    ["defragmentation", once("Maintenance/Defragment")],
  ];
}
