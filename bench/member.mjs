/** Members of both kinds, as processes: started, measured, killed. */
import { spawn } from "node:child_process";
import { createWriteStream, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const READY = "ready to serve client requests";

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const freeURL = async () => `http://127.0.0.1:${await freePort()}`;

export function commandOf(kind) {
  if (kind === "reference") return [join(root, "tests/conformance/bin/etcd")];
  const flags = (process.env["BENCH_NODE_FLAGS"] ?? "").split(" ").filter(Boolean);
  return [process.execPath, ...flags, join(root, "bin/etcd")];
}

export class Member {
  #child;
  #flags;
  #log;

  constructor(kind, directory, flags) {
    this.kind = kind;
    this.directory = directory;
    this.#flags = flags;
    this.#log = `${directory}.log`;
  }

  /** One member of its own cluster. */
  static async start(kind, directory) {
    const [members] = await startCluster(kind, [directory]);
    return members;
  }

  /** Starts the process; returns the seconds until it served. */
  async up() {
    const [program, ...words] = commandOf(this.kind);
    const started = performance.now();
    const child = spawn(program, [...words, ...this.#flags], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, ETCD_UNSUPPORTED_ARCH: "" },
    });
    this.#child = child;
    const log = createWriteStream(this.#log, { flags: "a" });
    let tail = "";
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${this.kind}: not ready`)), 120_000);
      child.once("exit", () => reject(new Error(`${this.kind} ended: ${tail}`)));
      child.stderr.on("data", (chunk) => {
        log.write(chunk);
        tail = (tail + chunk.toString()).slice(-4096);
        if (!tail.includes(READY)) return;
        clearTimeout(timer);
        resolve();
      });
    });
    child.removeAllListeners("exit");
    return (performance.now() - started) / 1000;
  }

  async down(signal = "SIGKILL") {
    const child = this.#child;
    if (child === undefined) return;
    this.#child = undefined;
    if (child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    await ended;
  }

  /** Goes down for good; in peace if it was started with flags of ours, which may want to write. */
  end() {
    const isProfiled = this.kind === "etcd-ts" && (process.env["BENCH_NODE_FLAGS"] ?? "") !== "";
    return this.down(isProfiled ? "SIGTERM" : "SIGKILL");
  }

  async post(path, body = {}) {
    const response = await fetch(`${this.url}/v3/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    if (!response.ok) throw new Error(`${this.kind} ${path}: ${await response.text()}`);
    return response.json();
  }

  async revision() {
    const answer = await this.post("kv/range", { key: "AA==", limit: 1 });
    return Number(answer.header.revision);
  }

  async countOf(prefix) {
    const range = { key: base64(prefix), range_end: base64(`${prefix}~`), count_only: true };
    return Number((await this.post("kv/range", range)).count ?? 0);
  }

  cpuSeconds() {
    const stat = readFileSync(`/proc/${this.#child.pid}/stat`, "latin1");
    const fields = stat.split(") ")[1].split(" ");
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  rssBytes() {
    const status = readFileSync(`/proc/${this.#child.pid}/status`, "latin1");
    return Number(/VmRSS:\s+(\d+)/.exec(status)[1]) * 1024;
  }

  /**
   * How late our event loop was since the last call: p50 / p99 / p99.9 / max, in ms; undefined of the
   * reference, which has none.
   */
  async eventLoopDelay() {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    const found = [...text.matchAll(/^etcd_ts_event_loop_delay_seconds\S* (\S+)$/gm)];
    if (found.length === 0) return undefined;
    return `${found.map(([, seconds]) => (Number(seconds) * 1000).toFixed(0)).join(" / ")} ms`;
  }
}

export const base64 = (value) => Buffer.from(value).toString("base64");

/** As many members as directories, in one cluster, all with `more` flags. */
export async function startCluster(kind, directories, more = []) {
  const urls = [];
  for (const directory of directories) {
    urls.push({ directory, client: await freeURL(), peer: await freeURL() });
  }
  const initial = urls.map(({ peer }, i) => `m${i}=${peer}`).join(",");
  const members = urls.map(({ directory, client, peer }, i) => {
    const flags = [
      ...[`--name=m${i}`, `--data-dir=${directory}`],
      ...[`--listen-client-urls=${client}`, `--advertise-client-urls=${client}`],
      ...[`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`],
      ...[`--initial-cluster=${initial}`, "--quota-backend-bytes=8589934592"],
      ...more,
    ];
    const member = new Member(kind, directory, flags);
    member.url = client;
    return member;
  });
  await Promise.all(members.map((member) => member.up()));
  return members;
}
