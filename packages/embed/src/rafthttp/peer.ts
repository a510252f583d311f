/**
 * Another member, with all the ways to reach it: two streams each way, a pipeline, snapshots, two
 * probes. A `RemotePeer` is a sender that is not a member (yet): it is only answered, by posts.
 *
 * Which way a message goes: `MsgSnap` by pipeline, so that it holds up nothing; `MsgApp` by the
 * stream of appends; all else by the stream of messages; by pipeline while the stream is missing.
 */

import type { ServerResponse } from "node:http";
import { hexFromID } from "@etcd-ts/base";
import type { Message } from "@etcd-ts/raft";
import type { StreamType } from "./frames.ts";
import type { PeerContext } from "./peer-context.ts";
import { PeerStatus } from "./peer-status.ts";
import { Pipeline } from "./pipeline.ts";
import { Prober } from "./prober.ts";
import { SnapshotSender } from "./snapshot-sender.ts";
import type { SnapshotImage } from "./snapshot-sender.ts";
import { StreamReader } from "./stream-reader.ts";
import { StreamWriter } from "./stream-writer.ts";
import { URLPicker } from "./url-picker.ts";
import type { PeerURL } from "./url-picker.ts";

export class MemberPeer {
  readonly id: bigint;
  readonly #context: PeerContext;
  readonly #status: PeerStatus;
  readonly #picker: URLPicker;
  readonly #pipeline: Pipeline;
  readonly #snapshots: SnapshotSender;
  readonly #writers: { readonly [type in StreamType]: StreamWriter };
  readonly #readers: readonly StreamReader[];
  #probers: readonly Prober[];

  constructor(context: PeerContext, id: bigint, urls: readonly PeerURL[]) {
    context.logger.info("starting remote peer", { "remote-peer-id": hexFromID(id) });
    this.id = id;
    this.#context = context;
    this.#status = new PeerStatus(context, id);
    this.#picker = new URLPicker(urls);
    const reach = [this.#picker, this.#status] as const;
    this.#pipeline = new Pipeline(context, id, ...reach);
    this.#snapshots = new SnapshotSender(context, id, ...reach);
    this.#writers = {
      msgapp: new StreamWriter(context, id, "msgapp", this.#status),
      message: new StreamWriter(context, id, "message", this.#status),
    };
    this.#readers = [
      new StreamReader(context, id, "msgapp", ...reach),
      new StreamReader(context, id, "message", ...reach),
    ];
    this.#probers = this.#createProbers();
    context.logger.info("started remote peer", { "remote-peer-id": hexFromID(id) });
  }

  get urls(): readonly PeerURL[] {
    return this.#picker.urls;
  }

  get activeSinceMs(): number | undefined {
    return this.#status.activeSinceMs;
  }

  /** Without a stream messages go by posts, as long as those are taken. */
  get isReachable(): boolean {
    return this.#writers.message.isWorking || this.#status.isActive;
  }

  /** Queues a message until `flush`, or drops it and tells raft. */
  send(message: Message): void {
    const way = this.#pick(message);
    if (way.offer(message)) return;
    const { identity, inbound, clock, logger, metrics } = this.#context;
    // Raft is in the middle of handing out its messages.
    clock.nextTurn(() => {
      inbound.reportUnreachable(message.to);
      if (message.type === "MsgSnap") inbound.reportSnapshot(message.to, "failure");
    });
    logger.warn("dropped internal Raft message since sending buffer is full", {
      "message-type": message.type,
      "local-member-id": hexFromID(identity.memberID),
      from: hexFromID(message.from),
      "remote-peer-id": hexFromID(this.id),
      "remote-peer-name": way instanceof StreamWriter ? way.name : "pipeline",
      "remote-peer-active": this.#status.isActive,
    });
    metrics.sentFailures.labels({ To: hexFromID(this.id) }).inc();
  }

  #pick(message: Message): StreamWriter | Pipeline {
    if (message.type === "MsgSnap") return this.#pipeline;
    const { msgapp, message: other } = this.#writers;
    if (message.type === "MsgApp" && msgapp.isWorking) return msgapp;
    return other.isWorking ? other : this.#pipeline;
  }

  /** Hands what was sent to the sockets. */
  flush(): void {
    this.#writers.msgapp.flush();
    this.#writers.message.flush();
  }

  sendSnapshot(message: Message, image: SnapshotImage): Promise<void> {
    return this.#snapshots.send(message, image);
  }

  /** Takes over the answer to a dial of the peer. */
  attach(type: StreamType, response: ServerResponse): void {
    this.#writers[type].attach(response);
  }

  update(urls: readonly PeerURL[]): void {
    this.#picker.update(urls);
    for (const prober of this.#probers) prober.stop();
    this.#probers = this.#createProbers();
  }

  #createProbers(): readonly Prober[] {
    return (["ROUND_TRIPPER_SNAPSHOT", "ROUND_TRIPPER_RAFT_MESSAGE"] as const).map(
      (name) => new Prober(this.#context, this.id, this.#picker.urls, name),
    );
  }

  /** Closes all connections; resolves when nothing of it runs any more. */
  async stop(): Promise<void> {
    const { logger } = this.#context;
    logger.info("stopping remote peer", { "remote-peer-id": hexFromID(this.id) });
    this.#writers.msgapp.stop();
    this.#writers.message.stop();
    this.#snapshots.stop();
    for (const prober of this.#probers) prober.stop();
    await Promise.all([this.#pipeline.stop(), ...this.#readers.map((reader) => reader.stop())]);
    this.#status.forget();
    logger.info("stopped remote peer", { "remote-peer-id": hexFromID(this.id) });
  }
}

export class RemotePeer {
  readonly id: bigint;
  readonly #context: PeerContext;
  readonly #status: PeerStatus;
  readonly #pipeline: Pipeline;

  constructor(context: PeerContext, id: bigint, urls: readonly PeerURL[]) {
    this.id = id;
    this.#context = context;
    this.#status = new PeerStatus(context, id);
    this.#pipeline = new Pipeline(context, id, new URLPicker(urls), this.#status);
  }

  /** Queues a message, or drops it: nobody waits for what a stranger misses. */
  send(message: Message): void {
    if (this.#pipeline.offer(message)) return;
    const { identity, logger, metrics } = this.#context;
    const isActive = this.#status.isActive;
    logger.warn(
      `dropped ${isActive ? "internal " : ""}Raft message since sending buffer is full (overloaded network)`,
      {
        "message-type": message.type,
        "local-member-id": hexFromID(identity.memberID),
        from: hexFromID(message.from),
        "remote-peer-id": hexFromID(this.id),
        "remote-peer-active": isActive,
      },
    );
    metrics.sentFailures.labels({ To: hexFromID(this.id) }).inc();
  }

  async stop(): Promise<void> {
    await this.#pipeline.stop();
    this.#status.forget();
  }
}
