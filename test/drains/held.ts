// Work that lasts until somebody ends it, of each kind: endless answers over HTTP/1.1 and HTTP/2, gRPC streams, WebSockets, connections.
// In: a cluster's name and its kind. Out: what is held, with who has it and when it ended. Called by deadlines.envoy.test.ts.
import { type Api, acked, type Json } from "../support/api-client.js";
import { clusterBody, listenerBody, routeBody, streamRouteBody } from "../support/bodies.js";
import { openEndless, startEndlessBackend } from "../support/endless-streams.js";
import { openTcp, openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import { setUp } from "../support/world.js";
import { startBackend } from "./backend.js";
import { clusterProtocols, type Kind } from "./kinds.js";

/** One request, stream or connection that is held. */
export interface Held {
  readonly backend: string;
  isOver(): boolean;
  /** Date.now() of when it was first seen to be over; undefined: it is not. */
  readonly endedAt: number | undefined;
  close(): void;
}

interface Addressed {
  readonly name: string;
  readonly port: number;
  readonly address: string;
}

/** Two backends of which one is going to leave. */
export interface Scene {
  readonly kind: Kind;
  readonly cluster: string;
  readonly leaving: Addressed;
  readonly staying: Addressed;
  readonly held: readonly Held[];
}

const lookEveryMs = 20;

function watched(backend: string, isOver: () => boolean, close: () => void): Held {
  let endedAt: number | undefined;
  const timer = setInterval(() => {
    if (!isOver()) return;
    endedAt ??= Date.now();
    clearInterval(timer);
  }, lookEveryMs);
  timer.unref();
  return {
    backend,
    isOver,
    close,
    get endedAt() {
      return endedAt;
    },
  };
}

async function hold(kind: Kind, port: number, path: string, count: number): Promise<readonly Held[]> {
  if (kind === "tcp" || kind === "websocket") {
    const lines = await (kind === "tcp" ? openTcp(port, count) : openWebSockets(port, count, path));
    return lines.all.map((line) => watched(line.backend, () => line.ended !== undefined, lines.close));
  }
  const streams = await openEndless(port, count, kind === "http1" ? "http" : "grpc", path);
  return streams.map((stream) => watched(stream.backend, () => stream.ended, stream.close));
}

/** Where HTTP comes in; the listener is there. */
export interface Entrance {
  readonly listener: string;
  readonly port: number;
}

/** `more`: of the cluster. `route`: of an HTTP route. */
export async function startScene(
  api: Api,
  { kind, name, web, more = {}, route = {} }: { kind: Kind; name: string; web: Entrance; more?: Json; route?: Json },
): Promise<Scene> {
  const start = async (of: string): Promise<Addressed> => {
    if (kind === "tcp" || kind === "websocket") return startBackend(kind, `${name}-${of}`, await freePort());
    return startEndlessBackend(`${name}-${of}`, kind === "http1" ? "http" : "grpc");
  };
  const [leaving, staying] = await Promise.all([start("leaving"), start("staying")]);
  const settings = { protocol: clusterProtocols[kind], loadBalancing: { policy: "round-robin" }, ...more };
  const cluster = ["cluster", clusterBody(name, [leaving, staying], settings)] as const;
  const port = kind === "tcp" ? await freePort() : web.port;
  const path = `/${name}`;
  const upgrades = kind === "websocket" ? { upgrades: ["websocket"] } : {};
  if (kind === "tcp")
    await setUp(api, [
      ["listener", listenerBody(name, port, { protocol: "tcp" })],
      cluster,
      ["route", streamRouteBody("tcp", name, name, name)],
    ]);
  else
    await setUp(api, [
      cluster,
      ["route", routeBody(name, web.listener, name, { match: { path: { prefix: path } }, ...upgrades, ...route })],
    ]);
  return { kind, cluster: name, leaving, staying, held: await hold(kind, port, path, 8) };
}

/** Asks for the drain of the one that leaves, and gives its id. */
export async function drainOne(api: Api, { cluster, leaving }: Scene, timeoutMs: number): Promise<string> {
  const body = { cluster, endpoints: [leaving.address], timeoutMs };
  return String((await api.post(`/v1/drains${acked}`, body)).object?.["id"]);
}
