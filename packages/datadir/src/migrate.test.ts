import { describe, expect, test } from "vitest";
import { WireWriter, latin1FromBytes, utf8FromString } from "@etcd-ts/base";
import { versionOf } from "@etcd-ts/api";
import { Database } from "@etcd-ts/bbolt";
import { WriteAheadLog } from "@etcd-ts/wal";
import { Fixture, SOME_CHANGES } from "./database-fixture.ts";
import { migrate } from "./migrate.ts";
import { restoreSnapshot } from "./restore.ts";

const DB = "/data/member/snap/db";
/** Field of InternalRaftRequest. */
const DOWNGRADE_VERSION_TEST = 9900;

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

function migrateTo(
  made: Fixture,
  minor: number,
  options: { major?: number; force?: boolean } = {},
) {
  return made.run(
    migrate(made.context, {
      dataDirectory: "/data",
      targetVersion: versionOf(options.major ?? 3, minor),
      force: options.force ?? false,
    }),
  );
}

async function stored(made: Fixture): Promise<string | undefined> {
  const database = await made.run(Database.open(made.disk, DB, { readOnly: true }));
  const value = database
    .beginRead()
    .bucket(utf8FromString("meta"))!
    .get(utf8FromString("storageVersion"));
  await made.run(database.close());
  return value === undefined ? undefined : latin1FromBytes(value);
}

/** Adds an entry that only 3.6 reads. */
async function appendNewEntry(made: Fixture): Promise<void> {
  const start = { index: 1, term: 1, confState: undefined };
  const { wal } = await made.run(
    WriteAheadLog.open(made.disk, "/data/member/wal", start, made.context),
  );
  const version = new WireWriter(16);
  version.bytesField(1, utf8FromString("3.6.0"));
  const request = new WireWriter(32);
  request.bytesField(DOWNGRADE_VERSION_TEST, version.view());
  const data = request.view().slice();
  await made.run(
    wal.save({ term: 1, vote: 0n, commit: 2 }, [{ type: "EntryNormal", term: 1, index: 2, data }]),
  );
  await made.run(wal.close());
}

describe("migrate()", () => {
  test("takes the version out for 3.5 and puts it back for 3.6", async () => {
    const made = await directory();
    expect(await migrateTo(made, 6)).toMatchObject({ outcome: "current" });
    expect(await migrateTo(made, 5)).toMatchObject({ from: "3.6.0", to: "3.5.0" });
    expect(await stored(made)).toBeUndefined();
    expect(await migrateTo(made, 5)).toMatchObject({ outcome: "current" });
    expect(await migrateTo(made, 6)).toMatchObject({ from: "3.5.0", to: "3.6.0" });
    expect(await stored(made)).toBe("3.6.0");
  });

  test("refuses to go below what the log holds, unless forced", async () => {
    const made = await directory();
    await appendNewEntry(made);
    await expect(migrateTo(made, 5)).rejects.toThrow(
      "cannot downgrade storage, WAL contains newer entries, as the target version (3.5.0) is lower than the version (3.6.0) detected from WAL logs",
    );
    expect(await stored(made)).toBe("3.6.0");
    expect(await migrateTo(made, 5, { force: true })).toMatchObject({ outcome: "forced" });
    expect(await stored(made)).toBeUndefined();
  });

  test("refuses versions it knows no way to", async () => {
    const made = await directory();
    await expect(migrateTo(made, 7)).rejects.toThrow(
      'cannot create migration plan: version "3.7.0" is not supported',
    );
    await expect(migrateTo(made, 0, { major: 4 })).rejects.toThrow(
      "cannot create migration plan: changing major storage version is not supported",
    );
    expect(await migrateTo(made, 7, { force: true })).toMatchObject({ outcome: "forced" });
    expect(await stored(made)).toBe("3.7.0");
    await expect(migrateTo(made, 6)).rejects.toThrow('version "3.7.0" is not supported');
  });

  test("changes nothing when the disk is full", async () => {
    const made = await directory();
    made.disk.fail({ operation: "write", code: "NO_SPACE", path: DB });
    await expect(migrateTo(made, 5)).rejects.toThrow("no space left on device");
    expect(await stored(made)).toBe("3.6.0");
  });

  test("names a missing log and a missing database", async () => {
    const made = await directory();
    await made.run(made.disk.removeTree("/data/member/wal"));
    await expect(migrateTo(made, 5)).rejects.toThrow("failed to read wal");
    await made.run(made.disk.remove(DB));
    await expect(migrateTo(made, 5)).rejects.toThrow(`stat ${DB}: no such file or directory`);
  });
});
