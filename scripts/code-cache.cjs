/**
 * Writes the code cache of a command: runs it with each of the command lines given, and keeps what
 * V8 compiled on the way. Called by the build.
 *
 *   node scripts/code-cache.cjs etcdctl '[["version"], ["get", "key"]]'
 *
 * A line of `etcd` is a member on free ports, which is asked for a little and ended; all lines
 * share a data directory.
 */
"use strict";
const { mkdtempSync, renameSync, rmSync, writeFileSync } = require("node:fs");
const { createServer } = require("node:net");
const { tmpdir } = require("node:os");
const path = require("node:path");
const { load, pathsOf } = require("../bin/tool.js");

/** The member's code for requests; the gateway takes them through the same handlers as gRPC. */
const REQUESTS = [
  { method: "kv/put", body: { key: "YQ==", value: "Yg==" } },
  { method: "kv/range", body: { key: "YQ==" } },
];

const [, program, name, lines] = process.argv;
const { cache } = pathsOf(name);
const { script, run } = load(name);
const left = JSON.parse(lines);
const exit = process.exit.bind(process);
let directory;

async function next() {
  const words = left.shift();
  if (words === undefined) {
    writeFileSync(`${cache}.new`, script.createCachedData());
    renameSync(`${cache}.new`, cache);
    exit(0);
  }
  const isServer = name === "etcd";
  const url = isServer ? await freeURL() : "";
  process.argv = [process.execPath, program, ...words, ...(isServer ? await memberFlags(url) : [])];
  run();
  if (!isServer) return;
  await ask(url);
  process.emit("SIGTERM", "SIGTERM");
}

async function memberFlags(client) {
  directory ??= mkdtempSync(path.join(tmpdir(), "etcd-code-cache-"));
  const peer = await freeURL();
  return [
    ...["--name=m", `--data-dir=${path.join(directory, "data")}`, "--unsafe-no-fsync"],
    ...[`--listen-client-urls=${client}`, `--advertise-client-urls=${client}`],
    ...[`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`],
    `--initial-cluster=m=${peer}`,
  ];
}

async function freeURL() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

/** Until the member serves; the build gives up on one that never does. */
async function ask(url) {
  for (const { method, body } of REQUESTS) {
    for (;;) {
      const sent = fetch(`${url}/v3/${method}`, { method: "POST", body: JSON.stringify(body) });
      const answer = await sent.catch(() => undefined);
      await answer?.arrayBuffer();
      if (answer?.ok) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

// Variables are flags, and these are somebody else's.
for (const variable of Object.keys(process.env)) {
  if (variable.startsWith("ETCD")) delete process.env[variable];
}
// A tool ends by leaving, a member by its signal; here the next command line follows.
if (name === "etcd") process.kill = next;
else process.exit = next;
process.on("exit", () => {
  if (directory !== undefined) rmSync(directory, { recursive: true, force: true });
});
void next();
