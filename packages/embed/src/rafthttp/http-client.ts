/**
 * HTTP/1.1 requests to peers, over connections made by a `Dial`.
 *
 * Invariants:
 * - Redirects are never followed, and no answer is held beyond the bound its caller named.
 * - Every request ends: by its answer, its time-out, its abort, or `close`.
 * - An idle connection is given up before a peer's listener would drop it.
 */

import { Agent, request as httpRequest } from "node:http";
import type {
  ClientRequest,
  IncomingMessage,
  OutgoingHttpHeaders,
  RequestOptions,
} from "node:http";
import type { Duplex } from "node:stream";
import { EtcdError, NetworkError, concatBytes } from "@etcd-ts/base";
import { plainBytes } from "./byte-queue.ts";
import { dialPlain, networkError } from "./dial.ts";
import type { Dial } from "./dial.ts";
import { IDLE_CONNECTION_MS, IDLE_CONNECTIONS_MAX, RESPONSE_HEADER_BYTES_MAX } from "./limits.ts";
import type { PeerURL } from "./url-picker.ts";

/** An answer that is larger than its caller takes. */
export class ResponseTooLargeError extends EtcdError {
  readonly code = "RESPONSE_TOO_LARGE";
}

export interface PeerRequest {
  readonly url: PeerURL;
  readonly path: string;
  readonly method: "GET" | "POST";
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: Uint8Array;
}

export interface PeerResponse {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly body: Uint8Array;
}

export interface PeerHttpClientOptions {
  readonly dial?: Dial;
  /** Default 1 s. */
  readonly dialTimeoutMs?: number;
}

export class PeerHttpClient {
  readonly #agent: PeerAgent;

  constructor(options: PeerHttpClientOptions = {}) {
    this.#agent = new PeerAgent(options.dial ?? dialPlain, options.dialTimeoutMs ?? 1000);
  }

  /**
   * Asks and takes in the whole answer.
   *
   * @throws {NetworkError | ResponseTooLargeError}
   */
  async ask(
    request: PeerRequest,
    limits: {
      readonly timeoutMs: number;
      readonly bytesMax: number;
      readonly signal?: AbortSignal | undefined;
    },
  ): Promise<PeerResponse> {
    const end = new AbortController();
    let isTimedOut = false;
    const timer = setTimeout(() => {
      isTimedOut = true;
      end.abort();
    }, limits.timeoutMs);
    const abort = (): void => end.abort();
    if (limits.signal?.aborted === true) abort();
    limits.signal?.addEventListener("abort", abort, { once: true });
    try {
      const response = await this.open(request, end.signal);
      const body = await readBody(response, limits.bytesMax);
      return { status: response.statusCode ?? 0, headers: response.headers, body };
    } catch (error) {
      if (!isTimedOut) throw error;
      throw new NetworkError("TIMED_OUT", `${describe(request)}: i/o timeout`, { cause: error });
    } finally {
      clearTimeout(timer);
      limits.signal?.removeEventListener("abort", abort);
    }
  }

  /** Asks and hands over the answer as it begins. The request's body is sent at once. */
  open(request: PeerRequest, signal: AbortSignal): Promise<IncomingMessage> {
    const sent = this.begin(request, signal);
    sent.end(request.body);
    return responseOf(sent, request);
  }

  /** Starts a request whose body the caller writes; `responseOf` waits for the answer. */
  begin(request: PeerRequest, signal: AbortSignal): ClientRequest {
    const { url, path, method, headers = {}, body } = request;
    const all: OutgoingHttpHeaders = { Host: hostOf(url) };
    Object.assign(all, headers);
    if (body !== undefined) all["Content-Length"] = body.length;
    const options: RequestOptions & AgentRequest = {
      agent: this.#agent,
      method,
      path,
      headers: all,
      signal,
      maxHeaderSize: RESPONSE_HEADER_BYTES_MAX,
      peerURL: url,
    };
    return httpRequest(options);
  }

  /** Drops all connections, idle or not. */
  close(): void {
    this.#agent.destroy();
  }
}

function hostOf(url: PeerURL): string {
  if (url.address.kind === "unix") return "localhost";
  return url.host.includes(":") ? `[${url.host}]:${url.port}` : `${url.host}:${url.port}`;
}

function describe({ method, url, path }: PeerRequest): string {
  return `${method === "GET" ? "Get" : "Post"} "${url.text}${path}"`;
}

/** The head of the answer. @throws {NetworkError} */
export function responseOf(sent: ClientRequest, request: PeerRequest): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    sent.on("error", (error: Error) => {
      if (error instanceof NetworkError) reject(error);
      else reject(networkError(describe(request), error));
    });
    sent.once("response", resolve);
    sent.once("close", () => reject(new NetworkError("RESET", `${describe(request)}: EOF`)));
  });
}

/** The whole body of a request or an answer. @throws {NetworkError | ResponseTooLargeError} */
export async function readBody(response: IncomingMessage, bytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      bytes += chunk.length;
      if (bytes > bytesMax) {
        throw new ResponseTooLargeError(`response body exceeds ${bytesMax} bytes limit`);
      }
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof EtcdError) throw error;
    throw networkError("read", error as NodeJS.ErrnoException);
  }
  return chunks.length === 1 ? plainBytes(chunks[0]!) : concatBytes(chunks);
}

interface AgentRequest {
  readonly peerURL: PeerURL;
}

type Connected = (error: Error | null, stream: Duplex) => void;

/** Without a stream, which the types of Node ask for and its code does not. */
type Failed = (error: Error) => void;

/** Keeps connections by the URL they were dialed for. */
class PeerAgent extends Agent {
  readonly #dial: Dial;
  readonly #dialTimeoutMs: number;

  constructor(dial: Dial, dialTimeoutMs: number) {
    super({ keepAlive: true, timeout: IDLE_CONNECTION_MS, maxFreeSockets: IDLE_CONNECTIONS_MAX });
    this.#dial = dial;
    this.#dialTimeoutMs = dialTimeoutMs;
  }

  override getName(options?: object): string {
    return (options as AgentRequest | undefined)?.peerURL.text ?? "";
  }

  override createConnection(options: object, connected?: Connected): undefined {
    const { peerURL } = options as AgentRequest;
    this.#dial(peerURL, { timeoutMs: this.#dialTimeoutMs }).then(
      (stream) => connected?.(null, stream),
      (error: unknown) => (connected as Failed | undefined)?.(error as Error),
    );
    return undefined;
  }
}
