/**
 * Metrics for Prometheus to scrape.
 *
 * The instruments are plain numbers of `MemoryMetrics`, because counting is on the way of every
 * request; a registry of `prom-client` is only built to write them down.
 */

import { readdirSync, readFileSync } from "node:fs";

import type {
  Counter,
  Family,
  Gauge,
  Histogram,
  HistogramDefinition,
  MetricDefinition,
  MetricReading,
  Metrics,
} from "@etcd-ts/base";
import { MemoryHistogram, MemoryMetrics } from "@etcd-ts/base";
import type { MetricObjectWithValues, MetricValueWithName, RegistryContentType } from "prom-client";
import { collectDefaultMetrics, Registry } from "prom-client";

export interface Exposition {
  readonly contentType: string;
  readonly body: string;
}

type Values = Pick<
  MetricObjectWithValues<MetricValueWithName<string>>,
  "name" | "help" | "type"
> & {
  readonly values: MetricValueWithName<string>[];
};

export class PrometheusMetrics implements Metrics {
  readonly #metrics = new MemoryMetrics();
  readonly #process: Registry | undefined;
  readonly #beforeExposition: (() => void)[] = [];

  /** @param options.process - whether to add `process_*`, `nodejs_*` and `os_fd_*`; default true */
  constructor(options: { readonly process?: boolean } = {}) {
    if (options.process === false) return;
    this.#process = new Registry();
    collectDefaultMetrics({ register: this.#process });
    if (process.platform === "linux") this.#declareDescriptors();
  }

  counter(definition: MetricDefinition): Counter {
    return this.#metrics.counter(definition);
  }

  gauge(definition: MetricDefinition): Gauge {
    return this.#metrics.gauge(definition);
  }

  histogram(definition: HistogramDefinition): Histogram {
    return this.#metrics.histogram(definition);
  }

  counterFamily(definition: MetricDefinition): Family<Counter> {
    return this.#metrics.counterFamily(definition);
  }

  gaugeFamily(definition: MetricDefinition): Family<Gauge> {
    return this.#metrics.gaugeFamily(definition);
  }

  histogramFamily(definition: HistogramDefinition): Family<Histogram> {
    return this.#metrics.histogramFamily(definition);
  }

  gaugeFunction(definition: MetricDefinition, read: () => number): void {
    this.#metrics.gaugeFunction(definition, read);
  }

  /** Calls `refresh` before each exposition, to set what is costly to keep up to date. */
  beforeExposition(refresh: () => void): void {
    this.#beforeExposition.push(refresh);
  }

  /**
   * Everything as text.
   *
   * @param accept - the header of the request: OpenMetrics if it asks for that, else the
   *   Prometheus text format
   */
  async expose(accept = ""): Promise<Exposition> {
    for (const refresh of this.#beforeExposition) refresh();
    const registry = new Registry<RegistryContentType>();
    if (accept.includes("application/openmetrics-text")) {
      registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE);
    }
    // As Go's library does: a family without a series is not there yet.
    const readings = this.#metrics.readAll().filter(({ series }) => series.length > 0);
    const all = readings.map(valuesOf);
    all.push(...(((await this.#process?.getMetricsAsJSON()) ?? []) as Values[]));
    for (const values of all.sort((a, b) => (a.name < b.name ? -1 : 1))) register(registry, values);
    return { contentType: registry.contentType, body: await registry.metrics() };
  }

  #declareDescriptors(): void {
    this.gaugeFunction(
      { name: "os_fd_used", help: "The number of used file descriptors." },
      () => readdirSync("/proc/self/fd").length,
    );
    this.gaugeFunction({ name: "os_fd_limit", help: "The file descriptor limit." }, () => {
      const limit = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1"));
      return limit === null ? 0 : Number(limit[1]);
    });
  }
}

/** Hands finished values to a registry, which renames counters as its format wants. */
function register(registry: Registry<RegistryContentType>, values: Values): void {
  const metric = {
    ...values,
    get(): Promise<Values> {
      return Promise.resolve({ ...values, name: metric.name });
    },
  };
  registry.registerMetric(metric as unknown as Parameters<Registry["registerMetric"]>[0]);
}

function valuesOf(reading: MetricReading): Values {
  const { name, help } = reading.definition;
  const values: MetricValueWithName<string>[] = [];
  for (const { labels, instrument } of reading.series) {
    if (instrument instanceof MemoryHistogram)
      values.push(...histogramValues(name, labels, instrument));
    else values.push({ value: instrument.value, labels } as MetricValueWithName<string>);
  }
  return { name, help, type: reading.kind as unknown as Values["type"], values };
}

/** A bound as Go's library writes it: the label is part of a series' name. */
function goFloat(value: number): string {
  if (value < 1e6) return String(value);
  const [digits, exponent] = value.toExponential().split("e+");
  return `${digits}e+${exponent!.padStart(2, "0")}`;
}

function histogramValues(
  name: string,
  labels: { readonly [name: string]: string },
  histogram: MemoryHistogram,
): MetricValueWithName<string>[] {
  const values: MetricValueWithName<string>[] = [];
  let below = 0;
  for (const [i, count] of histogram.counts.entries()) {
    below += count;
    const bound = histogram.bounds[i];
    const le = bound === undefined ? "+Inf" : goFloat(bound);
    values.push({ metricName: `${name}_bucket`, labels: { ...labels, le }, value: below });
  }
  values.push({ metricName: `${name}_sum`, labels, value: histogram.sum });
  values.push({ metricName: `${name}_count`, labels, value: histogram.count });
  return values;
}
