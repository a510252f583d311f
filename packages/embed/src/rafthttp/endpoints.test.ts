import { request as httpRequest } from "node:http";
import { RPC_ERRORS, SERVER_ERRORS } from "@etcd-ts/api";
import { bytesFromLatin1, encodeMessage, hexFromID, WireWriter } from "@etcd-ts/base";
import type { EtcdError } from "@etcd-ts/base";
import type { ServerOperations } from "@etcd-ts/etcdserver";
import { MessageCodec } from "@etcd-ts/raft";
import { NodeClock } from "@etcd-ts/runtime";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { encodeMessageFrame } from "./frames.ts";
import { PeerHttpClient } from "./http-client.ts";
import * as client from "./peer-client.ts";
import { createPeerHandler } from "./peer-handler.ts";
import { encodeRenewRequest, encodeTimeToLiveRequest } from "./peer-messages.ts";
import {
  CLUSTER_ID,
  databaseImage,
  messageOf,
  snapshotMessage,
  TestMember,
} from "./transport-fixture.ts";

const LOCAL = 0x11n;
const PEER = 0x22n;
const STRANGER = 0x33n;
const REMOVED = 0x44n;

let member: TestMember;

interface Answer {
  readonly status: number;
  readonly headers: { readonly [name: string]: unknown };
  readonly body: string;
}

type Headers = { readonly [name: string]: string };

/** Sends chunks one by one; with `isCut`, breaks off after the last instead of ending. */
function ask(
  path: string,
  options: {
    method?: string;
    headers?: Headers;
    chunks?: readonly Uint8Array[];
    isOpen?: boolean;
  } = {},
): Promise<Answer> {
  const { method = "GET", headers = {}, chunks = [], isOpen = false } = options;
  return new Promise((resolve, reject) => {
    const sent = httpRequest(member.url + path, { method, headers, agent: false }, (response) => {
      let body = "";
      if (response.statusCode === 200 && path.startsWith("/raft/stream/")) response.destroy();
      response.on("data", (chunk: Buffer) => (body += chunk.toString()));
      response.on("error", () => undefined);
      response.on("close", () => {
        sent.destroy();
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body });
      });
    });
    sent.on("error", reject);
    for (const chunk of chunks) sent.write(chunk);
    if (!isOpen) sent.end();
  });
}

const GOOD: Headers = {
  "X-Server-From": hexFromID(PEER),
  "X-Server-Version": "3.6.14",
  "X-Min-Cluster-Version": "3.0.0",
  "X-Etcd-Cluster-ID": hexFromID(CLUSTER_ID),
};

function without(name: string): Headers {
  return Object.fromEntries(Object.entries(GOOD).filter(([key]) => key !== name));
}

const MESSAGE = encodeMessage(MessageCodec, messageOf({ from: PEER, to: LOCAL }));

const RAFT_ENDPOINTS = [
  ["POST", "/raft", [MESSAGE]],
  ["POST", "/raft/snapshot", []],
  ["GET", `/raft/stream/message/${hexFromID(PEER)}`, []],
  ["GET", `/raft/stream/msgapp/${hexFromID(PEER)}`, []],
] as const;

beforeAll(async () => {
  member = await TestMember.start(LOCAL);
  member.removedIDs.add(REMOVED);
  // Nobody listens there: it only has to be known.
  member.transport.addPeer(PEER, ["http://127.0.0.1:1"]);
});

beforeEach(() => {
  member.received.length = 0;
});

afterAll(() => member.stop());

