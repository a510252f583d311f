/** What to do next, for every way a command can fail. */

import { CorruptionError, DiskError, EtcdError } from "@etcd-ts/base";
import type { DiskErrorCode } from "@etcd-ts/base";
import { DataDirectoryError } from "@etcd-ts/datadir";
import type { DataDirectoryErrorCode } from "@etcd-ts/datadir";

const OF_FILES: { readonly [code in DataDirectoryErrorCode]: string } = {
  NOT_FOUND: "look at the path; a data directory is the one that holds `member`",
  IN_USE: "stop the etcd that runs on it, or work on a snapshot",
  INTEGRITY:
    "do not use the file; `etcdutl verify` says what is wrong with it, `etcdctl snapshot save` makes another",
  CHECKSUM_MISSING:
    "if it is a copy of member/snap/db, give --skip-hash-check: its pages are checked instead; else it was cut off, use another",
  CHECKSUM_MISMATCH:
    "do not use the file: it is not what was saved; copy it anew from where it was made, or take another backup",
  NOT_EMPTY: "nothing was changed; name a directory that does not exist, or move this one aside",
  CLUSTER:
    "give --name, --initial-cluster and --initial-advertise-peer-urls as the member is to be started with",
  REVISION: "give a smaller --bump-revision",
  MIGRATION:
    "nothing was changed; start the member once more and let it take a snapshot, or take the lowest version it allows",
};

const OF_DISK: { readonly [code in DiskErrorCode]: string } = {
  NOT_FOUND: OF_FILES.NOT_FOUND,
  EXISTS: OF_FILES.NOT_EMPTY,
  LOCKED: OF_FILES.IN_USE,
  NO_SPACE: "nothing was changed; make room, or name a directory on another disk",
  ACCESS_DENIED: "run it as the user etcd runs as, or as root",
  NOT_DIRECTORY: "look at the path: a part of it is a file",
  IS_DIRECTORY: "look at the path: a file is wanted",
  NOT_EMPTY: OF_FILES.NOT_EMPTY,
  IO: "the disk failed: see `dmesg`; copy what can be read to another disk before you go on",
};

/** One line. */
export function adviceFor(error: EtcdError): string {
  const cause = reasonOf(error);
  if (cause instanceof DataDirectoryError) return OF_FILES[cause.code];
  if (cause instanceof DiskError) return OF_DISK[cause.code];
  if (cause instanceof CorruptionError) return OF_FILES.INTEGRITY;
  if (/^(WAL_|WIRE)/.test(cause.code)) {
    return "the log cannot be read: `etcdutl verify` says where; replace the member, or restore from a snapshot";
  }
  if (cause.code === "BAD_URLS") return OF_FILES.CLUSTER;
  return "`etcdutl <command> --help` says what a command takes";
}

/** The error a command's own text was made from. */
function reasonOf(error: EtcdError): EtcdError {
  const isKnown = error instanceof DataDirectoryError || error instanceof DiskError;
  return !isKnown && error.cause instanceof EtcdError ? reasonOf(error.cause) : error;
}
