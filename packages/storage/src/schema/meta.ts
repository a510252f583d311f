/** Which buckets a fresh file has, and the single-value keys of `meta`. */

import { CorruptionError, latin1FromBytes, stringFromUtf8, utf8FromString } from "@etcd-ts/base";
import type { Backend } from "../backend/backend.ts";
import { BUCKETS } from "../backend/bucket.ts";
import { bigintsOf, isObject, parseJSON } from "./json.ts";
import type { JSONValue } from "./json.ts";
import { mustReadUint64, uint64Bytes } from "./numbers.ts";
import { authRevisionExists, writeAuthRevision } from "./auth.ts";

const CONSISTENT_INDEX = utf8FromString("consistent_index");
const TERM = utf8FromString("term");
const CONF_STATE = utf8FromString("confState");
const STORAGE_VERSION = utf8FromString("storageVersion");

/** Revision of the auth store before any change. */
const AUTH_REVISION_FIRST = 1;

/** raft's ConfState; structurally the type of `@etcd-ts/raft`. */
export interface ConfStateRecord {
  readonly voters: bigint[];
  readonly learners: bigint[];
  readonly votersOutgoing: bigint[];
  readonly learnersNext: bigint[];
  readonly autoLeave: boolean;
}

/** Makes every bucket of etcd 3.6 and sets the auth revision to 1; keeps what is there. */
export function createBuckets(backend: Backend): void {
  for (const name of BUCKETS.keys()) backend.createBucket(name);
  if (!authRevisionExists(backend)) writeAuthRevision(backend, AUTH_REVISION_FIRST);
}

/** Raft index of the last entry whose changes are in the backend; 0 if none. */
export function readConsistentIndex(backend: Backend): number {
  const value = backend.get("meta", CONSISTENT_INDEX);
  return value === undefined ? 0 : mustReadUint64(value, "consistent_index", backend.path);
}

/** Raft term of that entry; 0 if none is known. */
export function readTerm(backend: Backend): number {
  const value = backend.get("meta", TERM);
  return value === undefined ? 0 : mustReadUint64(value, "term", backend.path);
}

/** Index 0 is not written; nor is term 0, which files before 3.5 lack. */
export function writeConsistentIndex(backend: Backend, index: number, term: number): void {
  if (index === 0) return;
  backend.put("meta", CONSISTENT_INDEX, uint64Bytes(index));
  if (term > 0) backend.put("meta", TERM, uint64Bytes(term));
}

export function readConfState(backend: Backend): ConfStateRecord | undefined {
  const value = backend.get("meta", CONF_STATE);
  if (value === undefined) return undefined;
  const confState = decodeConfState(stringFromUtf8(value));
  if (confState === undefined) {
    throw new CorruptionError("confState cannot be read", backend.path, 0);
  }
  return confState;
}

export function writeConfState(backend: Backend, confState: ConfStateRecord): void {
  backend.put("meta", CONF_STATE, utf8FromString(encodeConfState(confState)));
}

/** `X.Y.Z`; undefined before 3.6. */
export function readStorageVersion(backend: Backend): string | undefined {
  const value = backend.get("meta", STORAGE_VERSION);
  return value === undefined ? undefined : latin1FromBytes(value);
}

/** @param version - `X.Y.0`; undefined removes it, as a downgrade to 3.5 does */
export function writeStorageVersion(backend: Backend, version: string | undefined): void {
  if (version === undefined) backend.delete("meta", STORAGE_VERSION);
  else backend.put("meta", STORAGE_VERSION, utf8FromString(version));
}

/** JSON as etcd 3.6 writes it: empty lists are left out, `auto_leave` never is. */
export function encodeConfState(confState: ConfStateRecord): string {
  const fields: string[] = [];
  const list = (name: string, ids: readonly bigint[]) => {
    if (ids.length > 0) fields.push(`"${name}":[${ids.join(",")}]`);
  };
  list("voters", confState.voters);
  list("learners", confState.learners);
  list("voters_outgoing", confState.votersOutgoing);
  list("learners_next", confState.learnersNext);
  fields.push(`"auto_leave":${confState.autoLeave}`);
  return `{${fields.join(",")}}`;
}

/** Undefined if `text` is no conf state. */
export function decodeConfState(text: string): ConfStateRecord | undefined {
  let json: JSONValue;
  try {
    json = parseJSON(text);
  } catch {
    return undefined;
  }
  if (!isObject(json)) return undefined;
  const voters = bigintsOf(json["voters"]);
  const learners = bigintsOf(json["learners"]);
  const votersOutgoing = bigintsOf(json["voters_outgoing"]);
  const learnersNext = bigintsOf(json["learners_next"]);
  if (!voters || !learners || !votersOutgoing || !learnersNext) return undefined;
  return { voters, learners, votersOutgoing, learnersNext, autoLeave: json["auto_leave"] === true };
}
