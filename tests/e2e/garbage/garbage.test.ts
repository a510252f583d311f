/**
 * Junk to every port of a member, seeded: it goes on, in bounded memory, and serves others.
 *
 * `GARBAGE_SEED=N` replays; `GARBAGE_ROUNDS=N` sends N times as much.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as secureConnect } from "node:tls";
import { gzipSync } from "node:zlib";

import { METHODS } from "@etcd-ts/api";
import type { MethodDescriptor } from "@etcd-ts/api";
import { randomBelow, SeededRandom } from "@etcd-ts/base";
import { Etcd3 } from "etcd3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import {
  callHeaders,
  END_HEADERS,
  END_STREAM,
  frame,
  headerBlock,
  HEADERS,
  PREFACE,
  settings,
  DATA,
} from "../../../packages/rpc/compliance/h2-frames.ts";
import { freshPorts, MemberProcess } from "../../processes/member-process.ts";
import { bytesOf, junkFrames, junkJSON, junkMessage, pick } from "./generators.ts";

const SEED = Number(process.env["GARBAGE_SEED"] ?? 20_261);
const ROUNDS = Number(process.env["GARBAGE_ROUNDS"] ?? 1);
const MEGABYTE = 1024 * 1024;
/** What the heap may grow by before V8 collects it, and more than junk may hold. */
const GROWTH_BYTES_MAX = 400 * MEGABYTE;
/** A connection that the member keeps is cut by us after this. */
const PATIENCE_MS = 200;

let directory: string;
let member: MemberProcess;
let witness: Etcd3;
let startBytes: number;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "etcd-garbage-"));
  member = await MemberProcess.start(join(directory, "data"));
  witness = new Etcd3({ hosts: member.clientURL });
  await witness.put("witness").value("here");
  startBytes = member.rssBytes();
});

afterAll(async () => {
  witness.close();
  await member.end("SIGKILL");
  rmSync(directory, { recursive: true });
});

/** Sends bytes, reads whatever comes, and leaves. */
function send(port: number, bytes: Uint8Array | string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
    socket.on("data", () => undefined);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(timer);
      resolve();
    });
    socket.write(bytes);
  });
}

/** Runs `count` times what `one` starts, some at once. */
async function many(name: string, count: number, one: (random: SeededRandom) => Promise<void>) {
  const random = new SeededRandom(SEED).split(name);
  for (let i = 0; i < count * ROUNDS; i += 20) {
    await Promise.all(Array.from({ length: 20 }, () => one(random)));
    if (!member.isRunning) break;
  }
}

/** The member lives, answers an old client, and holds no more than it may. */
async function expectUnharmed(): Promise<void> {
  expect(member.isRunning, `seed ${SEED}; the end of its log: ${member.log.slice(-2000)}`).toBe(
    true,
  );
  // Junk may delete what was there.
  await witness.put("witness").value("here");
  expect(await witness.get("witness").string()).toBe("here");
  expect(member.rssBytes() - startBytes).toBeLessThan(GROWTH_BYTES_MAX);
}

const ports = ["client", "peer", "metrics"] as const;

describe.each(ports)("the %s port", (name) => {
  test("takes bytes", async () => {
    await many(`bytes ${name}`, 40, (random) => send(member.ports[name], bytesOf(random, 300)));
    await expectUnharmed();
  });

  test("takes HTTP/2 junk", async () => {
    await many(`frames ${name}`, 60, (random) => send(member.ports[name], junkFrames(random)));
    await expectUnharmed();
  });

  test("takes HTTP/1.1 junk", async () => {
    const pieces = [
      "GET ",
      "POST ",
      "PUT ",
      "* ",
      "/",
      "/v3/kv/range ",
      "/raft ",
      "/raft/snapshot ",
      "/leases ",
      "/members/promote/",
      "/health",
      "/metrics ",
      "HTTP/1.1\r\n",
      "HTTP/9.9\r\n",
      "Host: a\r\n",
      "Content-Length: ",
      "-1\r\n",
      "5\r\n",
      "99999999999999999999\r\n",
      "Transfer-Encoding: chunked\r\n",
      "fffffffff\r\n",
      "\r\n",
      "\0",
      "%",
      "?",
      "http://[",
      "Connection: Upgrade\r\nUpgrade: websocket\r\n",
      "Expect: 100-continue\r\n",
    ];
    await many(`text ${name}`, 100, (random) => {
      const count = 2 + randomBelow(random, 12);
      return send(
        member.ports[name],
        Array.from({ length: count }, () => pick(random, pieces)).join(""),
      );
    });
    await expectUnharmed();
  });
});

