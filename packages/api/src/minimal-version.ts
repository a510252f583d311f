/**
 * The lowest etcd release that understands what a log entry carries.
 *
 * A cluster goes down to a release only if nothing in its log since the last snapshot needs a newer
 * one. Which release brought a message, field or enum value is an option in the proto files
 * (versionpb), read here through the descriptors.
 *
 * The rule is etcd's: what counts is every message, populated field and enum value that singular
 * fields lead to. Of a repeated field its own mark counts, not what its items carry.
 */

import { fromBinary, getOption } from "@bufbuild/protobuf";
import type { DescEnum, DescField, DescMessage } from "@bufbuild/protobuf";
import { reflect } from "@bufbuild/protobuf/reflect";
import type { ReflectMessage } from "@bufbuild/protobuf/reflect";
import { unreachable, WireFormatError } from "@etcd-ts/base";

import { MESSAGE_DEPTH_MAX } from "./codec/txn.ts";
import { RequestSchema } from "./gen/etcdserverpb/etcdserver_pb.ts";
import { InternalRaftRequestSchema } from "./gen/etcdserverpb/raft_internal_pb.ts";
import type { InternalRaftRequest } from "./gen/etcdserverpb/raft_internal_pb.ts";
import {
  etcd_version_enum,
  etcd_version_enum_value,
  etcd_version_field,
  etcd_version_msg,
} from "./gen/versionpb/version_pb.ts";
import { compareVersions, parseVersion, versionOf } from "./version.ts";
import type { Version } from "./version.ts";

/** What is looked at of a raft entry. */
interface LogEntry {
  readonly type: "EntryNormal" | "EntryConfChange" | "EntryConfChangeV2";
  readonly data: Uint8Array;
}

const READ_OPTIONS = { readUnknownFields: false, recursionLimit: MESSAGE_DEPTH_MAX } as const;

const CONF_CHANGE_VERSION = versionOf(3, 0);
const CONF_CHANGE_V2_VERSION = versionOf(3, 4);

/**
 * The lowest release that can read `entry`; undefined if any can.
 *
 * @throws {WireFormatError} if the data of a normal entry is no request
 */
export function minimalVersionOf(entry: LogEntry): Version | undefined {
  switch (entry.type) {
    case "EntryNormal":
      return minimalVersionOfRequest(entry.data);
    case "EntryConfChange":
      return CONF_CHANGE_VERSION;
    case "EntryConfChangeV2":
      return CONF_CHANGE_V2_VERSION;
    default:
      return unreachable(entry.type, "minimalVersionOf");
  }
}

/** The higher of two; undefined is below every version. */
export function higherVersion(a: Version | undefined, b: Version | undefined): Version | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareVersions(a, b) < 0 ? b : a;
}

function minimalVersionOfRequest(data: Uint8Array): Version | undefined {
  const request = readRequest(data);
  if (request === undefined) return undefined;
  const marked = minimalVersionOfMessage(reflect(InternalRaftRequestSchema, request));
  const test = request.downgradeVersionTest;
  if (test === undefined) return marked;
  const version = parseVersion(test.ver);
  if (version === undefined) throw new WireFormatError(`no version: ${test.ver}`);
  return higherVersion(marked, version);
}

/** Undefined for a request of the v2 API, which every release reads. */
function readRequest(data: Uint8Array): InternalRaftRequest | undefined {
  try {
    return fromBinary(InternalRaftRequestSchema, data, READ_OPTIONS);
  } catch (cause) {
    try {
      fromBinary(RequestSchema, data, READ_OPTIONS);
      return undefined;
    } catch {
      throw new WireFormatError(`proto: ${String(cause)}`, { cause });
    }
  }
}

function minimalVersionOfMessage(message: ReflectMessage): Version | undefined {
  let highest = messageVersion(message.desc);
  for (const field of message.fields) {
    if (!message.isSet(field)) continue;
    highest = higherVersion(highest, fieldVersion(field));
    if (field.fieldKind === "message") {
      highest = higherVersion(highest, minimalVersionOfMessage(message.get(field)));
    } else if (field.fieldKind === "enum") {
      highest = higherVersion(highest, enumVersion(field.enum));
      highest = higherVersion(highest, enumValueVersion(field.enum, message.get(field)));
    }
  }
  return highest;
}

function messageVersion(desc: DescMessage): Version | undefined {
  return annotation(getOption(desc, etcd_version_msg));
}

function fieldVersion(desc: DescField): Version | undefined {
  return annotation(getOption(desc, etcd_version_field));
}

function enumVersion(desc: DescEnum): Version | undefined {
  return annotation(getOption(desc, etcd_version_enum));
}

/** A number the enum does not know has no mark of its own. */
function enumValueVersion(desc: DescEnum, number: unknown): Version | undefined {
  const value = desc.values.find((one) => one.number === number);
  return value === undefined ? undefined : annotation(getOption(value, etcd_version_enum_value));
}

/** Marks are `major.minor`; an option that is not set reads as the empty string. */
function annotation(mark: string): Version | undefined {
  return parseVersion(`${mark}.0`);
}
