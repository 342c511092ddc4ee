// A control plane that requires validation and whose Envoy can't be used: it serves, and refuses every write, until it is mended.
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freshDatabase } from "../support/postgres.js";
import { type Replica, startReplica } from "../support/replica.js";

let folder: string;
let replica: Replica;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "chancery-broken-envoy-"));
  const broken = join(folder, "envoy");
  await writeFile(broken, "#!/bin/sh\nexit 7\n");
  await chmod(broken, 0o755);
  const { url } = await freshDatabase();
  replica = await startReplica({ databaseUrl: url, env: { CHANCERY_VALIDATION: "required", CHANCERY_ENVOY_BIN: broken } });
});
afterAll(() => rm(folder, { recursive: true }));

test("it says that validation is off and why, refuses writes with 503, and goes on reading", async () => {
  const { api } = replica;
  expect(await api.get("/readyz")).toMatchObject({ ready: true, validation: { state: "off", reason: expect.any(String) } });
  for (const [method, path, body] of [
    ["PUT", "/v1/clusters/a", {}],
    ["POST", "/v1/changes", { changes: [{ op: "put", kind: "cluster", object: { name: "a" } }] }],
  ] as const)
    expect(await api.refused(503, method, path, body)).toMatchObject({ code: "validation_unavailable", reason: "off" });
  expect(await api.get("/v1/clusters")).toMatchObject({ items: [] });
  expect(await api.get("/v1/revisions")).toMatchObject({ items: [] });
});

test("with `auto` the same Envoy lets writes pass", async () => {
  await replica.stop();
  await replica.start({ CHANCERY_VALIDATION: "auto" });
  expect((await replica.api.put("/v1/clusters/a", {})).revision).toBe(1);
});
