// An Envoy without sockets, for tests of the stream machine: it asks, warms, acks, withholds and refuses as the real one was measured to
// (facts of envoy.md §6 and the second round), and notes every moment at which it would have answered a request wrongly.
// In: frames of a NodeStream. Out: requests, as bytes; and `faults`.
import type { ResourceType } from "../../src/model/resource-type.js";
import { decode, encode } from "../../src/proto/encode.js";
import { prefixBytes } from "../../src/xds/grpc-status.js";
import type { NodeStream } from "../../src/xds/node-stream.js";
import { readDeltaRequest, readSotwRequest } from "../../src/xds/request.js";
import type { Frame } from "../../src/xds/response.js";
import { typeOfUrl, typeUrls } from "../../src/xds/type-urls.js";
import { nameIn, tcpClusters } from "./resource-contents.js";

/** Connect timeouts that this Envoy takes amiss: the cluster's whole response is refused, or the cluster alone fails when it is made. */
export const refusedWholeMs = 6_601;
export const failsWhenMadeMs = 6_602;
/** An endpoint on this port makes its whole response refused; a listener on it can't bind. */
export const badPort = 6_603;
/** A route whose exact path is this makes its RouteConfiguration refused. */
export const badPath = "/refused";

interface Cluster {
  /** Envoy compares content: the same bytes under another version change nothing. */
  content: string;
  version: string;
  state: "warming" | "active" | "broken";
  /** The form that still serves while a changed one warms. */
  serving: boolean;
}
interface Message {
  readonly type: ResourceType;
  readonly nonce: string;
  readonly version: string;
  readonly resources: readonly { readonly name: string; readonly version: string; readonly bytes: Buffer }[];
  readonly removed: readonly string[];
}
/** An answer that is kept back until no cluster warms. */
interface Withheld {
  readonly nonce: string;
  readonly names: readonly string[];
  refusal: string | undefined;
}

export class FakeEnvoy {
  readonly clusters = new Map<string, Cluster>();
  readonly endpoints = new Map<string, string>();
  /** name → version and the clusters that it names. */
  readonly listeners = new Map<string, { readonly version: string; readonly clusters: readonly string[] }>();
  readonly routes = new Map<
    string,
    { readonly version: string; readonly clusters: readonly string[]; readonly paths: readonly string[] }
  >();
  readonly faults: string[] = [];
  /** Told when a RouteConfiguration that it has is replaced: the paths that are in it no more. */
  onLost: (paths: readonly string[]) => void = () => undefined;
  /** Bytes of a resource (its hash or version) → how often they were refused. */
  readonly refusals = new Map<string, number>();
  readonly answered: string[] = [];
  #inbox: Frame[] = [];
  #stream: NodeStream | undefined;
  #withheld: Withheld[] = [];
  readonly #versions = new Map<ResourceType, string>();
  readonly #nonces = new Map<ResourceType, string>();
  readonly #askedEndpoints = new Set<string>();
  /** Clusters that went on without endpoints, as those of another one were refused. */
  readonly #starved = new Set<string>();
  readonly #askedRoutes = new Set<string>();
  #isBooted = false;

  constructor(readonly delta: boolean) {}

  get backlog(): number {
    return this.#inbox.length;
  }

