// What a write may do inside its transaction. In: model objects. Out: rows, and the net list of changes for commit_revision.
// Rows are locked before they are looked at, so that a change's `before` is the truth and unchanged objects make no revision.
// Called by the work that store.write() is given, and by store.ts for the changes.
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { AppError } from "../errors.js";
import { overlap } from "../model/address.js";
import type { DrainMark } from "../model/drain.js";
import type { Endpoint } from "../model/endpoint.js";
import type { Listener } from "../model/listener.js";
import type { Change, Kind, ObjectKinds, Revision } from "../model/revision.js";
import type { Route } from "../model/route.js";
import { forgetApplied, type ObjectKey, readApplied, writeApplied } from "./applied.js";
import { checkSpan, maxDifferences, type Query, readDifferences } from "./differences.js";
import { createDrainTx, type DrainTx } from "./drain-tx.js";
import { readCut, refuseBeyond } from "./history-cut.js";
import { createLeaseTx, type LeasedRow, type LeaseTx, renewWritten } from "./lease-tx.js";
import { type NodeDrainRowChange, NodeDrainTx } from "./node-drain-tx.js";
import {
  fromStoredRow,
  jsonRow,
  lockQueries,
  objectTables,
  type References,
  type RowKinds,
  type Stored,
  type StoredRow,
  selectText,
  space,
} from "./objects.js";
import { createRebalanceTx, type RebalanceTx } from "./rebalance-tx.js";
import { writeReferences } from "./references.js";
import { type OverlayRowChange, RolloutWrites } from "./rollout-writes.js";
import { toChange } from "./row-change.js";
import type { Transaction } from "./transaction.js";

/** Names given with `in_use`. */
const maxUsersNamed = 100;

/** One object as the transaction found it first and as it leaves it; specs, as JSON holds them. */
export interface RowChange {
  readonly kind: Kind;
  readonly name: string;
  readonly before: unknown;
  readonly after: unknown;
  /** In which it last changed before this transaction; 0: it was not there. */
  readonly revision: Revision;
}

/** What a put did; `unchanged` makes no revision. */
export type PutOutcome = "created" | "updated" | "unchanged";

/**
 * All calls may wait for other writers' locks. Work may run again: it must have no effect but through this. It must not wait for
 * anything else, either: others wait for its locks, and after the query timeout the database cuts off a transaction that is idle.
 */
