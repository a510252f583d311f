/**
 * Sends a whole database to one peer: the message, then the image as its reader brings it, no
 * faster than the peer takes it.
 *
 * Invariants: each transfer ends with exactly one report to raft and with its image closed; a
 * transfer that does not move for `snapshotStallTimeoutMs` has failed.
 */

import { once, setMaxListeners } from "node:events";
import type { ClientRequest } from "node:http";
import { EtcdError, hexFromID, NetworkError, WireWriter } from "@etcd-ts/base";
import type { Timer } from "@etcd-ts/base";
import type { Message } from "@etcd-ts/raft";
import { formatBytes } from "../v3rpc/texts.ts";
import { encodeMessageFrame, messageBytesEstimate } from "./frames.ts";
import { readBody, responseOf } from "./http-client.ts";
import type { PeerRequest } from "./http-client.ts";
import {
  SMALL_RESPONSE_BYTES_MAX,
  SNAPSHOT_PROGRESS_INTERVAL_MS,
  SNAPSHOT_SENDS_MAX,
} from "./limits.ts";
import { errorText } from "./peer-context.ts";
import type { PeerContext } from "./peer-context.ts";
import type { PeerStatus } from "./peer-status.ts";
import { checkPostResponse, postHeaders } from "./post.ts";
import type { URLPicker } from "./url-picker.ts";

/** A database image that is read once; `BackendSnapshot` is one. */
export interface SnapshotImage {
  readonly sizeBytes: number;
  /** Exactly `sizeBytes`, in chunks that belong to the caller. */
  chunks(): AsyncIterable<Uint8Array>;
  close(): void;
}

/** An image that turned out shorter or longer than it said. */
class ImageSizeError extends EtcdError {
  readonly code = "IMAGE_SIZE";
}

export class SnapshotSender {
  readonly #context: PeerContext;
  readonly #peerID: bigint;
  readonly #picker: URLPicker;
  readonly #status: PeerStatus;
  readonly #stopping = new AbortController();

