import {
  MemoryDisk,
  NULL_LOGGER,
  NULL_METRICS,
  VirtualClock,
  bytesFromLatin1,
} from "@etcd-ts/base";
import type { Entry, Snapshot } from "@etcd-ts/raft";
import { Snapshotter, WriteAheadLog } from "@etcd-ts/wal";
import { describe, expect, test } from "vitest";

import { openStartingLog } from "./starting-log.ts";

const WAL = "/data/member/wal";
const SNAP = "/data/member/snap";
const confState = {
  voters: [1n],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};
const options = {
  logger: NULL_LOGGER,
  metrics: NULL_METRICS,
  clock: new VirtualClock(),
  segmentBytes: 8192,
};

const snapshotAt = (index: number, term = 1): Snapshot => ({
  data: bytesFromLatin1("{}"),
  metadata: { confState, index, term },
});

/** 60 entries over several segments, all committed up to 50. */
async function sampleLog(): Promise<{ disk: MemoryDisk; wal: WriteAheadLog; snap: Snapshotter }> {
  const disk = new MemoryDisk();
  for (const path of [WAL, SNAP]) await disk.makeDirectory(path.slice(0, path.lastIndexOf("/")));
  await disk.makeDirectory(SNAP);
  const wal = await WriteAheadLog.create(disk, WAL, bytesFromLatin1("metadata"), options);
  for (let index = 1; index <= 60; index++) {
    const data = new Uint8Array(1000).fill(index);
    const entry: Entry = { type: "EntryNormal", term: 1, index, data };
    await wal.save({ term: 1, vote: 1n, commit: Math.min(50, index) }, [entry]);
  }
  return { disk, wal, snap: new Snapshotter(disk, SNAP, options) };
}

async function startOf(
  disk: MemoryDisk,
  snap: Snapshotter,
): Promise<{ index: number; first: number | undefined; last: number | undefined }> {
  const log = await openStartingLog(disk, WAL, snap, options);
  await log.wal.close();
  const indexes = log.entries.map(({ index }) => index);
  return { index: log.snapshot?.metadata.index ?? 0, first: indexes[0], last: indexes.at(-1) };
}

describe("openStartingLog()", () => {
  test("without a snapshot starts at the first entry", async () => {
    const { disk, wal, snap } = await sampleLog();
    await wal.close();
    expect(await startOf(disk, snap)).toEqual({ index: 0, first: 1, last: 60 });
  });

  test("starts at the newest snapshot and does not read what is before it", async () => {
    const { disk, wal, snap } = await sampleLog();
    for (const index of [20, 45]) {
      await snap.save(snapshotAt(index));
      await wal.saveSnapshot({ index, term: 1, confState });
    }
    await wal.close();
    const oldest = (await disk.list(WAL)).find((name) => name.endsWith(".wal"));
    const { length } = disk.fileBytes(`${WAL}/${oldest}`);
    disk.flipBit(`${WAL}/${oldest}`, length >> 1, 3);
    await expect(WriteAheadLog.validSnapshots(disk, WAL, options)).rejects.toThrow("mismatch");
    expect(await startOf(disk, snap)).toEqual({ index: 45, first: 46, last: 60 });
  });

  test.each([
    ["that the log does not know", 48, 1, false],
    ["of another term", 48, 2, true],
    ["that is not committed", 55, 1, true],
  ])("passes over a snapshot %s", async (_what, index, term, isRecorded) => {
    const { disk, wal, snap } = await sampleLog();
    await snap.save(snapshotAt(30));
    await wal.saveSnapshot({ index: 30, term: 1, confState });
    await snap.save(snapshotAt(index, term));
    if (isRecorded) await wal.saveSnapshot({ index, term: 1, confState });
    await wal.close();
    expect(await startOf(disk, snap)).toEqual({ index: 30, first: 31, last: 60 });
  });
});
