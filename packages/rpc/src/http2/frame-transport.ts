/**
 * The server's own HTTP/2: an `RpcServerTransport` made for gRPC. See docs/internals/http2.md.
 *
 * It holds what its connections share: the options, the deadlines, one timer that looks for
 * silence, and the list of connections with something to send at the end of the turn.
 */

import type { Duplex } from "node:stream";

import { NULL_LOGGER } from "@etcd-ts/base";
import type { Timer } from "@etcd-ts/base";

import type { Peer } from "../call.ts";
import { DeadlineQueue } from "../deadline-queue.ts";
import { MemoryBudget } from "../memory-budget.ts";
import {
  CONCURRENT_STREAMS_MAX,
  CONNECTION_MEMORY_BYTES_MAX,
  DEFAULT_KEEPALIVE,
  HANDSHAKE_TIMEOUT_MS,
  HEADER_LIST_BYTES_MAX,
  MEMORY_BYTES_MAX,
  RECEIVE_MESSAGE_BYTES_MAX,
  SEND_HIGH_WATER_BYTES,
} from "../server/transport.ts";
import type { RpcServerTransport, TransportOptions } from "../server/transport.ts";
import { FrameConnection } from "./frame-connection.ts";
import type { ConnectionEnvironment } from "./frame-connection.ts";
import { LargeOutputs } from "./large-outputs.ts";
import { HTTP2_SWEEP_INTERVAL_MS } from "./limits.ts";

export class FrameTransport implements RpcServerTransport {
  readonly #options: TransportOptions;
  readonly #environment: ConnectionEnvironment;
  readonly #connections = new Set<FrameConnection>();
  readonly #sweepIntervalMs: number;
  #dirty: FrameConnection[] = [];
  #sweepTimer: Timer | undefined;
  #isClosing = false;
  #onEmpty: (() => void) | undefined;

  constructor(options: TransportOptions) {
    const { clock } = options;
    const keepalive = { ...DEFAULT_KEEPALIVE, ...options.keepalive };
    const handshakeTimeoutMs = options.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS;
    this.#options = options;
    this.#sweepIntervalMs = Math.max(
      1,
      Math.min(
        HTTP2_SWEEP_INTERVAL_MS,
        keepalive.timeMs,
        keepalive.timeoutMs,
        handshakeTimeoutMs / 2,
      ),
    );
    this.#environment = {
      table: options.table,
      deadlines: new DeadlineQueue(clock),
      logger: options.logger ?? NULL_LOGGER,
      httpHandler: options.httpHandler,
      byteCounters: options.byteCounters,
      keepalive,
      handshakeTimeoutMs,
      receiveMessageBytesMax: options.receiveMessageBytesMax ?? RECEIVE_MESSAGE_BYTES_MAX,
      sendHighWaterBytes: options.sendHighWaterBytes ?? SEND_HIGH_WATER_BYTES,
      concurrentStreamsMax: options.concurrentStreamsMax ?? CONCURRENT_STREAMS_MAX,
      headerListBytesMax: options.headerListBytesMax ?? HEADER_LIST_BYTES_MAX,
      connectionMemoryBytesMax: options.connectionMemoryBytesMax ?? CONNECTION_MEMORY_BYTES_MAX,
      outputs: new LargeOutputs(),
      memory: new MemoryBudget(options.memoryBytesMax ?? MEMORY_BYTES_MAX),
      nowMs: () => clock.monotonicMs(),
      setTimer: (delayMs, run) => clock.setTimer(delayMs, run),
      schedule: (connection) => this.#schedule(connection),
      closed: (connection) => this.#closed(connection),
    };
  }

  /** Open connections; for tests and metrics. */
  get connectionCount(): number {
    return this.#connections.size;
  }

  handleConnection(socket: Duplex, peer: Peer): void {
    if (this.#isClosing || socket.destroyed) {
      socket.destroy();
      return;
    }
    const connection = new FrameConnection(this.#environment, socket, peer);
    this.#connections.add(connection);
    this.#environment.memory.join();
    connection.open();
    this.#armSweep();
  }

  #schedule(connection: FrameConnection): void {
    if (this.#dirty.push(connection) > 1) return;
    this.#options.clock.nextTurn(() => {
      const dirty = this.#dirty;
      this.#dirty = [];
      for (const one of dirty) one.endTurn();
    });
  }

  #closed(connection: FrameConnection): void {
    if (!this.#connections.delete(connection)) return;
    this.#environment.memory.leave();
    if (this.#connections.size > 0) return;
    this.#sweepTimer?.cancel();
    this.#sweepTimer = undefined;
    this.#onEmpty?.();
  }

  #armSweep(): void {
    if (this.#sweepTimer !== undefined || this.#connections.size === 0) return;
    this.#sweepTimer = this.#options.clock.setTimer(this.#sweepIntervalMs, () => {
      this.#sweepTimer = undefined;
      for (const connection of this.#connections) connection.sweep();
      this.#armSweep();
    });
  }

  close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    return new Promise((resolve) => {
      const finish = (): void => {
        timer.cancel();
        this.#environment.deadlines.close();
        resolve();
      };
      const timer = this.#options.clock.setTimer(graceMs, () => {
        for (const connection of this.#connections) connection.destroy();
      });
      this.#onEmpty = finish;
      for (const connection of this.#connections) connection.drain();
      if (this.#connections.size === 0) finish();
    });
  }
}
