/**
 * Bodies of the questions members put to each other beside raft: JSON of members, versions and
 * hashes, protobuf of leases. Both sides are here, so that they can be read together.
 */

import { LeaseKeepAliveRequestCodec, LeaseKeepAliveResponseCodec } from "@etcd-ts/api";
import {
  decodeMessage,
  EMPTY_BYTES,
  encodeMessage,
  EtcdError,
  stringFromUtf8,
  WireReader,
  WireWriter,
} from "@etcd-ts/base";
import type { HashKVResult, LeaseTimeToLiveResult, MemberInfo } from "@etcd-ts/etcdserver";

/** An answer of a peer that says nothing we understand. */
export class PeerAnswerError extends EtcdError {
  readonly code = "PEER_ANSWER";
}

type JSONObject = { readonly [name: string]: unknown };

/** @throws {PeerAnswerError} */
function parseJSON(bytes: Uint8Array): unknown {
  // Ids exceed what a number holds; inside a string the quotes around the name are escaped.
  const text = stringFromUtf8(bytes).replace(/"id":\s*(\d+)/g, '"id":"$1"');
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new PeerAnswerError("invalid JSON", { cause: error });
  }
}

function isObject(value: unknown): value is JSONObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function stringsOf(value: unknown): readonly string[] | undefined {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) return undefined;
  const strings = value.filter((item): item is string => typeof item === "string");
  return strings.length === value.length ? strings : undefined;
}

/** The answer of `/members` and of `/members/promote/...`. @throws {PeerAnswerError} */
export function decodeMembers(bytes: Uint8Array): MemberInfo[] {
  const json = parseJSON(bytes);
  if (json === null) return [];
  if (!Array.isArray(json)) throw new PeerAnswerError("members are no array");
  return json.map((item: unknown) => {
    const { id, name = "", peerURLs, clientURLs, isLearner } = isObject(item) ? item : {};
    const peer = stringsOf(peerURLs);
    const client = stringsOf(clientURLs);
    const isID = typeof id === "string" && /^\d{1,20}$/.test(id);
    if (!isID || typeof name !== "string" || peer === undefined || client === undefined) {
      throw new PeerAnswerError("a member is malformed");
    }
    return {
      id: BigInt(id),
      name,
      peerURLs: peer,
      clientURLs: client,
      isLearner: isLearner === true,
    };
  });
}

/** The answer of `/version`. */
export interface PeerVersions {
  readonly server: string;
  /** "not_decided" until the first leader decided it. */
  readonly cluster: string;
}

/** @throws {PeerAnswerError} */
export function decodeVersions(bytes: Uint8Array): PeerVersions {
  const json = parseJSON(bytes);
  if (!isObject(json)) throw new PeerAnswerError("versions are no object");
  const { etcdserver = "", etcdcluster = "" } = json;
  if (typeof etcdserver !== "string" || typeof etcdcluster !== "string") {
    throw new PeerAnswerError("versions are malformed");
  }
  return { server: etcdserver, cluster: etcdcluster };
}

/** Zero is left out, as Go does. */
export function encodeHashKVRequest(revision: number): string {
  return revision === 0 ? "{}" : JSON.stringify({ revision });
}

/** The revision asked for; undefined if the body is no request. */
export function decodeHashKVRequest(bytes: Uint8Array): number | undefined {
  try {
    const json = parseJSON(bytes);
    if (json === null) return 0;
    if (!isObject(json)) return undefined;
    const { revision = 0 } = json;
    return Number.isSafeInteger(revision) ? (revision as number) : undefined;
  } catch (error) {
    if (error instanceof PeerAnswerError) return undefined;
    throw error;
  }
}

export function encodeHashKVResponse(result: HashKVResult): string {
  const { currentRevision, hash, compactRevision, hashRevision } = result;
  const orNothing = (value: number): number | undefined => (value === 0 ? undefined : value);
  return JSON.stringify({
    header: { revision: orNothing(currentRevision) },
    hash: orNothing(hash),
    compact_revision: orNothing(compactRevision),
    hash_revision: orNothing(hashRevision),
  });
}

