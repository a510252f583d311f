/**
 * Frames of the two streams between members, and what both have in common.
 *
 * Sources: etcd's rafthttp protocol as observed on the wire. All numbers are 8 bytes, big-endian.
 */

import { EMPTY_BYTES, EtcdError, WireFormatError } from "@etcd-ts/base";
import type { WireWriter } from "@etcd-ts/base";
import { entrySizeBytes, MessageCodec, NONE } from "@etcd-ts/raft";
import type { Entry, Message } from "@etcd-ts/raft";

/** The two streams, by the last part of their path. */
export type StreamType = "message" | "msgapp";

/** As etcd's log names them. */
export const STREAM_NAMES: { readonly [type in StreamType]: string } = {
  message: "stream Message",
  msgapp: "stream MsgApp v2",
};

/** Bytes from a peer that are no frame; the connection they came on is of no more use. */
export class FrameError extends EtcdError {
  readonly code = "PEER_FRAME";
}

export function limitExceeded(): FrameError {
  return new FrameError("rafthttp: error limit exceeded");
}

/** One message, and the bytes its frame took without its own length fields. */
export interface DecodedMessage {
  readonly message: Message;
  readonly sizeBytes: number;
}

/** Turns messages into frames of one connection. */
export interface StreamEncoder {
  encode(message: Message, writer: WireWriter): void;
}

/** Turns what one connection brings into messages, however it is cut. */
export interface StreamDecoder {
  push(chunk: Uint8Array): void;
  /** The next whole message; undefined until more arrives. @throws {FrameError} */
  next(): DecodedMessage | undefined;
}

/** Says nothing but that the link lives. */
export const LINK_HEARTBEAT: Message = {
  type: "MsgHeartbeat",
  to: NONE,
  from: NONE,
  term: 0,
  logTerm: 0,
  index: 0,
  entries: [],
  commit: 0,
  vote: NONE,
  snapshot: undefined,
  reject: false,
  rejectHint: 0,
  context: EMPTY_BYTES,
  responses: [],
};

export function isLinkHeartbeat(message: Message): boolean {
  return message.type === "MsgHeartbeat" && message.from === NONE && message.to === NONE;
}

/** About as many bytes as a message takes encoded, so that a writer need not grow. */
export function messageBytesEstimate(message: Message): number {
  return (
    128 +
    entriesBytesEstimate(message.entries) +
    (message.snapshot?.data.length ?? 0) +
    message.context.length
  );
}

export function entriesBytesEstimate(entries: readonly Entry[]): number {
  let bytes = 0;
  for (const entry of entries) bytes += entrySizeBytes(entry) + 24;
  return bytes;
}

const COUNTER_PLACEHOLDER = new Uint8Array(8);

export function writeCounter(writer: WireWriter, value: number): void {
  const at = beginCounted(writer);
  setCounter(writer, at, value);
}

/** Leaves room for the length of what follows. @returns a mark for `endCounted` */
export function beginCounted(writer: WireWriter): number {
  const at = writer.length;
  writer.raw(COUNTER_PLACEHOLDER);
  return at;
}

/** Fills in the length of all written since `beginCounted`. @returns that length */
export function endCounted(writer: WireWriter, at: number): number {
  const bytes = writer.length - at - COUNTER_PLACEHOLDER.length;
  setCounter(writer, at, bytes);
  return bytes;
}

function setCounter(writer: WireWriter, at: number, value: number): void {
  const written = writer.view();
  const view = new DataView(written.buffer, written.byteOffset + at, COUNTER_PLACEHOLDER.length);
  view.setUint32(0, Math.floor(value / 0x1_0000_0000));
  view.setUint32(4, value >>> 0);
}

/** A message behind its length: a frame of the message stream, and the head of a snapshot. */
export function encodeMessageFrame(message: Message, writer: WireWriter): void {
  const at = beginCounted(writer);
  MessageCodec.encode(message, writer);
  endCounted(writer, at);
}

/** Runs a decoder of protobuf bytes. @throws {FrameError} */
export function decoding<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    if (error instanceof WireFormatError) throw new FrameError(error.message, { cause: error });
    throw error;
  }
}
