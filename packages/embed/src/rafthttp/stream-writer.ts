/**
 * The sending side of one stream to one peer: an answer of ours that never ends.
 *
 * Invariants:
 * - At most one connection is attached; a newer one takes the place of the older, which is closed.
 * - Messages are encoded in the order they were offered. What is encoded but not taken by the
 *   socket stays near `STREAM_BUFFER_BYTES_MAX`; the rest waits unencoded, at most
 *   `STREAM_QUEUE_MESSAGES_MAX`, and what does not fit is refused.
 * - Messages that wait when the connection breaks are dropped, and raft is told.
 */

import type { ServerResponse } from "node:http";
import { hexFromID, RingBuffer, unreachable, WireWriter } from "@etcd-ts/base";
import type { Timer } from "@etcd-ts/base";
import type { Message } from "@etcd-ts/raft";
import { LINK_HEARTBEAT, messageBytesEstimate, STREAM_NAMES } from "./frames.ts";
import type { StreamEncoder, StreamType } from "./frames.ts";
import {
  LINK_HEARTBEATS_PER_TIMEOUT,
  STREAM_BUFFER_BYTES_MAX,
  STREAM_QUEUE_MESSAGES_MAX,
} from "./limits.ts";
import { MessageStreamEncoder } from "./message-stream.ts";
import { MsgAppStreamEncoder } from "./msgapp-stream.ts";
import type { PeerContext } from "./peer-context.ts";
import type { PeerFailure, PeerStatus } from "./peer-status.ts";

interface Outgoing {
  readonly response: ServerResponse;
  readonly encoder: StreamEncoder;
  /** When the socket stopped taking bytes; undefined while it takes them. */
  blockedSinceMs: number | undefined;
}

export class StreamWriter {
  readonly #context: PeerContext;
  readonly #peerID: bigint;
  readonly #type: StreamType;
  readonly #status: PeerStatus;
  readonly #waiting = new RingBuffer<Message>(STREAM_QUEUE_MESSAGES_MAX);
  #outgoing: Outgoing | undefined;
  #heartbeat: Timer | undefined;
  #isStopped = false;

  constructor(context: PeerContext, peerID: bigint, type: StreamType, status: PeerStatus) {
    this.#context = context;
    this.#peerID = peerID;
    this.#type = type;
    this.#status = status;
    context.logger.info("started stream writer with remote peer", {
      "local-member-id": hexFromID(context.identity.memberID),
      "remote-peer-id": hexFromID(peerID),
    });
  }

  get name(): string {
    return this.#type === "msgapp" ? "streamMsgAppV2" : "streamMsg";
  }

  /** Whether a connection is attached. */
  get isWorking(): boolean {
    return this.#outgoing !== undefined;
  }

  /** Queues a message until `flush`; false if there is no room. */
  offer(message: Message): boolean {
    return this.#waiting.push(message);
  }

  /** Encodes what waits, as much as the socket takes. */
  flush(): void {
    const outgoing = this.#outgoing;
    if (outgoing === undefined) return;
    while (this.#waiting.size > 0 && outgoing.blockedSinceMs === undefined) {
      const batch: Message[] = [];
      let bytes = 0;
      while (bytes < STREAM_BUFFER_BYTES_MAX) {
        const message = this.#waiting.shift();
        if (message === undefined) break;
        bytes += messageBytesEstimate(message);
        batch.push(message);
      }
      this.#write(outgoing, batch, bytes);
    }
  }

