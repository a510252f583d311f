/**
 * Messages of raft on their way to other members.
 *
 * Invariants:
 * - Nothing goes to a member that was removed.
 * - Of several acknowledgements to one member in one batch the last stands for all.
 * - The image behind a `MsgSnap` and the index its message tells are of one moment: nothing is
 *   applied between them.
 * - Entries that a snapshot on its way does not hold stay in the log until it has arrived.
 */

import type { LogFields } from "@etcd-ts/base";
import type { Message, Snapshot } from "@etcd-ts/raft";

import type { Delay } from "./raft/loop-delays.ts";
import type { MemberCore } from "./member-core.ts";
import type { SnapshotImage } from "./server-api.ts";

/** How long the log is kept after a snapshot was sent, for its receiver to catch up. */
const HOLD_AFTER_SNAPSHOT_MS = 30_000;

export class PeerMessages {
  readonly #core: MemberCore;
  /** When each member was last sent a heartbeat. */
  readonly #heartbeatMs = new Map<bigint, number>();
  #snapshots = 0;
  #heldUntilMs = -Infinity;

  constructor(core: MemberCore) {
    this.#core = core;
  }

  /** Whether a snapshot is on its way, or was until a moment ago. */
  get holdsLog(): boolean {
    return this.#snapshots > 0 || this.#core.ports.clock.monotonicMs() < this.#heldUntilMs;
  }

  send(messages: readonly Message[]): void {
    const { transport } = this.#core.ports;
    if (transport === undefined || messages.length === 0) return;
    const outgoing: Message[] = [];
    let delay: Delay | undefined;
    const acknowledged = new Set<bigint>();
    for (let i = messages.length - 1; i >= 0; i--) {
      const message = messages[i]!;
      if (this.#core.cluster.isIDRemoved(message.to)) continue;
      if (message.type === "MsgSnap") {
        this.#sendSnapshot(message);
        continue;
      }
      if (message.type === "MsgAppResp") {
        if (acknowledged.has(message.to)) continue;
        acknowledged.add(message.to);
      } else if (message.type === "MsgHeartbeat") {
        delay ??= this.#core.loop.delays.take();
        this.#observeHeartbeat(message.to, delay);
      }
      outgoing.push(message);
    }
    if (outgoing.length > 0) transport.send(outgoing.reverse());
  }

  /** The time since the last heartbeat of an earlier reign says nothing. */
  leadershipBegan(): void {
    this.#heartbeatMs.clear();
  }

  /** @param delay - what took longest since the last heartbeats */
  #observeHeartbeat(to: bigint, delay: Delay | undefined): void {
    const { ports, config, metrics } = this.#core;
    const nowMs = ports.clock.monotonicMs();
    const beforeMs = this.#heartbeatMs.get(to) ?? nowMs;
    this.#heartbeatMs.set(to, nowMs);
    const expectedMs = 2 * config.heartbeatIntervalMs;
    const exceededMs = nowMs - beforeMs - expectedMs;
    if (exceededMs <= 0) return;
    ports.logger.warn(
      "leader failed to send out heartbeat on time; took too long, leader is overloaded likely from slow disk",
      {
        to: to.toString(16),
        "heartbeat-interval": `${config.heartbeatIntervalMs}ms`,
        "expected-duration": `${expectedMs}ms`,
        "exceeded-duration": `${exceededMs}ms`,
        // Beyond what etcd tells: where to look.
        cause: delay?.cause,
        took: delay === undefined ? undefined : `${delay.tookMs}ms`,
      },
    );
    metrics.heartbeatFailures.inc();
  }

  #sendSnapshot(message: Message): void {
    const { loop, ports } = this.#core;
    this.#snapshots++;
    loop
      .betweenEntries(() => this.#takeSnapshot())
      .then(
        ({ snapshot, image }) => {
          ports.transport!.sendSnapshot({ ...message, snapshot }, this.#held(image));
        },
        (error: unknown) => {
          this.#snapshots--;
          if (this.#core.end !== undefined) return;
          ports.logger.warn("failed to take a snapshot for a peer", {
            to: message.to.toString(16),
            error: error instanceof Error ? error.message : String(error),
          });
          loop.reportSnapshot(message.to, "failure");
        },
      );
  }

  /** What is applied now; more than raft asked for, which spares the receiver entries. */
  async #takeSnapshot(): Promise<{ snapshot: Snapshot; image: SnapshotImage }> {
    const { applier, cluster, backend, ports } = this.#core;
    const metadata = {
      index: applier.appliedIndex,
      term: applier.appliedTerm,
      confState: applier.confState,
    };
    const data = cluster.encodeV2Store();
    const image = await backend.snapshot();
    const fields: LogFields = { "snapshot-index": metadata.index, bytes: image.sizeBytes };
    ports.logger.info("created a database snapshot for a peer", fields);
    return { snapshot: { data, metadata }, image };
  }

  #held(image: SnapshotImage): SnapshotImage {
    let isClosed = false;
    return {
      sizeBytes: image.sizeBytes,
      chunks: () => image.chunks(),
      close: () => {
        image.close();
        if (isClosed) return;
        isClosed = true;
        this.#snapshots--;
        this.#heldUntilMs = this.#core.ports.clock.monotonicMs() + HOLD_AFTER_SNAPSHOT_MS;
      },
    };
  }
}
