/**
 * What one user may read and write: the permissions of all its roles, merged.
 *
 * Ranges are half-open, [key, rangeEnd). No range end stands for the one key, a single zero byte
 * for all keys from `key` on.
 */

import { compareBytes, IntervalTree, latin1FromBytes } from "@etcd-ts/base";
import { Permission_Type } from "@etcd-ts/api";
import type { Permission } from "@etcd-ts/api";

export type Access = "read" | "write";

export class UserPermissions {
  readonly #trees: { readonly [A in Access]: IntervalTree<true> } = {
    read: new IntervalTree(),
    write: new IntervalTree(),
  };

  add({ permType, key, rangeEnd }: Permission): void {
    const begin = latin1FromBytes(key);
    const end = endOf(begin, rangeEnd);
    // Stored ranges that hold no key grant nothing.
    if (end !== undefined && begin >= end) return;
    if (permType === Permission_Type.READ || permType === Permission_Type.READWRITE) {
      this.#trees.read.insert(begin, end, true);
    }
    if (permType === Permission_Type.WRITE || permType === Permission_Type.READWRITE) {
      this.#trees.write.insert(begin, end, true);
    }
  }

  /** Whether every key of the range is permitted. */
  permits(access: Access, key: Uint8Array, rangeEnd: Uint8Array): boolean {
    const tree = this.#trees[access];
    const begin = latin1FromBytes(key);
    if (rangeEnd.length === 0) return tree.stab(begin).length > 0;
    const end = endOf(begin, rangeEnd);
    // A range that holds no key gives nothing away; etcd looks at where it begins.
    if (end !== undefined && begin >= end) return tree.stab(begin).length > 0;
    return tree.covers(begin, end);
  }
}

/** Undefined for an open end. */
function endOf(begin: string, rangeEnd: Uint8Array): string | undefined {
  if (rangeEnd.length === 0) return `${begin}\0`;
  return isOpenEnd(rangeEnd) ? undefined : latin1FromBytes(rangeEnd);
}

function isOpenEnd(rangeEnd: Uint8Array): boolean {
  return rangeEnd.length === 1 && rangeEnd[0] === 0;
}

/** Whether a permission may be granted on the range. */
export function isGrantable(key: Uint8Array, rangeEnd: Uint8Array): boolean {
  if (key.length === 0) return false;
  return rangeEnd.length === 0 || compareBytes(key, rangeEnd) < 0 || isOpenEnd(rangeEnd);
}
