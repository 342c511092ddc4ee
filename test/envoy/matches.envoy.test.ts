// What a match means to the real Envoy. Every route redirects to its own name, so the answer says which one was taken.
import { beforeAll, describe, expect, test } from "vitest";
import { runState } from "../golden/running-envoy.js";
import { freePort } from "../support/ports.js";
import { type RequestOptions, send } from "../support/requests.js";

let port = 0;
const state = (port: number) => `
listeners: [{ name: web, protocol: http, port: ${port} }]
routes:
  - { name: fallback, redirect: { path: /fallback } }
  - { name: exact, match: { path: { exact: /exact } }, redirect: { path: /exact } }
  - { name: prefix, match: { path: { prefix: /api/ } }, redirect: { path: /prefix } }
  - { name: longer-prefix, match: { path: { prefix: /api/v2 } }, redirect: { path: /longer-prefix } }
  - { name: regex, match: { path: { regex: '/api/v\\d+/users' } }, redirect: { path: /regex } }
  - { name: urgent, priority: 1, match: { path: { prefix: /exact/but } }, redirect: { path: /urgent } }
  - { name: methods, match: { path: { exact: /method }, methods: [DELETE, PUT] }, redirect: { path: /methods } }
  - { name: header, match: { path: { prefix: /header }, headers: [{ name: x-a, exact: b }] }, redirect: { path: /header } }
  - { name: header-there, match: { path: { prefix: /there }, headers: [{ name: x-a, present: true }] }, redirect: { path: /header-there } }
  - { name: header-not, match: { path: { prefix: /isnt }, headers: [{ name: x-a, exact: b, not: true }] }, redirect: { path: /header-not } }
  - { name: header-absent, match: { path: { prefix: /absent }, headers: [{ name: x-a, present: true, not: true }] }, redirect: { path: /header-absent } }
  - { name: query, match: { path: { prefix: /query }, query: [{ name: a, prefix: b }, { name: c, present: true }] }, redirect: { path: /query } }
  - { name: cookie, match: { path: { prefix: /cookie }, cookies: [{ name: a, suffix: b }] }, redirect: { path: /cookie } }
  - { name: cookie-there, match: { path: { prefix: /cthere }, cookies: [{ name: a, present: true }] }, redirect: { path: /cookie-there } }
  - { name: cookie-not, match: { path: { prefix: /cisnt }, cookies: [{ name: a, exact: b, not: true }] }, redirect: { path: /cookie-not } }
  - { name: cookie-absent, match: { path: { prefix: /cabsent }, cookies: [{ name: a, present: true, not: true }] }, redirect: { path: /cookie-absent } }
  - { name: a-shop, hosts: [shop.example.com], redirect: { path: /a-shop } }
  - { name: wildcard, hosts: ["*.example.com"], match: { path: { prefix: /wild } }, redirect: { path: /wildcard } }
  - { name: narrower, hosts: ["*.eu.example.com"], redirect: { path: /narrower } }
`;

beforeAll(async () => {
  port = await freePort();
  await runState(state(port));
});

async function taken(request: Omit<RequestOptions, "port">): Promise<string | undefined> {
  const { headers } = await send({ port, ...request });
  return headers.location && new URL(headers.location).pathname.slice(1);
}

describe("paths", () => {
  test.each([
    ["/", "fallback"],
    ["/exact", "exact"],
    ["/exact?a=b", "exact"],
    ["/exact/", "fallback"],
    ["/exact/but", "urgent"],
    ["/api", "prefix"],
    ["/api?x", "prefix"],
    ["/api/", "prefix"],
    ["/api/x", "prefix"],
    ["/apiary", "fallback"],
    ["/api/v2", "longer-prefix"],
    ["/api/v2/x", "longer-prefix"],
    ["/api/v2/users", "regex"],
    ["/api/v2/users?a=1", "regex"],
    ["/api/v2/users/1", "longer-prefix"],
    ["/api/v20", "prefix"],
    ["/x/../exact", "exact"],
  ])("%s takes %s", async (path, route) => {
    expect(await taken({ path })).toBe(route);
  });
});

describe("methods, headers, query parameters and cookies", () => {
  test.each<[Omit<RequestOptions, "port">, string]>([
    [{ path: "/method", method: "PUT" }, "methods"],
    [{ path: "/method", method: "DELETE" }, "methods"],
    [{ path: "/method", method: "GET" }, "fallback"],
    [{ path: "/header", headers: { "x-a": "b" } }, "header"],
    [{ path: "/header", headers: { "x-a": "c" } }, "fallback"],
    [{ path: "/header" }, "fallback"],
    [{ path: "/there", headers: { "x-a": "" } }, "header-there"],
    [{ path: "/there" }, "fallback"],
    [{ path: "/isnt", headers: { "x-a": "b" } }, "fallback"],
    [{ path: "/isnt", headers: { "x-a": "c" } }, "header-not"],
    [{ path: "/isnt" }, "header-not"],
    [{ path: "/absent" }, "header-absent"],
    [{ path: "/absent", headers: { "x-a": "b" } }, "fallback"],
    [{ path: "/query?a=bb&c" }, "query"],
    [{ path: "/query?a=bb" }, "fallback"],
    [{ path: "/query?a=xb&c=1" }, "fallback"],
    [{ path: "/cookie", headers: { cookie: "z=1; a=ab" } }, "cookie"],
    [{ path: "/cookie", headers: { cookie: "a=ac" } }, "fallback"],
    [{ path: "/cookie" }, "fallback"],
    [{ path: "/cthere", headers: { cookie: "a=x" } }, "cookie-there"],
    [{ path: "/cthere", headers: { cookie: "a=" } }, "cookie-there"],
    [{ path: "/cthere", headers: { cookie: "b=x" } }, "fallback"],
    [{ path: "/cisnt", headers: { cookie: "a=b" } }, "fallback"],
    [{ path: "/cisnt", headers: { cookie: "a=c" } }, "cookie-not"],
    [{ path: "/cisnt" }, "cookie-not"],
    [{ path: "/cabsent", headers: { cookie: "a=b" } }, "fallback"],
    [{ path: "/cabsent", headers: { cookie: "b=b" } }, "cookie-absent"],
    [{ path: "/cabsent" }, "cookie-absent"],
  ])("%j takes %s", async (request, route) => {
    expect(await taken(request)).toBe(route);
  });
});

describe("hosts", () => {
  test.each([
    ["shop.example.com", "/", "a-shop"],
    ["SHOP.example.com:8080", "/", "a-shop"],
    ["shop.example.com", "/exact", "exact"],
    ["shop.example.com", "/wild", "wildcard"],
    ["other.example.com", "/wild", "wildcard"],
    ["other.example.com", "/", "fallback"],
    ["a.b.example.com", "/wild", "wildcard"],
    ["a.eu.example.com", "/", "narrower"],
    ["a.eu.example.com", "/wild", "wildcard"],
    ["example.com", "/wild", "fallback"],
    ["elsewhere.org", "/", "fallback"],
  ])("%s%s takes %s", async (host, path, route) => {
    expect(await taken({ host, path })).toBe(route);
  });
});
