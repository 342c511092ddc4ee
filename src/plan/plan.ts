// What a write would do, told before it is done: objects, xDS resources for each gateway, Envoys touched, listeners that would drain.
// In: the changes that the write's own transaction collected before it was rolled back. Out: the plan that `?dryRun=true` answers.
// Called by api/ for every write alike, so a plan can't differ from what the write does.
import { AppError } from "../errors.js";
import type { Lint } from "../model/lint.js";
import type { ResourceType } from "../model/resource-type.js";
import type { Change, Kind, ObjectKinds } from "../model/revision.js";
import type { GuaranteeChange } from "../snapshot/guarantees.js";
import type { Preview, PreviewedResource } from "../snapshot/preview.js";
import type { Snapshots } from "../snapshot/snapshots.js";
import type { Fleet } from "../status/fleet.js";
import { drainsConnections } from "../translate/listener-drain.js";
import { type Difference, difference } from "./diff.js";
import type { PlannedValidation, Validator } from "./validate.js";

/** One object that would be another one. */
export interface PlannedObject {
  readonly kind: Kind;
  /** An endpoint's is `<cluster>/<address>:<port>`. */
  readonly name: string;
  readonly change: "created" | "updated" | "deleted";
  /** Pointers into the object as GET shows it; one that comes or goes is one difference, at the pointer "". */
  readonly diff: readonly Difference[];
}

/** One resource that Envoys would get, get anew, or lose. */
export interface PlannedResource {
  readonly type: ResourceType;
  readonly name: string;
  readonly change: "added" | "changed" | "removed";
  /** Of a RouteConfiguration that changed: the routes in it that would be others. */
  readonly parts?: readonly string[];
}

/** What one gateway's Envoys would see. */
export interface PlannedGateway {
  readonly resources: readonly PlannedResource[];
  /** Envoys of the gateway that are connected now, on all replicas; null: the database could not be asked. */
  readonly nodes: number | null;
  /** Listeners whose connections Envoy would close after its drain time. */
  readonly drains: readonly string[];
}

/** The answer to a write that is only planned. */
export interface Plan {
  /** None was made. */
  readonly revision: null;
  /** false: everything is as asked already. */
  readonly changed: boolean;
  readonly objects: readonly PlannedObject[];
  /** gateway → what changes there; only gateways for which something does. */
  readonly gateways: Readonly<Record<string, PlannedGateway>>;
  /** Clusters for which the deadline of a drain would be kept by other means, or for another time. Only if there are any. */
  readonly guarantees?: readonly GuaranteeChange[];
  readonly lint: readonly Lint[];
  /** What a real Envoy says of it. */
  readonly validation: PlannedValidation;
  /** Resources that could not be translated: their last good form would stay. Only if there are any. */
  readonly untranslatable?: readonly { readonly type: string; readonly name: string; readonly detail: string }[];
}

/** The rooms that a plan looks at. */
export interface PlannerOptions {
  readonly snapshots: Pick<Snapshots, "preview" | "whenFresh" | "isLoaded">;
  readonly fleet: Pick<Fleet, "countNodes">;
  /** Left out: validation is "off". */
  readonly validator?: Pick<Validator, "describe"> | undefined;
}

/** What the transaction of the write came to. */
export interface PlannedWrite {
  readonly changes: readonly Change[];
  readonly lint: readonly Lint[];
}

/** How an object is shown: as GET does. */
export type Show = <K extends Kind>(kind: K, object: ObjectKinds[K]) => unknown;

/** Writers that commit between a dry run and the look at it make it stale; it is then run again, this often. */
const maxRuns = 5;

/** Makes plans. */
export class Planner {
  constructor(private readonly options: PlannerOptions) {}

