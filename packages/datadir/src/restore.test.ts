import { describe, expect, test } from "vitest";
import { latin1FromBytes, utf8FromString } from "@etcd-ts/base";
import type { DiskOperation } from "@etcd-ts/base";
import { Database } from "@etcd-ts/bbolt";
import { clusterID, memberID } from "@etcd-ts/etcdserver";
import { decodeMember } from "@etcd-ts/storage";
import { Fixture, SOME_CHANGES, SOME_REVISION } from "./database-fixture.ts";
import { hashKV } from "./hash-kv.ts";
import { restoreSnapshot } from "./restore.ts";
import type { RestoreOptions } from "./restore.ts";
import { snapshotStatus } from "./status.ts";
import { verify } from "./verify.ts";

const OPTIONS: RestoreOptions = {
  snapshotPath: "/snapshot",
  dataDirectory: "/new",
  name: "m1",
  initialCluster: "m1=http://a:1,m2=http://b:2",
  initialClusterToken: "tok",
  advertisePeerURLs: ["http://a:1"],
};

async function fixture(): Promise<Fixture> {
  const made = new Fixture();
  await made.snapshot("/snapshot", { transactions: SOME_CHANGES, compactAt: 3 });
  return made;
}

function restore(made: Fixture, options: Partial<RestoreOptions> = {}) {
  return made.run(restoreSnapshot(made.context, { ...OPTIONS, ...options }));
}

