/**
 * Takes a database from the leader: the message in front of it, then the image, straight to disk.
 *
 * Invariants:
 * - Raft sees the message only after the image is durable under its final name.
 * - At most one image of an index, and `SNAPSHOT_RECEIVES_MAX` in all, are on their way in.
 * - An image that ends before the size its own head tells is not kept.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { encodeMessage, EtcdError, hexFromID, formatGoDuration } from "@etcd-ts/base";
import { MessageCodec } from "@etcd-ts/raft";
import type { Message } from "@etcd-ts/raft";
import { formatBytes } from "../v3rpc/texts.ts";
import {
  SNAPSHOT_MESSAGE_BYTES_MAX,
  SNAPSHOT_PROGRESS_INTERVAL_MS,
  SNAPSHOT_RECEIVES_MAX,
} from "./limits.ts";
import { MessageStreamDecoder } from "./message-stream.ts";
import { UNKNOWN_PEER } from "./metrics.ts";
import { errorText, processMessage, refusalOfMessage } from "./peer-context.ts";
import type { PeerContext, ProcessRefusal } from "./peer-context.ts";
import { bodyChunks, refuse } from "./request-body.ts";

/** Keeps an image as `<index>.snap.db`, durably; resolves to its size. */
export type SaveSnapshotDatabase = (
  chunks: AsyncIterable<Uint8Array>,
  index: number,
) => Promise<number>;

/** An image that is refused before it is kept. */
class ImageRefusedError extends EtcdError {
  readonly code = "IMAGE_REFUSED";
}

interface Incoming {
  readonly message: Message;
  /** For labels. */
  readonly from: string;
  readonly index: number;
  readonly image: AsyncIterable<Uint8Array>;
}

export class SnapshotReceiver {
  readonly #context: PeerContext;
  readonly #save: SaveSnapshotDatabase;
  readonly #isKnown: (id: bigint) => boolean;
  readonly #receiving = new Set<number>();

  /** @param isKnown - whether an id belongs in the labels of metrics */
  constructor(context: PeerContext, save: SaveSnapshotDatabase, isKnown: (id: bigint) => boolean) {
    this.#context = context;
    this.#save = save;
    this.#isKnown = isKnown;
  }

