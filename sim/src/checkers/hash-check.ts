/** Members at rest at the same revision hold the same data: equal hashes of all keys. */

import type { HashKVResult } from "@etcd-ts/etcdserver";

import { ViolationError } from "../violation.ts";

/** @param results - by the name of the member */
export function checkEqualHashes(results: ReadonlyMap<string, HashKVResult>): void {
  const texts = [...results].map(
    ([name, { hash, hashRevision, compactRevision }]) =>
      [name, `${hash} at ${hashRevision}, compacted ${compactRevision}`] as const,
  );
  if (new Set(texts.map(([, text]) => text)).size > 1) {
    throw new ViolationError("hash", texts.map(([name, text]) => `${name} ${text}`).join("; "));
  }
}
