/**
 * The tools of recovery on a large store, ours beside the reference: time and peak memory of
 * `snapshot save`, `verify`, `snapshot status`, `snapshot restore`, `hashkv` and `defrag`.
 *
 *   node bench/recovery.mjs save DIRECTORY [--keys N] [--value-bytes N]
 *   node bench/recovery.mjs tools DIRECTORY
 *
 * `save` fills a member of each kind and has both programs save it; the snapshots stay in DIRECTORY,
 * and `tools` works on the one ours made of ours. By hand, not in CI: with its defaults (a million
 * keys of 1 kB) it needs ten minutes and 10 GB.
 */
import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

import { Member, root } from "./member.mjs";

const [step, directory, ...words] = process.argv.slice(2);
const KINDS = ["reference", "etcd-ts"];
const SNAPSHOT = "etcd-ts-by-etcd-ts.db";
/** Of the kernel's count of the highest memory; it only grows, so the last look is nearly all. */
const LOOK_MS = 10;

function option(name, otherwise) {
  const i = words.indexOf(`--${name}`);
  return i < 0 ? otherwise : Number(words[i + 1]);
}

function toolOf(kind, name) {
  return kind === "reference"
    ? [join(root, "tests/conformance/bin", name)]
    : [process.execPath, join(root, "bin", name)];
}

/** Runs a program to its end. @returns seconds, and the highest resident memory in bytes */
function measure(command) {
  const [program, ...args] = command;
  const began = performance.now();
  const child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"] });
  let peakBytes = 0;
  let errors = "";
  child.stderr.on("data", (chunk) => (errors = (errors + chunk).slice(-2000)));
  const look = () => {
    try {
      const found = /VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "latin1"));
      if (found !== null) peakBytes = Math.max(peakBytes, Number(found[1]) * 1024);
    } catch {
      // It has ended.
    }
  };
  const timer = setInterval(look, LOOK_MS);
  return new Promise((resolve, reject) => {
    child.once("close", (code) => {
      clearInterval(timer);
      const seconds = (performance.now() - began) / 1000;
      if (code === 0) resolve({ seconds, peakBytes });
      else reject(new Error(`${command.join(" ")}: ${code}\n${errors}`));
    });
  });
}

function tell(what, { seconds, peakBytes }) {
  console.log(`${what}: ${seconds.toFixed(1)} s, ${Math.round(peakBytes / 1e6)} MB`);
}

function fill(url, keys, valueBytes) {
  const job = { kind: "fill", connections: 8, streams: 8, prefix: "/r/", valueBytes, keys };
  job.keysPerCall = Math.max(1, Math.floor(50_000 / valueBytes));
  const command = [join(root, "bench/load.mjs"), JSON.stringify({ ...job, urls: [url] })];
  return measure([process.execPath, ...command]);
}

async function save() {
  mkdirSync(directory, { recursive: true });
  const keys = option("keys", 1_000_000);
  const valueBytes = option("value-bytes", 1000);
  for (const server of KINDS) {
    const data = join(directory, `${server}-data`);
    const member = await Member.start(server, data);
    try {
      const { seconds } = await fill(member.url, keys, valueBytes);
      console.log(`${keys} puts into ${server}: ${seconds.toFixed(1)} s`);
      for (const tool of KINDS) {
        const file = join(directory, `${server}-by-${tool}.db`);
        const before = member.rssBytes();
        const words = [`--endpoints=${member.url}`, "snapshot", "save", file];
        tell(`${tool} saves ${server}`, await measure([...toolOf(tool, "etcdctl"), ...words]));
        const grown = Math.max(0, member.rssBytes() - before);
        const bytes = statSync(file).size;
        console.log(`  ${bytes} bytes; the server's memory grew by ${Math.round(grown / 1e6)} MB`);
      }
    } finally {
      await member.down("SIGTERM");
      rmSync(data, { recursive: true, force: true });
    }
  }
}

async function tools() {
  const file = join(directory, SNAPSHOT);
  const work = join(directory, "work");
  for (const kind of KINDS) {
    rmSync(work, { recursive: true, force: true });
    mkdirSync(work);
    const run = async (what, ...line) =>
      tell(`${kind}: ${what}`, await measure([...toolOf(kind, "etcdutl"), ...line]));
    if (kind === "etcd-ts") await run("verify", "verify", file);
    await run("snapshot status", "snapshot", "status", file);
    const data = join(work, "data");
    await run("snapshot restore", "snapshot", "restore", file, "--data-dir", data);
    if (kind === "etcd-ts") await run("verify of the directory", "verify", data);
    // The reference writes to what it hashes.
    const copy = join(work, "copy.db");
    copyFileSync(file, copy);
    await run("hashkv", "hashkv", copy);
    await run("defrag", "defrag", "--data-dir", data);
    await run("version", "version");
  }
  rmSync(work, { recursive: true, force: true });
}

if (directory === undefined || !["save", "tools"].includes(step)) {
  console.error("usage: node bench/recovery.mjs save|tools DIRECTORY [--keys N] [--value-bytes N]");
  process.exit(2);
}
await (step === "save" ? save() : tools());
