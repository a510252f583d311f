/**
 * A disk in memory: for tests, for the simulator, and for members that need no durability.
 *
 * It keeps the contract of the `Disk` port to the letter: what was not synced is gone after
 * `crash`. Faults, latency, a bound on its size and flipped bits can be asked for.
 *
 * Invariants:
 * - With a clock an operation takes effect just before its promise settles, never in the turn it
 *   was asked for. Without one a write is visible when the call returns.
 * - After `powerOff`, until `crash`, every operation fails and changes nothing.
 * - Handles opened before a crash are dead after it.
 */

import { compareBytes, utf8FromString } from "../bytes.ts";
import { invariant } from "../errors.ts";
import type { Clock } from "../ports/clock.ts";
import type { Disk, DiskFile, FileStat, OpenOptions } from "../ports/disk.ts";
import { DiskError } from "../ports/disk.ts";
import type { Random } from "../ports/random.ts";
import type { DiskFault, DiskOperation } from "./disk-faults.ts";
import { faultError, poweredOff } from "./disk-faults.ts";
import { MemoryFile } from "./memory-file.ts";
import type { CrashLoss, CrashPlan } from "./memory-inode.ts";
import { drawCrashPlan, MemoryInode, noLoss } from "./memory-inode.ts";
import type { TreeNode } from "./memory-tree.ts";
import { MemoryDirectory, MemoryTree, notFound, splitPath } from "./memory-tree.ts";

export interface MemoryDiskOptions {
  /** Total size of all files; writing past it fails with NO_SPACE. Default: no bound. */
  readonly capacityBytes?: number;
  /** Settles operations in a later turn of this clock. Default: in this turn. */
  readonly clock?: Clock;
  /** How long an operation takes; needs `clock`. Default: 0, a turn. */
  readonly latencyMs?: (operation: DiskOperation, bytes: number) => number;
  /** Told of every fault that was asked for when it strikes. */
  readonly onFault?: (fault: DiskFault, path: string) => void;
}

export interface CrashOptions extends Partial<CrashPlan> {
  /** The share of directory changes that survives, oldest first. Default: drawn at random. */
  readonly keepDirectorySteps?: number;
}

/** Operations done so far, failed ones included. */
export type DiskCounts = { readonly [operation in DiskOperation]: number } & {
  readonly writtenBytes: number;
};

const NOTHING_SURVIVES: CrashPlan = { keepChance: 0, unitBytes: 4096, keepSizeChance: 0 };

export class MemoryDisk implements Disk {
  readonly #options: MemoryDiskOptions;
  readonly #tree = new MemoryTree();
  readonly #faults: { fault: DiskFault; pass: number; left: number }[] = [];
  #usedBytes = 0;
  #generation = 0;
  #operationsLeft = Number.POSITIVE_INFINITY;
  #counts = emptyCounts();

  constructor(options: MemoryDiskOptions = {}) {
    this.#options = options;
    invariant(
      options.latencyMs === undefined || options.clock !== undefined,
      () => "MemoryDisk: latency needs a clock",
    );
  }

  get counts(): DiskCounts {
    return { ...this.#counts };
  }

  resetCounts(): void {
    this.#counts = emptyCounts();
  }

  /** Total size of all files. */
  get usedBytes(): number {
    return this.#usedBytes;
  }

  async open(path: string, options: OpenOptions): Promise<DiskFile> {
    await this.step("open", path, 0);
    const { directory, name } = this.#tree.place(path);
    let node = directory.visible.get(name);
    if (node instanceof MemoryDirectory) {
      throw new DiskError("IS_DIRECTORY", path, `${path}: is a directory`);
    }
    if (node === undefined) {
      if (options.mode === "read" || options.mode === "readWrite") throw notFound(path);
      node = new MemoryInode(0o600);
      this.#tree.change([{ directory, name, node }]);
    } else if (options.mode === "createNew") {
      throw new DiskError("EXISTS", path, `${path}: file exists`);
    }
    const needed = options.mode === "read" ? 0o400 : 0o600;
    if ((node.mode & needed) !== needed) {
      throw new DiskError("ACCESS_DENIED", path, `${path}: permission denied`);
    }
    const file = new MemoryFile(this, path, node, options);
    if (options.mode === "truncate") this.resize(node, path, 0);
    return file;
  }

  async stat(path: string): Promise<FileStat | undefined> {
    await this.#turn("open", 0);
    const node = this.#tree.find(path);
    if (node === undefined) return undefined;
    const isFile = node instanceof MemoryInode;
    const kind = isFile ? "file" : "directory";
    return { kind, sizeBytes: isFile ? node.sizeBytes : 0, mode: node.mode };
  }

  async list(path: string): Promise<string[]> {
    await this.#turn("open", 0);
    const names = [...this.#tree.directory(path).visible.keys()];
    return names.sort((a, b) => compareBytes(utf8FromString(a), utf8FromString(b)));
  }

  async makeDirectory(path: string): Promise<void> {
    await this.step("makeDirectory", path, 0);
    let directory = this.#tree.root;
    for (const name of splitPath(path)) {
      let node = directory.visible.get(name);
      if (node === undefined) {
        node = new MemoryDirectory();
        this.#tree.change([{ directory, name, node }]);
      }
      if (!(node instanceof MemoryDirectory)) {
        throw new DiskError("NOT_DIRECTORY", path, `${path}: not a directory`);
      }
      directory = node;
    }
  }

  async rename(from: string, to: string): Promise<void> {
    await this.step("rename", from, 0);
    const source = this.#tree.place(from);
    const target = this.#tree.place(to);
    const node = source.directory.visible.get(source.name);
    if (node === undefined) throw notFound(from);
    const replaced = target.directory.visible.get(target.name);
    if (replaced === node) return;
    this.#checkReplace(node, replaced, to);
    this.#tree.change([
      { ...source, node: undefined },
      { ...target, node },
    ]);
    this.#forget(replaced);
  }