export interface WriteTx {
  /** The object, locked against every other writer until the end. Rules over an object and its parts lock the object by this. */
  get<K extends Kind>(kind: K, name: string): Promise<Stored<ObjectKinds[K]> | undefined>;
  /** The object, locked against changes but not against other readers: for what a reference points to. */
  share<K extends Kind>(kind: K, name: string): Promise<Stored<ObjectKinds[K]> | undefined>;
  /** The same for many, in one statement: name → object, for those that are there. */
  getAll<K extends Kind>(kind: K, names: readonly string[]): Promise<ReadonlyMap<string, Stored<ObjectKinds[K]>>>;
  shareAll<K extends Kind>(kind: K, names: readonly string[]): Promise<ReadonlyMap<string, Stored<ObjectKinds[K]>>>;
  /** @throws already_exists */
  insert<K extends Kind>(kind: K, object: ObjectKinds[K]): Promise<void>;
  put<K extends Kind>(kind: K, object: ObjectKinds[K]): Promise<PutOutcome>;
  /** Many objects of one kind in two or three statements, each name at most once; outcomes in the order given. */
  putAll<K extends Kind>(kind: K, objects: readonly ObjectKinds[K][]): Promise<readonly PutOutcome[]>;
  /** False when it is not there. A cluster's endpoints go with it. @throws in_use, with the routes that name it */
  delete(kind: Kind, name: string): Promise<boolean>;
  /** How many of them were there. */
  deleteAll(kind: Kind, names: readonly string[]): Promise<number>;
  readonly drains: DrainTx;
  readonly rebalances: RebalanceTx;
  /** Leases end and go on by this; whoever writes an endpoint with `ttlMs` renews its lease by that alone. */
  readonly leases: LeaseTx;
  /** Marks endpoints that are there as drained, or, without a mark, as not: nothing else can. `enabled`, when given, is set too. */
  markDrained(endpoints: readonly string[], mark: DrainMark | undefined, enabled?: boolean): Promise<void>;
  /** By name; not locked: hold the cluster by `get` to keep the set still. */
  endpointsOf(cluster: string): Promise<readonly Stored<Endpoint>[]>;
  routesOfListener(listener: string): Promise<readonly Stored<Route>[]>;
  routesOfCluster(cluster: string): Promise<readonly Stored<Route>[]>;
  /** Listeners whose socket would be this one or cover it. No other transaction can take the address until this one ends. */
  listenersAt(address: string, port: number): Promise<readonly Listener[]>;
  /** Objects that belong to the set of files, which no other transaction changes until this one ends. */
  appliedBy(set: string): Promise<readonly ObjectKey[]>;
  /** Makes objects that are there the set's. That alone is no change, and makes no revision. */
  recordApplied(set: string, objects: readonly ObjectKey[]): Promise<void>;
  /** What the transaction has come to so far: each object that would be another one, once. */
  netChanges(): readonly Change[];
  /**
   * What differs between the configuration at two revisions; `to` left out: as it is now, and then the write commits only if nobody else
   * commits in between (it runs again). Locks nothing.
   */
  differences(from: Revision, to?: Revision): Promise<readonly Change[]>;
  /** Staged rollouts that this write begins, moves or ends. */
  readonly rollouts: Pick<RolloutWrites, "begin" | "move" | "promote" | "abort" | "finish" | "setPolicy">;
  /** Drains of Envoys that this write begins, moves or ends. */
  readonly nodeDrains: Omit<NodeDrainTx, "changes">;
}

/** kind → name → the row as it is now, locked by us; undefined: it is not there. */
type LockedRows = { readonly [K in Kind]: Map<string, StoredRow<K> | undefined> };

/** The objects of one transaction, each row locked once and remembered, so that a look and a write cost two statements. */
export class ObjectWrites implements WriteTx {
  readonly #rows: LockedRows = { cluster: new Map(), endpoint: new Map(), listener: new Map(), route: new Map() };
  /** `<kind> <name>` → what became of it. */
  readonly #changes = new Map<string, RowChange>();
  readonly drains: DrainTx;
  readonly rebalances: RebalanceTx;
  readonly leases: LeaseTx;
  #base: Revision | undefined;
  readonly rollouts: RolloutWrites;
  readonly nodeDrains: NodeDrainTx;

  /** `revisionId`: of the revision that the transaction makes, if it changes anything. */
  constructor(
    private readonly transaction: Transaction,
    revisionId: string,
  ) {
    this.leases = createLeaseTx(transaction);
    this.rollouts = new RolloutWrites(transaction, this);
    this.nodeDrains = new NodeDrainTx(transaction);
    this.drains = createDrainTx(transaction, revisionId);
    this.rebalances = createRebalanceTx(transaction);
  }

  /** The revision that the work has looked at as the newest; undefined: it has not looked at the whole. */
  get base(): Revision | undefined {
    return this.#base ?? this.rollouts.base;
  }

