import { describe, expect, test } from "vitest";
import fc from "fast-check";
import { crc32c, encodeMessage, utf8FromString } from "@etcd-ts/base";
import { KeyValueCodec } from "@etcd-ts/api";
import { Database } from "@etcd-ts/bbolt";
import { encodeRevision } from "@etcd-ts/storage";
import { Snapshotter, WriteAheadLog } from "@etcd-ts/wal";
import { Fixture, SOME_CHANGES } from "./database-fixture.ts";
import type { Change } from "./database-fixture.ts";
import { restoreSnapshot } from "./restore.ts";
import { verify } from "./verify.ts";
import type { VerifyReport } from "./verify-report.ts";

const DB = "/data/member/snap/db";
const WAL = "/data/member/wal";
const FIRST_SEGMENT = `${WAL}/0000000000000000-0000000000000000.wal`;

/** A data directory as a restore leaves it. */
async function directory(): Promise<Fixture> {
  const made = new Fixture();
  await made.snapshot("/snapshot", { transactions: SOME_CHANGES });
  await made.run(
    restoreSnapshot(made.context, {
      snapshotPath: "/snapshot",
      dataDirectory: "/data",
      name: "m1",
      initialCluster: "m1=http://a:1",
      initialClusterToken: "tok",
      advertisePeerURLs: ["http://a:1"],
    }),
  );
  return made;
}

type Edit = readonly [bucket: string, key: Uint8Array, value: Uint8Array | undefined];

async function edit(made: Fixture, ...edits: readonly Edit[]): Promise<void> {
  const database = await made.run(Database.open(made.disk, DB));
  const tx = database.beginWrite();
  for (const [bucket, key, value] of edits) {
    const target = tx.createBucketIfNotExists(utf8FromString(bucket));
    if (value === undefined) target.delete(key);
    else target.put(key, value);
  }
  await made.run(tx.commit());
  await made.run(database.close());
}

function report(made: Fixture, path = "/data"): Promise<VerifyReport> {
  return made.run(verify(made.context, { path }));
}

function failures({ checks }: VerifyReport): string[] {
  return checks
    .filter(({ status }) => status === "failed")
    .map(({ name, problems }) => `${name}: ${problems.join("; ")}`);
}

/** A record of the key bucket. */
function record(main: number, fields: { key?: string; created?: number; version?: number }): Edit {
  const kv = KeyValueCodec.create({
    key: utf8FromString(fields.key ?? "z"),
    createRevision: fields.created ?? main,
    modRevision: main,
    version: fields.version ?? 1,
  });
  return ["key", encodeRevision(main, 0), encodeMessage(KeyValueCodec, kv)];
}

