/**
 * When certificates end: a gauge for each, and a warning in the log from `WARNING_DAYS` before.
 *
 * Files are looked at again every hour, so that the gauge follows a rotation on a quiet member.
 */

import type { Clock, Logger, Metrics, Timer } from "@etcd-ts/base";
import type { TLSFileSet } from "@etcd-ts/runtime";

const DAY_MS = 24 * 60 * 60 * 1000;
const CHECK_INTERVAL_MS = 60 * 60 * 1000;
export const EXPIRY_WARNING_DAYS = 30;

export interface ExpiryOptions {
  readonly sets: readonly { readonly endpoint: "client" | "peer"; readonly files: TLSFileSet }[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
}

/** @returns ends the watch */
export function watchExpiry(options: ExpiryOptions): () => void {
  const { sets, clock, logger, metrics } = options;
  if (sets.length === 0) return () => undefined;
  const gauge = metrics.gaugeFamily({
    name: "etcd_ts_tls_certificate_not_after_seconds",
    help: "When the certificate in a file ends, in seconds since 1970; the earliest of a bundle.",
    labelNames: ["endpoint", "path"],
  });
  let timer: Timer | undefined;
  const check = (): void => {
    for (const { endpoint, files } of sets) {
      const earliest = new Map<string, number>();
      for (const { path, certificate } of files.current().certificates) {
        const endMs = Date.parse(certificate.validTo);
        earliest.set(path, Math.min(earliest.get(path) ?? Infinity, endMs));
      }
      for (const [path, endMs] of earliest) {
        gauge.labels({ endpoint, path }).set(endMs / 1000);
        warnBeforeEnd(endMs - clock.wallMs(), { endpoint, path, endMs }, logger);
      }
    }
    timer = clock.setTimer(CHECK_INTERVAL_MS, check);
  };
  check();
  return () => timer?.cancel();
}

function warnBeforeEnd(
  leftMs: number,
  about: { readonly endpoint: string; readonly path: string; readonly endMs: number },
  logger: Logger,
): void {
  if (leftMs > EXPIRY_WARNING_DAYS * DAY_MS) return;
  logger.warn(leftMs < 0 ? "a certificate has expired" : "a certificate will expire soon", {
    endpoint: about.endpoint,
    path: about.path,
    "not-after": new Date(about.endMs).toISOString(),
    "days-left": Math.floor(leftMs / DAY_MS),
  });
}
