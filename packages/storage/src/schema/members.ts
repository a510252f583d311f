/** The `members`, `members_removed` and `cluster` buckets. */

import { CorruptionError, hexFromID, stringFromUtf8, utf8FromString } from "@etcd-ts/base";
import type { Backend } from "../backend/backend.ts";
import { goString, goStrings, isObject, parseJSON, stringsOf } from "./json.ts";
import type { JSONValue } from "./json.ts";

const CLUSTER_VERSION = utf8FromString("clusterVersion");
const DOWNGRADE = utf8FromString("downgrade");
const REMOVED = utf8FromString("removed");

export interface MemberRecord {
  readonly id: bigint;
  readonly peerURLs: readonly string[];
  readonly isLearner: boolean;
  readonly name: string;
  readonly clientURLs: readonly string[];
}

export interface DowngradeRecord {
  /** `X.Y.0`; empty when not enabled. */
  readonly targetVersion: string;
  readonly enabled: boolean;
}

/** In byte order of the hexadecimal ids. @throws {CorruptionError} */
export function readMembers(backend: Backend): MemberRecord[] {
  const members: MemberRecord[] = [];
  backend.forEach("members", (key, value) => {
    const member = decodeMember(stringFromUtf8(value));
    if (member === undefined) {
      const name = stringFromUtf8(key);
      throw new CorruptionError(`member ${name} cannot be read`, backend.path, 0);
    }
    members.push(member);
  });
  return members;
}

export function writeMember(backend: Backend, member: MemberRecord): void {
  backend.put("members", memberKey(member.id), utf8FromString(encodeMember(member)));
}

/** Takes the member out and remembers that its id is spent. */
export function removeMember(backend: Backend, id: bigint): void {
  backend.delete("members", memberKey(id));
  backend.put("members_removed", memberKey(id), REMOVED);
}

/** Ids that were removed. @throws {CorruptionError} */
export function readRemovedMembers(backend: Backend): bigint[] {
  const ids: bigint[] = [];
  backend.forEach("members_removed", (key) => {
    const text = stringFromUtf8(key);
    if (!/^[0-9a-f]{1,16}$/.test(text)) {
      throw new CorruptionError(`removed member ${text} cannot be read`, backend.path, 0);
    }
    ids.push(BigInt(`0x${text}`));
  });
  return ids;
}

/** Empties both member buckets, as a restore into a new cluster does. */
export function clearMembers(backend: Backend): void {
  for (const bucket of ["members", "members_removed"] as const) {
    for (const { key } of backend.range(bucket, new Uint8Array(0), undefined)) {
      backend.delete(bucket, key);
    }
  }
}

/** `X.Y.0`; undefined before the cluster has agreed on one. */
export function readClusterVersion(backend: Backend): string | undefined {
  const value = backend.get("cluster", CLUSTER_VERSION);
  return value === undefined ? undefined : stringFromUtf8(value);
}

export function writeClusterVersion(backend: Backend, version: string): void {
  backend.put("cluster", CLUSTER_VERSION, utf8FromString(version));
}

/** @throws {CorruptionError} */
export function readDowngrade(backend: Backend): DowngradeRecord | undefined {
  const value = backend.get("cluster", DOWNGRADE);
  if (value === undefined) return undefined;
  const json = tryParse(stringFromUtf8(value));
  if (!isObject(json)) throw new CorruptionError("downgrade cannot be read", backend.path, 0);
  const target = json["target-version"];
  return {
    targetVersion: typeof target === "string" ? target : "",
    enabled: json["enabled"] === true,
  };
}

export function writeDowngrade(backend: Backend, downgrade: DowngradeRecord): void {
  const { targetVersion, enabled } = downgrade;
  const text = `{"target-version":${goString(targetVersion)},"enabled":${enabled}}`;
  backend.put("cluster", DOWNGRADE, utf8FromString(text));
}

/** JSON as etcd writes it; the ids are decimal. */
export function encodeMember(member: MemberRecord): string {
  let text = `{"id":${BigInt.asUintN(64, member.id)},"peerURLs":${goStrings(member.peerURLs)}`;
  if (member.isLearner) text += `,"isLearner":true`;
  if (member.name !== "") text += `,"name":${goString(member.name)}`;
  if (member.clientURLs.length > 0) text += `,"clientURLs":${goStrings(member.clientURLs)}`;
  return text + "}";
}

/** Undefined if `text` is no member. */
export function decodeMember(text: string): MemberRecord | undefined {
  const json = tryParse(text);
  if (!isObject(json)) return undefined;
  const id = json["id"];
  const name = json["name"] ?? "";
  const peerURLs = stringsOf(json["peerURLs"]);
  const clientURLs = stringsOf(json["clientURLs"]);
  if (typeof id !== "bigint" || typeof name !== "string" || !peerURLs || !clientURLs) {
    return undefined;
  }
  return { id, peerURLs, isLearner: json["isLearner"] === true, name, clientURLs };
}

function tryParse(text: string): JSONValue | undefined {
  try {
    return parseJSON(text);
  } catch {
    return undefined;
  }
}

function memberKey(id: bigint): Uint8Array {
  return utf8FromString(hexFromID(id));
}
