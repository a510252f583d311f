/**
 * Makes the data directory of a new cluster's member from a snapshot.
 *
 * Everything is built in `<data-dir>/member.restoring` (and `<wal-dir>.restoring`), synced, and then
 * renamed. Invariants:
 * - A directory that holds anything is left as it is.
 * - `member` appears complete and durable or not at all; whatever fails before, what was begun is
 *   taken away again. After a crash `member.restoring` may be left, which no etcd looks into.
 */

import { CorruptionError, encodeMessage, hexFromID, utf8FromString } from "@etcd-ts/base";
import { LogMetadataSchema, generatedCodec } from "@etcd-ts/api";
import { Database } from "@etcd-ts/bbolt";
import type { WriteTransaction } from "@etcd-ts/bbolt";
import { encodeMemberContext } from "@etcd-ts/etcdserver";
import { ConfChangeCodec } from "@etcd-ts/raft";
import type { ConfState, Entry } from "@etcd-ts/raft";
import { encodeMember, encodeRevision } from "@etcd-ts/storage";
import { Snapshotter, WriteAheadLog } from "@etcd-ts/wal";
import {
  hasChecksum,
  imageBytesOf,
  mustMatch,
  newPortableDigest,
  readChecksum,
  readImage,
} from "./checksum.ts";
import type { NewDigest } from "./checksum.ts";
import type { DataDirectoryContext } from "./context.ts";
import { DataDirectoryError } from "./errors.ts";
import { newCluster } from "./new-cluster.ts";
import type { NewCluster, NewClusterOptions } from "./new-cluster.ts";
import { cleanPath, parentOf } from "./paths.ts";
import {
  CONSISTENT_INDEX,
  KEY,
  META,
  SCHEDULED_COMPACT,
  TERM,
  newestRevision,
  uint64Bytes,
} from "./records.ts";
import { pageProblems } from "./status.ts";

export interface RestoreOptions extends NewClusterOptions {
  readonly snapshotPath: string;
  readonly dataDirectory: string;
  /** Default: `<data-dir>/member/wal`. */
  readonly walDirectory?: string;
  /** Take a file without a checksum, such as a copy of `member/snap/db`, or with a wrong one. */
  readonly skipHashCheck?: boolean;
  /**
   * How much higher the revision becomes; what is below counts as compacted then. 0: it stays.
   * Clients that kept revisions from before never see one they know stand for something else.
   */
  readonly bumpRevision?: number;
  /** Default: one that needs nothing of the platform. */
  readonly newDigest?: NewDigest;
}

export interface RestoreResult {
  readonly memberID: bigint;
  readonly clusterID: bigint;
  readonly dataDirectory: string;
  readonly walDirectory: string;
  readonly databaseBytes: number;
}

const BUILD_SUFFIX = ".restoring";
/** Term of everything a new cluster begins with. */
const FIRST_TERM = 1;

const MEMBERS = utf8FromString("members");
const MEMBERS_REMOVED = utf8FromString("members_removed");
const CLUSTER = utf8FromString("cluster");
const LogMetadataCodec = generatedCodec(LogMetadataSchema);

/**
 * @throws {DataDirectoryError | MembershipError} for options and files that do not fit
 * @throws {CorruptionError} for a file that is no database
 * @throws {DiskError}
 */
export function restoreSnapshot(
  context: DataDirectoryContext,
  options: RestoreOptions,
): Promise<RestoreResult> {
  return new Restore(context, options, newCluster(options)).run();
}

class Restore {
  readonly #context: DataDirectoryContext;
  readonly #options: RestoreOptions;
  readonly #cluster: NewCluster;
  readonly #dataDirectory: string;
  readonly #walDirectory: string;
  readonly #hasOwnWal: boolean;
  /** Becomes `member`. */
  readonly #build: string;
  readonly #walBuild: string;
  #databaseBytes = 0;

