// One Envoy's stream of load reports: the newest two reports, and when they were made. Pure. Owned by: loads.ts.
import { ReportClock } from "./report-clock.js";

/** One endpoint in one report: what is under way now, and what began in the interval. */
export interface EndpointLoad {
  readonly inFlight: number;
  readonly issued: number;
}

/** One message as it came. */
export interface LoadReport {
  /** Envoy's time since the report before; undefined when it names no cluster. */
  readonly intervalMs: number | undefined;
  /** cluster → address key → load. Only endpoints with a number above 0, and only clusters with such. */
  readonly clusters: ReadonlyMap<string, ReadonlyMap<string, EndpointLoad>>;
}

/** A report and its time: `beganAt` to `madeAt` is its interval. ms, this replica's clock. */
export interface TimedReport extends LoadReport {
  readonly beganAt: number;
  /** When the Envoy made it; not later than `receivedAt`. */
  readonly madeAt: number;
  readonly receivedAt: number;
}

export class LoadStream {
  readonly #clock: ReportClock;
  #receivedAt: number;
  #reports: readonly TimedReport[] = [];

  constructor(
    readonly openedAt: number,
    /** What was asked for: taken where a report does not say. */
    private readonly intervalMs: number,
  ) {
    this.#receivedAt = openedAt;
    this.#clock = new ReportClock(openedAt);
  }

  /** The newest two, the older first. Fewer after it was opened, or while it is not known when they were made. */
  get reports(): readonly TimedReport[] {
    return this.#reports;
  }
  get receivedAt(): number {
    return this.#receivedAt;
  }

  /** Returns it with its time; undefined when that is not known. */
  received(report: LoadReport, receivedAt: number): TimedReport | undefined {
    const intervalMs = report.intervalMs ?? this.intervalMs;
    const madeAt = this.#clock.received(intervalMs, receivedAt);
    this.#receivedAt = receivedAt;
    if (madeAt === undefined) return undefined;
    const timed = { ...report, beganAt: madeAt - intervalMs, madeAt, receivedAt };
    this.#reports = [...this.#reports, timed].slice(-2);
    return timed;
  }
}

/** What was under way in the cluster during the whole interval, at least: what is now, without what began in it. */
export function steadyIn(endpoints: ReadonlyMap<string, EndpointLoad> | undefined): number {
  let steady = 0;
  for (const { inFlight, issued } of endpoints?.values() ?? []) steady += Math.max(0, inFlight - issued);
  return steady;
}
