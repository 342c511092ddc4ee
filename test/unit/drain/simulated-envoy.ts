// One Envoy, one cluster, two endpoints, in simulated time: requests come, wait for connections, run and end; hosts are replaced under
// them, the cluster goes and comes again, streams are cut; load reports and metrics are made each second and arrive late, also in bursts.
// The truth is known, and compared with what is believed. In: a source of chance. Out: each moment at which something arrived.
// Called by belief.test.ts.
import { type Belief, believe } from "../../../src/drain/belief.js";
import { type ClusterGauges, noGauges } from "../../../src/status/left-over.js";
import { Loads } from "../../../src/status/loads.js";
import { type Deed, resource, SimulatedControlPlane } from "./simulated-control-plane.js";

export const node = "edge-1";
const drained = "127.0.0.1:80";
const other = "127.0.0.1:81";
const stepMs = 50;

export interface Plan {
  /** Numbers in [0, 1), as many as are asked for. */
  readonly chance: () => number;
  readonly connectTimeoutMs: number;
  /** Requests per second before the drain, over both endpoints. With 100 there always are some. */
  readonly perSecond: number;
  /** Changes per second that replace hosts, or make the cluster go and come, before the drain. */
  readonly replacedPerSecond: number;
  /** Other endpoints that come or go, per second. */
  readonly churnPerSecond: number;
  /** Nothing that is done is told by a revision: bytes of another release, another history. */
  readonly isUntold: boolean;
  /** Of what is done, this share comes to the Envoy up to 40 s later, though no later than the drain. */
  readonly late: number;
  /** Chance, per second, that the metrics stream is cut, and opened again up to 3 s later. */
  readonly cutsPerSecond: number;
  /** Chance, per second, that metrics alone are up to 4 s late. */
  readonly lagsPerSecond: number;
  /** Chance, per second, that nothing is read for some seconds. */
  readonly stallsPerSecond: number;
  /** Nothing is read for so long from the start. */
  readonly stalledAtFirstMs: number;
  /** How long a request may wait for its connection: longer than the connect timeout where the connections are limited. */
  readonly waitMs: number;
  /** When the cluster comes, ms; 0: it was always there. */
  readonly madeAtMs: number;
  /** The cluster was made after the replica had read everything. */
  readonly isNew: boolean;
  /** How long the process had run when its streams opened; there is old work then. */
  readonly ageMs: number;
  /** Whether the control plane says what it knows. */
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

interface Arrival {
  readonly kind: "loads" | "metrics";
  readonly at: number;
  readonly deliver: (now: number) => void;
}

/** What was believed at one moment, and what was so. */
export interface Moment {
  readonly now: number;
  readonly belief: Belief;
  /** Requests on the drained endpoint, waiting ones and those on replaced hosts among them. */
  readonly truth: number;
  readonly acked: boolean;
}

/** host → how often it was replaced. */
type Incarnations = Map<string, number>;

export class SimulatedEnvoy {
  readonly #controlPlane: SimulatedControlPlane;
  readonly #loads: Loads;
  readonly #loadStream;
  #metricsStream;
  #metricsAgainAt = 0;
  #work: Work[] = [];
  #isThere: boolean;
  /** What is on its way into the Envoy. */
  #coming: { readonly deed: Deed; readonly at: number }[] = [];
  /** What workers have yet to take over: they are later than the main thread, which counts and reports. */
  #replacing: { readonly host: string; readonly at: number }[] = [];
  readonly #main: Incarnations = new Map();
  readonly #workers: Incarnations = new Map();
  readonly #issued = new Map<string, number>();
  #membershipChanges = 1;
  #isFirstFlush = true;
  #queue: Arrival[] = [];
  #stalledUntil: number;
  #laggingUntil = 0;
  #nextReportAt = 1_000;
  #nextSampleAt: number;
  #lastReportAt = 0;

