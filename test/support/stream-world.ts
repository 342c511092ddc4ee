// A control plane without sockets or a database: the real snapshots and the real stream machine, a clock moved by hand, and fake Envoys.
// In: changes of a small model. Out: what the Envoys have. For tests of snapshot/ and xds/.
import type { Cluster } from "../../src/model/cluster.js";
import { DesiredState } from "../../src/model/desired-state.js";
import type { Endpoint } from "../../src/model/endpoint.js";
import type { Listener } from "../../src/model/listener.js";
import type { NodeDrainPhase } from "../../src/model/node-drain.js";
import { resourceTypes } from "../../src/model/resource-type.js";
import type { Change } from "../../src/model/revision.js";
import type { HttpRoute, Route } from "../../src/model/route.js";
import { Snapshots } from "../../src/snapshot/snapshots.js";
import { FleetNode, sameExceptions } from "../../src/status/fleet-node.js";
import { NodeStream } from "../../src/xds/node-stream.js";
import type { NodeMemory } from "../../src/xds/sent.js";
import type { PushTimes } from "../../src/xds/stream-view.js";
import { FakeEnvoy } from "./fake-envoy.js";

export const times: PushTimes = {
  inFlightOverrideMs: 5_000,
  refusalRetryMs: 30_000,
  maxRefusalRetryMs: 300_000,
  unseenClusterMs: 2_000,
  clusterlessMs: 1_000,
  removalGraceMs: 3_000,
};

export const cluster = (name: string, connectTimeoutMs = 1_000): Cluster => ({
  name,
  protocol: "http",
  connectTimeoutMs,
  loadBalancing: { policy: "round-robin" },
  healthChecks: [],
  outlierDetection: undefined,
  circuitBreakers: { maxConnections: 1, maxPendingRequests: 1, maxRequests: 1, maxRetries: 1 },
  drain: { atDeadline: "leave", timeoutMs: 30_000, sticky: "leave-at-once" },
  slowStartMs: 0,
});

export const endpoint = (clusterName: string, port: number): Endpoint => ({
  cluster: clusterName,
  address: "127.0.0.1",
  port,
  weight: 1,
  region: "",
  zone: "",
  priority: 0,
  enabled: true,
});

export const httpListener = (name: string, port: number): Listener => ({
  name,
  address: "127.0.0.1",
  port,
  protocol: "http",
  gateways: ["edge"],
  idleTimeoutMs: 0,
  trustedHops: 0,
});
export const tcpListener = (name: string, port: number): Listener => ({
  name,
  address: "127.0.0.1",
  port,
  protocol: "tcp",
  gateways: ["edge"],
});

export const httpRoute = (name: string, listener: string, path: string, clusters: readonly string[]): HttpRoute => ({
  protocol: "http",
  name,
  priority: 0,
  listeners: [listener],
  hosts: [],
  match: { path: { kind: "exact", value: path }, methods: [], headers: [], query: [], cookies: [] },
  action: {
    kind: "forward",
    backends: clusters.map((clusterName) => ({ cluster: clusterName, weight: 1 })),
    timeoutMs: 0,
    retry: undefined,
    rewritePrefix: undefined,
    rewriteHost: undefined,
    upgrades: [],
    sticky: undefined,
    hashOn: [],
  },
});

export const tcpRoute = (name: string, listener: string, clusters: readonly string[]): Route => ({
  protocol: "tcp",
  name,
  listener,
  sni: [],
  backends: clusters.map((clusterName) => ({ cluster: clusterName, weight: 1 })),
  hashOnSourceIp: false,
  idleTimeoutMs: 0,
  split: "endpoints",
});

/** A node of status/ that has read the whole stream. */
function reader(stream: NodeStream): FleetNode {
  const node = new FleetNode(stream.node.id);
  node.setOpen(stream, true);
  node.refresh();
  return node;
}

export class StreamWorld {
  now = 1_000_000;
  snapshots: Snapshots;
  readonly envoy: FakeEnvoy;
  stream: NodeStream;
  /** What was written since the start, newest last: type and names. */
  readonly written: { readonly type: string; readonly names: readonly string[]; readonly removed: readonly string[] }[] = [];
  readonly #state = new DesiredState();
  #revision = 0;
  /** As the store remembers them, newest first. */
  readonly #pastRoutes: { readonly name: string; readonly before: Route | undefined }[] = [];
  restarts = 0;
  #memory: NodeMemory = { refusals: new Map(), variants: new Map() };
  #isBlocked = false;
  #told = new FleetNode("edge-1"); // Replaced with each stream.
  #news = 0;
  /** Paths of routes that were taken away at some time, in any form that they had: these may go. */
  readonly #wasRemoved = new Set<string>();
  /** Route → the paths that it has had. */
  readonly #paths = new Map<string, Set<string>>();

