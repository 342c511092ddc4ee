// How far a revision is, over the replicas: adding up what each of them says. Pure.
// Called by: waits.ts.
import type { GatewaySync } from "../model/node.js";
import type { Revision } from "../model/revision.js";
import { maxNamed } from "./tracked-revision.js";

/** What a caller who waits for Envoys is told. */
export interface Sync {
  readonly revision: Revision;
  /**
   * acked: every node counted has it. refused: at least one Envoy refused something of it. pending: neither, yet. With a quorum: so many of
   * each gateway have it; so many refused it that the rest is no quorum; neither, yet.
   */
  readonly state: "acked" | "pending" | "refused";
  /** gateway → how far; only gateways for which the revision changed something and a node is or was there. */
  readonly gateways: Readonly<Record<string, GatewaySync>>;
  /** Replicas that live and have not loaded the revision: their Envoys are not counted yet. Sorted; "" among them: not known. */
  readonly replicasBehind: readonly string[];
}

function mergeNames(lists: readonly (readonly string[])[], without: ReadonlySet<string>): string[] {
  return [...new Set(lists.flat())]
    .filter((name) => !without.has(name))
    .sort()
    .slice(0, maxNamed);
}

/** One gateway over several replicas. A node that left one of them and is named on another is there, not gone. */
export function mergeGateway(parts: readonly GatewaySync[]): GatewaySync {
  const [only] = parts;
  if (only && parts.length === 1) return only;
  const lagging = mergeNames(
    parts.map((part) => part.lagging),
    new Set(),
  );
  const refused = parts.flatMap((part) => part.refused).slice(0, maxNamed);
  const present = new Set([...lagging, ...refused.map(({ node }) => node)]);
  return {
    total: parts.reduce((sum, part) => sum + part.total, 0),
    acked: parts.reduce((sum, part) => sum + part.acked, 0),
    refused,
    lagging,
    gone: mergeNames(
      parts.map((part) => part.gone),
      present,
    ),
  };
}

/**
 * Adds up what the replicas say of one revision. Nothing is acked while a live replica has not even loaded it (`behind`), nor
 * before the others were asked (`known`).
 */
export function mergeSync(
  revision: Revision,
  parts: readonly (readonly [gateway: string, sync: GatewaySync])[],
  others: { readonly known: boolean; readonly behind: readonly string[] },
  quorumPercent = 100,
): Sync {
  const byGateway = new Map<string, GatewaySync[]>();
  for (const [gateway, sync] of parts) {
    const known = byGateway.get(gateway);
    if (known) known.push(sync);
    else byGateway.set(gateway, [sync]);
  }
  const gateways = Object.fromEntries(
    [...byGateway].sort(([a], [b]) => (a < b ? -1 : 1)).map(([gateway, syncs]) => [gateway, mergeGateway(syncs)]),
  );
  const all = Object.values(gateways);
  const hasQuorum = all.every((sync) => sync.acked >= quorumOf(sync, quorumPercent));
  const settled = others.known && others.behind.length === 0 && hasQuorum;
  const isLost = all.some((sync) => countRefusing(sync) > sync.total - quorumOf(sync, quorumPercent));
  const state = isLost ? "refused" : settled ? "acked" : "pending";
  return { revision, state, gateways, replicasBehind: [...others.behind, ...(others.known ? [] : [""])].sort() };
}

/** Rounded up: 90 % of 3 are 3. */
function quorumOf({ total }: GatewaySync, quorumPercent: number): number {
  return Math.ceil((total * quorumPercent) / 100);
}

/** Nodes, each once; as far as they are named (`maxNamed`). */
function countRefusing({ refused }: GatewaySync): number {
  return new Set(refused.map(({ node }) => node)).size;
}
