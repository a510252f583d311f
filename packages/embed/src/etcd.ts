/**
 * One running member inside a Node program: `startEtcd` binds, opens the data, starts the member,
 * and serves once it has published itself; `stop` undoes it all.
 *
 * Order at the start, so that nothing half-started is ever seen: bind all listeners, open and
 * replay the data, start the member, wait until it is published, serve. At the stop: refuse
 * new connections, end open streams, let calls finish, stop the member, close the files.
 *
 * Longer than most files because all parts of a member meet here; what they do is theirs.
 */

import type { Clock, Disk, Logger } from "@etcd-ts/base";
import { MemoryDisk } from "@etcd-ts/base";
import { EtcdServer, requestTimeoutMs } from "@etcd-ts/etcdserver";
import type { Discovery } from "@etcd-ts/etcdserver";
import { JsonGateway, RpcServer, ServiceTable } from "@etcd-ts/rpc";
import {
  JsonLogger,
  NodeClock,
  NodeDisk,
  NodeRandom,
  openLogSinks,
  PrometheusMetrics,
} from "@etcd-ts/runtime";
import {
  BCRYPT_COST_DEFAULT,
  BCRYPT_COST_MAX,
  BCRYPT_COST_MIN,
  PasswordThreads,
  usableCost,
} from "./auth/password-threads.ts";
import { tokenKindOf } from "./auth/token-options.ts";
import { allListeners, bindAll } from "./bind-listeners.ts";
import type { Bound } from "./bind-listeners.ts";
import { embedConfig, validateConfig } from "./config.ts";
import type { EmbedConfig } from "./config.ts";
import { initialCluster } from "./discovery/initial-cluster.ts";
import { nodeNames } from "./discovery/names.ts";
import type { Names } from "./discovery/names.ts";
import { joinThroughDiscovery } from "./discovery/v3-discovery.ts";
import { withUpgradeControl } from "./etcdhttp/access-control.ts";
import { createClientHandler, createMetricsHandler } from "./etcdhttp/client-handler.ts";
import { HealthEndpoints } from "./etcdhttp/health.ts";
import { measureEventLoop } from "./event-loop-metrics.ts";
import { reportFeatureGates } from "./feature-gates.ts";
import type { Listener } from "./listener.ts";
import { ConfigError, parseListenURLs } from "./listen-url.ts";
import type { ListenURL } from "./listen-url.ts";
import { promiseWithEnd } from "./promise-with-end.ts";
import type { PromiseWithEnd } from "./promise-with-end.ts";
import { peerQuestions } from "./peer-questions.ts";
import {
  createPeerHandler,
  dialFrom,
  memberLocalAddress,
  PeerServer,
  PeerTransportHTTP,
} from "./rafthttp/index.ts";
import type { Dial } from "./rafthttp/index.ts";
import { serverConfig } from "./server-config.ts";
import { MemberTLS } from "./tls/member-tls.ts";
import { isSecure } from "./tls/transport-security.ts";
import { V3Services } from "./v3rpc/index.ts";

/** Settings that are URLs: one, several, or several between commas. */
type URLSetting =
  | "listenPeerURLs"
  | "listenClientURLs"
  | "listenClientHTTPURLs"
  | "listenMetricsURLs"
  | "initialAdvertisePeerURLs"
  | "advertiseClientURLs";

export type EtcdSettings = Partial<Omit<EmbedConfig, URLSetting>> & {
  readonly [Name in URLSetting]?: string | readonly string[];
} & {
  /**
   * Keeps all data in memory, gone with the process. Default: true unless `dataDir` is given.
   */
  readonly inMemory?: boolean;
  /** Who is asked about host names. Default: those of the system. */
  readonly names?: Names;
  /** Where the member logs. Default: nowhere, for it is a guest in the program. */
  readonly logger?: Logger;
};

