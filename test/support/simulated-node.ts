// An Envoy's xDS side, kept alive: it asks for everything, acks what comes, and comes back when its stream is ended, as a real one does.
// In: control planes and a temper. Out: what it has, and every form of a resource that it ever got. For tests with many nodes, and for
// Envoys that refuse or crash at will (a real one can't be asked to).
import type { ResourceType } from "../../src/model/resource-type.js";
import { onCleanup } from "./cleanup.js";
import { openXdsStream, type XdsResponse, type XdsStream } from "./xds-client.js";

/** What it does with a response: take it, refuse it with these words, or go away. */
export type Temper = (response: XdsResponse) => "take" | "crash" | { readonly refuse: string };

export interface SimulatedNodeOptions {
  /** Asked one after the other, beginning with the first. */
  readonly ports: readonly number[];
  readonly node: string;
  readonly gateway: string;
  readonly temper?: Temper;
  /** How long it is away after its stream has ended, and after a crash. ms */
  readonly awayMs?: number;
}

export interface SimulatedNode {
  readonly node: string;
  /** Whether a response with this text in a resource of the type ever came. */
  everGot(type: ResourceType, text: string): boolean;
  /** Whether the newest form of the named resource holds the text. */
  has(type: ResourceType, name: string, text: string): boolean;
  /** Streams opened so far. */
  readonly streams: number;
  /** Goes away for good. */
  close(): void;
}

export function startSimulatedNode(options: SimulatedNodeOptions): SimulatedNode {
  const { ports, node, gateway, temper = () => "take", awayMs = 100 } = options;
  const got = new Map<ResourceType, Set<string>>();
  let newest = new Map<string, string>();
  let streams = 0;
  let closed = false;
  let stream: XdsStream | undefined;

  const take = (open: XdsStream, response: XdsResponse): void => {
    const forms = got.get(response.type) ?? new Set();
    got.set(response.type, forms);
    for (const { name, message } of response.resources) {
      forms.add(JSON.stringify(message));
      newest.set(`${response.type} ${name}`, JSON.stringify(message));
    }
    const names = response.resources.map(({ name }) => name);
    if (response.type === "cluster" && names.length > 0) open.request("endpoint", { names });
    if (response.type === "listener" && names.length > 0) open.request("route", { names });
  };
  const connect = (): void => {
    if (closed) return;
    const port = ports[streams % ports.length] ?? 0;
    streams += 1;
    newest = new Map();
    const open = openXdsStream({ port, node, gateway, protocol: "delta" });
    stream = open;
    let answered = 0;
    const timer = setInterval(() => {
      for (; answered < open.responses.length; answered++) {
        const response = open.responses[answered];
        if (!response) continue;
        const mood = temper(response);
        if (mood === "crash") return open.close();
        if (mood === "take") {
          take(open, response);
          open.ack(response, []);
        } else open.nack(response, mood.refuse, []);
      }
    }, 5);
    open.request("cluster");
    open.request("listener");
    void open.ended.then(() => {
      clearInterval(timer);
      setTimeout(connect, awayMs);
    });
  };
  connect();
  const close = (): void => {
    closed = true;
    stream?.close();
  };
  onCleanup(`simulated node ${node}`, close);
  return {
    node,
    everGot: (type, text) => [...(got.get(type) ?? [])].some((form) => form.includes(text)),
    has: (type, name, text) => newest.get(`${type} ${name}`)?.includes(text) ?? false,
    get streams() {
      return streams;
    },
    close,
  };
}
