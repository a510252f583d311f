/**
 * The way to other members over HTTP/1.1: etcd's peer protocol, both as the one who dials and as
 * the one who answers.
 *
 * Invariants:
 * - `send` never blocks, never throws and never calls back into raft before it returned.
 * - Nothing is handed to the member before `start` or after `stop`.
 * - Remotes (senders that are no members) are bounded, and give way to a peer of the same id.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { EtcdError, hexFromID, invariant } from "@etcd-ts/base";
import type { Clock, Logger, Metrics } from "@etcd-ts/base";
import type { PeerInbound, PeerTransport } from "@etcd-ts/etcdserver";
import type { Message } from "@etcd-ts/raft";
import { replyError } from "../etcdhttp/replies.ts";
import type { Dial } from "./dial.ts";
import type { PeerIdentity } from "./headers.ts";
import { PeerHttpClient } from "./http-client.ts";
import {
  CONNECTION_TIMEOUT_MS,
  DIAL_RETRY_MS,
  PIPELINE_TIMEOUT_MS,
  PROBE_INTERVAL_MS,
  PROBE_UNHEALTHY_REPORT_INTERVAL_MS,
  REMOTE_URLS_MAX,
  REMOTES_MAX,
  SNAPSHOT_SENDS_MAX,
  SNAPSHOT_STALL_TIMEOUT_MS,
} from "./limits.ts";
import { declareTransportMetrics } from "./metrics.ts";
import { MemberPeer, RemotePeer } from "./peer.ts";
import { getVersion } from "./peer-client.ts";
import type { PeerContext, TransportTimings } from "./peer-context.ts";
import { RaftEndpoints } from "./raft-endpoints.ts";
import type { PeerBook } from "./raft-endpoints.ts";
import type { SaveSnapshotDatabase } from "./snapshot-receiver.ts";
import type { SnapshotImage } from "./snapshot-sender.ts";
import { parsePeerURLs } from "./url-picker.ts";

export interface PeerTransportOptions {
  /** Asked once, by `start`: ids are known only when the member has opened its data. */
  readonly identity: () => PeerIdentity;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** `Snapshotter.saveDatabase` of the member's `snap` directory. */
  readonly saveSnapshotDatabase: SaveSnapshotDatabase;
  /** The cluster refuses this member as removed: it must stop. Called once. */
  readonly onMemberRemoved: () => void;
  /** Default: TCP and unix sockets without TLS. */
  readonly dial?: Dial;
  /** etcd: 1 s and the election timeout. Default 2 s. */
  readonly dialTimeoutMs?: number;
  readonly timings?: Partial<TransportTimings>;
}

const DEFAULT_DIAL_TIMEOUT_MS = 2000;
const DEFAULT_TIMINGS: TransportTimings = {
  connectionTimeoutMs: CONNECTION_TIMEOUT_MS,
  dialRetryMs: DIAL_RETRY_MS,
  pipelineTimeoutMs: PIPELINE_TIMEOUT_MS,
  snapshotStallTimeoutMs: SNAPSHOT_STALL_TIMEOUT_MS,
  probeIntervalMs: PROBE_INTERVAL_MS,
  probeReportMs: PROBE_UNHEALTHY_REPORT_INTERVAL_MS,
  requestTimeoutMs: 7000,
};

/** What exists between `start` and `stop`. */
interface Running {
  readonly context: PeerContext;
  readonly endpoints: RaftEndpoints;
}

export class PeerTransportHTTP implements PeerTransport, PeerBook {
  readonly #options: PeerTransportOptions;
  readonly #logger: Logger;
  readonly #streamClient: PeerHttpClient;
  readonly #pipelineClient: PeerHttpClient;
  readonly #peers = new Map<bigint, MemberPeer>();
  readonly #remotes = new Map<bigint, RemotePeer>();
  /** Peers that are closing, and snapshots on their way. */
  readonly #tasks = new Set<Promise<void>>();
  #snapshotSends = 0;
  #running: Running | undefined;
  #isStopped = false;
  #isRemovalKnown = false;

