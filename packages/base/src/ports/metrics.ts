/** Prometheus-shaped counts. Declaring the same name twice returns the same instrument. */

export type Labels = { readonly [name: string]: string };

export interface MetricDefinition {
  readonly name: string;
  readonly help: string;
  readonly labelNames?: readonly string[];
}

export interface HistogramDefinition extends MetricDefinition {
  /** Upper bounds in increasing order, without +Inf. */
  readonly buckets: readonly number[];
}

export interface Counter {
  inc(by?: number): void;
}

export interface Gauge {
  set(value: number): void;
  add(by: number): void;
}

export interface Histogram {
  observe(value: number): void;
}

/** Instruments by label values; asking for a set of values creates its series at zero. */
export interface Family<T> {
  labels(labels: Labels): T;
  remove(labels: Labels): void;
}

export interface Metrics {
  counter(definition: MetricDefinition): Counter;
  gauge(definition: MetricDefinition): Gauge;
  histogram(definition: HistogramDefinition): Histogram;
  counterFamily(definition: MetricDefinition): Family<Counter>;
  gaugeFamily(definition: MetricDefinition): Family<Gauge>;
  histogramFamily(definition: HistogramDefinition): Family<Histogram>;
  /** A gauge whose value is asked for at each scrape. */
  gaugeFunction(definition: MetricDefinition, read: () => number): void;
}

/** `count` bounds: `start`, `start * factor`, `start * factor^2`, ... */
export function exponentialBuckets(start: number, factor: number, count: number): number[] {
  const bounds: number[] = [];
  for (let i = 0, bound = start; i < count; i++, bound *= factor) bounds.push(bound);
  return bounds;
}
