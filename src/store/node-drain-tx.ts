// What a write does to drains of Envoys, within its transaction: begin, withdraw, end, lift. In: the transaction. Out: rows, and what the
// feed will bring. Each transition is conditional on what the drain is then, so two replicas that drive it take each step once.
// Called by drain/ and api/ through WriteTx.
import type { NodeDrainPhase } from "../model/node-drain.js";
import type { Author, Revision } from "../model/revision.js";
import {
  fromNodeDrainColumns,
  type NodeDrainColumns,
  type NodeDrainRecord,
  type NodeDrainSpec,
  nodeDrainKind,
  nodeDrainQuery,
} from "./node-drain-row.js";
import { space } from "./objects.js";
import type { Transaction } from "./transaction.js";

/** As `changes` holds it: what a revision did to the drain of one Envoy. */
export interface NodeDrainRowChange {
  readonly kind: typeof nodeDrainKind;
  readonly name: string;
  readonly before: NodeDrainSpec | null;
  readonly after: NodeDrainSpec | null;
}

/** One that is to begin. Times in ms. */
export interface NewNodeDrain {
  readonly node: string;
  readonly id: string;
  readonly gateway: string;
  readonly by: Author;
  readonly lameDuckMs: number;
  readonly timeoutMs: number;
}

/** How one ended. */
export interface NodeDrainEnd {
  readonly safeToStop: boolean;
  readonly leftOpen: number;
  readonly outcome: string;
}

const inMs = (parameter: string): string => `clock_timestamp() + ${parameter} * interval '1 millisecond'`;
const isLive = "exists (select from replicas where replicas.id = replica and replicas.lease_until > clock_timestamp())";

/** The drains of Envoys of one transaction. */
export class NodeDrainTx {
  readonly #changes: NodeDrainRowChange[] = [];

  constructor(private readonly transaction: Transaction) {}

  changes(): readonly NodeDrainRowChange[] {
    return this.#changes;
  }

  /** The Envoy's drain, locked; undefined: it has none. */
  async hold(node: string): Promise<NodeDrainRecord | undefined> {
    const [row] = await this.transaction.query<NodeDrainColumns & Record<string, unknown>>(
      nodeDrainQuery("drain.node = $1 for update of drain"),
      [node],
    );
    return row && fromNodeDrainColumns(row);
  }

  /** The same, unless another transaction has it. */
  async claim(node: string): Promise<NodeDrainRecord | undefined> {
    const [row] = await this.transaction.query<NodeDrainColumns & Record<string, unknown>>(
      nodeDrainQuery("drain.node = $1 for update of drain skip locked"),
      [node],
    );
    return row && fromNodeDrainColumns(row);
  }

  /** Until the transaction ends no other drain begins: two that look at once can't both find each other's Envoy. Before any row. */
  async lock(): Promise<void> {
    await this.transaction.query("select from write_locks where name = 'node-drains' for update");
  }

  /** The gateway of an Envoy that is, or was lately, connected. */
  async gatewayOf(node: string): Promise<string | undefined> {
    const [row] = await this.transaction.query<{ gateway: string }>("select gateway from nodes where id = $1", [node]);
    return row?.gateway;
  }

  /** Ids of Envoys, at most 1,000. */
  async knownNodes(): Promise<readonly string[]> {
    return (await this.transaction.query<{ id: string }>("select id from nodes order by id limit 1000")).map(({ id }) => id);
  }

  /** In which the node's drain last moved. */
  async revisionOf(node: string): Promise<Revision> {
    const [row] = await this.transaction.query<{ revision: Revision | null }>(
      "select max(revision) as revision from changes where space = $1 and kind = $2 and name = $3",
      [space, nodeDrainKind, node],
    );
    return row?.revision ?? 0;
  }

