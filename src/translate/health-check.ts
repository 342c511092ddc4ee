// Active health checks. Pure. Called by cluster.ts.
// https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/health_check.proto
import type { Cluster } from "../model/cluster.js";
import type { GrpcHealthCheck, HealthCheck, HttpHealthCheck, StatusRange, TcpHealthCheck } from "../model/health-check.js";
import type { HealthCheckProto } from "../proto/messages.js";
import { toDuration } from "./duration.js";
import { unreachable } from "./unreachable.js";

/**
 * `cluster` is the user's, also for a split cluster: its name is the host that is asked for. An endpoint must pass every check.
 */
export function toHealthChecks(cluster: Cluster): HealthCheckProto[] {
  const { healthChecks } = cluster;
  // Envoy wants names where there are several.
  return healthChecks.map((check, at) => toHealthCheck(check, cluster, healthChecks.length > 1 ? `${at + 1}-${check.kind}` : ""));
}

function toHealthCheck(check: HealthCheck, cluster: Cluster, name: string): HealthCheckProto {
  return {
    name,
    timeout: toDuration(check.timeoutMs),
    interval: toDuration(check.intervalMs),
    initial_jitter: toDuration(check.initialJitterMs),
    interval_jitter: toDuration(check.intervalJitterMs),
    unhealthy_threshold: { value: check.unhealthyThreshold },
    healthy_threshold: { value: check.healthyThreshold },
    reuse_connection: { value: check.reuseConnection },
    ...toChecker(check, cluster),
    // The default of 60 s, until the cluster's first request, hides a failing host.
    no_traffic_interval: toDuration(check.intervalMs),
    ...(check.unhealthyIntervalMs === undefined ? {} : { unhealthy_interval: toDuration(check.unhealthyIntervalMs) }),
  };
}

/**
 * The port that checks go to in place of the endpoint's own. Envoy takes it from the endpoint, not from the check, and there is
 * one for all checks of a cluster: the first that is given counts.
 */
export function checkPort(cluster: Cluster): number | undefined {
  return cluster.healthChecks.find((check) => check.port !== undefined)?.port;
}

function toChecker(check: HealthCheck, cluster: Cluster): HealthCheckProto {
  switch (check.kind) {
    case "tcp":
      return { tcp_health_check: toTcpChecker(check) };
    case "http":
      return { http_health_check: toHttpChecker(check, cluster) };
    case "grpc":
      return { grpc_health_check: toGrpcChecker(check, cluster) };
    default:
      return unreachable(check);
  }
}

/** Envoy wants payload texts in hex, and refuses others. */
function toPayload(text: string): { text: string } {
  return { text: Buffer.from(text, "utf8").toString("hex") };
}

function toTcpChecker(check: TcpHealthCheck): NonNullable<HealthCheckProto["tcp_health_check"]> {
  return {
    ...(check.send === undefined ? {} : { send: toPayload(check.send) }),
    receive: check.receive.map(toPayload),
  };
}

/** How much of the body is searched. Envoy's default is 1 KiB, which a chatty health page exceeds. */
const maxSearchedBodyBytes = 65_536;

function toHttpChecker(check: HttpHealthCheck, cluster: Cluster): NonNullable<HealthCheckProto["http_health_check"]> {
  const isHttp2 = cluster.protocol === "http2" || cluster.protocol === "grpc";
  return {
    host: check.host ?? cluster.name,
    path: check.path,
    request_headers_to_add: check.headers.map(({ name, value }) => ({
      header: { key: name, value: value.replaceAll("%", "%%") }, // A single % starts a command of Envoy's.
      append_action: "OVERWRITE_IF_EXISTS_OR_ADD",
    })),
    expected_statuses: check.expectedStatuses.map(({ from, to }) => ({ start: from, end: to + 1 })),
    // A port of its own is a health port, and those speak HTTP/1.
    codec_client_type: isHttp2 && check.port === undefined ? "HTTP2" : "HTTP1",
    method: check.method,
    // Without this one bad status ejects, and the unhealthy threshold is ignored.
    retriable_statuses: otherStatuses(check.expectedStatuses),
    ...(check.bodyContains === undefined
      ? {}
      : { receive: [toPayload(check.bodyContains)], response_buffer_size: { value: maxSearchedBodyBytes } }),
  };
}

/** Every status from 100 to 599 that is in none of the ranges, as ranges whose end is not included. */
function otherStatuses(expected: readonly StatusRange[]): { start: number; end: number }[] {
  const others: { start: number; end: number }[] = [];
  let next = 100;
  for (const { from, to } of [...expected].sort((a, b) => a.from - b.from)) {
    if (from > next) others.push({ start: next, end: from });
    next = Math.max(next, to + 1);
  }
  if (next < 600) others.push({ start: next, end: 600 });
  return others;
}

function toGrpcChecker(check: GrpcHealthCheck, cluster: Cluster): NonNullable<HealthCheckProto["grpc_health_check"]> {
  return { service_name: check.service, authority: cluster.name };
}
