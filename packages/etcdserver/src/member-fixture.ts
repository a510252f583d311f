/** One member on memory ports, for the tests of this package: seeded, on virtual time. */

import {
  MemoryDisk,
  MemoryLogger,
  MemoryMetrics,
  SeededRandom,
  VirtualClock,
  bytesFromLatin1,
  latin1FromBytes,
} from "@etcd-ts/base";
import type { Random } from "@etcd-ts/base";
import { PutRequestCodec, RangeRequestCodec } from "@etcd-ts/api";
import type { PutRequest, PutResponse, RangeRequest, RangeResponse } from "@etcd-ts/api";

import type { AuthPorts, PasswordHasher } from "./auth/ports.ts";
import { INTERNAL_CONTEXT, defaultServerConfig } from "./server-api.ts";
import type { Completion, RequestContext, ServerConfig } from "./server-api.ts";
import { EtcdServer } from "./server.ts";

export interface FixtureOptions {
  readonly seed?: number;
  readonly config?: Partial<ServerConfig>;
  readonly auth?: AuthPorts;
}

/** Hashes that hold the password as it is, so that virtual time need not wait for threads. */
export const SIMULATED_PASSWORDS: PasswordHasher = {
  hash: (password) => Promise.resolve(bytes(`plain:${password}`)),
  matches: (password, hash) => Promise.resolve(text(hash) === `plain:${password}`),
  hashNow: (password) => bytes(`plain:${password}`),
};

/** A member, its ports, and calls as promises that virtual time carries on. */
export class MemberFixture {
  readonly clock = new VirtualClock();
  /** Operations take effect in later turns, as on a real disk. */
  readonly disk = new MemoryDisk({ clock: this.clock });
  readonly logger = new MemoryLogger("info");
  readonly metrics = new MemoryMetrics();
  readonly random: SeededRandom;
  config: ServerConfig;
  readonly #auth: AuthPorts | undefined;
  /** What ended the running member, if it failed. */
  fatal: Error | undefined;
  #server: EtcdServer | undefined;

  constructor(options: FixtureOptions = {}) {
    this.random = new SeededRandom(options.seed ?? 1);
    this.#auth = options.auth;
    this.config = defaultServerConfig({
      name: "m1",
      dataDirectory: "/data",
      walSegmentBytes: 64 * 1024,
      ...options.config,
    });
  }

  get server(): EtcdServer {
    return this.#server!;
  }

  /** Opens the member and has it ready. */
  async start(): Promise<EtcdServer> {
    await this.open();
    this.server.start();
    await this.run(this.server.whenReady());
    return this.server;
  }

  async open(): Promise<EtcdServer> {
    const { clock, disk, logger, metrics } = this;
    this.fatal = undefined;
    const random = this.random.split("member");
    this.#server = await this.run(
      EtcdServer.open(
        this.config,
        { clock, disk, logger, metrics, random, auth: this.#auth },
        {
          onFatal: (error) => {
            this.fatal = error;
          },
          onRemoved: () => undefined,
        },
      ),
    );
    return this.#server;
  }

  async stop(): Promise<void> {
    await this.run(this.server.stop());
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  /** Takes the power away, whatever the member is at; `start` brings up what is left. */
  async crash(random?: Random): Promise<void> {
    this.disk.powerOffAfter(0);
    await this.run(this.server.stop().catch(() => undefined));
    this.disk.crash(random);
  }

  /** Lets virtual time pass until `promise` settles. */
  run<T>(promise: Promise<T>): Promise<T> {
    return this.clock.runUntil(promise);
  }

  /** Makes a call in callback style and waits for it. */
  call<T>(start: (context: RequestContext, done: Completion<T>) => void): Promise<T> {
    return this.run(promised(start));
  }

  put(key: string, value: string, fields: Partial<PutRequest> = {}): Promise<PutResponse> {
    return this.run(this.putLater(key, value, fields));
  }

  /** A put that only time to come will finish. */
  putLater(key: string, value: string, fields: Partial<PutRequest> = {}): Promise<PutResponse> {
    const request = PutRequestCodec.create({ key: bytes(key), value: bytes(value), ...fields });
    return promised((context, done) => this.server.put(request, context, done));
  }

  range(key: string, fields: Partial<RangeRequest> = {}): Promise<RangeResponse> {
    const request = RangeRequestCodec.create({ key: bytes(key), ...fields });
    return this.call((context, done) => this.server.range(request, context, done));
  }

  /** All keys and values, `key=value`. */
  async contents(fields: Partial<RangeRequest> = {}): Promise<string[]> {
    const { kvs } = await this.range("\0", { rangeEnd: bytes("\0"), ...fields });
    return kvs.map((kv) => `${text(kv.key)}=${text(kv.value)}`);
  }

  /** Revision and checksum of the key bucket. */
  async hashKV(): Promise<string> {
    const result = await this.call<{ hash: number; hashRevision: number }>((context, done) =>
      this.server.hashKV(0, context, done),
    );
    return `${result.hashRevision}:${result.hash}`;
  }
}

/** The call as a promise. */
export function promised<T>(
  start: (context: RequestContext, done: Completion<T>) => void,
): Promise<T> {
  return new Promise((resolve, reject) => {
    start(INTERNAL_CONTEXT, (error, result) => {
      if (error === undefined) resolve(result as T);
      else reject(error);
    });
  });
}

export function bytes(characters: string): Uint8Array {
  return bytesFromLatin1(characters);
}

export function text(latin1: Uint8Array): string {
  return latin1FromBytes(latin1);
}