  async remove(path: string): Promise<void> {
    await this.step("remove", path, 0);
    const { directory, name } = this.#tree.place(path);
    const node = directory.visible.get(name);
    if (node === undefined) throw notFound(path);
    if (node instanceof MemoryDirectory) {
      throw new DiskError("IS_DIRECTORY", path, `${path}: is a directory`);
    }
    this.#tree.change([{ directory, name, node: undefined }]);
    this.#forget(node);
  }

  async removeTree(path: string): Promise<void> {
    await this.step("removeTree", path, 0);
    if (this.#tree.find(path) === undefined) return;
    const { directory, name } = this.#tree.place(path);
    const node = directory.visible.get(name);
    this.#tree.change([{ directory, name, node: undefined }]);
    this.#forget(node);
  }

  async syncDirectory(path: string): Promise<void> {
    await this.step("syncDirectory", path, 0);
    this.#tree.sync(this.#tree.directory(path));
  }

  /**
   * Loses power and comes back: what was not synced is gone, handles are dead, locks are free,
   * faults are forgotten.
   *
   * @param random - if given, an arbitrary part of what was not synced survives
   * @param options - takes the place of what would be drawn from `random`
   * @returns what became of the bytes that were not synced
   */
  crash(random?: Random, options: CrashOptions = {}): CrashLoss {
    const loss = noLoss();
    const drawn = random === undefined ? NOTHING_SURVIVES : drawCrashPlan(random);
    const keepSteps = options.keepDirectorySteps ?? (random === undefined ? 0 : random.float());
    const files = this.#tree.crash(keepSteps, random);
    this.#usedBytes = 0;
    for (const file of files) {
      file.crash({ ...drawn, ...options }, random, loss);
      file.isLinked = true;
      this.#usedBytes += file.sizeBytes;
    }
    this.#generation++;
    this.#faults.length = 0;
    this.#operationsLeft = Number.POSITIVE_INFINITY;
    return loss;
  }

  /**
   * Lets `operations` more operations that change something through and then fails all, reads
   * included, until `crash`: how a test stops a program at every point in turn.
   */
  powerOffAfter(operations: number): void {
    this.#operationsLeft = operations;
  }

  get isPoweredOff(): boolean {
    return this.#operationsLeft < 0;
  }

  /** Makes operations to come fail. */
  fail(fault: DiskFault): void {
    this.#faults.push({ fault, pass: fault.after ?? 0, left: fault.times ?? 1 });
  }

  /** Changes one bit of a file at rest, on the device and in every cache. */
  flipBit(path: string, offsetBytes: number, bit = 0): void {
    const inode = this.#inode(path);
    invariant(offsetBytes < inode.sizeBytes, () => `flipBit: ${path} ends before ${offsetBytes}`);
    inode.flipBit(offsetBytes, bit);
  }

  /** Sets permission bits; visible and durable at once. */
  setMode(path: string, mode: number): void {
    const node = this.#tree.find(path);
    if (node === undefined) throw notFound(path);
    node.mode = mode;
  }

  /** A copy of a file's visible bytes. */
  fileBytes(path: string): Uint8Array {
    const inode = this.#inode(path);
    const bytes = new Uint8Array(inode.sizeBytes);
    inode.read(bytes, 0);
    return bytes;
  }

  /** Makes everything as it is seen now durable. */
  settle(): void {
    this.#tree.settle();
    const visit = (directory: MemoryDirectory): void => {
      for (const node of directory.visible.values()) {
        if (node instanceof MemoryInode) node.settle();
        else visit(node);
      }
    };
    visit(this.#tree.root);
  }

  /** Which life of the disk this is; part of the disk's inside, for its files. */
  get generation(): number {
    return this.#generation;
  }

  /** Counts an operation, waits its time and checks that the power is on; for its files. */
  async step(operation: DiskOperation, path: string, bytes: number): Promise<void> {
    const generation = this.#generation;
    await this.begin(operation, bytes);
    if (generation !== this.#generation) throw poweredOff(path);
    this.checkPower(operation, path);
    this.checkFault(operation, path);
  }

  /**
   * Counts an operation; if it takes time, returns what to wait for. After the wait the disk may
   * have crashed, so the caller checks again.
   */
  begin(operation: DiskOperation, bytes: number): Promise<void> | undefined {
    this.count(operation, bytes);
    return this.#options.clock === undefined ? undefined : this.#turn(operation, bytes);
  }

  count(operation: DiskOperation, bytes: number): void {
    this.#counts[operation]++;
    if (operation === "write") this.#counts.writtenBytes += bytes;
  }

  /** @throws {DiskError} IO if the power is off, or goes off with this operation */
  checkPower(operation: DiskOperation, path: string): void {
    if (operation !== "read" && operation !== "open") this.#operationsLeft--;
    if (this.#operationsLeft < 0) throw poweredOff(path);
  }

  /** @throws {DiskError} if a fault was asked for */
  checkFault(operation: DiskOperation, path: string): void {
    const fault = this.takeFault(operation, path);
    if (fault !== undefined) throw faultError(fault, path);
  }

  takeFault(operation: DiskOperation, path: string): DiskFault | undefined {
    const armed = this.#faults.find((candidate) => {
      const { fault } = candidate;
      if (fault.operation !== operation) return false;
      if (fault.path !== undefined && fault.path !== path) return false;
      candidate.pass--;
      return candidate.pass < 0;
    });
    if (armed === undefined) return undefined;
    armed.left--;
    if (armed.left === 0) this.#faults.splice(this.#faults.indexOf(armed), 1);
    this.#options.onFault?.(armed.fault, path);
    return armed.fault;
  }

  /** Bytes the files may still grow by. */
  get freeBytes(): number {
    return (this.#options.capacityBytes ?? Number.POSITIVE_INFINITY) - this.#usedBytes;
  }

  /** @throws {DiskError} NO_SPACE */
  resize(inode: MemoryInode, path: string, sizeBytes: number): void {
    const growth = sizeBytes - inode.sizeBytes;
    if (growth > this.freeBytes) {
      throw new DiskError("NO_SPACE", path, `write ${path}: no space left on device`);
    }
    inode.resize(sizeBytes);
    if (inode.isLinked) this.#usedBytes += growth;
  }

  #inode(path: string): MemoryInode {
    const node = this.#tree.find(path);
    if (node === undefined) throw notFound(path);
    invariant(node instanceof MemoryInode, () => `${path} is a directory`);
    return node;
  }

  #checkReplace(node: TreeNode, replaced: TreeNode | undefined, path: string): void {
    if (replaced === undefined) return;
    if (node instanceof MemoryInode && replaced instanceof MemoryDirectory) {
      throw new DiskError("IS_DIRECTORY", path, `${path}: is a directory`);
    }
    if (node instanceof MemoryDirectory && replaced instanceof MemoryInode) {
      throw new DiskError("NOT_DIRECTORY", path, `${path}: not a directory`);
    }
    if (replaced instanceof MemoryDirectory && replaced.visible.size > 0) {
      throw new DiskError("NOT_EMPTY", path, `${path}: directory not empty`);
    }
  }

  #forget(node: TreeNode | undefined): void {
    if (node instanceof MemoryInode) {
      this.#usedBytes -= node.sizeBytes;
      node.isLinked = false;
    }
    if (node instanceof MemoryDirectory) {
      for (const child of node.visible.values()) this.#forget(child);
    }
  }

  async #turn(operation: DiskOperation, bytes: number): Promise<void> {
    const { clock, latencyMs } = this.#options;
    if (clock === undefined) return;
    const delayMs = latencyMs === undefined ? 0 : latencyMs(operation, bytes);
    await new Promise<void>((resolve) => {
      if (delayMs > 0) clock.setTimer(delayMs, resolve);
      else clock.nextTurn(resolve);
    });
  }
}

type MutableCounts = { -readonly [name in keyof DiskCounts]: number };

function emptyCounts(): MutableCounts {
  return {
    open: 0,
    read: 0,
    write: 0,
    dataSync: 0,
    sync: 0,
    truncate: 0,
    preallocate: 0,
    makeDirectory: 0,
    rename: 0,
    remove: 0,
    removeTree: 0,
    syncDirectory: 0,
    writtenBytes: 0,
  };
}
