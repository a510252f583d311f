/**
 * A websocket as a gateway request: each message in is part of the body, each line out a message.
 *
 * Browsers cannot set headers, so the token may come as the sub-protocol `Bearer, <token>` or in
 * the cookie `token`.
 */

import type { WebSocket } from "ws";

import type { GatewayExchange, GatewayOutput, HeaderList } from "./exchange.ts";
import type { HttpHead } from "./http-metadata.ts";

const FORWARDED_NAMES: ReadonlySet<string> = new Set(["origin", "referer", "host"]);
/** Bytes queued on the socket above which the call's reader pauses. */
const SEND_HIGH_WATER_BYTES = 64 * 1024;
/** How often a socket above that is looked at; the library has no event for it. */
const DRAIN_INTERVAL_MS = 5;
const NEWLINE = Buffer.from("\n");

/** The head of the request the websocket stands for: always POST. */
export function websocketHead(head: HttpHead): HttpHead {
  const headers = head.headers.filter(([name]) => FORWARDED_NAMES.has(name)).map((pair) => pair);
  const authorization = cookieToken(head) ?? protocolToken(head);
  if (authorization !== undefined) headers.push(["authorization", authorization]);
  return { ...head, method: "POST", headers };
}

function valueOf(head: HttpHead, name: string): string | undefined {
  return head.headers.find(([other]) => other === name)?.[1];
}

function protocolToken(head: HttpHead): string | undefined {
  const protocols = valueOf(head, "sec-websocket-protocol");
  const at = protocols?.indexOf("Bearer,") ?? -1;
  return at < 0 ? undefined : `Bearer ${protocols!.slice(at + "Bearer,".length).trim()}`;
}

function cookieToken(head: HttpHead): string | undefined {
  for (const cookie of (valueOf(head, "cookie") ?? "").split(";")) {
    const [name, ...value] = cookie.trim().split("=");
    if (name === "token") return `Bearer ${value.join("=")}`;
  }
  return undefined;
}

export class WebSocketOutput implements GatewayOutput {
  readonly #websocket: WebSocket;
  #exchange: GatewayExchange | undefined;
  #drainTimer: NodeJS.Timeout | undefined;

  constructor(websocket: WebSocket) {
    this.#websocket = websocket;
    websocket.on("error", () => websocket.terminate());
  }

  run(exchange: GatewayExchange): void {
    this.#exchange = exchange;
    const websocket = this.#websocket;
    websocket.on("message", (data: Buffer) => {
      exchange.push(data);
      exchange.push(NEWLINE);
    });
    websocket.on("close", () => {
      clearInterval(this.#drainTimer);
      exchange.abort();
    });
    exchange.begin();
  }

  answer(_status: number, _headers: HeaderList, body: string): void {
    this.#websocket.send(body);
    this.end();
  }

  begin(): void {
    // A websocket has no place for a status or headers.
  }

  write(line: string): boolean {
    this.#websocket.send(line.trimEnd());
    if (this.#websocket.bufferedAmount < SEND_HIGH_WATER_BYTES) return true;
    this.#drainTimer ??= setInterval(() => this.#checkDrain(), DRAIN_INTERVAL_MS);
    return false;
  }

  end(): void {
    this.#websocket.close();
  }

  #checkDrain(): void {
    if (this.#websocket.bufferedAmount >= SEND_HIGH_WATER_BYTES) return;
    clearInterval(this.#drainTimer);
    this.#drainTimer = undefined;
    this.#exchange?.drained();
  }
}
