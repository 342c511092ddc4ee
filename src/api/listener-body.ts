// A listener's body: four protocols, told apart by `protocol`. In: JSON that the schema has passed. Out: model/listener.ts, and back.
// The calls are in listeners.ts.
import { type Static, Type } from "typebox";
import { canonicalAddress } from "../model/address.js";
import type { Listener } from "../model/listener.js";
import { integer, list, milliseconds, name, object, oneOf, text } from "./fields.js";

const standard = { address: "0.0.0.0", idleTimeoutMs: 3_600_000, trustedHops: 0 } as const;

const shared = {
  address: Type.Optional(
    text(1, 45, "ip-address", `Address that the Envoys open; 0.0.0.0 and :: are all of theirs. Default ${standard.address}.`),
  ),
  port: integer(1, 65_535, "Port."),
  gateways: list(name("gateway"), 1, 32, "Gateways whose Envoys open it.", { unique: true }),
};
const http = {
  protocol: Type.Literal("http", { description: "HTTP/1.1 and HTTP/2 without TLS, with routes that match requests." }),
  ...shared,
  idleTimeoutMs: Type.Optional(
    milliseconds(0, 604_800_000, "A connection without a request for this long is closed; 0: never.", standard.idleTimeoutMs),
  ),
  trustedHops: Type.Optional(integer(0, 16, "Proxies in front whose X-Forwarded-For is believed.", standard.trustedHops)),
  healthPath: Type.Optional(
    text(
      1,
      1024,
      "path",
      "Path that Envoy answers itself, on every host and before all routes: 200, and 503 while it is drained.",
    ),
  ),
};
const tcp = { protocol: Type.Literal("tcp", { description: "Raw TCP, one route." }), ...shared };
const tls = { protocol: Type.Literal("tls", { description: "TLS passed through, routed by server name." }), ...shared };
const udp = { protocol: Type.Literal("udp", { description: "UDP, one route." }), ...shared };

const named = { name: name("listener") };
const mayBeNamed = { name: Type.Optional(name("listener")) };
/** What POST takes and GET shows. */
export const listenerSchema = oneOf(
  "protocol",
  [object({ ...named, ...http }), object({ ...named, ...tcp }), object({ ...named, ...tls }), object({ ...named, ...udp })],
  "A socket that the Envoys of one or more gateways open.",
);
/** What PUT takes: the name is in the path, and may be repeated. */
export const listenerPut = oneOf(
  "protocol",
  [
    object({ ...mayBeNamed, ...http }),
    object({ ...mayBeNamed, ...tcp }),
    object({ ...mayBeNamed, ...tls }),
    object({ ...mayBeNamed, ...udp }),
  ],
  "A socket that the Envoys of one or more gateways open.",
);
/** A body that the schema has passed. */
export type ListenerBody = Static<typeof listenerPut>;

/** Defaults filled in; the address in its canonical form, gateways sorted. */
export function fromListenerBody(named: string, body: ListenerBody): Listener {
  const base = {
    name: named,
    address: body.address === undefined ? standard.address : (canonicalAddress(body.address) ?? body.address),
    port: body.port,
    gateways: [...body.gateways].sort(),
  };
  if (body.protocol !== "http") return { ...base, protocol: body.protocol };
  return {
    ...base,
    protocol: "http",
    idleTimeoutMs: body.idleTimeoutMs ?? standard.idleTimeoutMs,
    trustedHops: body.trustedHops ?? standard.trustedHops,
    ...(body.healthPath === undefined ? {} : { healthPath: body.healthPath }),
  };
}

/** The inverse of fromListenerBody. */
export function toListenerBody(listener: Listener): Static<typeof listenerSchema> {
  const { name: named, address, port } = listener;
  const base = { name: named, address, port, gateways: [...listener.gateways] };
  if (listener.protocol !== "http") return { ...base, protocol: listener.protocol };
  const { idleTimeoutMs, trustedHops, healthPath } = listener;
  return { ...base, protocol: "http", idleTimeoutMs, trustedHops, ...(healthPath === undefined ? {} : { healthPath }) };
}
