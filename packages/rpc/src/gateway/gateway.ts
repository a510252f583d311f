/**
 * The JSON gateway: `POST /v3/…` and websockets on the same paths, over a `ServiceTable`.
 *
 * Calls run in the process, with the interceptors, as if they had come over gRPC; the metadata
 * `grpcgateway-accept` and its like tell a handler that they did not.
 */

import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

import { GRPC_CODES } from "@etcd-ts/api";
import type { Clock, Timer } from "@etcd-ts/base";
import { WebSocketServer } from "ws";

import type { AnyMethod, Peer } from "../call.ts";
import { InProcessChannel } from "../client/in-process-channel.ts";
import { MemoryBudget } from "../memory-budget.ts";
import { RECEIVE_MESSAGE_BYTES_MAX } from "../server/transport.ts";
import type { HttpRequest, HttpResponse } from "../server/transport.ts";
import type { ServiceTable } from "../service-table.ts";
import { GatewayExchange, answerError } from "./exchange.ts";
import type { ExchangeLimits, GatewayOutput, HeaderList } from "./exchange.ts";
import { gatewayHead } from "./http-metadata.ts";
import type { HttpHead } from "./http-metadata.ts";
import { websocketHead, WebSocketOutput } from "./websocket.ts";

export interface JsonGatewayOptions {
  /** Complete: paths are taken from it once. */
  readonly table: ServiceTable;
  readonly clock: Clock;
  /** As the transport's: the gateway refuses what gRPC would. */
  readonly receiveMessageBytesMax?: number;
  /** Of one JSON object. Default twice the message: base64 takes a third more, names the rest. */
  readonly objectBytesMax?: number;
  /** Of the objects of all requests that are not complete. Default 256 MiB. */
  readonly memoryBytesMax?: number;
  /** How long a body may stand still, unless it is a stream of requests. Default 30 s. */
  readonly bodyTimeoutMs?: number;
  /** Open at once. Default 1024. */
  readonly websocketsMax?: number;
}

const MEMORY_BYTES_MAX = 256 * 1024 * 1024;
const BODY_TIMEOUT_MS = 30_000;
const WEBSOCKETS_MAX = 1024;
/** Bytes of JSON for each byte of message. */
const JSON_OVERHEAD = 2;

export class JsonGateway {
  readonly #channel: InProcessChannel;
  readonly #limits: ExchangeLimits;
  readonly #methods = new Map<string, AnyMethod>();
  readonly #websockets: WebSocketServer;
  readonly #clock: Clock;
  readonly #bodyTimeoutMs: number;
  readonly #websocketsMax: number;
  #websocketCount = 0;

  constructor(options: JsonGatewayOptions) {
    this.#channel = new InProcessChannel({ table: options.table, clock: options.clock });
    const receiveMessageBytesMax = options.receiveMessageBytesMax ?? RECEIVE_MESSAGE_BYTES_MAX;
    const objectBytesMax = options.objectBytesMax ?? JSON_OVERHEAD * receiveMessageBytesMax;
    const memory = new MemoryBudget(options.memoryBytesMax ?? MEMORY_BYTES_MAX);
    this.#limits = { receiveMessageBytesMax, objectBytesMax, memory };
    this.#clock = options.clock;
    this.#bodyTimeoutMs = options.bodyTimeoutMs ?? BODY_TIMEOUT_MS;
    this.#websocketsMax = options.websocketsMax ?? WEBSOCKETS_MAX;
    for (const method of options.table.methods()) {
      for (const path of method.httpPaths) this.#methods.set(path, method);
    }
    this.#websockets = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      maxPayload: objectBytesMax,
      perMessageDeflate: false,
      handleProtocols: (protocols) => (protocols.has("Bearer") ? "Bearer" : false),
    });
  }

  /** Serves a request if its path is the gateway's. @returns whether it is */
  handle(request: HttpRequest, response: HttpResponse): boolean {
    const head = headOf(request);
    const path = gatewayPath(head.path);
    if (path === undefined) return false;
    const clean = cleanPath(path);
    if (clean !== path) {
      redirect(request, response, clean);
      return true;
    }
    const te = String(request.headers.te ?? "");
    const output = new HttpOutput(response, te.toLowerCase().includes("trailers"));
    const exchange = this.#exchange({ ...head, path }, peerOf(request), output);
    if (exchange === undefined) {
      request.resume();
      return true;
    }
    const watch = exchange.isBidirectional ? undefined : this.#watchBody(request);
    request.on("data", (chunk: Uint8Array) => {
      watch?.moved();
      exchange.push(chunk);
    });
    request.on("end", () => {
      watch?.ended();
      exchange.endBody();
    });
    response.on("drain", () => exchange.drained());
    response.on("close", () => {
      watch?.ended();
      exchange.abort();
    });
    exchange.begin();
    return true;
  }

  /** Drops a request whose body stands still. */
  #watchBody(request: HttpRequest): { moved(): void; ended(): void } {
    const start = (): Timer => this.#clock.setTimer(this.#bodyTimeoutMs, () => request.destroy());
    let timer = start();
    return {
      moved: () => {
        timer.cancel();
        timer = start();
      },
      ended: () => timer.cancel(),
    };
  }

  /** Takes over an upgrade to websocket if its path is the gateway's. @returns whether it is */
  handleUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): boolean {
    const httpHead = headOf(request);
    const path = gatewayPath(httpHead.path);
    if (path === undefined || request.headers.upgrade?.toLowerCase() !== "websocket") return false;
    if (this.#websocketCount >= this.#websocketsMax) {
      socket.end("HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n");
      return true;
    }
    this.#websockets.handleUpgrade(request, socket, head, (websocket) => {
      this.#websocketCount += 1;
      websocket.on("close", () => {
        this.#websocketCount -= 1;
      });
      const output = new WebSocketOutput(websocket);
      const exchange = this.#exchange(
        websocketHead({ ...httpHead, path }),
        peerOf(request),
        output,
      );
      if (exchange !== undefined) output.run(exchange);
    });
    return true;
  }

  #exchange(head: HttpHead, peer: Peer, output: GatewayOutput): GatewayExchange | undefined {
    const method = this.#methods.get(head.path);
    if (method === undefined) {
      answerError(output, GRPC_CODES.NOT_FOUND, "Not Found");
      return undefined;
    }
    if (head.method !== "POST") {
      answerError(output, GRPC_CODES.UNIMPLEMENTED, "Method Not Allowed");
      return undefined;
    }
    const gateway = gatewayHead(head);
    if (typeof gateway === "string") {
      answerError(output, GRPC_CODES.INVALID_ARGUMENT, gateway);
      return undefined;
    }
    return new GatewayExchange(this.#channel, method, gateway, peer, output, this.#limits);
  }
}

