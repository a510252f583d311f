/**
 * The header fields gRPC gives a meaning: time-outs, status messages, metadata.
 * Source: github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md.
 */

import type { OutgoingHttpHeaders } from "node:http";

import { bytesFromLatin1, stringFromUtf8, utf8FromString } from "@etcd-ts/base";

import { Metadata, isBinaryName } from "../metadata.ts";

const UNIT_MS: { readonly [unit: string]: number } = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** Go's longest duration; what exceeds it is cut to it. */
const TIMEOUT_MS_MAX = 9_223_372_036_854;

/**
 * Milliseconds of a `grpc-timeout` value: up to 8 digits and a unit.
 *
 * @returns a text saying what is wrong with it, in grpc-go's words
 */
export function decodeTimeout(value: string): number | string {
  const quoted = JSON.stringify(value);
  if (value.length < 2) return `transport: timeout string is too short: ${quoted}`;
  if (value.length > 9) return `transport: timeout string is too long: ${quoted}`;
  const unitMs = UNIT_MS[value.at(-1)!];
  if (unitMs === undefined) return `transport: timeout unit is not recognized: ${quoted}`;
  const digits = value.slice(0, -1);
  if (!/^\d+$/.test(digits)) {
    return `strconv.ParseUint: parsing ${JSON.stringify(digits)}: invalid syntax`;
  }
  return Math.min(Number(digits) * unitMs, TIMEOUT_MS_MAX);
}

/** The shortest unit in which `timeoutMs` fits 8 digits, rounded up. */
export function encodeTimeout(timeoutMs: number): string {
  if (timeoutMs <= 0) return "0n";
  const units: [string, number][] = [
    ["u", 1e-3],
    ["m", 1],
    ["S", 1_000],
    ["M", 60_000],
  ];
  for (const [unit, unitMs] of units) {
    const count = Math.ceil(timeoutMs / unitMs);
    if (count <= 99_999_999) return `${count}${unit}`;
  }
  return `${Math.min(Math.ceil(timeoutMs / 3_600_000), 99_999_999)}H`;
}

/** Percent-encodes all but printable ASCII, as `grpc-message` demands. */
export function encodeStatusMessage(message: string): string {
  if (/^[ -$&-~]*$/.test(message)) return message;
  let text = "";
  for (const byte of utf8FromString(message)) {
    text +=
      byte >= 0x20 && byte <= 0x7e && byte !== 0x25
        ? String.fromCharCode(byte)
        : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return text;
}

/** The inverse; what is no percent-encoding stays as it is. */
export function decodeStatusMessage(text: string): string {
  if (!text.includes("%")) return text;
  const latin1 = text.replace(/%([0-9a-fA-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(parseInt(hex, 16)),
  );
  return /^[\0-\u00ff]*$/.test(latin1) ? stringFromUtf8(bytesFromLatin1(latin1)) : latin1;
}

/** Fields that are the protocol's own and no metadata. */
const RESERVED_NAMES: ReadonlySet<string> = new Set([
  "content-type",
  "grpc-message-type",
  "grpc-encoding",
  "grpc-message",
  "grpc-status",
  "grpc-timeout",
  "te",
]);

/**
 * Metadata of a request or response, from names and values in turn.
 *
 * @returns a text saying which binary value is malformed
 */
export function decodeMetadata(rawHeaders: readonly string[]): Metadata | string {
  const metadata = new Metadata();
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    const value = rawHeaders[i + 1]!;
    if (name.startsWith(":") ? name !== ":authority" : RESERVED_NAMES.has(name)) continue;
    if (!isBinaryName(name)) {
      metadata.append(name, value);
      continue;
    }
    for (const part of value.split(",")) {
      const decoded = decodeBinaryValue(part.trim());
      if (decoded === undefined) {
        return `malformed binary metadata ${JSON.stringify(value)} in header ${JSON.stringify(name)}`;
      }
      metadata.append(name, decoded);
    }
  }
  return metadata;
}

/** Adds the wire form of `metadata` to `headers`; the protocol's own names are left out. */
export function encodeMetadata(metadata: Metadata, headers: OutgoingHttpHeaders): void {
  for (const [name, values] of metadata.entries()) {
    if (name.startsWith(":") || RESERVED_NAMES.has(name)) continue;
    const encoded = isBinaryName(name) ? values.map(encodeBinaryValue) : [...values];
    headers[name] = encoded.length === 1 ? encoded[0]! : encoded;
  }
}

function encodeBinaryValue(value: string): string {
  return Buffer.from(value, "latin1").toString("base64").replace(/=+$/, "");
}

function decodeBinaryValue(value: string): string | undefined {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value)) return undefined;
  return Buffer.from(value, "base64").toString("latin1");
}