/** @throws {PeerAnswerError} */
export function decodeHashKVResponse(bytes: Uint8Array): HashKVResult {
  const json = parseJSON(bytes);
  if (!isObject(json)) throw new PeerAnswerError("hash is no object");
  const header = isObject(json["header"]) ? json["header"] : {};
  const numberOf = (value: unknown): number => {
    if (value === undefined) return 0;
    if (!Number.isSafeInteger(value)) throw new PeerAnswerError("hash is malformed");
    return value as number;
  };
  return {
    hash: numberOf(json["hash"]),
    hashRevision: numberOf(json["hash_revision"]),
    compactRevision: numberOf(json["compact_revision"]),
    currentRevision: numberOf(header["revision"]),
  };
}

export function encodeRenewRequest(id: bigint): Uint8Array {
  return encodeMessage(LeaseKeepAliveRequestCodec, LeaseKeepAliveRequestCodec.create({ id }));
}

/** @throws {WireFormatError} */
export function decodeRenewRequest(bytes: Uint8Array): bigint {
  return decodeMessage(LeaseKeepAliveRequestCodec, bytes).id;
}

export function encodeRenewResponse(id: bigint, ttl: number): Uint8Array {
  return encodeMessage(
    LeaseKeepAliveResponseCodec,
    LeaseKeepAliveResponseCodec.create({ id, ttl }),
  );
}

/** @throws {WireFormatError} */
export function decodeRenewResponse(bytes: Uint8Array): { id: bigint; ttl: number } {
  return decodeMessage(LeaseKeepAliveResponseCodec, bytes);
}

/** `leasepb.LeaseInternalRequest`: 1 { 1 ID, 2 keys }. */
export function encodeTimeToLiveRequest(id: bigint, withKeys: boolean): Uint8Array {
  const writer = new WireWriter(32);
  const mark = writer.beginMessage(1);
  if (id !== 0n) writer.varint64Field(1, id);
  if (withKeys) writer.boolField(2, true);
  writer.endMessage(mark);
  return writer.finish();
}

/** @throws {WireFormatError} */
export function decodeTimeToLiveRequest(bytes: Uint8Array): { id: bigint; withKeys: boolean } {
  let id = 0n;
  let withKeys = false;
  for (const reader = new WireReader(bytes); reader.next();) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    for (const inner = reader.message(); inner.next();) {
      if (inner.field === 1) id = inner.int64();
      else if (inner.field === 2) withKeys = inner.bool();
      else inner.skip();
    }
  }
  return { id, withKeys };
}

/** `leasepb.LeaseInternalResponse`: 1 { 1 header, 2 ID, 3 TTL, 4 grantedTTL, 5 keys }. */
export function encodeTimeToLiveResponse(result: LeaseTimeToLiveResult): Uint8Array {
  const writer = new WireWriter(256);
  const mark = writer.beginMessage(1);
  writer.bytesField(1, EMPTY_BYTES);
  if (result.id !== 0n) writer.varint64Field(2, result.id);
  if (result.ttlSeconds !== 0) writer.varintField(3, result.ttlSeconds);
  if (result.grantedTTLSeconds !== 0) writer.varintField(4, result.grantedTTLSeconds);
  for (const key of result.keys) writer.bytesField(5, key);
  writer.endMessage(mark);
  return writer.finish();
}

/** @throws {WireFormatError} */
export function decodeTimeToLiveResponse(bytes: Uint8Array): LeaseTimeToLiveResult {
  let id = 0n;
  let ttlSeconds = 0;
  let grantedTTLSeconds = 0;
  const keys: Uint8Array[] = [];
  for (const reader = new WireReader(bytes); reader.next();) {
    if (reader.field !== 1) {
      reader.skip();
      continue;
    }
    for (const inner = reader.message(); inner.next();) {
      if (inner.field === 2) id = inner.int64();
      else if (inner.field === 3) ttlSeconds = inner.int64NumberClamped();
      else if (inner.field === 4) grantedTTLSeconds = inner.int64NumberClamped();
      else if (inner.field === 5) keys.push(inner.view());
      else inner.skip();
    }
  }
  return { id, ttlSeconds, grantedTTLSeconds, keys };
}
