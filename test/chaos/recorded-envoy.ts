// A simulated Envoy that lives through faults and writes down what it got: it asks for everything, acks what comes, leaves a control plane
// that does not answer, comes back with the versions that it has, and never forgets. In: xDS ports and a protocol. Out: what came, in its
// order over all of its streams, and what it has now. Called by faulty-world.ts.
import type { ResourceType } from "../../src/model/resource-type.js";
import { onCleanup } from "../support/cleanup.js";
import { openXdsConnection, openXdsStream, type XdsResource, type XdsResponse, type XdsStream } from "../support/xds-client.js";
import type { SeenVersion, Sightings } from "./order-checker.js";

export interface RecordedEnvoyOptions {
  readonly node: string;
  readonly protocol: "delta" | "sotw";
  /** Of the control planes, asked one after the other. */
  readonly ports: readonly number[];
  /** The control plane that it begins with. */
  readonly first: number;
}

export interface RecordedEnvoy extends Sightings {
  /** object → the number that it holds now. */
  now(): ReadonlyMap<string, number>;
  /** Streams opened so far. */
  readonly streams: number;
  close(): void;
}

/** As chancery's bootstrap has it: a control plane that hangs is left after 8 s. */
const keepalive = {
  "grpc.keepalive_time_ms": 5_000,
  "grpc.keepalive_timeout_ms": 3_000,
  "grpc.keepalive_permit_without_calls": 1,
};
/** Nothing at all on a new stream for this long: so is one that takes connections and does not speak. */
const silentMs = 8_000;
const awayMs = 50;

const types = ["cluster", "endpoint", "listener", "route"] as const;

export function startRecordedEnvoy(options: RecordedEnvoyOptions): RecordedEnvoy {
  return new Recorder(options);
}

class Recorder implements RecordedEnvoy {
  readonly node: string;
  readonly numbers = new Map<string, number[]>();
  readonly versions = new Map<string, SeenVersion[]>();
  streams = 0;
  /** type → name → what it has. */
  readonly #has = new Map<ResourceType, Map<string, XdsResource>>(types.map((type) => [type, new Map()]));
  /** type → version last taken; state of the world only. */
  readonly #version = new Map<ResourceType, string>();
  #stream: XdsStream | undefined;
  #closed = false;

  constructor(private readonly options: RecordedEnvoyOptions) {
    this.node = options.node;
    onCleanup(`recorded Envoy ${options.node}`, () => this.close());
    this.#connect();
  }

  close(): void {
    this.#closed = true;
    this.#stream?.close();
  }

  now(): ReadonlyMap<string, number> {
    const numbers = [...this.#of("cluster").values(), ...this.#of("route").values()].flatMap(numbersIn);
    return new Map(numbers);
  }

  #of(type: ResourceType): Map<string, XdsResource> {
    return this.#has.get(type) ?? new Map();
  }

