// Documents as one change, for POST /v1/changes, and what the API says of it at its places in the files. In: documents. Out: a body, and
// lines for people. Called by apply and diff. Pure.
import type { ApiProblem, ApiRefusal } from "./api-client.js";
import { type ObjectDocument, toPositionText } from "./documents.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, type JsonObject, list, text } from "./json.js";
import { refusalLines } from "./outcome.js";

/** As many as the API takes in one change. */
const maxChanges = 1_000;

/** Which set of files this is, and whether what the set no longer holds is to go. */
export interface FileSet {
  readonly set: string;
  readonly prune: boolean;
  /** Guards that are to let it pass. */
  readonly override: readonly string[];
  /** Some Envoys first, as POST /v1/changes takes it; left out: as the gateways' policies say. */
  readonly rollout?: JsonObject | undefined;
}

function toWrite({ kind, name, body }: ObjectDocument): JsonObject {
  const cluster = kind === "endpoint" ? { cluster: name.split("/")[0] } : {};
  return { op: "put", kind, ...cluster, object: body };
}

/** The n-th write is the n-th document. @throws CommandError (usage) for more than one change takes */
export function toChangeBody(documents: readonly ObjectDocument[], { set, prune, override, rollout }: FileSet): JsonObject {
  if (documents.length > maxChanges) {
    const many = `${documents.length} objects are more than one change takes (${maxChanges})`;
    throw new CommandError(
      exitCodes.usage,
      `${many}: list endpoints in their clusters, or apply parts as sets of their own (--set).`,
    );
  }
  return {
    changes: documents.map(toWrite),
    apply: { set, prune },
    ...(rollout ? { rollout } : {}),
    ...(override.length > 0 ? { override: Object.fromEntries(override.map((guard) => [guard, true])) } : {}),
  };
}

/** The document that a pointer into the change points to, and the rest of the pointer, within the document. */
function placeOf(
  documents: readonly ObjectDocument[],
  pointer: string,
): { document: ObjectDocument; within: string } | undefined {
  const [, at, within] = /^\/changes\/(\d+)(?:\/object)?(.*)$/.exec(pointer) ?? [];
  const document = documents[Number(at)];
  return document && { document, within: within ?? "" };
}

/** `shop.yaml:3:1: cluster shop: connectTimeoutMs: must be …`. */
function lineOf(documents: readonly ObjectDocument[], { pointer, detail }: Pick<ApiProblem, "pointer" | "detail">): string {
  const place = placeOf(documents, pointer);
  if (!place) return pointer === "/apply/prune" ? `--prune: ${detail}` : `${pointer === "" ? "" : `${pointer}: `}${detail}`;
  const { document, within } = place;
  const name = within === "" ? "" : ` ${within.slice(1).replaceAll("/", ".")}:`;
  return `${toPositionText(document.at(within))}: ${document.kind} ${document.name}:${name} ${detail}`;
}

/** Each problem at its place in the files; what points nowhere in its own words. */
export function refusedLines(documents: readonly ObjectDocument[], error: ApiRefusal): readonly string[] {
  return error.problems.length === 0 ? refusalLines(error) : error.problems.map((one) => lineOf(documents, one));
}

/** The API's advice, each at its place. */
export function adviceLines(documents: readonly ObjectDocument[], body: JsonObject): readonly string[] {
  return list(body["lint"]).map(
    (each) => `  note: ${lineOf(documents, { pointer: text(field(each, "pointer")), detail: text(field(each, "detail")) })}`,
  );
}
