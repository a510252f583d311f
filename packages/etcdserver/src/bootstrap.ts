/**
 * From a data directory to a member that can start: what is on disk is read and checked, or laid
 * out for the first time.
 *
 * Invariants:
 * - "Initialised" means that the log directory holds at least one segment. Until then nothing on
 *   disk counts, and afterwards nothing is made anew: a missing database is an error.
 * - The backend stands at or above the snapshot raft starts from; entries in between are replayed
 *   to raft and membership, and to the store only above the consistent index.
 * - Whatever is wrong is an error that names the file; nothing is repaired by dropping data.
 */

import { decodeMessage, encodeMessage } from "@etcd-ts/base";
import type { Disk } from "@etcd-ts/base";
import { LogMetadataSchema, SERVER_VERSION, generatedCodec, parseVersion } from "@etcd-ts/api";
import type { LogMetadata } from "@etcd-ts/api";
import { MemoryStorage, RawNode } from "@etcd-ts/raft";
import type { Snapshot } from "@etcd-ts/raft";
import {
  Backend,
  createBuckets,
  readConsistentIndex,
  readStorageVersion,
  readTerm,
} from "@etcd-ts/storage";
import { Snapshotter, WriteAheadLog } from "@etcd-ts/wal";
import type { WalContents, WalOptions } from "@etcd-ts/wal";

import { BootstrapError } from "./bootstrap-error.ts";
import { forceNewCluster } from "./force-new-cluster.ts";
import {
  clusterToJoin,
  discoveredCluster,
  refuseIfBootstrapped,
  refuseTooManyLearners,
} from "./join.ts";
import {
  Cluster,
  encodeMemberContext,
  refusalOfDuplicates,
  refusalOfName,
} from "./membership/index.ts";
import type { MemberInfo, ServerConfig, ServerPorts } from "./server-api.ts";
import { openStartingLog } from "./starting-log.ts";
import type { StartingLog } from "./starting-log.ts";

export { BootstrapError } from "./bootstrap-error.ts";

/** How large a message between peers may be, in entries; part of what peers expect. */
const MESSAGE_BYTES_MAX = 1024 * 1024;
/** How many appends to one follower may be on their way. */
const INFLIGHT_MESSAGES_MAX = 512;
/** Above this etcd warns about `--max-request-bytes`. */
const REQUEST_BYTES_SUGGESTED_MAX = 10 * 1024 * 1024;

/** What directories are made with. */
const DIRECTORY_MODE = 0o700;

const LogMetadataCodec = generatedCodec(LogMetadataSchema);

/** A member put together and not yet running. */
export interface Bootstrapped {
  readonly memberID: bigint;
  readonly cluster: Cluster;
  readonly backend: Backend;
  readonly wal: WriteAheadLog;
  readonly snapshotter: Snapshotter;
  readonly raftStorage: MemoryStorage;
  readonly node: RawNode;
  /** The snapshot raft starts from; undefined: from the start of the log. */
  readonly snapshot: Snapshot | undefined;
  /** Members of the cluster that is joined: they may send before the log tells of them. */
  readonly remotes: readonly MemberInfo[];
  /** Whether there was a log before. */
  readonly isRestart: boolean;
  readonly paths: DataPaths;
  /** Opens the database anew, after another file took its name. */
  readonly openBackend: () => Promise<Backend>;
}

/** Where things lie below the data directory. */
export interface DataPaths {
  readonly member: string;
  readonly snap: string;
  readonly wal: string;
  readonly database: string;
}

export function dataPaths(config: Pick<ServerConfig, "dataDirectory" | "walDirectory">): DataPaths {
  const member = `${config.dataDirectory}/member`;
  const snap = `${member}/snap`;
  return {
    member,
    snap,
    wal: config.walDirectory ?? `${member}/wal`,
    database: `${snap}/db`,
  };
}

/**
 * Lays out a new member or reads an existing one.
 *
 * @param onBackendFatal - told when a later commit of the backend fails
 * @throws {BootstrapError | CorruptionError | DiskError | WalError}
 */
export async function bootstrap(
  config: ServerConfig,
  ports: ServerPorts,
  onBackendFatal: (error: Error) => void,
): Promise<Bootstrapped> {
  return new Bootstrap(config, ports, onBackendFatal).run();
}

class Bootstrap {
  readonly #config: ServerConfig;
  readonly #ports: ServerPorts;
  readonly #paths: DataPaths;
  readonly #onBackendFatal: (error: Error) => void;
  readonly #snapshotter: Snapshotter;

  constructor(config: ServerConfig, ports: ServerPorts, onBackendFatal: (error: Error) => void) {
    this.#config = config;
    this.#ports = ports;
    this.#paths = dataPaths(config);
    this.#onBackendFatal = onBackendFatal;
    this.#snapshotter = new Snapshotter(ports.disk, this.#paths.snap, ports);
  }

