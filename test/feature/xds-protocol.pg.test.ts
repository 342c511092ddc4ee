// The protocol as a client sees it that does exactly what the test says: subscribes, acks, refuses, answers late, hangs up. Over gRPC, on
// a whole control plane; the client reads the wire by itself (test/support/xds-client.ts).
import { status } from "@grpc/grpc-js";
import { beforeAll, describe, expect, test } from "vitest";
import type { Api } from "../support/api-client.js";
import { clusterBody, endpointOf, listenerBody, routeBody } from "../support/bodies.js";
import { type Replica, startReplica } from "../support/replica.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";
import { openXdsStream, type XdsStream } from "../support/xds-client.js";

let replica: Replica;
let api: Api;
let serial = 0;

beforeAll(async () => {
  replica = await startReplica({ databaseUrl: await startDatabase(), env: { CHANCERY_REMOVAL_GRACE_MS: "300" } });
  ({ api } = replica);
  await api.post("/v1/listeners", listenerBody("web", 80));
  await api.post("/v1/clusters", clusterBody("app", [{ port: 8080 }]));
  await api.post("/v1/clusters", clusterBody("other", [{ port: 8081 }]));
  await api.post("/v1/clusters", clusterBody("unused", [{ port: 8082 }]));
  await api.post("/v1/routes", routeBody("app", "web", { app: 1, other: 0 }));
});

const open = (protocol: "delta" | "sotw", gateway = "edge"): XdsStream =>
  openXdsStream({ port: replica.xdsPort, node: `scripted-${++serial}`, gateway, protocol });

/** Asks for everything as Envoy does, and answers everything. Resolves when all four types have come. */
async function subscribe(stream: XdsStream): Promise<XdsStream> {
  stream.ackAll();
  stream.request("cluster");
  const clusters = await stream.next("cluster");
  stream.request("endpoint", { names: clusters.resources.map(({ name }) => name) });
  await stream.next("endpoint");
  stream.request("listener");
  await stream.next("listener");
  stream.request("route", { names: ["web"] });
  await stream.next("route");
  return stream;
}

const weight = (value: number) =>
  api.put("/v1/clusters/app/endpoints/127.0.0.1:8080", endpointOf({ port: 8080 }, { weight: value }));

