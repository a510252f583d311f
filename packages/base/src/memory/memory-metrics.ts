/**
 * Metrics that only count: for tests, and what a registry that is scraped reads from.
 *
 * Invariants: a name belongs to one kind of instrument; a series is found by the values of exactly
 * the label names its family was declared with.
 */

import { invariant } from "../errors.ts";
import type {
  Counter,
  Family,
  Gauge,
  Histogram,
  HistogramDefinition,
  Labels,
  MetricDefinition,
  Metrics,
} from "../ports/metrics.ts";

export type MetricKind = "counter" | "gauge" | "histogram";

export class MemoryCounter implements Counter {
  value = 0;

  inc(by = 1): void {
    invariant(by >= 0, () => `Counter.inc: ${by}`);
    this.value += by;
  }
}

export class MemoryGauge implements Gauge {
  value = 0;

  set(value: number): void {
    this.value = value;
  }

  add(by: number): void {
    this.value += by;
  }
}

export class MemoryHistogram implements Histogram {
  readonly bounds: readonly number[];
  /** Observations up to each bound and above the one before; one more for those above all. */
  readonly counts: number[];
  count = 0;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = Array.from({ length: bounds.length + 1 }, () => 0);
  }

  observe(value: number): void {
    let i = 0;
    while (i < this.bounds.length && value > this.bounds[i]!) i++;
    this.counts[i]!++;
    this.count++;
    this.sum += value;
  }
}

export type MemoryInstrument = MemoryCounter | MemoryGauge | MemoryHistogram;

/** A declared metric with what it holds now. */
export interface MetricReading {
  readonly kind: MetricKind;
  readonly definition: MetricDefinition;
  readonly series: readonly { readonly labels: Labels; readonly instrument: MemoryInstrument }[];
}

class MemoryFamily<T extends MemoryInstrument> implements Family<T> {
  readonly kind: MetricKind;
  readonly definition: MetricDefinition;
  readonly #labelNames: readonly string[];
  readonly #create: () => T;
  readonly #series = new Map<string, { readonly labels: Labels; readonly instrument: T }>();

  constructor(kind: MetricKind, definition: MetricDefinition, create: () => T) {
    this.kind = kind;
    this.definition = definition;
    this.#labelNames = definition.labelNames ?? [];
    this.#create = create;
    if (this.#labelNames.length === 0) this.labels({});
  }

  labels(labels: Labels): T {
    const key = this.#key(labels);
    const known = this.#series.get(key);
    if (known !== undefined) return known.instrument;
    const instrument = this.#create();
    const ordered = Object.fromEntries(this.#labelNames.map((name) => [name, labels[name]!]));
    this.#series.set(key, { labels: ordered, instrument });
    return instrument;
  }

  remove(labels: Labels): void {
    this.#series.delete(this.#key(labels));
  }

  find(labels: Labels): T | undefined {
    return this.#series.get(this.#key(labels))?.instrument;
  }

  read(): MetricReading {
    return { kind: this.kind, definition: this.definition, series: [...this.#series.values()] };
  }

  #key(labels: Labels): string {
    const names = this.#labelNames;
    const given = Object.keys(labels);
    invariant(
      given.length === names.length && given.every((name) => names.includes(name)),
      () => `labels: got [${given.join()}], declared [${names.join()}]`,
    );
    return names.map((name) => `${labels[name]!.length}:${labels[name]}`).join();
  }
}

export class MemoryMetrics implements Metrics {
  readonly #families = new Map<string, MemoryFamily<MemoryInstrument>>();
  readonly #functions = new Map<string, { definition: MetricDefinition; read: () => number }>();

  counter(definition: MetricDefinition): Counter {
    return this.counterFamily(definition).labels({});
  }

  gauge(definition: MetricDefinition): Gauge {
    return this.gaugeFamily(definition).labels({});
  }

  histogram(definition: HistogramDefinition): Histogram {
    return this.histogramFamily(definition).labels({});
  }

  counterFamily(definition: MetricDefinition): Family<Counter> {
    return this.#declare("counter", definition, () => new MemoryCounter());
  }

  gaugeFamily(definition: MetricDefinition): Family<Gauge> {
    return this.#declare("gauge", definition, () => new MemoryGauge());
  }

  histogramFamily(definition: HistogramDefinition): Family<Histogram> {
    const { buckets } = definition;
    invariant(
      buckets.every((bound, i) => i === 0 || bound > buckets[i - 1]!),
      () => `histogram ${definition.name}: bounds do not increase`,
    );
    return this.#declare("histogram", definition, () => new MemoryHistogram(buckets));
  }

  gaugeFunction(definition: MetricDefinition, read: () => number): void {
    this.#functions.set(definition.name, { definition, read });
  }

  /** A counter's or gauge's value, or a histogram's count; undefined if there is no such series. */
  value(name: string, labels: Labels = {}): number | undefined {
    const asked = this.#functions.get(name);
    if (asked !== undefined) return asked.read();
    const instrument = this.#series(name, labels);
    return instrument instanceof MemoryHistogram ? instrument.count : instrument?.value;
  }

  /** What a histogram has seen; undefined if there is no such series. */
  observations(name: string, labels: Labels = {}): MemoryHistogram | undefined {
    const instrument = this.#series(name, labels);
    return instrument instanceof MemoryHistogram ? instrument : undefined;
  }

  /** Every metric with its series, sorted by name; functions are called. */
  readAll(): MetricReading[] {
    const readings = [...this.#families.values()].map((family) => family.read());
    for (const { definition, read } of this.#functions.values()) {
      const gauge = new MemoryGauge();
      gauge.set(read());
      readings.push({ kind: "gauge", definition, series: [{ labels: {}, instrument: gauge }] });
    }
    return readings.sort((a, b) => (a.definition.name < b.definition.name ? -1 : 1));
  }

  #series(name: string, labels: Labels): MemoryInstrument | undefined {
    return this.#families.get(name)?.find(labels);
  }

  #declare<T extends MemoryInstrument>(
    kind: MetricKind,
    definition: MetricDefinition,
    create: () => T,
  ): MemoryFamily<T> {
    let family = this.#families.get(definition.name);
    if (family === undefined) {
      family = new MemoryFamily<MemoryInstrument>(kind, definition, create);
      this.#families.set(definition.name, family);
    }
    const known = family.kind;
    invariant(known === kind, () => `${definition.name} is a ${known}, not a ${kind}`);
    // The kind decides the class of the series.
    return family as unknown as MemoryFamily<T>;
  }
}
