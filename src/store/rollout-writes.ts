// What a write does to staged rollouts, within its transaction: begin, move, end. In: the transaction. Out: rows, and what the feed will
// bring. Every transition is conditional on where the rollout was seen to be, so two replicas that drive it do each step once.
// Called by rollout/ and api/ through WriteTx.
import { AppError, Interruption } from "../errors.js";
import type { Guard } from "../model/guard.js";
import type { Author, Change, Kind, ObjectKinds, Revision } from "../model/revision.js";
import type { RolloutPolicy } from "../model/rollout.js";
import { clustersOf, listenersOf } from "../model/route.js";
import { sameContent } from "../model/same.js";
import type { Stored } from "./objects.js";
import { type OverlaySpec, overlayKind, policyKind } from "./rollout-row.js";
import type { AppliedObjects, RolloutState } from "./rollout-store.js";
import { toSpecChange } from "./row-change.js";
import type { Transaction } from "./transaction.js";

/** Objects of the transaction, locked: as WriteTx has them. */
interface LockedObjects {
  getAll<K extends Kind>(kind: K, names: readonly string[]): Promise<ReadonlyMap<string, Stored<ObjectKinds[K]>>>;
}

/** gateway → share of its Envoys, and which of them were connected. */
export interface Cohort {
  readonly shares: ReadonlyMap<string, number>;
  readonly expected: ReadonlyMap<string, readonly string[]>;
}

/** One that is to begin. */
export interface NewRollout extends Author, Cohort {
  readonly name: string;
  readonly policy: RolloutPolicy;
  readonly changes: readonly Change[];
  /** Guards that the promotion may pass: they were asked when it began. */
  readonly overrides: readonly Guard[];
  /** Objects that belong to a set of files once it is promoted. */
  readonly applied: AppliedObjects | undefined;
}

/** Why one ended; `cause` is one of a few words. */
export interface RolloutEnd {
  readonly cause: string;
  readonly detail: string;
}

/** Between the look at the changes and this transaction somebody changed one of the objects: look again. */
export class RolloutOvertaken extends Interruption {
  constructor() {
    super("an object that the rollout changes has been changed in between");
  }
}

/** As `changes` holds it: of a rollout, or of a gateway's policy. */
export type OverlayRowChange =
  | { readonly kind: typeof overlayKind; readonly name: string; readonly before: null; readonly after: OverlaySpec | null }
  | {
      readonly kind: typeof policyKind;
      readonly name: string;
      readonly before: RolloutPolicy | null;
      readonly after: RolloutPolicy | null;
    };

/** The rollouts of one transaction. */
export class RolloutWrites {
  readonly #changes: OverlayRowChange[] = [];
  #own: string | undefined;
  #base: Revision | undefined;

  constructor(
    private readonly transaction: Transaction,
    private readonly objects: LockedObjects,
  ) {}

  /** The rollout that the write belongs to: what that one holds is its to change. */
  get own(): string | undefined {
    return this.#own;
  }
  /** The revision at which the objects were seen to be what a new rollout expects: its own must be the next one. */
  get base(): Revision | undefined {
    return this.#base;
  }
  changes(): readonly OverlayRowChange[] {
    return this.#changes;
  }

