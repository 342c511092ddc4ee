// Every noun comes back from Postgres exactly as it went in, undefined fields and all, and lists are whole, in order and in pages.
import { beforeAll, describe, expect, test } from "vitest";
import type { Cluster } from "../../src/model/cluster.js";
import type { Listener } from "../../src/model/listener.js";
import type { Route } from "../../src/model/route.js";
import type { ListPage, Store } from "../../src/store/store.js";
import { freshDatabase } from "../support/postgres.js";
import { author, cluster, endpoint, listener, openStore, route } from "./samples.js";

let store: Store;
beforeAll(async () => {
  store = await openStore((await freshDatabase()).url);
  await store.write(author, async (tx) => {
    await tx.putAll("cluster", [cluster("blue"), cluster("green")]);
    await tx.put("listener", listener("front", 443));
  });
});

const schedule = {
  intervalMs: 5_000,
  timeoutMs: 1_000,
  unhealthyThreshold: 2,
  healthyThreshold: 2,
  initialJitterMs: 0,
  intervalJitterMs: 0,
  unhealthyIntervalMs: undefined,
  reuseConnection: true,
  port: undefined,
};
const clusters: Cluster[] = [
  cluster("plain"),
  cluster("full", {
    protocol: "grpc",
    loadBalancing: { policy: "ring-hash", minimumRingSize: 1_024, maximumRingSize: 8_388_608 },
    healthChecks: [
      { ...schedule, kind: "tcp", send: undefined, receive: [] },
      { ...schedule, kind: "tcp", send: "PING", receive: ["PO", "NG"], unhealthyIntervalMs: 100, port: 9_000 },
      {
        ...schedule,
        kind: "http",
        path: "/",
        host: undefined,
        method: "GET",
        headers: [{ name: "x", value: "é" }],
        expectedStatuses: [{ from: 200, to: 299 }],
        bodyContains: undefined,
      },
      { ...schedule, kind: "grpc", service: "" },
    ],
    outlierDetection: {
      consecutive5xx: 5,
      consecutiveGatewayFailures: undefined,
      intervalMs: 1,
      baseEjectionTimeMs: 1,
      maxEjectionTimeMs: 1,
      maxEjectionPercent: 50,
    },
  }),
];
const listeners: Listener[] = [
  listener("http", 80, { gateways: ["core", "edge"], idleTimeoutMs: 0, trustedHops: 2 }),
  { name: "tcp", address: "::", port: 81, protocol: "tcp", gateways: ["edge"] },
  { name: "tls", address: "0.0.0.0", port: 82, protocol: "tls", gateways: ["edge"] },
  { name: "udp", address: "0.0.0.0", port: 83, protocol: "udp", gateways: ["edge"] },
];
const forward = route(
  "forward",
  ["front"],
  [
    { cluster: "green", weight: 95 },
    { cluster: "blue", weight: 5 },
  ],
);
const routes: Route[] = [
  forward,
  {
    ...forward,
    name: "full",
    priority: -3,
    hosts: ["shop.example.com", "*.example.com"],
    match: {
      path: { kind: "regex", value: "/[a-z]+\\\\'\"" },
      methods: ["GET"],
      headers: [{ name: "x-canary", match: { kind: "exact", value: "true" }, not: true }],
      query: [{ name: "q", match: { kind: "present" }, not: false }],
      cookies: [],
    },
    action: {
      kind: "forward",
      backends: [{ cluster: "blue", weight: 1 }],
      timeoutMs: 0,
      retry: { on: ["5xx", "reset"], attempts: 2, perTryTimeoutMs: 0 },
      rewritePrefix: "/",
      rewriteHost: undefined,
      upgrades: ["websocket"],
      sticky: { kind: "session-cookie", cookie: "c", ttlMs: 0, path: "/" },
      hashOn: [{ kind: "source-ip" }],
    },
  },
  {
    ...forward,
    name: "moved",
    action: {
      kind: "redirect",
      redirect: { scheme: "https", host: undefined, port: undefined, path: undefined, prefix: "/new", status: 308 },
    },
  },
  {
    protocol: "tcp",
    name: "raw",
    listener: "front",
    sni: ["*.example.com"],
    backends: [{ cluster: "blue", weight: 0 }],
    hashOnSourceIp: true,
    idleTimeoutMs: 0,
    split: "listener",
  },
  {
    protocol: "udp",
    name: "dns",
    listener: "front",
    backends: [{ cluster: "blue", weight: 1 }],
    hashOnSourceIp: false,
    idleTimeoutMs: 1,
  },
];

