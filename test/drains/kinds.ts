// The kinds of traffic that drains are shown with, and what each needs from the control plane. In: a kind and its processes. Out: bodies
// for the admin API. Called by fleet.ts and the tests of drains.
import type { Json } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody, streamRouteBody } from "../support/bodies.js";

/** http1 and http2 are short requests; the others are sessions on which messages go to and fro. */
export const kinds = ["http1", "http2", "grpc", "websocket", "tcp"] as const;
export type Kind = (typeof kinds)[number];

export const isKind = (text: string): text is Kind => (kinds as readonly string[]).includes(text);

/** kind → protocol of its cluster. */
export const clusterProtocols = { http1: "http", http2: "http2", grpc: "grpc", websocket: "http", tcp: "tcp" } as const;

/** What is written before the traffic begins; listener, cluster and route have the kind's name. */
export function setUpOf(kind: Kind, port: number, backends: readonly { readonly port: number }[], more: Json = {}) {
  const protocol = clusterProtocols[kind];
  const route =
    kind === "tcp"
      ? streamRouteBody("tcp", kind, kind, kind)
      : routeBody(kind, kind, kind, kind === "websocket" ? { upgrades: ["websocket"] } : {});
  return [
    ["listener", listenerBody(kind, port, { protocol: kind === "tcp" ? "tcp" : "http" })],
    ["cluster", clusterBody(kind, backends, { protocol, ...more })],
    ["route", route],
  ] as const;
}
