// The kinds of objects that commands name: how they are said, where they are in the API, and what of them a table shows.
// In: words of a command line. Out: paths and columns. Called by get, delete and apply. Pure.
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, isObject, type JsonObject, joined, list, text } from "./json.js";

/** In the order in which they are applied: what a later one names is there before it. */
export const kinds = ["cluster", "endpoint", "listener", "route"] as const;
/** One of them. */
export type Kind = (typeof kinds)[number];

/** A column: its head, and its cell. */
type Column = readonly [string, (object: JsonObject) => string];

const name: Column = ["NAME", (object) => text(object["name"])];
const protocol: Column = ["PROTOCOL", (object) => text(object["protocol"])];

const columns: Readonly<Record<Kind, readonly Column[]>> = {
  cluster: [
    name,
    protocol,
    ["BALANCING", (cluster) => text(field(cluster["loadBalancing"], "policy"))],
    ["HEALTH CHECKS", (cluster) => list(cluster["healthChecks"]).map(toCheckText).join(", ") || "none"],
    ["OUTLIERS", (cluster) => (isObject(cluster["outlierDetection"]) ? "ejected" : "kept")],
  ],
  endpoint: [
    ["ENDPOINT", (endpoint) => endpointKey(endpoint)],
    ["WEIGHT", (endpoint) => text(endpoint["weight"])],
    ["PRIORITY", (endpoint) => text(endpoint["priority"])],
    ["REGION/ZONE", (endpoint) => [text(endpoint["region"]), text(endpoint["zone"])].filter((part) => part !== "").join("/")],
    [
      "LABELS",
      (endpoint) =>
        Object.entries(isObject(endpoint["labels"]) ? endpoint["labels"] : {})
          .map(toLabelText)
          .join(","),
    ],
    ["ENABLED", (endpoint) => (endpoint["enabled"] === false ? "no" : "yes")],
  ],
  listener: [
    name,
    protocol,
    ["ADDRESS", (listener) => endpointKey(listener)],
    ["GATEWAYS", (listener) => joined(listener["gateways"])],
  ],
  route: [
    name,
    protocol,
    ["LISTENERS", (route) => joined(route["listeners"]) || text(route["listener"])],
    ["MATCH", toMatchText],
    ["TO", toTargetText],
  ],
};

function toLabelText([key, value]: readonly [string, unknown]): string {
  return `${key}=${text(value)}`;
}

function toCheckText(check: unknown): string {
  const target = text(field(check, "path")) || text(field(check, "service"));
  return `${text(field(check, "kind"))}${target === "" ? "" : ` ${target}`} every ${text(field(check, "intervalMs"))} ms`;
}

function toMatchText(route: JsonObject): string {
  const match = route["match"];
  const path = field(match, "path");
  const paths = Object.entries(isObject(path) ? path : {}).map(([kind, value]) =>
    kind === "prefix" ? `${text(value)}*` : `${kind} ${text(value)}`,
  );
  const conditions = ["headers", "query", "cookies"].flatMap((part) =>
    list(field(match, part)).map((each) => `${part}.${text(field(each, "name"))}`),
  );
  const hosts = joined(route["hosts"], "|") || joined(route["sni"], "|");
  return (
    [hosts, joined(field(match, "methods"), "|"), ...paths, ...conditions].filter((part) => part !== "").join(" ") || "everything"
  );
}

function toTargetText(route: JsonObject): string {
  if (isObject(route["redirect"])) return `redirect ${text(route["redirect"]["status"])}`;
  return list(route["backends"])
    .map((backend) => `${text(field(backend, "cluster"))}=${text(field(backend, "weight"))}`)
    .join(" ");
}

/** `10.0.0.7:8080` or `[fd00::7]:8080`, as the API's paths have it. */
export function endpointKey(object: JsonObject): string {
  const address = text(object["address"]);
  return `${address.includes(":") && !address.startsWith("[") ? `[${address}]` : address}:${text(object["port"])}`;
}

/** Heads of the columns of its table. */
export function headOf(kind: Kind): readonly string[] {
  return columns[kind].map(([head]) => head);
}

/** Cells of one object, as many as the head has. */
export function rowOf(kind: Kind, object: JsonObject): readonly string[] {
  return columns[kind].map(([, cell]) => cell(object));
}

/** `route`, `routes` and `Route` are the same word. */
export function toKind(word: string): Kind {
  const singular = word.toLowerCase().replace(/s$/, "");
  const found = kinds.find((kind) => kind === singular);
  if (found) return found;
  throw new CommandError(exitCodes.usage, `There is no kind ${JSON.stringify(word)}. Kinds are ${kinds.join(", ")}.`);
}

/** Where objects of the kind are: of an endpoint, those of its cluster. */
export function collectionPath(kind: Kind, cluster = ""): string {
  return kind === "endpoint" ? `/v1/clusters/${encodeURIComponent(cluster)}/endpoints` : `/v1/${kind}s`;
}

/** Where one object is. An endpoint is named `<cluster>/<address>:<port>`. */
export function objectPath(kind: Kind, objectName: string): string {
  if (kind !== "endpoint") return `${collectionPath(kind)}/${encodeURIComponent(objectName)}`;
  const [cluster = "", key = "", ...rest] = objectName.split("/");
  if (cluster === "" || key === "" || rest.length > 0) {
    throw new CommandError(
      exitCodes.usage,
      `An endpoint is named <cluster>/<address>:<port>, as in checkout-v1/10.0.0.7:8080; got ${JSON.stringify(objectName)}.`,
    );
  }
  return `${collectionPath(kind, cluster)}/${encodeURIComponent(key)}`;
}
