// A scripted xDS client: asks, acks, refuses, answers late or not at all, and hangs up, exactly as a protocol test says.
// In: a control plane's port and a node. Out: the responses as they came, resources decoded. Called by the protocol tests.
// It decodes with its own reading of dist/protos.json, so that a fault in src/proto can't hide itself.
import { readFileSync } from "node:fs";
import { connect } from "node:http2";
import { Client, type ClientDuplexStream, type ClientOptions, credentials, type StatusObject } from "@grpc/grpc-js";
import protobuf from "protobufjs";
import type { ResourceType } from "../../src/model/resource-type.js";
import { onCleanup } from "./cleanup.js";
import { waitFor } from "./wait.js";

let root: protobuf.Root | undefined;
function typeNamed(name: string): protobuf.Type {
  root ??= protobuf.Root.fromJSON(JSON.parse(readFileSync(new URL("../../dist/protos.json", import.meta.url), "utf8")));
  return root.lookupType(name);
}

const messages: Readonly<Record<ResourceType, string>> = {
  cluster: "envoy.config.cluster.v3.Cluster",
  endpoint: "envoy.config.endpoint.v3.ClusterLoadAssignment",
  listener: "envoy.config.listener.v3.Listener",
  route: "envoy.config.route.v3.RouteConfiguration",
};
const urlOf = (type: ResourceType): string => `type.googleapis.com/${messages[type]}`;
const typeOf = new Map(Object.keys(messages).map((type) => [urlOf(type as ResourceType), type as ResourceType]));

export interface XdsResource {
  readonly name: string;
  readonly version: string;
  readonly bytes: Buffer;
  /** Field names as in the proto files, 64-bit numbers as strings, enums by name. */
  readonly message: Readonly<Record<string, unknown>>;
}

/** One response, of either protocol. */
export interface XdsResponse {
  readonly type: ResourceType;
  readonly nonce: string;
  /** State of the world: the version of the type. Delta: the system version. */
  readonly version: string;
  readonly resources: readonly XdsResource[];
  /** Delta only. */
  readonly removed: readonly string[];
  readonly at: number;
}

/** Fields of a request that are not the type; see discovery.proto. Names left out are not sent. */
export interface XdsRequest {
  readonly nonce?: string;
  readonly refusal?: string;
  /** State of the world: all names. Delta: names to add. */
  readonly names?: readonly string[];
  readonly unsubscribe?: readonly string[];
  /** State of the world only. */
  readonly version?: string;
  /** Delta only: name → version. */
  readonly initialVersions?: Readonly<Record<string, string>>;
}

export interface XdsStream {
  readonly responses: readonly XdsResponse[];
  of(type: ResourceType): readonly XdsResponse[];
  request(type: ResourceType, request?: XdsRequest): void;
  /** Sends bytes in place of a request. */
  sendRaw(bytes: Buffer): void;
  ack(response: XdsResponse, names?: readonly string[]): void;
  nack(response: XdsResponse, refusal: string, names?: readonly string[]): void;
  /** Acks everything that comes from now on, and what came already and was not acked here; not the types in `except`. */
  ackAll(except?: readonly ResourceType[]): void;
  /** name → resource, as the responses so far leave it (delta), or as the last response says (state of the world). */
  state(type: ResourceType): ReadonlyMap<string, XdsResource>;
  /** The next response of a type after the `seen` first ones. */
  next(type: ResourceType, seen?: number, timeoutMs?: number): Promise<XdsResponse>;
  /** Resolves when the stream is over, with gRPC's status. */
  readonly ended: Promise<StatusObject>;
  close(): void;
}

export interface XdsClientOptions {
  readonly port: number;
  readonly node: string;
  readonly gateway: string;
  readonly protocol: "delta" | "sotw";
  /** Default: the aggregated service. A type: that type's own service. */
  readonly service?: "ads" | ResourceType;
  /** Characters of padding in the node's metadata. */
  readonly metadata?: number;
  /** A connection to share; default: one of its own. */
  readonly connection?: Client;
  /** Gets each response, none of which is kept then: for streams that live long. */
  readonly onResponse?: (response: XdsResponse) => void;
}

/** A connection for several streams, with gRPC's own options. Closed when the test file ends. */
export function openXdsConnection(port: number, options: ClientOptions = {}): Client {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
    ...options,
  });
  const close = client.close.bind(client);
  const forget = onCleanup("xDS connection", close);
  client.close = () => {
    forget();
    close();
  };
  return client;
}