  constructor(
    readonly delta: boolean,
    private readonly pushTimes: PushTimes = times,
  ) {
    this.snapshots = this.#newSnapshots();
    this.envoy = new FakeEnvoy(delta);
    // A route that exists, and is live, stays live: in its newest form or an earlier one.
    this.envoy.onLost = (paths) => {
      const wanted = [...this.#state.routes.values()].flatMap((route) =>
        route.protocol === "http" ? route.match.path.value : [],
      );
      for (const path of paths)
        if (wanted.includes(path) && !this.#wasRemoved.has(path)) this.envoy.faults.push(`${path} is live no more`);
    };
    this.stream = this.#open();
  }

  get state(): DesiredState {
    return this.#state;
  }

  /** Commits one revision: what each object is after it, undefined: gone. */
  commit(...changes: Change[]): number {
    this.#revision += 1;
    const committed = { revision: this.#revision, id: `id-${this.#revision}`, changes };
    this.#state.apply(committed);
    this.#notePast(changes);
    this.snapshots.apply([committed]);
    this.stream.pump(this.now);
    this.#tell();
    return this.#revision;
  }

  /** The Envoy's drain moves on, or is taken back; the stream it has notices nothing. */
  drainNode(phase: NodeDrainPhase | undefined): void {
    this.#revision += 1;
    const nodeDrains = [{ node: "edge-1", phase }];
    const committed = { revision: this.#revision, id: `id-${this.#revision}`, changes: [], nodeDrains };
    this.#state.apply(committed);
    this.snapshots.apply([committed]);
  }

  #notePast(changes: readonly Change[]): void {
    for (const change of changes)
      if (change.kind === "route") this.#pastRoutes.unshift({ name: change.name, before: change.before });
  }

  /** Commits several revisions that arrive together: streams are woken once, after the last. */
  commitTogether(...all: readonly Change[][]): void {
    const committed = all.map((changes) => {
      this.#revision += 1;
      const one = { revision: this.#revision, id: `id-${this.#revision}`, changes };
      this.#state.apply(one);
      this.#notePast(changes);
      return one;
    });
    this.snapshots.apply(committed);
    this.stream.pump(this.now);
    this.#tell();
  }

  put(kind: "cluster", after: Cluster): Change;
  put(kind: "endpoint", after: Endpoint): Change;
  put(kind: "listener", after: Listener): Change;
  put(kind: "route", after: Route): Change;
  put(kind: Change["kind"], after: Cluster | Endpoint | Listener | Route): Change {
    const name =
      "cluster" in after && "weight" in after
        ? `${after.cluster}/${after.address}:${after.port}`
        : "name" in after
          ? after.name
          : "";
    if ("match" in after) this.#paths.set(name, new Set([...(this.#paths.get(name) ?? []), after.match.path.value]));
    return { kind, name, before: this.#find(kind, name), after } as Change;
  }
  remove(kind: Change["kind"], name: string): Change {
    if (kind === "route") for (const path of this.#paths.get(name) ?? []) this.#wasRemoved.add(path);
    return { kind, name, before: this.#find(kind, name), after: undefined } as Change;
  }

  /** The Envoy reads everything that was sent, and what that brings, until both are quiet. */
  settle(maxSteps = 1_000): void {
    for (let i = 0; i < maxSteps && this.envoy.step(this.now); i++) this.#tell();
  }

  /** Time goes by, in the steps in which something wants to happen. */
  pass(ms: number): void {
    const end = this.now + ms;
    for (let i = 0; i < 1_000; i++) {
      const at = this.stream.wakeAt(this.now);
      const removal = this.snapshots.removeRetired();
      const next = Math.min(at, removal ?? Number.POSITIVE_INFINITY);
      if (next > end) break;
      this.now = Math.max(next, this.now + 1);
      this.snapshots.removeRetired();
      this.stream.pump(this.now);
      this.#tell();
      this.settle();
    }
    this.now = end;
    this.snapshots.removeRetired();
    this.stream.pump(this.now);
    this.#tell();
    this.settle();
  }

  /** The peer stops or goes on reading. */
  block(isBlocked: boolean): void {
    this.#isBlocked = isBlocked;
    if (!isBlocked) this.stream.pump(this.now);
    this.#tell();
  }

  reconnect(): void {
    this.stream.remember();
    this.snapshots.release(this.stream.snapshot);
    this.stream = this.#open();
  }

  /** Another process, with an empty memory, loads the state and takes the Envoy over. */
  restart(): void {
    this.restarts += 1;
    this.#memory = { refusals: new Map(), variants: new Map() };
    this.snapshots = this.#newSnapshots();
    this.stream = this.#open();
  }

  /** What the Envoy should have, by name, for one type; compared by content. */
  wanted(type: (typeof resourceTypes)[number]): string[] {
    return this.stream.snapshot.tables[type].names().sort();
  }

  #find(kind: Change["kind"], name: string) {
    switch (kind) {
      case "cluster":
        return this.#state.clusters.get(name);
      case "listener":
        return this.#state.listeners.get(name);
      case "route":
        return this.#state.routes.get(name);
      case "endpoint":
        return this.#state.endpoints.get(name.split("/")[0] ?? "")?.get(name.split("/")[1] ?? "");
    }
  }

  #newSnapshots(): Snapshots {
    const snapshots = new Snapshots({
      removalGraceMs: this.pushTimes.removalGraceMs,
      now: () => this.now,
      onFault: ({ error }) => {
        throw error;
      },
    });
    const copy = DesiredState.from({
      revision: this.#revision,
      id: `id-${this.#revision}`,
      clusters: [...this.#state.clusters.values()],
      listeners: [...this.#state.listeners.values()],
      routes: [...this.#state.routes.values()],
      nodeDrains: [...this.#state.nodeDrains].map(([node, phase]) => ({ node, phase })),
      endpoints: [...this.#state.endpoints.values()].flatMap((ofCluster) => [...ofCluster.values()]),
    });
    snapshots.load(copy, this.#pastRoutes);
    return snapshots;
  }

  #open(): NodeStream {
    const snapshot = this.snapshots.acquire("edge", "ads", "edge-1");
    const stream = new NodeStream({
      node: { id: "edge-1", gateway: "edge", region: "", zone: "", envoyVersion: "1.40.0" },
      kind: this.delta ? "ads-delta" : "ads-sotw",
      snapshot,
      snapshots: this.snapshots,
      times: this.pushTimes,
      sink: {
        isBlocked: () => this.#isBlocked,
        write: (type, frame) => {
          this.written.push({ type, names: frame.resources.map(({ name }) => name), removed: frame.removed });
          this.envoy.deliver(frame);
        },
        giveUp: (reason) => {
          throw new Error(`gave up: ${reason}`);
        },
      },
      memory: this.#memory,
      openedAt: this.now,
      ordinal: 1,
    });
    this.#told = reader(stream);
    this.envoy.connect(stream, this.now);
    this.stream = stream;
    this.#tell();
    return stream;
  }

  /** What status/ was told since the last call, in bits. */
  takeNews(): number {
    const news = this.#news;
    this.#news = 0;
    return news;
  }

  /** status/ reads again only what it is told is new. That must be enough: it has what one has that reads everything. */
  #tell(): void {
    const { stream } = this;
    const news = stream.takeNews();
    this.#news |= news;
    if (news !== 0) this.#told.refresh(news);
    const whole = reader(stream);
    if (whole.subscribed !== this.#told.subscribed || !sameExceptions(this.#told.exceptions, whole.exceptions))
      this.envoy.faults.push("status was not told of what the Envoy asks for or lacks");
    for (const type of resourceTypes) {
      const [told, now] = [this.#told.acked[type], whole.acked[type]];
      // It moves on by itself over revisions that changed nothing of the type.
      const missed = Array.from({ length: Math.max(0, now - told) }, (_, index) => stream.snapshot.changedBy(told + index + 1));
      if (told > now || missed.some((changes) => changes?.has(type))) this.envoy.faults.push(`status was not told of ${type}`);
    }
  }
}

/** One HTTP listener, one route to one cluster, and an Envoy that has them. */
export function simpleWorld(delta: boolean): StreamWorld {
  const world = new StreamWorld(delta);
  world.commit(
    world.put("cluster", cluster("a")),
    world.put("endpoint", endpoint("a", 1)),
    world.put("listener", httpListener("web", 80)),
    world.put("route", httpRoute("home", "web", "/home", ["a"])),
  );
  world.settle();
  return world;
}
