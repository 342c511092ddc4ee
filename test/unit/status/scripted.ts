// Stand-ins for what status/ talks to: a clock moved by hand, a store in memory (its leases on that clock), streams that say what
// the test tells them to, and a feed of revisions. Called by the tests of this folder.
import type { NodeIdentity, ResourceException, StreamKind } from "../../../src/model/node.js";
import { type ResourceType, resourceTypes } from "../../../src/model/resource-type.js";
import type { Revision } from "../../../src/model/revision.js";
import { Fleet, type FleetOptions } from "../../../src/status/fleet.js";
import type { NodeReport, RevisionChanges } from "../../../src/status/node-report.js";
import type { NodeFilter, NodeRow, ReplicaBeat, ReplicaLoad, StatusStore, SyncRow } from "../../../src/store/status-store.js";
import type { Clock } from "../../../src/telemetry/clock.js";
import { createLogger } from "../../../src/telemetry/logger.js";
import { createMetrics } from "../../../src/telemetry/metrics.js";

/** Lets everything that is ready run: promises, and what they lead to. */
async function settle(): Promise<void> {
  for (let round = 0; round < 5; round++) await new Promise((resolve) => setImmediate(resolve));
}

export class ManualClock implements Clock {
  #now = 1_700_000_000_000;
  #timers: { readonly at: number; readonly task: () => void }[] = [];