describe.each(["delta", "sotw"] as const)("a stream, %s", (protocol) => {
  test("gets what its gateway reaches, and nothing else: also a cluster of weight 0, but none that no route names", async () => {
    const stream = await subscribe(open(protocol));
    // What was deleted just before lingers for its grace.
    await waitFor("it has those two clusters", () => [...stream.state("cluster").keys()].sort().join() === "app,other");
    expect([...stream.state("listener").keys()]).toEqual(["web"]);
    expect([...stream.state("route").keys()]).toEqual(["web"]);
    stream.close();
  });

  test("of a gateway that nobody knows gets an empty configuration, at once", async () => {
    const stream = open(protocol, "nowhere");
    for (const type of ["cluster", "listener"] as const) {
      stream.request(type);
      expect((await stream.next(type)).resources).toEqual([]);
    }
    await waitFor("the node is flagged", async () => (await api.node(`scripted-${serial}`))?.gatewayKnown === false);
    stream.close();
  });

  test("asks for names that do not exist, and gets an answer: nothing waits for ever", async () => {
    const stream = await subscribe(open(protocol));
    stream.request("endpoint", { names: ["app", "no-such-cluster"] });
    const answer = await stream.next("endpoint", 1);
    if (protocol === "delta")
      expect([...answer.removed, ...answer.resources.map(({ name }) => name)]).toContain("no-such-cluster");
    else expect(answer.resources.map(({ name }) => name)).toContain("no-such-cluster");
    stream.close();
  });

  test("has one response of a type in flight, and then the newest state, not every state", async () => {
    const stream = await subscribe(open(protocol));
    const muted = open(protocol);
    muted.request("cluster");
    const first = await muted.next("cluster");
    muted.ack(first);
    muted.request("endpoint", { names: ["app"] });
    const shown = await muted.next("endpoint");
    for (let value = 10; value < 20; value++) await weight(value);
    await waitFor("the others have it", () =>
      JSON.stringify(stream.state("endpoint").get("app")?.message).includes('"value":19'),
    );
    expect(muted.of("endpoint")).toHaveLength(1);
    muted.ack(shown, ["app"]);
    const second = await muted.next("endpoint", 1);
    expect(JSON.stringify(second.resources[0]?.message)).toContain('"value":19');
    muted.close();
    stream.close();
  });

  test("that refuses bytes does not get them again, and gets what comes after", async () => {
    const stream = open(protocol);
    stream.request("cluster");
    stream.ack(await stream.next("cluster"));
    stream.request("endpoint", { names: ["app"] });
    stream.ack(await stream.next("endpoint"), ["app"]);
    const { revision } = await weight(21);
    const bad = await stream.next("endpoint", 1);
    stream.nack(bad, "scripted refusal", ["app"]);
    const refusal = await waitFor("the refusal is shown", async () => (await api.node(`scripted-${serial}`))?.refused[0]);
    expect(refusal).toMatchObject({ type: "endpoint", resource: "app", revision, detail: "scripted refusal" });
    const bytes = bad.resources[0]?.bytes ?? Buffer.alloc(0);
    const sentAgain = (): number =>
      stream.of("endpoint").filter((one) => one.resources.some((resource) => resource.bytes.equals(bytes))).length;
    await staysTrue("it does not come again", () => sentAgain() === 1, 1_000);
    const seen = stream.of("endpoint").length;
    await weight(22);
    await waitFor("the next one comes", () =>
      stream
        .of("endpoint")
        .slice(seen)
        .some((one) => JSON.stringify(one.resources[0]?.message).includes('"value":22')),
    );
    stream.close();
  });

  test("that comes back with what it has is sent nothing, but changes made meanwhile", async () => {
    const stream = await subscribe(open(protocol));
    await waitFor("it has settled", () => stream.state("endpoint").size === 2);
    const types = ["cluster", "listener"] as const;
    const had = types.map((type) => stream.of(type).at(-1));
    const versions = (type: "cluster" | "listener") =>
      Object.fromEntries([...stream.state(type)].map(([name, resource]) => [name, resource.version]));
    stream.close();
    const again = open(protocol);
    for (const [index, type] of types.entries()) {
      again.request(type, protocol === "delta" ? { initialVersions: versions(type) } : { version: had[index]?.version ?? "" });
    }
    await staysTrue("nothing comes", () => again.responses.length === 0, 700);
    await api.put("/v1/clusters/other", { name: "other", connectTimeoutMs: 1_000 + serial });
    const change = await again.next("cluster");
    if (protocol === "delta") expect(change.resources.map(({ name }) => name)).toEqual(["other"]);
    expect(again.of("listener")).toEqual([]);
    again.close();
  });

  test("has a new route only when it has acked it, however late that comes out: a wait stays for the ack", async () => {
    const stream = await subscribe(open(protocol));
    // The route is held until its cluster is ready, so it goes out late and alone; this one acks all but that.
    stream.ackAll(["route"]);
    const name = `late-${serial}`;
    await api.post("/v1/clusters", clusterBody(name, [{ port: 8090 }]));
    const body = routeBody(name, "web", name, { match: { path: { prefix: `/${name}` } } });
    const answer = api.call("POST", "/v1/routes?wait=acked&timeoutMs=1500", body);
    await waitFor("the cluster comes", () => stream.state("cluster").has(name));
    stream.request(
      "endpoint",
      protocol === "delta"
        ? { names: [name] }
        : { names: ["app", "other", name], nonce: stream.of("endpoint").at(-1)?.nonce ?? "" },
    );
    const sent = await waitFor("the route comes", () =>
      stream.of("route").find((one) => JSON.stringify(one.resources).includes(`/${name}`)),
    );
    const { status: answered, body: mutation } = await answer;
    expect(answered, JSON.stringify(mutation)).toBe(202);
    expect(mutation).toMatchObject({ sync: { state: "pending", gateways: { edge: { lagging: [`scripted-${serial}`] } } } });
    stream.ack(sent, ["web"]);
    const { revision } = mutation as { revision: number };
    await waitFor("it has it", async () => ((await api.node(`scripted-${serial}`))?.ackedRevision ?? 0) >= revision);
    stream.close();
    await api.delete(`/v1/routes/${name}`);
    await api.delete(`/v1/clusters/${name}`);
  });

  test("without a node is refused with INVALID_ARGUMENT", async () => {
    const stream = openXdsStream({ port: replica.xdsPort, node: "", gateway: "", protocol });
    stream.request("cluster");
    expect((await stream.ended).code).toBe(status.INVALID_ARGUMENT);
  });
});

