/**
 * How late the event loop was, for operators: heartbeats and answers are as late as this. The
 * reference has no such metric, since it has no event loop.
 */

import type { PrometheusMetrics } from "@etcd-ts/runtime";
import { EventLoopDelay } from "@etcd-ts/runtime";

const SAMPLE_MS = 10;
const MS_PER_SECOND = 1000;

/** Quantiles since the last scrape, in seconds. @returns what ends the measuring */
export function measureEventLoop(metrics: PrometheusMetrics): () => void {
  const delay = new EventLoopDelay(SAMPLE_MS);
  const family = metrics.gaugeFamily({
    name: "etcd_ts_event_loop_delay_seconds",
    help: "How late the event loop took its turns since the last scrape, by quantile.",
    labelNames: ["quantile"],
  });
  metrics.beforeExposition(() => {
    const { p50Ms, p99Ms, p999Ms, maxMs } = delay.summary();
    delay.reset();
    family.labels({ quantile: "0.5" }).set(p50Ms / MS_PER_SECOND);
    family.labels({ quantile: "0.99" }).set(p99Ms / MS_PER_SECOND);
    family.labels({ quantile: "0.999" }).set(p999Ms / MS_PER_SECOND);
    family.labels({ quantile: "1" }).set(maxMs / MS_PER_SECOND);
  });
  return () => {
    delay.stop();
  };
}