  /**
   * `run` does the write and rolls it back; it may run several times.
   * @throws starting while no state is loaded, write_contention when other writers keep coming in between, and what `run` throws
   */
  async plan(run: () => Promise<PlannedWrite>, show: Show): Promise<Plan> {
    const { snapshots } = this.options;
    if (!snapshots.isLoaded) throw new AppError("starting", { waitingFor: ["the first load"] });
    for (let at = 1; ; at++) {
      const { changes, lint } = await run();
      // Only now: what the transaction saw was committed before, so a replica that is fresh after it has seen it too.
      if (!(await snapshots.whenFresh())) throw new AppError("database_unavailable");
      const preview = snapshots.preview(changes);
      if (preview) return await this.#describe(changes, lint, preview, show);
      if (at >= maxRuns) throw new AppError("write_contention", { detail: "other writers change the same objects all the time" });
    }
  }

  /**
   * Gateways for which the changes would make resources others, sorted. undefined: other writers came in between.
   * @throws starting, database_unavailable
   */
  async gatewaysOf(changes: readonly Change[]): Promise<readonly string[] | undefined> {
    const { snapshots } = this.options;
    if (!snapshots.isLoaded) throw new AppError("starting", { waitingFor: ["the first load"] });
    if (!(await snapshots.whenFresh())) throw new AppError("database_unavailable");
    const preview = snapshots.preview(changes);
    return preview && [...preview.gateways.keys()];
  }

  async #describe(changes: readonly Change[], lint: readonly Lint[], preview: Preview, show: Show): Promise<Plan> {
    const { validator } = this.options;
    const validated = changes.length > 0 ? validator?.describe(changes) : undefined;
    const [counts, validation = "off"] = await Promise.all([this.#countNodes([...preview.gateways.keys()]), validated]);
    const gateways = [...preview.gateways].map(([gateway, resources]): [string, PlannedGateway] => [
      gateway,
      {
        resources: resources.map(toPlannedResource),
        nodes: counts && (counts.get(gateway) ?? 0),
        drains: resources.filter(drains).map(({ name }) => name),
      },
    ]);
    const untranslatable = preview.faults.map(({ type, name, error }) => ({
      type,
      name,
      detail: error instanceof Error ? error.message : String(error),
    }));
    return {
      revision: null,
      changed: changes.length > 0,
      objects: changes.map((change) => toPlannedObject(change, show)),
      gateways: Object.fromEntries(gateways),
      ...(preview.guarantees.length > 0 ? { guarantees: preview.guarantees } : {}),
      lint,
      validation,
      ...(untranslatable.length > 0 ? { untranslatable } : {}),
    };
  }

  /** null: nobody can tell. A plan without it is still a plan. */
  async #countNodes(gateways: readonly string[]): Promise<ReadonlyMap<string, number> | null> {
    if (gateways.length === 0) return new Map();
    return this.options.fleet.countNodes(gateways).catch(() => null);
  }
}

function drains({ type, before, after }: PreviewedResource): boolean {
  return type === "listener" && before !== undefined && drainsConnections(before.bytes, after?.bytes);
}

function toPlannedResource({ type, name, before, after, parts }: PreviewedResource): PlannedResource {
  const change = before === undefined ? "added" : after === undefined ? "removed" : "changed";
  return { type, name, change, ...(parts ? { parts } : {}) };
}

/** One change as it is shown: what becomes of the object, and where it differs. */
export function toPlannedObject(change: Change, show: Show): PlannedObject {
  const [before, after] = shownBoth(change, show);
  return {
    kind: change.kind,
    name: change.name,
    change: before === undefined ? "created" : after === undefined ? "deleted" : "updated",
    diff: difference(before, after),
  };
}

/** Before and after, in the kind's own terms: the switch tells the compiler that both are of one kind. */
function shownBoth(change: Change, show: Show): readonly [unknown, unknown] {
  switch (change.kind) {
    case "cluster":
      return [change.before && show(change.kind, change.before), change.after && show(change.kind, change.after)];
    case "endpoint":
      return [change.before && show(change.kind, change.before), change.after && show(change.kind, change.after)];
    case "listener":
      return [change.before && show(change.kind, change.before), change.after && show(change.kind, change.after)];
    case "route":
      return [change.before && show(change.kind, change.before), change.after && show(change.kind, change.after)];
  }
}
