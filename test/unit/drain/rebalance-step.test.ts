// What is next for a rebalance: an endpoint is closed only if that brings the split nearer to the weights, one at a time, and there is always
// an end. Mutants tried and caught: drains under way not waited for; an endpoint with another route's mark; any gain; the last
// endpoint reckoned as if others took its share; a third closing; clusters without the kill switch; endpoints that are disabled or drained;
// backends that gained weight; no time to be healthy again; no rate; the largest in place of the nearest; other weights not minded; silent
// Envoys not waited for, or for ever; no end of time; no tolerance.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { chooseEndpoint, nextRebalanceStep } from "../../../src/drain/rebalance-step.js";
import type { Cluster } from "../../../src/model/cluster.js";
import { addressKey, type Endpoint } from "../../../src/model/endpoint.js";
import { losingClusters, maxRebalanceMs, shareOf } from "../../../src/model/rebalance.js";
import type { RebalanceNode, RebalanceRecord } from "../../../src/store/store.js";
import { cluster, endpoint } from "../../store/samples.js";

const check = {
  kind: "tcp",
  intervalMs: 1_000,
  intervalJitterMs: 0,
  timeoutMs: 500,
  unhealthyThreshold: 2,
  healthyThreshold: 2,
  unhealthyIntervalMs: undefined,
} as Cluster["healthChecks"][number];
const closable = (name: string, more: Partial<Cluster> = {}): Cluster =>
  cluster(name, {
    protocol: "tcp",
    drain: { atDeadline: "close", timeoutMs: 30_000, sticky: "leave-at-once" },
    healthChecks: [check],
    ...more,
  });
const clusters = (...all: readonly Cluster[]) => new Map(all.map((one) => [one.name, one]));
const both = clusters(closable("a"), closable("b"));
const guarantee = { kind: "kill-switch", closesWithinMs: 3_500, because: "" } as const;
const reported = (
  counts: Readonly<Record<string, number>>,
  node = "edge-1",
  more: Partial<RebalanceNode> = {},
): RebalanceNode => ({
  node,
  reported: true,
  counts: new Map(Object.entries(counts)),
  ...more,
});

function record(more: Partial<RebalanceRecord> = {}): RebalanceRecord {
  const weights = more.weights ?? { a: 50, b: 50 };
  return {
    id: "r",
    by: { author: "ada", requestId: "q", reason: undefined },
    state: "open",
    route: "mq",
    weights,
    losing: [{ cluster: "a", guarantee }],
    afterMs: 1_000,
    ratePerSecond: 20,
    gateways: ["edge"],
    createdAt: "",
    endedAt: undefined,
    outcome: undefined,
    ageMs: 2_000,
    steps: [],
    drain: undefined,
    dueInMs: -100,
    connections: undefined,
    routeNow: {
      protocol: "tcp",
      name: "mq",
      listener: "mq",
      sni: [],
      backends: Object.entries(weights).map(([name, weight]) => ({ cluster: name, weight })),
      hashOnSourceIp: false,
      idleTimeoutMs: 0,
      split: "endpoints",
    },
    nodes: [reported({})],
    ...more,
  };
}
/** Port p of cluster a, port 100 + p of cluster b: one address is in one backend of a route only. */
const a = (port: number, more: Partial<Endpoint> = {}) => endpoint("a", port, more);
const b = (port: number, more: Partial<Endpoint> = {}) => endpoint("b", 100 + port, more);
const key = (port: number) => `10.0.0.7:${port}`;

describe("when", () => {
  test.each([
    ["its time has come and all have reported", {}, "choose"],
    ["not yet due", { dueInMs: 1 }, "wait"],
    ["a drain under way", { drain: { id: "d", ended: false } }, "wait"],
    ["the drain has ended, and its pause", { drain: { id: "d", ended: true } }, "choose"],
    ["one Envoy has not reported", { nodes: [reported({}), reported({}, "edge-2", { reported: false })] }, "wait"],
    ["nobody is connected, for now", { nodes: [] }, "wait"],
    ["ended", { endedAt: "then" }, "wait"],
    [
      "one does not report for long",
      { dueInMs: -15_000, nodes: [reported({}), reported({}, "x", { reported: false })] },
      "choose",
    ],
  ] as const)("%s", (_, more, kind) => {
    expect(nextRebalanceStep(record(more as Partial<RebalanceRecord>))).toMatchObject({ kind });
  });

  test.each([
    ["nobody is connected", { dueInMs: -15_000, nodes: [] }, "done", /no Envoy/],
    ["nobody reports", { dueInMs: -15_000, nodes: [reported({}, "x", { reported: false })] }, "done", /no Envoy reports/],
    ["its time is over, also in a pause", { ageMs: 1_001 + maxRebalanceMs, dueInMs: 9 }, "done", /time is over/],
    ["the route is gone", { routeNow: undefined }, "superseded", /gone/],
    ["the route has other weights", { weights: { a: 50, b: 51 }, routeNow: record().routeNow }, "superseded", /other weights/],
    ["the same, with a drain under way", { routeNow: undefined, drain: { id: "d", ended: false } }, "superseded", /gone/],
    ["its backends differ", { weights: { a: 50, b: 50, c: 0 }, routeNow: record().routeNow }, "superseded", /other weights/],
  ] as const)("it ends: %s", (_, more, state, outcome) => {
    const step = nextRebalanceStep(record(more as Partial<RebalanceRecord>));
    expect(step).toEqual({ kind: "end", state, outcome: expect.stringMatching(outcome) });
  });

  test("a drain under way is waited for, also when the time is over", () => {
    expect(nextRebalanceStep(record({ ageMs: 2 * maxRebalanceMs, drain: { id: "d", ended: false } })).kind).toBe("wait");
  });
});

