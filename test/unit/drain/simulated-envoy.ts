// One Envoy, one cluster, two endpoints, in simulated time: requests come, wait for connections, run and end; hosts are replaced under
// them; load reports and metrics are made each second and arrive late, also in bursts. The truth is known, and compared with what is
// believed. In: a source of chance. Out: each moment at which something arrived. Called by belief.test.ts.
import { type Belief, believe } from "../../../src/drain/belief.js";
import { Loads } from "../../../src/status/loads.js";

export const node = "edge-1";
const drained = "10.0.0.1:80";
const other = "10.0.0.2:80";
const resource = "app";
const stepMs = 50;

export interface Plan {
  /** Numbers in [0, 1), as many as are asked for. */
  readonly chance: () => number;
  readonly connectTimeoutMs: number;
  /** Requests per second before the drain, over both endpoints. */
  readonly perSecond: number;
  /** Replacements of hosts per second, before the drain. */
  readonly replacedPerSecond: number;
  /** Chance, per second, that nothing is read for some seconds. */
  readonly stallsPerSecond: number;
  /** Nothing is read for so long from the start. */
  readonly stalledAtFirstMs: number;
  /** How long a request may wait for its connection: longer than the connect timeout where the connections are limited. */
  readonly waitMs: number;
  /** Whether the control plane says since when the drained host was not replaced. */
  readonly tellsSteady: boolean;
  readonly drainAtMs: number;
  readonly endMs: number;
}

interface Work {
  readonly host: string;
  readonly incarnation: number;
  activeAt: number;
  endAt: number;
}

type Arrival = { readonly at: number; readonly deliver: (now: number) => void };

/** What was believed at one moment, and what was so. */
export interface Moment {
  readonly now: number;
  readonly belief: Belief;
  /** Requests on the drained endpoint, waiting ones and those on replaced hosts among them. */
  readonly truth: number;
  readonly acked: boolean;
}