  constructor(private readonly plan: Plan) {
    const identity = { id: node, gateway: "edge", region: "", zone: "", envoyVersion: "" };
    this.#controlPlane = new SimulatedControlPlane(plan.isNew);
    this.#loads = new Loads({
      maxNodes: 1,
      intervalMs: 1_000,
      explains: (name, at) => this.#controlPlane.explains(name, at),
    });
    this.#loadStream = this.#loads.openLoadStream(identity, 0);
    this.#metricsStream = this.#loads.openMetricsStream(identity, 0);
    this.#stalledUntil = plan.stalledAtFirstMs;
    this.#nextSampleAt = 1_000 * plan.chance();
    this.#isThere = plan.madeAtMs === 0;
    if (!this.#isThere) this.#membershipChanges = 0;
    if (!this.#isThere) this.#coming.push({ deed: "cluster-comes", at: plan.madeAtMs });
    if (plan.ageMs > 0 && plan.perSecond > 0 && this.#isThere)
      this.#work.push({ host: drained, incarnation: -1, activeAt: 0, endAt: 40_000 * plan.chance() });
  }

  /** Every moment at which something arrived, or a step was over while nothing stalled. */
  *run(): Generator<Moment> {
    const { chance, drainAtMs, endMs } = this.plan;
    const ackedAt = drainAtMs + 200 * chance();
    for (let now = 0; now < endMs; now += stepMs) {
      this.#live(now);
      this.#report(now);
      if (now >= this.#stalledUntil && this.#happens(this.plan.stallsPerSecond)) this.#stalledUntil = now + 6_000 * chance();
      if (now < this.#stalledUntil) continue;
      this.#controlPlane.read(now);
      for (;;) {
        const [first] = this.#queue;
        if (first && first.at > now) break;
        this.#queue.shift();
        first?.deliver(now);
        yield this.#moment(now, ackedAt);
        if (!first) break;
      }
      this.#cutMetrics(now);
    }
  }

  #happens(perSecond: number): boolean {
    return this.plan.chance() < (perSecond * stepMs) / 1_000;
  }

  #moment(now: number, ackedAt: number): Moment {
    const steady = this.plan.tellsSteady ? this.#controlPlane.steady() : undefined;
    const endpoint = { key: drained, resources: [resource], connectTimeoutMs: this.plan.connectTimeoutMs, steady };
    const acked = now >= ackedAt;
    const belief = believe(acked ? ackedAt : undefined, [endpoint], this.#loads.of(node, now), now);
    return { now, belief, truth: this.#work.filter(({ host }) => host === drained).length, acked };
  }

  #live(now: number): void {
    const isDraining = now >= this.plan.drainAtMs;
    for (const { deed } of this.#coming.filter(({ at }) => at <= now)) this.#do(deed, now);
    this.#coming = this.#coming.filter(({ at }) => at > now);
    for (const { host } of this.#replacing.filter(({ at }) => at <= now)) this.#workers.set(host, this.#main.get(host) ?? 0);
    this.#replacing = this.#replacing.filter(({ at }) => at > now);
    for (const { activeAt, host, incarnation } of this.#work) {
      if (activeAt > now - stepMs && activeAt <= now && this.#isCounted(host, incarnation)) this.#issue(host);
    }
    this.#work = this.#work.filter(({ endAt }) => endAt > now);
    if (this.#isThere) this.#begin(now, isDraining);
    if (isDraining) return;
    if (this.#happens(this.plan.replacedPerSecond)) this.#change(now);
    if (this.#happens(this.plan.churnPerSecond)) this.#write("others-come-or-go", now);
  }

  #begin(now: number, isDraining: boolean): void {
    const { chance, perSecond, waitMs } = this.plan;
    const wanted = (perSecond * stepMs) / 1_000;
    const begins = Math.floor(wanted) + (chance() < wanted % 1 ? 1 : 0);
    for (let count = 0; count < begins; count++) {
      const host = isDraining || chance() < 0.5 ? other : drained;
      const activeAt = now + (chance() < 0.2 ? waitMs * chance() : 0);
      const lastsMs = chance() < 0.1 ? 12_000 * chance() : 150 * chance();
      const incarnation = this.#workers.get(host) ?? 0;
      this.#work.push({ host, incarnation, activeAt, endAt: activeAt + lastsMs });
      if (activeAt === now && this.#isCounted(host, incarnation)) this.#issue(host);
    }
  }

  #isCounted(host: string, incarnation: number): boolean {
    return this.#isThere && incarnation === (this.#main.get(host) ?? 0);
  }
  #issue(host: string): void {
    this.#issued.set(host, (this.#issued.get(host) ?? 0) + 1);
  }

  #change(now: number): void {
    const deeds = ["all-replaced", "drained-replaced", "other-replaced"] as const;
    const { chance, isUntold, late } = this.plan;
    // An Envoy does not tell that a cluster goes: that, a revision must.
    if (chance() < 0.8 || isUntold || late > 0) return this.#write(deeds[Math.floor(3 * chance())] ?? "all-replaced", now);
    this.#write("cluster-goes", now);
    this.#write("cluster-comes", now + 5_000 * chance());
  }

  /** The replica reads it within a second, the Envoy has it at about the same time, or much later. */
  #write(deed: Deed, now: number): void {
    const { chance, drainAtMs, late, isUntold } = this.plan;
    if (!isUntold) this.#controlPlane.write(deed, now + 1_000 * chance());
    const at = now + (chance() < late ? 40_000 : 1_000) * chance();
    this.#coming.push({ deed, at: chance() < 0.5 ? Math.min(at, Math.max(now, drainAtMs - 1)) : at });
  }

  #do(deed: Deed, now: number): void {
    if (deed === "cluster-goes") {
      if (this.#isThere) this.#replace([drained, other], now, 0);
      this.#isThere = false;
    } else if (deed === "cluster-comes") {
      if (!this.#isThere) this.#membershipChanges += 1;
      this.#isThere = true;
    } else if (this.#isThere) {
      this.#membershipChanges += 1;
      if (deed === "all-replaced") this.#replace([drained, other], now);
      if (deed === "drained-replaced") this.#replace([drained], now);
      if (deed === "other-replaced") this.#replace([other], now);
    }
  }

  #replace(hosts: readonly string[], now: number, withinMs = 1_000): void {
    for (const host of hosts) {
      this.#main.set(host, (this.#main.get(host) ?? 0) + 1);
      this.#issued.delete(host);
      this.#replacing.push({ host, at: now + withinMs * this.plan.chance() });
    }
  }

  #report(now: number): void {
    const { chance } = this.plan;
    const delay = (): number => now + 30 * chance();
    const active = this.#work.filter(({ activeAt }) => activeAt <= now);
    if (now >= this.#nextReportAt) {
      const endpoints = [drained, other].map((host) => {
        const inFlight = active.filter((work) => work.host === host && this.#isCounted(host, work.incarnation)).length;
        return [host, { inFlight, issued: this.#issued.get(host) ?? 0 }] as const;
      });
      this.#issued.clear();
      const report = { intervalMs: now - this.#lastReportAt, clusters: new Map([[resource, new Map(endpoints)]]) };
      this.#lastReportAt = now;
      this.#nextReportAt = now + 1_000;
      this.#send("loads", delay(), (at) => this.#loadStream?.received(report, at));
    }
    if (this.#happens(this.plan.lagsPerSecond)) this.#laggingUntil = now + 4_000 * chance();
    if (now >= this.#nextSampleAt) this.#sample(now, active.length, delay());
  }

  /** What no stream is open for is lost, and the counter of changes begins anew. */
  #sample(now: number, requests: number, at: number): void {
    const pending = this.#work.length - requests;
    const gauges = { connections: this.#work.length, requests, pending, membershipChanges: this.#membershipChanges };
    this.#membershipChanges = 0;
    const isFirstOfProcess = this.#isFirstFlush && this.plan.ageMs === 0;
    this.#isFirstFlush = false;
    this.#nextSampleAt = now + 1_000;
    const clusters = new Map<string, ClusterGauges>([["chancery", noGauges]]);
    if (this.#isThere || this.#work.length > 0) clusters.set(resource, gauges);
    const uptimeMs = Math.floor((now + this.plan.ageMs) / 1_000) * 1_000;
    const stream = this.#metricsStream;
    this.#send("metrics", Math.max(at, this.#laggingUntil), (received) =>
      stream?.received({ stampMs: now, clusters, uptimeMs, isFirstOfProcess, answers: 0, errors: 0 }, received),
    );
  }

  #cutMetrics(now: number): void {
    if (this.#metricsStream && this.#happens(this.plan.cutsPerSecond)) {
      this.#metricsStream.close();
      this.#metricsStream = undefined;
      this.#metricsAgainAt = now + 3_000 * this.plan.chance();
    }
    if (this.#metricsStream || now < this.#metricsAgainAt) return;
    const identity = { id: node, gateway: "edge", region: "", zone: "", envoyVersion: "" };
    this.#metricsStream = this.#loads.openMetricsStream(identity, now);
  }

  /** In order, as on a connection; each kind has one of its own. */
  #send(kind: Arrival["kind"], at: number, deliver: (now: number) => void): void {
    const last = this.#queue.findLast((arrival) => arrival.kind === kind)?.at ?? 0;
    this.#queue.push({ kind, at: Math.max(at, last), deliver });
    this.#queue.sort((one, other) => one.at - other.at);
  }
}
