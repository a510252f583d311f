/** Fixed-width big-endian numbers, as the backend stores them. */

import { CorruptionError, invariant } from "@etcd-ts/base";

const TWO_POW_32 = 0x1_0000_0000;

/** 8 bytes, big-endian, at `offset`. `value` is a non-negative safe integer. */
export function writeUint64(target: Uint8Array, offset: number, value: number): void {
  invariant(value >= 0 && Number.isSafeInteger(value), () => `writeUint64: ${value}`);
  const high = Math.floor(value / TWO_POW_32);
  const low = value >>> 0;
  target[offset] = high >>> 24;
  target[offset + 1] = high >>> 16;
  target[offset + 2] = high >>> 8;
  target[offset + 3] = high;
  target[offset + 4] = low >>> 24;
  target[offset + 5] = low >>> 16;
  target[offset + 6] = low >>> 8;
  target[offset + 7] = low;
}

/** The inverse of `writeUint64`; undefined beyond 2^53 - 1 or past the end. */
export function readUint64(bytes: Uint8Array, offset: number): number | undefined {
  if (offset + 8 > bytes.length) return undefined;
  const high = readUint32(bytes, offset);
  if (high >= 0x20_0000) return undefined;
  return high * TWO_POW_32 + readUint32(bytes, offset + 4);
}

export function uint64Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeUint64(bytes, 0, value);
  return bytes;
}

/** The low 64 bits of an identity, big-endian. */
export function idBytes(id: bigint): Uint8Array {
  const bytes = new Uint8Array(8);
  let rest = BigInt.asUintN(64, id);
  for (let i = 7; i >= 0; i--) {
    bytes[i] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  return bytes;
}

/** @throws {CorruptionError} naming `what` unless `bytes` is one number of 8 bytes */
export function mustReadUint64(bytes: Uint8Array, what: string, path: string): number {
  const value = bytes.length === 8 ? readUint64(bytes, 0) : undefined;
  if (value === undefined) throw new CorruptionError(`${what} is no 64-bit counter`, path, 0);
  return value;
}

function readUint32(bytes: Uint8Array, offset: number): number {
  return (
    ((bytes[offset]! << 24) |
      (bytes[offset + 1]! << 16) |
      (bytes[offset + 2]! << 8) |
      bytes[offset + 3]!) >>>
    0
  );
}
