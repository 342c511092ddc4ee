// What the watch needs of the database: open drains, and the rows of `drain_nodes`, which say how far each Envoy is. Types only.
// An Envoy's configuration, load reports and metrics may be on three replicas: so a row has three parts, each written by the replica
// that has the stream, on the database's clock. Implemented by the store; used by watch.ts.
import type { Revision } from "../model/revision.js";
import type { Verdict } from "./belief.js";

export interface WatchedDrain {
  readonly id: string;
  /** An Envoy that has it sends nothing new to the endpoints. */
  readonly revision: Revision;
  /** Gateways whose Envoys count. */
  readonly gateways: readonly string[];
  readonly endpoints: readonly { readonly cluster: string; readonly endpoint: string; readonly connectTimeoutMs: number }[];
}

export interface DrainAck {
  readonly drain: string;
  readonly node: string;
  readonly gateway: string;
}

export interface DrainLoad extends DrainAck {
  readonly verdict: Exclude<Verdict, "silent">;
  readonly inFlight: number;
  readonly unattributed: number;
}

/** Gauges of one cluster resource. `least`: the least of requests and pending ones lately. `agoMs`: their age when they were written. */
export interface SharedGauges {
  readonly requests: number;
  readonly pending: number;
  readonly least: number;
  readonly agoMs?: number;
}

export interface DrainGauges extends DrainAck {
  /** cluster resource → gauges. */
  readonly gauges: Readonly<Record<string, SharedGauges>>;
}

/** All throw database_unavailable. */
export interface DrainRowStore {
  /** Those that have not ended. */
  watched(): Promise<readonly WatchedDrain[]>;
  /** The first time of each stays. */
  saveAcks(replica: string, rows: readonly DrainAck[]): Promise<void>;
  saveLoads(replica: string, rows: readonly DrainLoad[]): Promise<void>;
  saveGauges(replica: string, rows: readonly DrainGauges[]): Promise<void>;
  acks(
    drains: readonly string[],
  ): Promise<readonly { readonly drain: string; readonly node: string; readonly ackedAgoMs: number }[]>;
  gauges(drains: readonly string[]): Promise<
    readonly {
      readonly drain: string;
      readonly node: string;
      readonly gauges: Readonly<Record<string, SharedGauges>>;
      readonly sampledAgoMs: number;
    }[]
  >;
}
