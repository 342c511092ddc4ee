// `chancery get` and `chancery nodes`: what the control plane holds, and what its Envoys say. In: a kind, perhaps a name.
// Out: a table, YAML or JSON. YAML of a kind can be given to `chancery apply` as it is.
import { stringify } from "yaml";
import { type ApiAccess, callApi, listAll } from "./api-client.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, isObject, type JsonObject, joined, list, text } from "./json.js";
import { collectionPath, headOf, type Kind, objectPath, rowOf, toKind } from "./kinds.js";
import { toTable } from "./table.js";

/** Ways in which objects are shown. */
export const outputs = ["table", "yaml", "json"] as const;
/** One of them. */
export type Output = (typeof outputs)[number];

/** Documents as `apply` reads them: the kind before the fields. */
function toDocument(kind: Kind, object: JsonObject, cluster: string): JsonObject {
  return kind === "endpoint" ? { kind, cluster, ...object } : { kind, ...object };
}

function print(kind: Kind, objects: readonly JsonObject[], cluster: string, output: Output): string {
  if (output === "table")
    return objects.length === 0
      ? `There is no ${kind}.\n`
      : toTable(
          headOf(kind),
          objects.map((object) => rowOf(kind, object)),
        );
  const documents = objects.map((object) => toDocument(kind, object, cluster));
  if (output === "json") return `${JSON.stringify(documents.length === 1 ? documents[0] : documents, undefined, 2)}\n`;
  return documents.map((document) => stringify(document, { lineWidth: 0 })).join("---\n");
}

/** `name` is that of one object; of endpoints it may be their cluster's. */
export async function get(access: ApiAccess, word: string, name: string | undefined, given: Output | undefined): Promise<string> {
  const kind = toKind(word);
  const isSingle = name !== undefined && (kind !== "endpoint" || name.includes("/"));
  const output = given ?? "table";
  if (isSingle) {
    const { body } = await callApi(access, { method: "GET", path: objectPath(kind, name) });
    return print(kind, [body], name.split("/")[0] ?? "", output);
  }
  if (kind !== "endpoint") return print(kind, await listAll(access, collectionPath(kind)), "", output);
  if (name === undefined)
    throw new CommandError(exitCodes.usage, "Endpoints belong to a cluster: chancery get endpoints <cluster>.");
  const { body } = await callApi(access, { method: "GET", path: collectionPath(kind, name) });
  return print(kind, list(body["endpoints"]).filter(isObject), name, output);
}

function nodeRow(node: JsonObject): readonly string[] {
  const troubles = [...list(node["refused"]).map(() => "refused"), ...list(node["held"]).map(() => "held")];
  return [
    text(node["id"]),
    `${text(node["gateway"])}${node["gatewayKnown"] === false ? " (unknown)" : ""}`,
    `${node["connected"] === false ? "no" : "yes"}${node["draining"] === true ? " (draining)" : ""}`,
    text(node["ackedRevision"]),
    text(node["envoyVersion"]),
    joined(node["streams"]),
    text(node["replica"]),
    troubles.length === 0 ? "" : `${troubles.length} (below)`,
  ];
}

/** What a node does not have as the newest revision wants it, in Envoy's own words. */
function troubleLines(node: JsonObject): readonly string[] {
  return ["refused", "held"].flatMap((state) =>
    list(node[state]).map((each) => {
      const by = text(field(each, "author"));
      const made = `revision ${text(field(each, "revision"))}${by === "" ? "" : ` by ${by}`}`;
      return `${text(node["id"])} ${state} ${text(field(each, "type"))} ${text(field(each, "resource"))} (${made}): ${text(field(each, "detail"))}\n`;
    }),
  );
}

/** The fleet, and below it what each Envoy refused. */
export async function nodes(access: ApiAccess, gateway: string | undefined, output: Output): Promise<string> {
  const items = await listAll(access, "/v1/nodes", { gateway });
  if (output === "json") return `${JSON.stringify(items, undefined, 2)}\n`;
  if (output === "yaml") return stringify(items, { lineWidth: 0 });
  if (items.length === 0) return "No Envoy has connected. `chancery bootstrap` prints the configuration that one starts with.\n";
  const head = ["NODE", "GATEWAY", "CONNECTED", "REVISION", "ENVOY", "STREAMS", "REPLICA", "TROUBLE"];
  return toTable(head, items.filter(isObject).map(nodeRow)) + items.flatMap(troubleLines).join("");
}
