/**
 * A stream that carries a plain HTTP request: Node-like request and response objects on it.
 *
 * They have what `HttpHandler`s use of Node's classes, no more. Header names are stored in lower
 * case, and what belongs to HTTP/1.1 alone is left out.
 */

import type { IncomingHttpHeaders, OutgoingHttpHeader, OutgoingHttpHeaders } from "node:http";
import { Readable, Writable } from "node:stream";
import type { Duplex } from "node:stream";

import { invariant } from "@etcd-ts/base";

import { FrameStream, finishFrames } from "./frame-stream.ts";
import type { StreamHost } from "./frame-stream.ts";
import { ErrorCode, FRAME_HEADER_BYTES, Flag, FrameType, appendFrame } from "./frames.ts";
import type { FieldToSend } from "./hpack-encoder.ts";
import { rawHeaders } from "./request-head.ts";
import type { RequestHead } from "./request-head.ts";

const NAMES_OF_HTTP1: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

type WriteDone = (error?: Error | null) => void;

/** Who is at the other end; undefined for a unix socket. */
export type RequestSocket = Duplex & {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
};

export class FrameHttpRequest extends Readable {
  readonly method: string;
  readonly url: string;
  readonly scheme: string;
  readonly authority: string | undefined;
  readonly headers: IncomingHttpHeaders;
  /** Names and values in turn, as they came, without those that begin with a colon. */
  readonly rawHeaders: string[];
  readonly httpVersion = "2.0";
  readonly httpVersionMajor = 2;
  readonly httpVersionMinor = 0;
  readonly socket: RequestSocket;
  /** The client went away before the end of its request or of the answer. */
  aborted = false;
  /** The whole body has come. */
  complete = false;
  readonly #onRead: () => void;

  constructor(head: RequestHead, socket: Duplex, onRead: () => void) {
    super();
    this.method = head.method;
    this.url = head.path;
    this.scheme = head.scheme;
    this.authority = head.authority;
    const fields = head.fields.filter((field) => !field.name.startsWith(":"));
    this.rawHeaders = rawHeaders(fields);
    this.headers = headersOf(this.rawHeaders, head.authority);
    this.socket = socket;
    this.#onRead = onRead;
  }

  override _read(): void {
    this.#onRead();
  }
}

/** What a response needs of its stream. */
interface ResponseSink {
  sendHead(status: number, headers: ReadonlyMap<string, OutgoingHttpHeader>): void;
  /** Calls `done` when more is welcome. */
  sendBody(bytes: Uint8Array, done: WriteDone): void;
  sendEnd(): void;
  abandon(): void;
}

export class FrameHttpResponse extends Writable {
  statusCode = 200;
  statusMessage = "";
  headersSent = false;
  sendDate = true;
  readonly #sink: ResponseSink;
  readonly #headers = new Map<string, OutgoingHttpHeader>();

  constructor(sink: ResponseSink) {
    super({ decodeStrings: true });
    this.#sink = sink;
  }

  setHeader(name: string, value: OutgoingHttpHeader): this {
    invariant(!this.headersSent, () => `FrameHttpResponse.setHeader: ${name} after the head`);
    this.#headers.set(name.toLowerCase(), value);
    return this;
  }

  getHeader(name: string): OutgoingHttpHeader | undefined {
    return this.#headers.get(name.toLowerCase());
  }

  hasHeader(name: string): boolean {
    return this.#headers.has(name.toLowerCase());
  }

  removeHeader(name: string): void {
    this.#headers.delete(name.toLowerCase());
  }

  getHeaders(): OutgoingHttpHeaders {
    return Object.fromEntries(this.#headers);
  }

  writeHead(statusCode: number, headers: OutgoingHttpHeaders = {}): this {
    this.statusCode = statusCode;
    for (const [name, value] of Object.entries(headers)) {
      if (value !== undefined) this.setHeader(name, value);
    }
    return this;
  }

  flushHeaders(): void {
    if (this.headersSent || this.destroyed) return;
    if (this.sendDate && !this.hasHeader("date")) this.setHeader("date", new Date().toUTCString());
    this.headersSent = true;
    this.#sink.sendHead(this.statusCode, this.#headers);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: WriteDone): void {
    this.flushHeaders();
    this.#sink.sendBody(chunk, done);
  }

  override _final(done: WriteDone): void {
    this.flushHeaders();
    this.#sink.sendEnd();
    done();
  }

  override _destroy(error: Error | null, done: WriteDone): void {
    this.#sink.abandon();
    done(error);
  }
}

export class HttpStream extends FrameStream implements ResponseSink {
  readonly request: FrameHttpRequest;
  readonly response: FrameHttpResponse;
  readonly #sendHighWaterBytes: number;
  readonly #isHead: boolean;
  #writeDone: WriteDone | undefined;
  #pausedBytes = 0;