describe("which", () => {
  const six = [a(1), a(2), a(3), b(1), b(2), b(3)];
  const choose = (more: Partial<RebalanceRecord>, endpoints: readonly Endpoint[] = six, among = both) =>
    chooseEndpoint(record(more), among, endpoints);
  const counts = (one: Readonly<Record<string, number>>) => ({ nodes: [reported(one)] });

  test("the one by which the split comes nearest, summed over Envoys", () => {
    const nodes = [reported({ [key(1)]: 10, [key(2)]: 12 }), reported({ [key(2)]: 8, [key(3)]: 20 }, "edge-2")];
    expect(choose({ nodes })).toMatchObject({ kind: "close", endpoint: { port: 2 }, connections: 20 }); // As many as 3, and before it.
    expect(choose(counts({ [key(1)]: 27, [key(2)]: 8, [key(3)]: 25 }))).toMatchObject({ endpoint: { port: 1 }, connections: 27 });
    // 45 of 60 are 15 too many: closing 28 brings 14 over, closing 17 only 8.5.
    expect(choose(counts({ [key(1)]: 28, [key(2)]: 17, [key(101)]: 15 }))).toMatchObject({ endpoint: { port: 1 } });
    // 36 of 60 are 6 too many: 13 bring 6.5 over, 23 more than twice too much.
    expect(choose(counts({ [key(1)]: 23, [key(2)]: 13, [key(101)]: 24 }))).toMatchObject({ endpoint: { port: 2 } });
  });

  test("none when the split is near enough, or no closing brings it nearer", () => {
    expect(choose(counts({ [key(1)]: 33, [key(101)]: 27 }))).toMatchObject({
      kind: "end",
      state: "done",
      outcome: expect.stringContaining("a 33, b 27"),
    });
    expect(choose(counts({ [key(1)]: 27, [key(2)]: 6, [key(101)]: 27 }))).toMatchObject({ kind: "end" }); // 5 % are near enough.
    expect(choose(counts({ [key(1)]: 27, [key(2)]: 8, [key(101)]: 27 }))).toMatchObject({ kind: "close", endpoint: { port: 2 } });
    expect(choose(counts({ [key(1)]: 40, [key(101)]: 26 }))).toMatchObject({
      kind: "end",
      outcome: expect.stringContaining("no endpoint is left"),
    });
    expect(choose(counts({}))).toMatchObject({ kind: "end", state: "done" });
  });

  test("only of backends that lost weight, that are closable, serving, and not closed twice already", () => {
    const many = counts({ [key(1)]: 20, [key(2)]: 20, [key(3)]: 20 });
    const gone = [a(1, { enabled: false }), a(2, { drain: { id: "x", phase: "draining" } }), a(3), b(1)];
    expect(choose(many, gone)).toMatchObject({ endpoint: { port: 3 } });
    expect(choose({ ...many, losing: [{ cluster: "b", guarantee }] })).toMatchObject({ kind: "end" });
    expect(choose(many, six, clusters(closable("a", { healthChecks: [] }), closable("b")))).toMatchObject({ kind: "end" });
    const step = (port: number) => ({ cluster: "a", endpoint: key(port), connections: 20, drain: "d" });
    expect(choose({ ...many, steps: [step(1), step(2), step(1)] })).toMatchObject({ endpoint: { port: 2 } });
    expect(choose({ ...many, steps: [1, 1, 2, 2, 3, 3].map(step) })).toMatchObject({ kind: "end" });
    // A step of another route's rebalance: the endpoint serves this route, and has one mark.
    const elsewhere = { drain: { id: "x", phase: "closing", route: "else" } } as const;
    expect(choose(many, [a(1, elsewhere), a(2), b(1)])).toMatchObject({ kind: "close", endpoint: { port: 2 } });
    const [first, second] = [a(1, elsewhere), a(2, elsewhere)];
    expect(choose(many, [first, second, b(1)])).toEqual({ kind: "wait" });
  });

  test("a backend with one endpoint: all of its connections go elsewhere, so only where that is nearer", () => {
    const alone = [a(1), b(1), b(2)];
    expect(choose({ ...counts({ [key(1)]: 60 }) }, alone)).toMatchObject({
      kind: "end",
      outcome: expect.stringContaining("a has one endpoint"),
    });
    expect(choose({ ...counts({ [key(1)]: 60 }), weights: { a: 5, b: 95 } }, alone)).toMatchObject({
      kind: "close",
      connections: 60,
    });
    expect(choose({ ...counts({ [key(1)]: 60 }), weights: { a: 0, b: 1 } }, alone)).toMatchObject({
      kind: "close",
      connections: 60,
    });
  });

  test("the pause is what the rate asks for, and long enough for the endpoint to be healthy again", () => {
    const pauseOf = (ratePerSecond: number, n: number) => {
      const choice = choose({ ...counts({ [key(1)]: n }), weights: { a: 0, b: 1 }, ratePerSecond });
      return choice.kind === "close" ? choice.pauseMs : undefined;
    };
    expect(pauseOf(20, 200)).toBe(10_000);
    expect(pauseOf(1_000, 200)).toBe(3_500); // Two checks of 1.5 s, and one that is under way.
    expect(pauseOf(1, 1_000_000)).toBe(maxRebalanceMs);
  });
});

