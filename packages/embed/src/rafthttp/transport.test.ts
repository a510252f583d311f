import { connect, createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { EMPTY_BYTES, encodeMessage, hexFromBytes, hexFromID } from "@etcd-ts/base";
import { MessageCodec } from "@etcd-ts/raft";
import type { Message } from "@etcd-ts/raft";
import { NodeClock } from "@etcd-ts/runtime";
import { afterEach, describe, expect, test } from "vitest";
import {
  CLUSTER_ID,
  databaseImage,
  introduce,
  messageOf,
  snapshotMessage,
  TestMember,
  until,
} from "./transport-fixture.ts";
import type { TestMemberOptions } from "./transport-fixture.ts";

const A = 0x8211_f1d0_f64f_3269n;
const B = 0x91bc_3c39_8fb3_c146n;
const members: TestMember[] = [];

async function start(id: bigint, options?: TestMemberOptions): Promise<TestMember> {
  const member = await TestMember.start(id, options);
  members.push(member);
  return member;
}

async function startPair(options?: TestMemberOptions): Promise<[TestMember, TestMember]> {
  const pair: [TestMember, TestMember] = [await start(A, options), await start(B, options)];
  introduce(...pair);
  return pair;
}

/** Both streams both ways: two readers and two writers. */
async function linked(...pair: readonly TestMember[]): Promise<void> {
  const established = "established TCP streaming connection with remote peer";
  await until("streams", () => pair.every((member) => member.logged(established).length >= 4));
}

afterEach(async () => {
  await Promise.all(members.splice(0).map((member) => member.stop()));
});

/** Five seconds behind. */
class LateClock extends NodeClock {
  override wallMs(): number {
    return super.wallMs() - 5000;
  }
}

function appendOf(index: number, dataBytes: number): Message {
  const data = new Uint8Array(dataBytes).fill(index);
  const entries = [{ type: "EntryNormal" as const, term: 1, index: index + 1, data }];
  return messageOf({ type: "MsgApp", from: A, to: B, logTerm: 1, index, entries, commit: index });
}

describe("messages", () => {
  for (const isUnix of [false, true]) {
    test(`arrive in order over both streams, over ${isUnix ? "unix sockets" : "TCP"}`, async () => {
      const [a, b] = await startPair({ isUnix });
      await linked(a, b);
      const sent: Message[] = [];
      for (let i = 0; i < 300; i++)
        sent.push(i % 3 === 0 ? appendOf(i, 5000) : messageOf({ from: A, to: B, index: i }));
      for (let i = 0; i < sent.length; i += 50) a.transport.send(sent.slice(i, i + 50));
      await until("all arrive", () => b.received.length === sent.length);
      for (const type of ["MsgApp", "MsgAppResp"]) {
        const ofType = (message: Message): boolean => message.type === type;
        const bytesOf = (message: Message): string =>
          hexFromBytes(encodeMessage(MessageCodec, message).subarray(0, 100));
        expect(b.received.filter(ofType).map(bytesOf)).toEqual(sent.filter(ofType).map(bytesOf));
      }
      b.transport.send([messageOf({ from: B, to: A, type: "MsgHeartbeatResp" })]);
      await until("the answer arrives", () => a.received.length === 1);
      expect(a.transport.activeSinceMs(B)).toBeTypeOf("number");
      expect(a.unreachable).toEqual([]);
      expect(
        a.metrics.value("etcd_network_peer_sent_failures_total", { To: hexFromID(B) }),
      ).toBeUndefined();
      const labels = { Local: hexFromID(A), Remote: hexFromID(B) };
      expect(a.metrics.value("etcd_network_active_peers", labels)).toBe(1);
    });
  }

  test("go by post while there is no stream, and MsgSnap always does", async () => {
    const a = await start(A);
    const b = await start(B);
    // B does not dial: it does not know A.
    a.transport.addPeer(B, [b.url]);
    a.transport.send([messageOf({ from: A, to: B, index: 1 }), snapshotMessage(A, B, 7)]);
    await until("both arrive", () => b.received.length === 2);
    expect(b.received.map(({ type }) => type).sort()).toEqual(["MsgAppResp", "MsgSnap"]);
    await until("the outcome is told", () => a.snapshots.length === 1);
    expect(a.snapshots).toEqual([{ id: B, status: "finish" }]);
    // The post said where A can be answered.
    b.transport.send([messageOf({ from: B, to: A, index: 2 })]);
    await until("the answer arrives", () => a.received.length === 1);
    expect(b.logged("added new remote peer")).toHaveLength(1);
  });

  test("flow again after connections broke, and the loss is told", async () => {
    const [a, b] = await startPair();
    await linked(a, b);
    for (let round = 1; round <= 3; round++) {
      const before = a.logged("established TCP streaming connection with remote peer").length;
      a.cutIncoming();
      await until("streams are back", () =>
        [a].every(
          (member) =>
            member.logged("established TCP streaming connection with remote peer").length >=
            before + 2,
        ),
      );
      const count = b.received.length;
      a.transport.send([messageOf({ from: A, to: B, index: round })]);
      await until("the message arrives", () => b.received.length > count);
    }
    expect(a.logged("lost TCP streaming connection with remote peer").length).toBeGreaterThan(0);
    expect(b.logged("lost TCP streaming connection with remote peer").length).toBeGreaterThan(0);
  });

  test("to a peer that is away are reported, and it is inactive until it is back", async () => {
    const [a, b] = await startPair();
    await linked(a, b);
    expect(a.transport.isReachable(B)).toBe(true);
    expect(a.transport.isReachable(9n)).toBe(false);
    b.transport.removePeer(A);
    await b.goOffline();
    a.cutIncoming();
    await until("inactive", () => a.transport.activeSinceMs(B) === undefined);
    await until("out of reach", () => !a.transport.isReachable(B));
    a.transport.send([messageOf({ from: A, to: B }), snapshotMessage(A, B, 3)]);
    await until("reported", () => a.unreachable.length >= 2 && a.snapshots.length === 1);
    expect(a.snapshots).toEqual([{ id: B, status: "failure" }]);
    expect(a.logged("peer became inactive (message send to peer failed)")).toHaveLength(1);
    const labels = { Local: hexFromID(A), Remote: hexFromID(B) };
    expect(a.metrics.value("etcd_network_active_peers", labels)).toBe(0);
    expect(a.metrics.value("etcd_network_disconnected_peers_total", labels)).toBe(1);
    await b.comeBack();
    b.transport.addPeer(A, [a.url]);
    await until("active again", () => a.transport.activeSinceMs(B) !== undefined);
    expect(a.transport.isReachable(B)).toBe(true);
  });

  test("beyond the bounds are dropped, told and counted", async () => {
    const a = await start(A);
    a.transport.addPeer(B, ["http://127.0.0.1:1"]);
    const { port, hostname } = new URL(a.url);
    // A peer that asks for a stream and never reads it.
    const mute = connect(Number(port), hostname).pause();
    mute.on("error", () => undefined);
    mute.write(
      `GET /raft/stream/msgapp/${hexFromID(B)} HTTP/1.1\r\nHost: a\r\n` +
        `X-Server-Version: 3.6.0\r\nX-Min-Cluster-Version: 3.0.0\r\n` +
        `X-Etcd-Cluster-ID: ${hexFromID(CLUSTER_ID)}\r\nX-Raft-To: ${hexFromID(A)}\r\n\r\n`,
    );
    await until("attached", () => a.logged("set message encoder").length === 1);
    const heavy = appendOf(1, 256 * 1024);
    for (let i = 0; i < 4200; i++) a.transport.send([heavy]);
    await until("reported", () => a.unreachable.length > 0);
    const dropped = a.logged("dropped internal Raft message since sending buffer is full");
    expect(dropped.length).toBeGreaterThan(0);
    expect(dropped[0]).toMatchObject({
      "message-type": "MsgApp",
      "remote-peer-id": hexFromID(B),
      "remote-peer-name": "streamMsgAppV2",
    });
    expect(
      a.metrics.value("etcd_network_peer_sent_failures_total", { To: hexFromID(B) }),
    ).toBeGreaterThanOrEqual(dropped.length);
    // The link is found stuck, though its heartbeats could be queued for ever.
    await until("given up", () =>
      a
        .logged("lost TCP streaming connection with remote peer")
        .some((fields) => fields["stream-writer-type"] === "stream MsgApp v2"),
    );
    mute.destroy();
  });

  test("try the next URL after a failure", async () => {
    const a = await start(A);
    const b = await start(B);
    b.transport.addPeer(A, [a.url]);
    a.transport.addPeer(B, ["http://127.0.0.1:1", b.url]);
    await linked(a, b);
    a.transport.send([messageOf({ from: A, to: B })]);
    await until("arrives", () => b.received.length === 1);
  });

  test("to a removed peer or to nobody go nowhere", async () => {
    const [a, b] = await startPair();
    await linked(a, b);
    a.transport.removePeer(B);
    a.transport.send([messageOf({ from: A, to: B }), messageOf({ from: A, to: 0n })]);
    a.transport.removePeer(B);
    expect(a.transport.activeSinceMs(B)).toBeUndefined();
    expect(a.logged("skipped removing already removed peer")).toHaveLength(1);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(b.received).toEqual([]);
    expect(a.unreachable).toEqual([]);
  });
});

describe("membership", () => {
  test("a member that was removed is told by stream and by post, once", async () => {
    const [a, b] = await startPair();
    await linked(a, b);
    b.removedIDs.add(A);
    b.cutIncoming();
    await until("told", () => a.removals === 1);
    a.transport.send([messageOf({ from: A, to: B })]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(a.removals).toBe(1);
    expect(b.received).toEqual([]);
  });

  test("peers of different clusters refuse each other", async () => {
    const a = await start(A);
    const b = await start(B, { clusterID: 1n });
    introduce(a, b);
    const refused = "request sent was ignored by remote peer due to cluster ID mismatch";
    await until("refused", () => a.logged(refused).length > 0 && b.logged(refused).length > 0);
    a.transport.send([messageOf({ from: A, to: B })]);
    await until("reported", () => a.unreachable.length > 0);
    expect(b.received).toEqual([]);
    expect(a.removals).toBe(0);
    expect(a.transport.activeSinceMs(B)).toBeUndefined();
  });

  test("probes find a clock that is behind", async () => {
    const a = await start(A);
    const b = await start(B, { transport: { clock: new LateClock() } });
    introduce(a, b);
    const message = "prober found high clock drift";
    await until("told", () => a.logged(message).length > 0);
    expect(a.logged(message)[0]).toMatchObject({ "remote-peer-id": hexFromID(B) });
    const drift = String(a.logged(message)[0]!["clock-drift"]);
    expect(Number.parseFloat(drift)).toBeCloseTo(5, 0);
    // One that is ahead is found by the other.
    expect(b.logged(message)).toEqual([]);
  });

  test("probes measure the way there", async () => {
    const [a, b] = await startPair();
    await linked(a, b);
    const probed = (): boolean =>
      (a.metrics.value("etcd_network_peer_round_trip_time_seconds", { To: hexFromID(B) }) ?? 0) > 0;
    await until("reported", probed);
    expect(a.logged("prober detected unhealthy status")).toEqual([]);
    expect(a.logged("prober found high clock drift")).toEqual([]);
  });

  test("stop() ends everything and tells the member nothing afterwards", async () => {
    const [a, b] = await startPair();
    await linked(a, b);
    await a.transport.stop();
    const count = a.received.length;
    b.transport.send([messageOf({ from: B, to: A })]);
    a.transport.send([messageOf({ from: A, to: B })]);
    await until("B notices", () => b.transport.activeSinceMs(A) === undefined);
    expect(a.received.length).toBe(count);
    expect(b.received).toEqual([]);
    expect(a.unreachable).toEqual([]);
    await a.transport.stop();
  });
});

describe("snapshots", () => {
  const image = databaseImage(300);

  function imageOf(bytes: Uint8Array, closed: () => void, chunkBytes = 32 * 1024) {
    return {
      sizeBytes: bytes.length,
      async *chunks() {
        for (let at = 0; at < bytes.length; at += chunkBytes) {
          await new Promise((resolve) => setImmediate(resolve));
          yield bytes.subarray(at, at + chunkBytes);
        }
      },
      close: closed,
    };
  }

  test("arrive whole, are durable before raft knows, and are reported", async () => {
    const [a, b] = await startPair();
    let closes = 0;
    a.transport.sendSnapshot(
      snapshotMessage(A, B, 0x2a),
      imageOf(image, () => closes++),
    );
    await until("reported", () => a.snapshots.length === 1);
    expect(a.snapshots).toEqual([{ id: B, status: "finish" }]);
    expect(closes).toBe(1);
    expect(await b.databaseBytes(0x2a)).toBe(image.length);
    expect(await b.snapFiles()).toEqual(["000000000000002a.snap.db"]);
    expect(b.received.map(({ type }) => type)).toEqual(["MsgSnap"]);
    b.disk.crash();
    expect(await b.databaseBytes(0x2a)).toBe(image.length);
    const from = { From: hexFromID(A) };
    expect(b.metrics.value("etcd_network_snapshot_receive_success", from)).toBe(1);
    expect(b.metrics.value("etcd_network_snapshot_receive_inflights_total", from)).toBe(0);
    const to = { To: hexFromID(B) };
    expect(a.metrics.value("etcd_network_snapshot_send_success", to)).toBe(1);
    expect(a.metrics.value("etcd_network_snapshot_send_inflights_total", to)).toBe(0);
    expect(b.logged("received and saved database snapshot")).toHaveLength(1);
    expect(a.logged("sent database snapshot")).toHaveLength(1);
  });

  test("whose reader fails, or which are shorter than they say, fail on both sides", async () => {
    const [a, b] = await startPair();
    const broken = {
      ...imageOf(image, () => undefined),
      async *chunks(): AsyncGenerator<Uint8Array> {
        yield image.subarray(0, 100_000);
        await new Promise((resolve) => setTimeout(resolve, 30));
        throw new Error("disk failed");
      },
    };
    a.transport.sendSnapshot(snapshotMessage(A, B, 1), broken);
    const short = imageOf(image.subarray(0, image.length - 4096), () => undefined);
    a.transport.sendSnapshot(snapshotMessage(A, B, 2), { ...short, sizeBytes: image.length });
    // Complete as a request, but not as a database.
    a.transport.sendSnapshot(snapshotMessage(A, B, 3), short);
    const noDatabase = new Uint8Array(1000).fill(1);
    a.transport.sendSnapshot(
      snapshotMessage(A, B, 4),
      imageOf(noDatabase, () => undefined),
    );
    await until("all reported", () => a.snapshots.length === 4);
    expect(a.snapshots.every(({ status }) => status === "failure")).toBe(true);
    await until(
      "all refused",
      () => b.logged("failed to save incoming database snapshot").length === 4,
    );
    const errors = b.logged("failed to save incoming database snapshot");
    expect(errors.map(({ error }) => error).sort()).toEqual([
      "invalid database",
      "the image ended at 1224704 of 1228800 bytes",
      "unexpected EOF",
      "unexpected EOF",
    ]);
    expect(b.received).toEqual([]);
    expect(await b.snapFiles()).toEqual([]);
  });

  test("are sent no faster than they are taken, and not for ever", async () => {
    const a = await start(A, {
      transport: { timings: { snapshotStallTimeoutMs: 300, dialRetryMs: 20 } },
    });
    const mute = createServer({ pauseOnConnect: true });
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    a.transport.addPeer(B, [`http://127.0.0.1:${(mute.address() as AddressInfo).port}`]);
    let read = 0;
    const endless = {
      sizeBytes: 1e12,
      async *chunks() {
        for (;;) {
          read += 65_536;
          yield new Uint8Array(65_536);
        }
      },
      close: () => undefined,
    };
    a.transport.sendSnapshot(snapshotMessage(A, B, 5), endless);
    await until("reported", () => a.snapshots.length === 1);
    mute.close();
    expect(a.snapshots).toEqual([{ id: B, status: "failure" }]);
    expect(read).toBeLessThan(64 * 1024 * 1024);
    expect(a.logged("failed to send database snapshot")[0]?.["error"]).toBe("i/o timeout");
  });

  test("to nobody are closed; too many at once are refused", async () => {
    const [a] = await startPair();
    let closes = 0;
    a.transport.sendSnapshot(
      snapshotMessage(A, 5n, 1),
      imageOf(image, () => closes++),
    );
    expect(closes).toBe(1);
    const waiting = {
      sizeBytes: 10,
      async *chunks() {
        await new Promise((resolve) => setTimeout(resolve, 200));
        yield EMPTY_BYTES;
      },
      close: () => closes++,
    };
    for (let i = 0; i < 17; i++) a.transport.sendSnapshot(snapshotMessage(A, B, 100 + i), waiting);
    expect(closes).toBe(2);
    await until("all reported", () => a.snapshots.length === 17);
    expect(closes).toBe(18);
  });
});

test("a stream of garbage is dropped and dialed again", async () => {
  const a = await start(A);
  const garbage = await start(B);
  let dials = 0;
  garbage.transport.handle = (_pathname, _request, response) => {
    dials++;
    response.writeHead(200, { "X-Server-Version": "3.6.0" });
    response.write(new Uint8Array(64).fill(0xff));
  };
  a.transport.addPeer(B, [garbage.url]);
  await until("dialed again", () => dials >= 4);
  const lost = a.logged("lost TCP streaming connection with remote peer");
  expect(lost.some(({ error }) => error === "rafthttp: error limit exceeded")).toBe(true);
  expect(lost.some(({ error }) => error === "failed to parse type 255 in msgappv2 stream")).toBe(
    true,
  );
  expect(a.received).toEqual([]);
});

test("a stream that is silent is given up after the connection timeout", async () => {
  const a = await start(A, { transport: { timings: { connectionTimeoutMs: 200 } } });
  const silent = await start(B);
  silent.transport.handle = (_pathname, _request, response) => {
    response.writeHead(200, { "X-Server-Version": "3.6.0" });
    response.flushHeaders();
  };
  a.transport.addPeer(B, [silent.url]);
  await until("given up", () =>
    a
      .logged("lost TCP streaming connection with remote peer")
      .some(({ error }) => error === "read: i/o timeout"),
  );
});

test("a connection that sends no request is closed", async () => {
  const a = await start(A);
  const { port, hostname } = new URL(a.url);
  const startMs = performance.now();
  await new Promise((resolve) => connect(Number(port), hostname).on("close", resolve).resume());
  expect(performance.now() - startMs).toBeLessThan(30_000);
});
