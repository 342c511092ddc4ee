// One Envoy as the admin API shows it, and as its row says it. A refusal is joined with who asked for the revision.
// In: FleetNode (ours) or NodeRow (another replica's). Out: NodeView, NodeRow. Called by: flusher.ts, fleet.ts.
import type { ResourceException, StreamKind } from "../model/node.js";
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import type { NodeRow } from "../store/status-store.js";
import { type FleetNode, isRefusal } from "./fleet-node.js";
import { maxDetailLength, maxNamed } from "./tracked-revision.js";

/** A resource that the Envoy said no to, in its own words, and whose change it was. */
export interface RefusalView {
  readonly type: ResourceType;
  readonly resource: string;
  /** Routes of a RouteConfiguration that are at fault; empty: all of it. */
  readonly parts: readonly string[];
  readonly revision: Revision;
  /** undefined: the revision is from another history, or the database can't be asked. */
  readonly author: string | undefined;
  readonly requestId: string | undefined;
  readonly detail: string;
  /** ISO 8601, its replica's clock. */
  readonly at: string;
}

/** A resource that the Envoy does not have yet. */
export interface HeldView {
  readonly type: ResourceType;
  readonly resource: string;
  /** Routes of a RouteConfiguration; empty: all of it. */
  readonly parts: readonly string[];
  readonly kind: "held" | "unanswered";
  readonly revision: Revision;
  readonly detail: string;
  readonly at: string;
}

/** One Envoy as GET /v1/nodes shows it. */
export interface NodeView {
  readonly id: string;
  readonly gateway: string;
  /** Whether some listener names its gateway; if not, its configuration is empty. */
  readonly gatewayKnown: boolean;
  readonly connected: boolean;
  /** It is drained, or on its way to be: it has no listeners, or is about to lose them. */
  readonly draining: boolean;
  readonly replica: string;
  /** ISO 8601. */
  readonly since: string;
  readonly streams: readonly StreamKind[];
  readonly envoyVersion: string;
  /** The least of `acked`. Of a node on another replica, up to some seconds old. */
  readonly ackedRevision: Revision;
  readonly acked: Readonly<Record<ResourceType, Revision>>;
  readonly refused: readonly RefusalView[];
  readonly held: readonly HeldView[];
}

/** Who made a revision. */
export interface RevisionAuthor {
  readonly author: string;
  readonly requestId: string;
}

/** The node's row; undefined when it has no stream left. */
export function toNodeRow(node: FleetNode, replica: string): NodeRow | undefined {
  const { newest } = node;
  if (!newest) return undefined;
  return {
    id: node.id,
    gateway: node.gateway,
    replica,
    connected: true,
    since: new Date(node.since).toISOString(),
    streams: node.streams,
    envoyVersion: newest.node.envoyVersion,
    acked: node.readAllAcked(),
    exceptions: boundExceptions(node.exceptions),
  };
}

/** Refusals first: they are what a person looks for. */
function boundExceptions(exceptions: readonly ResourceException[]): ResourceException[] {
  const refusals = exceptions.filter(isRefusal);
  const rest = exceptions.filter((exception) => !isRefusal(exception));
  return [...refusals, ...rest]
    .slice(0, maxNamed)
    .map((exception) => ({ ...exception, detail: exception.detail.slice(0, maxDetailLength) }));
}

/** 0 for a type that the node does not ask for, which then does not count. */
function leastAcked(acked: NodeRow["acked"]): Revision {
  const asked = resourceTypes.map((type) => acked[type]).filter((revision) => revision > 0);
  return asked.length > 0 ? Math.min(...asked) : 0;
}

/** `ackedRevision` undefined: as the row's `acked` says. */
export function toNodeView(
  row: NodeRow,
  { gatewayKnown, draining }: Pick<NodeView, "gatewayKnown" | "draining">,
  ackedRevision: Revision | undefined,
  authors: ReadonlyMap<Revision, RevisionAuthor>,
): NodeView {
  const { exceptions, ...rest } = row;
  return {
    ...rest,
    gatewayKnown,
    draining,
    ackedRevision: ackedRevision ?? leastAcked(row.acked),
    refused: exceptions.filter(isRefusal).map(({ type, name, parts, revision, detail, at }) => ({
      type,
      resource: name,
      parts: parts ?? [],
      revision,
      author: authors.get(revision)?.author,
      requestId: authors.get(revision)?.requestId,
      detail,
      at: new Date(at).toISOString(),
    })),
    held: exceptions.flatMap(({ type, name, parts, kind, revision, detail, at }) =>
      kind === "refused"
        ? []
        : { type, resource: name, parts: parts ?? [], kind, revision, detail, at: new Date(at).toISOString() },
    ),
  };
}
