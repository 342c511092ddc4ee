// Routes by each kind of match, alone and in order: what a request with these parts reaches on a real Envoy, whatever order the
// routes were made in. Every route has a cluster of its own, so the backend that answers names the route that matched.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Json } from "../support/api-client.js";
import { acked } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { startHttpBackend } from "../support/http-backend.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { setUp, startWorld, type World } from "../support/world.js";

const header = (name: string, more: Json): Json => ({ headers: [{ name, ...more }] });
const path = (match: Json, more: Json = {}): Json => ({ match: { path: match, ...more } });

/** name → what it matches. Hosts keep the groups apart. */
const routes: Readonly<Record<string, Json>> = {
  // Paths.
  "path-exact": { hosts: ["paths.test"], ...path({ exact: "/api/exact" }) },
  "path-prefix": { hosts: ["paths.test"], ...path({ prefix: "/api" }) },
  "path-longer": { hosts: ["paths.test"], ...path({ prefix: "/api/v2" }) },
  "path-regex": { hosts: ["paths.test"], ...path({ regex: "/item/[0-9]+" }) },
  "path-rest": { hosts: ["paths.test"], ...path({ prefix: "/" }) },
  // Methods.
  "method-post": { hosts: ["methods.test"], ...path({ prefix: "/" }, { methods: ["POST", "PUT"] }) },
  "method-any": { hosts: ["methods.test"] },
  // Headers, and their negation.
  "header-exact": { hosts: ["headers.test"], ...path({ prefix: "/a" }, header("x-kind", { exact: "one" })) },
  "header-prefix": { hosts: ["headers.test"], ...path({ prefix: "/b" }, header("x-kind", { prefix: "two-" })) },
  "header-suffix": { hosts: ["headers.test"], ...path({ prefix: "/c" }, header("x-kind", { suffix: "-end" })) },
  "header-contains": { hosts: ["headers.test"], ...path({ prefix: "/d" }, header("x-kind", { contains: "mid" })) },
  "header-regex": { hosts: ["headers.test"], ...path({ prefix: "/e" }, header("x-kind", { regex: "v[0-9]+" })) },
  "header-present": { hosts: ["headers.test"], ...path({ prefix: "/f" }, header("x-kind", { present: true })) },
  "header-absent": { hosts: ["headers.test"], ...path({ prefix: "/g" }, header("x-kind", { present: true, not: true })) },
  "header-not": { hosts: ["headers.test"], ...path({ prefix: "/h" }, header("x-kind", { exact: "one", not: true })) },
  "header-rest": { hosts: ["headers.test"] },
  // Query and cookies.
  "query-exact": { hosts: ["query.test"], ...path({ prefix: "/a" }, { query: [{ name: "v", exact: "2" }] }) },
  "query-present": { hosts: ["query.test"], ...path({ prefix: "/b" }, { query: [{ name: "debug", present: true }] }) },
  "query-regex": { hosts: ["query.test"], ...path({ prefix: "/c" }, { query: [{ name: "id", regex: "[0-9]+" }] }) },
  "query-rest": { hosts: ["query.test"] },
  "cookie-exact": { hosts: ["cookies.test"], ...path({ prefix: "/a" }, { cookies: [{ name: "beta", exact: "1" }] }) },
  "cookie-not": { hosts: ["cookies.test"], ...path({ prefix: "/b" }, { cookies: [{ name: "beta", exact: "1", not: true }] }) },
  "cookie-rest": { hosts: ["cookies.test"] },
  // Hosts: exact, wildcard, any.
  "host-exact": { hosts: ["shop.example.com"], ...path({ prefix: "/host" }) },
  "host-wildcard": { hosts: ["*.example.com"], ...path({ prefix: "/host" }) },
  "host-any": path({ prefix: "/host" }),
  everywhere: path({ prefix: "/everywhere" }),
  // Order: priority first, then more conditions, then the name.
  "order-priority": { hosts: ["order.test"], priority: 10, ...path({ prefix: "/" }, header("x-first", { present: true })) },
  "order-exact": { hosts: ["order.test"], ...path({ exact: "/same" }) },
  "order-two-headers": {
    hosts: ["order.test"],
    ...path(
      { prefix: "/same" },
      {
        headers: [
          { name: "x-a", present: true },
          { name: "x-b", present: true },
        ],
      },
    ),
  },
  "order-one-header": { hosts: ["order.test"], ...path({ prefix: "/same" }, header("x-a", { present: true })) },
  "order-tie-a": { hosts: ["order.test"], ...path({ prefix: "/tie" }) },
  "order-tie-b": { hosts: ["order.test"], ...path({ prefix: "/tie" }) },
};

