/**
 * The receiving side of one stream: dials the peer, reads its endless answer, dials again.
 *
 * Invariants:
 * - One dial at a time, no two of them less than `dialRetryMs` apart.
 * - Messages are handed on as they are decoded, in the turn their last byte arrives: nothing is
 *   queued here, so what raft does not take in time slows the socket down, not the memory up.
 */

import type { IncomingMessage } from "node:http";
import { parseVersion, SERVER_VERSION } from "@etcd-ts/api";
import type { Version } from "@etcd-ts/api";
import { EtcdError, hexFromID, sleep, stringFromUtf8, unreachable } from "@etcd-ts/base";
import { isLinkHeartbeat, STREAM_NAMES } from "./frames.ts";
import type { DecodedMessage, StreamDecoder, StreamType } from "./frames.ts";
import {
  CLUSTER_ID_MISMATCH_TEXT,
  headerOf,
  identityHeaders,
  INCOMPATIBLE_VERSION_TEXT,
  serverVersionOf,
} from "./headers.ts";
import { readBody } from "./http-client.ts";
import { SMALL_RESPONSE_BYTES_MAX } from "./limits.ts";
import { MessageStreamDecoder } from "./message-stream.ts";
import { MsgAppStreamDecoder } from "./msgapp-stream.ts";
import { errorText, MEMBER_REMOVED_TEXT, processMessage } from "./peer-context.ts";
import type { PeerContext } from "./peer-context.ts";
import type { PeerStatus } from "./peer-status.ts";
import type { URLPicker } from "./url-picker.ts";

/** A peer that answers, but not with a stream. */
class StreamRefusedError extends EtcdError {
  readonly code = "STREAM_REFUSED";
  readonly isUnsupported: boolean;

  constructor(message: string, isUnsupported = false) {
    super(message);
    this.isUnsupported = isUnsupported;
  }
}

/** Releases before ours that have both streams. */
const SUPPORTED: ReadonlySet<string> = new Set([
  ...[1, 2, 3].map((minor) => `2.${minor}`),
  ...[0, 1, 2, 3, 4, 5, 6].map((minor) => `3.${minor}`),
]);

export class StreamReader {
  readonly #context: PeerContext;
  readonly #peerID: bigint;
  readonly #type: StreamType;
  readonly #picker: URLPicker;
  readonly #status: PeerStatus;
  readonly #stopping = new AbortController();
  readonly #stopped: Promise<void>;

  constructor(
    context: PeerContext,
    peerID: bigint,
    type: StreamType,
    picker: URLPicker,
    status: PeerStatus,
  ) {
    this.#context = context;
    this.#peerID = peerID;
    this.#type = type;
    this.#picker = picker;
    this.#status = status;
    this.#stopped = this.#run();
  }

