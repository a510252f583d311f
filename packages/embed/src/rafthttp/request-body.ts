/**
 * Bodies of requests from peers: bounded in size, in the memory of all of them together, and in
 * the time in which nothing arrives.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { concatBytes, EtcdError, NetworkError } from "@etcd-ts/base";
import type { Clock, Timer } from "@etcd-ts/base";
import { replyError } from "../etcdhttp/replies.ts";
import { plainBytes } from "./byte-queue.ts";
import { REQUEST_BODIES_BYTES_MAX } from "./limits.ts";

/** A body that is larger than the endpoint, or all endpoints together, take. */
export class BodyTooLargeError extends EtcdError {
  readonly code = "BODY_TOO_LARGE";
}

/**
 * The body as it arrives.
 *
 * @throws {NetworkError} if it breaks off, or if nothing arrives for `timeoutMs` while it is
 *   waited for
 */
export async function* bodyChunks(
  request: IncomingMessage,
  clock: Clock,
  timeoutMs: number,
): AsyncGenerator<Uint8Array, void, undefined> {
  // Not destroyed when the reader stops early: the refusal must still reach the peer.
  const chunks = (request.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>)[
    Symbol.asyncIterator
  ]();
  for (;;) {
    const next = await withTimeout(chunks.next(), clock, timeoutMs);
    if (next.done === true) return;
    yield plainBytes(next.value);
  }
}

async function withTimeout<T>(waited: Promise<T>, clock: Clock, timeoutMs: number): Promise<T> {
  let timer: Timer | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = clock.setTimer(timeoutMs, () => reject(new NetworkError("TIMED_OUT", "i/o timeout")));
  });
  try {
    return await Promise.race([waited, timeout]);
  } catch (error) {
    waited.catch(() => undefined);
    if (error instanceof EtcdError) throw error;
    throw new NetworkError("RESET", "unexpected EOF", { cause: error });
  } finally {
    timer?.cancel();
  }
}

/** Reads whole bodies; what all of them hold together is bounded. */
export class BodyReader {
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  #heldBytes = 0;

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** @throws {BodyTooLargeError | NetworkError} */
  async read(request: IncomingMessage, bytesMax: number): Promise<Uint8Array> {
    const announced = Number(request.headers["content-length"] ?? 0);
    if (announced > bytesMax) throw new BodyTooLargeError(`body exceeds ${bytesMax} bytes`);
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    try {
      for await (const chunk of bodyChunks(request, this.#clock, this.#timeoutMs)) {
        bytes += chunk.length;
        this.#heldBytes += chunk.length;
        if (bytes > bytesMax || this.#heldBytes > REQUEST_BODIES_BYTES_MAX) {
          throw new BodyTooLargeError(`body exceeds ${bytesMax} bytes`);
        }
        chunks.push(chunk);
      }
    } finally {
      this.#heldBytes -= bytes;
    }
    return chunks.length === 1 ? chunks[0]! : concatBytes(chunks);
  }
}

/** Refuses a request whose body may not have been read; the connection is not used again then. */
export function refuse(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  text: string,
): void {
  closeIfUnread(request, response);
  replyError(response, status, text);
}

/** Refuses a request whose sender is not to go on with this connection. */
export function refuseAndClose(response: ServerResponse, status: number, text: string): void {
  response.setHeader("Connection", "close");
  replyError(response, status, text);
}

/** `{"message":"..."}`, as etcd's raft handlers answer some refusals. */
export function refuseJSON(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  text: string,
): void {
  closeIfUnread(request, response);
  const body = JSON.stringify({ message: text });
  response.writeHead(status, {
    "Content-Type": "application/json",
    "Content-Length": Buffer.byteLength(body),
  });
  response.end(body);
}

function closeIfUnread(request: IncomingMessage, response: ServerResponse): void {
  const { "content-length": length = "0", "transfer-encoding": encoding } = request.headers;
  const hasBody = encoding !== undefined || length !== "0";
  if (hasBody && !request.complete) response.setHeader("Connection", "close");
}
