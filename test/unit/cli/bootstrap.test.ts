// The bootstrap as a message: what an Envoy must find in it. That a real Envoy takes it is in test/demo/bootstrap.envoy.test.ts.
import { expect, test } from "vitest";
import { controlPlaneCluster, toBootstrap } from "../../../src/cli/bootstrap.js";
import { toBootstrapText, toHostPort } from "../../../src/cli/bootstrap-command.js";
import * as node from "../../../src/model/node.js";

const at = (host: string, port = 18_000) => ({ host, port });
const options = { node: "edge-1", gateway: "edge", controlPlanes: [at("10.0.0.1"), at("10.0.0.2")] };
const flags = {
  node: "edge-1",
  gateway: "edge",
  xds: "127.0.0.1:18000",
  adminPort: "9901",
  adminAddress: "127.0.0.1",
  services: "ads",
  sotw: false,
  statistics: "few",
  maxConnections: "50000",
  format: "yaml",
} as const;

test("the static cluster has the name that resources use for the control plane", () => {
  expect(controlPlaneCluster).toBe(node.controlPlaneCluster);
  expect(toBootstrap(options).static_resources.clusters[0]?.name).toBe(controlPlaneCluster);
});

test("an Envoy asks by delta over ADS, and waits for its configuration as long as it takes", () => {
  const { dynamic_resources: dynamic } = toBootstrap(options);
  expect(dynamic).toMatchObject({
    ads_config: { api_type: "DELTA_GRPC", set_node_on_first_message_only: true },
    cds_config: { ads: {}, initial_fetch_timeout: "0s" },
    lds_config: { ads: {}, initial_fetch_timeout: "0s" },
  });
});

test.each([
  [false, "DELTA_GRPC"],
  [true, "GRPC"],
])("on separate services there is no ADS stream (state of the world: %s)", (stateOfTheWorld, apiType) => {
  const { dynamic_resources: dynamic } = toBootstrap({ ...options, services: "separate", stateOfTheWorld });
  expect(dynamic).not.toHaveProperty("ads_config");
  for (const source of [dynamic.cds_config, dynamic.lds_config]) {
    expect(source).toMatchObject({ api_config_source: { api_type: apiType }, initial_fetch_timeout: "0s" });
  }
});

test("every control plane is an endpoint, and an address needs no resolver", () => {
  const cluster = toBootstrap(options).static_resources.clusters[0];
  expect(cluster).toMatchObject({ type: "STATIC" });
  expect(
    cluster?.load_assignment.endpoints[0]?.lb_endpoints.map(({ endpoint }) => endpoint.address.socket_address.address),
  ).toEqual(["10.0.0.1", "10.0.0.2"]);
});

test("a name among the control planes is resolved, IPv4 first", () => {
  const named = toBootstrap({ ...options, controlPlanes: [at("10.0.0.1"), at("cp.example.com")] });
  expect(named.static_resources.clusters[0]).toMatchObject({ type: "STRICT_DNS", dns_lookup_family: "V4_PREFERRED" });
});

test("the node says what this bootstrap can, and where it is only when that is known", () => {
  expect(toBootstrap(options).node).toEqual({
    id: "edge-1",
    cluster: "edge",
    metadata: { chancery: { internal_listener: true, hop: true } },
  });
  expect(toBootstrap({ ...options, zone: "a" }).node).toMatchObject({ locality: { zone: "a" } });
});

test("the same options give the same text, and only the few statistics are limited", () => {
  expect(toBootstrapText(flags)).toBe(toBootstrapText(flags));
  expect(toBootstrap(options)).toHaveProperty("stats_config");
  expect(toBootstrap({ ...options, statistics: "all" })).not.toHaveProperty("stats_config");
});

test("YAML and JSON say the same", () => {
  expect(JSON.parse(toBootstrapText({ ...flags, format: "json" }))).toEqual(
    JSON.parse(JSON.stringify(toBootstrap({ ...options, controlPlanes: [at("127.0.0.1")] }))),
  );
  expect(toBootstrapText(flags)).toMatch(/^# Envoy bootstrap for node edge-1 of gateway edge/);
});

test.each(["10.0.0.1:18000", "cp.example.com:18000", "[fd00::1]:18000"])("%s is a control plane", (given) => {
  expect(toHostPort(given).port).toBe(18_000);
});

test.each(["", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:65536", "fd00::1:18000", "http://10.0.0.1:18000"])("%j is none", (given) => {
  expect(() => toHostPort(given)).toThrow(/host:port/);
});

test.each([
  [{ gateway: "Edge" }, /--gateway/],
  [{ node: "a b" }, /--node/],
  [{ adminPort: "70000" }, /--admin-port/],
  [{ maxConnections: "0" }, /--max-connections/],
])("%j is told by its flag", (wrong, told) => {
  expect(() => toBootstrapText({ ...flags, ...wrong })).toThrow(told);
});
