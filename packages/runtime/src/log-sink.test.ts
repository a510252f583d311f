import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

import { afterEach, beforeEach, expect, test } from "vitest";

import type { LogRotation } from "./index.ts";
import { FileSink, openLogSinks } from "./index.ts";

const ROTATION: LogRotation = {
  maxSizeMB: 1,
  maxAgeDays: 0,
  maxBackups: 0,
  localTime: false,
  compress: false,
};
const HALF = `${"x".repeat(512 * 1024 - 1)}\n`;

let directory: string;
let path: string;
let nowMs: number;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "etcd-ts-"));
  path = join(directory, "etcd.log");
  nowMs = Date.UTC(2026, 0, 2, 3, 4, 5, 6);
});

afterEach(() => rmSync(directory, { recursive: true, force: true }));

const now = (): Date => new Date(nowMs);

/** Writes `count` halves of a file, an hour apart. */
function writeHalves(sink: FileSink, count: number): void {
  for (let i = 0; i < count; i++) {
    sink.write(HALF);
    nowMs += 3_600_000;
  }
}

test("lines are appended to what is there, and only the owner may read them", async () => {
  writeFileSync(path, "before\n");
  const [sink] = openLogSinks([path]);
  sink!.write("after\n");
  expect(readFileSync(path, "utf8")).toBe("before\nafter\n");
  await sink!.close();
  const fresh = new FileSink(join(directory, "new.log"));
  await fresh.close();
  expect(statSync(join(directory, "new.log")).mode & 0o777).toBe(0o600);
});

test("a file that cannot be opened is a DiskError", () => {
  expect(() => openLogSinks([join(directory, "none", "x.log")])).toThrow(
    "no such file or directory",
  );
});

test("a full file is kept under its time, and nothing is lost", async () => {
  const sink = new FileSink(path, ROTATION, now);
  writeHalves(sink, 5);
  await sink.close();
  expect(readdirSync(directory).sort()).toEqual([
    "etcd-2026-01-02T05-04-05.006.log",
    "etcd-2026-01-02T07-04-05.006.log",
    "etcd.log",
  ]);
  const sizes = readdirSync(directory).map((file) => statSync(join(directory, file)).size);
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(5 * HALF.length);
});

test("a file found full is rotated with the first line", async () => {
  writeFileSync(path, HALF + HALF);
  const sink = new FileSink(path, ROTATION, now);
  sink.write("first\n");
  await sink.close();
  expect(readFileSync(path, "utf8")).toBe("first\n");
  expect(readdirSync(directory)).toHaveLength(2);
});

test("kept files beyond maxBackups or older than maxAgeDays go, others stay", async () => {
  writeFileSync(join(directory, "etcd-notes.log"), "not ours");
  writeFileSync(join(directory, "etcd-2025-12-01T00-00-00.000.log"), "old");
  utimesSync(join(directory, "etcd-2025-12-01T00-00-00.000.log"), now(), now());
  const aged = new FileSink(path, { ...ROTATION, maxAgeDays: 5 }, now);
  writeHalves(aged, 3);
  await aged.close();
  expect(readdirSync(directory).sort()).toEqual([
    "etcd-2026-01-02T05-04-05.006.log",
    "etcd-notes.log",
    "etcd.log",
  ]);
  const counted = new FileSink(path, { ...ROTATION, maxBackups: 2 }, now);
  writeHalves(counted, 6);
  await counted.close();
  const kept = readdirSync(directory).filter((file) => file.startsWith("etcd-2026"));
  expect(kept).toHaveLength(2);
  expect(kept).not.toContain("etcd-2026-01-02T05-04-05.006.log");
});

test("kept files are gzipped if asked", async () => {
  const sink = new FileSink(path, { ...ROTATION, compress: true }, now);
  writeHalves(sink, 3);
  await sink.close();
  expect(readdirSync(directory).sort()).toEqual([
    "etcd-2026-01-02T05-04-05.006.log.gz",
    "etcd.log",
  ]);
  const packed = readFileSync(join(directory, "etcd-2026-01-02T05-04-05.006.log.gz"));
  expect(gunzipSync(packed).toString()).toBe(HALF + HALF);
});
