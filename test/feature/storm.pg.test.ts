// A storm in small: 300 streams that have lost their replicas come to two others at once, which let in what they can and turn the others away; all are in sync within a minute, and the API answers meanwhile. In large: `npm run storm`.
import { expect, test } from "vitest";
import { clusterBody, listenerBody, routeBody } from "../support/bodies.js";
import { crowdSettings } from "../support/crowd.js";
import { limitHits } from "../support/metrics.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";
import { openXdsConnection, openXdsStream } from "../support/xds-client.js";

const fleet = 300;
const env = {
  ...crowdSettings,
  CHANCERY_XDS_NEW_STREAM_BURST: "60",
  CHANCERY_XDS_NEW_STREAMS_PER_SECOND: "100",
  CHANCERY_XDS_MAX_FIRST_PUSHES: "30",
};

/** Aborted when the test is over: nobody comes again then. */
const over = new AbortController();

interface Member {
  /** In sync with what there is now. */
  isServed(): boolean;
  tries(): number;
}

/** Comes again until it is let in, to one replica after the other, as an Envoy does. */
function join(
  at: number,
  replicas: readonly Replica[],
  connections: ReadonlyMap<Replica, ReturnType<typeof openXdsConnection>>,
): Member {
  let [isServed, tries] = [false, 0];
  const connect = (): void => {
    if (over.signal.aborted) return;
    const replica = replicas[(at + tries) % replicas.length];
    const connection = replica && connections.get(replica);
    if (!replica || !connection) return;
    tries += 1;
    const stream = openXdsStream({ port: replica.xdsPort, node: `edge-${at}`, gateway: "edge", protocol: "delta", connection });
    stream.ackAll();
    stream.request("cluster");
    stream.request("endpoint", { names: ["app"] });
    stream.request("listener");
    stream.request("route", { names: ["web"] });
    void waitFor("it has its route", () => stream.state("route").has("web"), { timeoutMs: 60_000, everyMs: 20 }).then(
      () => {
        isServed = true;
      },
      () => {},
    );
    void stream.ended.then(() => setTimeout(connect, Math.random() * 500));
  };
  connect();
  return { isServed: () => isServed, tries: () => tries };
}

test("all who lost their replica are in sync elsewhere within a minute, and nothing else waits for that", async () => {
  const databaseUrl = await startDatabase();
  const replicas = await Promise.all(["left", "right"].map((id) => startReplica({ databaseUrl, id, env })));
  const [left] = replicas;
  if (!left) throw new Error("two replicas were asked for");
  await left.api.post("/v1/listeners", listenerBody("web", 80));
  await left.api.post("/v1/clusters", clusterBody("app", [{ port: 1_001 }]));
  await left.api.post("/v1/routes", routeBody("app", "web", "app"));
  const connections = new Map(replicas.map((replica) => [replica, openXdsConnection(replica.xdsPort)]));
  const startedAt = performance.now();
  const members = Array.from({ length: fleet }, (_, at) => join(at, replicas, connections));
  let slowestMs = 0;
  await waitFor(
    "all are in sync",
    async () => {
      const askedAt = performance.now();
      expect((await left.api.call("GET", "/v1/clusters/app")).status).toBe(200);
      slowestMs = Math.max(slowestMs, performance.now() - askedAt);
      return members.every((member) => member.isServed());
    },
    { timeoutMs: 60_000, everyMs: 100 },
  );
  expect(performance.now() - startedAt).toBeLessThan(60_000);
  expect(slowestMs).toBeLessThan(5_000);
  const turnedAway = await Promise.all(
    replicas.flatMap(({ api }) => ["xds_new_streams_per_second", "xds_max_first_pushes"].map((limit) => limitHits(api, limit))),
  );
  expect(turnedAway.reduce((sum, hits) => sum + hits)).toBeGreaterThan(fleet - 2 * 60 - 100);
  const { sync } = await left.api.put("/v1/clusters/app/endpoints/127.0.0.1:1001?wait=acked&timeoutMs=30000", { weight: 2 });
  expect([sync?.state, sync?.gateways["edge"]?.total]).toEqual(["acked", fleet]);
  over.abort();
}, 120_000);
