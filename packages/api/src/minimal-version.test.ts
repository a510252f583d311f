import { create, getOption, toBinary } from "@bufbuild/protobuf";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { EMPTY_BYTES, WireFormatError } from "@etcd-ts/base";
import { expect, test } from "vitest";

import { RequestSchema } from "./gen/etcdserverpb/etcdserver_pb.ts";
import { InternalRaftRequestSchema } from "./gen/etcdserverpb/raft_internal_pb.ts";
import { file_etcdserverpb_rpc } from "./gen/etcdserverpb/rpc_pb.ts";
import { etcd_version_msg } from "./gen/versionpb/version_pb.ts";
import { higherVersion, minimalVersionOf } from "./minimal-version.ts";
import { formatVersion, versionOf } from "./version.ts";

function entry(request: MessageInitShape<typeof InternalRaftRequestSchema>): {
  type: "EntryNormal";
  data: Uint8Array;
} {
  const message = create(InternalRaftRequestSchema, request);
  return { type: "EntryNormal", data: toBinary(InternalRaftRequestSchema, message) };
}

function minimum(request: MessageInitShape<typeof InternalRaftRequestSchema>): string | undefined {
  const version = minimalVersionOf(entry(request));
  return version === undefined ? undefined : formatVersion(version);
}

test("minimalVersionOf() takes the marks of populated fields", () => {
  expect(minimum({})).toBe("3.0.0");
  expect(minimum({ put: {} })).toBe("3.0.0");
  expect(minimum({ put: { prevKv: true } })).toBe("3.1.0");
  expect(minimum({ put: { prevKv: true, ignoreLease: true } })).toBe("3.2.0");
  expect(minimum({ leaseCheckpoint: {} })).toBe("3.4.0");
  expect(minimum({ clusterVersionSet: { ver: "3.6.0" } })).toBe("3.5.0");
});

test("minimalVersionOf() follows singular messages", () => {
  expect(minimum({ header: { username: "alice" } })).toBe("3.0.0");
  expect(minimum({ header: { authRevision: 1n } })).toBe("3.1.0");
  expect(minimum({ authUserAdd: { name: "alice", options: {} } })).toBe("3.4.0");
});

test("minimalVersionOf() does not look into repeated fields", () => {
  const success = [{ request: { case: "requestTxn" as const, value: {} } }];
  expect(minimum({ txn: { success } })).toBe("3.0.0");
});

test("minimalVersionOf() takes the marks of enum values", () => {
  expect(minimum({ alarm: { alarm: 1 } })).toBe("3.0.0");
  expect(minimum({ alarm: { alarm: 2 } })).toBe("3.3.0");
});

test("minimalVersionOf() takes the version a downgrade test names", () => {
  expect(minimum({ downgradeVersionTest: { ver: "3.6.0" } })).toBe("3.6.0");
  expect(minimum({ downgradeVersionTest: { ver: "3.7.0" } })).toBe("3.7.0");
  expect(minimum({ downgradeVersionTest: { ver: "3.1.0" } })).toBe("3.6.0");
  expect(() => minimum({ downgradeVersionTest: { ver: "soon" } })).toThrow(WireFormatError);
});

test("minimalVersionOf() knows configuration changes by their kind", () => {
  const confChange = minimalVersionOf({ type: "EntryConfChange", data: EMPTY_BYTES });
  expect(confChange).toEqual(versionOf(3, 0));
  const confChangeV2 = minimalVersionOf({ type: "EntryConfChangeV2", data: EMPTY_BYTES });
  expect(confChangeV2).toEqual(versionOf(3, 4));
});

test("minimalVersionOf() accepts requests of the v2 API and refuses anything else", () => {
  const v2 = toBinary(RequestSchema, create(RequestSchema, { ID: 5n, Method: "PUT", Path: "/1" }));
  expect(minimalVersionOf({ type: "EntryNormal", data: v2 })).toBeUndefined();
  const garbage = { type: "EntryNormal" as const, data: Uint8Array.of(0x0a, 0xff) };
  expect(() => minimalVersionOf(garbage)).toThrow(WireFormatError);
});

test("higherVersion() takes undefined for the lowest", () => {
  const [low, high] = [versionOf(3, 4), versionOf(3, 5)];
  expect(higherVersion(undefined, undefined)).toBeUndefined();
  expect(higherVersion(low, undefined)).toBe(low);
  expect(higherVersion(undefined, low)).toBe(low);
  expect(higherVersion(low, high)).toBe(high);
  expect(higherVersion(high, low)).toBe(high);
});

test("every message of the client port is marked, but two", () => {
  const unmarked = file_etcdserverpb_rpc.messages.filter(
    (message) => getOption(message, etcd_version_msg) === "",
  );
  expect(unmarked.map((message) => message.name)).toEqual(["DowngradeInfo", "AuthRoleGetResponse"]);
});
