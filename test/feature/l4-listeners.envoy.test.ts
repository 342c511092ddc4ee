// L4: TLS passed through by SNI with several routes on one port, source-IP hashing, TCP routes beside each other, and what a change of
// one of them does to the connections of the others: nothing.
import { beforeAll, describe, expect, test } from "vitest";
import { acked } from "../support/api-client.js";
import { clusterBody, listenerBody, streamRouteBody } from "../support/bodies.js";
import { drainTimeSeconds } from "../support/envoy.js";
import { openTcp, openTls } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { askTcp, askTls, askUdp, countTcp } from "../support/short-connections.js";
import { startTcpBackend, startTlsBackend, startUdpBackend } from "../support/stream-backends.js";
import { staysTrue, waitFor } from "../support/wait.js";
import { setUp, startWorld, type World } from "../support/world.js";

let world: World;

beforeAll(async () => {
  world = await startWorld();
});

describe("TLS passthrough by server name", () => {
  let tls = 0;

  beforeAll(async () => {
    tls = await freePort();
    const backends = await Promise.all(["shop", "wild", "rest", "new"].map(startTlsBackend));
    await setUp(world.api, [
      ["listener", listenerBody("tls", tls, { protocol: "tls" })],
      ...backends.map((backend) => ["cluster", clusterBody(backend.name, [backend], { protocol: "tcp" })] as const),
      ["route", streamRouteBody("tcp", "shop", "tls", "shop", { sni: ["shop.test"] })],
      ["route", streamRouteBody("tcp", "wild", "tls", "wild", { sni: ["*.wild.test"] })],
      ["route", streamRouteBody("tcp", "rest", "tls", "rest")],
    ]);
  });

  test("each name reaches its own backend: exact, wildcard, and all others", async () => {
    expect(await askTls(tls, "shop.test")).toBe("shop");
    expect(await askTls(tls, "a.wild.test")).toBe("wild");
    expect(await askTls(tls, "elsewhere.test")).toBe("rest");
  });

  test("a route added on the same port cuts no connection of the others", async () => {
    const held = await openTls(tls, "shop.test", 5);
    await world.api.post(`/v1/routes${acked}`, streamRouteBody("tcp", "new", "tls", "new", { sni: ["new.test"] }));
    expect(await askTls(tls, "new.test")).toBe("new");
    // Longer than Envoy's drain time: a drained chain would have been closed.
    await staysTrue("nothing is cut", () => held.alive() === 5, (drainTimeSeconds + 1) * 1_000);
    await held.answer();
    expect([held.alive(), held.deaths()]).toEqual([5, []]);
    held.close();
  });

  test("two routes of one listener can't claim the same name", async () => {
    const body = streamRouteBody("tcp", "twice", "tls", "new", { sni: ["shop.test"] });
    const problem = await world.api.call("POST", "/v1/routes", body);
    expect([409, 422]).toContain(problem.status);
    expect(problem.text).toContain("shop");
  });
});

test("source-IP hashing keeps a client on one endpoint, and spreads clients over all", async () => {
  const port = await freePort();
  const backends = await Promise.all(["h1", "h2", "h3"].map(startTcpBackend));
  await setUp(world.api, [
    ["listener", listenerBody("hashed", port, { protocol: "tcp" })],
    ["cluster", clusterBody("hashed", backends, { protocol: "tcp", loadBalancing: { policy: "maglev" } })],
    ["route", streamRouteBody("tcp", "hashed", "hashed", "hashed", { hashOnSourceIp: true })],
  ]);
  const seen = new Map<string, string>();
  for (let client = 1; client <= 60; client++) {
    const from = `127.0.1.${client}`;
    const answers = [await askTcp(port, { from }), await askTcp(port, { from }), await askTcp(port, { from })];
    expect(new Set(answers).size, from).toBe(1);
    seen.set(from, answers[0] ?? "");
  }
  expect([...new Set(seen.values())].sort()).toEqual(["h1", "h2", "h3"]);
});

test("a TCP endpoint that is disabled takes no new connection, and keeps the open ones", async () => {
  const port = await freePort();
  const [left, right] = await Promise.all([startTcpBackend("left"), startTcpBackend("right")]);
  await setUp(world.api, [
    ["listener", listenerBody("pair", port, { protocol: "tcp" })],
    ["cluster", clusterBody("pair", [left, right], { protocol: "tcp" })],
    ["route", streamRouteBody("tcp", "pair", "pair", "pair")],
  ]);
  const held = await openTcp(port, 10);
  expect(new Set(held.all.map((one) => one.backend)).size).toBe(2);
  await world.api.put(`/v1/clusters/pair/endpoints/${left.address}${acked}`, { enabled: false });
  expect(await countTcp(port, 100)).toEqual(new Map([["right", 100]]));
  await held.answer();
  expect([held.alive(), held.deaths()]).toEqual([10, []]);
  held.close();
});

test("a UDP session moves away from a disabled endpoint at its next datagram", async () => {
  const port = await freePort();
  const [left, right] = await Promise.all([startUdpBackend("left"), startUdpBackend("right")]);
  await setUp(world.api, [
    ["listener", listenerBody("udp", port, { protocol: "udp" })],
    ["cluster", clusterBody("udp", [left, right], { protocol: "udp" })],
    ["route", streamRouteBody("udp", "udp", "udp", "udp")],
  ]);
  await waitFor("both are used", async () => {
    await askUdp(port);
    return left.datagrams() > 0 && right.datagrams() > 0;
  });
  await world.api.put(`/v1/clusters/udp/endpoints/${left.address}${acked}`, { enabled: false });
  const seen = left.datagrams();
  for (let sent = 0; sent < 50; sent++) expect(await askUdp(port)).toBe("right");
  expect(left.datagrams()).toBe(seen);
});

test("a listener that is deleted closes its port, and its address can be taken at once by another", async () => {
  const port = await freePort();
  const backend = await startTcpBackend("moved");
  await setUp(world.api, [
    ["listener", listenerBody("before", port, { protocol: "tcp" })],
    ["cluster", clusterBody("moved", [backend], { protocol: "tcp" })],
    ["route", streamRouteBody("tcp", "before", "before", "moved")],
  ]);
  expect(await askTcp(port)).toBe("moved");
  await world.api.refused(409, "POST", "/v1/listeners", listenerBody("after", port, { protocol: "tcp" }));
  await world.api.refused(409, "DELETE", "/v1/listeners/before");
  await world.api.delete("/v1/routes/before");
  await world.api.delete("/v1/listeners/before");
  await world.api.post("/v1/listeners", listenerBody("after", port, { protocol: "tcp" }));
  await world.api.post(`/v1/routes${acked}`, streamRouteBody("tcp", "after", "after", "moved"));
  expect(await askTcp(port)).toBe("moved");
});
