// Which changes of a listener close connections, as measured on Envoy 1.40: inside a chain that chain's, at the level of the listener all,
// and a chain that is added none.
import { describe, expect, test } from "vitest";
import type { Listener } from "../../../src/model/listener.js";
import type { Route, TcpRoute, UdpRoute } from "../../../src/model/route.js";
import { drainsConnections } from "../../../src/translate/listener-drain.js";
import { listenerResource } from "../../../src/translate/resources.js";

const base = { address: "0.0.0.0", port: 80, gateways: ["edge"] };
const http: Listener = { ...base, name: "web", protocol: "http", idleTimeoutMs: 1_000, trustedHops: 0 };
const tcp: Listener = { ...base, name: "raw", protocol: "tcp" };
const tls: Listener = { ...base, name: "tls", protocol: "tls" };
const udp: Listener = { ...base, name: "dns", protocol: "udp" };
const toTcp = (name: string, listener: string, more: Partial<TcpRoute> = {}): TcpRoute => ({
  protocol: "tcp",
  name,
  listener,
  sni: [],
  backends: [{ cluster: "a", weight: 1 }],
  hashOnSourceIp: false,
  idleTimeoutMs: 1_000,
  split: "endpoints",
  ...more,
});
const toUdp: UdpRoute = {
  protocol: "udp",
  name: "dns",
  listener: "dns",
  backends: [{ cluster: "a", weight: 1 }],
  hashOnSourceIp: false,
  idleTimeoutMs: 1_000,
};

function bytes(listener: Listener, routes: readonly Route[] = []): Buffer {
  const encoded = listenerResource(listener, routes, "ads");
  if (!encoded) throw new Error("nothing to open");
  return encoded.bytes;
}

describe("nothing is closed", () => {
  test("when nothing changes", () => {
    expect(drainsConnections(bytes(http), bytes(http))).toBe(false);
  });
  test("by a shift of weights or a new backend on TCP", () => {
    const more = toTcp("raw", "raw", {
      backends: [
        { cluster: "a", weight: 5 },
        { cluster: "b", weight: 1 },
      ],
    });
    expect(drainsConnections(bytes(tcp, [toTcp("raw", "raw")]), bytes(tcp, [more]))).toBe(false);
  });
  test("by a server name that gets a route of its own", () => {
    const one = toTcp("one", "tls", { sni: ["one.example"] });
    const two = toTcp("two", "tls", { sni: ["two.example"] });
    expect(drainsConnections(bytes(tls, [one]), bytes(tls, [one, two]))).toBe(false);
  });
  test("on UDP, which has no connections", () => {
    expect(drainsConnections(bytes(udp, [toUdp]), bytes({ ...udp, port: 81 }, [toUdp]))).toBe(false);
    expect(drainsConnections(bytes(udp, [toUdp]), undefined)).toBe(false);
  });
});

describe("connections are closed", () => {
  test("by a field of the connection manager", () => {
    expect(drainsConnections(bytes(http), bytes({ ...http, trustedHops: 1 }))).toBe(true);
  });
  test("by another port, and by removal", () => {
    expect(drainsConnections(bytes(http), bytes({ ...http, port: 81 }))).toBe(true);
    expect(drainsConnections(bytes(http), undefined)).toBe(true);
  });
  test("by a field of one of several chains, or its removal", () => {
    const one = toTcp("one", "tls", { sni: ["one.example"] });
    const two = toTcp("two", "tls", { sni: ["two.example"] });
    expect(drainsConnections(bytes(tls, [one, two]), bytes(tls, [one, { ...two, idleTimeoutMs: 2 }]))).toBe(true);
    expect(drainsConnections(bytes(tls, [one, two]), bytes(tls, [one]))).toBe(true);
    expect(drainsConnections(bytes(tls, [one]), bytes(tls, [{ ...one, sni: ["one.example", "more.example"] }]))).toBe(true);
  });
  test("by weights that are in the listener", () => {
    const split = (weight: number) =>
      toTcp("raw", "raw", {
        split: "listener",
        backends: [
          { cluster: "a", weight },
          { cluster: "b", weight: 1 },
        ],
      });
    expect(drainsConnections(bytes(tcp, [split(1)]), bytes(tcp, [split(2)]))).toBe(true);
  });
});
