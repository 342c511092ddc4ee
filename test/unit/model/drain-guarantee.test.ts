// By what means a drain's deadline is kept: each kind where it holds, and nowhere else; and the time that it promises.
import { describe, expect, test } from "vitest";
import type { Cluster } from "../../../src/model/cluster.js";
import { guaranteeOf, hasKillSwitch } from "../../../src/model/drain-guarantee.js";
import type { Route } from "../../../src/model/route.js";
import { cluster, forward, httpRoute, tcpCheck, tcpRoute } from "./samples.js";

const drain = (more: Partial<Cluster["drain"]> = {}): Cluster["drain"] => ({
  atDeadline: "leave",
  timeoutMs: 30_000,
  sticky: "leave-at-once",
  ...more,
});
const close = drain({ atDeadline: "close" });
const to = (name: string, more: Parameters<typeof forward>[1] = {}): Route =>
  httpRoute(`to-${name}-${JSON.stringify(more).length}`, [], { action: forward([name], more) });

describe("TCP", () => {
  const raw = cluster("raw", { protocol: "tcp", drain: close, healthChecks: [tcpCheck({ intervalMs: 1_000, timeoutMs: 100 })] });

  test("has the kill switch when it asks for it and has a check", () => {
    expect(guaranteeOf(raw, [tcpRoute("r", ["raw"])])).toMatchObject({ kind: "kill-switch" });
    for (const less of [{ drain: drain() }, { healthChecks: [] }] satisfies Partial<Cluster>[]) {
      expect(guaranteeOf({ ...raw, ...less }, [])).toMatchObject({ kind: "left-open", closesWithinMs: undefined });
      expect(hasKillSwitch({ ...raw, ...less })).toBe(false);
    }
  });

  test.each([
    ["two failures: one check under way, then two, each after its interval and up to its timeout", {}, 100 + 2 * 1_100],
    ["one failure", { unhealthyThreshold: 1 }, 100 + 1_100],
    ["jitter", { intervalJitterMs: 50 }, 100 + 2 * 1_150],
    ["failures are counted at the interval of the unhealthy", { unhealthyIntervalMs: 5_000 }, 100 + 1_100 + 5_100],
    ["which is not taken for a shorter one", { unhealthyIntervalMs: 50 }, 100 + 2 * 1_100],
  ])("closes within what its check needs: %s", (_, more, closesWithinMs) => {
    const check = tcpCheck({ intervalMs: 1_000, timeoutMs: 100, unhealthyThreshold: 2, ...more });
    expect(guaranteeOf({ ...raw, healthChecks: [check] }, []).closesWithinMs).toBe(closesWithinMs);
    const slower = tcpCheck({ intervalMs: 60_000, timeoutMs: 100, unhealthyThreshold: 1 });
    expect(guaranteeOf({ ...raw, healthChecks: [check, slower] }, []).closesWithinMs).toBe(60_200);
  });
});

describe("HTTP", () => {
  const shop = cluster("shop");
  const kindOf = (routes: readonly Route[], of = shop): string => guaranteeOf(of, routes).kind;

  test("is bounded by the timeouts of all its routes, up to the drain's own", () => {
    expect(guaranteeOf(shop, [to("shop", { timeoutMs: 15_000 })])).toMatchObject({
      kind: "bounded-by-timeout",
      closesWithinMs: 0,
    });
    expect(guaranteeOf(shop, [to("shop", { timeoutMs: 30_000 })])).toMatchObject({
      kind: "bounded-by-timeout",
      closesWithinMs: 500, // What the bound of a stream is longer than the timeout.
    });
    expect(kindOf([to("shop", { timeoutMs: 30_001 })])).toBe("left-open");
    expect(kindOf([to("shop"), to("shop", { timeoutMs: 0 })])).toBe("left-open");
    expect(kindOf([to("shop"), to("shop", { upgrades: ["websocket"] })])).toBe("left-open");
  });

  test("is judged by the timeout of the drain at hand where that is another one", () => {
    expect(guaranteeOf(shop, [to("shop")], 10_000)).toMatchObject({ kind: "left-open" });
    expect(guaranteeOf(shop, [to("shop", { timeoutMs: 60_000 })], 60_000)).toMatchObject({ kind: "bounded-by-timeout" });
  });

  test("that lets sessions stay gets requests until the deadline, so their whole time comes after it", () => {
    const staying = cluster("shop", { drain: drain({ sticky: "until-drained" }) });
    expect(guaranteeOf(staying, [to("shop", { timeoutMs: 2_000 })])).toMatchObject({
      kind: "bounded-by-timeout",
      closesWithinMs: 2_500,
    });
  });

  test("carried by a TCP route is left open, whatever it asks for", () => {
    const asking = cluster("shop", { drain: close, healthChecks: [tcpCheck({ reuseConnection: false })] });
    expect(hasKillSwitch(asking)).toBe(false);
    expect(kindOf([tcpRoute("r", ["shop"])], asking)).toBe("left-open");
  });

  test("that asks, and has a check, closes what has no bound by a hop; what is bounded stays so", () => {
    const asking = cluster("shop", { drain: close, healthChecks: [tcpCheck()] });
    expect(guaranteeOf(asking, [to("shop", { timeoutMs: 0 })])).toMatchObject({ kind: "hop", closesWithinMs: 6_000 });
    expect(guaranteeOf(asking, [to("shop", { timeoutMs: 60_000 })])).toMatchObject({ kind: "hop" });
    expect(guaranteeOf(asking, [to("shop", { timeoutMs: 2_000 })])).toMatchObject({ kind: "bounded-by-timeout" });
    expect(guaranteeOf({ ...asking, healthChecks: [] }, [to("shop", { timeoutMs: 0 })])).toMatchObject({ kind: "left-open" });
  });

  test("is left open without a route, as an earlier one may have had no bound; and routes of other clusters don't count", () => {
    expect(kindOf([])).toBe("left-open");
    expect(kindOf([to("other", { timeoutMs: 1 })])).toBe("left-open");
    expect(kindOf([to("shop"), to("other", { timeoutMs: 0 })])).toBe("bounded-by-timeout");
  });

  test("names the routes that stand in the way, a few of them", () => {
    const lasting = ["e", "d", "c", "b", "a"].map((name) => httpRoute(name, [], { action: forward(["shop"], { timeoutMs: 0 }) }));
    expect(guaranteeOf(shop, lasting).because).toMatch(/^requests of routes a, b, c and 2 more have no timeout/);
  });
});

test("UDP has nothing to close", () => {
  expect(guaranteeOf(cluster("dns", { protocol: "udp" }), [])).toMatchObject({ kind: "none-needed", closesWithinMs: 0 });
});
