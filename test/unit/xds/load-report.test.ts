// What Envoys report, from the bytes: load reports and metrics are read for what is used, and whatever is damaged is an error, never a
// wrong number and never an endless loop. Mutants that it caught: an endpoint of two localities counted once; 1xx counted as answers;
// the admin page counted.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Types } from "../../../gen/types.js";
import { encode } from "../../../src/proto/encode.js";
import { readLoadStatsRequest } from "../../../src/xds/load-report.js";
import { readMetricsMessage } from "../../../src/xds/metrics-message.js";

type Endpoint = Types["envoy.config.endpoint.v3.UpstreamEndpointStats"];
const node = { id: "edge-1", cluster: "edge" };

const socket = (address: string, port_value: number): NonNullable<Endpoint["address"]> => ({
  socket_address: { address, port_value },
});

function loadRequest(endpoints: readonly (readonly Endpoint[])[], cluster_name = "app"): Buffer {
  return encode("envoy.service.load_stats.v3.LoadStatsRequest", {
    node,
    cluster_stats: [
      {
        cluster_name,
        load_report_interval: { seconds: 1, nanos: 2_500_000 },
        upstream_locality_stats: endpoints.map((upstream_endpoint_stats, priority) => ({
          priority,
          locality: { zone: "a" },
          upstream_endpoint_stats: [...upstream_endpoint_stats],
        })),
      },
      { cluster_name: "idle", load_report_interval: { seconds: 1, nanos: 1_000_000 } },
    ],
  });
}

describe("a load report", () => {
  test("says what is in flight on each endpoint, over localities, and how long its interval was", () => {
    const bytes = loadRequest([
      [
        { address: socket("10.0.0.7", 8080), total_requests_in_progress: 3, total_issued_requests: 2 },
        { address: socket("fd00::7", 443), total_requests_in_progress: 1 },
        { address: socket("10.0.0.8", 8080), total_successful_requests: 9 },
      ],
      [{ address: socket("10.0.0.7", 8080), total_requests_in_progress: 4 }],
      [
        {
          address: { envoy_internal_address: { server_listener_name: "hop/app/x", endpoint_id: "10.0.0.9:80" } },
          total_requests_in_progress: 5,
        },
      ],
    ]);
    const { report, endpoints, node: read } = readLoadStatsRequest(bytes, false);
    expect(read).toMatchObject({ id: "edge-1", gateway: "edge" });
    expect([endpoints, report.intervalMs]).toEqual([5, 1_002.5]);
    expect([...(report.clusters.get("app") ?? [])]).toEqual([
      ["10.0.0.7:8080", { inFlight: 7, issued: 2 }],
      ["[fd00::7]:443", { inFlight: 1, issued: 0 }],
      ["10.0.0.9:80", { inFlight: 5, issued: 0 }],
    ]);
    expect([...report.clusters.keys()]).toEqual(["app"]);
  });

  test("the node is passed over when it is known", () => {
    expect(readLoadStatsRequest(loadRequest([]), true).node).toBeUndefined();
  });
});

type Family = Types["io.prometheus.client.MetricFamily"];
const family = (name: string, labels: Readonly<Record<string, string>>, kind: "gauge" | "counter", value: number): Family => ({
  name,
  type: kind === "gauge" ? "GAUGE" : "COUNTER",
  metric: [
    {
      label: Object.entries(labels).map(([label, text]) => ({ name: label, value: text })),
      timestamp_ms: 1_700_000_000_123,
      ...(kind === "gauge" ? { gauge: { value } } : { counter: { value } }),
    },
  ],
});
const ofCluster = (cluster: string) => ({ "envoy.cluster_name": cluster });
const answersOf = (prefix: string, first: string, value: number) =>
  family(
    "http.downstream_rq_xx",
    { "envoy.response_code_class": first, "envoy.http_conn_manager_prefix": prefix },
    "counter",
    value,
  );

const metricsMessage = (families: readonly Family[]): Buffer =>
  encode("envoy.service.metrics.v3.StreamMetricsMessage", { identifier: { node }, envoy_metrics: [...families] });