describe("raft endpoints", () => {
  test.for(RAFT_ENDPOINTS)(
    "%s %s checks method, versions, cluster",
    async ([method, path, body]) => {
      const wrong = await ask(path, { method: method === "GET" ? "POST" : "GET" });
      expect(wrong).toMatchObject({ status: 405, body: "Method Not Allowed\n" });
      expect(wrong.headers["allow"]).toBe(method);
      for (const [headers, text] of [
        [{ ...GOOD, "X-Server-Version": "2.3.8" }, "incompatible version\n"],
        [without("X-Server-Version"), "incompatible version\n"],
        [{ ...GOOD, "X-Min-Cluster-Version": "3.7.0" }, "incompatible version\n"],
        [{ ...GOOD, "X-Server-Version": "new" }, "incompatible version\n"],
        [
          { ...GOOD, "X-Server-Version": "2.3.8", "X-Etcd-Cluster-ID": "1" },
          "incompatible version\n",
        ],
        [{ ...GOOD, "X-Etcd-Cluster-ID": "1" }, "cluster ID mismatch\n"],
        [without("X-Etcd-Cluster-ID"), "cluster ID mismatch\n"],
      ] as const) {
        const answer = await ask(path, { method, headers, chunks: body });
        expect(answer).toMatchObject({ status: 412, body: text });
        expect(answer.headers["x-etcd-cluster-id"]).toBe(hexFromID(CLUSTER_ID));
      }
      const newer = { ...GOOD, "X-Server-Version": "3.9.1", "X-Raft-To": hexFromID(LOCAL) };
      expect((await ask(path, { method, headers: newer, chunks: body })).status).not.toBe(412);
    },
  );

  test("/raft takes one message and refuses what is none", async () => {
    const post = (chunk: Uint8Array): Promise<Answer> =>
      ask("/raft", { method: "POST", headers: GOOD, chunks: [chunk] });
    expect(await post(MESSAGE)).toMatchObject({ status: 204, body: "" });
    expect(member.received).toHaveLength(1);
    expect(await post(bytesFromLatin1("garbage"))).toMatchObject({
      status: 400,
      body: "error unmarshalling raft message\n",
    });
    const removed = encodeMessage(MessageCodec, messageOf({ from: REMOVED, to: LOCAL }));
    // No 403: to its sender that would mean that it was removed itself.
    const refused = {
      status: 500,
      headers: { connection: "close" },
      body: "error processing raft message\n",
    };
    expect(await post(removed)).toMatchObject(refused);
    const mismatch = encodeMessage(MessageCodec, messageOf({ from: PEER, to: 9n }));
    expect(await post(mismatch)).toMatchObject(refused);
    const local = encodeMessage(MessageCodec, messageOf({ type: "MsgHup", from: PEER, to: LOCAL }));
    expect(await post(local)).toMatchObject({ status: 204 });
    expect(member.received).toHaveLength(1);
  });

  test("/raft refuses a body that is too large or too slow", async () => {
    const large = { ...GOOD, "Content-Length": String(65 * 1024 * 1024) };
    expect(
      await ask("/raft", { method: "POST", headers: large, chunks: [MESSAGE], isOpen: true }),
    ).toMatchObject({ status: 400, body: "error reading raft message\n" });
    const startMs = performance.now();
    expect(
      await ask("/raft", { method: "POST", headers: GOOD, chunks: [MESSAGE], isOpen: true }),
    ).toMatchObject({ status: 400, body: "error reading raft message\n" });
    expect(performance.now() - startMs).toBeLessThan(30_000);
  });

  test("streams are refused in etcd's order", async () => {
    const to = { ...GOOD, "X-Raft-To": hexFromID(LOCAL) };
    for (const [path, headers, status, body] of [
      ["/raft/stream/other/22", to, 404, "invalid path\n"],
      ["/raft/stream/22", to, 404, "invalid path\n"],
      ["/raft/stream/message/xyz", to, 404, "invalid from\n"],
      ["/raft/stream/message/", to, 404, "invalid from\n"],
      ["/raft/stream/message/1ffffffffffffffff", to, 404, "invalid from\n"],
      ["/raft/stream/message/44", to, 410, "removed member\n"],
      [
        "/raft/stream/message/33",
        { ...to, "X-PeerURLs": "http://127.0.0.1:1" },
        404,
        "error sender not found\n",
      ],
      ["/raft/stream/message/22", { ...to, "X-Raft-To": "99" }, 412, "to field mismatch\n"],
      ["/raft/stream/message/22", GOOD, 412, "to field mismatch\n"],
      ["/raft/stream/message/22", to, 200, ""],
    ] as const) {
      const answer = await ask(path, { headers });
      expect(answer).toMatchObject({ status, body });
      expect(answer.headers["x-server-version"]).toBe("3.6.14");
    }
    expect(member.transport.isKnown(STRANGER)).toBe(true);
  });

  test("/raft/snapshot refuses what is no snapshot", async () => {
    const post = (chunks: readonly Uint8Array[]): Promise<Answer> =>
      ask("/raft/snapshot", { method: "POST", headers: GOOD, chunks });
    const framed = (...args: Parameters<typeof snapshotMessage>): Uint8Array => {
      const writer = new WireWriter();
      encodeMessageFrame(snapshotMessage(...args), writer);
      return writer.finish();
    };
    const image = databaseImage(4);
    const huge = Uint8Array.of(0, 0, 0, 0, 4, 0, 0, 1);
    const writer = new WireWriter();
    encodeMessageFrame(messageOf({ from: PEER, to: LOCAL }), writer);
    for (const [chunks, status, body] of [
      [[], 400, "failed to decode raft message (EOF)\n"],
      [[Uint8Array.of(0, 0)], 400, "failed to decode raft message (unexpected EOF)\n"],
      [[huge], 400, "failed to decode raft message (rafthttp: error limit exceeded)\n"],
      [[writer.finish()], 400, "wrong raft message type\n"],
      [
        [framed(REMOVED, LOCAL, 1), image],
        500,
        "failed to process raft message (cannot process message from removed member)\n",
      ],
      [
        [framed(PEER, 9n, 1), image],
        500,
        "failed to process raft message (cannot process message to mismatch member)\n",
      ],
      [[framed(PEER, LOCAL, 1)], 500, "failed to save KV snapshot (invalid database)\n"],
    ] as const) {
      expect(await post(chunks)).toMatchObject({ status, body });
    }
    expect(member.received).toEqual([]);
    expect(await member.snapFiles()).toEqual([]);
    expect(await post([framed(PEER, LOCAL, 6), image])).toMatchObject({ status: 204 });
    expect(await member.databaseBytes(6)).toBe(image.length);
  });

  test("/raft/probing tells the time; anything else below /raft is not there", async () => {
    const { status, body } = await ask("/raft/probing");
    expect(status).toBe(200);
    const health = JSON.parse(body) as { OK: boolean; Now: string };
    expect(health.OK).toBe(true);
    expect(Math.abs(Date.parse(health.Now) - Date.now())).toBeLessThan(5000);
    expect(await ask("/raft/other")).toMatchObject({ status: 404, body: "404 page not found\n" });
  });

  test("remotes are bounded and bad URLs ignored", async () => {
    for (let i = 0; i < 100; i++) {
      const headers = { ...GOOD, "X-Server-From": (1000 + i).toString(16) };
      const urls = i === 0 ? "nonsense" : "http://127.0.0.1:1";
      const answer = await ask("/raft", {
        method: "POST",
        headers: { ...headers, "X-PeerURLs": urls },
        chunks: [MESSAGE],
      });
      expect(answer.status).toBe(204);
    }
    expect(member.transport.isKnown(1000n)).toBe(false);
    expect(member.transport.isKnown(1001n)).toBe(true);
    expect(member.transport.isKnown(1099n)).toBe(false);
  });
});

