/**
 * The buckets of the backend file, all at top level.
 *
 * Source: etcd 3.6 `member/snap/db`; the names are the format.
 */

import { utf8FromString } from "@etcd-ts/base";

export type BucketName =
  | "key"
  | "meta"
  | "lease"
  | "alarm"
  | "cluster"
  | "members"
  | "members_removed"
  | "auth"
  | "authUsers"
  | "authRoles";

/** Every bucket with the bytes of its name. */
export const BUCKETS: ReadonlyMap<BucketName, Uint8Array> = new Map(
  (
    [
      "key",
      "meta",
      "lease",
      "alarm",
      "cluster",
      "members",
      "members_removed",
      "auth",
      "authUsers",
      "authRoles",
    ] as const
  ).map((name) => [name, utf8FromString(name)]),
);

/**
 * How full the pages of `key` are packed: revisions only ever come at its end, so a page that is
 * split is not filled again.
 */
export const KEY_BUCKET_FILL_PERCENT = 0.9;