export class SimulatedEnvoy {
  readonly #loads = new Loads({ maxNodes: 1, intervalMs: 1_000 });
  readonly #loadStream;
  readonly #metricsStream;
  #work: Work[] = [];
  /** What workers have yet to take over: they are later than the main thread, which counts. */
  #replacing: { readonly host: string; readonly at: number }[] = [];
  readonly #incarnations = new Map([
    [drained, 0],
    [other, 0],
  ]);
  readonly #issued = new Map<string, number>();
  #membershipChanged = false;
  #drainedReplacedAt = 0;
  #queue: Arrival[] = [];
  #stalledUntil = 0;
  #nextReportAt: number;
  #nextSampleAt: number;
  #lastReportAt = 0;

  constructor(private readonly plan: Plan) {
    const identity = { id: node, gateway: "edge", region: "", zone: "", envoyVersion: "" };
    this.#loadStream = this.#loads.openLoadStream(identity, 0);
    this.#metricsStream = this.#loads.openMetricsStream(identity, 0);
    this.#stalledUntil = plan.stalledAtFirstMs;
    this.#nextReportAt = 1_000;
    this.#nextSampleAt = 1_000 * plan.chance();
  }

  /** Every moment at which something arrived, or a step was over while nothing stalled. */
  *run(): Generator<Moment> {
    const { chance, drainAtMs, endMs, stallsPerSecond } = this.plan;
    const ackedAt = drainAtMs + 200 * chance();
    for (let now = 0; now < endMs; now += stepMs) {
      this.#live(now);
      this.#report(now);
      if (now >= this.#stalledUntil && chance() < (stallsPerSecond * stepMs) / 1_000) this.#stalledUntil = now + 6_000 * chance();
      if (now < this.#stalledUntil) continue;
      for (;;) {
        const [first] = this.#queue;
        if (first && first.at > now) break;
        this.#queue.shift();
        first?.deliver(now);
        yield this.#moment(now, ackedAt);
        if (!first) break;
      }
    }
  }

  #moment(now: number, ackedAt: number): Moment {
    const steadySince = this.plan.tellsSteady ? this.#drainedReplacedAt : undefined;
    const endpoint = { key: drained, resources: [resource], connectTimeoutMs: this.plan.connectTimeoutMs, steadySince };
    const acked = now >= ackedAt;
    const belief = believe(acked ? ackedAt : undefined, [endpoint], this.#loads.of(node, now), now);
    return { now, belief, truth: this.#work.filter(({ host }) => host === drained).length, acked };
  }

  #live(now: number): void {
    const { chance, drainAtMs, perSecond, replacedPerSecond } = this.plan;
    for (const { host } of this.#replacing.filter(({ at }) => at <= now)) {
      this.#incarnations.set(host, (this.#incarnations.get(host) ?? 0) + 1);
      this.#issued.delete(host);
    }
    this.#replacing = this.#replacing.filter(({ at }) => at > now);
    for (const work of this.#work) {
      if (work.activeAt > now - stepMs && work.activeAt <= now && work.incarnation === this.#incarnations.get(work.host))
        this.#issued.set(work.host, (this.#issued.get(work.host) ?? 0) + 1);
    }
    this.#work = this.#work.filter(({ endAt }) => endAt > now);
    const isDraining = now >= drainAtMs;
    const wanted = (perSecond * stepMs) / 1_000;
    const begins = Math.floor(wanted) + (chance() < wanted % 1 ? 1 : 0);
    for (let count = 0; count < begins; count++) {
      const host = isDraining || chance() < 0.5 ? other : drained;
      const waitMs = chance() < 0.2 ? this.plan.waitMs * chance() : 0;
      const lastsMs = chance() < 0.1 ? 12_000 * chance() : 150 * chance();
      const activeAt = now + waitMs;
      this.#work.push({ host, incarnation: this.#incarnations.get(host) ?? 0, activeAt, endAt: activeAt + lastsMs });
      if (waitMs === 0) this.#issued.set(host, (this.#issued.get(host) ?? 0) + 1);
    }
    if (!isDraining && chance() < (replacedPerSecond * stepMs) / 1_000) this.#replace(now);
  }

  #replace(now: number): void {
    const both = this.plan.chance() < 0.5;
    for (const host of both ? [drained, other] : [this.plan.chance() < 0.5 ? drained : other]) {
      this.#replacing.push({ host, at: now + 1_000 * this.plan.chance() });
      // The control plane wrote it some time before.
      if (host === drained) this.#drainedReplacedAt = now - 1_000 * this.plan.chance();
    }
    this.#membershipChanged = true;
  }

  #report(now: number): void {
    const { chance } = this.plan;
    const delay = (): number => now + 30 * chance();
    const active = this.#work.filter(({ activeAt }) => activeAt <= now);
    if (now >= this.#nextReportAt) {
      const endpoints = [drained, other].map((host) => {
        const inFlight = active.filter((work) => work.host === host && work.incarnation === this.#incarnations.get(host)).length;
        return [host, { inFlight, issued: this.#issued.get(host) ?? 0 }] as const;
      });
      this.#issued.clear();
      const report = { intervalMs: now - this.#lastReportAt, clusters: new Map([[resource, new Map(endpoints)]]) };
      this.#lastReportAt = now;
      this.#nextReportAt = now + 1_000;
      this.#send(delay(), (at) => this.#loadStream?.received(report, at));
    }
    if (now >= this.#nextSampleAt) {
      const gauges = {
        connections: this.#work.length,
        requests: active.length,
        pending: this.#work.length - active.length,
        membershipChanged: this.#membershipChanged,
      };
      this.#membershipChanged = false;
      this.#nextSampleAt = now + 1_000;
      const sample = { stampMs: now, clusters: new Map([[resource, gauges]]), answers: 0, errors: 0 };
      this.#send(delay(), (at) => this.#metricsStream?.received(sample, at));
    }
  }

  /** In order, as on a connection. */
  #send(at: number, deliver: (now: number) => void): void {
    this.#queue.push({ at: Math.max(at, this.#queue.at(-1)?.at ?? 0), deliver });
  }
}
