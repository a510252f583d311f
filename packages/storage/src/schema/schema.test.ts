import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import type { Backend } from "../index.ts";
import {
  clearMembers,
  createBuckets,
  deleteAlarm,
  deleteLease,
  readAlarms,
  readAuthEnabled,
  readAuthRevision,
  readAuthUsers,
  readClusterVersion,
  readConfState,
  readConsistentIndex,
  readDowngrade,
  readLeases,
  readMembers,
  readRemovedMembers,
  readStorageVersion,
  readTerm,
  removeMember,
  writeAlarm,
  writeAuthEnabled,
  writeAuthRevision,
  writeAuthUser,
  writeClusterVersion,
  writeConfState,
  writeConsistentIndex,
  writeDowngrade,
  writeLease,
  writeMember,
  writeStorageVersion,
} from "../index.ts";
import { bytes, newWorld, openBackend, text } from "../../compliance/harness.ts";
import { decodeConfState, encodeConfState } from "./meta.ts";
import { decodeMember, encodeMember } from "./members.ts";

let backend: Backend;

beforeEach(async () => {
  backend = await openBackend(newWorld());
});

function stored(bucket: Parameters<Backend["get"]>[0]): [string, string][] {
  return backend
    .range(bucket, new Uint8Array(0), undefined)
    .map(({ key, value }) => [text(key), text(value)]);
}

const id64 = fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn });

describe("meta", () => {
  test("createBuckets() makes every bucket once and starts the auth revision at 1", async () => {
    const world = newWorld();
    const first = await openBackend(world);
    createBuckets(first);
    expect(readAuthRevision(first)).toBe(1);
    writeAuthRevision(first, 7);
    await world.clock.until(first.close());
    const again = await openBackend(world);
    createBuckets(again);
    expect(readAuthRevision(again)).toBe(7);
    await world.clock.until(again.close());
  });

  test("writeConsistentIndex() leaves out what is zero", () => {
    writeConsistentIndex(backend, 0, 3);
    expect(stored("meta")).toEqual([]);
    writeConsistentIndex(backend, 9, 0);
    expect(readConsistentIndex(backend)).toBe(9);
    expect(readTerm(backend)).toBe(0);
    writeConsistentIndex(backend, 2 ** 40, 3);
    expect([readConsistentIndex(backend), readTerm(backend)]).toEqual([2 ** 40, 3]);
    expect([...backend.get("meta", bytes("consistent_index"))!]).toEqual([0, 0, 1, 0, 0, 0, 0, 0]);
  });

  test("readConsistentIndex() names the file when the value is damaged", () => {
    backend.put("meta", bytes("consistent_index"), bytes("abc"));
    expect(() => readConsistentIndex(backend)).toThrow("consistent_index is no 64-bit counter");
  });

  test("writeStorageVersion() removes the key for undefined", () => {
    writeStorageVersion(backend, "3.6.0");
    expect(readStorageVersion(backend)).toBe("3.6.0");
    writeStorageVersion(backend, undefined);
    expect(readStorageVersion(backend)).toBeUndefined();
  });

  test("encodeConfState() writes the JSON of etcd 3.6", () => {
    const confState = {
      voters: [3153101805118352275n, 2n],
      learners: [3n],
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    };
    const json = '{"voters":[3153101805118352275,2],"learners":[3],"auto_leave":false}';
    expect(encodeConfState(confState)).toBe(json);
    writeConfState(backend, confState);
    expect(readConfState(backend)).toEqual(confState);
    expect(decodeConfState('{"voters":null}')?.voters).toEqual([]);
    expect(decodeConfState('{"voters":["1"]}')).toBeUndefined();
    expect(decodeConfState("{")).toBeUndefined();
  });

  test("decodeConfState() is the inverse of encodeConfState()", () => {
    const ids = fc.array(id64, { maxLength: 3 });
    const confStates = fc.record({
      voters: ids,
      learners: ids,
      votersOutgoing: ids,
      learnersNext: ids,
      autoLeave: fc.boolean(),
    });
    fc.assert(
      fc.property(confStates, (confState) => {
        expect(decodeConfState(encodeConfState(confState))).toEqual(confState);
      }),
    );
  });
});