describe("delta alone", () => {
  test("a subscription grows and shrinks by names; what was left out is not sent any more", async () => {
    const stream = await subscribe(open("delta"));
    // A name that is not there is answered: then the request before it has been read, too.
    stream.request("endpoint", { unsubscribe: ["app"] });
    stream.request("endpoint", { names: ["nowhere"] });
    await waitFor("both are read", () => stream.of("endpoint").some((one) => one.removed.includes("nowhere")));
    const seen = stream.of("endpoint").length;
    await weight(31);
    await api.put("/v1/clusters/other/endpoints/127.0.0.1:8081", endpointOf({ port: 8081 }, { weight: 31 }));
    const came = () =>
      stream
        .of("endpoint")
        .slice(seen)
        .flatMap((one) => one.resources.map(({ name }) => name));
    await waitFor("the other one comes", () => came().length > 0);
    expect(came()).toEqual(["other"]);
    stream.request("endpoint", { names: ["app"] });
    await waitFor("it comes again", () =>
      stream
        .of("endpoint")
        .slice(seen)
        .some((one) => one.resources.some(({ name }) => name === "app")),
    );
    stream.close();
  });

  test("an answer to an unknown nonce changes nothing and breaks nothing", async () => {
    const stream = await subscribe(open("delta"));
    stream.request("cluster", { nonce: "never-sent" });
    stream.request("cluster", { nonce: "never-sent", refusal: "of what?" });
    await weight(41);
    await waitFor("it still gets changes", () =>
      JSON.stringify(stream.state("endpoint").get("app")?.message).includes('"value":41'),
    );
    expect((await api.node(`scripted-${serial}`))?.refused).toEqual([]);
    stream.close();
  });
});

test("a deleted cluster goes after the routes that named it, and not before their ack and a grace", async () => {
  await api.post("/v1/clusters", clusterBody("brief", [{ port: 8083 }]));
  await api.post("/v1/routes", routeBody("brief", "web", "brief", { match: { path: { prefix: "/brief" } } }));
  const stream = await subscribe(open("delta"));
  stream.request("endpoint", { names: ["brief"] });
  await waitFor("the route is there", () => JSON.stringify(stream.state("route").get("web")?.message).includes("/brief"));
  await api.delete("/v1/routes/brief");
  await api.delete("/v1/clusters/brief");
  await waitFor("the cluster goes", () => stream.of("cluster").some((one) => one.removed.includes("brief")));
  const routeAt =
    stream.of("route").findLast((one) => !JSON.stringify(one.resources).includes("/brief"))?.at ?? Number.POSITIVE_INFINITY;
  const clusterAt = stream.of("cluster").find((one) => one.removed.includes("brief"))?.at ?? 0;
  expect(clusterAt - routeAt).toBeGreaterThanOrEqual(280);
  stream.close();
});
