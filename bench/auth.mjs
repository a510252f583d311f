/**
 * `node bench/auth.mjs [--requests N] [--logins N] [--seconds N] [--cost N] [--kind etcd-ts|reference]`:
 * what logins cost others. A member with users is asked for N authenticated requests a second (four
 * reads to a write) while N logins a second begin, whether or not earlier ones have ended.
 *
 * Tells how many of both were answered, how long they took, and, of ours, the longest time the
 * event loop stood still (`etcd_ts_event_loop_delay_seconds`), first without logins, then with.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Connection, message } from "./connection.mjs";
import { startCluster } from "./member.mjs";
import { count, field, scan } from "./protobuf.mjs";

const options = { requests: 1000, logins: 100, seconds: 10, cost: 10, kind: "etcd-ts" };
const words = process.argv.slice(2);
for (let i = 0; i + 1 < words.length; i += 2) {
  const name = words[i].slice(2);
  options[name] = name === "kind" ? words[i + 1] : Number(words[i + 1]);
}

const AUTH = "/etcdserverpb.Auth/";
const USER = "app";
const PASSWORD = "correct horse battery staple";
const credentials = message(field(1, USER), field(2, PASSWORD));
const call = (connection, path, ...fields) =>
  new Promise((resolve, reject) => {
    connection.unary(path, message(...fields), (answer) => {
      if (answer === undefined) reject(new Error(`${path} failed`));
      else resolve(answer);
    });
  });

/** Users root and app (which may read and write `k/`); authentication on. */
async function setUp(url) {
  const connection = await Connection.open(url);
  const permission = field(2, count(1, 2), field(2, "k/"), field(3, "k0"));
  await call(connection, `${AUTH}UserAdd`, field(1, "root"), field(2, "root"));
  await call(connection, `${AUTH}RoleAdd`, field(1, "root"));
  await call(connection, `${AUTH}UserGrantRole`, field(1, "root"), field(2, "root"));
  await call(connection, `${AUTH}UserAdd`, field(1, USER), field(2, PASSWORD));
  await call(connection, `${AUTH}RoleAdd`, field(1, "app"));
  await call(connection, `${AUTH}RoleGrantPermission`, field(1, "app"), permission);
  await call(connection, `${AUTH}UserGrantRole`, field(1, USER), field(2, "app"));
  await call(connection, `${AUTH}AuthEnable`);
  const answer = await call(connection, `${AUTH}Authenticate`, field(1, USER), field(2, PASSWORD));
  let token = "";
  scan(answer, 0, answer.length, (number, from, to) => {
    if (number === 2) token = answer.toString("latin1", from, to);
  });
  return { connection, token };
}

/** Starts `perSecond` calls a second until it is told to end; counts and times them. */
function openLoop(perSecond, start) {
  const times = [];
  let sent = 0;
  let failed = 0;
  let due = 0;
  const began = performance.now();
  const timer = setInterval(() => {
    due = Math.floor(((performance.now() - began) / 1000) * perSecond);
    for (; sent < due; sent++) {
      const at = performance.now();
      start(sent, (answer) => {
        if (answer === undefined) failed += 1;
        else times.push(performance.now() - at);
      });
    }
  }, 2);
  return () => {
    clearInterval(timer);
    const seconds = (performance.now() - began) / 1000;
    const sorted = times.toSorted((a, b) => a - b);
    const at = (part) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))];
    return {
      sent,
      answered: times.length,
      failed,
      seconds,
      p50: at(0.5),
      p99: at(0.99),
      max: at(1),
    };
  };
}

/** What the loop of our member was late by since it was last asked, in ms. */
async function stallMs(member) {
  const lines = await member.metric('etcd_ts_event_loop_delay_seconds{quantile="1"}');
  return lines.length === 0 ? undefined : Number(lines[0].split(" ")[1]) * 1000;
}

function tell(what, { sent, answered, failed, seconds, p50, p99, max }) {
  const ms = (time) => (time === undefined ? "-" : `${time.toFixed(1)} ms`);
  console.log(
    `  ${what}: ${sent} begun, ${answered} answered (${(answered / seconds).toFixed(1)}/s), ` +
      `${failed} refused; p50 ${ms(p50)}, p99 ${ms(p99)}, max ${ms(max)}`,
  );
}

async function measure(member, { connection, token }, logins) {
  const user = await Connection.open(member.url, { token });
  const range = message(field(1, "k/1"));
  const put = message(field(1, "k/1"), field(2, "value"));
  await stallMs(member);
  const requests = openLoop(options.requests, (i, done) => {
    if (i % 5 === 0) user.unary("/etcdserverpb.KV/Put", put, done);
    else user.unary("/etcdserverpb.KV/Range", range, done);
  });
  const begun = openLoop(logins, (_, done) =>
    connection.unary(`${AUTH}Authenticate`, credentials, done),
  );
  await new Promise((resolve) => setTimeout(resolve, options.seconds * 1000));
  tell("requests", requests());
  if (logins > 0) tell("logins", begun());
  else begun();
  const stall = await stallMs(member);
  if (stall !== undefined) console.log(`  longest stall of the event loop: ${stall.toFixed(1)} ms`);
  user.close();
}

const scratch = mkdtempSync(join(process.env["BENCH_DIR"] ?? tmpdir(), "etcd-bench-auth-"));
const flags = [`--bcrypt-cost=${options.cost}`];
const [member] = await startCluster(options.kind, [join(scratch, "m0")], flags);
try {
  const session = await setUp(member.url);
  console.log(`${options.kind}, cost ${options.cost}, without logins`);
  await measure(member, session, 0);
  console.log(`${options.kind}, cost ${options.cost}, ${options.logins} logins a second`);
  await measure(member, session, options.logins);
} finally {
  await member.down();
  rmSync(scratch, { recursive: true });
}
process.exit(0);
