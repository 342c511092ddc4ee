// What this replica's Envoys have to say of open drains, on its way into the database: who has the revision, what is in flight.
// In: nodes with a configuration stream here, nodes with report streams here (which may be others). Out: rows of `drain_nodes`; and
// the pace of load reports. Never decides anything: the jobs do, from the rows of all replicas. Built by app.ts, on every replica.
// Clocks of replicas are not compared: an ack is as old as the database says at the moment of reading, which is an upper bound here.
import type { FleetNode } from "../status/fleet-node.js";
import type { GaugeSums, Loads, NodeLoad } from "../status/loads.js";
import type { DrainAck, DrainGauges, DrainLoad, DrainRowStore, SharedGauges, Store, WatchedDrain } from "../store/store.js";
import type { Clock } from "../telemetry/clock.js";
import { failureFacts, type Logger } from "../telemetry/logger.js";
import { believe, type DrainedEndpoint, steadiness } from "./belief.js";
import type { Replacements } from "./replacements.js";

/** What the watch is told of the other rooms. */
export interface DrainWatchOptions {
  readonly replica: string;
  readonly store: DrainRowStore;
  readonly loads: Loads;
  readonly nodes: () => Iterable<Pick<FleetNode, "id" | "gateway" | "hasEndpointsOf">>;
  /** Cluster resources that have a cluster's endpoints: itself, and those of TCP routes that name it; with `route`, that one's alone. */
  readonly resourcesOf: (cluster: string, route?: string) => readonly string[];
  /** What is known of replaced hosts; it is told how drains ended. Undefined: nothing. */
  readonly replacements?: Pick<Replacements, "steady" | "undecided" | "decide">;
  /** Whether there are drains; while there are none, the database is not asked. */
  readonly work: Pick<Store["work"], "mayBe" | "onCame">;
  /** How often Envoys report their load. */
  readonly setPace: (pace: "idle" | "drain") => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Between two looks into the database: while no drain is open, and while one is. */
const idlePollMs = 1_000;
const pollMs = 250;
/** Reports that come within this are written together. */
const gatherMs = 100;

/** One drain, as this replica follows it. */
interface Followed {
  readonly drain: WatchedDrain;
  readonly gateways: ReadonlySet<string>;
  readonly resources: readonly string[];
  /** node → when it was known to have the drain's revision, by this replica's clock. */
  readonly acked: Map<string, number>;
  /** node → what was written last. */
  readonly written: Map<string, Judged>;
}

/** A row, and when the report came that it tells. */
interface Judged {
  readonly row: DrainLoad;
  readonly receivedAt: number;
}

export class DrainWatch {
  readonly #drains = new Map<string, Followed>();
  /** Nodes that reported since the last write. */
  readonly #reported = new Set<string>();
  readonly #unfollow: (() => void)[];
  #stopPoll: (() => void) | undefined;
  #stopGather: (() => void) | undefined;
  /** One at a time. */
  #working: Promise<void> | undefined;
  #nextPollAt = 0;
  #isHinted = false;
  #failures = 0;
  #closed = false;

  constructor(private readonly options: DrainWatchOptions) {
    this.#unfollow = [options.loads.onReport((node) => this.#onReport(node)), options.work.onCame("drains", () => this.hint())];
  }

  start(): void {
    this.#schedule();
  }

  /** A drain may have begun or ended: looks at once. */
  hint(): void {
    this.#nextPollAt = 0;
    this.#isHinted = true;
    this.#schedule();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const unfollow of this.#unfollow) unfollow();
    this.#stopPoll?.();
    this.#stopGather?.();
    await this.#working;
  }

  // ---- When ----------------------------------------------------------------------------------------------------------

  /** What is under way ends with this. */
  #schedule(): void {
    if (this.#closed || this.#working) return;
    const { clock } = this.options;
    this.#stopPoll?.();
    this.#stopPoll = clock.after(Math.max(0, this.#nextPollAt - clock.now()), () => this.#work(() => this.#poll()));
  }

