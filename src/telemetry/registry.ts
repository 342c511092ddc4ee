// Metrics of a table, typed by it, as Prometheus text. In: a table of definitions. Out: what rooms write to. Called by metrics.ts and
// agent/metrics.ts.
import { Counter, Gauge, Histogram, Registry } from "prom-client";

export interface Definition {
  readonly kind: "counter" | "gauge" | "histogram";
  readonly labels: readonly string[];
  readonly help: string;
  /** Upper bounds of a histogram, in the unit of its name. */
  readonly buckets?: readonly number[];
}

export const quick = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
export const patient = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120];

/** name without its prefix `chancery_` → definition. */
export type MetricTable = Readonly<Record<string, Definition>>;
/** Names of one kind. */
type NamesOf<T extends MetricTable, K extends Definition["kind"]> = {
  [N in keyof T & string]: T[N]["kind"] extends K ? N : never;
}[keyof T & string];
/** Exactly the labels of the metric: `{}` for one without. */
type LabelsOf<T extends MetricTable, N extends keyof T> = { readonly [L in T[N]["labels"][number]]: string | number };

/** What rooms write to. Synchronous and cheap (about 1 µs); never throws for a value that is a finite number. */
export interface MetricsOf<T extends MetricTable> {
  count<N extends NamesOf<T, "counter">>(name: N, labels: LabelsOf<T, N>, by?: number): void;
  /**
   * One series of a counter, looked up once: what it counts is added up and taken into the registry before a scrape (a few ns in place
   * of about 0.5 µs, for what is counted on every push). It is kept for as long as these metrics: call it once per series.
   */
  counter<N extends NamesOf<T, "counter">>(name: N, labels: LabelsOf<T, N>): (by?: number) => void;
  set<N extends NamesOf<T, "gauge">>(name: N, labels: LabelsOf<T, N>, value: number): void;
  /** Takes a gauge up, or down by a negative `by`. */
  add<N extends NamesOf<T, "gauge">>(name: N, labels: LabelsOf<T, N>, by: number): void;
  /** `value` in the unit of the name: seconds, not ms. */
  observe<N extends NamesOf<T, "histogram">>(name: N, labels: LabelsOf<T, N>, value: number): void;
  /** `read` runs before every scrape: for gauges that are cheaper to read than to keep. Returns the way to stop it. */
  beforeScrape(read: () => void): () => void;
  /** The whole registry as Prometheus text; give it with `contentType`. */
  text(): Promise<string>;
  readonly contentType: string;
}

type Instrument = Counter | Gauge | Histogram;

function createInstrument(name: string, definition: Definition, registry: Registry): Instrument {
  const common = { name: `chancery_${name}`, help: definition.help, labelNames: [...definition.labels], registers: [registry] };
  switch (definition.kind) {
    case "counter":
      return new Counter(common);
    case "gauge":
      return new Gauge(common);
    case "histogram":
      return new Histogram({ ...common, buckets: [...(definition.buckets ?? quick)] });
  }
}

/** A registry of its own: two of one process (tests) never share a series. */
export function createRegistry<T extends MetricTable>(table: T): MetricsOf<T> {
  const registry = new Registry();
  const counters = new Map<string, Counter>();
  const gauges = new Map<string, Gauge>();
  const histograms = new Map<string, Histogram>();
  for (const [name, definition] of Object.entries(table)) {
    const instrument = createInstrument(name, definition, registry);
    if (instrument instanceof Counter) counters.set(name, instrument);
    else if (instrument instanceof Gauge) gauges.set(name, instrument);
    else histograms.set(name, instrument);
  }
  const readers = new Set<() => void>();
  return {
    count: (name, labels, by = 1) => counters.get(name)?.inc(labels, by),
    counter(name, labels) {
      let sum = 0;
      readers.add(() => {
        if (sum > 0) counters.get(name)?.inc(labels, sum);
        sum = 0;
      });
      return (by = 1) => {
        sum += by;
      };
    },
    set: (name, labels, value) => gauges.get(name)?.set(labels, value),
    add: (name, labels, by) => gauges.get(name)?.inc(labels, by),
    observe: (name, labels, value) => histograms.get(name)?.observe(labels, value),
    beforeScrape(read) {
      readers.add(read);
      return () => readers.delete(read);
    },
    text() {
      for (const read of readers) read();
      return registry.metrics();
    },
    contentType: registry.contentType,
  };
}
