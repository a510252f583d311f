import {
  MemoryDisk,
  NULL_LOGGER,
  NULL_METRICS,
  VirtualClock,
  bytesFromLatin1,
} from "@etcd-ts/base";
import type { Snapshot } from "@etcd-ts/raft";
import { describe, expect, test } from "vitest";
import { CONF_STATE } from "./sample-log.ts";
import { Snapshotter } from "./snapshotter.ts";

const DIRECTORY = "/data/member/snap";

async function emptySnapshotter(): Promise<{ disk: MemoryDisk; snapshotter: Snapshotter }> {
  const disk = new MemoryDisk();
  await disk.makeDirectory(DIRECTORY);
  disk.settle();
  const options = { logger: NULL_LOGGER, metrics: NULL_METRICS, clock: new VirtualClock() };
  return { disk, snapshotter: new Snapshotter(disk, DIRECTORY, options) };
}

function snapshot(index: number, term = 1): Snapshot {
  const data = bytesFromLatin1(`{"index":${index}}`);
  return { data, metadata: { confState: CONF_STATE, index, term } };
}

const NAME_OF_5 = `${DIRECTORY}/0000000000000001-0000000000000005.snap`;

async function* chunksOf(...texts: string[]): AsyncIterable<Uint8Array> {
  for (const text of texts) yield bytesFromLatin1(text);
}

describe("Snapshotter", () => {
  test("load() gives back the newest snapshot, also after a crash", async () => {
    const { disk, snapshotter } = await emptySnapshotter();
    expect(await snapshotter.load()).toBeUndefined();
    await snapshotter.save(snapshot(0, 0));
    expect(await disk.list(DIRECTORY)).toEqual([]);
    await snapshotter.save(snapshot(5));
    await snapshotter.save(snapshot(12, 2));
    disk.crash();
    expect(await snapshotter.load()).toEqual(snapshot(12, 2));
    expect(await disk.list(DIRECTORY)).toEqual([
      "0000000000000001-0000000000000005.snap",
      "0000000000000002-000000000000000c.snap",
    ]);
  });

  test("loadNewestAvailable() passes over snapshots the log does not know", async () => {
    const { snapshotter } = await emptySnapshotter();
    await snapshotter.save(snapshot(5));
    await snapshotter.save(snapshot(9));
    const valid = [5, 7].map((index) => ({ index, term: 1, confState: undefined }));
    expect(await snapshotter.loadNewestAvailable(valid)).toEqual(snapshot(5));
    expect(await snapshotter.loadNewestAvailable([])).toBeUndefined();
  });

  test("a file with any changed bit is set aside and an older one used", async () => {
    const { disk, snapshotter } = await emptySnapshotter();
    await snapshotter.save(snapshot(5));
    await snapshotter.save(snapshot(6));
    const newest = `${DIRECTORY}/0000000000000001-0000000000000006.snap`;
    const { length } = disk.fileBytes(newest);
    for (let at = 0; at < length; at++) {
      for (let bit = 0; bit < 8; bit++) {
        disk.flipBit(newest, at, bit);
        expect(await snapshotter.load()).toEqual(snapshot(5));
        await disk.rename(`${newest}.broken`, newest);
        disk.flipBit(newest, at, bit);
      }
    }
    expect(await snapshotter.load()).toEqual(snapshot(6));
  });

  test("an empty or short file is set aside", async () => {
    const { disk, snapshotter } = await emptySnapshotter();
    await snapshotter.save(snapshot(5));
    const { length } = disk.fileBytes(NAME_OF_5);
    for (let size = length - 1; size >= 0; size--) {
      const file = await disk.open(NAME_OF_5, { mode: "readWrite" });
      await file.truncate(size);
      await file.close();
      expect(await snapshotter.load()).toBeUndefined();
      await disk.rename(`${NAME_OF_5}.broken`, NAME_OF_5);
    }
  });

  test("save() leaves nothing behind when the disk fails", async () => {
    const { disk, snapshotter } = await emptySnapshotter();
    disk.fail({ operation: "sync", code: "NO_SPACE" });
    await expect(snapshotter.save(snapshot(5))).rejects.toMatchObject({ code: "NO_SPACE" });
    expect(await disk.list(DIRECTORY)).toEqual([]);
  });

  test("saveDatabase() keeps the first database of an index", async () => {
    const { disk, snapshotter } = await emptySnapshotter();
    expect(await snapshotter.saveDatabase(chunksOf("ab", "cd"), 7)).toBe(4);
    await snapshotter.saveDatabase(chunksOf("other"), 7);
    expect(disk.fileBytes(snapshotter.databasePath(7))).toEqual(bytesFromLatin1("abcd"));
    expect(snapshotter.databasePath(7)).toBe(`${DIRECTORY}/0000000000000007.snap.db`);
    expect(await snapshotter.hasDatabase(7)).toBe(true);
    await snapshotter.saveDatabase(chunksOf("x"), 9);
    await snapshotter.releaseDatabasesBefore(9);
    expect(await disk.list(DIRECTORY)).toEqual(["0000000000000009.snap.db"]);
  });

  test("purge() keeps the newest files", async () => {
    const { disk, snapshotter } = await emptySnapshotter();
    for (const index of [5, 6, 7, 8]) await snapshotter.save(snapshot(index));
    await snapshotter.saveDatabase(chunksOf("x"), 9);
    expect(await snapshotter.purge(0)).toEqual([]);
    expect((await snapshotter.purge(2)).length).toBe(2);
    expect((await disk.list(DIRECTORY)).length).toBe(3);
    expect(await snapshotter.load()).toEqual(snapshot(8));
  });

  test("removeTemporaryFiles() removes only what was never finished", async () => {
    const { disk, snapshotter } = await emptySnapshotter();
    for (const name of ["tmp123", "db.tmp.9", "db"]) {
      await (await disk.open(`${DIRECTORY}/${name}`, { mode: "create" })).close();
    }
    await snapshotter.removeTemporaryFiles();
    expect(await disk.list(DIRECTORY)).toEqual(["db"]);
  });
});
