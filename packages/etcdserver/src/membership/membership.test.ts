import {
  MemoryDisk,
  NULL_LOGGER,
  NULL_METRICS,
  VirtualClock,
  bytesFromLatin1,
  hexFromID,
  stringFromUtf8,
} from "@etcd-ts/base";
import { SERVER_ERRORS } from "@etcd-ts/api";
import { Backend, createBuckets } from "@etcd-ts/storage";
import type { ConfChange } from "@etcd-ts/raft";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  Cluster,
  MembershipError,
  clusterID,
  decodeConfChangeContext,
  decodeMemberContext,
  encodeConfChangeContext,
  encodeMemberContext,
  encodeMembers,
  memberID,
  parseInitialCluster,
  parseMemberURLs,
} from "./index.ts";
import type { Member } from "./index.ts";

const ID = 0x8e9e05c52164694dn;

function member(id: bigint, options: Partial<Member> = {}): Member {
  const peerURLs = [`http://127.0.0.1:${id % 60_000n}`];
  return { id, name: "", peerURLs, clientURLs: [], isLearner: false, ...options };
}

async function openBackend(disk: MemoryDisk, clock = new VirtualClock()): Promise<Backend> {
  await disk.makeDirectory("/data");
  const backend = await Backend.open({
    disk,
    clock,
    path: "/data/db",
    logger: NULL_LOGGER,
    metrics: NULL_METRICS,
  });
  createBuckets(backend);
  return backend;
}

async function emptyCluster(): Promise<Cluster> {
  const cluster = Cluster.empty(NULL_LOGGER);
  cluster.attachBackend(await openBackend(new MemoryDisk()));
  return cluster;
}

describe("memberID() and clusterID()", () => {
  test("give the ids etcd gives", () => {
    expect(hexFromID(memberID(["http://localhost:2380"], "etcd-cluster"))).toBe("8e9e05c52164694d");
    expect(hexFromID(clusterID([ID]))).toBe("cdf818194e3a8c32");
    const ids = [12380, 22380, 32380].map((port) =>
      memberID([`http://127.0.0.1:${port}`], "etcd-cluster-1"),
    );
    expect(ids.map(hexFromID)).toEqual([
      "8211f1d0f64f3269",
      "91bc3c398fb3c146",
      "fd422379fda50e48",
    ]);
    expect(hexFromID(clusterID(ids))).toBe("ef37ad9dc622a7c4");
    const own = memberID(["http://127.0.0.1:23800"], "etcd-cluster");
    expect(hexFromID(own)).toBe("2e1259d415f2a040");
    expect(hexFromID(clusterID([own]))).toBe("48276a8f75b6a87");
  });

  test("do not depend on the order of URLs and ids", () => {
    expect(memberID(["http://a:1", "http://b:2"], "t", 9)).toBe(
      memberID(["http://b:2", "http://a:1"], "t", 9),
    );
    expect(memberID(["http://a:1"], "", 9)).not.toBe(memberID(["http://a:1"], "", 10));
    expect(clusterID([1n, 2n, 0xffffffffffffffffn])).toBe(clusterID([0xffffffffffffffffn, 2n, 1n]));
  });
});

describe("parseInitialCluster()", () => {
  test("groups the URLs of a name and sorts them", () => {
    const urls = parseInitialCluster("a=http://h:2,b=https://[::1]:9,a=http://h:1,,");
    expect([...urls]).toEqual([
      ["a", ["http://h:1", "http://h:2"]],
      ["b", ["https://[::1]:9"]],
    ]);
  });

  test.each([
    ["http://h:1/path", "URL must not contain a path: http://h:1/path"],
    ["http://h", 'URL address does not have the form "host:port": http://h'],
    ["http://h:x", 'URL address does not have the form "host:port": http://h:x'],
    ["ftp://h:1", "URL scheme must be http, https, unix, or unixs: ftp://h:1"],
    ["h:1:2", "URL scheme must be http, https, unix, or unixs: h:1:2"],
    ["", "URL scheme must be http, https, unix, or unixs: "],
    [":1", 'parse ":1": missing protocol scheme'],
    ["1.2.3.4:1", 'parse "1.2.3.4:1": first path segment in URL cannot contain colon'],
  ])("refuses %s", (url, text) => {
    expect(() => parseMemberURLs([url])).toThrow(text);
    expect(() => parseInitialCluster(`a=${url}`)).toThrow(MembershipError);
  });

  test("takes unix sockets and refuses an empty list", () => {
    expect(parseMemberURLs(["unix:///a/b", " http://h:1 "])).toEqual(["http://h:1", "unix:///a/b"]);
    expect(() => parseMemberURLs([])).toThrow("no valid URLs given");
  });
});

