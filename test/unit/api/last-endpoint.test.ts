// When a drain may take the last healthy endpoint, by what an Envoy tells. Mutants that it caught: any endpoint that was chosen counts,
// also one that goes; more chosen than healthy; what drains already; what came just now; nothing healthy is refused.
import { expect, test } from "vitest";
import { refuseLast } from "../../../src/api/last-endpoint.js";
import type { ToldHealth } from "../../../src/drain/told-health.js";
import { AppError } from "../../../src/errors.js";
import { addressKey, type Endpoint } from "../../../src/model/endpoint.js";
import type { WriteTx } from "../../../src/store/store.js";
import { cluster, endpoint } from "../../support/stream-world.js";

const check = { kind: "tcp" } as never;
const keyOf = (port: number): string => addressKey(endpoint("app", port));

interface Case {
  readonly drained: readonly number[];
  readonly told: Partial<ToldHealth>;
  /** Ports of endpoints that are disabled; default none. There are four: 1 to 4. */
  readonly disabled?: readonly number[];
  readonly isChecked?: boolean;
}

async function refusal({ drained, told, disabled = [], isChecked = true }: Case): Promise<string | undefined> {
  const all = [1, 2, 3, 4].map((port): Endpoint => ({ ...endpoint("app", port), enabled: !disabled.includes(port) }));
  const tx = { endpointsOf: async () => all.map((object) => ({ object, revision: 1 })) } as unknown as WriteTx;
  const health = {
    node: "edge-1",
    resource: "app",
    hosts: 4,
    healthy: 4,
    agoMs: 400,
    isSettled: true,
    chosen: new Set<string>(),
  };
  const clusters = new Map([["app", { ...cluster("app"), healthChecks: isChecked ? [check] : [] }]]);
  const leaving = all.filter(({ port }) => drained.includes(port));
  try {
    await refuseLast(tx, leaving, { clusters, tellHealth: () => [{ ...health, ...told }] });
    return undefined;
  } catch (error) {
    if (!(error instanceof AppError)) throw error;
    return String(error.facts["detail"]);
  }
}
const isRefused = async (one: Case): Promise<boolean> => (await refusal(one)) !== undefined;
const chosen = (...ports: number[]): Partial<ToldHealth> => ({ chosen: new Set(ports.map(keyOf)) });

test("refused when no more are healthy than are drained, with who told, the figures, and what to do", async () => {
  expect(await refusal({ drained: [1], told: { healthy: 1 } })).toBe(
    "Envoy edge-1 told 0.4 s ago that 1 of 4 endpoints of app is healthy, and the drain takes 1 that may be it: wait until others are " +
      "healthy and in use. If that is meant, override last-endpoint: it is recorded with the revision.",
  );
  expect(await isRefused({ drained: [1, 2], told: { healthy: 2 } })).toBe(true);
  expect(await isRefused({ drained: [1, 2], told: { healthy: 3 } })).toBe(false);
});

test("not when another one was chosen of late, as it is healthy", async () => {
  expect(await isRefused({ drained: [1], told: { healthy: 1, ...chosen(2) } })).toBe(false);
  expect(await isRefused({ drained: [1], told: { healthy: 1, ...chosen(1) } })).toBe(true);
  // One of both has fallen sick since.
  expect(await isRefused({ drained: [1], told: { healthy: 1, ...chosen(1, 2) } })).toBe(true);
  expect(await isRefused({ drained: [1], told: { healthy: 1, ...chosen(2) }, disabled: [2] })).toBe(true);
});

test("not when none is healthy: there is nothing to lose", async () => {
  expect(await isRefused({ drained: [1], told: { healthy: 0 } })).toBe(false);
});

test("just after a change what drains is counted still; where nothing is checked, what came is healthy, and it is no time to judge", async () => {
  expect(await isRefused({ drained: [1], told: { healthy: 2 }, disabled: [2] })).toBe(false);
  expect(await isRefused({ drained: [1], told: { healthy: 2, isSettled: false }, disabled: [2] })).toBe(true);
  expect(await refusal({ drained: [1], told: { healthy: 1, isSettled: false } })).toContain("ask again in a few seconds");
  expect(await isRefused({ drained: [1], told: { healthy: 1, isSettled: false }, isChecked: false })).toBe(false);
  expect(await isRefused({ drained: [1], told: { healthy: 1 }, isChecked: false })).toBe(true);
});
