// What this replica's Envoys say of the rollouts that are under way: has it, refuses it, went away, answers errors. In: the fleet's nodes.
// Out: rows that whichever replica drives the rollout reads. Costs one short query a second while there is none. Called by driver.ts.
import type { ResourceException } from "../model/node.js";
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import { inverseOf } from "../model/revision.js";
import { viewName } from "../model/rollout.js";
import type { PreviewedResource } from "../snapshot/preview.js";
import type { Snapshots } from "../snapshot/snapshots.js";
import type { Fleet } from "../status/fleet.js";
import type { FleetNode } from "../status/fleet-node.js";
import { overlaps, type RevisionChanges, typeBits } from "../status/node-report.js";
import type { OpenRollout, RolloutNode, RolloutStore, StoredRollout, Traffic } from "../store/store.js";

/** Requests that an Envoy's metrics have told of since its stream began; undefined: no report stream of it is here. */
export type TrafficOf = (node: string) => Traffic | undefined;

/** The rooms that are looked at. */
export interface WatchOptions {
  readonly replica: string;
  readonly store: Pick<RolloutStore, "changesOf" | "saveNodes" | "addTraffic">;
  readonly snapshots: Pick<Snapshots, "preview">;
  readonly fleet: Pick<Fleet, "ownNodes" | "onOpened">;
  readonly trafficOf: TrafficOf;
}

/** Rows that did not change are written again after this: they say that the replica still looks. */
const repeatMs = 2_000;

/** Resources of one gateway that a rollout makes others. */
interface Touched {
  readonly changes: RevisionChanges;
  /** Types of which the Envoy gets something, so that it must ask for them. */
  readonly needed: ReadonlySet<ResourceType>;
}

/** `streams`: opened since the last row that was written. */
type Row = RolloutNode & { readonly streams: number };

/** One per replica. */
export class RolloutWatch {
  /** `<rollout> <node>` → what was written last, and when. */
  readonly #written = new Map<string, { readonly row: string; readonly at: number; readonly last: Row }>();
  /** rollout → what it changes, as resources of each gateway. */
  readonly #touched = new Map<string, ReadonlyMap<string, Touched>>();
  /** node → counters at the last look. */
  readonly #counted = new Map<string, Traffic>();

  /** node → streams that it opened here and that no row tells of yet; while a rollout is under way. */
  readonly #opened = new Map<string, number>();
  #isWatching = false;
  readonly #stopListening: () => void;