describe("conf change contexts", () => {
  test("have the bytes etcd writes", () => {
    const first = member(3319814642761637952n, {
      name: "default",
      peerURLs: ["http://127.0.0.1:23800"],
    });
    expect(stringFromUtf8(encodeMemberContext(first))).toBe(
      '{"id":3319814642761637952,"peerURLs":["http://127.0.0.1:23800"],"name":"default"}',
    );
    const learner = member(ID, { isLearner: true, peerURLs: ["http://h:1"] });
    expect(stringFromUtf8(encodeConfChangeContext(learner))).toBe(
      '{"id":10276657743932975437,"peerURLs":["http://h:1"],"isLearner":true,"isPromote":false}',
    );
    expect(encodeMembers([first])).toBe(`[${stringFromUtf8(encodeMemberContext(first))}]`);
  });

  test("read back what was written", () => {
    const arbitrary = fc.record({
      id: fc.bigInt({ min: 1n, max: 0xffff_ffff_ffff_ffffn }),
      name: fc.string(),
      peerURLs: fc.array(fc.string(), { minLength: 1 }),
      clientURLs: fc.array(fc.string()),
      isLearner: fc.boolean(),
    });
    fc.assert(
      fc.property(arbitrary, fc.boolean(), (one, isPromote) => {
        expect(decodeMemberContext(encodeMemberContext(one))).toEqual(one);
        const context = decodeConfChangeContext(encodeConfChangeContext(one, isPromote));
        expect(context).toEqual({ member: one, isPromote });
        expect(decodeConfChangeContext(encodeMemberContext(one)).isPromote).toBe(false);
      }),
    );
  });
});

/** The root of the tree a 3.6.14 member wrote after its first start. */
const ROOT_OF_REFERENCE =
  '{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"0":{"Path":"/0","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"members":{"Path":"/0/members","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"2e1259d415f2a040":{"Path":"/0/members/2e1259d415f2a040","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"attributes":{"Path":"/0/members/2e1259d415f2a040/attributes","CreatedIndex":2,"ModifiedIndex":2,"ExpireTime":"0001-01-01T00:00:00Z","Value":"{\\"name\\":\\"default\\",\\"clientURLs\\":[\\"http://127.0.0.1:23790\\"]}","Children":null},"raftAttributes":{"Path":"/0/members/2e1259d415f2a040/raftAttributes","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"{\\"peerURLs\\":[\\"http://127.0.0.1:23800\\"]}","Children":null}}}}},"version":{"Path":"/0/version","CreatedIndex":3,"ModifiedIndex":3,"ExpireTime":"0001-01-01T00:00:00Z","Value":"3.6.0","Children":null}}},"1":{"Path":"/1","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{}}}},"WatcherHub":';

describe("Cluster in .snap files", () => {
  test("encodeV2Store() gives the tree etcd gives", async () => {
    const cluster = await emptyCluster();
    const id = 0x2e1259d415f2a040n;
    cluster.addMember(member(id, { peerURLs: ["http://127.0.0.1:23800"], name: "default" }), true);
    cluster.updateAttributes(id, { name: "default", clientURLs: ["http://127.0.0.1:23790"] }, true);
    cluster.setVersion("3.6.0", true);
    const text = stringFromUtf8(cluster.encodeV2Store());
    expect(text.slice(0, ROOT_OF_REFERENCE.length)).toBe(ROOT_OF_REFERENCE);
    const { WatcherHub, ...rest } = JSON.parse(text) as {
      WatcherHub: { EventHistory: { Queue: { Events: unknown[]; Capacity: number } } };
      CurrentIndex: number;
      CurrentVersion: number;
    };
    // A shorter list than its capacity makes a 3.6 member fail at its next change.
    expect(WatcherHub.EventHistory.Queue.Events.length).toBe(1000);
    expect(rest).toMatchObject({ CurrentIndex: 3, CurrentVersion: 2 });
  });

  test("recoverFromV2Store() reads the reference's tree", () => {
    const cluster = Cluster.empty(NULL_LOGGER);
    cluster.recoverFromV2Store(bytesFromLatin1(`${ROOT_OF_REFERENCE.slice(0, -14)}}`));
    expect(cluster.members()).toEqual([
      {
        id: 0x2e1259d415f2a040n,
        name: "default",
        peerURLs: ["http://127.0.0.1:23800"],
        clientURLs: ["http://127.0.0.1:23790"],
        isLearner: false,
      },
    ]);
    expect(cluster.version()).toBe("3.6.0");
  });

  test.each([
    ["", "no JSON"],
    ["[]", "no object"],
    ["{}", "/ is no node"],
    ['{"Root":{"Children":null}}', "Root is no directory"],
    [
      '{"Root":{"Children":{"0":{"Children":{"members":{"Children":{"zz":{"Children":{}}}}}}}}}',
      "zz",
    ],
    [
      '{"Root":{"Children":{"0":{"Children":{"members":{"Children":{"1f":{"Children":{"other":{}}}}}}}}}}',
      "unknown other",
    ],
    [
      '{"Root":{"Children":{"1":{"Children":{"user":{"Value":"x"}}}}}}',
      "detected disallowed custom content",
    ],
    [`{"Root":${'{"Children":{"a":'.repeat(200)}{}${"}}".repeat(200)}}`, "is no node"],
  ])("recoverFromV2Store() refuses %.40s", (text, reason) => {
    const cluster = Cluster.empty(NULL_LOGGER);
    expect(() => cluster.recoverFromV2Store(bytesFromLatin1(text))).toThrow(reason);
    expect(cluster.members()).toEqual([]);
  });
});

