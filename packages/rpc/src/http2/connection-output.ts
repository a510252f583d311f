/**
 * What a connection sends: gathered in one output, handed to the socket whole, and written again
 * once the socket has taken it.
 *
 * Invariants:
 * - Outputs leave in the order they were written, and none is written while the socket has it.
 * - `canSend` is false from the time too much waits in the socket until it has taken all.
 */

import { Socket } from "node:net";
import type { Duplex } from "node:stream";

import { WireWriter } from "@etcd-ts/base";

import type { LargeOutputs } from "./large-outputs.ts";
import {
  HTTP2_FLUSH_BYTES,
  HTTP2_READ_PAUSE_BYTES,
  HTTP2_SEND_STALL_MS_MAX,
  HTTP2_SOCKET_QUEUE_BYTES_MAX,
} from "./limits.ts";

/** Outputs larger than this are not kept by a connection after a flush. */
const OUTPUT_KEPT_BYTES = 256 * 1024;
const OUTPUT_FIRST_BYTES = 1024;

/** What all connections of a transport share. */
export interface OutputEnvironment {
  readonly outputs: LargeOutputs;
  nowMs(): number;
}

export class ConnectionOutput {
  /** Replaced by a flush. */
  writer = new WireWriter(OUTPUT_FIRST_BYTES);
  /** The socket takes more. */
  canSend = true;
  readonly #environment: OutputEnvironment;
  readonly #socket: Duplex;
  /** A stream in memory hands on the bytes themselves: what was written there is never reused. */
  readonly #copiesWrites: boolean;
  /** Outputs whose bytes the socket has not taken yet, in order. */
  readonly #leaving: WireWriter[] = [];
  /** Takes the place of the output when that leaves. */
  #spare: WireWriter | undefined;
  #isReadPaused = false;
  #lastWriteDoneMs: number;
  #isOver = false;

  constructor(environment: OutputEnvironment, socket: Duplex, nowMs: number) {
    this.#environment = environment;
    this.#socket = socket;
    this.#copiesWrites = socket instanceof Socket;
    this.#lastWriteDoneMs = nowMs;
  }

  /** Whether there is so much that it should leave before the turn ends. */
  get isFull(): boolean {
    return this.writer.length > HTTP2_FLUSH_BYTES;
  }

  /** Whether the socket has not taken anything for too long. */
  isStalled(nowMs: number): boolean {
    return this.#leaving.length > 0 && nowMs - this.#lastWriteDoneMs >= HTTP2_SEND_STALL_MS_MAX;
  }

  flush(nowMs: number): void {
    const { writer } = this;
    const socket = this.#socket;
    if (writer.length === 0) return;
    if (socket.destroyed || socket.writableEnded) {
      writer.reset();
      return;
    }
    this.writer = this.#next();
    if (this.#leaving.length === 0) this.#lastWriteDoneMs = nowMs;
    this.#leaving.push(writer);
    const { buffer } = writer;
    socket.write(Buffer.from(buffer.buffer, buffer.byteOffset, writer.length), this.#onWritten);
    const waiting = socket.writableLength;
    if (waiting > HTTP2_SOCKET_QUEUE_BYTES_MAX) this.canSend = false;
    if (waiting > HTTP2_READ_PAUSE_BYTES && !this.#isReadPaused) {
      this.#isReadPaused = true;
      socket.pause();
    }
  }

  #next(): WireWriter {
    // In the middle of a long answer it would grow to the same size.
    if (this.isFull && this.#copiesWrites) return this.#environment.outputs.take();
    const next = this.#spare ?? new WireWriter(OUTPUT_FIRST_BYTES);
    this.#spare = undefined;
    return next;
  }

  readonly #onWritten = (): void => {
    this.#lastWriteDoneMs = this.#environment.nowMs();
    const writer = this.#leaving.shift();
    if (writer === undefined || !this.#copiesWrites || this.#isOver) return;
    if (this.#environment.outputs.takeBack(writer)) return;
    if (writer.capacity > OUTPUT_KEPT_BYTES) return;
    writer.reset();
    this.#spare = writer;
  };

  /** The socket has taken all. */
  drained(): void {
    this.canSend = true;
    this.#resumeReading();
  }

  /** Lets go of memory that is not in use. */
  shrink(): void {
    this.#spare = undefined;
    if (this.writer.length === 0 && this.writer.capacity > OUTPUT_FIRST_BYTES) {
      this.writer = new WireWriter(OUTPUT_FIRST_BYTES);
    }
  }

  /** Sends what there is, and no more. */
  end(nowMs: number): void {
    this.flush(nowMs);
    this.#isOver = true;
    this.#resumeReading();
    this.#socket.end();
  }

  /** Forgets what was not sent. */
  discard(): void {
    this.#isOver = true;
    this.writer.reset();
  }

  #resumeReading(): void {
    if (!this.#isReadPaused) return;
    this.#isReadPaused = false;
    this.#socket.resume();
  }
}
