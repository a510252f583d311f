/** How members and clusters get their ids: the first 8 bytes of SHA-1 digests. */

import { latin1FromBytes, sha1, utf8FromString } from "@etcd-ts/base";

/**
 * The id of a member.
 *
 * @param peerURLs - in any order
 * @param token - of the initial cluster; empty for a member added later
 * @param wallSeconds - for a member added later: when, in Unix seconds, so that a removed member's
 *   URLs may be used again
 */
export function memberID(
  peerURLs: readonly string[],
  token: string,
  wallSeconds: number | undefined = undefined,
): bigint {
  const urls = peerURLs.toSorted(compareUtf8).join("");
  const moment = wallSeconds === undefined ? "" : String(wallSeconds);
  return firstEightBytes(utf8FromString(urls + token + moment));
}

/** The id of a cluster from the ids of its initial members, in any order. */
export function clusterID(memberIDs: readonly bigint[]): bigint {
  const sorted = memberIDs.toSorted(compareIDs);
  const bytes = new Uint8Array(8 * sorted.length);
  const view = new DataView(bytes.buffer);
  sorted.forEach((id, i) => view.setBigUint64(8 * i, id));
  return firstEightBytes(bytes);
}

export function compareIDs(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Orders as Go does: by bytes, not by UTF-16 units. */
function compareUtf8(a: string, b: string): number {
  const left = latin1FromBytes(utf8FromString(a));
  const right = latin1FromBytes(utf8FromString(b));
  return left < right ? -1 : left > right ? 1 : 0;
}

function firstEightBytes(message: Uint8Array): bigint {
  return new DataView(sha1(message).buffer).getBigUint64(0);
}