  async #run(): Promise<void> {
    const { logger, clock, timings } = this.#context;
    logger.info("started stream reader with remote peer", this.#fields());
    while (!this.#isStopping) {
      const startMs = clock.monotonicMs();
      await this.#dialAndRead();
      if (this.#isStopping) break;
      await sleep(clock, Math.max(0, startMs + timings.dialRetryMs - clock.monotonicMs()));
    }
    logger.info("stopped stream reader with remote peer", this.#fields());
  }

  get #isStopping(): boolean {
    return this.#stopping.signal.aborted;
  }

  async #dialAndRead(): Promise<void> {
    const { logger } = this.#context;
    const source = STREAM_NAMES[this.#type];
    let response: IncomingMessage;
    try {
      response = await this.#dial();
    } catch (error) {
      if (this.#isStopping) return;
      if (!(error instanceof StreamRefusedError && error.isUnsupported)) {
        this.#status.deactivate({ source, action: "dial" }, errorText(error));
      }
      return;
    }
    this.#status.activate();
    logger.info("established TCP streaming connection with remote peer", this.#fields());
    const failure = await this.#read(response);
    logger.warn("lost TCP streaming connection with remote peer", {
      ...this.#fields(),
      error: failure ?? "EOF",
    });
    if (failure !== undefined && !this.#isStopping) {
      this.#status.deactivate({ source, action: "read" }, failure);
    }
  }

  async #dial(): Promise<IncomingMessage> {
    const { identity, logger, streamClient, timings } = this.#context;
    const url = this.#picker.pick();
    const path = `/raft/stream/${this.#type}/${hexFromID(identity.memberID)}`;
    logger.debug("dial stream reader", {
      from: hexFromID(identity.memberID),
      to: hexFromID(this.#peerID),
      address: url.text + path,
    });
    const headers = { ...identityHeaders(identity), "X-Raft-To": hexFromID(this.#peerID) };
    const dialing = new AbortController();
    const abort = (): void => dialing.abort();
    this.#stopping.signal.addEventListener("abort", abort, { once: true });
    const timer = this.#context.clock.setTimer(timings.connectionTimeoutMs, abort);
    try {
      const response = await streamClient.open(
        { url, path, method: "GET", headers },
        dialing.signal,
      );
      timer.cancel();
      await this.#check(response);
      return response;
    } catch (error) {
      this.#picker.unreachable(url);
      throw error;
    } finally {
      timer.cancel();
      this.#stopping.signal.removeEventListener("abort", abort);
    }
  }

  /** @throws {StreamRefusedError} unless the answer is a stream */
  async #check(response: IncomingMessage): Promise<void> {
    const { identity, memberRemoved } = this.#context;
    const status = response.statusCode ?? 0;
    if (!isSupported(serverVersionOf(response.headers))) {
      response.destroy();
      throw new StreamRefusedError("unsupported stream type", true);
    }
    if (status === 200) return;
    const body = await this.#refusal(response);
    if (status === 410) {
      memberRemoved();
      throw new StreamRefusedError(MEMBER_REMOVED_TEXT);
    }
    if (status === 404) {
      throw new StreamRefusedError(
        `peer ${hexFromID(this.#peerID)} failed to find local node ${hexFromID(identity.memberID)}`,
      );
    }
    if (status === 412) throw this.#preconditionFailed(body, response);
    throw new StreamRefusedError(`unhandled http status ${status}`);
  }

  async #refusal(response: IncomingMessage): Promise<string> {
    const timer = this.#context.clock.setTimer(this.#context.timings.connectionTimeoutMs, () =>
      response.destroy(),
    );
    try {
      return stringFromUtf8(await readBody(response, SMALL_RESPONSE_BYTES_MAX)).replace(/\n$/, "");
    } finally {
      timer.cancel();
    }
  }

  #preconditionFailed(body: string, response: IncomingMessage): StreamRefusedError {
    const { identity, logger } = this.#context;
    if (body === INCOMPATIBLE_VERSION_TEXT) {
      logger.warn("request sent was ignored by remote peer due to server version incompatibility", {
        ...this.#ids(),
        error: body,
      });
    } else if (body === CLUSTER_ID_MISMATCH_TEXT) {
      logger.warn("request sent was ignored by remote peer due to cluster ID mismatch", {
        ...this.#ids(),
        "remote-peer-cluster-id": headerOf(response.headers, "x-etcd-cluster-id"),
        "local-member-cluster-id": hexFromID(identity.clusterID),
        error: body,
      });
    } else {
      return new StreamRefusedError(
        `unhandled error ${JSON.stringify(body)} when precondition failed`,
      );
    }
    return new StreamRefusedError(body);
  }

  /** Reads to the end. @returns why it ended; undefined if the peer ended it. */
  #read(response: IncomingMessage): Promise<string | undefined> {
    const { clock, timings } = this.#context;
    const decoder = this.#createDecoder();
    return new Promise((resolve) => {
      let failure: string | undefined;
      let lastMs = clock.monotonicMs();
      const watch = (): void => {
        const leftMs = lastMs + timings.connectionTimeoutMs - clock.monotonicMs();
        if (leftMs > 0) timer = clock.setTimer(leftMs, watch);
        else {
          failure ??= "read: i/o timeout";
          response.destroy();
        }
      };
      let timer = clock.setTimer(timings.connectionTimeoutMs, watch);
      const stop = (): void => {
        response.destroy();
      };
      this.#stopping.signal.addEventListener("abort", stop, { once: true });
      response.on("data", (chunk: Uint8Array) => {
        lastMs = clock.monotonicMs();
        try {
          decoder.push(chunk);
          this.#deliver(decoder);
        } catch (error) {
          if (!(error instanceof EtcdError)) throw error;
          failure ??= error.message;
          response.destroy();
        }
      });
      response.on("error", (error: NodeJS.ErrnoException) => {
        if (error.code !== "ECONNRESET") failure ??= error.message;
      });
      response.on("close", () => {
        timer.cancel();
        this.#stopping.signal.removeEventListener("abort", stop);
        resolve(failure);
      });
      if (this.#isStopping) stop();
    });
  }

  #deliver(decoder: StreamDecoder): void {
    for (;;) {
      const decoded = decoder.next();
      if (decoded === undefined) return;
      this.#count(decoded);
      // What arrives after the stop is for nobody.
      if (this.#isStopping || isLinkHeartbeat(decoded.message)) continue;
      const refusal = processMessage(this.#context, decoded.message);
      if (refusal === undefined) continue;
      this.#context.logger.warn("failed to process Raft message", { error: refusal });
    }
  }

  #count({ message, sizeBytes }: DecodedMessage): void {
    const { receivedBytes } = this.#context.metrics;
    const from = isLinkHeartbeat(message) ? "0" : hexFromID(this.#peerID);
    receivedBytes.labels({ From: from }).inc(sizeBytes);
  }

  #createDecoder(): StreamDecoder {
    switch (this.#type) {
      case "message":
        return new MessageStreamDecoder();
      case "msgapp":
        return new MsgAppStreamDecoder(this.#context.identity.memberID, this.#peerID);
      default:
        return unreachable(this.#type, "StreamReader");
    }
  }

  /** Ends the connection; resolves when the reader is done with it. */
  stop(): Promise<void> {
    this.#stopping.abort();
    return this.#stopped;
  }

  #ids(): { readonly [name: string]: string } {
    return {
      "local-member-id": hexFromID(this.#context.identity.memberID),
      "remote-peer-id": hexFromID(this.#peerID),
    };
  }

  #fields(): { readonly [name: string]: string } {
    return { "stream-reader-type": STREAM_NAMES[this.#type], ...this.#ids() };
  }
}

/** A peer newer than us knows our streams; an older one must be in the table. */
function isSupported(remote: Version | undefined): boolean {
  const local = parseVersion(SERVER_VERSION)!;
  if (remote === undefined) return false;
  const difference = remote.major - local.major || remote.minor - local.minor;
  return difference >= 0 || SUPPORTED.has(`${remote.major}.${remote.minor}`);
}