describe("members", () => {
  test("encodeMember() writes JSON as Go does", () => {
    const member = {
      id: 0xffff_ffff_ffff_fff0n,
      peerURLs: ["http://a:1/?x=1&y=<2>"],
      isLearner: true,
      name: 'n"\u2028',
      clientURLs: [],
    };
    expect(encodeMember(member)).toBe(
      '{"id":18446744073709551600,"peerURLs":["http://a:1/?x=1\\u0026y=\\u003c2\\u003e"],' +
        '"isLearner":true,"name":"n\\"\\u2028"}',
    );
  });

  test("decodeMember() is the inverse of encodeMember(), whatever the texts hold", () => {
    const texts = fc.array(fc.string(), { maxLength: 2 });
    const members = fc.record({
      id: id64,
      peerURLs: texts,
      isLearner: fc.boolean(),
      name: fc.oneof(
        fc.string({ unit: "grapheme" }),
        fc.constant("\u2028\u0001"),
        fc.constant('\\"id":5,"'),
      ),
      clientURLs: texts,
    });
    fc.assert(
      fc.property(members, (member) => {
        expect(decodeMember(encodeMember(member))).toEqual(member);
      }),
    );
  });

  test("removeMember() remembers the id under its hexadecimal name", () => {
    const member = { id: 0xabcn, peerURLs: ["u"], isLearner: false, name: "", clientURLs: [] };
    writeMember(backend, member);
    writeMember(backend, { ...member, id: 2n });
    expect(readMembers(backend).map((each) => each.id)).toEqual([2n, 0xabcn]);
    removeMember(backend, 0xabcn);
    expect(readMembers(backend).map((each) => each.id)).toEqual([2n]);
    expect(stored("members_removed")).toEqual([["abc", "removed"]]);
    expect(readRemovedMembers(backend)).toEqual([0xabcn]);
    clearMembers(backend);
    expect(readMembers(backend)).toEqual([]);
    expect(readRemovedMembers(backend)).toEqual([]);
  });

  test("readMembers() names the file when a member is damaged", () => {
    backend.put("members", bytes("1"), bytes("{}"));
    expect(() => readMembers(backend)).toThrow("member 1 cannot be read");
  });

  test("cluster version and downgrade are kept as etcd writes them", () => {
    expect(readClusterVersion(backend)).toBeUndefined();
    writeClusterVersion(backend, "3.6.0");
    writeDowngrade(backend, { targetVersion: "3.5.0", enabled: true });
    expect(stored("cluster")).toEqual([
      ["clusterVersion", "3.6.0"],
      ["downgrade", '{"target-version":"3.5.0","enabled":true}'],
    ]);
    expect(readDowngrade(backend)).toEqual({ targetVersion: "3.5.0", enabled: true });
    expect(readClusterVersion(backend)).toBe("3.6.0");
  });
});

describe("leases, alarms, auth", () => {
  test("writeLease() keys leases by eight bytes", () => {
    writeLease(backend, { id: 0x0102n, ttl: 60, remainingTTL: 30 });
    writeLease(backend, { id: -1n, ttl: 1, remainingTTL: 0 });
    expect(readLeases(backend).map((lease) => lease.id)).toEqual([0x0102n, -1n]);
    expect(backend.get("lease", Uint8Array.of(0, 0, 0, 0, 0, 0, 1, 2))).toBeDefined();
    deleteLease(backend, -1n);
    expect(readLeases(backend)).toEqual([{ id: 0x0102n, ttl: 60, remainingTTL: 30 }]);
  });

  test("writeAlarm() keeps the alarm in the key", () => {
    writeAlarm(backend, { memberID: 5n, alarm: 1 });
    writeAlarm(backend, { memberID: 5n, alarm: 2 });
    deleteAlarm(backend, { memberID: 5n, alarm: 2 });
    expect(readAlarms(backend)).toEqual([{ memberID: 5n, alarm: 1 }]);
    expect([...backend.range("alarm", new Uint8Array(0), undefined)[0]!.key]).toEqual([
      8, 5, 16, 1,
    ]);
  });

  test("auth is a flag, a revision, and users in the bytes of etcd", () => {
    expect(readAuthEnabled(backend)).toBe(false);
    writeAuthEnabled(backend, true);
    expect(readAuthEnabled(backend)).toBe(true);
    writeAuthEnabled(backend, false);
    expect(readAuthEnabled(backend)).toBe(false);
    const user = (name: string) =>
      ({
        $typeName: "authpb.User",
        name: bytes(name),
        password: bytes("hash"),
        roles: ["r"],
        options: { $typeName: "authpb.UserAddOptions", noPassword: false },
      }) as const;
    writeAuthUser(backend, { ...user("b"), roles: [...user("b").roles] });
    writeAuthUser(backend, { ...user("a"), roles: [...user("a").roles] });
    expect(readAuthUsers(backend).map(({ name }) => text(name))).toEqual(["a", "b"]);
    // name, password, role, and options that say nothing but are there: etcd's bytes
    const stored = backend.range("authUsers", new Uint8Array(0), undefined)[0]!.value;
    expect([...stored]).toEqual([10, 1, 97, 18, 4, ...bytes("hash"), 26, 1, 114, 34, 0]);
  });
});