describe("comes back as it went in, and is unchanged when put again:", () => {
  test.each(clusters)("cluster $name", async (object) => {
    await store.write(author, (tx) => tx.put("cluster", object));
    expect((await store.read.get("cluster", object.name))?.object).toStrictEqual(object);
    expect((await store.write(author, (tx) => tx.put("cluster", object))).value).toBe("unchanged");
  });
  test.each(listeners)("listener $name", async (object) => {
    await store.write(author, (tx) => tx.put("listener", object));
    expect((await store.read.get("listener", object.name))?.object).toStrictEqual(object);
    expect((await store.write(author, (tx) => tx.put("listener", object))).value).toBe("unchanged");
  });
  test.each(routes)("route $name", async (object) => {
    await store.write(author, (tx) => tx.put("route", object));
    expect((await store.read.get("route", object.name))?.object).toStrictEqual(object);
    expect((await store.write(author, (tx) => tx.put("route", object))).value).toBe("unchanged");
  });
  test.each(["10.0.0.7", "fd00::7"])("an endpoint at %s", async (address) => {
    const object = endpoint("blue", 8_080, { address, region: "eu", zone: "a", priority: 127, enabled: false });
    await store.write(author, (tx) => tx.put("endpoint", object));
    const name = address.includes(":") ? `blue/[${address}]:8080` : `blue/${address}:8080`;
    expect((await store.read.get("endpoint", name))?.object).toStrictEqual(object);
  });
});

test("a list comes in pages, by name, without gaps or repeats", async () => {
  const many = ["b", "a-1", "a.1", "a1", "z", "0"].map((name) => cluster(`page.${name}`));
  await store.write(author, (tx) => tx.putAll("cluster", many));
  const names: string[] = [];
  let after: string | undefined = "page";
  do {
    const page: ListPage<Cluster> = await store.read.list("cluster", { after, limit: 2 });
    names.push(...page.items.map(({ object }) => object.name));
    after = page.next;
  } while (after !== undefined);
  const expected = many.map(({ name }) => name).sort(); // JavaScript sorts by code unit, as collation "C" does for ASCII.
  expect(names.filter((name) => name.startsWith("page."))).toEqual(expected);
  expect(new Set(names).size).toBe(names.length);
});

test("lists are filtered by what objects belong to", async () => {
  await store.write(author, async (tx) => {
    await tx.put("cluster", cluster("filter"));
    await tx.putAll("endpoint", [endpoint("filter", 1), endpoint("filter", 2), endpoint("green", 1)]);
    await tx.put("listener", listener("filter", 90, { gateways: ["rare"] }));
    await tx.put("route", route("filter", ["filter"], [{ cluster: "filter", weight: 0 }]));
  });
  const found = async (page: Promise<{ items: readonly { object: { name?: string; port?: number } }[] }>): Promise<unknown[]> =>
    (await page).items.map(({ object }) => object.name ?? object.port);
  expect(await found(store.read.list("endpoint", { limit: 10, filter: { cluster: "filter" } }))).toEqual([1, 2]);
  expect(
    await found(store.read.list("endpoint", { limit: 10, after: "filter/10.0.0.7:1", filter: { cluster: "filter" } })),
  ).toEqual([2]);
  expect(await found(store.read.list("listener", { limit: 10, filter: { gateway: "rare" } }))).toEqual(["filter"]);
  expect(await found(store.read.list("route", { limit: 10, filter: { cluster: "filter" } }))).toEqual(["filter"]);
  expect(await found(store.read.list("route", { limit: 10, filter: { cluster: "filter", listener: "front" } }))).toEqual([]);
  expect((await store.read.endpointsOf("filter")).map(({ object }) => object.port)).toEqual([1, 2]);
});
