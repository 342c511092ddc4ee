// Guards over HTTP: what takes too much at once is refused with figures, whichever call does it, until its override says it is meant.
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { type ApiUnderTest, startApi } from "./api-under-test.js";

let it: ApiUnderTest;
beforeAll(async () => {
  it = await startApi({ plans: true });
});
afterAll(() => it.close());

const endpoints = (count: number, from = 1) =>
  Array.from({ length: count }, (_, at) => ({ address: `10.0.0.${from + at}`, port: 80 }));
beforeEach(async () => {
  const put = { op: "put", kind: "cluster", object: { name: "a", endpoints: endpoints(10) } };
  await it.api.call("POST", "/v1/changes", { changes: [put], override: { shrink: true } });
});

test("PUT of fewer endpoints: 409 with the figures; the dry run says the same; the override passes and is recorded", async () => {
  const path = "/v1/clusters/a/endpoints";
  const body = { endpoints: endpoints(5) };
  const refused = await it.api.refused(409, "PUT", path, body);
  expect(refused).toMatchObject({
    code: "guard_refused",
    override: ["shrink"],
    guards: [
      { guard: "shrink", kind: "endpoint", before: 10, gone: 5, after: 5 },
      { guard: "shrink", kind: "endpoint", cluster: "a", before: 10, gone: 5, after: 5 },
    ],
    detail:
      "5 of 10 endpoints (50 %) would be gone in one revision; 5 of 10 enabled endpoints of cluster a (50 %) would be gone in one revision. If that is meant, override shrink: it is recorded with the revision.",
  });
  expect((await it.api.refused(409, "PUT", `${path}?dryRun=true`, body)).code).toBe("guard_refused");
  expect((await it.api.refused(409, "PUT", `${path}?override=emptied,size`, body)).code).toBe("guard_refused");
  const { revision } = await it.api.put(`${path}?override=shrink`, body);
  expect(await it.api.get(`/v1/revisions/${revision}`)).toMatchObject({ overrides: ["shrink"] });
});

test("PUT of as many others passes by itself, also through apply; of fewer others, or of disabled ones, it does not", async () => {
  const path = "/v1/clusters/a/endpoints";
  const { revision } = await it.api.put(path, { endpoints: endpoints(10, 101) });
  expect(await it.api.get(`/v1/revisions/${revision}`)).toMatchObject({ overrides: [], changes: 20 });
  const put = { op: "put", kind: "cluster", object: { name: "a", endpoints: endpoints(10, 121) } };
  expect((await it.api.post("/v1/changes", { changes: [put] })).changed).toBe(true);
  expect((await it.api.refused(409, "PUT", path, { endpoints: endpoints(5) })).detail).toContain(
    "5 of 10 enabled endpoints of cluster a (50 %) would be gone",
  );
  const disabled = endpoints(10).map((one) => ({ ...one, enabled: false }));
  expect(await it.api.refused(409, "PUT", path, { endpoints: disabled })).toMatchObject({
    override: ["emptied"],
    guards: [{ guard: "emptied", cluster: "a", before: 10, gone: 10, after: 0 }],
    detail: expect.stringContaining("none of 10 enabled endpoints of cluster a would be left"),
  });
});

test("a list that came back empty is refused for two endpoints as for ten, and the last one alone may go", async () => {
  const path = "/v1/clusters/a/endpoints";
  expect(await it.api.refused(409, "PUT", path, { endpoints: [] })).toMatchObject({ override: ["emptied"] });
  await it.api.put(`${path}?override=shrink`, { endpoints: endpoints(2) });
  expect(await it.api.refused(409, "PUT", path, { endpoints: [] })).toMatchObject({ override: ["emptied"] });
  await it.api.put(path, { endpoints: endpoints(1) });
  expect((await it.api.put(path, { endpoints: [] })).changed).toBe(true);
});

test("PATCH and POST /v1/changes are no way around it", async () => {
  const gone = endpoints(6).map(({ address, port }) => `${address}:${port}`);
  expect((await it.api.refused(409, "PATCH", "/v1/clusters/a/endpoints", { remove: gone })).code).toBe("guard_refused");
  const changes = gone.map((name) => ({ op: "delete", kind: "endpoint", cluster: "a", name }));
  expect((await it.api.refused(409, "POST", "/v1/changes", { changes })).code).toBe("guard_refused");
});

test("an explicit DELETE of one cluster takes its endpoints along", async () => {
  expect((await it.api.delete("/v1/clusters/a")).changed).toBe(true);
});