describe("verify()", () => {
  test("finds nothing wrong with a snapshot, a database and a data directory", async () => {
    const made = await directory();
    await made.database("/db", { transactions: SOME_CHANGES, compactAt: 4 });
    for (const [path, kind] of [
      ["/snapshot", "snapshot"],
      ["/db", "database"],
      ["/data", "data directory"],
    ] as const) {
      const found = await report(made, path);
      expect(failures(found)).toEqual([]);
      expect(found).toMatchObject({ path, kind, isIntact: true });
    }
  });

  test("finds nothing wrong with whatever the store writes", async () => {
    const key = fc.constantFrom("a", "b", "c", "d");
    const change: fc.Arbitrary<Change> = fc.oneof(
      fc.tuple(fc.constant("put" as const), key, fc.string({ maxLength: 4 })),
      fc.tuple(fc.constant("delete" as const), key),
    );
    const changes = fc.array(fc.uniqueArray(change, { minLength: 1, selector: ([, at]) => at }), {
      minLength: 1,
      maxLength: 25,
    });
    await fc.assert(
      fc.asyncProperty(changes, fc.double({ min: 0, max: 1, noNaN: true }), async (list, part) => {
        const made = new Fixture();
        await made.database("/db", { transactions: list });
        const all = await report(made, "/db");
        expect(failures(all)).toEqual([]);
        const revision = Number(/revision (\d+)/.exec(all.checks[4]!.summary)![1]);
        const compactAt = Math.floor(part * revision);
        const compacted = new Fixture();
        await compacted.database("/db", { transactions: list, compactAt });
        expect(failures(await report(compacted, "/db"))).toEqual([]);
      }),
      { numRuns: 25 },
    );
  });

  test("changes nothing", async () => {
    const made = await directory();
    const paths = (await made.tree("/data")).filter((path) => !path.endsWith("/"));
    const digests = () => paths.map((path) => crc32c(0, made.disk.fileBytes(path)));
    const before = digests();
    await report(made);
    expect((await made.tree("/data")).filter((path) => !path.endsWith("/"))).toEqual(paths);
    expect(digests()).toEqual(before);
  });

  test("finds any flipped bit of a snapshot", async () => {
    const made = await directory();
    const bytes = made.disk.fileBytes("/snapshot").length;
    for (let at = 7; at < bytes; at += 4001) {
      made.disk.flipBit("/snapshot", at);
      expect((await report(made, "/snapshot")).isIntact).toBe(false);
      made.disk.flipBit("/snapshot", at);
    }
    expect((await report(made, "/snapshot")).isIntact).toBe(true);
  });

  test.each<[string, readonly Edit[], string]>([
    ["a revision left out", [["key", encodeRevision(5, 0), undefined]], "where 5.0 is expected"],
    ["a revision too far on", [record(12, {})], "revision 12.0 found where 8.0 is expected"],
    ["a wrong version", [record(8, { version: 3 })], "version 3, it is the key's 1"],
    [
      "a wrong creation",
      [record(8, { key: "b", created: 8, version: 2 })],
      "says it was created at 8, it was at 5",
    ],
    [
      "the deletion of nothing",
      [["key", encodeRevision(8, 0, true), record(8, {})[2]!]],
      "deletes a key that does not exist",
    ],
    [
      "a key that is no revision",
      [["key", utf8FromString("zz"), utf8FromString("")]],
      "no revision",
    ],
    [
      "a value that is no KeyValue",
      [["key", encodeRevision(8, 0), Uint8Array.of(0x0a, 0xff, 0xff)]],
      "no KeyValue",
    ],
    ["a damaged lease", [["lease", encodeRevision(1, 0), Uint8Array.of(0xff)]], "cannot be read"],
    ["a damaged member", [["members", utf8FromString("7"), utf8FromString("{")]], "member 7"],
    ["a damaged index", [["meta", utf8FromString("consistent_index"), Uint8Array.of(1)]], "64-bit"],
    [
      "an index past the log",
      [["meta", utf8FromString("consistent_index"), Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 99)]],
      "the database is at index 99, the log ends at 1",
    ],
    ["a damaged user", [["authUsers", utf8FromString("u"), Uint8Array.of(0xff)]], "authUsers"],
  ])("names %s", async (_what, edits, text) => {
    const made = await directory();
    await edit(made, ...edits);
    const found = await report(made);
    expect(found.isIntact).toBe(false);
    expect(failures(found).join("\n")).toContain(text);
  });

  test("only warns of a lease that is gone", async () => {
    const made = await directory();
    const kv = KeyValueCodec.create({
      key: utf8FromString("z"),
      createRevision: 8,
      modRevision: 8,
      version: 1,
      lease: 5n,
    });
    await edit(made, ["key", encodeRevision(8, 0), encodeMessage(KeyValueCodec, kv)]);
    const found = await report(made);
    expect(found.isIntact).toBe(true);
    expect(found.checks.find(({ name }) => name === "leases")).toMatchObject({
      status: "warning",
      problems: ["1 keys have lease 5, which does not exist"],
    });
  });

  test("names damage of the log and of raft's snapshots", async () => {
    const made = await directory();
    made.disk.flipBit(FIRST_SEGMENT, 100);
    expect(failures(await report(made)).join()).toMatch(/^log: /);
    made.disk.flipBit(FIRST_SEGMENT, 100);
    const snap = "/data/member/snap/0000000000000001-0000000000000001.snap";
    made.disk.flipBit(snap, 300);
    const found = failures(await report(made)).join("\n");
    expect(found).toContain("snapshots: snap: crc mismatch");
    expect(found).toContain("the log knows a snapshot at 1, of which no readable file is here");
    await made.run(made.disk.remove(snap));
    await made.run(made.disk.removeTree(WAL));
    expect(failures(await report(made)).join("\n")).toContain("log: there is no log in");
  });

  test("only warns of a write that a crash cut short", async () => {
    const made = await directory();
    const start = { index: 1, term: 1, confState: undefined };
    const { wal } = await made.run(WriteAheadLog.open(made.disk, WAL, start, made.context));
    const entry = { type: "EntryNormal", term: 1, index: 2 } as const;
    const data = new Uint8Array(2000).fill(7);
    await made.run(wal.save({ term: 1, vote: 0n, commit: 1 }, [{ ...entry, data }]));
    await made.run(wal.close());
    const file = await made.run(made.disk.open(FIRST_SEGMENT, { mode: "readWrite" }));
    const end = made.disk.fileBytes(FIRST_SEGMENT).findLastIndex((byte) => byte === 7);
    const sector = end - (end % 512);
    await made.run(file.write([new Uint8Array(1024)], sector));
    await made.run(file.close());
    const found = await report(made);
    expect(found.isIntact).toBe(true);
    expect(found.checks.find(({ name }) => name === "log")).toMatchObject({
      status: "warning",
      problems: [expect.stringContaining("the last write was cut short")],
    });
  });

  test("names members the log does not have", async () => {
    const made = await directory();
    const member = '{"id":77,"peerURLs":["http://z:1"],"name":"z"}';
    await edit(made, ["members", utf8FromString("4d"), utf8FromString(member)]);
    expect(failures(await report(made)).join()).toContain(
      "the database has member 4d, the log does not",
    );
  });

  test("names a broken meta page, also where the other one is whole", async () => {
    const made = await directory();
    for (const page of [0, 1]) {
      made.disk.flipBit(DB, page * 4096 + 60);
      expect(failures(await report(made)).join()).toContain(`pages: meta page ${page}: `);
      made.disk.flipBit(DB, page * 4096 + 60);
    }
    expect((await report(made)).isIntact).toBe(true);
  });

  test("names a snapshot with members raft does not have", async () => {
    const made = await directory();
    const snapshotter = new Snapshotter(made.disk, "/data/member/snap", made.context);
    const snapshot = (await made.run(snapshotter.load()))!;
    const { metadata } = snapshot;
    const confState = { ...metadata.confState, voters: [...metadata.confState.voters, 5n] };
    await made.run(snapshotter.save({ ...snapshot, metadata: { ...metadata, confState } }));
    expect(failures(await report(made)).join()).toContain("counts 5, which is no member");
  });

  test("looks past a database that a received one is to replace", async () => {
    const made = await directory();
    await edit(made, ["meta", utf8FromString("consistent_index"), new Uint8Array(8)]);
    expect(failures(await report(made)).join()).toContain("below the snapshot at 1");
    await made.database("/data/member/snap/0000000000000001.snap.db");
    expect((await report(made)).isIntact).toBe(true);
  });

  test("names terms that go back", async () => {
    const made = await directory();
    const start = { index: 1, term: 1, confState: undefined };
    const { wal } = await made.run(WriteAheadLog.open(made.disk, WAL, start, made.context));
    const entry = { type: "EntryNormal", data: new Uint8Array(0) } as const;
    await made.run(
      wal.save({ term: 4, vote: 0n, commit: 9 }, [
        { ...entry, index: 2, term: 4 },
        { ...entry, index: 3, term: 2 },
      ]),
    );
    await made.run(wal.close());
    const found = failures(await report(made)).join();
    expect(found).toContain("entry 3 has term 2, after one of term 4");
    expect(found).toContain("commit index 9 is above the last entry, 3");
  });

  test("refuses what it cannot look at", async () => {
    const made = await directory();
    await expect(report(made, "/none")).rejects.toHaveProperty("code", "NOT_FOUND");
    await expect(report(made, "/data/member")).rejects.toThrow("holds no member/snap/db");
    const open = await made.run(Database.open(made.disk, DB));
    await expect(report(made)).rejects.toHaveProperty("code", "IN_USE");
    await made.run(open.close());
  });

  test("reports a file that is no database", async () => {
    const made = new Fixture();
    await made.writeFile("/text", [utf8FromString("hello ".repeat(3000))]);
    const found = await report(made, "/text");
    expect(found.isIntact).toBe(false);
    expect(found.checks.map(({ name, status }) => `${name} ${status}`)).toEqual([
      "checksum skipped",
      "pages failed",
      "contents skipped",
    ]);
  });
});