/** The path as bound, with the old prefix replaced; undefined if it is not the gateway's. */
export function gatewayPath(path: string): string | undefined {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    return undefined;
  }
  if (decoded.startsWith("/v3beta/")) return `/v3/${decoded.slice("/v3beta/".length)}`;
  return decoded.startsWith("/v3/") || decoded === "/v3" ? decoded : undefined;
}

/** Without empty, `.` and `..` segments; `/v3` itself is a folder. */
function cleanPath(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  const clean = `/${segments.join("/")}`;
  return clean === "/v3" || (path.endsWith("/") && clean !== "/") ? `${clean}/` : clean;
}

/** As Go's mux: the client repeats the request at the clean path. */
function redirect(request: HttpRequest, response: HttpResponse, path: string): void {
  const url = request.url ?? "";
  const query = url.indexOf("?");
  const location = encodeURI(path) + (query < 0 ? "" : url.slice(query));
  response.statusCode = 307;
  response.setHeader("Location", location);
  response.setHeader("Content-Length", 0);
  response.end();
  request.resume();
}

/** Proxies may send the whole URL as the target. */
const ABSOLUTE_FORM = /^https?:\/\/[^/?]*/i;

function headOf(request: HttpRequest): HttpHead {
  const url = (request.url ?? "").replace(ABSOLUTE_FORM, "");
  const query = url.indexOf("?");
  const headers: [string, string][] = [];
  const raw = request.rawHeaders;
  for (let i = 0; i + 1 < raw.length; i += 2) headers.push([raw[i]!.toLowerCase(), raw[i + 1]!]);
  return {
    method: request.method ?? "",
    path: query < 0 ? url : url.slice(0, query),
    headers,
    remoteHost: request.socket.remoteAddress,
  };
}

/** The common name is left out: over the gateway it must not act as a user. */
function peerOf(request: HttpRequest): Peer {
  const { remoteAddress, remotePort } = request.socket;
  if (remoteAddress === undefined) return { address: "@", commonName: undefined };
  const host = remoteAddress.includes(":") ? `[${remoteAddress}]` : remoteAddress;
  return { address: `${host}:${remotePort}`, commonName: undefined };
}

class HttpOutput implements GatewayOutput {
  readonly #response: HttpResponse;
  readonly #acceptsTrailers: boolean;

  /** @param acceptsTrailers - then grpc-gateway sends chunks, to have a place for trailers */
  constructor(response: HttpResponse, acceptsTrailers: boolean) {
    this.#response = response;
    this.#acceptsTrailers = acceptsTrailers;
  }

  answer(status: number, headers: HeaderList, body: string): void {
    if (!this.#setHead(status, headers)) return;
    if (this.#acceptsTrailers) this.#writeHead();
    else this.#response.setHeader("Content-Length", Buffer.byteLength(body));
    this.#response.end(body);
  }

  begin(status: number, headers: HeaderList): void {
    if (this.#setHead(status, headers)) this.#writeHead();
  }

  write(line: string): boolean {
    if (this.#response.destroyed || this.#response.writableEnded) return false;
    return this.#write(line);
  }

  /** The two classes declare `write` apart, though they behave alike. */
  #write(line: string): boolean {
    const response = this.#response as { write(text: string): boolean };
    return response.write(line);
  }

  /** Fixes the head now, when no length is known: the body goes out in chunks. */
  #writeHead(): void {
    const response = this.#response as { writeHead(status: number): unknown };
    response.writeHead(this.#response.statusCode);
  }

  end(): void {
    if (!this.#response.destroyed) this.#response.end();
  }

  #setHead(status: number, headers: HeaderList): boolean {
    const response = this.#response;
    if (response.destroyed || response.headersSent) return false;
    response.statusCode = status;
    const values = new Map<string, string[]>();
    for (const [name, value] of headers) {
      const header = canonicalName(name);
      values.set(header, [...(values.get(header) ?? []), value]);
    }
    for (const [name, all] of values) response.setHeader(name, all.length === 1 ? all[0]! : all);
    return true;
  }
}

/** `content-type` as `Content-Type`, the way Go writes it. */
function canonicalName(name: string): string {
  return name.replace(/(^|-)[a-z]/g, (start) => start.toUpperCase());
}
