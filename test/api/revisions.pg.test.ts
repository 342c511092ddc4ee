// The history over HTTP: who changed what and when, what differs, and how far it is.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type ApiUnderTest, faults, startApi, synced } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi();
  const by = (author: string, reason?: string) => ({
    "x-chancery-author": author,
    "x-request-id": "r-1",
    ...(reason === undefined ? {} : { "x-chancery-reason": reason }),
  });
  await it.api.call("POST", "/v1/clusters", { name: "a", endpoints: [{ address: "10.0.0.1", port: 80 }] }, by("ada", "first"));
  await it.api.call("PUT", "/v1/clusters/a", { connectTimeoutMs: 700 }, by("bob"));
  await it.api.call("POST", "/v1/clusters", { name: "b" }, by("ada"));
  await it.api.call("DELETE", "/v1/clusters/b", undefined, by("bob"));
});
afterAll(() => it.close());

interface List {
  readonly items: readonly { readonly revision: number }[];
  readonly next?: number;
}
const list = async (query = "") => {
  const { items, next } = await it.api.get<List>(`/v1/revisions${query}`);
  return { revisions: items.map(({ revision }) => revision), next };
};

describe("GET /v1/revisions", () => {
  test("lists the newest first, in pages", async () => {
    expect(await list()).toEqual({ revisions: [4, 3, 2, 1], next: undefined });
    expect(await list("?limit=3")).toEqual({ revisions: [4, 3, 2], next: 2 });
    expect(await list("?limit=3&before=2")).toEqual({ revisions: [1], next: undefined });
  });

  test("filters by author, kind and object", async () => {
    expect((await list("?author=bob")).revisions).toEqual([4, 2]);
    expect((await list("?kind=cluster&name=a")).revisions).toEqual([2, 1]);
    expect((await list("?kind=endpoint&name=a%2F10.0.0.1:80")).revisions).toEqual([1]);
    expect((await list("?author=nobody%00")).revisions).toEqual([]);
  });

  test("refuses what means nothing", async () => {
    expect(faults(await it.api.refused(400, "GET", "/v1/revisions?name=a"))).toEqual(["missing_field /kind"]);
    expect((await it.api.refused(400, "GET", "/v1/revisions?kind=node")).code).toBe("invalid_query");
    expect((await it.api.refused(400, "GET", "/v1/revisions?limit=0")).code).toBe("invalid_query");
    expect((await it.api.refused(400, "GET", "/v1/revisions?follow=yes")).code).toBe("invalid_query");
  });
});

test("GET /v1/revisions/{n} tells who, when and why", async () => {
  expect(await it.api.get("/v1/revisions/1")).toEqual({
    revision: 1,
    id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    at: expect.stringMatching(/^\d{4}-.*Z$/),
    author: "ada",
    reason: "first",
    requestId: "r-1",
    changes: 2,
    counts: { cluster: 1, endpoint: 1, listener: 0, route: 0 },
    overrides: [],
    hash: expect.stringMatching(/^[0-9a-f]{64}$/),
  });
});

test.each(["0", "5", "x", "-1", "1.5", "01", "9".repeat(30)])("there is no revision %s", async (name) => {
  for (const path of ["", "/diff", "/sync"]) {
    expect(await it.api.refused(404, "GET", `/v1/revisions/${name}${path}`)).toMatchObject({
      code: "not_found",
      kind: "revision",
    });
  }
  expect((await it.api.refused(404, "POST", `/v1/revisions/${name}/rollback`, { scope: "revision" })).code).toBe("not_found");
});