/** Snapshots are too large to be had by the hundred, and alarms would stop the witness. */
const called = METHODS.filter(({ name }) => name !== "Snapshot" && name !== "Alarm");

function call(
  method: MethodDescriptor,
  body: Uint8Array,
  more: { [name: string]: string } = {},
): Buffer {
  return Buffer.concat([
    PREFACE,
    settings(),
    frame(HEADERS, END_HEADERS, 1, headerBlock(callHeaders(method.path, more))),
    frame(DATA, END_STREAM, 1, body),
  ]);
}

function enveloped(message: Uint8Array, flag = 0, length = message.length): Buffer {
  const head = Buffer.alloc(5);
  head[0] = flag;
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
}

describe("gRPC methods", () => {
  test.each(called)("$path takes junk of its shape", async (method) => {
    await many(method.path, 20, (random) => {
      const message = junkMessage(random, method.requestSchema);
      const isOdd = randomBelow(random, 10) === 0;
      const body = isOdd
        ? enveloped(message, randomBelow(random, 256), pick(random, [0, 1, 0xffff_ffff]))
        : enveloped(message);
      return send(member.ports.client, call(method, body));
    });
    await expectUnharmed();
  });

  test("take bombs: what they inflate to is bounded", async () => {
    const bomb = gzipSync(Buffer.alloc(500 * MEGABYTE), { level: 9 });
    const [method] = called;
    for (let i = 0; i < 5; i++) {
      await send(
        member.ports.client,
        call(method!, enveloped(bomb, 1), { "grpc-encoding": "gzip" }),
      );
    }
    await expectUnharmed();
  });
});

describe("gateway paths", () => {
  const post = (path: string, body: string, headers = ""): string =>
    `POST ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${headers}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
  const bound = called.filter(({ httpPaths }) => httpPaths.length > 0);

  test.each(bound)("$httpPaths.0 takes junk of its shape", async (method) => {
    await many(method.httpPaths[0]!, 20, (random) =>
      send(member.ports.client, post(method.httpPaths[0]!, junkJSON(random, method.requestSchema))),
    );
    await expectUnharmed();
  });

  test("take JSON that is nested, long, and compressed", async () => {
    const path = "/v3/kv/txn";
    const depth = 100_000;
    const nested = '{"success":[{"requestTxn":'.repeat(depth) + "{}" + "}]}".repeat(depth);
    const lists = `{"key":${"[".repeat(depth)}${"]".repeat(depth)}}`;
    const long = `{"key":"${"A".repeat(20 * MEGABYTE)}"}`;
    const many = `{"compare":[${"{},".repeat(500_000)}{}]}`;
    for (const body of [nested, lists, long, many]) {
      await send(member.ports.client, post(path, body));
    }
    const packed = gzipSync(Buffer.alloc(200 * MEGABYTE, "{"));
    const head = `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: ${packed.length}\r\n\r\n`;
    await send(member.ports.client, Buffer.concat([Buffer.from(head), packed]));
    await expectUnharmed();
  });

  test("take websocket junk", async () => {
    const head =
      "GET /v3/watch HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    await many("websocket", 40, (random) =>
      send(member.ports.client, Buffer.concat([Buffer.from(head), bytesOf(random, 200)])),
    );
    await expectUnharmed();
  });
});

describe("peer paths", () => {
  test.each([
    "/raft",
    "/raft/snapshot",
    "/leases",
    "/leases/internal",
    "/members/promote/5",
    "/members/hashkv",
  ])("%s takes junk", async (path) => {
    const answer = await fetch(`http://127.0.0.1:${member.ports.peer}/members`);
    const cluster = answer.headers.get("x-etcd-cluster-id");
    await many(path, 20, (random) => {
      const body = bytesOf(random, 200);
      const isKnown = randomBelow(random, 2) === 0;
      const head =
        `${pick(random, ["POST", "GET"])} ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n` +
        `X-Etcd-Cluster-ID: ${isKnown ? cluster : "5"}\r\nX-Server-Version: ${pick(random, ["3.6.0", "x"])}\r\n` +
        `X-Server-From: ${pick(random, ["5", "zz", ""])}\r\nX-PeerURLs: ${pick(random, ["http://127.0.0.1:1", "%", ""])}\r\n` +
        `Content-Length: ${body.length}\r\n\r\n`;
      return send(member.ports.peer, Buffer.concat([Buffer.from(head), body]));
    });
    await expectUnharmed();
  });
});