  #onReport(node: string): void {
    if (this.#drains.size === 0 || this.#closed) return;
    this.#reported.add(node);
    this.#stopGather ??= this.options.clock.after(gatherMs, () => {
      this.#stopGather = undefined;
      this.#work(() => this.#saveReports()); // Or the poll that is under way does.
    });
  }

  #work(task: () => Promise<void>): void {
    if (this.#working || this.#closed) return;
    const { log } = this.options;
    this.#working = task()
      .then(
        () => {
          if (this.#failures > 0) log.info({}, "what Envoys say of drains is written to the database again");
          this.#failures = 0;
        },
        (error: unknown) => {
          if (this.#failures === 0)
            log.warn(failureFacts(error), "what Envoys say of drains can't be written to the database; tried again");
          this.#failures += 1;
        },
      )
      .finally(() => {
        this.#working = undefined;
        this.#schedule();
      });
  }

  // ---- What ----------------------------------------------------------------------------------------------------------

  async #poll(): Promise<void> {
    const { clock, setPace, store, work } = this.options;
    const isAsked = this.#isHinted || this.#drains.size > 0 || work.mayBe("drains");
    this.#isHinted = false;
    this.#nextPollAt = clock.now() + (this.#drains.size > 0 ? pollMs : idlePollMs);
    this.#follow(isAsked ? await store.watched() : []);
    await this.#decide();
    setPace(this.#drains.size > 0 ? "drain" : "idle");
    if (this.#drains.size === 0) return;
    this.#nextPollAt = Math.min(this.#nextPollAt, clock.now() + pollMs);
    await this.#saveAcks();
    const ids = [...this.#drains.keys()];
    const acks = await store.acks(ids);
    const answeredAt = clock.now();
    for (const { drain, node, ackedAgoMs } of acks) {
      const acked = this.#drains.get(drain)?.acked;
      if (acked && !acked.has(node)) acked.set(node, answeredAt - ackedAgoMs);
    }
    await this.#readGauges(ids);
    for (const node of this.options.loads.nodes()) this.#reported.add(node);
    await this.#saveReports();
  }

  /** Whatever replica had the last word on a drain: how it ended is in the database. */
  async #decide(): Promise<void> {
    const { replacements, store } = this.options;
    const undecided = replacements?.undecided() ?? [];
    if (undecided.length === 0) return;
    for (const { drain, isSettled } of await store.endings(undecided)) replacements?.decide(drain, isSettled);
  }

  #follow(drains: readonly WatchedDrain[]): void {
    const open = new Set(drains.map(({ id }) => id));
    for (const id of this.#drains.keys()) if (!open.has(id)) this.#drains.delete(id);
    for (const drain of drains) {
      const known = this.#drains.get(drain.id);
      // Routes may change while it lasts; a revision that was not committed yet when it was first read comes later.
      const resources = [...new Set(drain.endpoints.flatMap(({ cluster, route }) => this.options.resourcesOf(cluster, route)))];
      this.#drains.set(drain.id, {
        drain,
        gateways: new Set(drain.gateways),
        resources,
        acked: known?.acked ?? new Map(),
        written: known?.written ?? new Map(),
      });
    }
    if (this.#drains.size === 0) this.#reported.clear();
  }

  async #saveAcks(): Promise<void> {
    const { nodes, replica, store } = this.options;
    const rows: DrainAck[] = [];
    for (const node of nodes()) {
      for (const { acked, drain, gateways, resources } of this.#drains.values()) {
        if (!gateways.has(node.gateway) || acked.has(node.id)) continue;
        if (node.hasEndpointsOf(resources, drain.revision)) rows.push({ drain: drain.id, node: node.id, gateway: node.gateway });
      }
    }
    if (rows.length > 0) await store.saveAcks(replica, rows);
  }

  /** Metrics of nodes whose load reports are here and whose metrics are not. */
  async #readGauges(ids: readonly string[]): Promise<void> {
    const { clock, loads, store } = this.options;
    const askedAt = clock.now();
    const isAlone = (id: string): boolean => {
      const load = loads.of(id, askedAt);
      return load !== undefined && load.loadStreams.length > 0 && !load.hasOwnGauges;
    };
    if (![...loads.nodes()].some(isAlone)) return;
    const found = new Map<string, { at: number; readonly clusters: Map<string, RemoteCluster> }>();
    const rows = await store.gauges(ids);
    const answeredAt = clock.now();
    for (const { node, gauges, sampledAgoMs } of rows) {
      if (!isAlone(node)) continue;
      const entry = found.get(node) ?? { at: Number.POSITIVE_INFINITY, clusters: new Map<string, RemoteCluster>() };
      found.set(node, entry);
      for (const [resource, shared] of Object.entries(gauges)) {
        // Not later than they were in fact: the age was true at some moment after the question. And not earlier, where that is safe.
        entry.at = Math.min(entry.at, askedAt - sampledAgoMs - (shared.agoMs ?? 0));
        const remote = toRemote(shared, answeredAt - sampledAgoMs);
        entry.clusters.set(resource, worse(entry.clusters.get(resource), remote));
      }
    }
    for (const [node, gauges] of found) loads.remoteGauges(node, gauges);
  }

  async #saveReports(): Promise<void> {
    const { clock, loads, replica, store } = this.options;
    const now = clock.now();
    const judged: Judged[] = [];
    const shared: DrainGauges[] = [];
    const reported = [...this.#reported];
    this.#reported.clear();
    for (const id of reported) {
      const load = loads.of(id, now);
      if (!load) continue;
      for (const followed of this.#drains.values()) {
        if (!followed.gateways.has(load.gateway)) continue;
        if (load.loadStreams.length > 0) judged.push(...this.#judge(followed, load, now));
        else if (load.gaugesAt !== undefined) shared.push(this.#share(followed, load, load.gaugesAt, now));
      }
    }
    if (judged.length > 0)
      await store.saveLoads(
        replica,
        judged.map(({ row }) => row),
      );
    for (const { row, receivedAt } of judged) this.#drains.get(row.drain)?.written.set(row.node, { row, receivedAt });
    if (shared.length > 0) await store.saveGauges(replica, shared);
  }

  /** Nothing for a node that is silent, or whose last report was written: an old verdict must not look fresh. */
  #judge(followed: Followed, load: NodeLoad, now: number): Judged[] {
    const { acked, drain, written } = followed;
    const { verdict, inFlight, unattributed } = believe(acked.get(load.node), this.#endpointsOf(drain), load, now);
    if (verdict === "silent") return [];
    const last = written.get(load.node);
    // Of several streams, the one that reported longest ago.
    const receivedAt = Math.min(...load.loadStreams.map((stream) => stream.receivedAt));
    const isNew = receivedAt > (last?.receivedAt ?? Number.NEGATIVE_INFINITY);
    // Metrics may settle what the last report left open.
    if (!isNew && (verdict === "settling" || verdict === last?.row.verdict)) return [];
    return [{ row: { drain: drain.id, node: load.node, gateway: load.gateway, verdict, inFlight, unattributed }, receivedAt }];
  }

  #endpointsOf({ endpoints }: WatchedDrain): readonly DrainedEndpoint[] {
    const { replacements, resourcesOf } = this.options;
    return endpoints.map(({ cluster, endpoint, connectTimeoutMs, route }) => ({
      key: endpoint,
      resources: resourcesOf(cluster, route),
      connectTimeoutMs,
      steady: replacements?.steady(cluster, endpoint),
    }));
  }

  /** For the replica that has the node's load reports. */
  #share({ drain, resources }: Followed, load: NodeLoad, gaugesAt: number, now: number): DrainGauges {
    const known = steadiness(this.#endpointsOf(drain));
    const gauges: Record<string, SharedGauges> = {};
    for (const resource of resources) {
      const { requests, pending } = load.gaugesOf(resource);
      const least = load.leftOver(resource, known.get(resource)) ?? requests + pending;
      const unexplainedAgoMs = now - load.unexplainedAt(resource);
      const agoMs = Math.max(0, now - gaugesAt);
      gauges[resource] = { requests, pending, least, agoMs, ...(Number.isFinite(unexplainedAgoMs) && { unexplainedAgoMs }) };
    }
    return { drain: drain.id, node: load.node, gateway: load.gateway, gauges };
  }
}

type RemoteCluster = GaugeSums & { readonly least: number; readonly unexplainedAt: number };

/** `writtenAt`: not earlier than it was. */
function toRemote({ requests, pending, least, unexplainedAgoMs }: SharedGauges, writtenAt: number): RemoteCluster {
  const unexplainedAt = unexplainedAgoMs === undefined ? Number.NEGATIVE_INFINITY : writtenAt - unexplainedAgoMs;
  return { connections: 0, requests, pending, least, unexplainedAt };
}

/** Of one cluster in several drains: the more of both, as each drain has endpoints of its own. */
function worse(one: RemoteCluster | undefined, other: RemoteCluster): RemoteCluster {
  if (!one) return other;
  const unexplainedAt = Math.max(one.unexplainedAt, other.unexplainedAt);
  return { ...other, least: Math.max(one.least, other.least), unexplainedAt };
}
