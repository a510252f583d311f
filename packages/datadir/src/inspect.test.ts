import { describe, expect, test } from "vitest";
import { crc32c, utf8FromString } from "@etcd-ts/base";
import { Database } from "@etcd-ts/bbolt";
import { decodeRevision, encodeRevision } from "@etcd-ts/storage";
import { Fixture, SOME_CHANGES, SOME_REVISION } from "./database-fixture.ts";
import { defragment } from "./defragment.ts";
import { hashKV } from "./hash-kv.ts";
import type { OnProgress } from "./progress.ts";
import { snapshotStatus } from "./status.ts";

const DB = "/data/member/snap/db";

async function fixture(compactAt = 0): Promise<Fixture> {
  const made = new Fixture();
  await made.database(DB, { transactions: SOME_CHANGES, compactAt });
  return made;
}

/** Changes the key bucket behind the store's back. */
async function edit(
  made: Fixture,
  bucket: string,
  entries: readonly (readonly [Uint8Array, Uint8Array | undefined])[],
): Promise<void> {
  const database = await made.run(Database.open(made.disk, DB));
  const tx = database.beginWrite();
  const target = tx.createBucketIfNotExists(utf8FromString(bucket));
  for (const [key, value] of entries) {
    if (value === undefined) target.delete(key);
    else target.put(key, value);
  }
  await made.run(tx.commit());
  await made.run(database.close());
}

describe("snapshotStatus()", () => {
  test("counts keys that exist, at the newest revision", async () => {
    const made = await fixture();
    const status = await made.run(snapshotStatus(made.context, DB));
    expect(status).toMatchObject({ revision: SOME_REVISION, totalKey: 2, version: "3.6.0" });
    expect(status.totalSize % 4096).toBe(0);
  });

  test("hashes every bucket's name and records in order", async () => {
    const made = await fixture();
    const database = await made.run(Database.open(made.disk, DB, { readOnly: true }));
    const reader = database.beginRead();
    let crc = 0;
    for (const name of reader.bucketNames()) {
      crc = crc32c(crc, name);
      const cursor = reader.bucket(name)!.cursor();
      for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
        crc = crc32c(crc32c(crc, entry.key), entry.value!);
      }
    }
    await made.run(database.close());
    expect((await made.run(snapshotStatus(made.context, DB))).hash).toBe(crc);
  });

  test("changes nothing, and passes a checksum over", async () => {
    const made = new Fixture();
    await made.snapshot("/snapshot", { transactions: SOME_CHANGES });
    const before = made.disk.fileBytes("/snapshot").slice();
    const status = await made.run(snapshotStatus(made.context, "/snapshot"));
    expect(before.length % 512).toBe(32);
    expect(status.totalSize).toBeLessThanOrEqual(before.length - 32);
    expect(made.disk.fileBytes("/snapshot")).toEqual(before);
  });

  test("names a missing file, a directory, a foreign file and one in use", async () => {
    const made = await fixture();
    const status = (path: string) => made.run(snapshotStatus(made.context, path));
    await expect(status("/none")).rejects.toThrow("stat /none: no such file or directory");
    await expect(status("/data")).rejects.toThrow("is a directory");
    await made.writeFile("/text", [utf8FromString("hello ".repeat(3000))]);
    await expect(status("/text")).rejects.toHaveProperty("code", "INVALID_DATABASE");
    const open = await made.run(Database.open(made.disk, DB));
    await expect(status(DB)).rejects.toHaveProperty("code", "IN_USE");
    await made.run(open.close());
  });

  test("reports the faults of the pages instead of a status", async () => {
    const made = await fixture();
    for (let page = 2; page < made.disk.fileBytes(DB).length / 4096; page++) {
      made.disk.flipBit(DB, page * 4096 + 9, 3);
    }
    await expect(made.run(snapshotStatus(made.context, DB))).rejects.toThrow(
      /^snapshot file integrity check failed\. \d+ errors found\.\n/,
    );
  });
});

