// Every metric of a control plane, in one table: what it counts, its unit (in the name), its labels. Prometheus text comes out at /metrics.
// Typed by the table: a misspelt metric, or a missing or strange label, does not compile. Label values must come from small closed
// sets (types, kinds, codes, limit names), never from names of nodes or objects: each value is a series kept for ever.

import { processTable } from "./process-metrics.js";
import { createRegistry, type Definition, type MetricsOf, patient, quick } from "./registry.js";

/** name without its prefix `chancery_` → definition. Counters end in `_total`, times are seconds, sizes are bytes. */
export const metricTable = {
  xds_streams_open: { kind: "gauge", labels: ["kind"], help: "Streams open now, by kind (ads-delta, ads-sotw, delta, sotw)." },
  xds_streams_total: { kind: "counter", labels: ["kind"], help: "Streams opened." },
  xds_streams_ended_total: {
    kind: "counter",
    labels: ["kind", "reason"],
    help: "Streams ended, by reason (client, limit, stalled, age, balance, shutdown, error, rollout, drain).",
  },
  xds_responses_sent_total: { kind: "counter", labels: ["type"], help: "Discovery responses written, by resource type." },
  xds_bytes_sent_total: { kind: "counter", labels: ["type"], help: "Bytes of discovery responses written, by resource type." },
  xds_acks_total: { kind: "counter", labels: ["type"], help: "Responses that an Envoy acked." },
  xds_nacks_total: { kind: "counter", labels: ["type"], help: "Responses that an Envoy refused." },
  xds_requests_total: { kind: "counter", labels: ["type"], help: "Discovery requests read, acks and nacks among them." },
  xds_resources_refused: {
    kind: "gauge",
    labels: ["type"],
    help: "Resources that some connected Envoy refuses now, each counted once per Envoy.",
  },
  xds_resources_held: {
    kind: "gauge",
    labels: ["type"],
    help: "Resources kept back now until their clusters are ready, each counted once per Envoy.",
  },
  xds_resources_unanswered: {
    kind: "gauge",
    labels: ["type"],
    help: "Resources sent and not answered in time, each counted once per Envoy.",
  },
  xds_push_seconds: {
    kind: "histogram",
    labels: [],
    help: "From a published snapshot to its last stream written.",
    buckets: quick,
  },

  snapshot_revision: { kind: "gauge", labels: [], help: "Revision that this replica serves." },
  snapshot_gateways: {
    kind: "gauge",
    labels: [],
    help: "Snapshots held: one for each gateway and transport that an Envoy asks for.",
  },
  snapshot_build_seconds: {
    kind: "histogram",
    labels: ["cause"],
    help: "Bringing snapshots up to date, by cause (revisions, load, gateway: the first stream of one).",
    buckets: quick,
  },
  snapshot_load_seconds: { kind: "histogram", labels: [], help: "A full load of the state, read and built.", buckets: patient },
  snapshot_translations_total: { kind: "counter", labels: ["type"], help: "Resources encoded." },
  snapshot_failures_total: {
    kind: "counter",
    labels: ["reason"],
    help: "What could not be taken over, so that the last good form stayed (translate: a resource; load, count: a full load).",
  },
  revision_lag: {
    kind: "gauge",
    labels: [],
    help: "Revisions that the database had when last asked and that this replica does not serve yet.",
  },

  feed_connected: { kind: "gauge", labels: [], help: "Whether the last read of the database by the feed succeeded: 1 or 0." },
  feed_polls_total: {
    kind: "counter",
    labels: ["cause"],
    help: "Reads of the feed, by cause (timer, hint, stream: one opened that must not be behind, more: the last read was full).",
  },
  feed_hints_total: { kind: "counter", labels: ["channel"], help: "NOTIFY hints received, by channel (revision, sync)." },
  feed_histories_total: {
    kind: "counter",
    labels: [],
    help: "Times that the database turned out to hold another history, and everything was read again.",
  },
  feed_lost_revisions_total: {
    kind: "counter",
    labels: [],
    help: "Revisions that this replica had served or acknowledged and that the database's other history lacks.",
  },

  serving_last_known_good: {
    kind: "gauge",
    labels: [],
    help: "Whether this replica serves what it kept on disk, because its database has not answered since it started: 1 or 0.",
  },
  state_file_revision: {
    kind: "gauge",
    labels: [],
    help: "Revision of the state that is kept on disk; 0: none, or switched off.",
  },
  state_file_failing: { kind: "gauge", labels: [], help: "Whether the last try to keep the state on disk failed: 1 or 0." },
  state_file_writes_total: { kind: "counter", labels: ["outcome"], help: "States kept on disk (written, failed)." },
  state_file_write_seconds: {
    kind: "histogram",
    labels: [],
    help: "Keeping one state on disk, in the background.",
    buckets: patient,
  },
  state_file_rejected_total: {
    kind: "counter",
    labels: ["reason"],
    help: "States on disk that were not served (damaged, format: of another release, database: of another one, unreadable).",
  },

  store_call_seconds: {
    kind: "histogram",
    labels: ["call"],
    help: "One call of the store: a statement, or a transaction with its retries, and the wait for a connection.",
    buckets: quick,
  },
  store_retries_total: { kind: "counter", labels: ["sqlstate"], help: "Writes begun again after a conflict." },
  store_errors_total: {
    kind: "counter",
    labels: ["code"],
    help: "Calls of the store that failed for no fault of the caller, by error code.",
  },
  store_revisions_total: { kind: "counter", labels: [], help: "Revisions that this replica committed." },
  history_pruned_total: { kind: "counter", labels: [], help: "Old revisions that this replica pruned." },
  history_cut_revision: { kind: "gauge", labels: [], help: "Revision up to which the history was pruned; 0: nothing was." },
  history_broken: {
    kind: "gauge",
    labels: [],
    help: "Whether what was to be pruned is not what was written, and stays: 1 or 0 (chancery audit verify says where).",
  },
  store_connections: {
    kind: "gauge",
    labels: ["pool", "state"],
    help: "Connections to the database by pool, busy or idle; awaited: calls that wait for one.",
  },

  report_streams_open: {
    kind: "gauge",
    labels: ["service"],
    help: "Report streams of Envoys open now, by service (load, metrics).",
  },
  report_streams_ended_total: {
    kind: "counter",
    labels: ["service", "reason"],
    help: "Report streams ended, by reason (client, limit, shutdown, error: a message that can't be read).",
  },
  reports_received_total: { kind: "counter", labels: ["service"], help: "Load reports and metrics messages received." },
  report_nodes: { kind: "gauge", labels: ["state"], help: "Envoys with report streams here: reporting, or silent for 5 s." },
  status_nodes: { kind: "gauge", labels: ["gateway_known"], help: "Envoys connected to this replica." },
  status_flushes_total: {
    kind: "counter",
    labels: ["outcome"],
    help: "Writes of the fleet's state to the database (ok, failed).",
  },
  status_rows_written_total: { kind: "counter", labels: ["table"], help: "Rows so written (nodes, sync)." },
  status_evaluations_total: {
    kind: "counter",
    labels: [],
    help: "Times that one node's answers were compared with what it owes.",
  },
  status_revisions_tracked: { kind: "gauge", labels: [], help: "Revisions whose spread over the fleet is followed." },
  sync_waits_open: { kind: "gauge", labels: [], help: "Callers waiting for Envoys to answer." },
  sync_waits_total: {
    kind: "counter",
    labels: ["state"],
    help: "Waits that ended, by what they answered (acked, pending, refused).",
  },
  sync_wait_seconds: { kind: "histogram", labels: ["state"], help: "How long callers waited for Envoys.", buckets: patient },

  api_request_seconds: {
    kind: "histogram",
    labels: ["method", "route", "status"],
    help: "Admin API requests, by route pattern and status.",
    buckets: quick,
  },
  api_followers: { kind: "gauge", labels: [], help: "Callers that follow the revisions." },
  api_requests_in_flight: { kind: "gauge", labels: [], help: "Admin API requests being answered." },

  validations_total: {
    kind: "counter",
    labels: ["outcome"],
    help: "Writes shown to a real Envoy before their commit (passed, refused; unknown because late, busy, failed or starting).",
  },
  validation_seconds: {
    kind: "histogram",
    labels: ["outcome"],
    help: "How long a write was looked at (passed, refused, unknown); from memory when its content was asked about before.",
    buckets: quick,
  },
  refusals_total: {
    kind: "counter",
    labels: ["type"],
    help: "Resources that an Envoy of this replica newly refused, by resource type; repeats of the same bytes do not count.",
  },
  refusal_rollbacks_total: {
    kind: "counter",
    labels: ["outcome"],
    help: "Refused writes that were asked to be undone (restored, left).",
  },
  rollouts_open: { kind: "gauge", labels: [], help: "Staged rollouts under way, on all replicas." },
  rollout_events_total: {
    kind: "counter",
    labels: ["event"],
    help: "Steps of staged rollouts that this replica took (began, stage, promoted, done, aborted).",
  },
  drains_open: {
    kind: "gauge",
    labels: ["state"],
    help: "Drains that have not ended, by state (draining, closing); of the whole fleet.",
  },
  drain_in_flight: {
    kind: "gauge",
    labels: [],
    help: "Requests and connections that open drains wait for, unattributed ones included; of the whole fleet.",
  },
  drains_ended_total: {
    kind: "counter",
    labels: ["safe"],
    help: "Drains that this replica brought to their end, by whether it was safe to stop then (true, false).",
  },
  drain_seconds: {
    kind: "histogram",
    labels: ["safe"],
    help: "How long drains took, from their request to their end.",
    buckets: patient,
  },
  drain_left_open_total: { kind: "counter", labels: [], help: "Requests and connections left open at the end of drains." },
  rebalances_open: { kind: "gauge", labels: [], help: "Rebalances that have not ended; of the whole fleet." },
  rebalances_ended_total: {
    kind: "counter",
    labels: ["state"],
    help: "Rebalances that this replica brought to their end (done, superseded); cancelled ones and those that another call superseded are not in it.",
  },
  rebalance_closed_total: {
    kind: "counter",
    labels: [],
    help: "Connections that were open at the endpoints that this replica had closed for rebalances.",
  },
  node_drains: {
    kind: "gauge",
    labels: ["state"],
    help: "Drained Envoys, by state (open: waited for, ended); of the whole fleet.",
  },
  node_drains_ended_total: {
    kind: "counter",
    labels: ["safe"],
    help: "Drains of Envoys that this replica brought to their end, by whether it was safe to stop then (true, false).",
  },
  node_drain_seconds: {
    kind: "histogram",
    labels: ["safe"],
    help: "How long drains of Envoys took, from their request to their end.",
    buckets: patient,
  },
  endpoint_leases_held: {
    kind: "gauge",
    labels: [],
    help: "Endpoints that stay although their lease is over, because too many others are gone; of the whole fleet.",
  },
  endpoint_leases_ended_total: {
    kind: "counter",
    labels: [],
    help: "Endpoints that this replica drained because their lease was over.",
  },
  webhook_deliveries_total: {
    kind: "counter",
    labels: ["outcome"],
    help: "Refusals posted to the webhook (delivered, rejected by its answer, given up after retries, dropped at the queue's limit).",
  },
  webhook_queue: { kind: "gauge", labels: [], help: "Refusals that wait to be posted to the webhook." },

  limit_hits_total: {
    kind: "counter",
    labels: ["limit"],
    help: "Times that a limit was met, by its setting without CHANCERY_ (docs/configuration.md says what happens then).",
  },
  ...processTable,
} as const satisfies Record<string, Definition>;

/** What the rooms of a control plane write to. */
export type Metrics = MetricsOf<typeof metricTable>;

/** A registry of its own: two control planes in one process (tests) never share a series. */
export const createMetrics = (): Metrics => createRegistry(metricTable);
