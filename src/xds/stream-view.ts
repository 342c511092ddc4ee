// What one type needs of the stream that it is on. Implemented by node-stream.ts.
import type { ResourceType } from "../model/resource-type.js";
import type { Resource } from "../snapshot/resource.js";
import type { Snapshots } from "../snapshot/snapshots.js";
import type { Readiness } from "./decision.js";
import type { NodeMemory, Refusal, Sent } from "./sent.js";

/** Times of the push, ms. */
export interface PushTimes {
  /** A missing ack holds the next response back no longer than this: Envoy withholds acks while any cluster warms. */
  readonly inFlightOverrideMs: number;
  /** When a refused listener is tried again (its port may be free by then), doubling up to the second. */
  readonly refusalRetryMs: number;
  readonly maxRefusalRetryMs: number;
  /** A new cluster whose endpoints Envoy does not ask for within this, while it asks for others', counts as refused. */
  readonly unseenClusterMs: number;
  /** An Envoy that asks for everything but clusters for this long gets them unasked. */
  readonly clusterlessMs: number;
  /** How long a cluster stays after the last route that named it was acked. */
  readonly removalGraceMs: number;
}

export interface StreamView extends Readiness {
  readonly delta: boolean;
  readonly snapshots: Snapshots;
  readonly times: PushTimes;
  /** Nothing on this stream waits for a cluster: the shared path may be taken. */
  isAllReady(): boolean;
  /** Nothing on this stream may still name a removed cluster. */
  isSettled(now: number): boolean;
  /** Whether the Envoy has had the time to say which clusters it has, by asking for their endpoints. */
  knowsClusters(now: number): boolean;
  /** Whether the Envoy asks for the cluster's endpoints: then it could make it. */
  isSeen(cluster: string): boolean;
  /** Writes what was taken down as sent. */
  write(type: ResourceType, sent: Sent): void;
  /** Told of each answer that took something, after it was taken in. */
  onAccepted(type: ResourceType, sent: Sent, now: number): void;
  /** What this node said of the name before, on this stream or an earlier one, unless it has taken it since. */
  earlierRefusal(type: ResourceType, name: string): Refusal | undefined;
  /** The form of a RouteConfiguration with this hash, looked for among what its routes were before they last changed. */
  pastForm(type: ResourceType, name: string, hash: string): Resource | undefined;
  /** The variant of a RouteConfiguration that the node had when its last stream to this replica ended. */
  rememberedVariant(name: string): ReturnType<NodeMemory["variants"]["get"]>;
  onRefused(type: ResourceType, name: string, refusal: Refusal): void;
  /** The endpoints of these clusters must go out again. */
  forceEndpoints(clusters: readonly string[]): void;
  /** The stream can't be served from what is remembered: end it, so that it comes back and reads everything. */
  giveUp(reason: string): void;
}