test("whose share is smaller has lost; with the weights as they were, any may have too many", () => {
  expect(losingClusters({ a: 100, b: 0 }, { a: 50, b: 50 })).toEqual(["a"]);
  expect(losingClusters({ a: 1, b: 1 }, { a: 2, b: 6 })).toEqual(["a"]); // More weight, and less of it.
  expect(losingClusters({ a: 1, b: 1, c: 2 }, { a: 1, b: 2, c: 1 })).toEqual(["c"]);
  expect(losingClusters({ a: 1, b: 1 }, { a: 1, b: 1 })).toEqual(["a", "b"]);
  expect(losingClusters({ a: 1, b: 1 }, { a: 2, b: 2 })).toEqual([]);
});

test("simulated fleets of any shape: it ends, the split is never further from the weights than before, and nobody else is closed", () => {
  const shapes = fc.record({
    endpoints: fc.record({ a: fc.integer({ min: 1, max: 8 }), b: fc.integer({ min: 1, max: 8 }) }),
    connections: fc.integer({ min: 0, max: 2_000 }),
    target: fc.integer({ min: 0, max: 100 }),
    seed: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 8, maxLength: 8 }),
  });
  const run = fc.property(shapes, ({ endpoints: sizes, connections, target, seed }) => {
    const weights = { a: target, b: 100 - target };
    const all = [
      ...Array.from({ length: sizes.a }, (_, at) => a(at + 1)),
      ...Array.from({ length: sizes.b }, (_, at) => b(at + 1)),
    ];
    const open = new Map(all.map((one) => [addressKey(one), 0]));
    const total = seed.slice(0, sizes.a).reduce((sum, part) => sum + part, 0);
    for (let at = 0; at < sizes.a; at++) open.set(key(at + 1), Math.floor((connections * (seed[at] ?? 1)) / total));
    const on = (name: string) =>
      all.filter((one) => one.cluster === name).reduce((sum, one) => sum + (open.get(addressKey(one)) ?? 0), 0);
    const excess = () => Math.abs(on("a") - shareOf(weights, "a") * (on("a") + on("b")));
    const before = excess();
    const steps: RebalanceRecord["steps"][number][] = [];
    for (let at = 0; ; at++) {
      expect(at).toBeLessThanOrEqual(2 * sizes.a);
      const one = chooseEndpoint(record({ weights, steps, nodes: [reported(Object.fromEntries(open))] }), both, all);
      if (one.kind !== "close") break;
      expect(one.endpoint.cluster).toBe("a");
      const closed = addressKey(one.endpoint);
      steps.push({ cluster: "a", endpoint: closed, connections: one.connections, drain: "d" });
      open.set(closed, 0);
      reconnect(
        one.connections,
        weights,
        all.filter((each) => addressKey(each) !== closed),
        open,
      );
    }
    expect(excess()).toBeLessThanOrEqual(Math.max(before, 1) + 1); // Whole connections.
  });
  fc.assert(run, { numRuns: 300, seed: 7 });
});

/** As Envoy does it: by the localities' weights, a locality without an endpoint being left out, to the least busy endpoint in each. */
function reconnect(
  count: number,
  weights: Readonly<Record<string, number>>,
  left: readonly Endpoint[],
  open: Map<string, number>,
) {
  const names = Object.keys(weights).filter((name) => (weights[name] ?? 0) > 0 && left.some((one) => one.cluster === name));
  const sum = names.reduce((total, name) => total + (weights[name] ?? 0), 0);
  const due = new Map(names.map((name) => [name, 0]));
  for (let one = 0; one < count; one++) {
    for (const name of names) due.set(name, (due.get(name) ?? 0) + (weights[name] ?? 0));
    const [next] = [...due].sort((x, y) => y[1] - x[1]);
    if (!next) return;
    due.set(next[0], next[1] - sum);
    const [least] = left
      .filter((each) => each.cluster === next[0])
      .map(addressKey)
      .sort((x, y) => (open.get(x) ?? 0) - (open.get(y) ?? 0));
    if (least !== undefined) open.set(least, (open.get(least) ?? 0) + 1);
  }
}
