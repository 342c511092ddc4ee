// A staged rollout on real Envoys: some see the change first, the others keep what they have until the gate opens; whoever refuses, goes
// away or answers errors stops it at its stage, and is put back.
// Mutants: `sees` that is always true (others get the change at once); a judge that never aborts; an abort that ends the rollout without
// letting its objects go.

import { createServer } from "node:net";
import { beforeAll, describe, expect, test } from "vitest";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { onCleanup } from "../support/cleanup.js";
import type { Mode } from "../support/envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { waitFor } from "../support/wait.js";
import { setUp, startWorld, type World } from "../support/world.js";

interface Rollout {
  readonly name: string;
  readonly state: string;
  readonly stage: number;
  readonly cause?: string;
  readonly detail?: string;
  readonly nodes?: readonly { readonly node: string; readonly has: boolean }[];
}

const nodes = ["edge-1", "edge-2", "edge-3", "edge-4"];

describe.each<Mode>(["delta", "sotw"])("a staged rollout, %s", (mode) => {
  let world: World;
  /** One listener port per Envoy: each has its own listener, so that requests can be sent to one Envoy. */
  let port = 0;
  let old: HttpBackend;
  let fresh: HttpBackend;

  beforeAll(async () => {
    world = await startWorld({ nodes, mode });
    port = await freePort();
    old = await startHttpBackend("old");
    fresh = await startHttpBackend("fresh");
    await setUp(world.api, [
      ["listener", listenerBody("web", port)],
      ["cluster", clusterBody("old", [old])],
      ["cluster", clusterBody("fresh", [fresh])],
      ["route", routeBody("app", "web", "old")],
    ]);
  });

  const change = (backend: string, more: object = {}, query = "") =>
    world.api.call("POST", `/v1/changes${query}`, {
      changes: [{ op: "put", kind: "route", object: routeBody("app", "web", backend) }],
      rollout: { stages: [{ nodes: 1 }, { percent: 50 }], bakeMs: 800, ...more },
    });
  const rollout = async (name: string): Promise<Rollout> =>
    (await world.api.call("GET", `/v1/rollouts/${name}`)).body as unknown as Rollout;
  /** node → the cluster that its route leads to, by its own configuration. */
  const seen = async (): Promise<Record<string, string>> => {
    const found: Record<string, string> = {};
    for (const envoy of world.envoys) {
      const dump = await envoy.admin("/config_dump?resource=dynamic_route_configs");
      found[envoy.node] = dump.includes('"fresh"') ? "fresh" : "old";
    }
    return found;
  };
  const count = (found: Record<string, string>): number => Object.values(found).filter((cluster) => cluster === "fresh").length;

  test("goes to one, to half, to all; everybody else keeps what they have until then", async () => {
    const load = startLoad({ next: () => ({ port, path: "/" }) });
    const answer = await change("fresh");
    const { rollout: begun } = answer.body as unknown as { rollout: Rollout };
    if (!begun) throw new Error(JSON.stringify(answer.body));
    expect([answer.status, begun.state, begun.stage]).toEqual([202, "staging", 0]);
    const counts = new Map<string, Set<number>>();
    const end = await waitFor(
      "its end",
      async () => {
        const before = await rollout(begun.name);
        const now = count(await seen());
        const after = await rollout(begun.name);
        const key = `${after.state} ${after.stage}`;
        if (`${before.state} ${before.stage}` === key) counts.set(key, (counts.get(key) ?? new Set()).add(now));
        return after.state === "done" ? after : undefined;
      },
      { timeoutMs: 40_000 },
    );
    expect(end.stage).toBe(2);
    expect(
      [...(counts.get("staging 0") ?? [])].every((number) => number <= 1),
      JSON.stringify([...counts]),
    ).toBe(true);
    expect(counts.get("staging 0")?.has(1)).toBe(true);
    expect([...(counts.get("staging 1") ?? [])].every((number) => number >= 1 && number <= 2)).toBe(true);
    expect(counts.get("staging 1")?.has(2)).toBe(true);
    expect(count(await seen())).toBe(4);
    expect((await send({ port, path: "/" })).backend).toBe("fresh");
    await world.api.call("PUT", "/v1/routes/app?wait=acked", routeBody("app", "web", "old"));
    await waitFor("all are back at the gateway's own configuration", async () => (count(await seen()) === 0 ? true : undefined));
    // Streams that end and come back cost no request.
    const { total, failures } = await load.stop();
    expect(total).toBeGreaterThan(100);
    expect(failures).toEqual([]);
  });

  test("what the first Envoy refuses goes no further, is told in its words, and what it had goes on", async () => {
    const taken = createServer();
    const occupied = await new Promise<number>((resolve) =>
      taken.listen(0, "127.0.0.1", () => {
        const address = taken.address();
        resolve(typeof address === "object" && address ? address.port : 0);
      }),
    );
    onCleanup("occupied port", () => new Promise<void>((resolve) => taken.close(() => resolve())));
    const answer = await world.api.call("POST", "/v1/changes?wait=acked&timeoutMs=30000", {
      changes: [{ op: "put", kind: "listener", object: { ...listenerBody("taken", occupied), address: "127.0.0.1" } }],
      rollout: { stages: [{ nodes: 1 }, { percent: 50 }], bakeMs: 500 },
    });
    const { code, rollout: stopped, detail } = answer.body as unknown as { code: string; rollout: Rollout; detail: string };
    expect([answer.status, code, stopped?.stage, stopped?.cause], answer.text).toEqual([409, "rollout_aborted", 0, "nack"]);
    expect(detail).toContain("Address already in use");
    expect(await world.api.refused(404, "GET", "/v1/listeners/taken")).toMatchObject({ code: "not_found" });
    const having = async (): Promise<number> => {
      const dumps = await Promise.all(world.envoys.map((envoy) => envoy.admin("/listeners")));
      return dumps.filter((dump) => dump.includes("taken::")).length;
    };
    await waitFor("nobody has it", async () => ((await having()) === 0 ? true : undefined));
    expect((await send({ port, path: "/" })).backend).toBe("old");
  });

  test("what answers 5xx at the first Envoy goes no further, and is put back within 10 s", async () => {
    // Mutants: a watch that counts no traffic; `sees` of the counted Envoys swapped.
    fresh.status = 500;
    const load = startLoad({
      next: () => ({ port, path: "/" }),
      keepAlive: 0,
      newConnections: 4,
      requestsPerSecond: 200,
      accepts: ({ backend }) => backend !== undefined,
    });
    const started = performance.now();
    const answer = await change("fresh", { bakeMs: 60_000, abortOn: { errorRate: 0.2 } }, "?wait=acked&timeoutMs=40000");
    const tookMs = performance.now() - started;
    const { code, rollout: stopped, detail } = answer.body as unknown as { code: string; rollout: Rollout; detail: string };
    expect([code, stopped?.stage, stopped?.cause], answer.text).toEqual(["rollout_aborted", 0, "error-rate"]);
    expect(detail).toMatch(/requests .* were answered by 5xx/);
    await waitFor("nobody has it", async () => count(await seen()) === 0);
    const { byBackend } = await load.stop();
    fresh.status = 200;
    expect(tookMs).toBeLessThan(20_000); // 10 s, and as much again for a busy machine.
    expect(byBackend.get("fresh")).toBeGreaterThan(0);
  });
});
