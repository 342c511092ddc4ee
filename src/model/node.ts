// One Envoy as it named itself when it opened its stream, and what it said of its configuration. Pure.
import type { ResourceType } from "./resource-type.js";
import type { Revision } from "./revision.js";

/** The static cluster of the bootstrap through which an Envoy reaches the control plane. */
export const controlPlaneCluster = "chancery";

export interface NodeIdentity {
  readonly id: string;
  /** `node.cluster`: the gateway whose configuration it gets. */
  readonly gateway: string;
  readonly region: string;
  readonly zone: string;
  /** `1.40.0`, or "" when it did not say. */
  readonly envoyVersion: string;
}

/** How the node asks: ADS or one stream per type, delta or state of the world. */
export type StreamKind = "ads-delta" | "ads-sotw" | "delta" | "sotw";

/** One resource that a node does not have as the newest revision wants it, and why. */
export interface ResourceException {
  readonly type: ResourceType;
  readonly name: string;
  /** Routes of a RouteConfiguration that are kept back; undefined: the whole resource. */
  readonly parts: readonly string[] | undefined;
  /** refused: by the Envoy (`detail` in its own words). held: waiting for a cluster. unanswered: sent, neither acked nor refused in time. */
  readonly kind: "refused" | "held" | "unanswered";
  /** The revision of the bytes that it does not have. */
  readonly revision: Revision;
  readonly detail: string;
  /** ms since the epoch, this replica's clock; for people, never compared. */
  readonly at: number;
}

/** How far one gateway's nodes are with one revision, over all replicas or on one. */
export interface GatewaySync {
  /** Nodes connected and subscribed to something that the revision changed. */
  readonly total: number;
  readonly acked: number;
  readonly refused: readonly {
    readonly node: string;
    readonly type: ResourceType;
    readonly resource: string;
    readonly detail: string;
  }[];
  /** Node ids, sorted, at most 100. */
  readonly lagging: readonly string[];
  /** Nodes that left before they answered, sorted, at most 100. */
  readonly gone: readonly string[];
}
