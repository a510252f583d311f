/**
 * Asks a peer every few seconds whether it is there, over one of the two clients: keeps that
 * client's connection open, measures the round trip, and compares clocks.
 *
 * The smoothed round trip weighs the newest sample by 1/8 (RFC 6298), as etcd's does.
 */

import { hexFromID, stringFromUtf8, formatGoDuration } from "@etcd-ts/base";
import type { Timer } from "@etcd-ts/base";
import type { PeerHttpClient } from "./http-client.ts";
import {
  CLOCK_DRIFT_WARNING_MS,
  PROBE_REPORT_INTERVAL_MS,
  PROBE_TIMEOUT_MS,
  SMALL_RESPONSE_BYTES_MAX,
} from "./limits.ts";
import { errorText } from "./peer-context.ts";
import type { PeerContext } from "./peer-context.ts";
import type { PeerURL } from "./url-picker.ts";

export type RoundTripperName = "ROUND_TRIPPER_RAFT_MESSAGE" | "ROUND_TRIPPER_SNAPSHOT";

const NEWEST_WEIGHT = 0.125;

export class Prober {
  readonly #context: PeerContext;
  readonly #peerID: bigint;
  readonly #urls: readonly PeerURL[];
  readonly #name: RoundTripperName;
  readonly #stopping = new AbortController();
  #pinned = 0;
  #probeTimer: Timer | undefined;
  #reportTimer: Timer | undefined;
  #isHealthy = false;
  #error = "";
  #roundTripMs = 0;
  #clockDifferenceMs = 0;

  constructor(
    context: PeerContext,
    peerID: bigint,
    urls: readonly PeerURL[],
    name: RoundTripperName,
  ) {
    this.#context = context;
    this.#peerID = peerID;
    this.#urls = urls;
    this.#name = name;
    this.#armProbe();
    this.#armReport(context.timings.probeReportMs);
  }

  get #client(): PeerHttpClient {
    const { streamClient, pipelineClient } = this.#context;
    return this.#name === "ROUND_TRIPPER_RAFT_MESSAGE" ? streamClient : pipelineClient;
  }

  #armProbe(): void {
    const { clock, timings } = this.#context;
    this.#probeTimer = clock.setTimer(timings.probeIntervalMs, () => {
      this.#armProbe();
      this.#probe().catch((error: unknown) => {
        if (this.#stopping.signal.aborted) return;
        this.#isHealthy = false;
        this.#error = errorText(error);
        this.#pinned = (this.#pinned + 1) % this.#urls.length;
      });
    });
  }

  async #probe(): Promise<void> {
    const { clock } = this.#context;
    const startMs = clock.monotonicMs();
    const url = this.#urls[this.#pinned]!;
    const response = await this.#client.ask(
      { url, path: "/raft/probing", method: "GET" },
      {
        timeoutMs: PROBE_TIMEOUT_MS,
        bytesMax: SMALL_RESPONSE_BYTES_MAX,
        signal: this.#stopping.signal,
      },
    );
    if (response.status !== 200) {
      throw new Error(
        `got unexpected HTTP status code ${response.status} from ${url.text}/raft/probing`,
      );
    }
    const health = JSON.parse(stringFromUtf8(response.body)) as { OK?: unknown; Now?: unknown };
    if (health.OK !== true) throw new Error("the peer is not OK");
    const sampleMs = clock.monotonicMs() - startMs;
    this.#roundTripMs = (1 - NEWEST_WEIGHT) * this.#roundTripMs + NEWEST_WEIGHT * sampleMs;
    const remoteMs = typeof health.Now === "string" ? Date.parse(health.Now) : NaN;
    this.#clockDifferenceMs = Number.isNaN(remoteMs)
      ? 0
      : clock.wallMs() - remoteMs - this.#roundTripMs / 2;
    this.#isHealthy = true;
    this.#error = "";
  }

  #armReport(delayMs: number): void {
    this.#reportTimer = this.#context.clock.setTimer(delayMs, () => {
      this.#report();
      const { probeReportMs } = this.#context.timings;
      this.#armReport(this.#isHealthy ? PROBE_REPORT_INTERVAL_MS : probeReportMs);
    });
  }

  #report(): void {
    const { logger, metrics } = this.#context;
    const id = hexFromID(this.#peerID);
    const fields = {
      "round-tripper-name": this.#name,
      "remote-peer-id": id,
      rtt: formatGoDuration(this.#roundTripMs),
      error: this.#error === "" ? undefined : this.#error,
    };
    if (!this.#isHealthy) logger.warn("prober detected unhealthy status", fields);
    if (this.#clockDifferenceMs > CLOCK_DRIFT_WARNING_MS) {
      logger.warn("prober found high clock drift", {
        ...fields,
        "clock-drift": formatGoDuration(this.#clockDifferenceMs),
      });
    }
    metrics.roundTripSeconds.labels({ To: id }).observe(this.#roundTripMs / 1000);
  }

  stop(): void {
    this.#stopping.abort();
    this.#probeTimer?.cancel();
    this.#reportTimer?.cancel();
  }
}
