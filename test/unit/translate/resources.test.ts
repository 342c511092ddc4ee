// Promises of translation that no single golden case shows: the order of rows does not matter, listeners stay still, and a shifted
// weight encodes one route. The cases themselves are in test/golden.
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Cluster } from "../../../src/model/cluster.js";
import type { StateRows } from "../../../src/model/desired-state.js";
import type { HttpRoute } from "../../../src/model/route.js";
import { withBackends } from "../../../src/model/route.js";
import { decode, encode } from "../../../src/proto/encode.js";
import { splitClusterName, splitRouteName } from "../../../src/translate/names.js";
import { emptyEndpointResource, listenerResource, readyDelayMs, routeResource } from "../../../src/translate/resources.js";
import { goldenCases, goldenFiles, messageOf, stateOf, translate } from "../../golden/case.js";
import { readState } from "../../golden/state.js";

const isHttp = (route: { protocol: string }): route is HttpRoute => route.protocol === "http";

function bytesOf(rows: StateRows): Record<string, string> {
  const entries = Object.entries(translate(rows)).flatMap(([kind, resources]) =>
    resources.map((resource) => [`${kind}/${resource.name}`, resource.bytes.toString("hex")]),
  );
  return Object.fromEntries(entries);
}

describe("the same state gives the same bytes, whatever the order in which its rows came", () => {
  test.each(goldenCases)("%s", (name) => {
    const rows = stateOf(name);
    const expected = bytesOf(rows);
    const shuffled = fc.record({
      clusters: fc.shuffledSubarray([...rows.clusters], { minLength: rows.clusters.length }),
      endpoints: fc.shuffledSubarray([...rows.endpoints], { minLength: rows.endpoints.length }),
      listeners: fc.shuffledSubarray([...rows.listeners], { minLength: rows.listeners.length }),
      routes: fc.shuffledSubarray([...rows.routes], { minLength: rows.routes.length }),
    });
    fc.assert(
      fc.property(shuffled, (order) => {
        expect(bytesOf({ ...rows, ...order })).toEqual(expected);
      }),
      { numRuns: 20 },
    );
  });
});

test("spliced RouteConfigurations are what encoding them whole would give", () => {
  for (const name of goldenCases) {
    for (const { bytes } of translate(stateOf(name)).routes) {
      expect(encode(messageOf.routes, decode(messageOf.routes, bytes)).equals(bytes), name).toBe(true);
    }
  }
});

test("a shifted weight encodes one route again, and leaves the bytes of the others where they are", () => {
  const { listeners, routes } = stateOf("http-hosts");
  const web = listeners.find((listener) => listener.name === "web");
  if (web?.protocol !== "http") throw new Error("no web");
  const own = routes.filter(isHttp);
  routeResource(web, own);
  let read = 0;
  const watched = own.map(
    (route) =>
      new Proxy(route, {
        get: (target, key) => {
          if (key === "action") read++;
          return Reflect.get(target, key);
        },
      }),
  );
  routeResource(web, watched);
  const atFirst = read;
  expect(atFirst).toBeGreaterThan(0);
  read = 0;
  expect(routeResource(web, watched).bytes.equals(routeResource(web, own).bytes)).toBe(true);
  const onlyForClusters = read;
  const [first] = watched;
  if (!first) throw new Error("no route");
  const shifted = withBackends(first, [{ cluster: "shop", weight: 9 }]) as HttpRoute;
  read = 0;
  routeResource(web, [shifted, ...watched.slice(1)]);
  expect(read).toBeLessThanOrEqual(onlyForClusters);
  expect(onlyForClusters).toBeLessThan(atFirst);
});