/** A running member. */
export interface Etcd {
  /** What clients dial, such as `http://127.0.0.1:40123`. */
  readonly endpoints: readonly string[];
  /** `endpoints` without their scheme, as gRPC clients like them; `unix:<path>` for sockets. */
  readonly addresses: readonly string[];
  readonly peerURLs: readonly string[];
  readonly metricsURLs: readonly string[];
  readonly config: EmbedConfig;
  readonly server: EtcdServer;
  readonly metrics: PrometheusMetrics;
  /** Settles when the member has ended: after `stop`, or with the error that ended it. */
  readonly ended: Promise<Error | undefined>;
  /** Ends the member gracefully; idempotent. */
  stop(): Promise<void>;
}

const IN_PROCESS_URL = "http://127.0.0.1:0";
/** How long calls that run may take to finish when the member stops. */
const STOP_GRACE_MS = 2000;
/** The same for answers to peers; streams to them have ended with the transport. */
const PEER_STOP_GRACE_MS = 100;
/** A peer that takes longer to accept a connection is not there. etcd adds the election timeout. */
const PEER_DIAL_TIMEOUT_MS = 1000;

/**
 * Starts a member for a Node program: on ephemeral ports and in memory unless told otherwise.
 *
 * @throws {ConfigError} for settings that cannot run
 * @throws {ListenError} for an address that cannot be bound
 */
export function startEtcd(settings: EtcdSettings = {}): Promise<Etcd> {
  const { inMemory = settings.dataDir === undefined, logger, names, ...rest } = settings;
  const urls = (name: URLSetting, fallback: string): readonly ListenURL[] => {
    const given = settings[name] ?? fallback;
    const text = typeof given === "string" ? given : given.join(",");
    return text === "" ? [] : parseListenURLs(text);
  };
  const config = embedConfig({
    ...rest,
    listenPeerURLs: urls("listenPeerURLs", IN_PROCESS_URL),
    listenClientURLs: urls("listenClientURLs", IN_PROCESS_URL),
    listenClientHTTPURLs: urls("listenClientHTTPURLs", ""),
    listenMetricsURLs: urls("listenMetricsURLs", ""),
    initialAdvertisePeerURLs: urls("initialAdvertisePeerURLs", "http://localhost:2380"),
    advertiseClientURLs: urls("advertiseClientURLs", ""),
  });
  return startMember(config, {
    disk: inMemory ? new MemoryDisk({ clock: new NodeClock() }) : new NodeDisk(),
    logger: logger ?? new JsonLogger({ sinks: [] }),
    commandLine: [],
    ...(names === undefined ? {} : { names }),
  });
}

export interface MemberEnvironment {
  readonly disk: Disk;
  readonly logger: Logger;
  /** For `/debug/vars`. */
  readonly commandLine: readonly string[];
  /** Default: those of the system. */
  readonly names?: Names;
}

/** A logger as the configuration describes it. */
export function createLogger(config: EmbedConfig): JsonLogger {
  return new JsonLogger({
    sinks: openLogSinks(config.logOutputs, config.logRotation),
    level: config.logLevel,
    format: config.logFormat,
  });
}

/** Starts a member as the `etcd` command does. An empty `advertiseClientURLs` means the bound ones. */
export async function startMember(
  configured: EmbedConfig,
  environment: MemberEnvironment,
): Promise<Etcd> {
  validateConfig(configured);
  checkAutoTLS(configured, environment.disk);
  const tls = await MemberTLS.open(configured, environment.logger);
  const bound = await bindAll(configured, tls, environment.logger);
  try {
    const config =
      configured.advertiseClientURLs.length > 0
        ? configured
        : { ...configured, advertiseClientURLs: bound.client.flatMap(({ urls }) => urls) };
    return await Member.start(config, bound, tls, environment);
  } catch (error) {
    await Promise.all(allListeners(bound).map((listener) => listener.close()));
    throw error;
  }
}

/** A generated certificate outlives the process, which data in memory does not. */
function checkAutoTLS(config: EmbedConfig, disk: Disk): void {
  const isAuto = config.clientSecurity.autoTLS || config.peerSecurity.autoTLS;
  if (!isAuto || !(disk instanceof MemoryDisk)) return;
  throw new ConfigError("auto TLS keeps its certificates in the data directory; give one");
}

