// An agent beside an Envoy: what the Envoy has acked outlives every control plane, and an Envoy that starts while none answers gets it.
// Real Envoy, real control plane, the agent as a process. A mutant that was tried, and is caught, stands beside its test.
import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http2";
import { join } from "node:path";
import { beforeAll, beforeEach, expect, test } from "vitest";
import { type AgentProcess, startAgent } from "../support/agent.js";
import { acked } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { type Envoy, startEnvoy } from "../support/envoy.js";
import { startHttpBackend } from "../support/http-backend.js";
import { startLoad } from "../support/load.js";
import { scrape } from "../support/metrics.js";
import { freePort } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { send } from "../support/requests.js";
import { waitFor } from "../support/wait.js";
import { ackedBy, connected, setUp, startDatabase } from "../support/world.js";

let replica: Replica;
let agent: AgentProcess;
let envoy: Envoy;
let web = 0;
const backendOf = async (path = "/"): Promise<string> => (await send({ port: web, path })).backend ?? "";
const status = async () => (await agent.nodes()).find(({ node }) => node === "edge-1");
/** Everything that the Envoy has is on disk. */
const kept = () =>
  waitFor("all of it is on disk", async () => {
    const [had, onDisk] = [await versionsOf(envoy), new Set(await readVersions())];
    return had.length > 0 && had.every((version) => onDisk.has(version));
  });

/** The hashes, of their versions, of what the Envoy has got over xDS. */
async function versionsOf(one: Envoy): Promise<string[]> {
  const dump = JSON.parse(await one.configDump()) as { configs: Record<string, unknown>[] }; // As Envoy writes it.
  // A list's own version_info names a response, not a resource.
  const lists = dump.configs.flatMap((config) => Object.entries(config).filter(([key]) => key.startsWith("dynamic_")));
  return [...JSON.stringify(lists).matchAll(/"version_info":"([0-9a-f]+)\.\d+"/g)].map(([, version = ""]) => version);
}
async function readVersions(): Promise<string[]> {
  const file = (await readdir(agent.folder)).find((name) => /^node-[0-9a-f]{16}$/.test(name));
  if (!file) return [];
  const lines = (await readFile(join(agent.folder, file), "utf8")).trimEnd().split("\n").slice(1, -1);
  return lines
    .map((line) => /[0-9a-f]{8,}(?=\.\d)/.exec(Buffer.from(line.split(" ")[1] ?? "", "base64").toString("latin1"))?.[0] ?? "")
    .sort();
}

beforeAll(async () => {
  replica = await startReplica({ databaseUrl: await startDatabase(), env: { CHANCERY_REMOVAL_GRACE_MS: "500" } });
  agent = await startAgent([replica.xdsPort]);
  envoy = await startEnvoy({ node: "edge-1", gateway: "edge", xdsPorts: [agent.port] });
  web = await freePort();
  const [one, two] = await Promise.all([startHttpBackend("one"), startHttpBackend("two")]);
  await connected(replica.api, "edge-1");
  await setUp(replica.api, [
    ["listener", listenerBody("web", web)],
    ["cluster", clusterBody("one", [one])],
    ["cluster", clusterBody("two", [two])],
    ["route", routeBody("all", "web", "one")],
  ]);
  await envoy.live();
});

/** Each test begins with everything running, and the Envoy at the newest revision. */
beforeEach(async () => {
  const { revision = 0 } = (await replica.api.call("GET", "/v1/revisions?limit=1")).body as { revision?: number };
  await ackedBy(replica.api, "edge-1", revision);
  await kept();
});

test("it is passed on what control planes say, and its load reports and metrics arrive", async () => {
  await waitFor("it reports", async () => (await scrape(replica.api)).get('chancery_report_nodes{state="reporting"}') === 1);
  expect(await status()).toMatchObject({ gateway: "edge", serving: "live", controlPlane: `127.0.0.1:${replica.xdsPort}` });
  const refused = await replica.api.call("POST", `/v1/listeners${acked}`, listenerBody("taken", replica.apiPort));
  expect(refused.status).toBe(409); // Envoy's own words come through, too.
  expect(refused.text).toContain("cannot bind");
  await replica.api.call("DELETE", "/v1/listeners/taken");
});

