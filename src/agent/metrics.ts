// Every metric of an agent, in one table; they come out at /metrics of its status page. In: what its Envoys are served by and have on disk.

import { processTable } from "../telemetry/process-metrics.js";
import type { MetricsOf, MetricTable } from "../telemetry/registry.js";
import { createRegistry } from "../telemetry/registry.js";

/** name without its prefix `chancery_` → definition. */
export const agentMetricTable = {
  agent_upstream_connections: {
    kind: "gauge",
    labels: ["upstream"],
    help: "Connections open to a control plane, by its address as --xds gives it; one for each connection of an Envoy.",
  },
  agent_nodes: {
    kind: "gauge",
    labels: ["serving"],
    help: "Envoys that have come to this agent, by who serves them now (live, last-known-good, nobody).",
  },
  agent_nodes_kept: { kind: "gauge", labels: [], help: "Envoys of which a configuration is on disk." },
  agent_nodes_unkept_total: {
    kind: "counter",
    labels: [],
    help: "Streams of Envoys that were passed on and not kept, because too many Envoys come to this agent.",
  },
  agent_kept_age_seconds: {
    kind: "gauge",
    labels: [],
    help: "Time since the oldest configuration on disk was written; 0: none is. It grows while nothing changes.",
  },
  agent_streams_open: {
    kind: "gauge",
    labels: ["kind"],
    help: "Streams of Envoys open now, by kind (ads: read and kept; other: passed on).",
  },
  agent_messages_total: {
    kind: "counter",
    labels: ["direction"],
    help: "Messages of incremental ADS relayed (request: to a control plane, response: to an Envoy).",
  },
  agent_saves_total: { kind: "counter", labels: ["outcome"], help: "Configurations kept on disk (written, failed)." },
  agent_saves_failing: { kind: "gauge", labels: [], help: "Envoys whose last save failed, so that what is on disk is older." },
  agent_files_rejected_total: {
    kind: "counter",
    labels: ["reason"],
    help: "Files on disk that were not served (damaged, unreadable, format: of another release, node: of another Envoy).",
  },
  agent_starts_from_disk_total: { kind: "counter", labels: [], help: "Streams that were served from disk." },
  agent_kept_refused_total: { kind: "counter", labels: [], help: "Responses from disk that an Envoy refused." },
  ...processTable,
} as const satisfies MetricTable;

export type AgentMetrics = MetricsOf<typeof agentMetricTable>;

const servings = ["live", "last-known-good", "nobody"] as const;
/** Who answers an Envoy. */
export type Serving = (typeof servings)[number];

/** One Envoy, as its gauges see it. */
interface NodeState {
  readonly serving: Serving;
  readonly kept: { readonly writtenAt: number } | undefined;
  readonly trouble: string | undefined;
}

/** With a series of 0 for each label value that is known beforehand, so that `increase` sees the first failure. */
export function createAgentMetrics(upstreams: readonly string[]): AgentMetrics {
  const metrics = createRegistry(agentMetricTable);
  for (const upstream of upstreams) metrics.set("agent_upstream_connections", { upstream }, 0);
  for (const kind of ["ads", "other"]) metrics.set("agent_streams_open", { kind }, 0);
  for (const direction of ["request", "response"]) metrics.count("agent_messages_total", { direction }, 0);
  for (const outcome of ["written", "failed"]) metrics.count("agent_saves_total", { outcome }, 0);
  for (const reason of ["damaged", "unreadable", "format", "node"]) metrics.count("agent_files_rejected_total", { reason }, 0);
  return metrics;
}

/** What is cheaper to read at a scrape than to keep. */
export function setNodeGauges(metrics: AgentMetrics, nodes: readonly NodeState[], now: number): void {
  for (const serving of servings)
    metrics.set("agent_nodes", { serving }, nodes.filter((node) => node.serving === serving).length);
  const written = nodes.flatMap(({ kept }) => kept?.writtenAt ?? []);
  metrics.set("agent_nodes_kept", {}, written.length);
  metrics.set("agent_kept_age_seconds", {}, written.length === 0 ? 0 : Math.max(0, now - Math.min(...written)) / 1_000);
  metrics.set("agent_saves_failing", {}, nodes.filter(({ trouble }) => trouble !== undefined).length);
}
