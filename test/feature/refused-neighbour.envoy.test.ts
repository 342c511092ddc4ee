// A valid service and route beside an object that Envoy refuses go live at once: in the same change, and in the next one, while the
// refusal stands. Measured from the answer of the write to the first 200, on a real Envoy; until then the path is not there (404), and
// never broken (5xx). What the admin API rightly refuses is put in behind it, through the store, good and bad in one revision.
import { createServer } from "node:net";
import { beforeAll, describe, expect, test } from "vitest";
import { cluster, endpoint, route } from "../store/samples.js";
import { acked } from "../support/api-client.js";
import { putBehind } from "../support/behind-the-api.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { onCleanup } from "../support/cleanup.js";
import type { Mode } from "../support/envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { waitFor } from "../support/wait.js";
import { setUp, startWorld, type World } from "../support/world.js";

/** A peer answered 500 for 3 to 15 s here. Measured: 2 to 350 ms, on two cores with nine times their work. */
const liveWithinMs = 2_000;

/** A port that another program holds. */
async function occupiedPort(): Promise<number> {
  const port = await freePort();
  const server = createServer();
  await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port, exclusive: true }, resolve));
  onCleanup(`holder of port ${port}`, () => new Promise<void>((resolve) => server.close(() => resolve())));
  return port;
}

/** ms from now to the first 200 on the path, and every other status that was seen before. */
async function untilLive(port: number, path: string): Promise<{ ms: number; before: readonly number[] }> {
  const started = performance.now();
  const before = new Set<number>();
  await waitFor(
    `${path} is live`,
    async () => {
      const { status } = await send({ port, path });
      if (status !== 200) before.add(status);
      return status === 200;
    },
    { everyMs: 2, timeoutMs: 20_000 },
  );
  return { ms: performance.now() - started, before: [...before] };
}

describe.each<Mode>(["delta", "sotw"])("beside what Envoy refuses, %s", (mode) => {
  let world: World;
  let web = 0;
  let backend: HttpBackend;
  let serial = 0;

  beforeAll(async () => {
    world = await startWorld({ mode, env: { CHANCERY_REMOVAL_GRACE_MS: "500" } });
    web = await freePort();
    backend = await startHttpBackend("app");
    await setUp(world.api, [
      ["listener", listenerBody("web", web)],
      ["cluster", clusterBody("app", [backend])],
      ["route", routeBody("app", "web", "app", { match: { path: { prefix: "/app" } } })],
    ]);
  });

  const match = (name: string) => ({ match: { path: { exact: `/${name}` } } });
  /** A new cluster and a new route to it, as two writes of one change. */
  const service = (name: string) => [
    { op: "put", kind: "cluster", object: clusterBody(name, [backend]) },
    { op: "put", kind: "route", object: routeBody(name, "web", name, match(name)) },
  ];

  async function expectLiveAtOnce(what: string, name: string): Promise<void> {
    const { ms, before } = await untilLive(web, `/${name}`);
    console.log(`${what}, ${mode}: ${ms.toFixed(0)} ms`);
    expect(before.filter((status) => status !== 404)).toEqual([]);
    expect(ms).toBeLessThan(liveWithinMs);
    expect((await send({ port: web, path: "/app" })).backend).toBe("app");
  }
  const refusalOf = (resource: string) =>
    waitFor(`the refusal of ${resource} is shown`, async () =>
      (await world.api.node("edge-1"))?.refused.find((one) => one.resource === resource),
    );
  /** The next change, while the refusal stands. */
  async function expectNextLiveAtOnce(what: string): Promise<void> {
    const name = `next-${++serial}`;
    await world.api.post("/v1/changes", { changes: service(name) });
    await expectLiveAtOnce(`the change after ${what}`, name);
  }

  test("a listener that can't bind, in a change of the API's", async () => {
    const [bad, good] = [`bad-${++serial}`, `good-${serial}`];
    const listener = { op: "put", kind: "listener", object: listenerBody(bad, await occupiedPort()) };
    await world.api.post("/v1/changes", { changes: [listener, ...service(good)] });
    await expectLiveAtOnce("with a listener that can't bind", good);
    expect((await refusalOf(bad)).detail).toContain("Address already in use");
    await expectNextLiveAtOnce("a listener that can't bind");
    await world.api.delete(`/v1/listeners/${bad}${acked}`);
    await waitFor("no refusal is left", async () => (await world.api.node("edge-1"))?.refused.length === 0);
  });

  const routeTo = (name: string) => {
    const plain = route(name, ["web"], [{ cluster: name, weight: 1 }]);
    return ["route", { ...plain, match: { ...plain.match, path: { kind: "exact", value: `/${name}` } } }] as const;
  };
  /** A service, as the store takes it, with a cluster of its own and endpoints on another host. */
  const objects = (name: string, address: string, more: Parameters<typeof cluster>[1] = {}) =>
    [["cluster", cluster(name, more)], ["endpoint", endpoint(name, backend.port, { address })], routeTo(name)] as const;

  /** Both services in one revision, the bad one first; and, while it is refused, the next change. */
  async function putTogether(what: string, type: string, badParts: (name: string) => ReturnType<typeof objects>): Promise<void> {
    const [bad, good] = [`bad-${++serial}`, `good-${serial}`];
    await putBehind(world.databaseUrl, [...badParts(bad), ...objects(good, "127.0.0.1")]);
    await expectLiveAtOnce(`with ${what}`, good);
    expect((await refusalOf(bad)).type).toBe(type);
    await expectNextLiveAtOnce(what);
    await world.api.post("/v1/changes", {
      changes: ["route", "cluster"].map((kind) => ({ op: "delete", kind, name: bad })),
    });
    await waitFor("no refusal is left", async () => (await world.api.node("edge-1"))?.refused.length === 0);
  }

  test("an endpoint that is none, in one revision", () =>
    putTogether("an endpoint that is none", "endpoint", (name) => objects(name, "no-such-host")));

  test("a cluster for which Envoy refuses the whole response, in one revision", () =>
    putTogether("a cluster that spoils its response", "cluster", (name) => objects(name, "127.0.0.1", { connectTimeoutMs: 0 })));

  test("a cluster that fails when Envoy makes it, in one revision", () => {
    const ring = { policy: "ring-hash", minimumRingSize: 4_096, maximumRingSize: 1_024 } as const;
    return putTogether("a cluster that fails when it is made", "cluster", (name) =>
      objects(name, "127.0.0.1", { loadBalancing: ring }),
    );
  });
});