  /** A stream for it: it asks for what it asks on a (re)connect. */
  connect(stream: NodeStream, now: number): void {
    this.#stream = stream;
    this.#inbox = [];
    this.#withheld = [];
    this.#nonces.clear();
    const isBroken = [...this.clusters.values()].some((cluster) => cluster.state !== "active");
    // While a cluster in it is broken, or warms, Envoy asks for everything but clusters (envoy.md §10).
    if (!isBroken) this.#ask("cluster", [], [], now, true);
    if (!this.#isBooted) return;
    if (this.#askedEndpoints.size > 0) this.#ask("endpoint", [...this.#askedEndpoints], [], now, true);
    this.#ask("listener", [], [], now, true);
    if (this.#askedRoutes.size > 0) this.#ask("route", [...this.#askedRoutes], [], now, true);
  }

  /** A frame arrives; it is read when the test says so. */
  deliver(frame: Frame): void {
    this.#inbox.push(frame);
  }

  /** Reads one frame and answers. False when there is none. */
  step(now: number): boolean {
    const frame = this.#inbox.shift();
    if (!frame) return false;
    const message = this.#read(frame.framed.subarray(prefixBytes));
    this.#nonces.set(message.type, message.nonce);
    switch (message.type) {
      case "cluster":
        this.#takeClusters(message, now);
        break;
      case "endpoint":
        this.#takeEndpoints(message, now);
        break;
      case "listener":
        this.#takeListeners(message, now);
        break;
      case "route":
        this.#takeRoutes(message, now);
        break;
    }
    this.#release(now);
    this.#check();
    return true;
  }

  // ---- Types ---------------------------------------------------------------------------------------------------------

  #takeClusters(message: Message, now: number): void {
    const protos = message.resources.map((resource) => ({
      ...resource,
      proto: decode("envoy.config.cluster.v3.Cluster", resource.bytes),
    }));
    const timeoutOf = (proto: (typeof protos)[number]["proto"]) =>
      Number(proto.connect_timeout?.seconds ?? 0) * 1_000 + Number(proto.connect_timeout?.nanos ?? 0) / 1e6;
    const bad = protos.filter(({ proto }) => timeoutOf(proto) === refusedWholeMs);
    if (bad.length > 0) {
      for (const { version } of bad) this.#countRefusal(version);
      return this.#answer("cluster", message, "proto constraint validation failed", now);
    }
    const before = new Set(this.clusters.keys());
    const listed = new Set(message.resources.map(({ name }) => name));
    const removed = this.delta ? message.removed : [...before].filter((name) => !listed.has(name));
    for (const name of removed) this.#dropCluster(name);
    const failed: string[] = [];
    for (const { name, version, bytes, proto } of protos) {
      const known = this.clusters.get(name);
      const content = bytes.toString("base64");
      if (known?.content === content) {
        known.version = version;
        continue;
      }
      const isBroken = timeoutOf(proto) === failsWhenMadeMs;
      if (isBroken) {
        failed.push(name);
        this.#countRefusal(version);
      }
      this.clusters.set(name, { content, version, state: isBroken ? "broken" : "warming", serving: known?.serving ?? false });
      this.endpoints.delete(name); // A changed cluster warms until its endpoints come again.
    }
    const refusal = failed.length > 0 ? `Error adding/updating cluster(s) ${failed.join(", ")}` : undefined;
    const isWarming = [...this.clusters.values()].some((cluster) => cluster.state === "warming");
    this.#subscribeEndpoints(now);
    // Alone it is refused at once; beside warming ones the refusal is withheld until nothing warms or is broken.
    if (refusal && !isWarming) this.#answer("cluster", message, refusal, now);
    else this.#withheld.push({ nonce: message.nonce, names: [...listed], refusal });
    this.#versions.set("cluster", message.version);
  }

  #dropCluster(name: string): void {
    this.#starved.delete(name);
    this.clusters.delete(name);
    this.endpoints.delete(name);
  }

  #subscribeEndpoints(now: number): void {
    // Delta: a changed cluster is not asked for again. State of the world: the whole list, with the old nonce (envoy.md §6.3).
    const wanted = [...this.clusters].filter(([, cluster]) => cluster.state !== "broken").map(([name]) => name);
    const added = wanted.filter((name) => !this.#askedEndpoints.has(name));
    const dropped = [...this.#askedEndpoints].filter((name) => !this.clusters.has(name));
    for (const name of added) this.#askedEndpoints.add(name);
    for (const name of dropped) this.#askedEndpoints.delete(name);
    if (added.length + dropped.length > 0)
      this.#ask("endpoint", this.delta ? added : [...this.#askedEndpoints], dropped, now, false);
  }

  #takeEndpoints(message: Message, now: number): void {
    const bad = message.resources.filter(({ bytes }) => {
      const { endpoints = [] } = decode("envoy.config.endpoint.v3.ClusterLoadAssignment", bytes);
      return endpoints
        .flatMap((locality) => locality.lb_endpoints ?? [])
        .some(({ endpoint }) => endpoint?.address?.socket_address?.port_value === badPort);
    });
    if (bad.length > 0) {
      for (const { version } of bad) this.#countRefusal(version);
      this.#stopWarming(message, new Set(bad.map(({ name }) => name)), now);
      return this.#answer("endpoint", message, "invalid endpoint", now);
    }
    for (const { name, version } of message.resources) this.#warm(name, version);
    for (const name of message.removed) this.#warm(name, "none");
    this.#release(now); // The clusters' acks leave before the answer that warmed them.
    this.#answer("endpoint", message, undefined, now);
  }

  /**
   * Endpoints that are refused end the warming of every cluster, with what it has, and the acks of clusters leave before the refusal. Good ones
   * of the same response that never had endpoints are starved by that until theirs come again (seen: a route to one answered 503).
   */
  #stopWarming(message: Message, bad: ReadonlySet<string>, now: number): void {
    for (const { name } of message.resources)
      if (!bad.has(name) && !this.endpoints.has(name) && !this.clusters.get(name)?.serving) this.#starved.add(name);
    for (const cluster of this.clusters.values())
      if (cluster.state === "warming") Object.assign(cluster, { state: "active", serving: true });
    this.#release(now);
  }