const services: Readonly<Record<ResourceType, readonly [string, string]>> = {
  cluster: ["envoy.service.cluster.v3.ClusterDiscoveryService", "Clusters"],
  endpoint: ["envoy.service.endpoint.v3.EndpointDiscoveryService", "Endpoints"],
  listener: ["envoy.service.listener.v3.ListenerDiscoveryService", "Listeners"],
  route: ["envoy.service.route.v3.RouteDiscoveryService", "Routes"],
};

function pathOf(service: "ads" | ResourceType, protocol: "delta" | "sotw"): string {
  if (service === "ads") {
    const method = protocol === "delta" ? "DeltaAggregatedResources" : "StreamAggregatedResources";
    return `/envoy.service.discovery.v3.AggregatedDiscoveryService/${method}`;
  }
  const [name, plural] = services[service];
  return `/${name}/${protocol === "delta" ? "Delta" : "Stream"}${plural}`;
}

const nameFields = { cluster: "name", endpoint: "cluster_name", listener: "name", route: "name" } as const;

function toResource(type: ResourceType, any: { type_url?: string; value?: Uint8Array }, version: string): XdsResource {
  const decoder = typeNamed(messages[type]);
  const bytes = Buffer.from(any.value ?? []);
  const message = decoder.toObject(decoder.decode(bytes), { longs: String, enums: String, arrays: true });
  return { name: String(message[nameFields[type]]), version, bytes, message };
}

interface WireResponse {
  version_info?: string;
  system_version_info?: string;
  type_url?: string;
  nonce?: string;
  resources?: { type_url?: string; value?: Uint8Array; version?: string; resource?: { type_url?: string; value?: Uint8Array } }[];
  removed_resources?: string[];
}

function toResponse(wire: WireResponse, protocol: "delta" | "sotw"): XdsResponse {
  const type = typeOf.get(wire.type_url ?? "");
  if (!type) throw new Error(`a response of unknown type ${wire.type_url}`);
  const version = (protocol === "delta" ? wire.system_version_info : wire.version_info) ?? "";
  const resources = (wire.resources ?? []).map((item) =>
    protocol === "delta" ? toResource(type, item.resource ?? {}, item.version ?? "") : toResource(type, item, version),
  );
  return { type, nonce: wire.nonce ?? "", version, resources, removed: wire.removed_resources ?? [], at: performance.now() };
}

function toWire(options: XdsClientOptions, type: ResourceType, request: XdsRequest, first: boolean): object {
  const padding = { fields: { padding: { stringValue: "x".repeat(options.metadata ?? 0) } } };
  const node = { id: options.node, cluster: options.gateway, user_agent_name: "scripted", metadata: padding };
  const common = {
    ...(first ? { node } : {}),
    type_url: urlOf(type),
    response_nonce: request.nonce ?? "",
    ...(request.refusal === undefined ? {} : { error_detail: { code: 3, message: request.refusal } }),
  };
  if (options.protocol === "sotw") return { ...common, version_info: request.version ?? "", resource_names: request.names ?? [] };
  return {
    ...common,
    resource_names_subscribe: request.names ?? [],
    resource_names_unsubscribe: request.unsubscribe ?? [],
    initial_resource_versions: request.initialVersions ?? {},
  };
}

function fold(responses: readonly XdsResponse[], protocol: "delta" | "sotw"): Map<string, XdsResource> {
  const state = new Map<string, XdsResource>();
  for (const response of protocol === "delta" ? responses : responses.slice(-1)) {
    for (const resource of response.resources) state.set(resource.name, resource);
    for (const name of response.removed) state.delete(name);
  }
  return state;
}

function dial(options: XdsClientOptions): { client: Client; call: ClientDuplexStream<object, WireResponse> } {
  const delta = options.protocol === "delta" ? "Delta" : "";
  const requestType = typeNamed(`envoy.service.discovery.v3.${delta}DiscoveryRequest`);
  const responseType = typeNamed(`envoy.service.discovery.v3.${delta}DiscoveryResponse`);
  const client = options.connection ?? openXdsConnection(options.port);
  const call = client.makeBidiStreamRequest<object, WireResponse>(
    pathOf(options.service ?? "ads", options.protocol),
    (message) => (Buffer.isBuffer(message) ? message : Buffer.from(requestType.encode(requestType.fromObject(message)).finish())),
    (bytes) => responseType.toObject(responseType.decode(bytes), { arrays: true }),
  );
  return { client, call };
}