  constructor(
    host: StreamHost,
    id: number,
    sendWindow: number,
    head: RequestHead,
    socket: Duplex,
    sendHighWaterBytes: number,
  ) {
    super(host, id, sendWindow);
    this.#sendHighWaterBytes = sendHighWaterBytes;
    this.#isHead = head.method === "HEAD";
    this.request = new FrameHttpRequest(head, socket, () => this.#resume());
    this.response = new FrameHttpResponse(this);
    if (head.fields.some(({ name, value }) => name === "expect" && value === "100-continue")) {
      this.#sendHeaders([[":status", "100", "without"]], 0);
    }
  }

  onData(bytes: Uint8Array, start: number, end: number): void {
    if (this.request.destroyed) return;
    if (this.request.push(bytes.subarray(start, end))) return;
    this.setReadPaused(true);
    this.#pausedBytes += end - start;
    this.heldBytes += end - start;
    if (!this.host.hold(end - start)) this.host.doom(this);
  }

  onRemoteEnd(): void {
    if (this.request.destroyed) return;
    this.request.complete = true;
    this.request.push(null);
  }

  #resume(): void {
    if (!this.isReadPaused || this.isClosed) return;
    this.host.hold(-this.#pausedBytes);
    this.heldBytes -= this.#pausedBytes;
    this.#pausedBytes = 0;
    this.setReadPaused(false);
  }

  sendHead(status: number, headers: ReadonlyMap<string, OutgoingHttpHeader>): void {
    if (this.isClosed || this.localEnded) return;
    const fields: FieldToSend[] = [[":status", String(status), "without"]];
    for (const [name, value] of headers) {
      if (NAMES_OF_HTTP1.has(name)) continue;
      for (const one of Array.isArray(value) ? value : [value]) {
        fields.push([name, headerValue(one), "without"]);
      }
    }
    this.#sendHeaders(fields, 0);
  }

  sendBody(bytes: Uint8Array, done: WriteDone): void {
    if (this.isClosed || this.localEnded || this.#isHead) {
      done();
      return;
    }
    this.enqueue(bytes);
    if (this.isBehind(this.#sendHighWaterBytes)) this.#writeDone = done;
    else done();
  }

  sendEnd(): void {
    if (!this.isClosed) this.endWhenSent();
  }

  /** The handler gave up, or the answer is complete. */
  abandon(): void {
    if (this.isClosed || this.localEnded || this.response.writableFinished) return;
    this.host.reset(this, ErrorCode.INTERNAL_ERROR);
  }

  #sendHeaders(fields: readonly FieldToSend[], flags: number): void {
    const { output, encoder } = this.host;
    const start = output.extend(FRAME_HEADER_BYTES);
    encoder.fields(output, fields);
    finishFrames(output, start, FrameType.HEADERS, flags, this.id);
    this.host.forgivePings();
    this.host.wrote();
  }

  protected writeEnd(): void {
    appendFrame(this.host.output, 0, FrameType.DATA, Flag.END_STREAM, this.id);
  }

  protected onDrained(): void {
    const done = this.#writeDone;
    this.#writeDone = undefined;
    done?.();
  }

  protected onClosed(): void {
    const isWhole = this.localEnded && this.remoteEnded;
    if (!isWhole && !this.request.destroyed && !this.localEnded) {
      this.request.aborted = true;
      this.request.emit("aborted");
    }
    // An answered request whose body nobody read ends here.
    if (!isWhole) this.request.destroy();
    if (!this.localEnded) this.response.destroy();
    this.onDrained();
  }
}

function headersOf(raw: readonly string[], authority: string | undefined): IncomingHttpHeaders {
  const headers: IncomingHttpHeaders = {};
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!;
    const value = raw[i + 1]!;
    const earlier = headers[name];
    if (name === "set-cookie") headers[name] = [...(headers[name] ?? []), value];
    else if (typeof earlier !== "string") headers[name] = value;
    else headers[name] = `${earlier}${name === "cookie" ? "; " : ", "}${value}`;
  }
  if (authority !== undefined) headers.host ??= authority;
  return headers;
}

/** A field value may hold latin-1 only, and no line ends. */
function headerValue(value: number | string): string {
  const text = String(value);
  invariant(/^[\t\x20-\x7e\x80-\xff]*$/.test(text), () => "FrameHttpResponse: a malformed header");
  return text;
}
