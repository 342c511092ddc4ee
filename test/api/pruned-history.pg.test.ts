// What the API answers where the history was pruned: plainly that it was, from which revision on it is kept, and never half of it.
// Mutant that was tried, and is caught: a revision that was pruned is answered as one that never was.
import { afterAll, beforeAll, expect, test } from "vitest";
import { age } from "../support/aged-history.js";
import { openEventStream } from "../support/event-stream.js";
import { type ApiUnderTest, startApi } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi({ plans: true });
  for (const name of ["a", "b", "c", "d", "e"]) await it.api.put(`/v1/clusters/${name}`, {});
  await age(it.databaseUrl, 3, 91);
  expect(await it.store.prune({ days: 90, least: 2 })).toMatchObject({ pruned: 2, cut: 2 }); // Kept: 3, 4, 5.
});
afterAll(() => it.close());

const beyond = { code: "beyond_history", keptFrom: 3 };

test.each(["1", "2"])("revision %s was pruned", async (revision) => {
  for (const path of ["", "/diff", "/sync"])
    expect(await it.api.refused(410, "GET", `/v1/revisions/${revision}${path}`)).toMatchObject(beyond);
  for (const scope of ["revision", "configuration"])
    expect(await it.api.refused(410, "POST", `/v1/revisions/${revision}/rollback`, { scope })).toMatchObject(beyond);
});

test("what never was is not found, as before", async () => {
  for (const name of ["0", "6", "x"]) expect((await it.api.refused(404, "GET", `/v1/revisions/${name}`)).code).toBe("not_found");
});

test("the list holds what is kept", async () => {
  const { items, next } = await it.api.get<{ items: { revision: number }[]; next?: number }>("/v1/revisions");
  expect([items.map(({ revision }) => revision), next]).toEqual([[5, 4, 3], undefined]);
});

test("a diff reaches back to the cut, and not beyond", async () => {
  const diff = await it.api.get<{ objects: { name: string }[] }>("/v1/revisions/5/diff?against=2");
  expect(diff.objects.map(({ name }) => name)).toEqual(["c", "d", "e"]);
  for (const against of [0, 1])
    expect(await it.api.refused(410, "GET", `/v1/revisions/5/diff?against=${against}`)).toMatchObject(beyond);
});

test("who follows begins at the cut at the earliest", async () => {
  for (const after of [0, 1])
    expect(await it.api.refused(410, "GET", `/v1/revisions?follow=true&after=${after}`)).toMatchObject(beyond);
  const stream = await openEventStream(`${it.api.url}/v1/revisions?follow=true&after=2`);
  await stream.next("all that is kept", ({ id }) => id === "5");
  expect(stream.events.flatMap(({ event, id }) => (event === "revision" ? Number(id) : []))).toEqual([3, 4, 5]);
  stream.close();
});

test("the audit tells the cut, and verifies from there, with and without a hash that is known", async () => {
  const whole = await it.api.get<{ cut: { hash: string } }>("/v1/audit");
  expect(whole).toMatchObject({ verified: 3, mark: { revision: 5 }, head: 5, cut: { revision: 2, days: 90, least: 2 } });
  expect(await it.api.get("/v1/audit?after=2")).toMatchObject({ verified: 3 });
  expect(await it.api.get(`/v1/audit?after=2&hash=${whole.cut.hash}`)).toMatchObject({ verified: 3 });
  expect(await it.api.get("/v1/audit?after=1")).toMatchObject({ verified: 0, break: { revision: 1, kind: "pruned" } });
});

test("the oldest revision that is kept can still be undone, and gone back to", async () => {
  await it.api.post("/v1/revisions/3/rollback", { scope: "revision" });
  expect((await it.store.loadState()).clusters.map(({ name }) => name)).toEqual(["a", "b", "d", "e"]);
  await it.api.post("/v1/revisions/3/rollback", { scope: "configuration" });
  expect((await it.store.loadState()).clusters.map(({ name }) => name)).toEqual(["a", "b", "c"]);
});