  /** @throws rollout_in_progress, already_exists; RolloutOvertaken */
  async begin(rollout: NewRollout): Promise<void> {
    const { name, changes, shares } = rollout;
    await this.transaction.query("select from write_locks where name = 'rollouts' for update");
    await this.#refuseSecond(name, [...shares.keys()]);
    const [head] = await this.transaction.query<{ n: Revision }>("select n from revision_counter");
    this.#base = head?.n ?? 0;
    await this.#assertAsSeen(changes);
    const specs = changes.map(toSpecChange);
    await this.transaction.query(
      `insert into rollouts (name, state, policy, changes, shares, expected, overrides, author, request_id, reason, applied)
       values ($1, 'staging', $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
      [
        name,
        JSON.stringify(rollout.policy),
        JSON.stringify(specs),
        JSON.stringify(Object.fromEntries(shares)),
        JSON.stringify(Object.fromEntries(rollout.expected)),
        [...rollout.overrides],
        rollout.author,
        rollout.requestId,
        rollout.reason ?? null,
        rollout.applied ? JSON.stringify(rollout.applied) : null,
      ],
    );
    await this.transaction.query(
      `insert into rollout_objects (rollout, kind, name, changes)
       select $1, kind, name, changes from jsonb_to_recordset($2::jsonb) as held (kind text, name text, changes boolean)`,
      [name, JSON.stringify(heldBy(changes))],
    );
    this.#record(name, { shares: Object.fromEntries(shares), changes: specs });
  }

  /** To the next stage. False: it is not at `from` any more. */
  async move(name: string, from: number, { shares, expected }: Cohort): Promise<boolean> {
    const moved = await this.transaction.query(
      `update rollouts set stage = $2 + 1, shares = $3, expected = $4, stage_at = clock_timestamp(), acked_at = null
        where name = $1 and state = 'staging' and stage = $2 returning name`,
      [name, from, JSON.stringify(Object.fromEntries(shares)), JSON.stringify(Object.fromEntries(expected))],
    );
    if (moved.length > 0) this.#record(name, { shares: Object.fromEntries(shares) });
    return moved.length > 0;
  }

  /** Its changes have become the base (to be written in the same transaction); all Envoys of its gateways are watched. False: it is elsewhere. */
  async promote(name: string, from: number, expected: Cohort["expected"]): Promise<boolean> {
    const moved = await this.transaction.query(
      `update rollouts set state = 'watching', stage = $2 + 1, expected = $3, stage_at = clock_timestamp(), acked_at = null
        where name = $1 and state = 'staging' and stage = $2 returning name`,
      [name, from, JSON.stringify(Object.fromEntries(expected))],
    );
    if (moved.length > 0) await this.#letGo(name);
    return moved.length > 0;
  }

  /** While it is staged: its Envoys go back to what all others have. False: it is not staged any more. */
  async abort(name: string, end: RolloutEnd): Promise<boolean> {
    const ended = await this.transaction.query(
      `update rollouts set state = 'aborted', ended_at = clock_timestamp(), cause = $2, detail = $3
        where name = $1 and state = 'staging' returning name`,
      [name, end.cause, end.detail],
    );
    if (ended.length > 0) await this.#letGo(name);
    return ended.length > 0;
  }

  /** After the promotion. Changes no configuration by itself. False: it is not watched any more. */
  async finish(name: string, state: Extract<RolloutState, "done" | "aborted">, end: RolloutEnd | undefined): Promise<boolean> {
    const ended = await this.transaction.query(
      `update rollouts set state = $2, ended_at = clock_timestamp(), cause = $3, detail = $4
        where name = $1 and state = 'watching' returning name`,
      [name, state, end?.cause ?? null, end?.detail ?? null],
    );
    return ended.length > 0;
  }

  /** What holds for the gateway's changes from now on; undefined: they are not staged. Returns what held before. */
  async setPolicy(gateway: string, policy: RolloutPolicy | undefined, author: string): Promise<RolloutPolicy | undefined> {
    const [known] = await this.transaction.query<{ rollout: RolloutPolicy }>(
      "select rollout from gateway_policies where gateway = $1 for update",
      [gateway],
    );
    if (policy)
      await this.transaction.query(
        `insert into gateway_policies (gateway, rollout, author) values ($1, $2, $3)
         on conflict (gateway) do update set rollout = excluded.rollout, author = excluded.author, at = clock_timestamp()`,
        [gateway, JSON.stringify(policy), author],
      );
    else await this.transaction.query("delete from gateway_policies where gateway = $1", [gateway]);
    if (!sameContent(known?.rollout, policy))
      this.#changes.push({ kind: policyKind, name: gateway, before: known?.rollout ?? null, after: policy ?? null });
    return known?.rollout;
  }

  async #letGo(name: string): Promise<void> {
    await this.transaction.query("delete from rollout_objects where rollout = $1", [name]);
    this.#record(name, null);
  }

  #record(name: string, after: OverlaySpec | null): void {
    this.#own = name;
    this.#changes.push({ kind: overlayKind, name, before: null, after });
  }

  async #refuseSecond(name: string, gateways: readonly string[]): Promise<void> {
    const [other] = await this.transaction.query<{ name: string }>(
      `select name from rollouts where name = $1 or (state in ('staging', 'watching') and jsonb_exists_any(shares, $2))
        order by name = $1 desc limit 1`,
      [name, gateways],
    );
    if (!other) return;
    if (other.name === name) throw new AppError("already_exists", { kind: "rollout", name });
    const detail = `rollout ${other.name} is under way for one of the gateways ${gateways.join(", ")}: wait for its end, or abort it`;
    throw new AppError("rollout_in_progress", { rollout: other.name, detail });
  }

  async #assertAsSeen(changes: readonly Change[]): Promise<void> {
    for (const kind of ["listener", "cluster", "route", "endpoint"] as const) {
      const ofKind = changes.filter((change) => change.kind === kind);
      const found = await this.objects.getAll(
        kind,
        ofKind.map(({ name }) => name),
      );
      if (!ofKind.every(({ name, before }) => sameContent(found.get(name)?.object, before))) throw new RolloutOvertaken();
    }
  }
}

/** What it changes, and what that names: the latter must stay. */
function heldBy(changes: readonly Change[]): readonly { kind: string; name: string; changes: boolean }[] {
  const held = new Map(changes.map(({ kind, name }) => [`${kind} ${name}`, { kind: kind as string, name, changes: true }]));
  const name = (kind: "cluster" | "listener", names: readonly string[]): void => {
    for (const one of names) {
      const key = `${kind} ${one}`;
      if (!held.has(key)) held.set(key, { kind, name: one, changes: false });
    }
  };
  for (const change of changes) {
    if (change.kind === "endpoint" && change.after) name("cluster", [change.after.cluster]);
    if (change.kind !== "route" || !change.after) continue;
    name("cluster", clustersOf(change.after));
    name("listener", listenersOf(change.after));
  }
  return [...held.values()];
}
