/** Who of the cluster this member has a connection to, and since when. */

import type { Cluster } from "./membership/index.ts";
import type { PeerTransport } from "./server-api.ts";

export class Connectivity {
  readonly #localID: bigint;
  readonly #cluster: Cluster;
  readonly #transport: PeerTransport | undefined;

  constructor(localID: bigint, cluster: Cluster, transport: PeerTransport | undefined) {
    this.#localID = localID;
    this.#cluster = cluster;
    this.#transport = transport;
  }

  /** Whether there is a connection to `id` at all; this member is connected to itself. */
  isActive(id: bigint): boolean {
    return id === this.#localID || this.#transport?.activeSinceMs(id) !== undefined;
  }

  /** Whether it is worth sending anything to `id`. */
  isReachable(id: bigint): boolean {
    return id === this.#localID || (this.#transport?.isReachable?.(id) ?? true);
  }

  /** Whether the connection to `id` was there at `sinceMs` and has not broken since. */
  isConnectedSince(id: bigint, sinceMs: number): boolean {
    if (id === this.#localID) return true;
    const activeMs = this.#transport?.activeSinceMs(id);
    return activeMs !== undefined && activeMs <= sinceMs;
  }

  /** Voters connected since then, this member included if it is one. */
  votersSince(sinceMs: number): number {
    const voters = this.#cluster.votingMembers();
    return voters.filter(({ id }) => this.isConnectedSince(id, sinceMs)).length;
  }

  hasQuorumSince(sinceMs: number): boolean {
    const quorum = Math.floor(this.#cluster.votingMembers().length / 2) + 1;
    return this.votersSince(sinceMs) >= quorum;
  }
}