  constructor(private readonly options: WatchOptions) {
    this.#stopListening = options.fleet.onOpened((node) => {
      if (this.#isWatching) this.#opened.set(node, (this.#opened.get(node) ?? 0) + 1);
    });
  }

  close(): void {
    this.#stopListening();
  }

  /** Writes what has changed. @throws database_unavailable; the next look writes it then */
  async look(open: readonly OpenRollout[], now: number): Promise<void> {
    this.#isWatching = open.length > 0;
    if (!this.#isWatching) return this.#forget();
    const own = [...this.options.fleet.ownNodes()];
    for (const { rollout } of open) {
      await this.#saveNodes(rollout, own, now);
      await this.#saveTraffic(rollout, own);
    }
    const watched = new Set(open.flatMap(({ rollout }) => rollout.gateways));
    for (const node of own) if (!watched.has(node.gateway)) this.#opened.delete(node.id);
  }

  #forget(): void {
    this.#written.clear();
    this.#touched.clear();
    this.#counted.clear();
    this.#opened.clear();
  }

  async #saveNodes(rollout: StoredRollout, own: readonly FleetNode[], now: number): Promise<void> {
    const touched = await this.#touchedBy(rollout);
    const rows = new Map(
      own
        .filter((node) => isConcerned(rollout, node))
        .map((node) => [node.id, this.#rowOf(rollout, node, touched?.get(node.gateway))]),
    );
    // One that was here, and is not any more, on the same stage.
    for (const { last } of [...this.#written.values()]) {
      if (last.rollout === rollout.name && last.stage === rollout.stage && !rows.has(last.node))
        rows.set(last.node, { ...last, connected: false, has: false });
    }
    // One that came and went between two looks.
    for (const [gateway, nodes] of rollout.expected) {
      for (const node of nodes) {
        if (rows.has(node) || !this.#opened.has(node)) continue;
        const gone = { rollout: rollout.name, node, gateway, stage: rollout.stage, connected: false, has: false };
        rows.set(node, { ...gone, refusal: undefined, streams: this.#opened.get(node) ?? 0 });
      }
    }
    const changed = [...rows.values()].filter((row) => {
      const known = this.#written.get(keyOf(row));
      return !known || row.streams > 0 || known.row !== JSON.stringify(row) || now - known.at >= repeatMs;
    });
    for (const row of changed) this.#opened.delete(row.node);
    await this.options.store.saveNodes(this.options.replica, changed).catch((error: unknown) => {
      for (const { node, streams } of changed) this.#opened.set(node, (this.#opened.get(node) ?? 0) + streams);
      throw error;
    });
    for (const row of changed) {
      const last = { ...row, streams: 0 };
      this.#written.set(keyOf(row), { row: JSON.stringify(last), at: now, last });
    }
  }

  #rowOf(rollout: StoredRollout, node: FleetNode, touched: Touched | undefined): Row {
    const open = node.exceptions.filter((exception) => overlaps(exception, touched?.changes));
    const refused = open.find((exception) => isNewRefusal(exception, rollout));
    const sees = rollout.state === "watching" || node.view === viewName(node.gateway, rollout.name);
    const since = rollout.state === "watching" ? rollout.revision : rollout.beganIn;
    return {
      rollout: rollout.name,
      node: node.id,
      gateway: node.gateway,
      stage: rollout.stage,
      connected: true,
      has: sees && open.length === 0 && hasAcked(node, touched, since),
      refusal: sees && refused ? { type: refused.type, resource: refused.name, detail: refused.detail } : undefined,
      streams: this.#opened.get(node.id) ?? 0,
    };
  }

  /** Resources that the rollout makes others, by gateway; undefined: it can't be told (any more), as the base has moved on. */
  async #touchedBy({ name, state }: StoredRollout): Promise<ReadonlyMap<string, Touched> | undefined> {
    const known = this.#touched.get(name);
    if (known) return known;
    const changes = await this.options.store.changesOf(name);
    const isBase = state === "watching"; // Promoted: what led here, seen from the other end.
    const preview = this.options.snapshots.preview(isBase ? changes.map(inverseOf) : changes);
    if (!preview) return undefined;
    const touched = new Map(
      [...preview.gateways].map(([gateway, resources]) => [gateway, toTouched(resources, isBase)] as const),
    );
    this.#touched.set(name, touched);
    return touched;
  }

  /** Whoever has the report stream counts; the stream of the configuration may be elsewhere. */
  async #saveTraffic(rollout: StoredRollout, own: readonly FleetNode[]): Promise<void> {
    const stage = { requests: 0, errors: 0 };
    const others = { requests: 0, errors: 0 };
    const expected = new Set([...rollout.expected.values()].flat());
    const gateways = new Set(rollout.gateways);
    const known = new Map(own.filter((node) => gateways.has(node.gateway)).map((node) => [node.id, expected.has(node.id)]));
    for (const node of expected) known.set(node, true);
    for (const [node, sees] of known) {
      const more = this.#newTraffic(node);
      const into = sees ? stage : others;
      into.requests += more.requests;
      into.errors += more.errors;
    }
    await this.options.store.addTraffic(this.options.replica, rollout.name, rollout.stage, stage, others);
  }

  #newTraffic(node: string): Traffic {
    const now = this.options.trafficOf(node);
    const before = this.#counted.get(node);
    if (!now) return { requests: 0, errors: 0 };
    this.#counted.set(node, now);
    // The first look only sets the mark; counters that fell are those of another stream.
    if (!before || now.requests < before.requests) return { requests: 0, errors: 0 };
    return { requests: now.requests - before.requests, errors: Math.max(0, now.errors - before.errors) };
  }
}

function keyOf({ rollout, node }: RolloutNode): string {
  return `${rollout} ${node}`;
}

/** In its stage by place: those that the stage began with, and those that came since. */
function isConcerned(rollout: StoredRollout, node: FleetNode): boolean {
  if (!rollout.gateways.includes(node.gateway)) return false;
  if (rollout.state === "watching" || node.view === viewName(node.gateway, rollout.name)) return true;
  return rollout.expected.get(node.gateway)?.includes(node.id) ?? false;
}

/** One that stood before the rollout began is none of its business. */
function isNewRefusal({ kind, revision }: ResourceException, { beganIn }: StoredRollout): boolean {
  return kind === "refused" && revision >= beganIn;
}

/** Everything up to the revision, of the types that the rollout changes. `touched` undefined: of all that it asks for. */
function hasAcked(node: FleetNode, touched: Touched | undefined, since: number): boolean {
  const asks = (type: ResourceType): boolean => (node.subscribed & typeBits[type]) !== 0;
  if (!asks("listener") || (touched && ![...touched.needed].every(asks))) return false;
  return resourceTypes.every((type) => !asks(type) || (touched && !touched.changes.has(type)) || node.readAcked(type) >= since);
}

function toTouched(resources: readonly PreviewedResource[], isBase: boolean): Touched {
  const changes = new Map<ResourceType, Map<string, readonly string[] | undefined>>();
  const needed = new Set<ResourceType>();
  for (const { type, name, parts, before, after } of resources) {
    changes.set(type, (changes.get(type) ?? new Map<string, readonly string[] | undefined>()).set(name, parts));
    if (isBase ? before : after) needed.add(type);
  }
  return { changes, needed };
}
