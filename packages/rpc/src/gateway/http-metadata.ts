/** Which HTTP headers become metadata of the call, under which names: the rules of grpc-gateway. */

import { Metadata, isBinaryName } from "../metadata.ts";

/** Names in lower case that pass with a prefix; RFC 9110 and the registry call them permanent. */
const PERMANENT_NAMES: ReadonlySet<string> = new Set([
  "accept",
  "accept-charset",
  "accept-language",
  "accept-ranges",
  "authorization",
  "cache-control",
  "content-type",
  "cookie",
  "date",
  "expect",
  "from",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-schedule-tag-match",
  "if-unmodified-since",
  "max-forwards",
  "origin",
  "pragma",
  "referer",
  "user-agent",
  "via",
  "warning",
]);

const METADATA_PREFIX = "grpc-metadata-";
const TIMEOUT_UNIT_MS: { readonly [unit: string]: number } = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** An HTTP request's head, whichever protocol brought it. */
export interface HttpHead {
  readonly method: string;
  /** Without the query, as sent. */
  readonly path: string;
  /** Names in lower case, one entry a value. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Without a port. */
  readonly remoteHost: string | undefined;
}

export interface GatewayHead {
  readonly metadata: Metadata;
  readonly timeoutMs: number | undefined;
}

/** @returns a text saying which header is refused */
export function gatewayHead(head: HttpHead): GatewayHead | string {
  const metadata = new Metadata();
  let timeoutMs: number | undefined;
  let host: string | undefined;
  let forwardedHost: string | undefined;
  const forwardedFor: string[] = [];
  for (const [name, value] of head.headers) {
    if (name === "x-forwarded-for") forwardedFor.push(value);
    else if (name === "x-forwarded-host") forwardedHost ??= value;
    else if (name === "host" || name === ":authority") host ??= value;
    else if (name === "grpc-timeout" && timeoutMs === undefined) {
      timeoutMs = timeoutFrom(value);
      if (timeoutMs === undefined) return `invalid grpc-timeout: ${value}`;
    } else {
      const refused = appendHeader(metadata, name, value);
      if (refused !== undefined) return refused;
    }
  }
  const forwarded = forwardedHost ?? host;
  if (forwarded !== undefined) metadata.append("x-forwarded-host", forwarded);
  if (head.remoteHost !== undefined) forwardedFor.push(head.remoteHost);
  if (forwardedFor.length > 0) metadata.append("x-forwarded-for", forwardedFor.join(", "));
  return { metadata, timeoutMs: timeoutMs === 0 ? undefined : timeoutMs };
}

function appendHeader(metadata: Metadata, name: string, value: string): string | undefined {
  if (name === "authorization") metadata.append("authorization", value);
  const forwarded = forwardedName(name);
  if (forwarded === undefined || !/^[0-9a-z._-]*$/.test(forwarded)) return undefined;
  if (isBinaryName(name)) {
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(value)) {
      return `invalid binary header ${name}: illegal base64 data`;
    }
    metadata.append(forwarded, Buffer.from(value, "base64").toString("latin1"));
  } else if (/^[ -~]*$/.test(value)) metadata.append(forwarded, value);
  return undefined;
}

function forwardedName(name: string): string | undefined {
  if (PERMANENT_NAMES.has(name)) return `grpcgateway-${name}`;
  return name.startsWith(METADATA_PREFIX) ? name.slice(METADATA_PREFIX.length) : undefined;
}

/** Milliseconds; undefined if it is no time-out. Negative ones have passed already. */
function timeoutFrom(value: string): number | undefined {
  const unitMs = TIMEOUT_UNIT_MS[value.at(-1) ?? ""];
  const digits = value.slice(0, -1);
  if (unitMs === undefined || !/^[+-]?\d{1,19}$/.test(digits)) return undefined;
  return Number(digits) * unitMs;
}