interface Case {
  readonly to: string;
  readonly host: string;
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What must answer; 404 is Envoy's own. */
const cases: readonly Case[] = [
  { to: "path-exact", host: "paths.test", path: "/api/exact" },
  { to: "path-exact", host: "paths.test", path: "/api/exact?and=query" },
  { to: "path-prefix", host: "paths.test", path: "/api" },
  { to: "path-prefix", host: "paths.test", path: "/api/exact/not" },
  { to: "path-longer", host: "paths.test", path: "/api/v2/x" },
  { to: "path-prefix", host: "paths.test", path: "/api/v20" },
  { to: "path-rest", host: "paths.test", path: "/apiary" },
  { to: "path-regex", host: "paths.test", path: "/item/42" },
  { to: "path-regex", host: "paths.test", path: "/item/42?x=1" },
  { to: "path-rest", host: "paths.test", path: "/item/42/more" },
  { to: "path-rest", host: "PATHS.test", path: "/" },
  { to: "method-post", host: "methods.test", path: "/", method: "POST" },
  { to: "method-post", host: "methods.test", path: "/", method: "PUT" },
  { to: "method-any", host: "methods.test", path: "/", method: "DELETE" },
  { to: "header-exact", host: "headers.test", path: "/a", headers: { "x-kind": "one" } },
  { to: "header-rest", host: "headers.test", path: "/a", headers: { "x-kind": "One" } },
  { to: "header-prefix", host: "headers.test", path: "/b", headers: { "x-kind": "two-more" } },
  { to: "header-suffix", host: "headers.test", path: "/c", headers: { "x-kind": "the-end" } },
  { to: "header-contains", host: "headers.test", path: "/d", headers: { "x-kind": "amidst" } },
  { to: "header-regex", host: "headers.test", path: "/e", headers: { "x-kind": "v12" } },
  { to: "header-rest", host: "headers.test", path: "/e", headers: { "x-kind": "v12b" } },
  { to: "header-present", host: "headers.test", path: "/f", headers: { "x-kind": "anything" } },
  { to: "header-rest", host: "headers.test", path: "/f" },
  { to: "header-absent", host: "headers.test", path: "/g" },
  { to: "header-rest", host: "headers.test", path: "/g", headers: { "x-kind": "here" } },
  { to: "header-not", host: "headers.test", path: "/h", headers: { "x-kind": "two" } },
  { to: "header-rest", host: "headers.test", path: "/h", headers: { "x-kind": "one" } },
  { to: "query-exact", host: "query.test", path: "/a?v=2" },
  { to: "query-exact", host: "query.test", path: "/a?u=1&v=2" },
  { to: "query-rest", host: "query.test", path: "/a?v=22" },
  { to: "query-present", host: "query.test", path: "/b?debug=" },
  { to: "query-rest", host: "query.test", path: "/b" },
  { to: "query-regex", host: "query.test", path: "/c?id=77" },
  { to: "query-rest", host: "query.test", path: "/c?id=x77" },
  { to: "cookie-exact", host: "cookies.test", path: "/a", headers: { cookie: "other=2; beta=1" } },
  { to: "cookie-rest", host: "cookies.test", path: "/a", headers: { cookie: "beta=2" } },
  { to: "cookie-not", host: "cookies.test", path: "/b", headers: { cookie: "beta=2" } },
  { to: "cookie-rest", host: "cookies.test", path: "/b", headers: { cookie: "beta=1" } },
  { to: "host-exact", host: "shop.example.com", path: "/host" },
  { to: "host-exact", host: "shop.example.com:8443", path: "/host" },
  { to: "host-wildcard", host: "blog.example.com", path: "/host" },
  { to: "host-any", host: "example.com", path: "/host" },
  { to: "host-any", host: "elsewhere.test", path: "/host" },
  { to: "everywhere", host: "shop.example.com", path: "/everywhere" },
  { to: "everywhere", host: "paths.test", path: "/everywhere/too", method: "POST" },
  { to: "404", host: "elsewhere.test", path: "/nothing-here" },
  { to: "order-priority", host: "order.test", path: "/same", headers: { "x-first": "1", "x-a": "1", "x-b": "1" } },
  { to: "order-exact", host: "order.test", path: "/same", headers: { "x-a": "1", "x-b": "1" } },
  { to: "order-two-headers", host: "order.test", path: "/same/more", headers: { "x-a": "1", "x-b": "1" } },
  { to: "order-one-header", host: "order.test", path: "/same/more", headers: { "x-a": "1" } },
  { to: "order-tie-a", host: "order.test", path: "/tie" },
];

let world: World;
let web = 0;

beforeAll(async () => {
  world = await startWorld();
  web = await freePort();
  const names = Object.keys(routes);
  await setUp(world.api, [
    ["listener", listenerBody("web", web)],
    ...(await Promise.all(names.map(async (name) => ["cluster", clusterBody(name, [await startHttpBackend(name)])] as const))),
  ]);
});

async function makeRoutes(names: readonly string[]): Promise<void> {
  for (const [index, name] of names.entries()) {
    await world.api.put(
      `/v1/routes/${name}${index === names.length - 1 ? acked : ""}`,
      routeBody(name, "web", name, routes[name]),
    );
  }
}

async function answers(): Promise<string[]> {
  const found: string[] = [];
  for (const { host, path, method = "GET", headers = {} } of cases) {
    const response = await send({ port: web, host, path, method, headers });
    found.push(response.backend ?? String(response.status));
  }
  return found;
}

describe("each kind of match, and the order among routes", () => {
  test("made in one order, every request reaches its route", async () => {
    await makeRoutes(Object.keys(routes));
    const found = await answers();
    expect(cases.map((one, index) => ({ ...one, to: found[index] }))).toEqual(cases);
  });

  test("made anew in the opposite order, nothing differs", async () => {
    const names = Object.keys(routes).reverse();
    for (const [index, name] of names.entries())
      await world.api.delete(`/v1/routes/${name}${index === names.length - 1 ? acked : ""}`);
    expect((await send({ port: web, host: "paths.test", path: "/api" })).status).toBe(404);
    await makeRoutes(names);
    const found = await answers();
    expect(cases.map((one, index) => ({ ...one, to: found[index] }))).toEqual(cases);
  });
});

afterAll(async () => {
  expect(await world.envoy.statSum("http\\..*\\.rds\\..*\\.update_rejected")).toBe(0);
});