// Mutant: what is on disk is not read at the start. (That a file is whole: test/unit/agent/acked.test.ts.)
test("with no control plane an Envoy that starts serves within 5 s, and what changed meanwhile comes when one is back", async () => {
  await replica.kill();
  await Promise.all([envoy.kill(), agent.kill()]);
  await agent.start();
  const startedAt = performance.now();
  await envoy.start();
  await waitFor("the route serves", async () => (await backendOf()) === "one");
  expect(performance.now() - startedAt).toBeLessThan(15_000); // 5 s are promised; this machine may have ten times its work.
  expect(await status()).toMatchObject({ serving: "last-known-good" });
  const load = startLoad({ next: () => ({ port: web, path: "/" }), keepAlive: 2, newConnections: 1, requestsPerSecond: 100 });
  await replica.start();
  await connected(replica.api, "edge-1");
  await replica.api.call("PUT", `/v1/routes/all${acked}`, routeBody("all", "web", "two"));
  await waitFor("the new route serves", async () => (await backendOf()) === "two");
  expect(await status()).toMatchObject({ serving: "live" });
  expect((await load.stop()).failures).toEqual([]);
});

// Mutant: an Envoy that names what it has gets what is on disk all the same.
test("an Envoy that runs keeps what it has, and is not set back to what is on disk", async () => {
  await replica.api.call("PUT", `/v1/routes/all${acked}`, routeBody("all", "web", "two"));
  await kept();
  const old = await readFiles();
  await replica.api.call("PUT", `/v1/routes/all${acked}`, routeBody("all", "web", "one"));
  await kept();
  await agent.kill();
  await Promise.all(old.map(([name, bytes]) => writeFile(join(agent.folder, name), bytes))); // As if it had not been written yet.
  await replica.kill();
  await agent.start();
  const load = startLoad({ next: () => ({ port: web, path: "/" }), keepAlive: 2, requestsPerSecond: 100 });
  await waitFor("it has come again, in vain", async () => (await status())?.serving === "nobody");
  const { total } = load.counts();
  await waitFor("requests go on for a while", () => load.counts().total > total + 200);
  const { failures, byBackend } = await load.stop();
  expect([failures, [...byBackend.keys()]]).toEqual([[], ["one"]]);
  await replica.start();
});

// Mutant: the versions that an Envoy names are passed on as they are, though nothing is known of what they are of.
test("an agent that has lost its disk learns everything again from the Envoy that runs, without a failed request", async () => {
  const load = startLoad({ next: () => ({ port: web, path: "/" }), keepAlive: 2, newConnections: 1, requestsPerSecond: 100 });
  await agent.kill();
  for (const name of await readdir(agent.folder)) await rm(join(agent.folder, name));
  await agent.start();
  await kept();
  expect((await load.stop()).failures).toEqual([]);
});

// Mutant: patience without end (of the second one; the first is found by its silence to a ping).
test.each(["hangs", "takes streams and says nothing"] as const)(
  "a control plane that %s is as good as none, for an Envoy that starts",
  async (how) => {
    const silent = createServer().on("stream", (stream) => stream.on("error", () => undefined));
    if (how === "hangs") replica.pause();
    else {
      await replica.kill();
      await new Promise<void>((resolve) => silent.listen(replica.xdsPort, "127.0.0.1", resolve));
    }
    await envoy.kill();
    await envoy.start();
    await waitFor("the route serves", async () => (await backendOf()) === "one");
    expect(await status()).toMatchObject({ serving: "last-known-good" });
    if (how === "hangs") replica.resume();
    else {
      await agent.kill(); // It holds a connection to the silent one.
      await new Promise((resolve) => silent.close(resolve));
      await Promise.all([agent.start(), replica.start()]);
    }
    await waitFor("it is live again", async () => (await status())?.serving === "live");
  },
);