/** What the server answers, set by each test. */
interface Script {
  isLeader: boolean;
  error: EtcdError | undefined;
  isSilent: boolean;
}

describe("questions of other members", () => {
  const script: Script = { isLeader: true, error: undefined, isSilent: false };
  const members = [
    {
      id: 0xffff_ffff_ffff_fff0n,
      name: "one",
      peerURLs: ["http://a:2380"],
      clientURLs: ["http://a:2379"],
      isLearner: false,
    },
    { id: 7n, name: "", peerURLs: ["http://b:2380"], clientURLs: [], isLearner: true },
  ];
  const asked: unknown[] = [];
  const answer =
    <T>(result: T) =>
    (...args: readonly unknown[]): void => {
      asked.push(args.slice(0, -2));
      const done = args.at(-1) as (error: unknown, result: unknown) => void;
      if (script.isSilent) return;
      setImmediate(() => done(script.error, script.error === undefined ? result : undefined));
    };
  const server = {
    facts: () => ({ clusterID: CLUSTER_ID, clusterVersion: "3.6.0", isLeader: script.isLeader }),
    currentStatus: () => ({
      storageVersion: "3.6.0",
      downgrade: { enabled: true, targetVersion: "3.5.0" },
    }),
    memberList: answer({ members }),
    memberPromote: answer({ members, member: members[1] }),
    hashKV: answer({ hash: 5, hashRevision: 6, compactRevision: 0, currentRevision: 8 }),
    leaseRenew: answer(60),
    leaseTimeToLive: answer({
      id: 9n,
      ttlSeconds: 55,
      grantedTTLSeconds: 60,
      keys: [bytesFromLatin1("k")],
    }),
    linearizableRead: answer(undefined),
  } as unknown as ServerOperations;
  const http = new PeerHttpClient();
  const options = { timeoutMs: 3000 };
  let transportHandle: TestMember["transport"]["handle"];

  beforeAll(() => {
    const handler = createPeerHandler({
      server,
      transport: undefined,
      clock: new NodeClock(),
      logger: member.logger,
      requestTimeoutMs: 3000,
      bodyTimeoutMs: 500,
    });
    transportHandle = member.transport.handle.bind(member.transport);
    member.transport.handle = (_pathname, request, response) => handler(request, response);
  });

  beforeEach(() => {
    Object.assign(script, { isLeader: true, error: undefined, isSilent: false });
    asked.length = 0;
  });

  afterAll(() => {
    http.close();
    member.transport.handle = transportHandle;
  });

  const logged = () => ({ ...options, logger: member.logger, memberID: PEER });

  test("members, versions and downgrades are told", async () => {
    expect(
      await client.getClusterFromRemotePeers(http, ["http://127.0.0.1:1", member.url], options),
    ).toEqual({
      clusterID: CLUSTER_ID,
      members,
    });
    expect(await client.getVersion(http, ["http://127.0.0.1:1", member.url], logged())).toEqual({
      server: "3.6.14",
      cluster: "3.6.0",
    });
    expect(await client.getDowngradeEnabled(http, [member.url], logged())).toBe(true);
    script.error = SERVER_ERRORS.timeout;
    expect(await client.getDowngradeEnabled(http, [member.url], logged())).toBeUndefined();
    expect(await ask("/downgrade/enabled")).toMatchObject({
      status: 500,
      body: "failed linearized read: etcdserver: request timed out\n",
    });
    expect(await client.getVersion(http, ["http://127.0.0.1:1"], logged())).toBeUndefined();
    await expect(
      client.getClusterFromRemotePeers(http, ["http://127.0.0.1:1"], options),
    ).rejects.toThrow("could not retrieve cluster information from the given URLs");
  });

  test("hashes are told, and refused as etcd refuses them", async () => {
    const hash = (clusterID: bigint) =>
      client.getHashKV(http, member.url, { clusterID, revision: 4 }, options);
    expect(await hash(CLUSTER_ID)).toEqual({
      hash: 5,
      hashRevision: 6,
      compactRevision: 0,
      currentRevision: 8,
    });
    expect(asked).toEqual([[4]]);
    await expect(hash(1n)).rejects.toBe(RPC_ERRORS.clusterIDMismatch);
    script.error = SERVER_ERRORS.compacted;
    await expect(hash(CLUSTER_ID)).rejects.toBe(RPC_ERRORS.compacted);
    script.error = SERVER_ERRORS.futureRevision;
    await expect(hash(CLUSTER_ID)).rejects.toBe(RPC_ERRORS.futureRevision);
    const bad = await ask("/members/hashkv", {
      headers: { "Content-Length": "3" },
      chunks: [bytesFromLatin1("{{{")],
    });
    expect(bad).toMatchObject({ status: 400, body: "error unmarshalling request\n" });
    expect(await ask("/members/hashkv", { method: "POST" })).toMatchObject({ status: 405 });
  });

  test("leases are renewed and looked up by the leader alone", async () => {
    expect(await client.renewLease(http, member.url, 9n, options)).toBe(60);
    expect(
      await client.getLeaseTimeToLive(http, member.url, { id: 9n, withKeys: true }, options),
    ).toEqual({ id: 9n, ttlSeconds: 55, grantedTTLSeconds: 60, keys: [bytesFromLatin1("k")] });
    expect(asked).toEqual([[9n], [9n, true]]);
    script.error = SERVER_ERRORS.leaseNotFound;
    await expect(client.renewLease(http, member.url, 9n, options)).rejects.toBe(
      SERVER_ERRORS.leaseNotFound,
    );
    script.isLeader = false;
    asked.length = 0;
    await expect(client.renewLease(http, member.url, 9n, options)).rejects.toThrow(
      "lease: unknown error(not a primary lessor\n)",
    );
    const renew = { method: "POST", chunks: [encodeRenewRequest(9n)] };
    const lookUp = { method: "POST", chunks: [encodeTimeToLiveRequest(9n, true)] };
    expect(await ask("/leases", renew)).toMatchObject({ status: 400 });
    expect(await ask("/leases/internal", lookUp)).toMatchObject({ status: 500 });
    expect(asked).toEqual([]);
  });

  test("lease requests are bounded in size and time", async () => {
    script.isSilent = true;
    await expect(client.renewLease(http, member.url, 9n, options)).rejects.toThrow(
      client.LEASE_CATCH_UP_TEXT,
    );
    for (const path of ["/leases", "/leases/internal"]) {
      expect(await ask(path)).toMatchObject({ status: 405, body: "Method Not Allowed\n" });
      const large = { method: "POST", chunks: [new Uint8Array(65 * 1024)] };
      expect(await ask(path, large)).toMatchObject({
        status: 413,
        body: "request body too large\n",
      });
      const garbage = { method: "POST", chunks: [new Uint8Array(9).fill(0xff)] };
      expect(await ask(path, garbage)).toMatchObject({
        status: 400,
        body: "error unmarshalling request\n",
      });
      const slow = { method: "POST", chunks: [new Uint8Array(1)], isOpen: true };
      expect(await ask(path, slow)).toMatchObject({ status: 400, body: "error reading body\n" });
    }
  });

  test("promotions come back as members or as etcd's errors", async () => {
    const promote = () => client.promoteMember(http, member.url, { id: 7n }, options);
    expect(await promote()).toEqual(members);
    for (const error of [
      SERVER_ERRORS.memberIDNotFound,
      SERVER_ERRORS.memberNotLearner,
      SERVER_ERRORS.learnerNotReady,
    ]) {
      script.error = error;
      await expect(promote()).rejects.toBe(error);
    }
    script.error = SERVER_ERRORS.noLeader;
    await expect(promote()).rejects.toThrow(
      'member promote: unknown error({"message":"Internal Server Error"})',
    );
    expect(await ask("/members/promote/x", { method: "POST" })).toMatchObject({
      status: 404,
      body: "member x not found in cluster\n",
    });
  });

  test("an answer beyond the bound is refused", async () => {
    const { handle } = member.transport;
    member.transport.handle = (_pathname, _request, response) => {
      response.writeHead(200);
      response.end(new Uint8Array(100 * 1024));
    };
    await expect(
      client.getHashKV(http, member.url, { clusterID: CLUSTER_ID, revision: 0 }, options),
    ).rejects.toThrow("response body exceeds 65536 bytes limit");
    member.transport.handle = handle;
  });

  test("a redirect is not followed", async () => {
    const { handle } = member.transport;
    let requests = 0;
    member.transport.handle = (_pathname, _request, response) => {
      requests++;
      response.writeHead(302, { Location: `${member.url}/version` });
      response.end();
    };
    expect(await client.getVersion(http, [member.url], logged())).toBeUndefined();
    expect(requests).toBe(1);
    member.transport.handle = handle;
  });

  test("nothing else is there", async () => {
    for (const path of ["/", "/metrics", "/health", "/members/x", "/raft"]) {
      expect(await ask(path)).toMatchObject({ status: 404, body: "404 page not found\n" });
    }
  });
});
