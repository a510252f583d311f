/** One member in memory with its services, for the tests of this folder: called in process. */

import {
  bytesFromLatin1,
  latin1FromBytes,
  MemoryDisk,
  MemoryLogger,
  MemoryMetrics,
} from "@etcd-ts/base";
import type { LogLevel } from "@etcd-ts/base";
import {
  KV,
  PutRequestCodec,
  RangeRequestCodec,
  Watch,
  WatchCreateRequestCodec,
} from "@etcd-ts/api";
import type {
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  RpcError,
  WatchCreateRequest,
  WatchRequest,
  WatchResponse,
} from "@etcd-ts/api";
import { defaultServerConfig, EtcdServer } from "@etcd-ts/etcdserver";
import type { AuthPorts, ServerConfig, ServerOperations } from "@etcd-ts/etcdserver";
import { InProcessChannel, RpcClient, RpcServer, ServiceTable } from "@etcd-ts/rpc";
import type { CallOptions, ClientStream, Metadata } from "@etcd-ts/rpc";
import { NodeClock, NodeRandom } from "@etcd-ts/runtime";

import { embedConfig } from "../config.ts";
import type { EmbedConfig } from "../config.ts";
import { V3Services } from "./index.ts";

export interface FixtureOptions {
  readonly config?: Partial<EmbedConfig>;
  readonly server?: Partial<ServerConfig>;
  readonly logLevel?: LogLevel;
  readonly auth?: AuthPorts;
  /** Stands between the services and the member. */
  readonly between?: (server: EtcdServer) => ServerOperations;
}

export class ServicesFixture {
  readonly clock = new NodeClock();
  readonly metrics = new MemoryMetrics();
  readonly logger: MemoryLogger;
  readonly table = new ServiceTable();
  readonly server: EtcdServer;
  readonly services: V3Services;
  readonly channel: InProcessChannel;
  readonly #failures: Error[];
  readonly #closers: (() => Promise<void>)[] = [];

  private constructor(
    server: EtcdServer,
    logger: MemoryLogger,
    failures: Error[],
    options: FixtureOptions,
  ) {
    this.#failures = failures;
    this.server = server;
    this.logger = logger;
    const { table, clock, metrics } = this;
    this.services = new V3Services({
      table,
      server: options.between?.(server) ?? server,
      clock,
      random: new NodeRandom(),
      logger,
      metrics,
      config: embedConfig(options.config),
    });
    this.channel = new InProcessChannel({ table, clock });
  }

  static async start(options: FixtureOptions = {}): Promise<ServicesFixture> {
    const clock = new NodeClock();
    const logger = new MemoryLogger(options.logLevel ?? "info");
    const failures: Error[] = [];
    const server = await EtcdServer.open(
      defaultServerConfig({
        name: "m1",
        dataDirectory: "/data",
        walSegmentBytes: 1024 * 1024,
        heartbeatIntervalMs: 10,
        electionTimeoutMs: 100,
        ...options.server,
      }),
      {
        disk: new MemoryDisk(),
        clock,
        random: new NodeRandom(),
        logger,
        metrics: new MemoryMetrics(),
        auth: options.auth,
      },
      {
        onFatal: (error) => failures.push(error),
        onRemoved: () => undefined,
      },
    );
    const fixture = new ServicesFixture(server, logger, failures, options);
    server.start();
    await server.whenReady();
    return fixture;
  }

  /** What ended the member, if anything did. */
  get fatal(): Error | undefined {
    return this.#failures[0];
  }

  /** A client of the services on a connection of its own, until `stop`. */
  async connect(): Promise<RpcClient> {
    const server = new RpcServer({ clock: this.clock, table: this.table });
    this.#closers.push(() => server.close(0));
    const address = await server.listen({ kind: "tcp", host: "127.0.0.1", port: 0 });
    const client = await RpcClient.connect(address);
    this.#closers.push(() => client.close());
    return client;
  }