// Mutants: failures are not counted; trouble stays after a save that succeeds.
test("metrics tell who serves it, from where, and a disk that can't be written to", async () => {
  const upstream = `chancery_agent_upstream_connections{upstream="127.0.0.1:${replica.xdsPort}"}`;
  const live = await agent.scrape();
  expect(live.get('chancery_agent_nodes{serving="live"}')).toBe(1);
  expect(live.get("chancery_agent_nodes_kept")).toBe(1);
  expect(live.get(upstream)).toBeGreaterThan(0);
  expect(live.get('chancery_agent_streams_open{kind="ads"}')).toBe(1);

  const aside = `${agent.folder}.aside`;
  await rename(agent.folder, aside);
  await writeFile(agent.folder, "a file in place of the folder");
  const written = live.get('chancery_agent_saves_total{outcome="written"}') ?? 0;
  await replica.api.call("PUT", `/v1/clusters/one${acked}`, {
    ...((await replica.api.call("GET", "/v1/clusters/one")).body as object),
    connectTimeoutMs: 1_234,
  });
  await waitFor("the failure is told", async () => (await agent.scrape()).get("chancery_agent_saves_failing") === 1);
  expect((await agent.scrape()).get('chancery_agent_messages_total{direction="response"}')).toBeGreaterThan(0);
  expect((await agent.scrape()).get('chancery_agent_saves_total{outcome="failed"}')).toBeGreaterThan(0);
  await rm(agent.folder);
  await rename(aside, agent.folder);
  await waitFor("it is kept again", async () => (await agent.scrape()).get("chancery_agent_saves_failing") === 0, {
    timeoutMs: 30_000,
  });
  expect((await agent.scrape()).get('chancery_agent_saves_total{outcome="written"}')).toBeGreaterThan(written);
  await kept();

  await replica.kill();
  await envoy.kill();
  await envoy.start();
  await waitFor(
    "it is started from disk",
    async () => (await agent.scrape()).get('chancery_agent_nodes{serving="last-known-good"}') === 1,
  );
  const fromDisk = await agent.scrape();
  expect(fromDisk.get("chancery_agent_starts_from_disk_total")).toBeGreaterThan(0);
  expect(fromDisk.get(upstream)).toBe(0);
  expect(fromDisk.get("chancery_agent_kept_age_seconds")).toBeGreaterThan(0);
  await replica.start();
  await waitFor("it is live again", async () => (await status())?.serving === "live");
});

// Mutant: no checksum. Of each file itself: test/unit/store/state-file.test.ts.
test("a damaged file is not served: the Envoy waits, without a port, as it does without an agent", async () => {
  await replica.kill();
  await Promise.all([envoy.kill(), agent.kill()]);
  for (const [name, bytes] of await readFiles()) {
    bytes.writeUInt8(bytes.readUInt8(bytes.length >> 1) ^ 1, bytes.length >> 1);
    await writeFile(join(agent.folder, name), bytes);
  }
  await agent.start();
  await envoy.start();
  await waitFor("it is told", () => agent.log().includes("a kept configuration is not served"));
  expect((await agent.scrape()).get('chancery_agent_files_rejected_total{reason="damaged"}')).toBeGreaterThan(0);
  await expect(send({ port: web, path: "/" })).rejects.toThrow("ECONNREFUSED");
  await replica.start();
  await connected(replica.api, "edge-1");
  await waitFor("the route serves", async () => (await backendOf()) === "one");
});

async function readFiles(): Promise<(readonly [string, Buffer])[]> {
  const names = (await readdir(agent.folder)).filter((name) => name.startsWith("node-"));
  return Promise.all(names.map(async (name) => [name, await readFile(join(agent.folder, name))] as const));
}
