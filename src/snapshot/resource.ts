// One resource as Envoy gets it: bytes encoded once, and a version that all replicas agree on.
// In: what translate/ encoded. Out: entries of a ResourceTable, and pieces of responses in xds/.
import { createHash } from "node:crypto";
import type { Revision } from "../model/revision.js";
import type { HttpRoute } from "../model/route.js";
import { hopClusterName, hopOwner } from "../translate/names.js";
import type { Encoded } from "../translate/resources.js";
import type { HealthAnswer } from "../translate/route-configuration.js";

/** Position in the history of one gateway's snapshot in this process; grows by one with each publication. Means nothing elsewhere. */
export type Seq = number;

/** Beside a cluster with a hop, the inner one; and back: the cluster of an inner one, undefined for others (translate/hop.ts). */
export const innerOf = hopClusterName;
export const outerOf = hopOwner;

export interface Resource {
  readonly name: string;
  /** First 64 bits of the SHA-256 of `bytes`, as 16 hex digits. Equal bytes, equal hash, on every replica. */
  readonly hash: string;
  /** `<hash>.<revision>`: equal by hash, ordered by revision (DESIGN §2). */
  readonly version: string;
  /** The encoded message, without its Any. */
  readonly bytes: Buffer;
  /** Revision at which this replica encoded it. */
  readonly revision: Revision;
  /** Clusters that a listener or route names; empty for others. */
  readonly clusters: readonly string[];
  /** Of a RouteConfiguration: route name → the form of the route that is in it. Forms compare by identity. */
  readonly parts: ReadonlyMap<string, HttpRoute> | undefined;
  /** Of a RouteConfiguration: what its listener's health check is answered with; undefined where there is none. */
  readonly health: HealthAnswer | undefined;
}

export function toResource(
  encoded: Encoded,
  revision: Revision,
  parts?: ReadonlyMap<string, HttpRoute>,
  health?: HealthAnswer,
): Resource {
  const hash = hashOf(encoded.bytes);
  return {
    name: encoded.name,
    hash,
    version: `${hash}.${revision}`,
    bytes: encoded.bytes,
    revision,
    clusters: encoded.clusters,
    parts,
    health,
  };
}

/** 64 bits: with 10^5 resources in a fleet's life per name, a false match is 1 in 10^9 names. */
export function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 16);
}

/** The hash in a version that an Envoy names; a version of another make is its own hash and equals none of ours. */
export function hashOfVersion(version: string): string {
  const dot = version.indexOf(".");
  return dot < 0 ? version : version.slice(0, dot);
}

/** The revision in a version that an Envoy names; 0 when there is none. */
export function revisionOfVersion(version: string): Revision {
  const dot = version.indexOf(".");
  const text = dot < 0 ? "" : version.slice(dot + 1);
  return /^\d{1,15}$/.test(text) ? Number(text) : 0;
}