  constructor(context: DataDirectoryContext, options: RestoreOptions, cluster: NewCluster) {
    this.#context = context;
    this.#options = options;
    this.#cluster = cluster;
    this.#dataDirectory = cleanPath(options.dataDirectory);
    const usual = `${this.#dataDirectory}/member/wal`;
    this.#walDirectory = cleanPath(options.walDirectory ?? usual);
    this.#hasOwnWal = this.#walDirectory !== usual;
    this.#build = `${this.#dataDirectory}/member${BUILD_SUFFIX}`;
    this.#walBuild = this.#hasOwnWal ? this.#walDirectory + BUILD_SUFFIX : `${this.#build}/wal`;
  }

  async run(): Promise<RestoreResult> {
    const { disk, logger } = this.#context;
    await this.#refuseExisting();
    const fields = {
      path: this.#options.snapshotPath,
      "wal-dir": this.#walDirectory,
      "data-dir": this.#dataDirectory,
      "snap-dir": `${this.#dataDirectory}/member/snap`,
    };
    logger.info("restoring snapshot", fields);
    const made = await this.#missingAncestor();
    try {
      await disk.makeDirectory(`${this.#build}/snap`);
      await this.#copyDatabase();
      await this.#rewriteDatabase();
      await this.#writeLogAndSnapshot();
      await this.#publish();
    } catch (error) {
      await this.#takeBack(made);
      throw error;
    }
    const { memberID, clusterID } = this.#cluster;
    logger.info("restored snapshot", {
      ...fields,
      "member-id": hexFromID(memberID),
      "cluster-id": hexFromID(clusterID),
    });
    return {
      memberID,
      clusterID,
      dataDirectory: this.#dataDirectory,
      walDirectory: this.#walDirectory,
      databaseBytes: this.#databaseBytes,
    };
  }

