/**
 * What every `Disk` keeps. A factory gives a disk and a directory of its own that exists.
 */

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

import type { Disk, DiskErrorCode, DiskFile } from "../src/index.ts";
import { DiskError } from "../src/index.ts";

export interface DiskUnderTest {
  readonly disk: Disk;
  /** An absolute, empty directory. */
  readonly directory: string;
  cleanUp(): Promise<void>;
}

const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);

function readAll(file: DiskFile): number[] {
  const target = new Uint8Array(file.sizeBytes());
  expect(file.read(target, 0)).toBe(target.length);
  return [...target];
}

async function expectDiskError(code: DiskErrorCode, run: Promise<unknown>): Promise<void> {
  const error = await run.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(DiskError);
  expect((error as DiskError).code).toBe(code);
}

export function testDisk(name: string, create: () => Promise<DiskUnderTest>): void {
  describe(name, () => {
    let subject: DiskUnderTest;
    let disk: Disk;
    let at: (file: string) => string;

    beforeEach(async () => {
      subject = await create();
      disk = subject.disk;
      at = (file) => `${subject.directory}/${file}`;
    });

    afterEach(() => subject.cleanUp());

    async function writeFile(file: string, content: Uint8Array): Promise<void> {
      const handle = await disk.open(at(file), { mode: "truncate" });
      await handle.write([content], 0);
      await handle.close();
    }

    async function contentOf(file: string): Promise<number[]> {
      const handle = await disk.open(at(file), { mode: "read" });
      const content = readAll(handle);
      await handle.close();
      return content;
    }

    describe("open()", () => {
      test("refuses a missing file in the modes that need one", async () => {
        await expectDiskError("NOT_FOUND", disk.open(at("a"), { mode: "read" }));
        await expectDiskError("NOT_FOUND", disk.open(at("a"), { mode: "readWrite" }));
        expect(await disk.list(subject.directory)).toEqual([]);
      });

      test("createNew refuses a file that is there", async () => {
        await (await disk.open(at("a"), { mode: "createNew" })).close();
        await expectDiskError("EXISTS", disk.open(at("a"), { mode: "createNew" }));
      });

      test("create keeps what is there, truncate empties it", async () => {
        await writeFile("a", bytes(1, 2));
        const kept = await disk.open(at("a"), { mode: "create" });
        expect(readAll(kept)).toEqual([1, 2]);
        await kept.close();
        const emptied = await disk.open(at("a"), { mode: "truncate" });
        expect(emptied.sizeBytes()).toBe(0);
        await emptied.close();
      });

      test("refuses a directory, and a path through a file", async () => {
        await disk.makeDirectory(at("d"));
        await writeFile("f", bytes(1));
        await expectDiskError("IS_DIRECTORY", disk.open(at("d"), { mode: "read" }));
        await expectDiskError("NOT_DIRECTORY", disk.open(at("f/x"), { mode: "create" }));
        await expectDiskError("NOT_FOUND", disk.open(at("none/x"), { mode: "create" }));
      });

      test("makes files that only their owner may use", async () => {
        await writeFile("f", bytes(1));
        await disk.makeDirectory(at("d"));
        expect((await disk.stat(at("f")))?.mode).toBe(0o600);
        expect((await disk.stat(at("d")))?.mode).toBe(0o700);
      });

      test("read refuses writes", async () => {
        await writeFile("f", bytes(1));
        const file = await disk.open(at("f"), { mode: "read" });
        await expectDiskError("ACCESS_DENIED", file.write([bytes(2)], 0));
        await expectDiskError("ACCESS_DENIED", file.truncate(0));
        await expectDiskError("ACCESS_DENIED", file.preallocate(10));
        await file.close();
        expect(await contentOf("f")).toEqual([1]);
      });
    });

    describe("locks", () => {
      test("an exclusive lock excludes every other until close", async () => {
        const first = await disk.open(at("f"), { mode: "create", lock: "exclusive" });
        await expectDiskError("LOCKED", disk.open(at("f"), { mode: "create", lock: "exclusive" }));
        await expectDiskError("LOCKED", disk.open(at("f"), { mode: "read", lock: "shared" }));
        await first.close();
        const second = await disk.open(at("f"), { mode: "create", lock: "exclusive" });
        await second.close();
      });

      test("shared locks go together and exclude an exclusive one", async () => {
        await writeFile("f", bytes(1));
        const first = await disk.open(at("f"), { mode: "read", lock: "shared" });
        const second = await disk.open(at("f"), { mode: "read", lock: "shared" });
        await first.close();
        await expectDiskError("LOCKED", disk.open(at("f"), { mode: "create", lock: "exclusive" }));
        await second.close();
        await (await disk.open(at("f"), { mode: "create", lock: "exclusive" })).close();
      });

      test("an open without a lock is let through", async () => {
        const first = await disk.open(at("f"), { mode: "create", lock: "exclusive" });
        const second = await disk.open(at("f"), { mode: "read" });
        await second.close();
        // Closing another handle of the file does not give the lock up.
        await expectDiskError("LOCKED", disk.open(at("f"), { mode: "create", lock: "exclusive" }));
        await first.close();
      });

      test("a refused truncate leaves the file as it is", async () => {
        await writeFile("f", bytes(1, 2, 3));
        const first = await disk.open(at("f"), { mode: "readWrite", lock: "exclusive" });
        const again = disk.open(at("f"), { mode: "truncate", lock: "exclusive" });
        await expectDiskError("LOCKED", again);
        expect(readAll(first)).toEqual([1, 2, 3]);
        await first.close();
      });
    });

    describe("read() and write()", () => {
      test("a write in chunks is one run of bytes", async () => {
        const file = await disk.open(at("f"), { mode: "create" });
        await file.write([bytes(1), bytes(), bytes(2, 3)], 0);
        await file.write([bytes(9)], 1);
        await file.write([], 5);
        expect(readAll(file)).toEqual([1, 9, 3]);
        await file.close();
      });

      test("a write past the end leaves zeros between", async () => {
        const file = await disk.open(at("f"), { mode: "create" });
        await file.write([bytes(7)], 3);
        expect(readAll(file)).toEqual([0, 0, 0, 7]);
        await file.close();
      });

      test("a read stops at the end of the file", async () => {
        await writeFile("f", bytes(1, 2, 3));
        const file = await disk.open(at("f"), { mode: "read" });
        const target = new Uint8Array(5).fill(8);
        expect(file.read(target, 1)).toBe(2);
        expect([...target]).toEqual([2, 3, 8, 8, 8]);
        expect(file.read(target, 3)).toBe(0);
        expect(file.read(target, 100)).toBe(0);
        await file.close();
      });

      test("many chunks arrive whole", async () => {
        const file = await disk.open(at("f"), { mode: "create" });
        const chunks = Array.from({ length: 1500 }, (_, i) => new Uint8Array(i % 20).fill(i));
        await file.write(chunks, 10);
        const expected = [...new Uint8Array(10), ...chunks.flatMap((chunk) => [...chunk])];
        expect(readAll(file)).toEqual(expected);
        await file.close();
      });

      test("a file holds what an array of bytes would", async () => {
        const step = fc.oneof(
          fc.record({ kind: fc.constant("write"), at: fc.nat(70_000), length: fc.nat(40_000) }),
          fc.record({ kind: fc.constant("truncate"), at: fc.nat(70_000), length: fc.constant(0) }),
          fc.record({ kind: fc.constant("extend"), at: fc.nat(70_000), length: fc.constant(0) }),
          fc.record({ kind: fc.constant("sync"), at: fc.constant(0), length: fc.constant(0) }),
        );
        await fc.assert(
          fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
            const file = await disk.open(at("model"), { mode: "truncate" });
            let model = new Uint8Array(0);
            const resize = (size: number): void => {
              const resized = new Uint8Array(size);
              resized.set(model.subarray(0, size));
              model = resized;
            };
            for (const [i, { kind, at: offset, length }] of steps.entries()) {
              if (kind === "write" && length > 0) {
                const content = new Uint8Array(length).fill(i + 1);
                await file.write(
                  [content.subarray(0, length >> 1), content.subarray(length >> 1)],
                  offset,
                );
                if (offset + length > model.length) resize(offset + length);
                model.set(content, offset);
              } else if (kind === "truncate") {
                await file.truncate(offset);
                resize(offset);
              } else if (kind === "extend") {
                await file.preallocate(offset);
                resize(Math.max(offset, model.length));
              } else if (kind === "sync") await file.dataSync();
            }
            const content = new Uint8Array(file.sizeBytes());
            file.read(content, 0);
            await file.close();
            expect(Buffer.compare(content, model)).toBe(0);
          }),
          { numRuns: 25 },
        );
      });
    });

    describe("writeDurably()", () => {
      test("writes as write() does, extending the file", async () => {
        await writeFile("f", bytes(1, 2, 3));
        const file = await disk.open(at("f"), { mode: "readWrite" });
        await file.writeDurably([bytes(7), bytes(), bytes(8, 9)], 2);
        expect(readAll(file)).toEqual([1, 2, 7, 8, 9]);
        await file.writeDurably([bytes(5)], 0);
        await file.write([bytes(6)], 1);
        expect(readAll(file)).toEqual([5, 6, 7, 8, 9]);
        await file.close();
        expect(await contentOf("f")).toEqual([5, 6, 7, 8, 9]);
      });

      test("keeps a lock, and what was renamed meanwhile", async () => {
        const file = await disk.open(at("a"), { mode: "createNew", lock: "exclusive" });
        await disk.rename(at("a"), at("b"));
        await writeFile("a", bytes(1));
        await file.writeDurably([bytes(2)], 0);
        expect(await contentOf("a")).toEqual([1]);
        expect(await contentOf("b")).toEqual([2]);
        await expectDiskError("LOCKED", disk.open(at("b"), { mode: "create", lock: "exclusive" }));
        await file.close();
        await (await disk.open(at("b"), { mode: "create", lock: "exclusive" })).close();
      });

      test("is the same when it may block", async () => {
        const file = await disk.open(at("f"), { mode: "createNew" });
        const expected: number[] = [];
        for (let i = 0; i < 40; i++) {
          await file.writeDurably([bytes(i, i + 1)], 2 * i, true);
          expected.push(i, i + 1);
        }
        await file.writeDurably([bytes(7), bytes(8)], 0, true);
        expected.splice(0, 2, 7, 8);
        expect(readAll(file)).toEqual(expected);
        await file.close();
      });

      test("is refused where write() is", async () => {
        await writeFile("f", bytes(1));
        const file = await disk.open(at("f"), { mode: "read" });
        await expectDiskError("ACCESS_DENIED", file.writeDurably([bytes(2)], 0));
        await file.close();
        await expect(file.writeDurably([bytes(2)], 0)).rejects.toThrow("closed");
      });
    });

    describe("truncate() and preallocate()", () => {
      test("cut bytes do not come back", async () => {
        await writeFile("f", bytes(1, 2, 3, 4));
        const file = await disk.open(at("f"), { mode: "readWrite" });
        await file.truncate(2);
        await file.truncate(4);
        expect(readAll(file)).toEqual([1, 2, 0, 0]);
        await file.close();
      });

      test("preallocate() extends with zeros and never shrinks", async () => {
        await writeFile("f", bytes(1, 2));
        const file = await disk.open(at("f"), { mode: "readWrite" });
        await file.preallocate(3_000_000);
        expect(file.sizeBytes()).toBe(3_000_000);
        await file.preallocate(1);
        expect(file.sizeBytes()).toBe(3_000_000);
        const target = new Uint8Array(3_000_000);
        file.read(target, 0);
        expect(target.subarray(0, 3)).toEqual(bytes(1, 2, 0));
        expect(target.subarray(2).every((byte) => byte === 0)).toBe(true);
        await file.close();
      });
    });

    describe("close()", () => {
      test("may be called again, and ends the use of the handle", async () => {
        const file = await disk.open(at("f"), { mode: "create" });
        await file.dataSync();
        await file.sync();
        await file.close();
        await file.close();
        expect(() => file.read(new Uint8Array(1), 0)).toThrow("closed");
        await expect(file.write([bytes(1)], 0)).rejects.toThrow("closed");
        await expect(file.dataSync()).rejects.toThrow("closed");
      });
    });

    describe("directories", () => {
      test("stat() tells what is there", async () => {
        await writeFile("f", bytes(1, 2));
        expect(await disk.stat(at("f"))).toMatchObject({ kind: "file", sizeBytes: 2 });
        expect(await disk.stat(subject.directory)).toMatchObject({ kind: "directory" });
        expect(await disk.stat(at("none"))).toBeUndefined();
        expect(await disk.stat(at("none/none"))).toBeUndefined();
      });

      test("list() gives the names in byte order", async () => {
        for (const name of ["b", "a.10", "a.9", "é", "\u{10000}", "\uffee"]) {
          await writeFile(name, bytes());
        }
        await disk.makeDirectory(at("Z"));
        const expected = ["Z", "a.10", "a.9", "b", "é", "\uffee", "\u{10000}"];
        expect(await disk.list(subject.directory)).toEqual(expected);
        await expectDiskError("NOT_FOUND", disk.list(at("none")));
        await expectDiskError("NOT_DIRECTORY", disk.list(at("b")));
      });

      test("makeDirectory() makes the parents too and takes what is there", async () => {
        await disk.makeDirectory(at("x/y/z"));
        await disk.makeDirectory(at("x/y/z"));
        expect(await disk.list(at("x"))).toEqual(["y"]);
        await writeFile("f", bytes());
        await expectDiskError("NOT_DIRECTORY", disk.makeDirectory(at("f/g")));
      });

      test("rename() moves a file over another", async () => {
        await writeFile("a", bytes(1));
        await writeFile("b", bytes(2, 2));
        await disk.makeDirectory(at("d"));
        await disk.rename(at("a"), at("b"));
        expect(await contentOf("b")).toEqual([1]);
        await disk.rename(at("b"), at("d/c"));
        expect(await contentOf("d/c")).toEqual([1]);
        expect(await disk.list(subject.directory)).toEqual(["d"]);
        await expectDiskError("NOT_FOUND", disk.rename(at("none"), at("x")));
      });

      test("rename() moves a directory, but not over one that holds something", async () => {
        await disk.makeDirectory(at("a"));
        await writeFile("a/f", bytes(1));
        await disk.rename(at("a"), at("b"));
        expect(await contentOf("b/f")).toEqual([1]);
        await disk.makeDirectory(at("c"));
        await expectDiskError("NOT_EMPTY", disk.rename(at("c"), at("b")));
      });

      test("an open file outlives its name", async () => {
        await writeFile("f", bytes(1, 2));
        const file = await disk.open(at("f"), { mode: "readWrite" });
        await disk.remove(at("f"));
        await file.write([bytes(9)], 0);
        expect(readAll(file)).toEqual([9, 2]);
        await file.close();
        expect(await disk.stat(at("f"))).toBeUndefined();
      });

      test("remove() takes files only", async () => {
        await writeFile("f", bytes(1));
        await disk.remove(at("f"));
        await expectDiskError("NOT_FOUND", disk.remove(at("f")));
        await disk.makeDirectory(at("d"));
        await expectDiskError("IS_DIRECTORY", disk.remove(at("d")));
      });

      test("removeTree() takes all below and does not mind a missing path", async () => {
        await disk.makeDirectory(at("d/e"));
        await writeFile("d/e/f", bytes(1));
        await disk.removeTree(at("d"));
        await disk.removeTree(at("d"));
        expect(await disk.list(subject.directory)).toEqual([]);
      });

      test("syncDirectory() wants a directory", async () => {
        await disk.syncDirectory(subject.directory);
        await expectDiskError("NOT_FOUND", disk.syncDirectory(at("none")));
      });
    });
  });
}