  constructor(options: PeerTransportOptions) {
    this.#options = options;
    this.#logger = options.logger;
    const clientOptions = {
      dialTimeoutMs: options.dialTimeoutMs ?? DEFAULT_DIAL_TIMEOUT_MS,
      ...(options.dial === undefined ? {} : { dial: options.dial }),
    };
    this.#streamClient = new PeerHttpClient(clientOptions);
    this.#pipelineClient = new PeerHttpClient(clientOptions);
  }

  /** For questions to peers; usable before `start`. */
  get client(): PeerHttpClient {
    return this.#pipelineClient;
  }

  start(inbound: PeerInbound): void {
    invariant(this.#running === undefined, () => "PeerTransportHTTP.start: started twice");
    if (this.#isStopped) return;
    const { clock, metrics, identity, timings } = this.#options;
    const context: PeerContext = {
      identity: identity(),
      inbound: this.#guarded(inbound),
      clock,
      logger: this.#logger,
      metrics: declareTransportMetrics(metrics),
      timings: { ...DEFAULT_TIMINGS, ...timings },
      streamClient: this.#streamClient,
      pipelineClient: this.#pipelineClient,
      memberRemoved: () => this.#memberRemoved(),
    };
    const { saveSnapshotDatabase } = this.#options;
    this.#running = {
      context,
      endpoints: new RaftEndpoints(context, this, saveSnapshotDatabase),
    };
  }

  /** The member as long as the transport runs, nobody after that. */
  #guarded(inbound: PeerInbound): PeerInbound {
    return {
      step: (message) => {
        if (!this.#isStopped) inbound.step(message);
      },
      isIDRemoved: (id) => inbound.isIDRemoved(id),
      reportUnreachable: (id) => {
        if (!this.#isStopped) inbound.reportUnreachable(id);
      },
      reportSnapshot: (id, status) => {
        if (!this.#isStopped) inbound.reportSnapshot(id, status);
      },
    };
  }

  #memberRemoved(): void {
    if (this.#isRemovalKnown || this.#isStopped) return;
    this.#isRemovalKnown = true;
    this.#options.onMemberRemoved();
  }

  #context(): PeerContext {
    const running = this.#running;
    invariant(running !== undefined, () => "PeerTransportHTTP: not started");
    return running.context;
  }

  /** Answers a request below `/raft`. */
  handle(pathname: string, request: IncomingMessage, response: ServerResponse): void {
    if (this.#running === undefined || this.#isStopped) {
      response.setHeader("Connection", "close");
      replyError(response, 503, "etcdserver: server stopped");
    } else this.#running.endpoints.handle(pathname, request, response);
  }

  send(messages: readonly Message[]): void {
    if (this.#isStopped) return;
    const touched = new Set<MemberPeer>();
    for (const message of messages) {
      if (message.to === 0n) continue;
      const peer = this.#peers.get(message.to);
      if (peer !== undefined) {
        peer.send(message);
        touched.add(peer);
        continue;
      }
      const remote = this.#remotes.get(message.to);
      if (remote !== undefined) remote.send(message);
      else {
        this.#logger.debug("ignored message send request; unknown remote peer target", {
          type: message.type,
          "unknown-target-peer-id": hexFromID(message.to),
        });
      }
    }
    for (const peer of touched) peer.flush();
  }

  /**
   * Sends a `MsgSnap` and the database behind it, which is closed in any case. The outcome is
   * reported to raft, unless the target is no peer.
   */
  sendSnapshot(message: Message, image: SnapshotImage): void {
    const peer = this.#peers.get(message.to);
    if (this.#isStopped || peer === undefined) {
      image.close();
      return;
    }
    if (this.#snapshotSends >= SNAPSHOT_SENDS_MAX) {
      image.close();
      const { clock, inbound } = this.#context();
      this.#logger.warn("dropped database snapshot; too many are being sent", {
        "remote-peer-id": hexFromID(message.to),
      });
      clock.nextTurn(() => inbound.reportSnapshot(message.to, "failure"));
      return;
    }
    this.#snapshotSends++;
    this.#own(
      peer.sendSnapshot(message, image).finally(() => {
        this.#snapshotSends--;
      }),
    );
  }

  #own(task: Promise<void>): void {
    const owned: Promise<void> = task.finally(() => this.#tasks.delete(owned));
    this.#tasks.add(owned);
  }

  /** @throws {ConfigError} for a URL that is none */
  addPeer(id: bigint, peerURLs: readonly string[]): void {
    if (this.#isStopped || this.#peers.has(id)) return;
    const context = this.#context();
    this.#peers.set(id, new MemberPeer(context, id, parsePeerURLs(peerURLs)));
    const remote = this.#remotes.get(id);
    this.#remotes.delete(id);
    if (remote !== undefined) this.#own(remote.stop());
    this.#logger.info("added remote peer", {
      "local-member-id": hexFromID(context.identity.memberID),
      "remote-peer-id": hexFromID(id),
      "remote-peer-urls": peerURLs,
    });
  }

  addRemote(id: bigint, peerURLs: readonly string[]): void {
    if (this.#isStopped || this.#peers.has(id) || this.#remotes.has(id)) return;
    const context = this.#context();
    if (id === context.identity.memberID) return;
    const fields = {
      "local-member-id": hexFromID(context.identity.memberID),
      "remote-peer-id": hexFromID(id),
      "remote-peer-urls": peerURLs,
    };
    if (this.#remotes.size >= REMOTES_MAX || peerURLs.length > REMOTE_URLS_MAX) {
      this.#logger.warn("ignored new remote peer; too many", fields);
      return;
    }
    try {
      this.#remotes.set(id, new RemotePeer(context, id, parsePeerURLs(peerURLs)));
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      this.#logger.warn("ignored new remote peer; bad URLs", { ...fields, error: error.message });
      return;
    }
    this.#logger.info("added new remote peer", fields);
  }

  /** @throws {ConfigError} for a URL that is none */
  updatePeer(id: bigint, peerURLs: readonly string[]): void {
    const peer = this.#peers.get(id);
    if (this.#isStopped || peer === undefined) return;
    peer.update(parsePeerURLs(peerURLs));
    this.#logger.info("updated remote peer", {
      "local-member-id": hexFromID(this.#context().identity.memberID),
      "updated-remote-peer-id": hexFromID(id),
      "updated-remote-peer-urls": peerURLs,
    });
  }

  removePeer(id: bigint): void {
    if (this.#isStopped) return;
    const fields = {
      "local-member-id": hexFromID(this.#context().identity.memberID),
      "removed-remote-peer-id": hexFromID(id),
    };
    const peer = this.#peers.get(id);
    if (peer === undefined) {
      this.#logger.warn("skipped removing already removed peer", fields);
      return;
    }
    this.#peers.delete(id);
    this.#own(peer.stop());
    this.#logger.info("removed remote peer", fields);
  }

  member(id: bigint): MemberPeer | undefined {
    return this.#peers.get(id);
  }

  isKnown(id: bigint): boolean {
    return this.#peers.has(id) || this.#remotes.has(id);
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  isReachable(id: bigint): boolean {
    return this.#peers.get(id)?.isReachable ?? false;
  }

  activeSinceMs(id: bigint): number | undefined {
    return this.#peers.get(id)?.activeSinceMs;
  }

  async versionOf(id: bigint): Promise<{ server: string; cluster: string } | undefined> {
    const peer = this.#peers.get(id);
    if (peer === undefined || this.#isStopped) return undefined;
    const { logger, timings } = this.#context();
    const urls = peer.urls.map(({ text }) => text);
    return getVersion(this.#pipelineClient, urls, {
      timeoutMs: timings.requestTimeoutMs,
      logger,
      memberID: id,
    });
  }

  /** Ends all connections and drops what was on its way; idempotent. */
  async stop(): Promise<void> {
    if (!this.#isStopped) {
      this.#isStopped = true;
      for (const peer of [...this.#peers.values(), ...this.#remotes.values()]) {
        this.#own(peer.stop());
      }
      this.#peers.clear();
      this.#remotes.clear();
    }
    await Promise.all(this.#tasks);
    this.#streamClient.close();
    this.#pipelineClient.close();
  }
}
