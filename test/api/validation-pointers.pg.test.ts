// What Envoy refuses of a change of many is told at its place in the body; and where a verdict is required, no write goes without one.
// The verdicts are given here; validation.envoy.test.ts has those of a real Envoy. Mutants that were tried, and are caught: no pointer;
// the place of the first change whatever is at fault; a verdict that is required and not asked for.
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Validator, Verdict } from "../../src/plan/validate.js";
import { type ApiUnderTest, startApi } from "./api-under-test.js";

let it: ApiUnderTest;
let verdict: Verdict = { kind: "passed" };
let isRequired = false;
beforeAll(async () => {
  const validator = {
    get isAsked() {
      return true;
    },
    get isRequired() {
      return isRequired;
    },
    judge: async () => verdict,
    state: { state: "off", reason: "of the test" },
  } as unknown as Validator;
  it = await startApi({ validator });
  await it.api.post("/v1/clusters", { name: "old" });
  await it.api.post("/v1/listeners", { name: "web", protocol: "http", port: 10_000, gateways: ["edge"] });
});
afterAll(() => it.close());

const changes = [
  {
    op: "put",
    kind: "cluster",
    object: {
      name: "a",
      endpoints: [
        { address: "10.0.0.1", port: 1 },
        { address: "fd00::1", port: 2 },
      ],
    },
  },
  { op: "put", kind: "endpoint", cluster: "old", object: { address: "10.0.0.2", port: 3 } },
  { op: "put", kind: "route", object: { name: "r", protocol: "http", listeners: ["web"], backends: [{ cluster: "a" }] } },
];

test.each([
  [{ kind: "cluster", name: "a" }, "/changes/0/object"],
  [{ kind: "endpoint", name: "a/[fd00::1]:2" }, "/changes/0/object/endpoints/1"],
  [{ kind: "endpoint", name: "old/10.0.0.2:3" }, "/changes/1/object"],
  [{ kind: "route", name: "r" }, "/changes/2/object"],
] as const)("%j is at %s", async (object, pointer) => {
  verdict = { kind: "refused", detail: "no such thing", object };
  const refused = await it.api.refused(422, "POST", "/v1/changes", { changes });
  expect(refused).toMatchObject({
    code: "refused_by_validation",
    envoy: "no such thing",
    object,
    errors: [{ pointer, code: "envoy_refuses", detail: "no such thing" }],
  });
});

test("what is not in the body, and what Envoy does not name, points nowhere", async () => {
  for (const object of [{ kind: "listener", name: "web" } as const, undefined]) {
    verdict = { kind: "refused", detail: "no such thing", object };
    expect(await it.api.refused(422, "POST", "/v1/changes", { changes })).toMatchObject({
      code: "refused_by_validation",
      errors: [],
    });
  }
  verdict = { kind: "passed" };
});

test("where a verdict is required, every write without one is 503, and nothing is written", async () => {
  isRequired = true;
  const before = await it.store.head();
  for (const none of [{ kind: "off" }, { kind: "unknown", reason: "late", detail: "no answer in time" }] as const) {
    verdict = none;
    const refused = await it.api.refused(503, "PUT", "/v1/clusters/b", {});
    expect(refused).toMatchObject({ code: "validation_unavailable", reason: none.kind === "off" ? "off" : "late" });
    expect((await it.api.refused(503, "POST", "/v1/changes", { changes })).code).toBe("validation_unavailable");
    expect((await it.api.refused(503, "DELETE", "/v1/clusters/old")).code).toBe("validation_unavailable");
  }
  expect(await it.store.head()).toEqual(before);
  verdict = { kind: "passed" };
  await it.api.put("/v1/clusters/b", {});
  isRequired = false;
});
