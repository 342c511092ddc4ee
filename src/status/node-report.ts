// What xds/ tells of one stream, and when. status/ reads it again at each answer; it never keeps a copy of the whole.
// Implemented by: xds (one per stream). Read by: tracker.ts.
import type { NodeIdentity, ResourceException, StreamKind } from "../model/node.js";
import type { ResourceType } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";

/** type → name → its parts that changed (routes of a RouteConfiguration); undefined: all of it. */
export type RevisionChanges = ReadonlyMap<ResourceType, ReadonlyMap<string, readonly string[] | undefined>>;

/** A live view of one stream. */
export interface NodeReport {
  readonly node: NodeIdentity;
  /** Under which it is counted: its gateway, or `<gateway>/<variant>` while it sees a rollout, or is drained. */
  readonly view: string;
  readonly kind: StreamKind;
  /** ms since the epoch, this replica's clock. */
  readonly openedAt: number;
  /** Larger for a stream opened later on this replica: decides between streams of the same ms. */
  readonly ordinal: number;
  /** Whether the stream has asked for any resource of the type. */
  subscribes(type: ResourceType): boolean;
  /**
   * Everything of the type that revisions up to this one changed, the Envoy has acked, apart from `exceptions`.
   * Moves on by itself where a revision changed nothing for the stream, and over a removal that is held for its grace.
   */
  ackedRevision(type: ResourceType): Revision;
  /** Whether the Envoy may have something of the type that it is not to have, or the other way round. What it has acked does not tell: a removal after a reconnect is no revision's. */
  isUnsettled(type: ResourceType): boolean;
  /** What the Envoy does not have, and why. Removals held for their grace are not among them. */
  exceptions(): Iterable<ResourceException>;
}

/** What one Envoy has answered, over all its streams: as much of a node as a revision needs to know. */
export interface Answers {
  readonly id: string;
  /** Mask of the types that it asks for. */
  readonly subscribed: number;
  /** type → acked revision; 0 where it does not ask. */
  readonly acked: Readonly<Record<ResourceType, Revision>>;
  readonly exceptions: readonly ResourceException[];
}

/** Bit of each type in a mask of types. */
export const typeBits = { cluster: 1, endpoint: 2, listener: 4, route: 8 } as const satisfies Record<ResourceType, number>;
/** The mask with every type in it. */
export const allTypes = 15;
/** Beside the bits of types, in a mask of what is new of a stream: `exceptions` may say something else. */
export const exceptionsBit = 16;
/** Everything may be new. */
export const allNews = allTypes | exceptionsBit;

/** Whether a node reads each type on one stream at most. On the separate services, RDS and EDS open one per resource. */
export const oneStreamPerNode = { cluster: true, endpoint: false, listener: true, route: false } as const satisfies Record<
  ResourceType,
  boolean
>;

/** Whether the exception touches something that the revision changed. `changes` undefined: unknown, so it may. */
export function overlaps(exception: ResourceException, changes: RevisionChanges | undefined): boolean {
  if (!changes) return true;
  const names = changes.get(exception.type);
  if (!names?.has(exception.name)) return false;
  const changedParts = names.get(exception.name);
  const { parts } = exception;
  return !changedParts || !parts || parts.some((part) => changedParts.includes(part));
}
