/**
 * One HTTP/2 stream: its two windows, what waits to be sent, and how it ends.
 *
 * Invariants:
 * - What is sent leaves in order: a message goes straight into the connection's output only while
 *   nothing waits in the queue.
 * - The queue holds bytes only because a window is empty or the socket is behind; a stream held up
 *   by the connection is in its list of blocked streams, one held up by its own window is not.
 * - After `isClosed` neither side of the stream says anything more.
 */

import type { WireWriter } from "@etcd-ts/base";

import {
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  Flag,
  FrameType,
  appendFrame,
  appendNumberFrame,
  patchFrameHeader,
} from "./frames.ts";
import type { ErrorCode } from "./frames.ts";
import type { HpackEncoder } from "./hpack-encoder.ts";
import { HTTP2_SMALL_DATA_BYTES, HTTP2_STREAM_WINDOW_BYTES } from "./limits.ts";

/** What a stream needs of its connection. */
export interface StreamHost {
  /** Ask for it anew at each use: it is replaced after a flush. */
  readonly output: WireWriter;
  readonly encoder: HpackEncoder;
  /** The socket takes more. */
  readonly canSend: boolean;
  /** What the client lets all streams send together. */
  sendWindow: number;
  /** Call after every whole frame. */
  wrote(): void;
  /** Headers or data went out. */
  forgivePings(): void;
  /** Counts memory held for the client. @returns false if it is too much */
  hold(bytes: number): boolean;
  /** Pumps `stream` when the connection can send again. */
  block(stream: FrameStream): void;
  /** This side has sent its last frame. */
  endedLocally(stream: FrameStream): void;
  /** Ends `stream` with RST_STREAM now. */
  reset(stream: FrameStream, code: ErrorCode): void;
  /** Ends `stream` at the end of the turn, because it holds too much. */
  doom(stream: FrameStream): void;
  countSmallData(): void;
}

/** A frame whose payload is longer than allowed becomes several, in place. */
export function finishFrames(
  output: WireWriter,
  start: number,
  type: number,
  flags: number,
  streamID: number,
): void {
  const payloadBytes = output.length - start - FRAME_HEADER_BYTES;
  // END_HEADERS belongs to the last frame, END_STREAM to the first: header blocks carry both.
  const isHeaders = type === FrameType.HEADERS;
  const lastFlags = isHeaders ? Flag.END_HEADERS : 0;
  if (payloadBytes <= FRAME_PAYLOAD_BYTES_MAX) {
    patchFrameHeader(output.buffer, start, payloadBytes, type, flags | lastFlags, streamID);
    return;
  }
  const frames = Math.ceil(payloadBytes / FRAME_PAYLOAD_BYTES_MAX);
  output.extend((frames - 1) * FRAME_HEADER_BYTES);
  const bytes = output.buffer;
  const nextType = isHeaders ? FrameType.CONTINUATION : type;
  for (let i = frames - 1; i > 0; i--) {
    const offset = i * FRAME_PAYLOAD_BYTES_MAX;
    const partBytes = Math.min(FRAME_PAYLOAD_BYTES_MAX, payloadBytes - offset);
    const from = start + FRAME_HEADER_BYTES + offset;
    const to = from + i * FRAME_HEADER_BYTES;
    bytes.copyWithin(to, from, from + partBytes);
    const partFlags = i === frames - 1 ? lastFlags : 0;
    patchFrameHeader(bytes, to - FRAME_HEADER_BYTES, partBytes, nextType, partFlags, streamID);
  }
  patchFrameHeader(bytes, start, FRAME_PAYLOAD_BYTES_MAX, type, flags, streamID);
}

export abstract class FrameStream {
  readonly id: number;
  protected readonly host: StreamHost;
  /** What the client lets this stream send; may be negative after its SETTINGS. */
  sendWindow: number;
  /** What we let the client send. */
  receiveWindow = HTTP2_STREAM_WINDOW_BYTES;
  /** Body bytes the client announced and has not sent; -1 if it did not say. */
  bodyBytesLeft = -1;
  remoteEnded = false;
  localEnded = false;
  isClosed = false;
  /** Bytes the connection counts for this stream. */
  heldBytes = 0;
  /** Made when the first bytes have to wait. */
  #queue: Uint8Array[] | undefined;
  #queueOffset = 0;
  #queuedBytes = 0;
  #endsWhenSent = false;
  #isDraining = false;
  #uncredited = 0;
  #isReadPaused = false;

  constructor(host: StreamHost, id: number, sendWindow: number) {
    this.host = host;
    this.id = id;
    this.sendWindow = sendWindow;
  }

  // For the connection

  /** Takes body bytes `bytes[start, end)`, which stay as they are. */
  abstract onData(bytes: Uint8Array, start: number, end: number): void;
  /** The client will send no more. */
  abstract onRemoteEnd(): void;
  /** The stream is over, in whatever way; called once. */
  protected abstract onClosed(): void;
  /** The queue is empty again after `isBehind` was seen. */
  protected abstract onDrained(): void;
  /** Writes what ends the stream. */
  protected abstract writeEnd(): void;