  /** Ends connections, the services, then the member. @throws what broke the member meanwhile */
  async stop(): Promise<void> {
    for (const close of this.#closers.splice(0).reverse()) await close();
    this.services.close();
    await this.server.stop();
    if (this.fatal !== undefined) throw this.fatal;
  }

  put(key: string, value = "", more: Partial<PutRequest> = {}): Promise<PutResponse> {
    const request = { ...PutRequestCodec.create(), key: bytes(key), value: bytes(value), ...more };
    return this.channel.unary(KV.Put, request);
  }

  range(
    key: string,
    more: Partial<RangeRequest> = {},
    options?: CallOptions,
  ): Promise<RangeResponse> {
    const request = { ...RangeRequestCodec.create(), key: bytes(key), ...more };
    return this.channel.unary(KV.Range, request, options);
  }

  /** All keys that begin with `prefix`, in order of creation. */
  async keysUnder(prefix: string): Promise<string[]> {
    const response = await this.range(prefix, {
      rangeEnd: endOf(prefix),
      sortOrder: 1,
      sortTarget: 2,
    });
    return response.kvs.map(({ key }) => text(key));
  }

  delete(key: string, rangeEnd = ""): Promise<DeleteRangeResponse> {
    const request = { key: bytes(key), rangeEnd: bytes(rangeEnd), prevKV: false };
    return this.channel.unary(KV.DeleteRange, request);
  }

  compact(revision: number): Promise<unknown> {
    return this.channel.unary(KV.Compact, { revision, physical: true });
  }

  watch(metadata?: Metadata): WatchClient {
    return new WatchClient(
      this.channel.stream(Watch.Watch, metadata === undefined ? {} : { metadata }),
    );
  }
}

/** A watch stream whose responses are read one by one. */
export class WatchClient {
  readonly stream: ClientStream<WatchRequest, WatchResponse>;
  readonly waiting: WatchResponse[] = [];
  error: RpcError | undefined;
  #wake: (() => void) | undefined;
  #hasEnded = false;

  constructor(stream: ClientStream<WatchRequest, WatchResponse>) {
    this.stream = stream;
    stream.onMessage((response) => {
      this.waiting.push(response);
      this.#wake?.();
    });
    stream.onEnd((error) => {
      this.error = error;
      this.#hasEnded = true;
      this.#wake?.();
    });
  }

  create(key: string, more: Partial<WatchCreateRequest> = {}): void {
    const create = { ...WatchCreateRequestCodec.create(), key: bytes(key), ...more };
    this.stream.send({ kind: "create", create });
  }

  cancel(watchID: number): void {
    this.stream.send({ kind: "cancel", cancel: { watchID } });
  }

  requestProgress(): void {
    this.stream.send({ kind: "progress" });
  }

  async next(): Promise<WatchResponse> {
    while (this.waiting.length === 0) {
      if (this.#hasEnded) throw new Error(`the stream has ended: ${this.error?.message}`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.waiting.shift()!;
  }

  /** Until the stream ends. @returns its error */
  async end(): Promise<RpcError | undefined> {
    while (!this.#hasEnded) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.error;
  }
}

export function bytes(value: string): Uint8Array {
  return bytesFromLatin1(value);
}

export function text(value: Uint8Array | undefined): string {
  return value === undefined ? "-" : latin1FromBytes(value);
}

/** The range end of all keys that begin with `prefix`. */
export function endOf(prefix: string): Uint8Array {
  const end = bytes(prefix);
  end[end.length - 1]!++;
  return end;
}

/** The error of a call that must fail. */
export async function failure(call: Promise<unknown>): Promise<RpcError> {
  try {
    await call;
  } catch (error) {
    return error as RpcError;
  }
  throw new Error("the call did not fail");
}

/** Until `condition` holds. @throws after ten seconds */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  while (!(await condition())) {
    if (performance.now() > deadlineMs) throw new Error("waited in vain");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
