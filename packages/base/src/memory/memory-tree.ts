/**
 * The names of a disk in memory: what is seen, and what a crash would leave.
 *
 * Invariants:
 * - A change of names is one step that survives a crash whole or not at all, also when it touches
 *   two directories (rename).
 * - `durable` of a directory plus the pending steps, in order, gives `visible`.
 * - The root is always there.
 */

import { DiskError } from "../ports/disk.ts";
import type { Random } from "../ports/random.ts";
import { MemoryInode } from "./memory-inode.ts";

export class MemoryDirectory {
  mode = 0o700;
  visible = new Map<string, TreeNode>();
  durable = new Map<string, TreeNode>();
}

export type TreeNode = MemoryInode | MemoryDirectory;

/** One name set to a node, or taken away. */
type Change = {
  readonly directory: MemoryDirectory;
  readonly name: string;
  readonly node: TreeNode | undefined;
};

type Step = { changes: Change[] };

export type Place = { readonly directory: MemoryDirectory; readonly name: string };

export class MemoryTree {
  readonly root = new MemoryDirectory();
  #pending: Step[] = [];

  /** The node at `path`; undefined if there is none. @throws {DiskError} NOT_DIRECTORY */
  find(path: string): TreeNode | undefined {
    let node: TreeNode = this.root;
    for (const name of splitPath(path)) {
      if (!(node instanceof MemoryDirectory)) {
        throw new DiskError("NOT_DIRECTORY", path, `${path}: not a directory`);
      }
      const next = node.visible.get(name);
      if (next === undefined) return undefined;
      node = next;
    }
    return node;
  }

  /** @throws {DiskError} NOT_FOUND, NOT_DIRECTORY */
  directory(path: string): MemoryDirectory {
    const node = this.find(path);
    if (node === undefined) throw notFound(path);
    if (node instanceof MemoryDirectory) return node;
    throw new DiskError("NOT_DIRECTORY", path, `${path}: not a directory`);
  }

  /** The directory a path is in and its last name. @throws {DiskError} as `directory` */
  place(path: string): Place {
    const names = splitPath(path);
    const name = names.pop();
    if (name === undefined) throw new DiskError("IS_DIRECTORY", path, `${path}: is a directory`);
    return { directory: this.directory(`/${names.join("/")}`), name };
  }

  /** Makes the changes visible as one step. */
  change(changes: Change[]): void {
    for (const change of changes) applyChange(change.directory.visible, change);
    this.#pending.push({ changes });
  }

  /** Makes durable every step that touches `directory`, and what older ones said of its names. */
  sync(directory: MemoryDirectory): void {
    const kept: Step[] = [];
    for (const step of this.#pending) {
      if (step.changes.some((change) => change.directory === directory)) {
        this.#makeDurable(step, kept);
      } else kept.push(step);
    }
    this.#pending = kept.filter((step) => step.changes.length > 0);
  }

  settle(): void {
    for (const step of this.#pending) this.#makeDurable(step, []);
    this.#pending = [];
  }

  /**
   * Goes back to the durable names, after letting the first few pending steps survive.
   *
   * @param keepSteps - which share of the pending steps, 0 to 1; a journal keeps them in order
   * @returns every file that is left
   */
  crash(keepSteps: number, random: Random | undefined): Set<MemoryInode> {
    if (random !== undefined) {
      const count = Math.round(this.#pending.length * keepSteps);
      for (const step of this.#pending.slice(0, count)) this.#makeDurable(step, []);
    }
    this.#pending = [];
    const files = new Set<MemoryInode>();
    const visit = (directory: MemoryDirectory): void => {
      directory.visible = new Map(directory.durable);
      for (const node of directory.visible.values()) {
        if (node instanceof MemoryInode) files.add(node);
        else visit(node);
      }
    };
    visit(this.root);
    return files;
  }

  /** Applies `step` to the durable names; `older` pending steps lose what it overrides. */
  #makeDurable(step: Step, older: readonly Step[]): void {
    for (const change of step.changes) {
      applyChange(change.directory.durable, change);
      for (const other of older) {
        other.changes = other.changes.filter(
          (c) => c.directory !== change.directory || c.name !== change.name,
        );
      }
    }
  }
}

function applyChange(names: Map<string, TreeNode>, change: Change): void {
  if (change.node === undefined) names.delete(change.name);
  else names.set(change.name, change.node);
}

export function notFound(path: string): DiskError {
  return new DiskError("NOT_FOUND", path, `${path}: no such file or directory`);
}

/** The names of a path from the root; "." and empty names vanish, ".." takes one back. */
export function splitPath(path: string): string[] {
  const names: string[] = [];
  for (const name of path.split("/")) {
    if (name === "..") names.pop();
    else if (name !== "" && name !== ".") names.push(name);
  }
  return names;
}
