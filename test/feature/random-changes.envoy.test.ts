// Clusters and routes are added, moved and deleted at random under load, 200 revisions, delta and state of the world. A route that
// exists is never without its cluster and never missing: no 503 "no cluster", no 404 "no route", no other answer of Envoy's own.
import { beforeAll, describe, expect, test } from "vitest";
import { type Api, acked } from "../support/api-client.js";
import { clusterBody, listenerBody, quickCheck, routeBody } from "../support/bodies.js";
import type { Mode } from "../support/envoy.js";
import { type HttpBackend, startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";
import { waitFor } from "../support/wait.js";
import { ackedBy, setUp, startWorld, type World } from "../support/world.js";

const revisions = 200;
/** Every 20th write waits until Envoy has it; the others follow each other as fast as the API answers. */
const waitEvery = 20;
const seed = 20_261_124;

/** mulberry32: the same changes in every run, so that a failure can be looked at again. */
function randomFrom(start: number): (below: number) => number {
  let state = start;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below);
  };
}

/** What the test believes to be there. A route counts as live from the time at which Envoy has answered it once. */
class Configuration {
  readonly clusters = new Set<string>();
  /** route → cluster it names. */
  readonly routes = new Map<string, string>();
  /** Routes that Envoy must serve now → since when. */
  readonly live = new Map<string, number>();
  /** Routes being deleted, or deleted → when that began. */
  readonly ended = new Map<string, number>();
  revision = 0;
  #serial = 0;

  constructor(
    readonly api: Api,
    readonly backends: readonly HttpBackend[],
    readonly port: number,
    readonly random: (below: number) => number,
  ) {}

  #pick<T>(from: Iterable<T>): T | undefined {
    const all = [...from];
    return all[this.random(all.length)];
  }
  #note(mutation: { revision: number }): void {
    this.revision = mutation.revision;
  }

  /** A cluster that nobody names yet; one in four has a check, and so warms for longer. */
  async addCluster(): Promise<string> {
    const name = `cluster-${++this.#serial}`;
    const backend = this.backends[this.random(this.backends.length)];
    const checked = this.random(4) === 0 ? { healthChecks: [quickCheck("http", { path: "/healthz" })] } : {};
    this.#note(await this.api.post("/v1/clusters", clusterBody(name, backend ? [backend] : [], checked)));
    this.clusters.add(name);
    return name;
  }

  /** A new route to a new cluster, both in a row: Envoy must not see the route before the cluster. */
  async addRoute(query: string): Promise<void> {
    const name = `route-${++this.#serial}`;
    const cluster = await this.addCluster();
    this.#note(
      await this.api.post(`/v1/routes${query}`, routeBody(name, "web", cluster, { match: { path: { prefix: `/${name}` } } })),
    );
    this.routes.set(name, cluster);
    void this.#watch(name);
  }

  /** Live once it has answered: only from then on is an answer without a backend a fault. */
  async #watch(name: string): Promise<void> {
    const answers = async () => (await send({ port: this.port, path: `/${name}` })).backend !== undefined || this.ended.has(name);
    await waitFor(`${name} answers`, answers, { timeoutMs: 10_000, everyMs: 50 });
    if (!this.ended.has(name)) this.live.set(name, performance.now());
  }

  /** A route moves to a new cluster, and the one that it leaves goes at once. */
  async moveRoute(query: string): Promise<void> {
    const name = this.#pick(this.live.keys());
    if (!name) return this.addRoute(query);
    const cluster = await this.addCluster();
    const left = this.routes.get(name);
    this.#note(
      await this.api.put(
        `/v1/routes/${name}${query}`,
        routeBody(name, "web", cluster, { match: { path: { prefix: `/${name}` } } }),
      ),
    );
    this.routes.set(name, cluster);
    if (left && ![...this.routes.values()].includes(left)) await this.deleteCluster(left);
  }

  async deleteRoute(query: string): Promise<void> {
    const name = this.live.size > 3 ? this.#pick(this.live.keys()) : undefined;
    if (!name) return this.addRoute(query);
    this.live.delete(name);
    this.ended.set(name, performance.now());
    this.#note(await this.api.delete(`/v1/routes/${name}${query}`));
    const cluster = this.routes.get(name);
    this.routes.delete(name);
    if (cluster && ![...this.routes.values()].includes(cluster)) await this.deleteCluster(cluster);
  }

  async deleteCluster(name: string): Promise<void> {
    this.#note(await this.api.delete(`/v1/clusters/${name}`));
    this.clusters.delete(name);
  }

  async step(query: string): Promise<void> {
    const dice = this.random(10);
    if (dice < 4) await this.addRoute(query);
    else if (dice < 8) await this.moveRoute(query);
    else await this.deleteRoute(query);
  }
}

describe.each<Mode>(["delta", "sotw"])("200 random revisions under load, %s", (mode) => {
  let world: World;
  let web = 0;
  let backends: HttpBackend[];

  beforeAll(async () => {
    world = await startWorld({ mode, env: { CHANCERY_REMOVAL_GRACE_MS: "1000" } });
    web = await freePort();
    backends = await Promise.all(["a", "b", "c"].map(startHttpBackend));
    await setUp(world.api, [["listener", listenerBody("web", web)]]);
  });

  test("every route that exists answers all the time, and in the end Envoy has exactly what is wanted", async () => {
    const configuration = new Configuration(world.api, backends, web, randomFrom(seed));
    for (let made = 0; made < 5; made++) await configuration.addRoute(acked);
    await waitFor("the first routes answer", () => configuration.live.size === 5);

    let turn = 0;
    const load = startLoad({
      next: () => {
        const names = [...configuration.live.keys()];
        const name = names[turn++ % Math.max(1, names.length)];
        return name === undefined ? undefined : { port: web, path: `/${name}` };
      },
      keepAlive: 4,
      newConnections: 2,
      requestsPerSecond: 400,
      // An answer of Envoy's own is right only for a route whose deletion began before the request ended.
      accepts: (response, { path = "" }) => response.backend !== undefined || configuration.ended.has(path.slice(1)),
    });
    const first = configuration.revision;
    for (let step = 1; configuration.revision < first + revisions; step++) {
      await configuration.step(step % waitEvery === 0 ? acked : "");
    }
    await ackedBy(world.api, "edge-1", configuration.revision, 20_000);
    const { failures, total } = await load.stop();
    expect(failures).toEqual([]);
    expect(total).toBeGreaterThan(500);

    await waitFor("deleted clusters are gone from Envoy after their grace", async () => {
      const names = await world.envoy.names("cluster");
      return names.length === configuration.clusters.size && names.every((name) => configuration.clusters.has(name));
    });
    for (const name of configuration.routes.keys()) expect((await send({ port: web, path: `/${name}` })).status, name).toBe(200);
    for (const name of configuration.ended.keys()) expect((await send({ port: web, path: `/${name}` })).status, name).toBe(404);
    expect(await world.envoy.statSum("http\\..*\\.no_cluster|.*\\.update_rejected|cluster_manager\\.warming_clusters")).toBe(0);
  });
});
