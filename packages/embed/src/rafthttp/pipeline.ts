/**
 * Messages as single posts: for what must not hold up a stream, and while there is no stream.
 *
 * Invariants: at most `PIPELINE_WORKERS` posts are open and `PIPELINE_QUEUE_MESSAGES_MAX` messages
 * wait; each message taken is either accepted by the peer or reported to raft as not delivered.
 */

import { encodeMessage, hexFromID, RingBuffer } from "@etcd-ts/base";
import { MessageCodec } from "@etcd-ts/raft";
import type { Message } from "@etcd-ts/raft";
import {
  PIPELINE_QUEUE_MESSAGES_MAX,
  PIPELINE_WORKERS,
  SMALL_RESPONSE_BYTES_MAX,
} from "./limits.ts";
import { errorText } from "./peer-context.ts";
import type { PeerContext } from "./peer-context.ts";
import type { PeerStatus } from "./peer-status.ts";
import { checkPostResponse, postHeaders } from "./post.ts";
import type { URLPicker } from "./url-picker.ts";

export class Pipeline {
  readonly #context: PeerContext;
  readonly #peerID: bigint;
  readonly #picker: URLPicker;
  readonly #status: PeerStatus;
  readonly #waiting = new RingBuffer<Message>(PIPELINE_QUEUE_MESSAGES_MAX);
  readonly #stopping = new AbortController();
  readonly #workers = new Set<Promise<void>>();

  constructor(context: PeerContext, peerID: bigint, picker: URLPicker, status: PeerStatus) {
    this.#context = context;
    this.#peerID = peerID;
    this.#picker = picker;
    this.#status = status;
    context.logger.info("started HTTP pipelining with remote peer", this.#ids());
  }

  /** False if there is no room. */
  offer(message: Message): boolean {
    if (this.#stopping.signal.aborted || !this.#waiting.push(message)) return false;
    if (this.#workers.size < PIPELINE_WORKERS) {
      const worker: Promise<void> = this.#work().finally(() => this.#workers.delete(worker));
      this.#workers.add(worker);
    }
    return true;
  }

  async #work(): Promise<void> {
    for (;;) {
      const message = this.#waiting.shift();
      if (message === undefined || this.#stopping.signal.aborted) return;
      await this.#deliver(message);
    }
  }

  async #deliver(message: Message): Promise<void> {
    const { inbound, metrics } = this.#context;
    const to = { To: hexFromID(this.#peerID) };
    const body = encodeMessage(MessageCodec, message);
    try {
      await this.#post(body);
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      this.#status.deactivate({ source: "pipeline", action: "write" }, errorText(error));
      inbound.reportUnreachable(message.to);
      if (message.type === "MsgSnap") inbound.reportSnapshot(message.to, "failure");
      metrics.sentFailures.labels(to).inc();
      return;
    }
    if (this.#stopping.signal.aborted) return;
    this.#status.activate();
    if (message.type === "MsgSnap") inbound.reportSnapshot(message.to, "finish");
    metrics.sentBytes.labels(to).inc(body.length);
  }

  async #post(body: Uint8Array): Promise<void> {
    const { identity, pipelineClient, timings } = this.#context;
    const url = this.#picker.pick();
    const headers = postHeaders(identity, "application/protobuf");
    const request = { url, path: "/raft", method: "POST", headers, body } as const;
    try {
      const response = await pipelineClient.ask(request, {
        timeoutMs: timings.pipelineTimeoutMs,
        bytesMax: SMALL_RESPONSE_BYTES_MAX,
        signal: this.#stopping.signal,
      });
      checkPostResponse(this.#context, this.#peerID, request, response);
    } catch (error) {
      this.#picker.unreachable(url);
      throw error;
    }
  }

  /** Drops what waits and breaks off what is open. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#waiting.clear();
    await Promise.all(this.#workers);
    this.#context.logger.info("stopped HTTP pipelining with remote peer", this.#ids());
  }

  #ids(): { readonly [name: string]: string } {
    return {
      "local-member-id": hexFromID(this.#context.identity.memberID),
      "remote-peer-id": hexFromID(this.#peerID),
    };
  }
}
