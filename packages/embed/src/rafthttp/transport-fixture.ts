/**
 * Members without a server for tests: a transport behind a real listener on loopback, and a raft
 * that only remembers what it was told.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import type { AddressInfo, Server, Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EMPTY_BYTES, MemoryDisk, MemoryLogger, MemoryMetrics } from "@etcd-ts/base";
import type { Message } from "@etcd-ts/raft";
import { NodeClock } from "@etcd-ts/runtime";
import { Snapshotter } from "@etcd-ts/wal";
import { LINK_HEARTBEAT } from "./frames.ts";
import type { TransportTimings } from "./peer-context.ts";
import { PeerServer } from "./peer-server.ts";
import type { PeerTransportOptions } from "./transport.ts";
import { PeerTransportHTTP } from "./transport.ts";

export const CLUSTER_ID = 0xcdf8_1818_e328_03a3n;
const SNAP_DIRECTORY = "/member/snap";

/** Short enough for tests, long enough for a busy machine. */
const TIMINGS: Partial<TransportTimings> = {
  connectionTimeoutMs: 1500,
  dialRetryMs: 20,
  snapshotStallTimeoutMs: 3000,
  probeIntervalMs: 50,
  probeReportMs: 2000,
};

export interface TestMemberOptions {
  readonly clusterID?: bigint;
  /** A unix socket instead of TCP. */
  readonly isUnix?: boolean;
  readonly transport?: Partial<PeerTransportOptions>;
}

export class TestMember {
  readonly id: bigint;
  readonly url: string;
  readonly transport: PeerTransportHTTP;
  readonly disk: MemoryDisk;
  readonly logger = new MemoryLogger();
  readonly metrics = new MemoryMetrics();
  readonly received: Message[] = [];
  readonly unreachable: bigint[] = [];
  readonly snapshots: { id: bigint; status: string }[] = [];
  readonly removedIDs = new Set<bigint>();
  removals = 0;
  readonly sockets = new Set<Socket>();
  readonly #peerServer: PeerServer;
  #listener: Server;

  private constructor(
    id: bigint,
    url: string,
    listener: Server,
    disk: MemoryDisk,
    options: TestMemberOptions,
  ) {
    this.id = id;
    this.url = url;
    this.disk = disk;
    this.#listener = listener;
    const clock = new NodeClock();
    const { logger, metrics } = this;
    const snapshotter = new Snapshotter(disk, SNAP_DIRECTORY, { logger, metrics, clock });
    this.transport = new PeerTransportHTTP({
      identity: () => ({
        memberID: id,
        clusterID: options.clusterID ?? CLUSTER_ID,
        peerURLs: [url],
      }),
      clock,
      logger,
      metrics,
      saveSnapshotDatabase: (chunks, index) => snapshotter.saveDatabase(chunks, index),
      onMemberRemoved: () => {
        this.removals++;
      },
      timings: TIMINGS,
      ...options.transport,
    });
    this.#peerServer = new PeerServer({
      handler: (request, response) =>
        this.transport.handle(request.url?.split("?")[0] ?? "", request, response),
      clock,
      connectionTimeoutMs: 1500,
    });
    this.#serve();
    this.transport.start({
      step: (message) => this.received.push(message),
      isIDRemoved: (peer) => this.removedIDs.has(peer),
      reportUnreachable: (peer) => this.unreachable.push(peer),
      reportSnapshot: (peer, status) => this.snapshots.push({ id: peer, status }),
    });
  }

  static async start(id: bigint, options: TestMemberOptions = {}): Promise<TestMember> {
    const listener = createServer();
    const directory = options.isUnix === true ? mkdtempSync(join(tmpdir(), "peer-")) : undefined;
    if (directory !== undefined) {
      listener.once("close", () => rmSync(directory, { recursive: true, force: true }));
    }
    const path = directory === undefined ? undefined : join(directory, "socket");
    await new Promise<void>((resolve) => {
      if (path === undefined) listener.listen(0, "127.0.0.1", resolve);
      else listener.listen(path, resolve);
    });
    const url =
      path === undefined
        ? `http://127.0.0.1:${(listener.address() as AddressInfo).port}`
        : `unix://${path}`;
    const disk = new MemoryDisk();
    await disk.makeDirectory(SNAP_DIRECTORY);
    await disk.syncDirectory("/");
    await disk.syncDirectory("/member");
    return new TestMember(id, url, listener, disk, options);
  }

  #serve(): void {
    this.#listener.on("connection", (socket) => {
      this.sockets.add(socket);
      socket.once("close", () => this.sockets.delete(socket));
      this.#peerServer.handleConnection(socket);
    });
  }

  /** Breaks every connection others have made to this member. */
  cutIncoming(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** Takes no more connections and breaks the ones there are. */
  async goOffline(): Promise<void> {
    const closed = new Promise((resolve) => this.#listener.close(resolve));
    this.cutIncoming();
    await closed;
  }

  async comeBack(): Promise<void> {
    const { port } = new URL(this.url);
    this.#listener = createServer();
    this.#serve();
    await new Promise<void>((resolve) => this.#listener.listen(Number(port), "127.0.0.1", resolve));
  }

  logged(message: string): readonly { readonly [name: string]: unknown }[] {
    return this.logger.events
      .filter((event) => event.message === message)
      .map(({ fields }) => fields as { readonly [name: string]: unknown });
  }

  async databaseBytes(index: number): Promise<number | undefined> {
    const name = `${index.toString(16).padStart(16, "0")}.snap.db`;
    return (await this.disk.stat(`${SNAP_DIRECTORY}/${name}`))?.sizeBytes;
  }

  snapFiles(): Promise<string[]> {
    return this.disk.list(SNAP_DIRECTORY);
  }

  async stop(): Promise<void> {
    await this.transport.stop();
    await this.#peerServer.close(0);
    this.cutIncoming();
    await new Promise((resolve) => this.#listener.close(resolve));
  }
}

/** Makes each of them a peer of the others. */
export function introduce(...members: readonly TestMember[]): void {
  for (const member of members) {
    for (const other of members) {
      if (other !== member) member.transport.addPeer(other.id, [other.url]);
    }
  }
}

/** Fails after 10 s. */
export async function until(what: string, isReached: () => boolean): Promise<void> {
  const endMs = performance.now() + 30_000;
  while (!isReached()) {
    if (performance.now() > endMs) throw new Error(`not reached: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function messageOf(fields: Partial<Message> & Pick<Message, "from" | "to">): Message {
  return { ...LINK_HEARTBEAT, type: "MsgAppResp", term: 1, ...fields };
}

export function snapshotMessage(from: bigint, to: bigint, index: number): Message {
  const confState = {
    voters: [from, to],
    learners: [],
    votersOutgoing: [],
    learnersNext: [],
    autoLeave: false,
  };
  return messageOf({
    type: "MsgSnap",
    from,
    to,
    snapshot: { data: EMPTY_BYTES, metadata: { confState, index, term: 1 } },
  });
}

const PAGE_BYTES = 4096;

/** The head of a bbolt file of so many pages, then other bytes. */
export function databaseImage(pages: number): Uint8Array {
  const image = new Uint8Array(pages * PAGE_BYTES).map((_, i) => i % 251);
  const view = new DataView(image.buffer);
  view.setUint32(16, 0xed0cdaed, true);
  view.setUint32(20, 2, true);
  view.setUint32(24, PAGE_BYTES, true);
  view.setBigUint64(56, BigInt(pages), true);
  return image;
}