describe("GET /v1/revisions/{n}/diff", () => {
  test("is what the revision changed, place by place, as GET shows objects", async () => {
    expect(await it.api.get("/v1/revisions/2/diff")).toEqual({
      revision: 2,
      against: 1,
      objects: [
        { kind: "cluster", name: "a", change: "updated", diff: [{ pointer: "/connectTimeoutMs", before: 5_000, after: 700 }] },
      ],
    });
  });

  test("compares with any other revision, older or newer, or with the beginning", async () => {
    const changes = async (query: string) => {
      const { objects } = await it.api.get<{ objects: { name: string; change: string }[] }>(`/v1/revisions/3/diff${query}`);
      return objects.map(({ name, change }) => `${name} ${change}`);
    };
    expect(await changes("?against=1")).toEqual(["a updated", "b created"]);
    expect(await changes("?against=4")).toEqual(["b created"]);
    expect(await changes("?against=3")).toEqual([]);
    expect(await changes("?against=0")).toEqual(["a created", "b created", "a/10.0.0.1:80 created"]);
    expect((await it.api.refused(404, "GET", "/v1/revisions/3/diff?against=9")).code).toBe("not_found");
  });

  test("comes in pages", async () => {
    interface Page {
      readonly objects: readonly { readonly name: string }[];
      readonly next?: string;
    }
    const first = await it.api.get<Page>("/v1/revisions/3/diff?against=0&limit=2");
    expect([first.objects.map(({ name }) => name), first.next]).toEqual([["a", "b"], "cluster/b"]);
    const second = await it.api.get<Page>(`/v1/revisions/3/diff?against=0&limit=2&after=${encodeURIComponent(first.next ?? "")}`);
    expect([second.objects.map(({ name }) => name), second.next]).toEqual([["a/10.0.0.1:80"], undefined]);
  });

  test("is text for who asks for text, and JSON for who takes both", async () => {
    const text = await it.api.call("GET", "/v1/revisions/2/diff", undefined, { accept: "text/plain" });
    expect(text.headers.get("content-type")).toBe("text/plain; charset=utf-8");
    expect(text.text).toMatch(
      /^revision 2 against 1, by bob at \S+Z\n~ cluster a\n {4}- \/connectTimeoutMs: 5000\n {4}\+ \/connectTimeoutMs: 700\n$/,
    );
    const created = await it.api.call("GET", "/v1/revisions/1/diff", undefined, { accept: "text/plain, application/json" });
    expect(created.text).toContain("by ada at");
    expect(created.text).toContain(': first\n+ cluster a\n    + /name: "a"\n');
    const both = await it.api.call("GET", "/v1/revisions/2/diff", undefined, { accept: "application/json, text/plain" });
    expect(both.body).toMatchObject({ revision: 2 });
  });
});

test("GET /v1/revisions/{n}/sync says how far it is now, whoever waits", async () => {
  it.fleet.waitSync = async (revision) => synced(revision, "pending", { replicasBehind: ["other"] });
  expect(await it.api.get("/v1/revisions/2/sync")).toEqual(synced(2, "pending", { replicasBehind: ["other"] }));
});

describe("GET /v1/audit", () => {
  interface Audit {
    readonly verified: number;
    readonly mark: { readonly revision: number; readonly hash: string };
    readonly head: number;
    readonly break?: { readonly revision: number; readonly kind: string };
    readonly next?: unknown;
  }

  test("verifies page after page, and gives a mark to verify against later", async () => {
    const first = await it.api.get<Audit>("/v1/audit?limit=3");
    expect(first).toMatchObject({ verified: 3, mark: { revision: 3 }, head: 4, next: first.mark });
    const second = await it.api.get<Audit>(`/v1/audit?after=3&hash=${first.mark.hash}`);
    expect(second).toMatchObject({ verified: 1, mark: { revision: 4 } });
    expect([second.break, second.next]).toEqual([undefined, undefined]);
    const other = await it.api.get<Audit>(`/v1/audit?after=3&hash=${second.mark.hash}`);
    expect(other.break).toMatchObject({ revision: 3, kind: "other" });
    expect((await it.api.refused(400, "GET", "/v1/audit?hash=abc")).code).toBe("invalid_query");
  });
});
