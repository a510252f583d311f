/** Whether a peer can be reached, as the last attempt of any of its channels showed. */

import { hexFromID } from "@etcd-ts/base";
import type { PeerContext } from "./peer-context.ts";

/** What failed, for the log. */
export interface PeerFailure {
  readonly source: string;
  readonly action: "dial" | "read" | "write" | "heartbeat" | "post";
}

export class PeerStatus {
  readonly #context: PeerContext;
  readonly #id: bigint;
  #activeSinceMs: number | undefined;

  constructor(context: PeerContext, id: bigint) {
    this.#context = context;
    this.#id = id;
  }

  /** On `Clock.monotonicMs`; undefined while the peer cannot be reached. */
  get activeSinceMs(): number | undefined {
    return this.#activeSinceMs;
  }

  get isActive(): boolean {
    return this.#activeSinceMs !== undefined;
  }

  activate(): void {
    if (this.isActive) return;
    const { clock, logger, metrics } = this.#context;
    logger.info("peer became active", { "peer-id": hexFromID(this.#id) });
    this.#activeSinceMs = clock.monotonicMs();
    metrics.activePeers.labels(this.#labels()).add(1);
  }

  deactivate({ source, action }: PeerFailure, reason: string): void {
    const { logger, metrics } = this.#context;
    const fields = {
      "peer-id": hexFromID(this.#id),
      error: `failed to ${action} ${hexFromID(this.#id)} on ${source} (${reason})`,
    };
    if (!this.isActive) {
      logger.debug("peer deactivated again", fields);
      return;
    }
    logger.warn("peer became inactive (message send to peer failed)", fields);
    this.#activeSinceMs = undefined;
    metrics.activePeers.labels(this.#labels()).add(-1);
    metrics.disconnectedPeers.labels(this.#labels()).inc();
  }

  /** The peer is no more; it does not count as lost. */
  forget(): void {
    if (this.isActive) this.#context.metrics.activePeers.labels(this.#labels()).add(-1);
    this.#activeSinceMs = undefined;
  }

  #labels(): { Local: string; Remote: string } {
    return { Local: hexFromID(this.#context.identity.memberID), Remote: hexFromID(this.#id) };
  }
}
