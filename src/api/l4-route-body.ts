// Bodies of TCP and UDP routes. In: JSON that the schema has passed. Out: model/route.ts, defaults filled in, and back.
// Called by route-body.ts.
import { type Static, Type } from "typebox";
import type { TcpRoute, UdpRoute } from "../model/route.js";
import { backendsSchema, fromBackendsBody, toBackendsBody } from "./backend-body.js";
import { list, milliseconds, name, object, text, word } from "./fields.js";

const standard = { hashOnSourceIp: false, tcpIdleTimeoutMs: 3_600_000, udpIdleTimeoutMs: 60_000, split: "endpoints" } as const;

const hashOnSourceIp = Type.Optional(
  Type.Boolean({
    default: standard.hashOnSourceIp,
    description: "A client's address decides the endpoint, in clusters that hash. Default false.",
  }),
);

/** Fields of a TCP route, without its name. */
export const tcpFields = {
  protocol: Type.Literal("tcp", { description: "TCP, on a tcp listener or, by server name, on a tls listener." }),
  listener: name("listener"),
  sni: Type.Optional(
    list(
      text(1, 253, "host", "Server name, exact or *.example.com."),
      0,
      64,
      "TLS server names, on tls listeners only; none: all that no other route has.",
    ),
  ),
  backends: backendsSchema,
  hashOnSourceIp,
  idleTimeoutMs: Type.Optional(
    milliseconds(0, 604_800_000, "A connection without bytes for this long is closed; 0: never.", standard.tcpIdleTimeoutMs),
  ),
  split: Type.Optional(
    word(
      ["endpoints", "listener"],
      "endpoints: weights shift without cutting connections. listener: backends may differ in health checks and protocol, and every shift drains.",
      standard.split,
    ),
  ),
};
const tcpNamed = object({ name: name("route"), ...tcpFields });
/** A body that the schema has passed. */
export type TcpRouteBody = Static<typeof tcpNamed>;

/** Fields of a UDP route, without its name. */
export const udpFields = {
  protocol: Type.Literal("udp", { description: "UDP, on a udp listener." }),
  listener: name("listener"),
  backends: backendsSchema,
  hashOnSourceIp,
  idleTimeoutMs: Type.Optional(
    milliseconds(100, 3_600_000, "A session without a datagram for this long is forgotten.", standard.udpIdleTimeoutMs),
  ),
};
const udpNamed = object({ name: name("route"), ...udpFields });
/** A body that the schema has passed. */
export type UdpRouteBody = Static<typeof udpNamed>;

/** Defaults filled in; server names in lower case. */
export function fromTcpRouteBody(named: string, body: Omit<TcpRouteBody, "name">): TcpRoute {
  return {
    protocol: "tcp",
    name: named,
    listener: body.listener,
    sni: (body.sni ?? []).map((one) => one.toLowerCase()),
    backends: fromBackendsBody(body.backends),
    hashOnSourceIp: body.hashOnSourceIp ?? standard.hashOnSourceIp,
    idleTimeoutMs: body.idleTimeoutMs ?? standard.tcpIdleTimeoutMs,
    split: body.split ?? standard.split,
  };
}

/** Defaults filled in. */
export function fromUdpRouteBody(named: string, body: Omit<UdpRouteBody, "name">): UdpRoute {
  return {
    protocol: "udp",
    name: named,
    listener: body.listener,
    backends: fromBackendsBody(body.backends),
    hashOnSourceIp: body.hashOnSourceIp ?? standard.hashOnSourceIp,
    idleTimeoutMs: body.idleTimeoutMs ?? standard.udpIdleTimeoutMs,
  };
}

/** The inverse of fromTcpRouteBody. */
export function toTcpRouteBody(route: TcpRoute): TcpRouteBody {
  const { name: named, protocol, listener, sni, backends, idleTimeoutMs, split } = route;
  return {
    name: named,
    protocol,
    listener,
    sni: [...sni],
    backends: toBackendsBody(backends),
    hashOnSourceIp: route.hashOnSourceIp,
    idleTimeoutMs,
    split,
  };
}

/** The inverse of fromUdpRouteBody. */
export function toUdpRouteBody(route: UdpRoute): UdpRouteBody {
  const { name: named, protocol, listener, backends, idleTimeoutMs } = route;
  return {
    name: named,
    protocol,
    listener,
    backends: toBackendsBody(backends),
    hashOnSourceIp: route.hashOnSourceIp,
    idleTimeoutMs,
  };
}