class Member implements Etcd {
  readonly config: EmbedConfig;
  readonly server: EtcdServer;
  readonly metrics: PrometheusMetrics;
  readonly ended: Promise<Error | undefined>;
  readonly #bound: Bound;
  readonly #logger: Logger;
  readonly #services: V3Services;
  readonly #rpcServers: RpcServer[] = [];
  #peerServer: PeerServer | undefined;
  readonly #end: (error: Error | undefined) => void;
  #stopping: Promise<void> | undefined;
  /** What ended the member, if something did before it was asked to stop. */
  #failure: Error | undefined;

  private constructor(
    config: EmbedConfig,
    bound: Bound,
    parts: { server: EtcdServer; services: V3Services; metrics: PrometheusMetrics; logger: Logger },
    ended: PromiseWithEnd,
  ) {
    this.config = config;
    this.#bound = bound;
    this.server = parts.server;
    this.#services = parts.services;
    this.metrics = parts.metrics;
    this.#logger = parts.logger;
    this.ended = ended.promise;
    this.#end = ended.end;
  }

  static async start(
    config: EmbedConfig,
    bound: Bound,
    tls: MemberTLS,
    environment: MemberEnvironment,
  ): Promise<Member> {
    const { logger, disk } = environment;
    const clock = new NodeClock();
    const names = environment.names ?? nodeNames();
    const initial = await initialCluster(config, { disk, names, logger });
    const random = new NodeRandom();
    const metrics = new PrometheusMetrics({ process: true });
    reportFeatureGates(config.featureGates, metrics);
    const endings = [measureEventLoop(metrics), tls.watchExpiry(clock, metrics)];
    const endMeasuring = (): void => {
      for (const end of endings) end();
    };
    const ended = promiseWithEnd();
    void ended.promise.then(endMeasuring);
    let member: Member | undefined = undefined as Member | undefined;
    const fail = (error: Error | undefined): void => {
      if (error !== undefined) logger.error("the member has failed", { error: error.message });
      if (member === undefined) ended.end(error);
      else member.#fail(error);
    };
    let opened: EtcdServer | undefined = undefined as EtcdServer | undefined;
    const transport = createTransport(config, {
      clock,
      logger,
      metrics,
      dial: dialFrom(localAddressOf(config, logger), tls.peerDial(initial.domain)),
      server: () => opened!,
    });
    const questions = peerQuestions(transport.client, logger);
    const passwords = createPasswords(config, logger);
    void ended.promise.then(() => passwords.close());
    let server: EtcdServer;
    try {
      const tokens = tokenKindOf(config.authToken, config.authTokenTTLSeconds, { clock, logger });
      const auth = { passwords, tokens };
      server = await EtcdServer.open(
        serverConfig(config, initial),
        {
          ...{ disk, clock, random, logger, metrics, transport, questions, auth },
          hashKey: { low: random.uint32(), high: random.uint32() },
          discovery: discoveryOf(config, clock, logger),
        },
        { onFatal: fail, onRemoved: () => fail(undefined) },
      );
    } catch (error) {
      await transport.stop();
      await passwords.close();
      endMeasuring();
      throw error;
    }
    opened = server;
    const table = new ServiceTable();
    const services = new V3Services({ table, server, clock, random, logger, metrics, config });
    member = new Member(config, bound, { server, services, metrics, logger }, ended);
    const health = new HealthEndpoints({
      server,
      clock,
      logger,
      metrics,
      electionTimeoutMs: config.electionTimeoutMs,
    });
    member.#createServers({ table, clock, health, commandLine: environment.commandLine });
    member.#servePeers(transport, clock);
    server.start();
    await member.#serveWhenReady();
    return member;
  }