describe("a metrics message", () => {
  test("says the gauges of clusters, and answers by whether they are errors", () => {
    const { node: read, sample } = readMetricsMessage(
      metricsMessage([
        family("server.uptime", {}, "gauge", 12),
        family("cluster.upstream_cx_active", ofCluster("tcp/mq"), "gauge", 4),
        family("cluster.upstream_rq_active", ofCluster("tcp/mq"), "gauge", 3),
        family("cluster.upstream_rq_pending_active", ofCluster("tcp/mq"), "gauge", 2),
        family("cluster.membership_change", ofCluster("tcp/mq"), "counter", 1),
        family("cluster.membership_change", ofCluster("app"), "counter", 0),
        family("cluster.upstream_rq_total", ofCluster("app"), "counter", 900),
        answersOf("web", "2", 10),
        answersOf("web", "5", 2),
        answersOf("web", "1", 7),
        answersOf("admin", "5", 50),
      ]),
    );
    expect(read).toMatchObject({ id: "edge-1" });
    expect([sample.stampMs, sample.answers, sample.errors]).toEqual([1_700_000_000_123, 12, 2]);
    expect([sample.uptimeMs, sample.isFirstOfProcess]).toEqual([12_000, false]);
    expect([...(sample.clusters ?? [])]).toEqual([
      ["tcp/mq", { connections: 4, requests: 3, pending: 2, membershipChanges: 1 }],
      ["app", { connections: 0, requests: 0, pending: 0, membershipChanges: 0 }],
    ]);
  });

  test("is the first of a process when the control plane's own host has just come", () => {
    const message = metricsMessage([family("cluster.membership_change", ofCluster("chancery"), "counter", 1)]);
    expect(readMetricsMessage(message).sample).toMatchObject({ isFirstOfProcess: true, uptimeMs: undefined });
  });

  test("says the connections of clients: not those within the Envoy, and never fewer than any gauge of a listener tells", () => {
    const at = (address: string) => ({ "envoy.listener_address": address });
    const connections = (total: number | undefined, clients: number, internal: number) =>
      readMetricsMessage(
        metricsMessage([
          family("listener.downstream_cx_active", at("0.0.0.0_80"), "gauge", clients),
          family("listener.downstream_cx_active", at("envoy_internal_chancery/hop"), "gauge", internal),
          family("listener.worker_downstream_cx_active", at("0.0.0.0_80"), "gauge", clients),
          ...(total === undefined ? [] : [family("server.total_connections", {}, "gauge", total)]),
        ]),
      ).sample.clientConnections;
    expect([connections(5, 3, 2), connections(2, 1, 2), connections(4, 0, 0), connections(undefined, 3, 0)]).toEqual([
      3,
      1,
      4,
      undefined,
    ]);
    expect(connections(0, 0, 0)).toBe(0);
  });

  test("without any gauge of a cluster, nothing is known of clusters", () => {
    expect(readMetricsMessage(metricsMessage([family("server.uptime", {}, "gauge", 1)])).sample.clusters).toBeUndefined();
  });
});

test("damaged bytes are an error or another message, and end", () => {
  const load = loadRequest([[{ address: socket("10.0.0.7", 8080), total_requests_in_progress: 3 }]]);
  const metrics = metricsMessage([family("cluster.upstream_rq_active", ofCluster("app"), "gauge", 3), answersOf("web", "5", 2)]);
  const damage = fc.record({ at: fc.nat(), to: fc.nat(255), cut: fc.nat() });
  fc.assert(
    fc.property(fc.constantFrom("load", "metrics"), damage, (kind, { at, to, cut }) => {
      const bytes = Buffer.from(kind === "load" ? load : metrics);
      bytes[at % bytes.length] = to;
      const damaged = bytes.subarray(0, cut % 3 === 0 ? cut % bytes.length : bytes.length);
      try {
        if (kind === "load") readLoadStatsRequest(damaged, false);
        else readMetricsMessage(damaged);
      } catch (error) {
        expect(error).toBeInstanceOf(Error);
      }
    }),
    { numRuns: 3_000, seed: 1 },
  );
  expect(() => readLoadStatsRequest(Buffer.from(load.subarray(0, load.length - 2)), false)).toThrow(RangeError);
  expect(() => readMetricsMessage(Buffer.from(metrics.subarray(0, metrics.length - 2)))).toThrow(RangeError);
});