  /** The net effect so far: an object that ended as it began is not in it. */
  changes(): readonly RowChange[] {
    return [...this.#changes.values()].filter(({ before, after }) => !isDeepStrictEqual(before, after));
  }

  netChanges(): readonly Change[] {
    return this.changes().map(toChange);
  }

  /** What the revision tells beside objects: it has rows in the history and the feed, and none of its own table. */
  otherChanges(): readonly (OverlayRowChange | NodeDrainRowChange)[] {
    return [...this.rollouts.changes(), ...this.nodeDrains.changes()];
  }

  async get<K extends Kind>(kind: K, name: string): Promise<Stored<ObjectKinds[K]> | undefined> {
    await this.#lock(kind, [name]);
    const row = this.#rows[kind].get(name);
    return row && fromStoredRow(kind, row);
  }

  async share<K extends Kind>(kind: K, name: string): Promise<Stored<ObjectKinds[K]> | undefined> {
    if (this.#rows[kind].get(name)) return this.get(kind, name);
    const [row] = await this.#select(kind, "name = $2", [name], "for share");
    return row && fromStoredRow(kind, row);
  }

  async getAll<K extends Kind>(kind: K, names: readonly string[]): Promise<ReadonlyMap<string, Stored<ObjectKinds[K]>>> {
    await this.#lock(kind, names);
    return new Map(
      names.flatMap((name) => {
        const row = this.#rows[kind].get(name);
        return row ? [[name, fromStoredRow(kind, row)] as const] : [];
      }),
    );
  }

  async shareAll<K extends Kind>(kind: K, names: readonly string[]): Promise<ReadonlyMap<string, Stored<ObjectKinds[K]>>> {
    if (names.length === 0) return new Map();
    const rows = await this.#select(kind, "name = any($2)", [names], "for share");
    return new Map(rows.map((row) => [row.name, fromStoredRow(kind, row)] as const));
  }

  async insert<K extends Kind>(kind: K, object: ObjectKinds[K]): Promise<void> {
    const row = keepDrain(kind, jsonRow(kind, object), undefined);
    await this.#lock(kind, [row.name]);
    if (this.#rows[kind].get(row.name)) throw new AppError("already_exists", { kind, name: row.name });
    await this.#write(kind, [row]);
    await this.#renew(kind, [row], new Map());
  }

  async put<K extends Kind>(kind: K, object: ObjectKinds[K]): Promise<PutOutcome> {
    const [outcome] = await this.putAll(kind, [object]);
    assert(outcome);
    return outcome;
  }

  async putAll<K extends Kind>(kind: K, objects: readonly ObjectKinds[K][]): Promise<readonly PutOutcome[]> {
    const asked = objects.map((object) => jsonRow(kind, object));
    const names = asked.map((row) => row.name);
    assert.equal(new Set(names).size, names.length, "putAll takes each name once");
    await this.#lock(kind, names);
    const rows = asked.map((row) => keepDrain(kind, row, this.#rows[kind].get(row.name)));
    const outcomes = rows.map((row): PutOutcome => {
      const before = this.#rows[kind].get(row.name);
      if (!before) return "created";
      return isDeepStrictEqual(before.spec, row.spec) ? "unchanged" : "updated";
    });
    const before = new Map(this.#rows[kind]);
    await this.#write(
      kind,
      rows.filter((_, at) => outcomes[at] !== "unchanged"),
    );
    await this.#renew(kind, rows, before);
    return outcomes;
  }

  async delete(kind: Kind, name: string): Promise<boolean> {
    return (await this.deleteAll(kind, [name])) > 0;
  }

  async deleteAll<K extends Kind>(kind: K, names: readonly string[]): Promise<number> {
    // FOR UPDATE waits for writers whose foreign keys hold the row: what they wrote is then seen by the looks that follow.
    const rows = await this.#select(kind, "name = any($2)", [names], "for update");
    const present = rows.map((row) => row.name);
    if (present.length === 0) return 0;
    if (kind === "cluster" || kind === "listener") await this.#refuseInUse(kind, present);
    if (kind === "cluster") {
      const endpoints = await this.#select("endpoint", "cluster = any($2)", [present], "for update");
      await this.#remove("endpoint", endpoints);
    }
    await this.#remove(kind, rows);
    return present.length;
  }

  async markDrained(endpoints: readonly string[], mark: DrainMark | undefined, enabled?: boolean): Promise<void> {
    const stored = await this.getAll("endpoint", endpoints);
    const rows = [...stored.values()].map(({ object: { drain: _, ...endpoint } }) =>
      jsonRow("endpoint", { ...endpoint, enabled: enabled ?? endpoint.enabled, ...(mark ? { drain: mark } : {}) }),
    );
    await this.#write("endpoint", rows);
  }

  async endpointsOf(cluster: string): Promise<readonly Stored<Endpoint>[]> {
    return (await this.#select("endpoint", "cluster = $2", [cluster])).map((row) => fromStoredRow("endpoint", row));
  }

  async routesOfListener(listener: string): Promise<readonly Stored<Route>[]> {
    const named = "name in (select route from route_listeners where space = $1 and listener = $2)";
    return (await this.#select("route", named, [listener])).map((row) => fromStoredRow("route", row));
  }

  async routesOfCluster(cluster: string): Promise<readonly Stored<Route>[]> {
    const named = "name in (select route from route_clusters where space = $1 and cluster = $2)";
    return (await this.#select("route", named, [cluster])).map((row) => fromStoredRow("route", row));
  }

  async listenersAt(address: string, port: number): Promise<readonly Listener[]> {
    await this.transaction.query("select from write_locks where name = 'listener-ports' for update");
    const rows = await this.#select("listener", "(spec->>'port')::int = $2", [port]);
    return rows.map((row) => fromStoredRow("listener", row).object).filter((listener) => overlap(listener.address, address));
  }

  appliedBy(set: string): Promise<readonly ObjectKey[]> {
    return readApplied(this.transaction, set);
  }

  recordApplied(set: string, objects: readonly ObjectKey[]): Promise<void> {
    return writeApplied(this.transaction, set, objects);
  }

  async differences(from: Revision, to?: Revision): Promise<readonly Change[]> {
    if (to === undefined) {
      const [row] = await this.transaction.query<{ n: Revision }>("select n from revision_counter");
      this.#base = row?.n ?? 0;
    }
    const span = { from, to: to ?? this.#base ?? 0 };
    checkSpan(span);
    const query: Query = (text, values) => this.transaction.query(text, values);
    const found = await readDifferences(query, span, { limit: maxDifferences + 1 });
    refuseBeyond(await readCut(query), span.from, span.to); // After the rows: what it still keeps, they had.
    if (found.length > maxDifferences)
      throw new AppError("beyond_history", { maxDifferences, detail: `more than ${maxDifferences} objects differ` });
    return found;
  }

  async #select<K extends Kind>(kind: K, condition: string, values: readonly unknown[], lock = ""): Promise<StoredRow<K>[]> {
    return this.transaction.query<StoredRow<K>>(selectText(kind, condition, lock), [space, ...values]);
  }

  async #lock(kind: Kind, names: readonly string[]): Promise<void> {
    const rows = this.#rows[kind];
    const unseen = names.filter((name) => !rows.has(name));
    if (unseen.length === 0) return;
    await this.#remember(kind, unseen);
  }

  async #remember<K extends Kind>(kind: K, names: readonly string[]): Promise<void> {
    const found = await this.transaction.query<StoredRow<K>>(lockQueries[kind], [space, names]);
    for (const name of names) this.#rows[kind].set(name, undefined);
    for (const row of found) this.#rows[kind].set(row.name, row);
  }

  /** The lease of every endpoint that is put, changed or not. */
  async #renew<K extends Kind>(kind: K, rows: readonly RowKinds[K][], before: ReadonlyMap<string, unknown>): Promise<void> {
    if (kind !== "endpoint") return;
    const leased = (row: unknown): LeasedRow | undefined => row as LeasedRow | undefined; // Of this kind, they are EndpointRows.
    await renewWritten(
      this.transaction,
      rows.flatMap((row) => leased(row) ?? []),
      (name) => leased(before.get(name)),
    );
  }

  /** Inserts or updates rows that are locked, or known to be absent. */
  async #write<K extends Kind>(kind: K, rows: readonly RowKinds[K][]): Promise<void> {
    const { table, columns, references, fromRow } = objectTables[kind];
    const locked = this.#rows[kind];
    const names = columns.join(", ");
    const created = rows
      .filter((row) => !locked.get(row.name))
      .map((row) => ({ ...row, revision: this.#firstRevision(kind, row.name) }));
    const updated = rows.filter((row) => locked.get(row.name));
    if (created.length > 0) {
      await this.transaction.query(
        `insert into ${table} (space, revision, ${names})
         select $1, revision, ${names} from jsonb_to_recordset($2::jsonb) as created (revision bigint, name text, cluster text, spec jsonb) order by name`,
        [space, JSON.stringify(created)],
      );
    }
    if (updated.length > 0) {
      // commit_revision writes it with the row's revision, unless somebody looks before.
      this.transaction.defer(
        `update ${table} as object set spec = updated.spec from jsonb_to_recordset($2::jsonb) as updated (name text, spec jsonb)
          where object.space = $1 and object.name = updated.name`,
        [space, JSON.stringify(updated)],
      );
    }
    const named = (row: RowKinds[K] | undefined): References | undefined => row && references(fromRow(row));
    const changes = rows.map((row) => ({
      route: row.name,
      before: named(locked.get(row.name)),
      after: references(fromRow(row)),
    }));
    await writeReferences(this.transaction, changes);
    for (const row of rows) {
      const before = locked.get(row.name);
      this.#record(kind, row.name, before, row.spec);
      locked.set(row.name, { ...row, revision: before?.revision ?? this.#firstRevision(kind, row.name) });
    }
  }

  /** Deletes rows that are locked FOR UPDATE. */
  async #remove<K extends Kind>(kind: K, rows: readonly StoredRow<K>[]): Promise<void> {
    if (rows.length === 0) return;
    const names = rows.map((row) => row.name);
    await this.transaction.query(`delete from ${objectTables[kind].table} where space = $1 and name = any($2)`, [space, names]);
    await forgetApplied(this.transaction, kind, names);
    for (const row of rows) {
      this.#record(kind, row.name, row, undefined);
      this.#rows[kind].set(row.name, undefined);
    }
  }

  async #refuseInUse(kind: "cluster" | "listener", names: readonly string[]): Promise<void> {
    const users = await this.transaction.query<{ name: string; route: string }>(
      `select ${kind} as name, route from route_${kind}s where space = $1 and ${kind} = any($2) order by ${kind}, route limit ${maxUsersNamed}`,
      [space, names],
    );
    const [first] = users;
    if (!first) return;
    throw new AppError("in_use", {
      kind,
      name: first.name,
      routes: users.filter(({ name }) => name === first.name).map(({ route }) => route),
    });
  }

  #record(
    kind: Kind,
    name: string,
    before: { readonly spec: unknown; readonly revision: Revision } | undefined,
    after: unknown,
  ): void {
    const key = `${kind} ${name}`;
    const first = this.#changes.get(key) ?? { before: before?.spec, revision: before?.revision ?? 0 };
    this.#changes.set(key, { kind, name, before: first.before, after, revision: first.revision });
  }

  /** A row removed and made again keeps its revision: when nothing changed in the end, its ETag is still right. */
  #firstRevision(kind: Kind, name: string): Revision {
    return this.#changes.get(`${kind} ${name}`)?.revision ?? 0;
  }
}

/** Whoever writes an endpoint changes nothing about whether it is being drained. */
function keepDrain<K extends Kind>(kind: K, row: RowKinds[K], before: RowKinds[K] | undefined): RowKinds[K] {
  if (kind !== "endpoint") return row;
  const mark = before && "drain" in before.spec ? before.spec.drain : undefined;
  const { drain: _, ...spec } = { drain: undefined, ...row.spec };
  return { ...row, spec: mark === undefined ? spec : { ...spec, drain: mark } };
}