  /** Forgets what waits; nothing is sent or taken any more. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#queue = undefined;
    this.#queuedBytes = 0;
    this.host.hold(-this.heldBytes);
    this.heldBytes = 0;
    this.onClosed();
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** Gives `bytes` of the window back to the client, unless reading is paused. */
  credit(bytes: number): void {
    this.#uncredited += bytes;
    if (this.#isReadPaused || this.#uncredited < HTTP2_STREAM_WINDOW_BYTES / 2) return;
    if (this.remoteEnded || this.isClosed) return;
    appendNumberFrame(this.host.output, FrameType.WINDOW_UPDATE, this.id, this.#uncredited);
    this.receiveWindow += this.#uncredited;
    this.#uncredited = 0;
    this.host.wrote();
  }

  /** Sends what the windows and the socket allow, at most `bytesMax`. */
  pump(bytesMax = Infinity): void {
    let left = bytesMax;
    while (this.#queuedBytes > 0 && this.host.canSend && left > 0) {
      const window = Math.min(this.sendWindow, this.host.sendWindow);
      if (window <= 0) break;
      const bytes = Math.min(window, this.#queuedBytes, FRAME_PAYLOAD_BYTES_MAX);
      this.#sendQueued(bytes);
      left -= bytes;
      if (bytes === window && bytes < HTTP2_SMALL_DATA_BYTES) this.host.countSmallData();
    }
    if (this.isClosed) return;
    if (this.#queuedBytes > 0) {
      if (this.sendWindow > 0) this.host.block(this);
      return;
    }
    if (this.#isDraining) {
      this.#isDraining = false;
      this.onDrained();
    }
    this.#endIfSent();
  }

  // For the two kinds of streams

  protected get isReadPaused(): boolean {
    return this.#isReadPaused;
  }

  protected setReadPaused(paused: boolean): void {
    this.#isReadPaused = paused;
    if (!paused) this.credit(0);
  }

  /** Whether more than `highWaterBytes` wait; if so, `onDrained` is called when none do. */
  protected isBehind(highWaterBytes: number): boolean {
    if (this.#queuedBytes < highWaterBytes) return false;
    this.#isDraining = true;
    return true;
  }

  /** Whether the next message may go straight into the output. */
  protected get mayWrite(): boolean {
    return this.#queuedBytes === 0 && this.host.canSend;
  }

  /**
   * Turns what was written after 9 spare bytes at `start` into DATA frames, if the windows allow;
   * else moves it into the queue.
   */
  protected finishData(start: number): void {
    const { host } = this;
    const { output } = host;
    const bytes = output.length - start - FRAME_HEADER_BYTES;
    if (bytes <= this.sendWindow && bytes <= host.sendWindow) {
      finishFrames(output, start, FrameType.DATA, 0, this.id);
      this.sendWindow -= bytes;
      host.sendWindow -= bytes;
      host.wrote();
      return;
    }
    const copy = output.buffer.slice(start + FRAME_HEADER_BYTES, output.length);
    output.truncate(start);
    this.enqueue(copy);
  }

  /** Sends `bytes`, now or later; they must not change. */
  protected enqueue(bytes: Uint8Array): void {
    if (this.isClosed || bytes.length === 0) return;
    this.#queue ??= [];
    this.#queue.push(bytes);
    this.#queuedBytes += bytes.length;
    this.heldBytes += bytes.length;
    if (!this.host.hold(bytes.length)) this.host.doom(this);
    this.pump();
  }

  /** Ends the stream once the queue is empty. */
  protected endWhenSent(): void {
    this.#endsWhenSent = true;
    this.#endIfSent();
  }

  /** The frame that was written last had END_STREAM. */
  protected endedLocally(): void {
    this.localEnded = true;
    this.host.wrote();
    this.host.endedLocally(this);
  }

  #endIfSent(): void {
    if (!this.#endsWhenSent || this.#queuedBytes > 0 || this.localEnded || this.isClosed) return;
    this.writeEnd();
    this.endedLocally();
  }

  #sendQueued(bytes: number): void {
    const { host } = this;
    let at = appendFrame(host.output, bytes, FrameType.DATA, 0, this.id);
    const buffer = host.output.buffer;
    const queue = this.#queue!;
    let left = bytes;
    let used = 0;
    while (left > 0) {
      const chunk = queue[used]!;
      const partBytes = Math.min(left, chunk.length - this.#queueOffset);
      buffer.set(chunk.subarray(this.#queueOffset, this.#queueOffset + partBytes), at);
      at += partBytes;
      left -= partBytes;
      this.#queueOffset += partBytes;
      if (this.#queueOffset < chunk.length) break;
      used++;
      this.#queueOffset = 0;
    }
    if (used > 0) queue.splice(0, used);
    this.#queuedBytes -= bytes;
    this.heldBytes -= bytes;
    host.hold(-bytes);
    this.sendWindow -= bytes;
    host.sendWindow -= bytes;
    host.forgivePings();
    host.wrote();
  }
}