/** A stream that asks for everything and reads nothing, as an Envoy that hangs: HTTP/2 lets 64 KB through to it. */
export interface DeafStream {
  /** Resolves when the server has cut it, with the HTTP/2 error code. */
  readonly cut: Promise<number>;
  /** When the server began to answer, by performance.now(); undefined: it has not. */
  readonly answeredAt: number | undefined;
  /** Lets go of its connection. */
  close(): void;
}

/** Delta ADS without gRPC's client, which reads ahead. */
export function openDeafXdsStream(options: Pick<XdsClientOptions, "port" | "node" | "gateway">, endpoints: string): DeafStream {
  const delta = { ...options, protocol: "delta" } as const;
  const requestType = typeNamed("envoy.service.discovery.v3.DeltaDiscoveryRequest");
  const session = connect(`http://127.0.0.1:${options.port}`);
  const close = (): void => {
    forget();
    session.destroy();
  };
  const forget = onCleanup(`deaf xDS stream of ${options.node}`, close);
  const stream = session.request({
    ":method": "POST",
    ":path": pathOf("ads", "delta"),
    "content-type": "application/grpc",
    te: "trailers",
  });
  session.on("error", () => {});
  stream.on("error", () => {});
  stream.pause();
  const requests: readonly (readonly [ResourceType, XdsRequest])[] = [
    ["cluster", {}],
    ["endpoint", { names: [endpoints] }],
    ["listener", {}],
  ];
  for (const [index, [type, request]] of requests.entries()) {
    const message = Buffer.from(requestType.encode(requestType.fromObject(toWire(delta, type, request, index === 0))).finish());
    const head = Buffer.alloc(5);
    head.writeUInt32BE(message.length, 1);
    stream.write(Buffer.concat([head, message]));
  }
  let answeredAt: number | undefined;
  stream.once("response", () => {
    answeredAt = performance.now();
  });
  return {
    cut: new Promise((resolve) => stream.once("close", () => resolve(stream.rstCode ?? 0))),
    get answeredAt() {
      return answeredAt;
    },
    close,
  };
}

/** Opens one stream on a connection of its own. Nothing is asked or answered unless the test says so. */
export function openXdsStream(options: XdsClientOptions): XdsStream {
  const { client, call } = dial(options);
  const responses: XdsResponse[] = [];
  /** type → the version last acked, and the names last asked for: a state-of-the-world answer repeats both. */
  const lastAcked = new Map<ResourceType, string>();
  const asked = new Map<ResourceType, readonly string[]>();
  let answered = 0;
  /** Types that are not acked by themselves; undefined: none is. */
  let withheld: readonly ResourceType[] | undefined;
  let first = true;
  const ended = new Promise<StatusObject>((resolve) => call.on("status", resolve));
  call.on("error", () => {});
  call.on("data", (wire: WireResponse) => {
    const response = toResponse(wire, options.protocol);
    if (options.onResponse) return options.onResponse(response);
    responses.push(response);
    if (withheld) stream.ackAll(withheld);
  });
  const close = (): void => {
    forget();
    call.cancel();
    if (!options.connection) client.close();
  };
  const forget = onCleanup(`xDS stream of ${options.node}`, close);
  const stream: XdsStream = {
    responses,
    of: (type) => responses.filter((response) => response.type === type),
    request: (type, request = {}) => {
      asked.set(type, request.names ?? []);
      call.write(toWire(options, type, request, first));
      first = false;
    },
    sendRaw: (bytes) => void call.write(bytes),
    ack: (response, names = asked.get(response.type) ?? []) => {
      lastAcked.set(response.type, response.version);
      const repeated = options.protocol === "sotw" ? { version: response.version, names } : {};
      stream.request(response.type, { nonce: response.nonce, ...repeated });
    },
    nack: (response, refusal, names = asked.get(response.type) ?? []) => {
      const repeated = options.protocol === "sotw" ? { version: lastAcked.get(response.type) ?? "", names } : {};
      stream.request(response.type, { nonce: response.nonce, refusal, ...repeated });
    },
    ackAll: (except = []) => {
      withheld = except;
      for (; answered < responses.length; answered++) {
        const response = responses[answered];
        if (response && !except.includes(response.type)) stream.ack(response);
      }
    },
    state: (type) => fold(stream.of(type), options.protocol),
    next: (type, seen = 0, timeoutMs = 5_000) =>
      waitFor(`response ${seen + 1} of type ${type}`, () => stream.of(type)[seen], { timeoutMs, everyMs: 5 }),
    ended,
    close,
  };
  return stream;
}