  #warm(name: string, version: string): void {
    this.#starved.delete(name);
    this.endpoints.set(name, version);
    const cluster = this.clusters.get(name);
    if (cluster?.state === "warming") Object.assign(cluster, { state: "active", serving: true });
  }

  #takeListeners(message: Message, now: number): void {
    const failed: string[] = [];
    const listed = new Set<string>();
    for (const { name, version, bytes } of message.resources) {
      listed.add(name);
      const proto = decode("envoy.config.listener.v3.Listener", bytes);
      if (proto.address?.socket_address?.port_value === badPort) {
        failed.push(name);
        this.#countRefusal(version);
        continue;
      }
      const clusters = JSON.stringify(proto.filter_chains ?? []).includes("tcp_proxy") ? tcpClusters(proto) : [];
      this.listeners.set(name, { version, clusters });
      if (clusters.length === 0) this.#subscribeRoute(name, now);
    }
    for (const name of this.delta ? message.removed : [...this.listeners.keys()].filter((known) => !listed.has(known))) {
      this.listeners.delete(name);
      this.routes.delete(name);
      if (this.#askedRoutes.delete(name)) this.#ask("route", this.delta ? [] : [...this.#askedRoutes], [name], now, false);
    }
    this.#answer("listener", message, failed.length > 0 ? `cannot bind ${failed.join(", ")}` : undefined, now);
  }

  #subscribeRoute(name: string, now: number): void {
    if (this.#askedRoutes.has(name)) return;
    this.#askedRoutes.add(name);
    this.#ask("route", this.delta ? [name] : [...this.#askedRoutes], [], now, false);
  }

  #takeRoutes(message: Message, now: number): void {
    const read = message.resources.map(({ name, version, bytes }) => {
      const { virtual_hosts: hosts = [] } = decode("envoy.config.route.v3.RouteConfiguration", bytes);
      const routes = hosts.flatMap((host) => host.routes ?? []);
      const clusters = routes.flatMap(({ route }) =>
        route?.cluster ? [route.cluster] : (route?.weighted_clusters?.clusters ?? []).map((cluster) => cluster.name ?? ""),
      );
      return {
        name,
        version,
        clusters: [...new Set(clusters)],
        paths: routes.map((route) => route.match?.path ?? route.match?.path_separated_prefix ?? route.match?.prefix ?? ""),
      };
    });
    const bad = read.filter(({ paths }) => paths.includes(badPath));
    if (bad.length > 0) {
      for (const { version } of bad) this.#countRefusal(version);
      return this.#answer("route", message, "route is no good", now);
    }
    for (const { name, ...rest } of read) {
      if (!this.#askedRoutes.has(name)) continue;
      const before = this.routes.get(name)?.paths ?? [];
      this.routes.set(name, rest);
      this.onLost(before.filter((path) => !rest.paths.includes(path)));
    }
    for (const name of message.removed) this.routes.delete(name);
    this.#answer("route", message, undefined, now);
  }

  // ---- Answers -------------------------------------------------------------------------------------------------------

  /** Withheld answers go out in order once no cluster warms or is broken. A withheld refusal in state of the world takes the newest nonce. */
  #release(now: number): void {
    if ([...this.clusters.values()].some((cluster) => cluster.state !== "active")) return;
    const all = this.#withheld.splice(0);
    if (all.length === 0) return;
    if (this.delta) {
      for (const { nonce, refusal } of all) this.#send("cluster", [], [], nonce, refusal, now);
    } else {
      const refusal = all.find((withheld) => withheld.refusal)?.refusal;
      this.#send("cluster", [], [], this.#nonces.get("cluster") ?? "", refusal, now);
    }
    if (!this.#isBooted) {
      this.#isBooted = true;
      this.#ask("listener", [], [], now, false);
    }
  }

  #answer(type: ResourceType, message: Message, refusal: string | undefined, now: number): void {
    if (refusal === undefined) this.#versions.set(type, message.version);
    const names =
      this.delta || type === "cluster" || type === "listener"
        ? []
        : type === "endpoint"
          ? [...this.#askedEndpoints]
          : [...this.#askedRoutes];
    this.#send(type, names, [], message.nonce, refusal, now);
  }

  #ask(type: ResourceType, names: readonly string[], dropped: readonly string[], now: number, isConnect: boolean): void {
    const nonce = isConnect || this.delta ? "" : (this.#nonces.get(type) ?? "");
    this.#send(type, names, dropped, nonce, undefined, now, isConnect);
  }

  #send(
    type: ResourceType,
    names: readonly string[],
    dropped: readonly string[],
    nonce: string,
    refusal: string | undefined,
    now: number,
    isConnect = false,
  ): void {
    const stream = this.#stream;
    if (!stream) return;
    if (nonce !== "") this.answered.push(`${type}:${refusal === undefined ? "ack" : "nack"}`);
    const error = refusal === undefined ? {} : { error_detail: { code: 13, message: refusal } };
    const bytes = this.delta
      ? encode("envoy.service.discovery.v3.DeltaDiscoveryRequest", {
          type_url: typeUrls[type],
          response_nonce: nonce,
          resource_names_subscribe: [...names],
          resource_names_unsubscribe: [...dropped],
          ...(isConnect ? { initial_resource_versions: this.#initialVersions(type) } : {}),
          ...error,
        })
      : encode("envoy.service.discovery.v3.DiscoveryRequest", {
          type_url: typeUrls[type],
          response_nonce: nonce,
          resource_names: [...names],
          version_info: this.#versions.get(type) ?? "",
          ...error,
        });
    stream.receive(type, this.delta ? readDeltaRequest(bytes) : readSotwRequest(bytes), now);
  }

  #initialVersions(type: ResourceType): Record<string, string> {
    const entries =
      type === "cluster"
        ? [...this.clusters].map(([name, { version }]) => [name, version] as const)
        : type === "endpoint"
          ? [...this.endpoints]
          : [...(type === "listener" ? this.listeners : this.routes)].map(([name, { version }]) => [name, version] as const);
    return Object.fromEntries(entries.filter(([, version]) => version !== "none"));
  }

  #countRefusal(version: string): void {
    this.refusals.set(version, (this.refusals.get(version) ?? 0) + 1);
  }

  /** What a request would meet right now. */
  #check(): void {
    for (const [name, { clusters }] of [...this.routes, ...this.listeners]) {
      for (const cluster of clusters) {
        if (!this.clusters.has(cluster)) this.faults.push(`${name} names ${cluster}, which is not there`);
        else if (!this.clusters.get(cluster)?.serving) this.faults.push(`${name} names ${cluster}, which is not warm`);
        else if (this.#starved.has(cluster)) this.faults.push(`${name} names ${cluster}, which has no endpoints yet`);
      }
    }
  }

  #read(bytes: Buffer): Message {
    if (this.delta) {
      const response = decode("envoy.service.discovery.v3.DeltaDiscoveryResponse", bytes);
      const type = typeOfUrl(response.type_url ?? "") ?? "cluster";
      const resources = (response.resources ?? []).map((resource) => ({
        name: resource.name ?? "",
        version: resource.version ?? "",
        bytes: Buffer.from(resource.resource?.value ?? Buffer.alloc(0)),
      }));
      return { type, nonce: response.nonce ?? "", version: "", resources, removed: response.removed_resources ?? [] };
    }
    const response = decode("envoy.service.discovery.v3.DiscoveryResponse", bytes);
    const type = typeOfUrl(response.type_url ?? "") ?? "cluster";
    const resources = (response.resources ?? []).map((any) => {
      const content = Buffer.from(any.value ?? Buffer.alloc(0));
      return { name: nameIn(type, content), version: content.toString("base64"), bytes: content };
    });
    return { type, nonce: response.nonce ?? "", version: response.version_info ?? "", resources, removed: [] };
  }
}
