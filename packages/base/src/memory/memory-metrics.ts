/**
 * Metrics that only count, for tests and for members nobody scrapes.
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

type Kind = "counter" | "gauge" | "histogram";

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

type Instrument = MemoryCounter | MemoryGauge | MemoryHistogram;

class MemoryFamily<T extends Instrument> implements Family<T> {
  readonly kind: Kind;
  readonly labelNames: readonly string[];
  readonly #create: () => T;
  readonly series = new Map<string, T>();

  constructor(kind: Kind, definition: MetricDefinition, create: () => T) {
    this.kind = kind;
    this.labelNames = definition.labelNames ?? [];
    this.#create = create;
    if (this.labelNames.length === 0) this.labels({});
  }

  labels(labels: Labels): T {
    const key = this.key(labels);
    let instrument = this.series.get(key);
    if (instrument === undefined) {
      instrument = this.#create();
      this.series.set(key, instrument);
    }
    return instrument;
  }

  remove(labels: Labels): void {
    this.series.delete(this.key(labels));
  }

  key(labels: Labels): string {
    const given = Object.keys(labels);
    invariant(
      given.length === this.labelNames.length &&
        given.every((name) => this.labelNames.includes(name)),
      () => `labels: got ${given.join()}, declared ${this.labelNames.join()}`,
    );
    return JSON.stringify(this.labelNames.map((name) => labels[name]));
  }
}

export class MemoryMetrics implements Metrics {
  readonly #families = new Map<string, MemoryFamily<Instrument>>();
  readonly #functions = new Map<string, () => number>();

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
    this.#functions.set(definition.name, read);
  }

  /** A counter's or gauge's value, or a histogram's count; undefined if there is no such series. */
  value(name: string, labels: Labels = {}): number | undefined {
    const read = this.#functions.get(name);
    if (read !== undefined) return read();
    const instrument = this.#series(name, labels);
    return instrument instanceof MemoryHistogram ? instrument.count : instrument?.value;
  }

  /** What a histogram has seen; undefined if there is no such series. */
  observations(name: string, labels: Labels = {}): MemoryHistogram | undefined {
    const instrument = this.#series(name, labels);
    return instrument instanceof MemoryHistogram ? instrument : undefined;
  }

  /** Names declared so far, sorted. */
  names(): string[] {
    return [...this.#families.keys(), ...this.#functions.keys()].sort();
  }

  #series(name: string, labels: Labels): Instrument | undefined {
    const family = this.#families.get(name);
    return family?.series.get(family.key(labels));
  }

  #declare<T extends Instrument>(
    kind: Kind,
    definition: MetricDefinition,
    create: () => T,
  ): MemoryFamily<T> {
    let family = this.#families.get(definition.name);
    if (family === undefined) {
      family = new MemoryFamily<Instrument>(kind, definition, create);
      this.#families.set(definition.name, family);
    }
    const known = family.kind;
    invariant(known === kind, () => `${definition.name} is a ${known}, not a ${kind}`);
    // The kind decides the class of the series.
    return family as unknown as MemoryFamily<T>;
  }
}
