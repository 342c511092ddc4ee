// What the admin API accepts, no real Envoy refuses: generated configurations go through the API, and what it took is shown to Envoy.
// CHANCERY_DIFFERENTIAL_RUNS: how many (default 300; 10,000 before a release); CHANCERY_DIFFERENTIAL_SEED: which ones.

import * as fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StateRows } from "../../src/model/desired-state.js";
import { createStore, type Store } from "../../src/store/store.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { type ApiUnderTest, startApi } from "../api/api-under-test.js";
import { translate } from "../golden/case.js";
import { toStaticBootstrap, validate } from "../golden/static-bootstrap.js";
import { acked, type ProblemBody } from "../support/api-client.js";
import { findEnvoyBinary } from "../support/envoy.js";
import { freePorts } from "../support/ports.js";
import { startWorld } from "../support/world.js";
import { type Body, configuration } from "./bodies.js";

const runs = Number(process.env["CHANCERY_DIFFERENTIAL_RUNS"] ?? 300);
const seed = Number(process.env["CHANCERY_DIFFERENTIAL_SEED"] ?? Math.trunc(Math.random() * 2 ** 31));
/** Configurations shown to Envoy at once; one that is refused is then looked for. */
const perBatch = 15;
const envoy = findEnvoyBinary();

function generate(prefix: string, places: Parameters<typeof configuration>[1], gateway?: string): readonly Body[] {
  const [bodies = []] = fc.sample(configuration(prefix, places, gateway), { seed: seed + Number(prefix.slice(1)), numRuns: 1 });
  return bodies;
}

interface Counts {
  accepted: number;
  refused: number;
}

/** Writes what the API takes; never a 5xx. */
async function write(
  api: ApiUnderTest["api"],
  bodies: readonly Body[],
  counts: Record<Body["kind"], Counts>,
  query = "",
): Promise<void> {
  for (const { kind, body } of bodies) {
    const answer = await api.call("POST", `/v1/${kind}s${query}`, body);
    if (answer.status === 201 || answer.status === 200) counts[kind].accepted++;
    else if (answer.status < 500) {
      counts[kind].refused++;
      // Routes have somewhere to go all the same.
      if (kind === "cluster") await api.post("/v1/clusters", { name: body.name, protocol: body["protocol"] });
    } else throw new Error(`seed ${seed}: ${answer.status} ${answer.text}\nto ${JSON.stringify(body)}`);
  }
}
const noCounts = (): Record<Body["kind"], Counts> => ({
  cluster: { accepted: 0, refused: 0 },
  listener: { accepted: 0, refused: 0 },
  route: { accepted: 0, refused: 0 },
});

/** The part of a state that one configuration made. */
function partOf(rows: StateRows, prefixes: readonly string[]): StateRows {
  const ours = new Set(prefixes);
  const isOurs = (name: string): boolean => ours.has(name.slice(0, name.indexOf("-")));
  return {
    ...rows,
    clusters: rows.clusters.filter(({ name }) => isOurs(name)),
    endpoints: rows.endpoints.filter(({ cluster }) => isOurs(cluster)),
    listeners: rows.listeners.filter(({ name }) => isOurs(name)),
    routes: rows.routes.filter(({ name }) => isOurs(name)),
  };
}

let it: ApiUnderTest;
let store: Store;
beforeAll(async () => {
  it = await startApi();
  store = await createStore({
    databaseUrl: it.databaseUrl,
    notify: false,
    apiPoolSize: 1,
    feedPoolSize: 2,
    connectTimeoutMs: 5_000,
    queryTimeoutMs: 10_000,
    connectionAgeMs: 60_000,
    metrics: createMetrics(),
    log: createLogger("silent"),
  });
});
afterAll(async () => {
  await store.close();
  await it.close();
});

test(
  `of ${runs} generated configurations that the API accepts, the real Envoy refuses none`,
  async () => {
    const counts = noCounts();
    const refused: string[] = [];
    for (let first = 0; first < runs; first += perBatch) {
      const prefixes = Array.from({ length: Math.min(perBatch, runs - first) }, (_, at) => `c${first + at}`);
      const places = (at: number) => ({ addresses: ["0.0.0.0", "::", "127.0.0.1"], port: (n: number) => 1 + at * 8 + n });
      await Promise.all(prefixes.map((prefix, at) => write(it.api, generate(prefix, places(at)), counts)));
      const rows = await store.loadState();
      const judge = (some: readonly string[]) => validate(envoy, toStaticBootstrap(translate(partOf(rows, some))));
      if ((await judge(prefixes)).accepted) continue;
      for (const prefix of prefixes) {
        const verdict = await judge([prefix]);
        if (!verdict.accepted)
          refused.push(`${prefix} (seed ${seed}): ${verdict.complaints}\n${JSON.stringify(partOf(rows, [prefix]))}`);
      }
      if (refused.length === 0) refused.push(`batch of ${prefixes[0]} (seed ${seed}): refused only together`);
    }
    expect(refused.join("\n\n")).toBe("");
    // The generator must reach both sides of the API's bounds, or it shows nothing.
    for (const kind of ["cluster", "route"] as const) {
      expect(counts[kind].accepted, `${kind}s accepted`).toBeGreaterThan(runs);
      expect(counts[kind].refused, `${kind}s refused`).toBeGreaterThan(runs / 4);
    }
  },
  Math.max(240_000, runs * 1_500),
);

test("nor does a live Envoy refuse them, nor validation before the commit", async () => {
  const world = await startWorld({ env: { CHANCERY_ENVOY_BIN: envoy, CHANCERY_REMOVAL_GRACE_MS: "200" } });
  const counts = noCounts();
  const live = Math.max(5, Math.trunc(runs / 30));
  const ports = await freePorts(5);
  for (let at = 0; at < live; at++) {
    const bodies = generate(`l${at}`, { addresses: ["127.0.0.1"], port: (n) => ports[n] ?? 0 }, "edge");
    await write(world.api, bodies, counts);
    const last = await world.api.put(`/v1/clusters/l${at}-last${acked}`, {});
    expect(last.sync?.state, `seed ${seed}`).toBe("acked");
    // The wait is for the last write alone; what the node refuses is of any.
    const synced = await world.api.call("PUT", `/v1/clusters/l${at}-last${acked}`, { connectTimeoutMs: 1 });
    expect(synced.status, synced.text).toBe(200);
    const node = await world.api.node("edge-1");
    expect(node?.refused, `seed ${seed}, configuration l${at}: ${JSON.stringify(bodies)}`).toEqual([]);
    for (const { kind, body } of [...bodies].reverse()) {
      const answer = await world.api.call("DELETE", `/v1/${kind}s/${body.name}`);
      if (answer.status >= 500) throw new Error((answer.body as ProblemBody).detail);
    }
  }
  expect(counts.route.accepted).toBeGreaterThan(live);
  const metrics = (await world.api.call("GET", "/metrics")).text;
  expect(metrics).toMatch(/chancery_validations_total\{outcome="passed"\} \d{2}/);
  expect(metrics).not.toContain('chancery_validations_total{outcome="refused"}');
}, 240_000);