describe("over TLS", () => {
  let secure: MemberProcess;

  beforeAll(async () => {
    secure = new MemberProcess({
      dataDir: join(directory, "secure"),
      ports: await freshPorts(),
      flags: ["--auto-tls", "--client-cert-auth=false"],
      scheme: "https",
    });
    await secure.up();
  });
  afterAll(() => secure.end("SIGKILL"));

  /** What the member says of itself through TLS. */
  const isServing = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = secureConnect({ port: secure.ports.client, rejectUnauthorized: false });
      socket.on("error", () => resolve(false));
      socket.on("data", (chunk: Buffer) => resolve(chunk.includes("200 OK")));
      socket.write("GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    });

  test("what is no TLS is taken", async () => {
    const hello = Buffer.from("16030100c8010000c40303", "hex");
    await many("bytes to TLS", 60, (random) => {
      const start = pick(random, [Buffer.alloc(0), hello, Buffer.from("1503010002", "hex")]);
      return send(secure.ports.client, Buffer.concat([start, bytesOf(random, 400)]));
    });
    expect(secure.isRunning, secure.log.slice(-2000)).toBe(true);
    expect(await isServing()).toBe(true);
  });

  test("what is junk inside TLS is taken", async () => {
    await many("junk inside TLS", 60, (random) => {
      const junk = random.float() < 0.5 ? junkFrames(random) : bytesOf(random, 300);
      return new Promise((resolve) => {
        const ALPNProtocols = random.float() < 0.5 ? ["h2"] : [];
        const port = secure.ports.client;
        const socket = secureConnect({ port, rejectUnauthorized: false, ALPNProtocols });
        const timer = setTimeout(() => socket.destroy(), PATIENCE_MS);
        socket.on("data", () => undefined);
        socket.on("error", () => undefined);
        socket.on("close", () => {
          clearTimeout(timer);
          resolve();
        });
        socket.write(junk);
      });
    });
    expect(secure.isRunning, secure.log.slice(-2000)).toBe(true);
    expect(await isServing()).toBe(true);
  });
});

test("a peer that answers with junk is borne", async () => {
  const random = new SeededRandom(SEED).split("peer");
  const heads = [
    "HTTP/1.1 200 OK\r\nX-Server-Version: 3.6.14\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n",
    "HTTP/1.1 200 OK\r\nX-Server-Version: 3.6.14\r\nContent-Length: 99999999\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://[\r\n\r\n",
    "HTTP/9.9 x\r\n\r\n",
    "",
  ];
  let answered = 0;
  const peer = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", () => {
      answered += 1;
      socket.end(Buffer.concat([Buffer.from(pick(random, heads)), bytesOf(random, 3000)]));
    });
  });
  await new Promise<void>((resolve) => peer.listen(0, "127.0.0.1", resolve));
  const { port } = peer.address() as AddressInfo;
  const ports = await freshPorts();
  const own = `http://127.0.0.1:${ports.peer}`;
  const lonely = new MemberProcess({
    dataDir: join(directory, "lonely"),
    ports,
    flags: [
      `--initial-advertise-peer-urls=${own}`,
      `--initial-cluster=default=${own},other=http://127.0.0.1:${port}`,
    ],
  });
  // Without the other it has no quorum and does not serve.
  const ended = lonely.up().catch((error: unknown) => error);
  await expect.poll(() => answered, { timeout: 30_000 }).toBeGreaterThan(50);
  expect(lonely.isRunning, lonely.log.slice(-2000)).toBe(true);
  const members = await fetch(`${own}/members`);
  expect(members.status).toBe(200);
  await lonely.end("SIGKILL");
  expect(await ended).toBeInstanceOf(Error);
  await new Promise((resolve) => peer.close(resolve));
});