describe("listeners stay still", () => {
  const bytesWith = (yaml: string, more = "") => translate(readState(`${yaml}${more}`)).listeners;

  test("whatever happens to HTTP routes, the bytes of their listener are the same", () => {
    const { listeners, routes } = stateOf("http-match");
    const [web] = listeners;
    if (!web) throw new Error("no listener");
    expect(listenerResource(web, routes, "ads")).toEqual(listenerResource(web, [], "ads"));
  });

  test("a TCP route that grows from one backend to two changes its endpoints only", () => {
    const state = (backends: string) => `
clusters: [{ name: a, protocol: tcp, endpoints: [{ address: 10.0.0.1, port: 1 }] }, { name: b, protocol: tcp, connectTimeoutMs: 1, endpoints: [{ address: 10.0.0.2, port: 1 }] }]
listeners: [{ name: in, protocol: tcp, port: 1 }]
routes: [{ name: r, protocol: tcp, listener: in, backends: [${backends}] }]`;
    const one = translate(readState(state("{ cluster: a }")));
    const two = translate(readState(state("{ cluster: a, weight: 95 }, { cluster: b, weight: 5 }")));
    expect(two.listeners).toEqual(one.listeners);
    expect(two.clusters).toEqual(one.clusters);
    expect(two.endpoints).not.toEqual(one.endpoints);
  });

  test("a new route on a tls listener leaves the other filter chains byte for byte, wherever its name sorts", () => {
    const state = `
clusters: [{ name: c, protocol: tcp }]
listeners: [{ name: edge, protocol: tls, port: 443 }]
routes:
  - { name: m, protocol: tcp, listener: edge, sni: [m.example.com], backends: [{ cluster: c }] }
  - { name: n, protocol: tcp, listener: edge, backends: [{ cluster: c }] }`;
    const chainsOf = (more: string) => {
      const [edge] = bytesWith(state, more);
      const chains = decode(messageOf.listeners, edge?.bytes ?? Buffer.alloc(0)).filter_chains ?? [];
      return new Map(chains.map((chain) => [chain.name, encode("envoy.config.listener.v3.FilterChain", chain).toString("hex")]));
    };
    const before = chainsOf("");
    for (const name of ["a", "mm", "z"]) {
      const after = chainsOf(
        `\n  - { name: ${name}, protocol: tcp, listener: edge, sni: ["*.example.com"], backends: [{ cluster: c }] }`,
      );
      expect([...after.keys()].sort()).toEqual([...before.keys(), name].sort());
      for (const [chain, bytes] of before) expect(after.get(chain)).toBe(bytes);
    }
  });

  test("two routes that claim one server name do not take the listener down: the first by name has it", () => {
    const [edge] = bytesWith(`
clusters: [{ name: c, protocol: tcp }]
listeners: [{ name: edge, protocol: tls, port: 443 }]
routes:
  - { name: b, protocol: tcp, listener: edge, sni: [x.org, y.org], backends: [{ cluster: c }] }
  - { name: a, protocol: tcp, listener: edge, sni: [x.org], backends: [{ cluster: c }] }
  - { name: c, protocol: tcp, listener: edge, sni: [x.org], backends: [{ cluster: c }] }`);
    const chains = decode(messageOf.listeners, edge?.bytes ?? Buffer.alloc(0)).filter_chains ?? [];
    expect(chains.map((chain) => [chain.name, chain.filter_chain_match?.server_names])).toEqual([
      ["a", ["x.org"]],
      ["b", ["y.org"]],
    ]);
  });
});

test("a TCP route on a raw port is the first by name, should there be two", () => {
  const translated = translate(
    readState(`
clusters: [{ name: c, protocol: tcp }]
listeners: [{ name: in, protocol: tcp, port: 1 }]
routes: [{ name: b, protocol: tcp, listener: in, backends: [{ cluster: c }] }, { name: a, protocol: tcp, listener: in, backends: [{ cluster: c }] }]`),
  );
  expect(goldenFiles(translated).get("listeners.yaml")).toContain("cluster: tcp/a");
});

describe("what a resource names", () => {
  test("an HTTP listener names no cluster, its RouteConfiguration every backend at any weight, sorted", () => {
    const { listeners, routes } = translate(stateOf("http-weights"));
    expect(listeners.map(({ clusters }) => clusters)).toEqual([[]]);
    expect(routes.map(({ clusters }) => clusters)).toEqual([["v1", "v2", "v3"]]);
  });

  test("an L4 listener names its routes' own clusters, or the backends' where it splits itself", () => {
    expect(translate(stateOf("tls-sni")).listeners.map(({ clusters }) => clusters)).toEqual([
      ["tcp/mail", "tcp/rest", "tcp/shop"],
    ]);
    expect(translate(stateOf("udp")).listeners.map(({ clusters }) => clusters)).toEqual([["udp/dns"], ["udp/syslog"]]);
    expect(translate(stateOf("tcp-split-listener")).listeners.map(({ clusters }) => clusters)).toEqual([["new", "old"]]);
  });

  test("a cluster that is not there has an empty assignment", () => {
    const { name, bytes } = emptyEndpointResource("gone");
    expect([name, decode(messageOf.endpoints, bytes)]).toEqual([
      "gone",
      expect.objectContaining({ cluster_name: "gone", endpoints: [] }),
    ]);
  });
});

test("a cluster may warm for as long as its slowest check takes, and without checks not at all", () => {
  const cluster = (checks: string): Cluster => {
    const [found] = readState(`clusters: [{ name: a, healthChecks: [${checks}] }]`).clusters;
    if (!found) throw new Error("no cluster");
    return found;
  };
  expect(readyDelayMs(cluster(""))).toBe(0);
  expect(readyDelayMs(cluster("{ kind: tcp, timeoutMs: 700, initialJitterMs: 50 }, { kind: grpc, timeoutMs: 300 }"))).toBe(850);
});

test("a condition that Envoy can't express is an error, not another condition", () => {
  const rows = readState(`
clusters: [{ name: c }]
listeners: [{ name: web, protocol: http, port: 1 }]
routes: [{ name: r, match: { query: [{ name: a, exact: b, not: true }] }, backends: [{ cluster: c }] }]`);
  expect(() => translate(rows)).toThrow("can't negate");
});

test("the name of a route's own cluster leads back to the route, and a user's cluster to none", () => {
  const [tcp, udp] = [stateOf("tcp"), stateOf("udp")].map((state) => state.routes.find((route) => route.protocol !== "http"));
  for (const route of [tcp, udp]) {
    if (!route) throw new Error("no route");
    expect(splitRouteName(splitClusterName(route))).toBe(route.name);
  }
  expect(splitRouteName("tcp")).toBeUndefined();
});
