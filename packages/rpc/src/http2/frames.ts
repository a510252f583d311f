/** Numbers and layouts of HTTP/2 frames. Source: RFC 9113. */

import type { WireWriter } from "@etcd-ts/base";

export const PREFACE_TEXT = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

export const FRAME_HEADER_BYTES = 9;
export const WINDOW_BYTES_MAX = 0x7fff_ffff;
export const INITIAL_WINDOW_BYTES = 65_535;
/** Ours and, unless it says otherwise, the client's. */
export const FRAME_PAYLOAD_BYTES_MAX = 16_384;

export const FrameType = {
  DATA: 0,
  HEADERS: 1,
  PRIORITY: 2,
  RST_STREAM: 3,
  SETTINGS: 4,
  PUSH_PROMISE: 5,
  PING: 6,
  GOAWAY: 7,
  WINDOW_UPDATE: 8,
  CONTINUATION: 9,
} as const;

export const Flag = {
  END_STREAM: 0x1,
  ACK: 0x1,
  END_HEADERS: 0x4,
  PADDED: 0x8,
  PRIORITY: 0x20,
} as const;

export const ErrorCode = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  ENHANCE_YOUR_CALM: 11,
} as const;
export type ErrorCode = (typeof ErrorCode)[keyof typeof ErrorCode];

export const Setting = {
  HEADER_TABLE_SIZE: 1,
  ENABLE_PUSH: 2,
  MAX_CONCURRENT_STREAMS: 3,
  INITIAL_WINDOW_SIZE: 4,
  MAX_FRAME_SIZE: 5,
  MAX_HEADER_LIST_SIZE: 6,
} as const;

/** Three bytes, big-endian. */
export function readUint24(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
}

/** Four bytes, big-endian, as a number without sign. */
export function readUint32(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  );
}

export function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Puts a frame header at `at`, over 9 bytes that are there already. */
export function patchFrameHeader(
  bytes: Uint8Array,
  at: number,
  payloadBytes: number,
  type: number,
  flags: number,
  streamID: number,
): void {
  bytes[at] = payloadBytes >>> 16;
  bytes[at + 1] = payloadBytes >>> 8;
  bytes[at + 2] = payloadBytes;
  bytes[at + 3] = type;
  bytes[at + 4] = flags;
  writeUint32(bytes, at + 5, streamID);
}

/** Appends a frame header and room for the payload. @returns the payload's offset */
export function appendFrame(
  output: WireWriter,
  payloadBytes: number,
  type: number,
  flags: number,
  streamID: number,
): number {
  const at = output.extend(FRAME_HEADER_BYTES + payloadBytes);
  patchFrameHeader(output.buffer, at, payloadBytes, type, flags, streamID);
  return at + FRAME_HEADER_BYTES;
}

/** RST_STREAM and WINDOW_UPDATE: one number. */
export function appendNumberFrame(
  output: WireWriter,
  type: number,
  streamID: number,
  value: number,
): void {
  const at = appendFrame(output, 4, type, 0, streamID);
  writeUint32(output.buffer, at, value);
}

/** @param settings - ids and values in turn */
export function appendSettings(output: WireWriter, settings: readonly number[]): void {
  let at = appendFrame(output, settings.length * 3, FrameType.SETTINGS, 0, 0);
  const bytes = output.buffer;
  for (let i = 0; i + 1 < settings.length; i += 2) {
    bytes[at] = settings[i]! >>> 8;
    bytes[at + 1] = settings[i]!;
    writeUint32(bytes, at + 2, settings[i + 1]!);
    at += 6;
  }
}

/** @param reason - ASCII */
export function appendGoaway(
  output: WireWriter,
  lastStreamID: number,
  code: ErrorCode,
  reason: string,
): void {
  const at = appendFrame(output, 8 + reason.length, FrameType.GOAWAY, 0, 0);
  const bytes = output.buffer;
  writeUint32(bytes, at, lastStreamID);
  writeUint32(bytes, at + 4, code);
  for (let i = 0; i < reason.length; i++) bytes[at + 8 + i] = reason.charCodeAt(i);
}
