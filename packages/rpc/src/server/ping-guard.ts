/**
 * Counts control frames a client should send rarely, and says when there are too many.
 *
 * Pings follow grpc-go: one that comes sooner than allowed is a strike, sending headers or data
 * forgives all strikes, and more than two strikes end the connection with a text clients act on.
 * SETTINGS frames have no such rule; they share a budget that refills slowly.
 */

import type { KeepaliveOptions } from "./transport.ts";

const PING_STRIKES_MAX = 2;
/** How often an idle client may ping when it should not ping at all. */
const IDLE_PING_INTERVAL_MS = 7_200_000;
const SETTINGS_BURST_MAX = 100;
const SETTINGS_REFILL_MS = 1_000;

export class PingGuard {
  readonly #keepalive: KeepaliveOptions;
  #lastPingMs = -Infinity;
  #strikes = 0;
  #forgiven = false;
  #settingsBudget = SETTINGS_BURST_MAX;
  #settingsCountedMs = 0;

  constructor(keepalive: KeepaliveOptions) {
    this.#keepalive = keepalive;
  }

  /** Headers or data were sent: the client has reason to check that the connection lives. */
  forgive(): void {
    this.#forgiven = true;
  }

  /** @returns whether this ping is one too many */
  countPing(nowMs: number, openCalls: number): boolean {
    const sinceMs = nowMs - this.#lastPingMs;
    this.#lastPingMs = nowMs;
    if (this.#forgiven) {
      this.#forgiven = false;
      this.#strikes = 0;
      return false;
    }
    const idle = openCalls === 0 && !this.#keepalive.permitWithoutStream;
    if (sinceMs < (idle ? IDLE_PING_INTERVAL_MS : this.#keepalive.minTimeMs)) this.#strikes++;
    return this.#strikes > PING_STRIKES_MAX;
  }

  /** @returns whether this SETTINGS frame is one too many */
  countSettings(nowMs: number): boolean {
    const refill = Math.floor((nowMs - this.#settingsCountedMs) / SETTINGS_REFILL_MS);
    if (refill > 0) {
      this.#settingsBudget = Math.min(SETTINGS_BURST_MAX, this.#settingsBudget + refill);
      this.#settingsCountedMs = nowMs;
    }
    return this.#settingsBudget-- <= 0;
  }
}