  #connect(): void {
    if (this.#closed) return;
    const { ports, first, node, protocol } = this.options;
    const port = ports[(first + this.streams) % ports.length] ?? 0;
    this.streams += 1;
    const connection = openXdsConnection(port, keepalive);
    /** type → nonce of the last response, on this stream. */
    const nonces = new Map<ResourceType, string>();
    let isHeard = false;
    const stream = openXdsStream({
      port,
      node,
      gateway: "edge",
      protocol,
      connection,
      onResponse: (response) => {
        isHeard = true;
        nonces.set(response.type, response.nonce);
        this.#take(stream, response, nonces);
      },
    });
    this.#stream = stream;
    const watchdog = setTimeout(() => isHeard || stream.close(), silentMs);
    void stream.ended.then(() => {
      clearTimeout(watchdog);
      stream.close();
      connection.close();
      setTimeout(() => this.#connect(), awayMs);
    });
    for (const type of types) this.#ask(stream, type);
  }

  /** The first request of a type on a stream; endpoints and routes are asked for once their names are known. */
  #ask(stream: XdsStream, type: ResourceType): void {
    const has = this.#of(type);
    const isNamed = type === "endpoint" || type === "route";
    if (isNamed && has.size === 0) return;
    const names = isNamed ? [...has.keys()] : [];
    if (this.options.protocol === "sotw") stream.request(type, { names, version: this.#version.get(type) ?? "" });
    else
      stream.request(type, {
        names,
        initialVersions: Object.fromEntries([...has].map(([name, { version }]) => [name, version])),
      });
  }

  #take(stream: XdsStream, response: XdsResponse, nonces: ReadonlyMap<ResourceType, string>): void {
    const { type } = response;
    const has = this.#of(type);
    const isList = this.options.protocol === "sotw" && (type === "cluster" || type === "listener");
    const before = new Set(has.keys());
    if (isList) has.clear();
    for (const resource of response.resources) {
      has.set(resource.name, resource);
      this.#record(type, resource);
    }
    for (const name of response.removed) has.delete(name);
    this.#version.set(type, response.version);
    const names = type === "endpoint" || type === "route" ? [...has.keys()] : [];
    stream.ack(response, this.options.protocol === "sotw" ? names : []);
    const gone = [...before].filter((name) => !has.has(name));
    const fresh = [...has.keys()].filter((name) => !before.has(name));
    if (type === "cluster") this.#follow(stream, "endpoint", fresh, gone, nonces);
    if (type === "listener") this.#follow(stream, "route", fresh, gone, nonces);
  }

  /** Clusters and listeners that come and go take their endpoints and routes along. */
  #follow(
    stream: XdsStream,
    type: ResourceType,
    fresh: readonly string[],
    gone: readonly string[],
    nonces: ReadonlyMap<ResourceType, string>,
  ): void {
    const has = this.#of(type);
    for (const name of gone) has.delete(name);
    if (fresh.length + gone.length === 0) return;
    if (this.options.protocol === "delta") return stream.request(type, { names: fresh, unsubscribe: gone });
    const names = [...new Set([...has.keys(), ...fresh])];
    stream.request(type, { names, version: this.#version.get(type) ?? "", nonce: nonces.get(type) ?? "" });
  }

  #record(type: ResourceType, resource: XdsResource): void {
    for (const [name, number] of numbersIn(resource)) {
      const seen = this.numbers.get(name);
      if (!seen) this.numbers.set(name, [number]);
      else if (seen.at(-1) !== number) seen.push(number);
    }
    if (this.options.protocol === "sotw") return; // There versions are of the whole type.
    const [hash = "", revision] = resource.version.split(".");
    const key = `${type} ${resource.name}`;
    const seen = this.versions.get(key);
    if (!seen) this.versions.set(key, [{ hash, revision: Number(revision) }]);
    else if (seen.at(-1)?.hash !== hash) seen.push({ hash, revision: Number(revision) });
  }
}

/** What writers have put into it: a cluster's bound of connections, a route's timeout in ms. Named as in a Sets. */
export function numbersIn({ name, message }: Pick<XdsResource, "name" | "message">): (readonly [string, number])[] {
  const connections = at(message, "circuit_breakers", "thresholds", 0, "max_connections", "value");
  if (connections !== undefined) return [[name, Number(connections)]];
  return list(message["virtual_hosts"])
    .flatMap((host) => list(at(host, "routes")))
    .map((route) => {
      const seconds = Number(at(route, "route", "timeout", "seconds") ?? 0);
      const nanos = Number(at(route, "route", "timeout", "nanos") ?? 0);
      return [`route ${String(at(route, "name"))}`, seconds * 1_000 + nanos / 1_000_000] as const;
    });
}

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
function at(value: unknown, ...path: readonly (string | number)[]): unknown {
  return path.reduce<unknown>(
    (inner, key) => (typeof inner === "object" && inner !== null ? Reflect.get(inner, key) : undefined),
    value,
  );
}
