/**
 * Connections that have yet to say hello, and those that have and wait for their turn.
 *
 * Answering a hello costs the loop half a millisecond or more. A thousand that come at once would
 * cost half a second, in which no heartbeat leaves; so a few are answered in each turn.
 *
 * They are started where the loop polls for I/O. Node drops what TLS has to say (an alert) while it
 * has not seen the end of the write before, and it sees that after polling: started anywhere else,
 * an answer to a quick client would still count as being written when the refusal is due.
 *
 * Invariants:
 * - A connection costs nothing but its place until its first record is there as a whole.
 * - At most `HELLOS_PER_TURN` are started in one turn, in the order in which they were complete.
 * - Every connection added is started once, given up once with a reason, or was destroyed by others.
 */

import type { Socket } from "node:net";
import { MessageChannel } from "node:worker_threads";

export const HELLOS_PER_TURN = 4;

const RECORD_HEADER_BYTES = 5;
const HANDSHAKE_RECORD = 22;
/** Longer records are not waited for: the handshake refuses them. */
const RECORD_BYTES_MAX = 16 * 1024 + 256;

export interface HelloQueueOptions {
  readonly timeoutMs: number;
  /** Takes over a connection whose first bytes wait in it. */
  readonly start: (socket: Socket) => void;
  /** Is told why there is no hello; the connection is gone after it. */
  readonly giveUp: (socket: Socket, reason: "EOF" | "i/o timeout") => void;
}

export class HelloQueue {
  readonly #options: HelloQueueOptions;
  readonly #ready = new Set<Socket>();
  /** A message to oneself arrives where the loop polls. */
  readonly #turns = new MessageChannel();
  #isScheduled = false;

  constructor(options: HelloQueueOptions) {
    this.#options = options;
    this.#turns.port1.on("message", () => this.#startSome());
    this.#turns.port1.unref();
  }

  /** Starts no more. Idempotent. */
  close(): void {
    this.#turns.port1.close();
  }

  add(socket: Socket): void {
    let held: Buffer = Buffer.alloc(0);
    const done = (): void => {
      clearTimeout(timer);
      socket.off("readable", onReadable);
      socket.off("end", onEnd);
      socket.off("close", onEnd);
    };
    const giveUp = (reason: "EOF" | "i/o timeout"): void => {
      done();
      this.#options.giveUp(socket, reason);
      socket.destroy();
    };
    const onEnd = (): void => giveUp("EOF");
    const onReadable = (): void => {
      for (let chunk: Buffer | null; (chunk = socket.read() as Buffer | null) !== null;) {
        held = held.length === 0 ? chunk : Buffer.concat([held, chunk]);
      }
      if (!isWholeRecord(held)) return;
      done();
      socket.unshift(held);
      this.#queue(socket);
    };
    const timer = setTimeout(() => giveUp("i/o timeout"), this.#options.timeoutMs);
    socket.on("readable", onReadable);
    socket.once("end", onEnd);
    socket.once("close", onEnd);
  }

  #queue(socket: Socket): void {
    this.#ready.add(socket);
    socket.once("close", () => this.#ready.delete(socket));
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    // Not at once: a message posted while one is handled would be handled in the same turn.
    setImmediate(() => this.#turns.port2.postMessage(0));
  }

  #startSome(): void {
    this.#isScheduled = false;
    let started = 0;
    for (const socket of this.#ready) {
      if (started++ === HELLOS_PER_TURN) break;
      this.#ready.delete(socket);
      if (!socket.destroyed) this.#options.start(socket);
    }
    if (this.#ready.size > 0) this.#schedule();
  }
}

/** Also of what is no record at all, which needs no waiting to be refused. */
function isWholeRecord(bytes: Buffer): boolean {
  if (bytes.length === 0) return false;
  if (bytes[0] !== HANDSHAKE_RECORD) return true;
  if (bytes.length < RECORD_HEADER_BYTES) return false;
  const length = bytes.readUInt16BE(3);
  return bytes.length >= RECORD_HEADER_BYTES + Math.min(length, RECORD_BYTES_MAX);
}
