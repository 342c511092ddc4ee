// A route that Envoy refuses, and a control plane that restarts meanwhile: the new process finds out by hash what the Envoy has, so the
// other routes go on changing. Without that, the whole RouteConfiguration stays as it is until the bad route is mended.
import { beforeAll, describe, expect, test } from "vitest";
import type { HttpRoute } from "../../src/model/route.js";
import { acked } from "../support/api-client.js";
import { putBehind } from "../support/behind-the-api.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import type { Mode } from "../support/envoy.js";
import { startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { httpRoute } from "../support/stream-world.js";
import { waitFor } from "../support/wait.js";
import { connected, setUp, startWorld, type World } from "../support/world.js";

/** Envoy compiles the expression, and can't; the API would have said so. */
function brokenRoute(name: string): HttpRoute {
  const route = httpRoute(name, "web", `/${name}`, ["app"]);
  return { ...route, match: { ...route.match, path: { kind: "regex", value: "/(" } } };
}

describe.each<Mode>(["delta", "sotw"])("a refused route and a restart, %s", (mode) => {
  let world: World;
  let web = 0;
  const prefix = (path: string) => ({ match: { path: { prefix: path } } });

  beforeAll(async () => {
    world = await startWorld({ mode });
    web = await freePort();
    const backend = await startHttpBackend("app");
    await setUp(world.api, [
      ["listener", listenerBody("web", web)],
      ["cluster", clusterBody("app", [backend])],
      ["route", routeBody("steady", "web", "app", prefix("/steady"))],
      ["route", routeBody("worse", "web", "app", prefix("/worse"))],
    ]);
  });

  test("another good route goes live, the bad one keeps its last good form, and nothing that served stops", async () => {
    const serves = async (path: string): Promise<boolean> => (await send({ port: web, path })).backend === "app";
    await waitFor("the routes are live", () => serves("/worse"));
    const loads = ["/steady", "/worse"].map((path) => startLoad({ next: () => ({ port: web, path }) }));
    await putBehind(world.databaseUrl, [["route", brokenRoute("worse")]]);
    await world.api.post(`/v1/routes${acked}`, routeBody("meanwhile", "web", "app", prefix("/meanwhile")));
    await waitFor("the route beside the bad one is live", () => serves("/meanwhile"));
    await world.replica.restart();
    await connected(world.api, "edge-1");
    expect(await serves("/meanwhile")).toBe(true);
    await world.api.post(`/v1/routes${acked}`, routeBody("after", "web", "app", prefix("/after")));
    await waitFor("the route made after the restart is live", () => serves("/after"));
    for (const path of ["/steady", "/worse", "/meanwhile"]) expect(await serves(path), path).toBe(true);
    for (const load of loads) expect((await load.stop()).failures).toEqual([]);
  });
});