  /** A member that others have removed is never ready: it ends, and that is no failure. */
  async #serveWhenReady(): Promise<void> {
    // It is never ready if it stops or fails first, and then its end says why.
    const isReady = await this.server.whenReady().then(
      () => true,
      () => false,
    );
    const failure = isReady ? this.#failure : await this.ended;
    if (failure !== undefined) throw failure;
    if (this.#stopping === undefined) this.#serve();
  }

  #createServers(parts: {
    table: ServiceTable;
    clock: NodeClock;
    health: HealthEndpoints;
    commandLine: readonly string[];
  }): void {
    const { table, clock, health, commandLine } = parts;
    const { config, server, metrics } = this;
    const logger = this.#logger;
    const gateway = config.enableGRPCGateway
      ? new JsonGateway({ table, clock, receiveMessageBytesMax: messageBytesMax(config) })
      : undefined;
    const access = {
      cors: config.cors,
      hostWhitelist: config.hostWhitelist,
      areCertificatesUsers: () =>
        config.clientSecurity.clientCertAuth && config.enableGRPCGateway && server.isAuthEnabled,
    };
    const httpHandler = createClientHandler({
      ...{ server, metrics, health, gateway, commandLine },
      ...access,
    });
    const upgrade =
      gateway === undefined
        ? {}
        : { upgradeHandler: withUpgradeControl(access, gateway.handleUpgrade.bind(gateway)) };
    const common = { table, clock, logger };
    const isSplit = this.#bound.clientHTTP.length > 0;
    const client = new RpcServer({
      ...common,
      ...(isSplit ? { serve: "grpc" as const } : { httpHandler, ...upgrade }),
      byteCounters: this.#services.byteCounters,
      receiveMessageBytesMax: messageBytesMax(config),
      concurrentStreamsMax: config.concurrentStreamsMax,
      keepalive: {
        minTimeMs: config.grpcKeepaliveMinTimeMs,
        timeMs: config.grpcKeepaliveIntervalMs,
        timeoutMs: config.grpcKeepaliveTimeoutMs,
      },
    });
    this.#listen(this.#bound.client, client);
    this.#listen(
      this.#bound.clientHTTP,
      new RpcServer({ ...common, serve: "http", httpHandler, ...upgrade }),
    );
    const http = { ...common, serve: "http" as const };
    this.#listen(
      this.#bound.metrics,
      new RpcServer({ ...http, httpHandler: createMetricsHandler({ metrics, health }) }),
    );
  }

  /** Other members and tools may ask before this member is published. */
  #servePeers(transport: PeerTransportHTTP, clock: NodeClock): void {
    const handler = createPeerHandler({
      server: this.server,
      transport,
      clock,
      logger: this.#logger,
      requestTimeoutMs: requestTimeoutMs(this.config),
    });
    const peers = new PeerServer({ handler, clock });
    this.#peerServer = peers;
    for (const listener of this.#bound.peer) {
      listener.serve((socket) => peers.handleConnection(socket));
    }
  }

  readonly #served: { listener: Listener; server: RpcServer }[] = [];

  #listen(listeners: readonly Listener[], server: RpcServer): void {
    this.#rpcServers.push(server);
    for (const listener of listeners) this.#served.push({ listener, server });
  }

  #serve(): void {
    this.#logger.info("ready to serve client requests");
    for (const { listener, server } of this.#served) serveOn(listener, server);
    const isSplit = this.#bound.clientHTTP.length > 0;
    this.#tellTraffic(this.#bound.client, isSplit ? "grpc" : "grpc+http");
    this.#tellTraffic(this.#bound.clientHTTP, "http");
  }

  #tellTraffic(listeners: readonly Listener[], traffic: string): void {
    for (const url of listeners.flatMap(({ urls }) => urls)) {
      const how = isSecure(url) ? "securely" : "insecurely; this is strongly discouraged!";
      this.#logger.info(`serving client traffic ${how}`, {
        traffic,
        address: url.address.kind === "unix" ? url.address.path : `${url.host}:${url.port}`,
      });
    }
  }

  get endpoints(): readonly string[] {
    return urlTexts(this.#bound.client);
  }

  get addresses(): readonly string[] {
    return this.#bound.client.flatMap(({ urls }) =>
      urls.map(({ text, address }) =>
        address.kind === "unix" ? `unix:${address.path}` : text.replace(/^https?:\/\//, ""),
      ),
    );
  }

  get peerURLs(): readonly string[] {
    return urlTexts(this.#bound.peer);
  }

  get metricsURLs(): readonly string[] {
    return urlTexts(this.#bound.metrics);
  }

  #fail(error: Error | undefined): void {
    this.#failure ??= error;
    this.stop().then(
      () => this.#end(error),
      () => this.#end(error),
    );
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  async #stop(): Promise<void> {
    const about = { name: this.config.name, "data-dir": this.config.dataDir };
    this.#logger.info("closing etcd server", about);
    const closed = allListeners(this.#bound).map((listener) => listener.close());
    this.#services.close();
    await Promise.all(this.#rpcServers.map((server) => server.close(STOP_GRACE_MS)));
    // Peers are needed to the end: leadership is handed over to one of them.
    await this.server.stop();
    await this.#peerServer?.close(PEER_STOP_GRACE_MS);
    await Promise.all(closed);
    this.#logger.info("closed etcd server", about);
    this.#end(this.#failure);
  }
}

function discoveryOf(config: EmbedConfig, clock: Clock, logger: Logger): Discovery | undefined {
  const { discovery } = config;
  if (discovery === undefined) return undefined;
  return (memberID, self) => {
    logger.info("Bootstrapping cluster using v3 discovery.");
    return joinThroughDiscovery(discovery, memberID, self, { logger, clock });
  };
}

/** Undefined: the system chooses. */
function localAddressOf(config: EmbedConfig, logger: Logger): string | undefined {
  if (!config.featureGates.SetMemberLocalAddr) return undefined;
  return memberLocalAddress(config.initialAdvertisePeerURLs, logger);
}

function createPasswords(config: EmbedConfig, logger: Logger): PasswordThreads {
  const cost = usableCost(config.bcryptCost);
  if (cost !== config.bcryptCost) {
    logger.warn("use default bcrypt cost instead of the invalid given cost", {
      "min-cost": BCRYPT_COST_MIN,
      "max-cost": BCRYPT_COST_MAX,
      "default-cost": BCRYPT_COST_DEFAULT,
      "given-cost": config.bcryptCost,
    });
  }
  return new PasswordThreads(cost);
}

function createTransport(
  config: EmbedConfig,
  parts: {
    clock: NodeClock;
    logger: Logger;
    metrics: PrometheusMetrics;
    dial: Dial;
    server: () => EtcdServer;
  },
): PeerTransportHTTP {
  const { clock, logger, metrics, dial, server } = parts;
  return new PeerTransportHTTP({
    identity: () => ({
      memberID: server().facts().memberID,
      clusterID: server().facts().clusterID,
      peerURLs: config.initialAdvertisePeerURLs.map(({ text }) => text),
    }),
    clock,
    logger,
    metrics,
    dial,
    saveSnapshotDatabase: (chunks, index) => server().saveSnapshotDatabase(chunks, index),
    onMemberRemoved: () => server().removedByPeers(),
    dialTimeoutMs: PEER_DIAL_TIMEOUT_MS + config.electionTimeoutMs,
    timings: { requestTimeoutMs: requestTimeoutMs(config) },
  });
}

/** What a message may hold beside the largest request. */
const MESSAGE_OVERHEAD_BYTES = 512 * 1024;

function messageBytesMax(config: EmbedConfig): number {
  return config.requestBytesMax + MESSAGE_OVERHEAD_BYTES;
}

function urlTexts(listeners: readonly Listener[]): readonly string[] {
  return listeners.flatMap(({ urls }) => urls.map(({ text }) => text));
}

function serveOn(listener: Listener, server: RpcServer): void {
  listener.serve((socket, peer) => server.handleConnection(socket, peer));
}