  async run(): Promise<Bootstrapped> {
    await this.#prepareDirectories();
    const { disk } = this.#ports;
    const hasLog = await WriteAheadLog.exists(disk, this.#paths.wal);
    const hasDatabase = (await disk.stat(this.#paths.database)) !== undefined;
    if (hasLog) return this.#restart(hasDatabase);
    return this.#config.initialClusterState === "existing" ? this.#join() : this.#startNew();
  }

  /** Without a way to the others a member of many would wait for them in vain. */
  #refuseUnreachable(cluster: Cluster): void {
    const others = cluster.members().filter(({ id }) => id !== cluster.localID);
    if (others.length === 0 || this.#ports.transport !== undefined) return;
    throw new BootstrapError(
      `the cluster has ${others.length + 1} members, and this build has no peer transport`,
    );
  }

  async #prepareDirectories(): Promise<void> {
    const { disk, logger } = this.#ports;
    const { dataDirectory, maxRequestBytes } = this.#config;
    if (maxRequestBytes > REQUEST_BYTES_SUGGESTED_MAX) {
      logger.warn("exceeded recommended request limit", {
        "max-request-bytes": maxRequestBytes,
        "recommended-request-bytes": REQUEST_BYTES_SUGGESTED_MAX,
      });
    }
    await makeDirectory(disk, dataDirectory);
    await this.#checkPermissions(dataDirectory);
    for (const name of await disk.list(dataDirectory)) {
      if (name === "proxy") {
        throw new BootstrapError(`${dataDirectory}/proxy: v2 proxy data is not supported`);
      }
      if (name !== "member" && name !== "fixtures") {
        logger.warn("found invalid file under data directory", {
          filename: name,
          "data-dir": dataDirectory,
        });
      }
    }
    await makeDirectory(disk, this.#paths.member);
    await makeDirectory(disk, this.#paths.snap);
    await this.#snapshotter.removeTemporaryFiles();
  }

  async #checkPermissions(path: string): Promise<void> {
    const mode = ((await this.#ports.disk.stat(path))?.mode ?? DIRECTORY_MODE) & 0o777;
    if (mode === DIRECTORY_MODE) return;
    this.#ports.logger.warn("check file permission", {
      error: `directory "${path}" exist, but the permission is "${mode.toString(8)}". The recommended permission is "${DIRECTORY_MODE.toString(8)}" to prevent possible unprivileged access to the data`,
    });
  }

  async #openBackend(): Promise<Backend> {
    const { config, ports } = { config: this.#config, ports: this.#ports };
    const backend = await Backend.open({
      disk: ports.disk,
      clock: ports.clock,
      logger: ports.logger,
      metrics: ports.metrics,
      path: this.#paths.database,
      batchIntervalMs: config.backendBatchIntervalMs,
      batchLimit: config.backendBatchLimit,
      noSync: config.unsafeNoFsync,
      cacheBytesMax: config.backendCacheBytesMax,
      onFatal: this.#onBackendFatal,
    });
    // The name of a new file must outlive a crash as its contents do.
    await ports.disk.syncDirectory(this.#paths.snap);
    createBuckets(backend);
    return backend;
  }

  async #startNew(): Promise<Bootstrapped> {
    this.#checkInitialCluster();
    const { config, ports } = { config: this.#config, ports: this.#ports };
    const cluster = Cluster.fromInitial(
      config.initialClusterToken,
      config.initialCluster,
      ports.logger,
    );
    const self = cluster.memberByName(config.name)!;
    await refuseIfBootstrapped(cluster, self, ports);
    const whole = await discoveredCluster(cluster, self, config, ports);
    const founders = whole
      .members()
      .map((member) => ({ id: member.id, context: encodeMemberContext(member) }));
    return this.#layOut(whole, founders, []);
  }

  async #join(): Promise<Bootstrapped> {
    this.#checkInitialCluster();
    const { cluster, remotes } = await clusterToJoin(this.#config, this.#ports);
    return this.#layOut(cluster, [], remotes);
  }

  /** @param founders - one ConfChange entry each; the log of a member that joins comes from others */
  async #layOut(
    cluster: Cluster,
    founders: readonly { readonly id: bigint; readonly context: Uint8Array }[],
    remotes: readonly MemberInfo[],
  ): Promise<Bootstrapped> {
    const { config, ports } = { config: this.#config, ports: this.#ports };
    const self = cluster.memberByName(config.name)!;
    cluster.setIDs(self.id, cluster.clusterID);
    this.#refuseUnreachable(cluster);
    // A database without a log is what a start that was cut off left behind, or a mistake.
    const backend = await this.#openBackend();
    try {
      if (readConsistentIndex(backend) > 0) {
        throw new BootstrapError(
          `${this.#paths.database} holds data, but there is no log in ${this.#paths.wal}`,
        );
      }
      const metadata: LogMetadata = {
        $typeName: "etcdserverpb.Metadata",
        NodeID: self.id,
        ClusterID: cluster.clusterID,
      };
      const wal = await WriteAheadLog.create(
        ports.disk,
        this.#paths.wal,
        encodeMessage(LogMetadataCodec, metadata),
        this.#walOptions(),
      );
      cluster.attachBackend(backend);
      ports.logger.info("starting local member", {
        "local-member-id": hex(self.id),
        "cluster-id": hex(cluster.clusterID),
      });
      const raftStorage = new MemoryStorage();
      const node = new RawNode(this.#raftConfig(self.id, raftStorage));
      // By id: every member of the new cluster writes the same.
      if (founders.length > 0) node.bootstrap([...founders]);
      return {
        memberID: self.id,
        cluster,
        backend,
        wal,
        snapshotter: this.#snapshotter,
        raftStorage,
        node,
        snapshot: undefined,
        remotes,
        isRestart: false,
        ...this.#reopening(),
      };
    } catch (error) {
      await backend.close();
      throw error;
    }
  }

  #reopening(): Pick<Bootstrapped, "paths" | "openBackend"> {
    return { paths: this.#paths, openBackend: () => this.#openBackend() };
  }

  #checkInitialCluster(): void {
    const { name, initialCluster } = this.#config;
    const refusal = refusalOfName(name, initialCluster) ?? refusalOfDuplicates(initialCluster);
    if (refusal !== undefined) throw new BootstrapError(refusal);
  }

  async #restart(hasDatabase: boolean): Promise<Bootstrapped> {
    const { logger, discovery } = this.#ports;
    if (discovery !== undefined) {
      logger.warn(
        "discovery token is ignored since cluster already initialized; valid logs are found",
        { "wal-dir": this.#paths.wal },
      );
    }
    const { backend: own, index } = await this.#openOwnBackend(hasDatabase);
    let backend = own;
    try {
      const log = await openStartingLog(
        this.#ports.disk,
        this.#paths.wal,
        this.#snapshotter,
        this.#walOptions(),
      );
      try {
        const { snapshot } = log;
        if (snapshot === undefined) logger.info("No snapshot found. Recovering WAL from scratch!");
        else if (index < snapshot.metadata.index) {
          backend = await this.#replaceBackend(backend, snapshot.metadata.index);
        }
        return await this.#restartOn(backend, hasDatabase, log);
      } catch (error) {
        await log.wal.close();
        throw error;
      }
    } catch (error) {
      await backend.close();
      throw error;
    }
  }

  async #restartOn(
    backend: Backend,
    hasDatabase: boolean,
    { snapshot, wal, ...found }: StartingLog,
  ): Promise<Bootstrapped> {
    const { logger } = this.#ports;
    if (hasDatabase) {
      logger.info("recovered v3 backend", {
        "backend-size-bytes": backend.sizeBytes(),
        "backend-size-in-use-bytes": backend.sizeInUseBytes(),
      });
      validateStorageVersion(backend, logger.warn.bind(logger));
    }
    const cluster = Cluster.empty(logger);
    if (snapshot !== undefined) {
      cluster.recoverFromV2Store(snapshot.data);
      logger.info("recovered v2 store from snapshot", {
        "snapshot-index": snapshot.metadata.index,
        "snapshot-size": snapshot.data.length,
      });
    }
    const ids = decodeMessage(LogMetadataCodec, found.metadata);
    const { forceNewCluster: isForced, advertisePeerURLs } = this.#config;
    const self = { id: ids.NodeID, peerURLs: advertisePeerURLs };
    const log = isForced ? await forceNewCluster(wal, found, snapshot, self, logger) : found;
    cluster.setIDs(ids.NodeID, ids.ClusterID);
    cluster.attachBackend(backend);
    cluster.recoverFromBackend();
    // 3.5 could lose a promotion in the backend that the snapshot knows of.
    cluster.syncLearnerPromotions();
    this.#checkDatabase(cluster, hasDatabase);
    refuseTooManyLearners(cluster, this.#config);
    this.#refuseUnreachable(cluster);
    logger.info("restarting local member", {
      "cluster-id": hex(ids.ClusterID),
      "local-member-id": hex(ids.NodeID),
      "commit-index": log.hardState?.commit ?? 0,
    });
    const raftStorage = storageFrom(snapshot, log);
    return {
      memberID: ids.NodeID,
      cluster,
      backend,
      wal,
      snapshotter: this.#snapshotter,
      raftStorage,
      node: new RawNode(this.#raftConfig(ids.NodeID, raftStorage)),
      snapshot,
      remotes: [],
      isRestart: true,
      ...this.#reopening(),
    };
  }

  /** The database at hand, and the index of the log it stands at. */
  async #openOwnBackend(hasDatabase: boolean): Promise<{ backend: Backend; index: number }> {
    const backend = await this.#openBackend();
    try {
      const { bootstrapDefragThresholdBytes } = this.#config;
      const freeBytes = backend.sizeBytes() - backend.sizeInUseBytes();
      if (bootstrapDefragThresholdBytes > 0 && freeBytes >= bootstrapDefragThresholdBytes) {
        await backend.defragment();
      }
      const index = hasDatabase ? readConsistentIndex(backend) : 0;
      this.#ports.logger.info("restore consistentIndex", { index });
      return { backend, index };
    } catch (error) {
      await backend.close();
      throw error;
    }
  }

  /** The database a leader sent along with the snapshot at `index`, in place of an older one. */
  async #replaceBackend(backend: Backend, index: number): Promise<Backend> {
    await backend.close();
    if (!(await this.#snapshotter.hasDatabase(index))) {
      throw new BootstrapError(
        `database file (${this.#paths.database}) does not match with snapshot (index ${index}), and there is no ${this.#snapshotter.databasePath(index)}`,
      );
    }
    await this.#ports.disk.rename(this.#snapshotter.databasePath(index), this.#paths.database);
    await this.#ports.disk.syncDirectory(this.#paths.snap);
    return this.#openBackend();
  }

  #checkDatabase(cluster: Cluster, hasDatabase: boolean): void {
    const version = parseVersion(cluster.version() ?? "");
    if (version !== undefined && version.major >= 3 && !hasDatabase) {
      throw new BootstrapError(`database file (${this.#paths.database}) of the backend is missing`);
    }
  }

  #raftConfig(id: bigint, storage: MemoryStorage): ConstructorParameters<typeof RawNode>[0] {
    const { heartbeatIntervalMs, electionTimeoutMs, preVote } = this.#config;
    return {
      id,
      electionTicks: Math.max(2, Math.floor(electionTimeoutMs / heartbeatIntervalMs)),
      heartbeatTicks: 1,
      storage,
      maxSizePerMessageBytes: MESSAGE_BYTES_MAX,
      maxInflightMessages: INFLIGHT_MESSAGES_MAX,
      checkQuorum: true,
      preVote,
      random: this.#ports.random,
      logger: this.#ports.logger.named("raft"),
    };
  }

  #walOptions(): WalOptions {
    const { unsafeNoFsync, walSegmentBytes } = this.#config;
    const { logger, metrics, clock } = this.#ports;
    return {
      logger,
      metrics,
      clock,
      noSync: unsafeNoFsync,
      ...(walSegmentBytes === undefined ? {} : { segmentBytes: walSegmentBytes }),
    };
  }
}

/** Makes a directory that outlives a crash, and its parents likewise. */
async function makeDirectory(disk: Disk, path: string): Promise<void> {
  if ((await disk.stat(path))?.kind === "directory") return;
  const slash = path.lastIndexOf("/");
  const parent = slash < 0 ? "." : slash === 0 ? "/" : path.slice(0, slash);
  if (parent !== path) await makeDirectory(disk, parent);
  await disk.makeDirectory(path);
  await disk.syncDirectory(parent);
}

function storageFrom(snapshot: Snapshot | undefined, log: WalContents): MemoryStorage {
  const storage = new MemoryStorage();
  if (snapshot !== undefined) storage.applySnapshot(snapshot);
  if (log.hardState !== undefined) storage.setHardState(log.hardState);
  storage.append(log.entries);
  return storage;
}

/** `X.Y.0` of the backend's schema; undefined if it cannot be told yet. */
export function detectStorageVersion(backend: Backend, term: number): string | undefined {
  const version = readStorageVersion(backend);
  if (version !== undefined) return version;
  // Before 3.6 no version was stored; 3.5 is told by the term it added.
  return term > 0 ? "3.5.0" : undefined;
}

/** @throws {BootstrapError} if a newer etcd has written the backend */
function validateStorageVersion(backend: Backend, warn: (message: string) => void): void {
  const text = detectStorageVersion(backend, readTerm(backend));
  if (text === undefined) {
    warn(
      "Failed to detect storage schema version. Please wait till wal snapshot before upgrading cluster.",
    );
    return;
  }
  const version = parseVersion(text);
  const own = parseVersion(SERVER_VERSION)!;
  const isKnown =
    version !== undefined &&
    version.major === own.major &&
    version.minor >= 5 &&
    version.minor <= own.minor;
  if (!isKnown) throw new BootstrapError(`${backend.path}: version "${text}" is not supported`);
}

function hex(id: bigint): string {
  return id.toString(16);
}