  now(): number {
    return this.#now;
  }
  after(delayMs: number, task: () => void): () => void {
    const timer = { at: this.#now + delayMs, task };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }
  get timers(): number {
    return this.#timers.length;
  }
  /** Moves on, timer by timer, letting promises run after each. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await settle();
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0];
      if (!next) break;
      this.#timers = this.#timers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.at);
      next.task();
      await settle();
    }
    this.#now = until;
  }
}

/** The status tables, in memory. `down`: every call fails. */
export class MemoryStore implements StatusStore {
  down = false;
  /** Calls by name. */
  readonly calls = {
    heartbeat: 0,
    liveReplicas: 0,
    saveNodes: 0,
    saveSync: 0,
    readSync: 0,
    nodes: 0,
    countNodes: 0,
    removeReplica: 0,
  };
  /** Rows given to saveNodes and saveSync. */
  rowsWritten = 0;
  readonly replicas = new Map<string, { revision: Revision; nodes: number; until: number }>();
  readonly syncRows = new Map<string, SyncRow>();
  readonly nodeRows = new Map<string, NodeRow>();
  readonly hints = new Set<() => void>();
  /** The order in which things were written, for those that matter. */
  readonly journal: string[] = [];

  constructor(private readonly clock: Clock) {}

  #called(name: keyof MemoryStore["calls"]): void {
    this.calls[name] += 1;
    if (this.down) throw new Error("connection refused");
  }
  #isLive(replica: string): boolean {
    return (this.replicas.get(replica)?.until ?? 0) > this.clock.now();
  }
  async heartbeat(beat: ReplicaBeat): Promise<ReplicaLoad[]> {
    this.#called("heartbeat");
    return this.#beat(beat);
  }
  #beat({ id, revision, leaseMs, nodes = 0 }: ReplicaBeat): ReplicaLoad[] {
    this.replicas.set(id, { revision, nodes, until: this.clock.now() + leaseMs });
    this.journal.push(`beat ${id} ${revision}`);
    return [...this.replicas].filter(([one]) => this.#isLive(one)).map(([one, load]) => ({ id: one, nodes: load.nodes }));
  }
  async liveReplicas(): Promise<{ id: string; revision: Revision }[]> {
    this.#called("liveReplicas");
    return [...this.replicas].filter(([id]) => this.#isLive(id)).map(([id, { revision }]) => ({ id, revision }));
  }
  async saveNodes(replica: string, nodes: readonly NodeRow[], removed: readonly string[]): Promise<void> {
    this.#called("saveNodes");
    this.rowsWritten += nodes.length + removed.length;
    for (const node of nodes) {
      const stored = this.nodeRows.get(node.id);
      if (!stored || stored.replica === replica || stored.since < node.since || !this.#isLive(stored.replica))
        this.nodeRows.set(node.id, node);
    }
    for (const id of removed) if (this.nodeRows.get(id)?.replica === replica) this.nodeRows.delete(id);
  }
  async saveSync(replica: string, rows: readonly SyncRow[], beat?: ReplicaBeat): Promise<void> {
    this.#called("saveSync");
    this.rowsWritten += rows.length;
    for (const row of rows) {
      this.syncRows.set(`${replica} ${row.gateway} ${row.revision}`, row);
      this.journal.push(`sync ${replica} ${row.gateway} ${row.revision}`);
    }
    if (beat) this.#beat(beat);
    for (const hint of this.hints) hint();
  }
  async readSync(revision: Revision): Promise<SyncRow[]> {
    this.#called("readSync");
    return [...this.syncRows.values()].filter((row) => row.revision === revision && this.#isLive(row.replica));
  }
  async nodes({ id, gateway, after = "", limit = 1_000 }: NodeFilter = {}): Promise<NodeRow[]> {
    this.#called("nodes");
    return [...this.nodeRows.values()]
      .filter(
        (row) => (id === undefined || row.id === id) && (gateway === undefined || row.gateway === gateway) && row.id > after,
      )
      .map((row) => ({ ...row, connected: row.connected && this.#isLive(row.replica) }))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
      .slice(0, limit);
  }
  async countNodes(gateways: readonly string[], except: string): Promise<ReadonlyMap<string, number>> {
    this.#called("countNodes");
    const counts = new Map<string, number>();
    for (const { gateway, replica, connected } of this.nodeRows.values())
      if (gateways.includes(gateway) && replica !== except && connected && this.#isLive(replica))
        counts.set(gateway, (counts.get(gateway) ?? 0) + 1);
    return counts;
  }
  async removeReplica(id: string): Promise<void> {
    this.#called("removeReplica");
    this.replicas.delete(id);
    for (const [key, row] of this.syncRows) if (row.replica === id) this.syncRows.delete(key);
    for (const [key, row] of this.nodeRows) if (row.replica === id) this.nodeRows.delete(key);
  }
}

let ordinals = 0;

export interface StreamOptions {
  readonly gateway?: string;
  readonly kind?: StreamKind;
  readonly types?: readonly ResourceType[];
  readonly openedAt?: number;
}

/** A stream that says what the test made it say. */
export class ScriptedStream implements NodeReport {
  readonly node: NodeIdentity;
  readonly view: string;
  readonly kind: StreamKind;
  readonly openedAt: number;
  readonly ordinal = ++ordinals;
  types: Set<ResourceType>;
  readonly acked: Record<ResourceType, Revision> = { cluster: 0, endpoint: 0, listener: 0, route: 0 };
  faults: ResourceException[] = [];

  constructor(
    readonly fleet: Fleet,
    id: string,
    options: StreamOptions,
  ) {
    this.node = { id, gateway: options.gateway ?? "edge", region: "", zone: "", envoyVersion: "1.40.0" };
    this.view = this.node.gateway;
    this.kind = options.kind ?? "ads-delta";
    this.openedAt = options.openedAt ?? 0;
    this.types = new Set(options.types ?? resourceTypes);
  }
  subscribes(type: ResourceType): boolean {
    return this.types.has(type);
  }
  ackedRevision(type: ResourceType): Revision {
    return this.acked[type];
  }
  isUnsettled(): boolean {
    return this.faults.length > 0;
  }
  exceptions(): Iterable<ResourceException> {
    return this.faults;
  }
  /** Acks everything of these types (all, unless told) up to a revision. */
  ack(revision: Revision, ...types: ResourceType[]): void {
    for (const type of types.length > 0 ? types : resourceTypes) this.acked[type] = revision;
    this.fleet.answered(this);
  }
  /** Has answered up to a revision, and does not have one resource of it. */
  lacks(revision: Revision, type: ResourceType, name: string, more: Partial<ResourceException> = {}): void {
    this.faults.push({ type, name, parts: undefined, kind: "refused", revision, detail: "Envoy's own words", at: 0, ...more });
    this.ack(revision);
  }
  /** Says anew what it lacks, without acking anything. */
  say(faults: readonly ResourceException[]): void {
    this.faults = [...faults];
    this.fleet.answered(this);
  }
  close(): void {
    this.fleet.closed(this);
  }
}

/** What revisions change: `cluster/a`, or `route/web:r1,r2` with parts, for gateways (edge, unless told). */
export class ScriptedFeed {
  readonly #changes = new Map<string, Map<ResourceType, Map<string, readonly string[] | undefined>>>();
  lookups = 0;

  revision(revision: Revision, names: readonly string[], gateway = "edge"): void {
    const changes = new Map<ResourceType, Map<string, readonly string[] | undefined>>();
    for (const entry of names) {
      const [path = "", parts] = entry.split(":");
      const type = resourceTypes.find((known) => path.startsWith(`${known}/`));
      if (!type) throw new Error(`no type: ${entry}`);
      const ofType = changes.get(type) ?? new Map<string, readonly string[] | undefined>();
      changes.set(type, ofType.set(path.slice(type.length + 1), parts?.split(",")));
    }
    this.#changes.set(`${gateway} ${revision}`, changes);
  }
  readonly changedBy = (gateway: string, revision: Revision): RevisionChanges => {
    this.lookups += 1;
    return this.#changes.get(`${gateway} ${revision}`) ?? new Map();
  };
}

export interface World {
  readonly clock: ManualClock;
  readonly store: MemoryStore;
  readonly feed: ScriptedFeed;
  /** A replica that has loaded revision 10. */
  replica(id: string, options?: Partial<FleetOptions> & { loaded?: Revision; hints?: boolean }): Promise<Fleet>;
  stream(fleet: Fleet, id: string, options?: StreamOptions): ScriptedStream;
}

export function createWorld(): World {
  const clock = new ManualClock();
  const store = new MemoryStore(clock);
  const feed = new ScriptedFeed();
  return {
    clock,
    store,
    feed,
    async replica(id, { loaded = 10, hints = true, ...options } = {}) {
      const onSyncHint = (callback: () => void): (() => void) => {
        if (hints) store.hints.add(callback);
        return () => store.hints.delete(callback);
      };
      const fleet = new Fleet({
        replica: id,
        store,
        changedBy: feed.changedBy,
        gatewayKnown: (gateway) => gateway !== "unknown",
        authorOf: async (revision) => ({ author: `author-${revision}`, requestId: `request-${revision}` }),
        onSyncHint,
        log: createLogger("silent"),
        metrics: createMetrics(),
        clock,
        ...options,
      });
      fleet.published(loaded);
      await clock.advance(1);
      return fleet;
    },
    stream(fleet, id, options = {}) {
      const stream = new ScriptedStream(fleet, id, { openedAt: clock.now(), ...options });
      fleet.opened(stream);
      fleet.answered(stream);
      return stream;
    },
  };
}