  /** How many are drained, and how many other Envoys of the gateway are connected and not. */
  async count(gateway: string, node: string): Promise<{ readonly drained: number; readonly others: number }> {
    const [row] = await this.transaction.query<{ drained: number; others: number }>(
      `select (select count(*)::int from node_drains) as drained,
              (select count(*)::int from nodes where gateway = $1 and id <> $2 and connected and ${isLive}
                  and not exists (select from node_drains where node_drains.node = nodes.id)) as others`,
      [gateway, node],
    );
    return row ?? { drained: 0, others: 0 };
  }

  /** Whether a listener of the gateway has a health check that can fail. */
  async hasHealthPath(gateway: string): Promise<boolean> {
    const [row] = await this.transaction.query(
      "select from listeners where spec->'gateways' ? $1 and spec->>'healthPath' is not null limit 1",
      [gateway],
    );
    return row !== undefined;
  }

  async begin({ node, id, gateway, by, lameDuckMs, timeoutMs }: NewNodeDrain): Promise<void> {
    const phase: NodeDrainPhase = lameDuckMs > 0 ? "lame-duck" : "withdrawn";
    await this.transaction.query(
      `insert into node_drains (node, id, gateway, phase, author, request_id, reason, lame_duck_ms, timeout_ms, withdraw_at, deadline)
       values ($1, $2, $3, $4, $5, $6, $7, $8, $9, ${inMs("$8::int")}, ${inMs("($8::int + $9::int)")})`,
      [node, id, gateway, phase, by.author, by.requestId, by.reason ?? null, lameDuckMs, timeoutMs],
    );
    this.#changes.push({ kind: nodeDrainKind, name: node, before: null, after: { gateway, phase } });
  }

  /** One that has ended is waited for once more; its listeners stay away. */
  async again({ node, id, by, timeoutMs }: Omit<NewNodeDrain, "gateway" | "lameDuckMs">): Promise<void> {
    await this.transaction.query(
      `update node_drains
          set id = $2, author = $3, request_id = $4, reason = $5, timeout_ms = $6, deadline = ${inMs("$6::int")}, acked_at = null,
              verdict = null, connections = null, reported_at = null, ended_at = null, safe_to_stop = false, left_open = null, outcome = null
        where node = $1 and ended_at is not null`,
      [node, id, by.author, by.requestId, by.reason ?? null, timeoutMs],
    );
  }

  /** The listeners go. Whoever did it late (the database was away) leaves the connections all their time. False: they are going already. */
  async withdraw({ node, gateway }: Pick<NodeDrainRecord, "node" | "gateway">): Promise<boolean> {
    const moved = await this.transaction.query(
      `update node_drains set phase = 'withdrawn', withdraw_at = clock_timestamp(), deadline = ${inMs("timeout_ms")}
        where node = $1 and phase = 'lame-duck' returning node`,
      [node],
    );
    if (moved.length === 0) return false;
    const before = { gateway, phase: "lame-duck" } as const;
    this.#changes.push({ kind: nodeDrainKind, name: node, before, after: { gateway, phase: "withdrawn" } });
    return true;
  }

  /** It is not waited for any more; the Envoy stays drained. Changes no configuration. */
  async end(node: string, { safeToStop, leftOpen, outcome }: NodeDrainEnd): Promise<boolean> {
    const ended = await this.transaction.query(
      `update node_drains set ended_at = clock_timestamp(), safe_to_stop = $2, left_open = $3, outcome = $4
        where node = $1 and ended_at is null returning node`,
      [node, safeToStop, leftOpen, outcome],
    );
    return ended.length > 0;
  }

  /** Its listeners come back. */
  async lift({ node, gateway, phase }: Pick<NodeDrainRecord, "node" | "gateway" | "phase">): Promise<void> {
    const lifted = await this.transaction.query("delete from node_drains where node = $1 returning node", [node]);
    if (lifted.length > 0) this.#changes.push({ kind: nodeDrainKind, name: node, before: { gateway, phase }, after: null });
  }
}
