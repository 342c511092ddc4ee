// What goes to and fro on discovery streams, counted: every push and every answer touches these, so each series is looked up once.
// Made by server.ts, used by stream-call.ts.
import type { ResourceType } from "../model/resource-type.js";
import type { Metrics } from "../telemetry/metrics.js";

type Count = (by?: number) => void;

/** type → its counters. */
export type Traffic = Readonly<
  Record<
    ResourceType,
    { readonly requests: Count; readonly acks: Count; readonly nacks: Count; readonly responses: Count; readonly bytes: Count }
  >
>;

export function countTraffic(metrics: Metrics): Traffic {
  const countersOf = (type: ResourceType) => ({
    requests: metrics.counter("xds_requests_total", { type }),
    acks: metrics.counter("xds_acks_total", { type }),
    nacks: metrics.counter("xds_nacks_total", { type }),
    responses: metrics.counter("xds_responses_sent_total", { type }),
    bytes: metrics.counter("xds_bytes_sent_total", { type }),
  });
  const [cluster, endpoint, listener, route] = [
    countersOf("cluster"),
    countersOf("endpoint"),
    countersOf("listener"),
    countersOf("route"),
  ];
  return { cluster, endpoint, listener, route };
}
