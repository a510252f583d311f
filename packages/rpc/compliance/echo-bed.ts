/** What the tests of this package call: a clock, a service with all four kinds, a server on it. */

import * as net from "node:net";

import { HealthCheckRequestSchema, RpcError } from "@etcd-ts/api";
import type { GrpcCode, MethodDescriptor, MethodKind } from "@etcd-ts/api";
import { encodeMessage } from "@etcd-ts/base";
import type { Clock, Codec, NetworkAddress, Timer } from "@etcd-ts/base";

import { Metadata, RpcClient, RpcServer, ServiceTable } from "../src/index.ts";
import type { RpcClientOptions, RpcServerOptions, StreamCall } from "../src/index.ts";

export const CLOCK: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(delayMs: number, run: () => void): Timer {
    const timer = setTimeout(run, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
  nextTurn(run: () => void): Timer {
    const immediate = setImmediate(run);
    return { cancel: () => clearImmediate(immediate) };
  },
};

/** `count` and `status` tell the service what to do. */
export interface Echo {
  text: string;
  count: number;
  status: number;
}

export function echo(text: string, count = 0, status = 0): Echo {
  return { text, count, status };
}

export const EchoCodec: Codec<Echo> = {
  encode(message, writer) {
    if (message.text !== "") writer.stringField(1, message.text);
    if (message.count !== 0) writer.varintField(2, message.count);
    if (message.status !== 0) writer.varintField(3, message.status);
  },
  decode(reader) {
    const message = echo("");
    while (reader.next()) {
      if (reader.field === 1) message.text = reader.string();
      else if (reader.field === 2) message.count = reader.int64Number();
      else if (reader.field === 3) message.status = reader.int32();
      else reader.skip();
    }
    return message;
  },
};

function method(name: string, kind: MethodKind): MethodDescriptor<Echo, Echo> {
  return {
    service: "test.Echo",
    name,
    path: `/test.Echo/${name}`,
    kind,
    request: EchoCodec,
    response: EchoCodec,
    requestSchema: HealthCheckRequestSchema,
    responseSchema: HealthCheckRequestSchema,
    httpPaths: [],
  };
}

export const Unary = method("Unary", "unary");
/** Answers with the request's metadata: one line a value, `name=value`. */
export const Headers = method("Headers", "unary");
/** Never answers. */
export const Hang = method("Hang", "unary");
/** Sends `count` messages as fast as the high-water mark lets it. */
export const Down = method("Down", "serverStream");
/** Answers with the joined texts when the client has finished. */
export const Up = method("Up", "clientStream");
/** Answers each message; `status` ends the call with it. */
export const Both = method("Both", "bidi");
/** Sends without looking at the high-water mark. */
export const Flood = method("Flood", "serverStream");
/** Answers with a text of `count` letters, encoded in chunks. */
export const Long = method("Long", "unary");
export const Missing = method("Missing", "unary");

const LONG_CHUNK_BYTES = 50_000;

export function statusError(code: number, message: string): RpcError {
  return new RpcError("TEST", code as GrpcCode, message);
}

export interface EchoTable {
  readonly table: ServiceTable;
  /** What happened, in order: `cancel Hang`, ... */
  readonly events: string[];
}

export function echoTable(): EchoTable {
  const events: string[] = [];
  const table = new ServiceTable();
  table.unary(Unary, (request, call) => {
    if (request.status !== 0) call.fail(statusError(request.status, request.text));
    else call.respond(request);
  });
  table.unary(Headers, (_request, call) => {
    const lines: string[] = [];
    for (const [name, values] of call.metadata.entries()) {
      for (const value of values) lines.push(`${name}=${value}`);
    }
    const metadata = new Metadata();
    metadata.append("x-answer", "yes");
    metadata.append("x-bytes-bin", "\u0000\u00ff");
    call.sendHeaders(metadata);
    call.respond(echo(lines.join("\n"), Math.ceil(call.deadlineMs ?? 0)));
  });
  table.unary(Hang, (_request, call) => {
    events.push("start Hang");
    call.onCancel(() => events.push(`cancel Hang ${call.cancelReason?.message}`));
  });
  table.stream(Down, (call) => {
    call.onMessage((request) => {
      let sent = 0;
      const pump = (): void => {
        while (sent < request.count) {
          const below = call.send(echo(request.text, sent++));
          if (!below) return;
        }
        if (request.status !== 0) call.fail(statusError(request.status, "down"));
        else call.end();
      };
      call.onDrain(pump);
      call.onCancel(() => events.push(`cancel Down at ${sent}`));
      pump();
    });
  });
  table.stream(Up, (call) => {
    const texts: string[] = [];
    call.onMessage((message) => void texts.push(message.text));
    call.onEnd(() => {
      call.send(echo(texts.join(","), texts.length));
      call.end();
    });
  });
  table.unary(Long, (request, call) => {
    const bytes = encodeMessage(EchoCodec, echo("x".repeat(request.count)));
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += LONG_CHUNK_BYTES) {
      chunks.push(bytes.subarray(at, at + LONG_CHUNK_BYTES));
    }
    call.respondEncoded({ bytes: bytes.length, chunks });
    call.onCancel(() => events.push("cancel Long"));
  });
  table.stream(Both, (call) => runBoth(call));
  table.stream(Flood, (call) => {
    call.onCancel(() => events.push("cancel Flood"));
    call.onMessage((request) => {
      for (let i = 0; i < request.count; i++) call.send(echo(request.text, i));
      events.push(`buffered ${call.bufferedBytes}`);
    });
  });
  return { table, events };
}

function runBoth(call: StreamCall<Echo, Echo>): void {
  call.onMessage((message) => {
    if (message.status !== 0) call.fail(statusError(message.status, message.text));
    else call.send(message);
  });
  call.onEnd(() => call.end());
}

export interface Bed extends EchoTable {
  readonly server: RpcServer;
  readonly address: NetworkAddress & { kind: "tcp" };
  connect(options?: RpcClientOptions): Promise<RpcClient>;
  /** A bare TCP connection to the server, collecting what it says. */
  raw(): Promise<RawConnection>;
  close(): Promise<void>;
}

export interface RawConnection {
  readonly socket: net.Socket;
  received(): Buffer;
  readonly closed: Promise<void>;
  isClosed(): boolean;
}

export async function startBed(
  options: Partial<RpcServerOptions> = {},
  echoes: EchoTable = echoTable(),
): Promise<Bed> {
  const server = new RpcServer({ clock: CLOCK, table: echoes.table, ...options });
  const address = await server.listen({ kind: "tcp", host: "127.0.0.1", port: 0 });
  if (address.kind !== "tcp") throw new Error("listens on TCP");
  const clients: RpcClient[] = [];
  const sockets: net.Socket[] = [];
  return {
    ...echoes,
    server,
    address,
    async connect(clientOptions) {
      const client = await RpcClient.connect(address, clientOptions);
      clients.push(client);
      return client;
    },
    async raw() {
      const socket = net.connect({ host: address.host, port: address.port });
      sockets.push(socket);
      const chunks: Buffer[] = [];
      socket.on("data", (chunk: Buffer) => void chunks.push(chunk));
      socket.on("error", () => undefined);
      const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
      await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
      return {
        socket,
        received: () => Buffer.concat(chunks),
        closed,
        isClosed: () => socket.closed,
      };
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(clients.map((client) => client.close()));
      await server.close(0);
    },
  };
}

/** Resolves when `condition` holds; fails after half a minute. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const startMs = performance.now();
  while (!condition()) {
    if (performance.now() - startMs > 30_000) throw new Error(`timed out: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