describe("restoreSnapshot()", () => {
  test("makes a directory that verifies, with the data of the snapshot", async () => {
    const made = await fixture();
    const result = await restore(made);
    expect(result.memberID).toBe(memberID(["http://a:1"], "tok"));
    expect(result.clusterID).toBe(
      clusterID([memberID(["http://a:1"], "tok"), memberID(["http://b:2"], "tok")]),
    );
    const report = await made.run(verify(made.context, { path: "/new" }));
    expect(report.checks.filter(({ status }) => status !== "ok")).toEqual([]);
    expect(await made.run(hashKV(made.context, "/new/member/snap/db", 0))).toEqual(
      await made.run(hashKV(made.context, "/snapshot", 0)),
    );
  });

  test("replaces the members and keeps everything else", async () => {
    const made = await fixture();
    await restore(made);
    const { disk } = made;
    const database = await made.run(Database.open(disk, "/new/member/snap/db", { readOnly: true }));
    const members = database.beginRead().bucket(utf8FromString("members"))!.cursor();
    const names: string[] = [];
    for (let entry = members.first(); entry !== undefined; entry = members.next()) {
      names.push(decodeMember(latin1FromBytes(entry.value!))!.name);
    }
    await made.run(database.close());
    expect(names.sort()).toEqual(["m1", "m2"]);
  });

  test("survives a loss of power right after it settles", async () => {
    const made = await fixture();
    await restore(made);
    const before = await made.tree("/new");
    made.disk.crash();
    expect(await made.tree("/new")).toEqual(before);
    expect((await made.run(verify(made.context, { path: "/new" }))).isIntact).toBe(true);
  });

  test("puts the log where it is told", async () => {
    const made = await fixture();
    await restore(made, { walDirectory: "/logs/wal" });
    expect(await made.tree("/new")).not.toContain("/new/member/wal/");
    const report = await made.run(
      verify(made.context, { path: "/new", walDirectory: "/logs/wal" }),
    );
    expect(report.isIntact).toBe(true);
  });

  test("raises the revision and has all below it compacted", async () => {
    const made = await fixture();
    await restore(made, { bumpRevision: 1000 });
    const status = await made.run(snapshotStatus(made.context, "/new/member/snap/db"));
    expect(status.revision).toBe(SOME_REVISION + 1000);
    const hash = await made.run(hashKV(made.context, "/new/member/snap/db", 0));
    expect(hash.compactRevision).toBe(SOME_REVISION + 1000);
    expect((await made.run(verify(made.context, { path: "/new" }))).isIntact).toBe(true);
  });

  test("refuses to raise the revision past what can be counted", async () => {
    const made = await fixture();
    await expect(restore(made, { bumpRevision: Number.MAX_SAFE_INTEGER })).rejects.toThrow(
      "cannot be raised",
    );
    expect(await made.tree("/new")).toEqual([]);
  });

  test("leaves a directory alone that holds anything", async () => {
    const made = await fixture();
    await made.run(made.disk.makeDirectory("/new"));
    await made.writeFile("/new/file", [utf8FromString("mine")]);
    await expect(restore(made)).rejects.toThrow('data-dir "/new" not empty');
    expect(await made.tree("/new")).toEqual(["/new/", "/new/file"]);
    await made.run(made.disk.makeDirectory("/wal"));
    await expect(restore(made, { dataDirectory: "/other", walDirectory: "/wal" })).rejects.toThrow(
      'wal-dir "/wal" exists',
    );
  });

  test("takes an empty directory, and leaves it when it fails", async () => {
    const made = await fixture();
    await made.run(made.disk.makeDirectory("/new"));
    made.disk.flipBit("/snapshot", 5000);
    await expect(restore(made)).rejects.toThrow("expected sha256 [");
    expect(await made.tree("/new")).toEqual(["/new/"]);
    made.disk.flipBit("/snapshot", 5000);
    await restore(made);
    expect((await made.run(verify(made.context, { path: "/new" }))).isIntact).toBe(true);
  });

  test.each<[string, Partial<RestoreOptions>, string]>([
    ["an unknown name", { name: "x" }, `couldn't find local name "x" in the initial cluster`],
    [
      "other URLs than the cluster's",
      { advertisePeerURLs: ["http://z:1"] },
      "--initial-cluster has m1=http://a:1 but missing from --initial-advertise-peer-urls=http://z:1",
    ],
    [
      "URLs twice",
      { initialCluster: "m1=http://a:1,m2=http://a:1" },
      "initial cluster m1=http://a:1,m2=http://a:1 has duplicate url",
    ],
    ["a missing file", { snapshotPath: "/none" }, "open /none: no such file or directory"],
  ])("refuses %s", async (_what, options, text) => {
    const made = await fixture();
    await expect((async () => restore(made, options))()).rejects.toThrow(text);
    expect(await made.tree("/new")).toEqual([]);
  });

  test("tells a file without a checksum from a damaged one", async () => {
    const made = new Fixture();
    await made.database("/db/db", { transactions: SOME_CHANGES });
    await expect(restore(made, { snapshotPath: "/db/db" })).rejects.toThrow(
      "snapshot missing hash but --skip-hash-check=false",
    );
    await restore(made, { snapshotPath: "/db/db", skipHashCheck: true });
    expect((await made.run(verify(made.context, { path: "/new" }))).isIntact).toBe(true);
  });

  test.each([0, 1, 31, 32, 100, 512, 4096, 8224, 12_000])(
    "leaves nothing of a file cut to %d bytes, whether its checksum is asked for or not",
    async (bytes) => {
      const made = await fixture();
      const cut = made.disk.fileBytes("/snapshot").slice(0, bytes);
      await made.writeFile("/cut", [cut]);
      for (const skipHashCheck of [false, true]) {
        const failure = await restore(made, { snapshotPath: "/cut", skipHashCheck }).catch(
          (error: unknown) => error,
        );
        expect(failure).toHaveProperty("code", expect.stringMatching(/^(CHECKSUM|INTEGRITY)/));
        expect(await made.tree("/new")).toEqual([]);
      }
    },
  );

  test("finds damage by the pages when no checksum is looked at", async () => {
    const made = await fixture();
    const bytes = made.disk.fileBytes("/snapshot").slice();
    // The page kind of a data page.
    bytes[3 * 4096 + 8] = 0x7f;
    bytes[4 * 4096 + 8] = 0x7f;
    bytes[5 * 4096 + 8] = 0x7f;
    await made.writeFile("/damaged", [bytes]);
    await expect(
      restore(made, { snapshotPath: "/damaged", skipHashCheck: true }),
    ).rejects.toHaveProperty("code", "INTEGRITY");
    expect(await made.tree("/new")).toEqual([]);
  });

  test.each<DiskOperation>(["write", "dataSync", "sync", "rename", "preallocate", "syncDirectory"])(
    "takes everything back whichever %s fails",
    async (operation) => {
      for (let after = 0; ; after++) {
        const made = await fixture();
        made.disk.fail({ operation, code: "NO_SPACE", after });
        const failure = await restore(made, { dataDirectory: "/deep/er/new" }).then(
          () => undefined,
          (error: unknown) => error,
        );
        if (failure === undefined) {
          expect(after).toBeGreaterThan(0);
          return;
        }
        expect(String(failure)).toContain("no space left on device");
        const left = await made.tree("/deep");
        // The name is there before the last sync of the directory above it: then it is whole.
        if (left.includes("/deep/er/new/member/")) {
          expect((await made.run(verify(made.context, { path: "/deep/er/new" }))).isIntact).toBe(
            true,
          );
        } else expect(left).toEqual([]);
      }
    },
  );

  test("takes everything back when it is interrupted", async () => {
    const made = await fixture();
    made.interruptAt = "copy";
    await expect(restore(made, { walDirectory: "/wal" })).rejects.toThrow("interrupted");
    expect(await made.tree("/new")).toEqual([]);
    expect(await made.tree("/wal.restoring")).toEqual([]);
  });

  test("says what an interrupted restore left behind", async () => {
    const made = await fixture();
    await made.run(made.disk.makeDirectory("/new/member.restoring"));
    await expect(restore(made)).rejects.toThrow("remove member.restoring");
  });
});