  #write(outgoing: Outgoing, messages: readonly Message[], bytesEstimate: number): void {
    // Its memory is handed to the socket, so it is not used again.
    const writer = new WireWriter(bytesEstimate);
    for (const message of messages) outgoing.encoder.encode(message, writer);
    const bytes = writer.view();
    const { response } = outgoing;
    const isTaken = response.write(bytes);
    if (!isTaken && response.writableLength >= STREAM_BUFFER_BYTES_MAX) {
      outgoing.blockedSinceMs = this.#context.clock.monotonicMs();
    }
    this.#context.metrics.sentBytes.labels({ To: hexFromID(this.#peerID) }).inc(bytes.length);
  }

  /** Takes over an answer whose head has been sent. */
  attach(response: ServerResponse): void {
    if (this.#isStopped) {
      response.destroy();
      return;
    }
    const hadConnection = this.#detach();
    const { logger, identity } = this.#context;
    const local = hexFromID(identity.memberID);
    const peer = hexFromID(this.#peerID);
    const encoder = createEncoder(this.#type);
    const outgoing: Outgoing = { response, encoder, blockedSinceMs: undefined };
    this.#outgoing = outgoing;
    logger.info("set message encoder", {
      from: local,
      to: peer,
      "stream-type": STREAM_NAMES[this.#type],
    });
    this.#status.activate();
    if (hadConnection) this.#logClosed();
    logger.info("established TCP streaming connection with remote peer", this.#fields());
    response.on("drain", () => {
      outgoing.blockedSinceMs = undefined;
      if (this.#outgoing === outgoing) this.flush();
    });
    response.on("error", (error) => this.#lost(outgoing, "write", error.message));
    response.on("close", () => this.#lost(outgoing, "write", "connection closed"));
    this.#beat(outgoing);
  }

  /** Now and again, so that the other side sees the link lives; finds links that are stuck. */
  #beat(outgoing: Outgoing): void {
    const { clock, timings } = this.#context;
    const { connectionTimeoutMs } = timings;
    this.#heartbeat?.cancel();
    if (outgoing.blockedSinceMs !== undefined) {
      if (clock.monotonicMs() - outgoing.blockedSinceMs >= connectionTimeoutMs) {
        this.#lost(outgoing, "heartbeat", "i/o timeout");
        return;
      }
    } else this.#write(outgoing, [LINK_HEARTBEAT], 64);
    this.#heartbeat = clock.setTimer(connectionTimeoutMs / LINK_HEARTBEATS_PER_TIMEOUT, () => {
      if (this.#outgoing === outgoing) this.#beat(outgoing);
    });
  }

  #lost(outgoing: Outgoing, action: PeerFailure["action"], reason: string): void {
    if (this.#outgoing !== outgoing) return;
    const { logger, metrics } = this.#context;
    this.#status.deactivate({ source: STREAM_NAMES[this.#type], action }, reason);
    metrics.sentFailures.labels({ To: hexFromID(this.#peerID) }).inc();
    this.#detach();
    logger.warn("lost TCP streaming connection with remote peer", this.#fields());
  }

  /** @returns whether there was a connection */
  #detach(): boolean {
    const outgoing = this.#outgoing;
    if (outgoing === undefined) return false;
    this.#outgoing = undefined;
    this.#heartbeat?.cancel();
    outgoing.response.destroy();
    if (this.#waiting.size > 0) {
      this.#waiting.clear();
      this.#context.inbound.reportUnreachable(this.#peerID);
    }
    return true;
  }

  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    if (this.#detach()) this.#logClosed();
    this.#context.logger.info("stopped TCP streaming connection with remote peer", this.#fields());
  }

  #logClosed(): void {
    this.#context.logger.warn("closed TCP streaming connection with remote peer", this.#fields());
  }

  #fields(): { readonly [name: string]: string } {
    return {
      "stream-writer-type": STREAM_NAMES[this.#type],
      "local-member-id": hexFromID(this.#context.identity.memberID),
      "remote-peer-id": hexFromID(this.#peerID),
    };
  }
}

function createEncoder(type: StreamType): StreamEncoder {
  switch (type) {
    case "message":
      return new MessageStreamEncoder();
    case "msgapp":
      return new MsgAppStreamEncoder();
    default:
      return unreachable(type, "createEncoder");
  }
}