  /** Answers a request whose headers have been accepted. */
  async receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { clock, metrics, identity } = this.#context;
    const startMs = clock.monotonicMs();
    const incoming = await this.#readHead(request, response);
    if (incoming === undefined) return;
    const { message, from } = incoming;
    const local = { "local-member-id": hexFromID(identity.memberID) };
    if (message.type !== "MsgSnap" || message.snapshot === undefined) {
      this.#context.logger.warn("unexpected Raft message type", {
        ...local,
        "remote-snapshot-sender-id": hexFromID(message.from),
        "message-type": message.type,
      });
      refuse(request, response, 400, "wrong raft message type");
      metrics.snapshotReceiveFailures.labels({ From: from }).inc();
      return;
    }
    const refusal = refusalOfMessage(this.#context, message);
    if (refusal !== undefined) {
      this.#refuse(incoming, request, response, refusal);
      return;
    }
    metrics.snapshotReceiveInflights.labels({ From: from }).add(1);
    try {
      if (!(await this.#keep(incoming, request, response, startMs))) return;
    } finally {
      metrics.snapshotReceiveInflights.labels({ From: from }).add(-1);
    }
    const lateRefusal = processMessage(this.#context, message);
    if (lateRefusal !== undefined) {
      this.#refuse(incoming, request, response, lateRefusal);
      return;
    }
    response.writeHead(204);
    response.end();
    metrics.snapshotReceiveSuccess.labels({ From: from }).inc();
    metrics.snapshotReceiveSeconds
      .labels({ From: from })
      .observe((clock.monotonicMs() - startMs) / 1000);
  }

  #refuse(
    { message, from }: Incoming,
    request: IncomingMessage,
    response: ServerResponse,
    refusal: ProcessRefusal,
  ): void {
    const { identity, logger, metrics } = this.#context;
    logger.warn("failed to process Raft message", {
      "local-member-id": hexFromID(identity.memberID),
      "remote-snapshot-sender-id": hexFromID(message.from),
      error: refusal,
    });
    refuse(request, response, 500, `failed to process raft message (${refusal})`);
    metrics.snapshotReceiveFailures.labels({ From: from }).inc();
  }

  /** Reads the message; on failure answers, and is undefined. */
  async #readHead(
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<Incoming | undefined> {
    const { clock, timings, identity, logger, metrics } = this.#context;
    const chunks = bodyChunks(request, clock, timings.connectionTimeoutMs);
    const decoder = new MessageStreamDecoder(SNAPSHOT_MESSAGE_BYTES_MAX);
    try {
      for (;;) {
        const decoded = decoder.next();
        if (decoded !== undefined) {
          const { message, sizeBytes } = decoded;
          const from = this.#isKnown(message.from) ? hexFromID(message.from) : UNKNOWN_PEER;
          metrics.receivedBytes.labels({ From: from }).inc(sizeBytes);
          const index = message.snapshot?.metadata.index ?? 0;
          return { message, from, index, image: rest(decoder.rest(), chunks) };
        }
        const next = await chunks.next();
        if (next.done === true) {
          throw new ImageRefusedError(decoder.isEmpty ? "EOF" : "unexpected EOF");
        }
        decoder.push(next.value);
      }
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      logger.warn("failed to decode Raft message", {
        "local-member-id": hexFromID(identity.memberID),
        error: error.message,
      });
      refuse(request, response, 400, `failed to decode raft message (${error.message})`);
      metrics.receivedFailures.labels({ From: UNKNOWN_PEER }).inc();
      metrics.snapshotReceiveFailures.labels({ From: UNKNOWN_PEER }).inc();
      return undefined;
    }
  }

  /** Writes the image to disk; on failure answers, and is false. */
  async #keep(
    incoming: Incoming,
    request: IncomingMessage,
    response: ServerResponse,
    startMs: number,
  ): Promise<boolean> {
    const { clock, identity, logger, metrics } = this.#context;
    const { message, from, index } = incoming;
    const fields = {
      "local-member-id": hexFromID(identity.memberID),
      "remote-snapshot-sender-id": hexFromID(message.from),
      "incoming-snapshot-index": index,
    };
    const messageBytes = encodeMessage(MessageCodec, message).length;
    logger.info("receiving database snapshot", {
      ...fields,
      "incoming-snapshot-message-size-bytes": messageBytes,
      "incoming-snapshot-message-size": formatBytes(messageBytes),
    });
    try {
      const bytes = await this.#saveOnce(incoming);
      metrics.receivedBytes.labels({ From: from }).inc(bytes);
      logger.info("received and saved database snapshot", {
        ...fields,
        "incoming-snapshot-size-bytes": bytes,
        "incoming-snapshot-size": formatBytes(bytes),
        "download-took": formatGoDuration(clock.monotonicMs() - startMs),
      });
      return true;
    } catch (error) {
      logger.warn("failed to save incoming database snapshot", {
        ...fields,
        error: errorText(error),
      });
      refuse(request, response, 500, `failed to save KV snapshot (${errorText(error)})`);
      metrics.snapshotReceiveFailures.labels({ From: from }).inc();
      return false;
    }
  }

  async #saveOnce({ index, image, message }: Incoming): Promise<number> {
    if (this.#receiving.has(index)) {
      throw new ImageRefusedError(`the snapshot at index ${index} is already being received`);
    }
    if (this.#receiving.size >= SNAPSHOT_RECEIVES_MAX) {
      throw new ImageRefusedError("too many snapshots are being received");
    }
    this.#receiving.add(index);
    try {
      return await this.#save(this.#checked(image, message.from), index);
    } finally {
      this.#receiving.delete(index);
    }
  }

  /** Passes an image on, and fails at its end if it is not whole. */
  async *#checked(
    image: AsyncIterable<Uint8Array>,
    from: bigint,
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const { clock, logger } = this.#context;
    const head = new Uint8Array(IMAGE_HEAD_BYTES);
    let bytes = 0;
    let loggedMs = clock.monotonicMs();
    for await (const chunk of image) {
      if (bytes < head.length) head.set(chunk.subarray(0, head.length - bytes), bytes);
      bytes += chunk.length;
      yield chunk;
      const nowMs = clock.monotonicMs();
      if (nowMs - loggedMs < SNAPSHOT_PROGRESS_INTERVAL_MS) continue;
      loggedMs = nowMs;
      logger.info("receiving database snapshot: progress", {
        "remote-snapshot-sender-id": hexFromID(from),
        bytes,
        "total-bytes": imageBytesOf(head) ?? 0,
      });
    }
    const expected = bytes < head.length ? undefined : imageBytesOf(head);
    if (expected === undefined) throw new ImageRefusedError("invalid database");
    if (bytes < expected) {
      throw new ImageRefusedError(`the image ended at ${bytes} of ${expected} bytes`);
    }
  }
}

async function* rest(
  first: Uint8Array,
  chunks: AsyncGenerator<Uint8Array, void, undefined>,
): AsyncGenerator<Uint8Array, void, undefined> {
  if (first.length > 0) yield first;
  yield* chunks;
}

/** A bbolt file begins with a meta page: a header of 16 bytes, then the fields read here. */
const IMAGE_HEAD_BYTES = 80;
const BBOLT_MAGIC = 0xed0cdaed;
const META_MAGIC_AT = 16;
const META_PAGE_BYTES_AT = 24;
const META_HIGH_WATER_AT = 56;

/** What a bbolt image must hold by its first meta page; undefined if that is none. */
function imageBytesOf(head: Uint8Array): number | undefined {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (view.getUint32(META_MAGIC_AT, true) !== BBOLT_MAGIC) return undefined;
  const pages =
    view.getUint32(META_HIGH_WATER_AT, true) +
    view.getUint32(META_HIGH_WATER_AT + 4, true) * 0x1_0000_0000;
  return pages * view.getUint32(META_PAGE_BYTES_AT, true);
}