type Change = { readonly kind: string; readonly id: bigint; readonly port: bigint };

const arbitraryChange: fc.Arbitrary<Change> = fc.record({
  kind: fc.constantFrom("add", "addLearner", "promote", "remove", "update", "attributes"),
  id: fc.bigInt({ min: 1n, max: 6n }),
  port: fc.bigInt({ min: 1n, max: 8n }),
});

/** Proposes a change as the server does, and applies it unless it is refused. */
function applyChange(cluster: Cluster, { kind, id, port }: Change, persist: boolean): string {
  const one = member(id, { peerURLs: [`http://h:${port}`], isLearner: kind === "addLearner" });
  if (kind === "attributes") {
    const isKnown = cluster.member(id) !== undefined || cluster.isIDRemoved(id);
    if (isKnown) cluster.updateAttributes(id, { name: `n${id}`, clientURLs: ["c"] }, persist);
    return "ok";
  }
  const type = {
    add: "ConfChangeAddNode",
    addLearner: "ConfChangeAddLearnerNode",
    promote: "ConfChangeAddNode",
    remove: "ConfChangeRemoveNode",
    update: "ConfChangeUpdateNode",
  }[kind] as ConfChange["type"];
  const context = encodeConfChangeContext(one, kind === "promote");
  const change: ConfChange = { id: 0n, type, nodeID: id, context };
  const refusal = cluster.validateConfigurationChange(change, { persist, learnersMax: 1 });
  if (refusal !== undefined) return refusal.message;
  if (kind === "promote") cluster.promoteMember(id, persist);
  else if (kind === "remove") cluster.removeMember(id, persist);
  else if (kind === "update") cluster.updateRaftAttributes(id, one.peerURLs, persist);
  else cluster.addMember(one, persist);
  return "ok";
}