describe("hashKV()", () => {
  test("is the same before and after a compaction at the revision asked for", async () => {
    const before = await fixture();
    const after = await fixture(5);
    for (const revision of [5, 6, SOME_REVISION]) {
      // What compaction keeps at 5 is what the hash at 5 counts, save what is newer than it.
      const compacted = await after.run(hashKV(after.context, DB, revision));
      expect(compacted).toMatchObject({ hashRevision: revision, compactRevision: 5 });
      await edit(before, "meta", [[utf8FromString("scheduledCompactRev"), encodeRevision(5, 0)]]);
      expect(await before.run(hashKV(before.context, DB, revision))).toEqual(compacted);
    }
  });

  test("refuses what is compacted or not there yet", async () => {
    const made = await fixture(5);
    await expect(made.run(hashKV(made.context, DB, 4))).rejects.toThrow(
      "mvcc: required revision has been compacted",
    );
    await expect(made.run(hashKV(made.context, DB, SOME_REVISION + 1))).rejects.toThrow(
      "mvcc: required revision is a future revision",
    );
  });

  test("changes nothing, also with a compaction that was begun only", async () => {
    const made = await fixture();
    await edit(made, "meta", [[utf8FromString("scheduledCompactRev"), encodeRevision(4, 0)]]);
    const before = made.disk.fileBytes(DB).slice();
    await made.run(hashKV(made.context, DB, 0));
    expect(made.disk.fileBytes(DB)).toEqual(before);
  });
});

describe("defragment()", () => {
  test("keeps every record and gives free pages back", async () => {
    const made = new Fixture();
    const many = Array.from(
      { length: 300 },
      (_, i) => [["put", `k${i % 3}`, "v".repeat(2000)]] as const,
    );
    await made.database(DB, { transactions: many, compactAt: 300 });
    const before = await made.run(snapshotStatus(made.context, DB));
    const result = await made.run(defragment(made.context, { dataDirectory: "/data" }));
    const after = await made.run(snapshotStatus(made.context, DB));
    expect(result.bytesAfter).toBeLessThan(result.bytesBefore / 2);
    expect({ ...after, totalSize: 0 }).toEqual({ ...before, totalSize: 0 });
    expect(await made.tree("/data/member/snap")).toEqual(["/data/member/snap/", DB]);
  });

  test.each(["write", "dataSync", "rename"] as const)(
    "leaves the database as it was whichever %s fails",
    async (operation) => {
      for (let after = 0; after < 20; after++) {
        const made = await fixture();
        const before = made.disk.fileBytes(DB).slice();
        made.disk.fail({ operation, code: "NO_SPACE", after });
        const isDone = await made.run(defragment(made.context, { dataDirectory: "/data" })).then(
          () => true,
          () => false,
        );
        if (isDone) return;
        expect(made.disk.fileBytes(DB)).toEqual(before);
        expect(await made.tree("/data/member/snap")).toEqual(["/data/member/snap/", DB]);
      }
      expect.unreachable("it never succeeds");
    },
  );

  test("waits for who has the database open", async () => {
    const made = await fixture();
    const open = await made.run(Database.open(made.disk, DB));
    const waited: string[] = [];
    const done = defragment(made.context, {
      dataDirectory: "/data",
      onWaiting: (path) => {
        waited.push(path);
        void open.close();
      },
    });
    await made.run(done);
    expect(waited).toEqual([DB]);
  });

  test("says that there is no database", async () => {
    const made = new Fixture();
    await expect(made.run(defragment(made.context, { dataDirectory: "/none" }))).rejects.toThrow(
      "stat /none/member/snap/db: no such file or directory",
    );
  });
});

test("snapshotStatus() can be stopped amid the pages", async () => {
  const made = new Fixture();
  await made.database(DB, { transactions: [[["put", "a", "x".repeat(5_000_000)]]] });
  const onProgress: OnProgress = ({ step, done }) => {
    if (step === "pages" && done > 0) throw new Error("interrupted");
  };
  const context = { ...made.context, onProgress };
  await expect(made.run(snapshotStatus(context, DB))).rejects.toThrow("interrupted");
});

test("the fixture's newest record is of SOME_REVISION", async () => {
  const made = await fixture();
  const database = await made.run(Database.open(made.disk, DB, { readOnly: true }));
  const last = database.beginRead().bucket(utf8FromString("key"))!.cursor().last()!;
  expect(decodeRevision(last.key)?.main).toBe(SOME_REVISION);
  await made.run(database.close());
});