  async #refuseExisting(): Promise<void> {
    const { disk } = this.#context;
    const dataDir = this.#dataDirectory;
    const stat = await disk.stat(dataDir);
    const names = stat?.kind === "directory" ? await disk.list(dataDir) : [];
    if (stat !== undefined && (stat.kind !== "directory" || names.length > 0)) {
      const left = `member${BUILD_SUFFIX}`;
      const hint =
        names.join() === left ? `: remove ${left}, which an interrupted restore left` : "";
      throw new DataDirectoryError(
        "NOT_EMPTY",
        `data-dir ${JSON.stringify(dataDir)} not empty or could not be read${hint}`,
      );
    }
    if (!this.#hasOwnWal) return;
    for (const path of [this.#walDirectory, this.#walBuild]) {
      if ((await disk.stat(path)) === undefined) continue;
      throw new DataDirectoryError("NOT_EMPTY", `wal-dir ${JSON.stringify(path)} exists`);
    }
  }

  /** The highest directory above the data that is to be made; undefined if all are there. */
  async #missingAncestor(): Promise<string | undefined> {
    let missing: string | undefined;
    for (let path = this.#dataDirectory; ; path = parentOf(path)) {
      if ((await this.#context.disk.stat(path)) !== undefined) return missing;
      missing = path;
      if (path === parentOf(path)) return missing;
    }
  }

  /** @throws {DataDirectoryError} unless the checksum matches or need not */
  async #copyDatabase(): Promise<void> {
    const { disk, onProgress } = this.#context;
    const { snapshotPath, skipHashCheck } = this.#options;
    const source = await openSnapshot(this.#context, snapshotPath);
    try {
      const fileBytes = source.sizeBytes();
      const isChecked = skipHashCheck !== true;
      if (isChecked && !hasChecksum(fileBytes)) {
        throw new DataDirectoryError(
          "CHECKSUM_MISSING",
          "snapshot missing hash but --skip-hash-check=false",
        );
      }
      this.#databaseBytes = imageBytesOf(fileBytes);
      const digest = isChecked ? (this.#options.newDigest ?? newPortableDigest)() : undefined;
      const target = await disk.open(this.#databasePath(), { mode: "createNew" });
      try {
        await readImage(source, this.#databaseBytes, "copy", onProgress, async (chunk, offset) => {
          digest?.update(chunk);
          await target.write([chunk], offset);
        });
        await target.sync();
      } finally {
        await target.close();
      }
      if (digest !== undefined) mustMatch(readChecksum(source), digest.digest());
    } finally {
      await source.close();
    }
  }

  /** Takes the old cluster out of the database and puts the new one in. */
  async #rewriteDatabase(): Promise<void> {
    const { disk, clock } = this.#context;
    let database: Database;
    try {
      database = await Database.open(disk, this.#databasePath(), { clock });
    } catch (error) {
      throw this.#asNoDatabase(error);
    }
    try {
      // A checksum vouches for each page; without one they are looked at.
      if (this.#options.skipHashCheck === true) await this.#refuseDamaged(database);
      const tx = database.beginWrite();
      this.#writeMembers(tx);
      this.#bumpRevision(tx);
      const meta = tx.createBucketIfNotExists(META);
      meta.put(CONSISTENT_INDEX, uint64Bytes(this.#cluster.members.length));
      meta.put(TERM, uint64Bytes(FIRST_TERM));
      await tx.commit();
    } catch (error) {
      throw this.#asNoDatabase(error);
    } finally {
      await database.close();
    }
    await disk.syncDirectory(`${this.#build}/snap`);
  }

  #asNoDatabase(error: unknown): unknown {
    if (!(error instanceof CorruptionError)) return error;
    return new DataDirectoryError(
      "INTEGRITY",
      `${this.#options.snapshotPath} is no intact etcd database: ${error.message.replace(this.#databasePath(), this.#options.snapshotPath)}`,
      { cause: error },
    );
  }

  async #refuseDamaged(database: Database): Promise<void> {
    const reader = database.beginRead();
    const pages = await pageProblems(this.#context, database, reader, 1);
    reader.close();
    const [problem] = [...database.metaProblems(), ...pages.texts];
    if (problem !== undefined) {
      throw new DataDirectoryError(
        "INTEGRITY",
        `${this.#options.snapshotPath} is damaged: ${problem}; \`etcdutl verify\` lists all`,
      );
    }
    if (newestRevisionOf(database) === undefined) {
      throw new DataDirectoryError(
        "INTEGRITY",
        `${this.#options.snapshotPath} is a bbolt database, but not one of etcd`,
      );
    }
  }

  #writeMembers(tx: WriteTransaction): void {
    for (const name of [MEMBERS, MEMBERS_REMOVED]) {
      const bucket = tx.createBucketIfNotExists(name);
      const keys: Uint8Array[] = [];
      const cursor = bucket.cursor();
      for (let entry = cursor.first(); entry !== undefined; entry = cursor.next()) {
        keys.push(entry.key);
      }
      for (const key of keys) bucket.delete(key);
    }
    tx.createBucketIfNotExists(CLUSTER);
    const members = tx.createBucketIfNotExists(MEMBERS);
    for (const member of this.#cluster.members) {
      members.put(utf8FromString(hexFromID(member.id)), utf8FromString(encodeMember(member)));
    }
  }

  /** Puts a record without a KeyValue at the higher revision, and has all below it compacted. */
  #bumpRevision(tx: WriteTransaction): void {
    const bump = this.#options.bumpRevision ?? 0;
    if (bump === 0) return;
    const latest = newestRevision(tx, this.#options.snapshotPath);
    const bumped = latest + bump;
    if (!Number.isSafeInteger(bumped)) {
      throw new DataDirectoryError(
        "REVISION",
        `revision ${latest} cannot be raised by ${bump}: the highest is ${Number.MAX_SAFE_INTEGER}`,
      );
    }
    const { logger } = this.#context;
    logger.info("bumping latest revision", {
      "latest-revision": latest,
      "bump-amount": bump,
      "new-latest-revision": bumped,
    });
    tx.createBucketIfNotExists(KEY).put(encodeRevision(bumped, 0), new Uint8Array(0));
    logger.info("marking revision compacted", { revision: bumped });
    tx.createBucketIfNotExists(META).put(SCHEDULED_COMPACT, encodeRevision(bumped, 0));
  }

  /** The log of a cluster that has agreed on its members and on nothing else. */
  async #writeLogAndSnapshot(): Promise<void> {
    const { disk } = this.#context;
    const { memberID, clusterID, members, v2Store } = this.#cluster;
    await disk.makeDirectory(parentOf(this.#walBuild));
    const metadata = encodeMessage(LogMetadataCodec, {
      $typeName: "etcdserverpb.Metadata",
      NodeID: memberID,
      ClusterID: clusterID,
    });
    const entries = members.map((member, i): Entry => {
      const change = { id: 0n, type: "ConfChangeAddNode", nodeID: member.id } as const;
      const data = encodeMessage(ConfChangeCodec, {
        ...change,
        context: encodeMemberContext(member),
      });
      return { type: "EntryConfChange", term: FIRST_TERM, index: i + 1, data };
    });
    const index = entries.length;
    const confState: ConfState = {
      voters: members.map(({ id }) => id),
      learners: [],
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    };
    const wal = await WriteAheadLog.create(disk, this.#walBuild, metadata, this.#context);
    try {
      await wal.save({ term: FIRST_TERM, vote: members[0]!.id, commit: index }, entries);
      const snapshotter = new Snapshotter(disk, `${this.#build}/snap`, this.#context);
      await snapshotter.save({ data: v2Store, metadata: { confState, index, term: FIRST_TERM } });
      await wal.saveSnapshot({ index, term: FIRST_TERM, confState });
    } finally {
      await wal.close();
    }
  }

  /** Gives everything its name; the log last, without which no member starts on the database. */
  async #publish(): Promise<void> {
    const { disk } = this.#context;
    await disk.syncDirectory(this.#build);
    await disk.rename(this.#build, `${this.#dataDirectory}/member`);
    await disk.syncDirectory(this.#dataDirectory);
    if (this.#hasOwnWal) {
      try {
        await disk.rename(this.#walBuild, this.#walDirectory);
      } catch (error) {
        await disk.removeTree(`${this.#dataDirectory}/member`).catch(() => undefined);
        throw error;
      }
      await disk.syncDirectory(parentOf(this.#walDirectory));
    }
    await disk.syncDirectory(parentOf(this.#dataDirectory));
  }

  /** @param made - the highest directory that did not exist before */
  async #takeBack(made: string | undefined): Promise<void> {
    const { disk, logger } = this.#context;
    const own = [this.#walBuild, `${this.#walBuild}.tmp`, this.#build];
    try {
      for (const path of own) await disk.removeTree(path);
      if (made !== undefined) await disk.removeTree(made);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      logger.warn("failed to remove an unfinished restore", { paths: own, error: reason });
    }
  }

  #databasePath(): string {
    return `${this.#build}/snap/db`;
  }
}

async function openSnapshot(context: DataDirectoryContext, path: string) {
  const { disk } = context;
  const stat = await disk.stat(path);
  if (stat === undefined) {
    throw new DataDirectoryError("NOT_FOUND", `open ${path}: no such file or directory`);
  }
  if (stat.kind !== "file") throw new DataDirectoryError("NOT_FOUND", `${path} is a directory`);
  return disk.open(path, { mode: "read" });
}

/** Undefined if the file has no history at all: it is of something else. */
function newestRevisionOf(database: Database): number | undefined {
  const reader = database.beginRead();
  try {
    if (reader.bucket(KEY) === undefined || reader.bucket(META) === undefined) return undefined;
    return newestRevision(reader, database.path);
  } finally {
    reader.close();
  }
}