describe("Cluster", () => {
  test("any history: backend, log and memory agree, and a replay changes nothing", async () => {
    const changes = fc.array(arbitraryChange, { maxLength: 25 });
    const property = fc.asyncProperty(changes, fc.nat(25), async (history, cut) => {
      const cluster = await emptyCluster();
      const backend = await openBackend(new MemoryDisk());
      cluster.attachBackend(backend);
      let snap: Uint8Array | undefined;
      const answers = history.map((change, i) => {
        if (i === cut) snap = cluster.encodeV2Store();
        return applyChange(cluster, change, true);
      });
      const replay = Cluster.empty(NULL_LOGGER);
      if (snap !== undefined) replay.recoverFromV2Store(snap);
      replay.attachBackend(backend);
      replay.recoverFromBackend();
      expect(replay.members()).toEqual(cluster.members());
      const from = snap === undefined ? 0 : cut;
      const again = history.slice(from).map((change) => applyChange(replay, change, false));
      expect(again).toEqual(answers.slice(from));
      expect(replay.members()).toEqual(cluster.members());
      expect(stringFromUtf8(replay.encodeV2Store())).toBe(stringFromUtf8(cluster.encodeV2Store()));
      const fromSnap = Cluster.empty(NULL_LOGGER);
      fromSnap.recoverFromV2Store(cluster.encodeV2Store());
      expect(fromSnap.members()).toEqual(cluster.members());
    });
    await fc.assert(property, { numRuns: 60 });
  });

  test("validateConfigurationChange() refuses what etcd refuses", async () => {
    const cluster = await emptyCluster();
    const apply = (kind: string, id: bigint, port = id): string =>
      applyChange(cluster, { kind, id, port }, true);
    expect(apply("add", 1n)).toBe("ok");
    expect(apply("add", 1n, 5n)).toBe(SERVER_ERRORS.memberIDExists.message);
    expect(apply("add", 2n, 1n)).toBe(SERVER_ERRORS.peerURLExists.message);
    expect(apply("addLearner", 2n)).toBe("ok");
    expect(apply("addLearner", 3n)).toBe(SERVER_ERRORS.tooManyLearners.message);
    expect(apply("promote", 9n)).toBe(SERVER_ERRORS.memberIDNotFound.message);
    expect(apply("promote", 1n)).toBe(SERVER_ERRORS.memberNotLearner.message);
    expect(apply("update", 9n)).toBe(SERVER_ERRORS.memberIDNotFound.message);
    expect(apply("update", 2n, 1n)).toBe(SERVER_ERRORS.peerURLExists.message);
    expect(apply("update", 2n, 2n)).toBe("ok");
    expect(apply("promote", 2n)).toBe("ok");
    expect(cluster.votingMembers().map(({ id }) => id)).toEqual([1n, 2n]);
    expect(apply("remove", 2n)).toBe("ok");
    expect(apply("remove", 2n)).toBe(SERVER_ERRORS.memberIDRemoved.message);
    expect(apply("add", 2n)).toBe(SERVER_ERRORS.memberIDRemoved.message);
    expect(apply("remove", 9n)).toBe(SERVER_ERRORS.memberIDNotFound.message);
  });

  test("fromInitial() gives members whose conf changes then apply", async () => {
    const urls = parseInitialCluster("b=http://h:2,a=http://h:1");
    const cluster = Cluster.fromInitial("token", urls, NULL_LOGGER);
    cluster.attachBackend(await openBackend(new MemoryDisk()));
    const [first, second] = cluster.members();
    expect(first!.id < second!.id).toBe(true);
    expect(cluster.memberByName("a")?.id).toBe(memberID(["http://h:1"], "token"));
    expect(cluster.clusterID).toBe(clusterID([first!.id, second!.id]));
    for (const one of cluster.members()) {
      const context = encodeMemberContext(one);
      const change = { id: 0n, type: "ConfChangeAddNode", nodeID: one.id, context } as const;
      const refusal = cluster.validateConfigurationChange(change, {
        persist: true,
        learnersMax: 1,
      });
      expect(refusal).toBeUndefined();
      cluster.addMember(decodeConfChangeContext(context).member, true);
    }
    expect(cluster.members()).toEqual([first, second]);
    const same = new Map([
      ["a", ["http://h:1"]],
      ["b", ["http://h:1"]],
    ]);
    expect(() => Cluster.fromInitial("token", same, NULL_LOGGER)).toThrow("identical ID");
  });

  test("isReadyTo...() count started voters as etcd does", async () => {
    const cluster = await emptyCluster();
    const start = (id: bigint): void =>
      cluster.updateAttributes(id, { name: `n${id}`, clientURLs: [] }, true);
    cluster.addMember(member(1n), true);
    expect(cluster.isReadyToAddVotingMember()).toBe(false);
    start(1n);
    expect(cluster.isReadyToAddVotingMember()).toBe(true);
    cluster.addMember(member(2n), true);
    expect(cluster.isReadyToAddVotingMember()).toBe(false);
    expect(cluster.isReadyToRemoveVotingMember(2n)).toBe(true);
    expect(cluster.isReadyToRemoveVotingMember(1n)).toBe(false);
    start(2n);
    cluster.addMember(member(3n, { isLearner: true }), true);
    expect(cluster.isReadyToAddVotingMember()).toBe(true);
    expect(cluster.isReadyToPromoteMember(3n)).toBe(true);
    cluster.addMember(member(4n), true);
    cluster.addMember(member(5n), true);
    expect(cluster.isReadyToPromoteMember(3n)).toBe(true);
    cluster.addMember(member(6n), true);
    expect(cluster.isReadyToPromoteMember(3n)).toBe(false);
  });

  test("version and downgrade survive a restart; a newer cluster is refused", async () => {
    const backend = await openBackend(new MemoryDisk());
    const cluster = Cluster.empty(NULL_LOGGER);
    cluster.attachBackend(backend);
    cluster.recoverFromBackend();
    expect(cluster.version()).toBeUndefined();
    expect(cluster.downgradeInfo()).toEqual({ targetVersion: "", enabled: false });
    cluster.setVersion("3.6.0", true);
    cluster.setDowngradeInfo({ targetVersion: "3.5.0", enabled: true }, true);
    const again = Cluster.empty(NULL_LOGGER);
    again.attachBackend(backend);
    again.recoverFromBackend();
    expect(again.version()).toBe("3.6.0");
    expect(again.downgradeInfo()).toEqual({ targetVersion: "3.5.0", enabled: true });
    expect(() => again.setVersion("3.7.0", true)).toThrow("invalid downgrade");
  });

  test("syncLearnerPromotions() makes voters of those the log promoted", async () => {
    const cluster = await emptyCluster();
    cluster.addMember(member(1n, { isLearner: true }), true);
    cluster.syncLearnerPromotions();
    expect(cluster.member(1n)?.isLearner).toBe(true);
    cluster.promoteMember(1n, false);
    cluster.syncLearnerPromotions();
    expect(cluster.member(1n)?.isLearner).toBe(false);
  });
});
