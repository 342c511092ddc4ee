// The state on disk: what is damaged, of another format or database is never served, and an older good generation is.
// Mutants that were tried, and are caught: no checksum; no look at the database; the damaged file is left where it is; one generation;
// slices that do not yield.
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { afterEach, beforeEach, expect, test } from "vitest";
import { DesiredState, type StateRows } from "../../../src/model/desired-state.js";
import { rowsOf } from "../../../src/snapshot/state-keeper.js";
import { databaseMark, readState, StateFile } from "../../../src/store/state-file.js";
import { cluster, endpoint, httpRoute, listener } from "../model/samples.js";

const databaseUrl = "postgres://someone@127.0.0.1:5432/fleet";
let folder = "";
let rejected: string[] = [];
let file: StateFile;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "state-"));
  rejected = [];
  file = new StateFile({ folder, databaseUrl, onReject: (_, reason) => rejected.push(reason), now: () => 7 });
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const app = cluster("app");
const rows = (revision: number): StateRows => ({
  revision,
  id: `id-${revision}`,
  clusters: [app, cluster("other")],
  endpoints: [endpoint("app", "10.0.0.1"), endpoint("app", "10.0.0.2")],
  listeners: [listener("web", "http")],
  routes: [httpRoute("r", ["app"])],
  overlays: [
    {
      name: "canary",
      shares: new Map([["edge", 17]]),
      changes: [{ kind: "cluster", name: "app", before: app, after: cluster("app", { connectTimeoutMs: 77 }) }],
    },
  ],
  pastRoutes: [
    { name: "r", before: httpRoute("r", ["other"]) },
    { name: "new", before: undefined },
  ],
  nodeDrains: [{ node: "edge-1", phase: "withdrawn" }],
});

test("what is written is read again, field by field, through a DesiredState too", async () => {
  await file.write(rows(3));
  expect(await file.read()).toEqual({ rows: rows(3), writtenAt: 7 });
  const state = DesiredState.from(rows(3));
  await file.write(rowsOf(state, rows(3).pastRoutes ?? []));
  expect((await file.read())?.rows).toEqual(rows(3));
  expect((await readdir(folder)).sort()).toEqual([file.newest, file.previous].map((path) => path.slice(folder.length + 1)));
});

test("1,000 random truncations and bit flips: none is served", async () => {
  await file.write(rows(3));
  const good = await readFile(file.newest);
  const mark = databaseMark(databaseUrl);
  expect(typeof readState(good, mark)).toBe("object");
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  for (let round = 0; round < 1_000; round++) {
    const length = round % 2 === 0 ? random(good.length) : good.length;
    const bad = Buffer.from(good.subarray(0, length));
    const at = random(good.length);
    if (length === good.length) bad.writeUInt8(bad.readUInt8(at) ^ (1 << random(8)), at);
    expect(readState(bad, mark), `round ${round}`).toBe("damaged");
  }
  // Each bit of the checksum's own line, and of the first one.
  for (let at = 0; at < 120; at++) {
    for (const byte of [at, good.length - 1 - at]) {
      for (let bit = 0; bit < 8; bit++) {
        const bad = Buffer.from(good);
        bad.writeUInt8(bad.readUInt8(byte) ^ (1 << bit), byte);
        expect(readState(bad, mark)).toBe("damaged");
      }
    }
  }
});

test("with the newest one damaged the one before is served, and it is not pushed out by the damaged one", async () => {
  await file.write(rows(3));
  await file.write(rows(4));
  await truncate(file.newest, 500);
  expect((await file.read())?.rows.revision).toBe(3);
  expect(rejected).toEqual(["damaged"]);
  await file.write(rows(5));
  await writeFile(file.newest, "nothing");
  expect((await file.read())?.rows.revision).toBe(3);
});

test("a file of another format, or of another database, is not served", async () => {
  await file.write(rows(3));
  const other = new StateFile({
    folder,
    databaseUrl: "postgres://someone@127.0.0.1:5432/other",
    onReject: (_, reason) => rejected.push(reason),
  });
  expect(await other.read()).toBeUndefined(); // Its name is another.
  await writeFile(other.newest, await readFile(file.newest));
  expect(await other.read()).toBeUndefined();
  expect(rejected).toEqual(["database"]);
  const { createHash } = await import("node:crypto");
  const content = (await readFile(file.newest, "utf8"))
    .replace(/sha256 .*\n$/, "")
    .replace("chancery-state-1", "chancery-state-2");
  await writeFile(file.newest, `${content}sha256 ${createHash("sha256").update(content).digest("hex")}\n`);
  expect(await file.read()).toBeUndefined();
  expect(rejected).toEqual(["database", "format"]);
});

test("who asks is no matter, which database is", () => {
  expect(databaseMark("postgres://a:secret@db/fleet")).toBe(databaseMark("postgres://b@db:5432/fleet"));
  expect(databaseMark("postgres://db/fleet")).not.toBe(databaseMark("postgres://db2/fleet"));
});

test("a folder that can't be written to is an error, and what was there stays", async () => {
  await file.write(rows(3));
  const blocked = new StateFile({ folder: join(file.newest, "below"), databaseUrl, onReject: () => {} });
  await expect(blocked.check()).rejects.toThrow();
  await expect(blocked.write(rows(4))).rejects.toThrow();
  expect((await file.read())?.rows.revision).toBe(3);
});

test("10,000 clusters of 10 endpoints are written in slices: the event loop is never held by the whole", {
  timeout: 60_000,
}, async () => {
  const names = Array.from({ length: 10_000 }, (_, index) => `cluster-${index}`);
  const state = DesiredState.from({
    ...rows(9),
    clusters: names.map((name) => cluster(name)),
    endpoints: names.flatMap((name, index) =>
      Array.from({ length: 10 }, (_, host) => endpoint(name, `10.${index >> 8}.${index & 255}.${host + 1}`)),
    ),
  });
  await file.write(rows(1)); // Warm.
  // In one piece the loop would be held for about all of it each time; slices are a twentieth. The scheduler of a busy machine may hold a
  // slice back, not five times in a row. (Mutant: one slice for all.)
  let isSliced = false;
  for (let attempt = 0; attempt < 5 && !isSliced; attempt++) {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const startedAt = performance.now();
    const bytes = await file.write(rowsOf(state, []));
    const ms = performance.now() - startedAt;
    delay.disable();
    console.log(`${bytes} bytes in ${Math.round(ms)} ms, held for ${Math.round(delay.max / 1e6)} ms at most`);
    isSliced = delay.max / 1e6 < ms / 3;
  }
  expect(isSliced).toBe(true);
  expect((await file.read())?.rows.endpoints).toHaveLength(100_000);
});