  constructor(context: PeerContext, peerID: bigint, picker: URLPicker, status: PeerStatus) {
    this.#context = context;
    this.#peerID = peerID;
    this.#picker = picker;
    this.#status = status;
    setMaxListeners(SNAPSHOT_SENDS_MAX, this.#stopping.signal);
  }

  /** Resolves when the transfer is over, whatever its outcome. */
  async send(message: Message, image: SnapshotImage): Promise<void> {
    const { clock, inbound, logger, metrics } = this.#context;
    const startMs = clock.monotonicMs();
    const to = { To: hexFromID(this.#peerID) };
    const head = encodeHead(message);
    const totalBytes = head.length + image.sizeBytes;
    const fields = {
      "snapshot-index": message.snapshot?.metadata.index ?? 0,
      "remote-peer-id": to.To,
      bytes: totalBytes,
      size: formatBytes(totalBytes),
    };
    logger.info("sending database snapshot", fields);
    metrics.snapshotSendInflights.labels(to).add(1);
    const url = this.#picker.pick();
    try {
      await this.#post(url, head, image);
    } catch (error) {
      if (this.#stopping.signal.aborted) return;
      logger.warn("failed to send database snapshot", { ...fields, error: errorText(error) });
      this.#picker.unreachable(url);
      this.#status.deactivate({ source: "sendMsgSnap", action: "post" }, errorText(error));
      inbound.reportUnreachable(message.to);
      inbound.reportSnapshot(message.to, "failure");
      metrics.sentFailures.labels(to).inc();
      metrics.snapshotSendFailures.labels(to).inc();
      return;
    } finally {
      metrics.snapshotSendInflights.labels(to).add(-1);
      image.close();
    }
    this.#status.activate();
    inbound.reportSnapshot(message.to, "finish");
    logger.info("sent database snapshot", fields);
    metrics.sentBytes.labels(to).inc(totalBytes);
    metrics.snapshotSendSuccess.labels(to).inc();
    metrics.snapshotSendSeconds.labels(to).observe((clock.monotonicMs() - startMs) / 1000);
  }

  async #post(url: PeerRequest["url"], head: Uint8Array, image: SnapshotImage): Promise<void> {
    const { identity, pipelineClient } = this.#context;
    const headers = postHeaders(identity, "application/octet-stream");
    const request: PeerRequest = { url, path: "/raft/snapshot", method: "POST", headers };
    const transfer = new Transfer(this.#context, this.#peerID, this.#stopping.signal);
    try {
      const sent = pipelineClient.begin(request, transfer.signal);
      const answered = responseOf(sent, request);
      // A peer may refuse before it has read everything; its answer ends the writing.
      const writing = writeImage(sent, head, image, transfer);
      writing.catch(() => undefined);
      const response = await Promise.race([answered, writing.then(() => answered)]);
      const body = await readBody(response, SMALL_RESPONSE_BYTES_MAX);
      const { statusCode: status = 0, headers: responseHeaders } = response;
      checkPostResponse(this.#context, this.#peerID, request, {
        status,
        headers: responseHeaders,
        body,
      });
      await writing;
    } catch (error) {
      throw transfer.isStalled ? new NetworkError("TIMED_OUT", "i/o timeout") : error;
    } finally {
      transfer.end();
    }
  }

  /** Breaks off what is on its way. */
  stop(): void {
    this.#stopping.abort();
  }
}

function encodeHead(message: Message): Uint8Array {
  const writer = new WireWriter(messageBytesEstimate(message));
  encodeMessageFrame(message, writer);
  return writer.view();
}

async function writeImage(
  sent: ClientRequest,
  head: Uint8Array,
  image: SnapshotImage,
  transfer: Transfer,
): Promise<void> {
  sent.write(head);
  let bytes = 0;
  for await (const chunk of image.chunks()) {
    bytes += chunk.length;
    if (bytes > image.sizeBytes) throw new ImageSizeError(`image exceeds ${image.sizeBytes} bytes`);
    if (!sent.write(chunk)) await once(sent, "drain", { signal: transfer.signal });
    transfer.moved(bytes, image.sizeBytes);
  }
  if (bytes !== image.sizeBytes) {
    throw new ImageSizeError(`image ended at ${bytes} of ${image.sizeBytes} bytes`);
  }
  sent.end();
}

/** One transfer on its way: notices when it stalls, and tells the log how far it is. */
class Transfer {
  readonly #context: PeerContext;
  readonly #peerID: bigint;
  readonly #ending = new AbortController();
  readonly #stopping: AbortSignal;
  readonly #abort = (): void => this.#ending.abort();
  #lastMs: number;
  #loggedMs: number;
  #timer: Timer | undefined;
  #isStalled = false;

  constructor(context: PeerContext, peerID: bigint, stopping: AbortSignal) {
    this.#context = context;
    this.#peerID = peerID;
    this.#stopping = stopping;
    this.#lastMs = context.clock.monotonicMs();
    this.#loggedMs = this.#lastMs;
    if (stopping.aborted) this.#abort();
    stopping.addEventListener("abort", this.#abort, { once: true });
    this.#watch();
  }

  get signal(): AbortSignal {
    return this.#ending.signal;
  }

  get isStalled(): boolean {
    return this.#isStalled;
  }

  moved(bytes: number, totalBytes: number): void {
    const { clock, logger } = this.#context;
    this.#lastMs = clock.monotonicMs();
    if (this.#lastMs - this.#loggedMs < SNAPSHOT_PROGRESS_INTERVAL_MS) return;
    this.#loggedMs = this.#lastMs;
    logger.info("sending database snapshot: progress", {
      "remote-peer-id": hexFromID(this.#peerID),
      bytes,
      "total-bytes": totalBytes,
    });
  }

  #watch(): void {
    const { clock, timings } = this.#context;
    const leftMs = this.#lastMs + timings.snapshotStallTimeoutMs - clock.monotonicMs();
    if (leftMs > 0) {
      this.#timer = clock.setTimer(leftMs, () => this.#watch());
      return;
    }
    this.#isStalled = true;
    this.#ending.abort();
  }

  /** Breaks off what is left of it. */
  end(): void {
    this.#timer?.cancel();
    this.#stopping.removeEventListener("abort", this.#abort);
    this.#ending.abort();
  }
}
