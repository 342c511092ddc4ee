// Files of objects, YAML or JSON, several documents in each: `kind: cluster` and the fields that the API takes.
// In: a text. Out: documents that know where each of their fields is, and faults with file:line:column. Pure. Called by apply.
import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, type Node, parseAllDocuments } from "yaml";
import { isObject, type JsonObject } from "./json.js";
import { endpointKey, type Kind, kinds } from "./kinds.js";

/** A place in a file, counted from 1. */
export interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** What is wrong at a place of a file. */
export interface Fault {
  readonly at: Position;
  readonly detail: string;
}

/** One object as a file has it. */
export interface ObjectDocument {
  readonly kind: Kind;
  /** As commands name it; an endpoint is `<cluster>/<address>:<port>`. */
  readonly name: string;
  /** What the API takes: the document without `kind`, an endpoint also without `cluster`. */
  readonly body: JsonObject;
  /** Where the field is that a JSON pointer into `body` names; for a missing field, where it should be. */
  at(pointer: string): Position;
}

/** `shop.yaml:12:9`, which editors and terminals can follow. */
export function toPositionText({ file, line, column }: Position): string {
  return `${file}:${line}:${column}`;
}

/** Reads all documents of a text; empty ones are skipped. One fault does not hide the others. */
export function readDocuments(file: string, text: string): { documents: readonly ObjectDocument[]; faults: readonly Fault[] } {
  const lines = new LineCounter();
  const parsed = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  const documents: ObjectDocument[] = [];
  const faults: Fault[] = [];
  const position = (offset: number): Position => ({ file, line: lines.linePos(offset).line, column: lines.linePos(offset).col });
  for (const document of Array.isArray(parsed) ? parsed : []) {
    const broken = [...document.errors, ...document.warnings];
    faults.push(...broken.map((error) => ({ at: position(error.pos[0]), detail: error.message })));
    const read = broken.length > 0 ? undefined : readDocument(document, position);
    if (read === undefined) continue;
    if ("detail" in read) faults.push(read);
    else documents.push(read);
  }
  return { documents, faults };
}

/** undefined: an empty document. */
function readDocument(document: Document.Parsed, position: (offset: number) => Position): ObjectDocument | Fault | undefined {
  const at = (pointer: string) => position(offsetOf(document, pointer));
  let value: unknown;
  try {
    value = document.toJS();
  } catch (error) {
    return { at: at(""), detail: error instanceof Error ? error.message : String(error) }; // An alias without anchor, or too many of them.
  }
  if (value === null || value === undefined) return undefined;
  if (!isObject(value)) return { at: at(""), detail: "a document must be one object with a field `kind`" };
  const { kind: word, ...body } = value;
  const kind = kinds.find((each) => each === word);
  if (kind === undefined) {
    return {
      at: at("/kind"),
      detail: word === undefined ? `the field kind is missing: ${kinds.join(", ")}` : `kind must be one of ${kinds.join(", ")}`,
    };
  }
  return kind === "endpoint" ? readEndpoint(body, at) : readNamed(kind, body, at);
}

function readNamed(kind: Kind, body: JsonObject, at: ObjectDocument["at"]): ObjectDocument | Fault {
  const { name } = body;
  if (typeof name !== "string" || name === "") return { at: at("/name"), detail: `a ${kind} needs a name` };
  return { kind, name, body, at };
}

function readEndpoint({ cluster, ...body }: JsonObject, at: ObjectDocument["at"]): ObjectDocument | Fault {
  if (typeof cluster !== "string" || cluster === "")
    return { at: at("/cluster"), detail: "an endpoint needs the name of its cluster" };
  if (typeof body["address"] !== "string") return { at: at("/address"), detail: "an endpoint needs an address" };
  if (typeof body["port"] !== "number") return { at: at("/port"), detail: "an endpoint needs a port" };
  return { kind: "endpoint", name: `${cluster}/${endpointKey(body)}`, body, at };
}

/** RFC 6901. */
function segmentsOf(pointer: string): readonly string[] {
  return pointer === ""
    ? []
    : pointer
        .slice(1)
        .split("/")
        .map((segment) => segment.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** Offset of what the pointer names: a field's key, or the nearest thing around it that is there. */
function offsetOf(document: Document.Parsed, pointer: string): number {
  let node: Node | null = document.contents;
  let offset = node?.range?.[0] ?? document.range[0];
  for (const segment of segmentsOf(pointer)) {
    const target = isAlias(node) ? node.resolve(document) : node;
    const found = stepInto(target, segment);
    if (found === undefined) break;
    offset = found.offset ?? offset;
    node = found.node;
  }
  return offset;
}

function stepInto(node: unknown, segment: string): { node: Node | null; offset: number | undefined } | undefined {
  if (isMap(node)) {
    const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === segment);
    if (pair === undefined) return undefined;
    return { node: isNode(pair.value) ? pair.value : null, offset: isScalar(pair.key) ? pair.key.range?.[0] : undefined };
  }
  const item = isSeq(node) ? node.items[Number(segment)] : undefined;
  return isNode(item) ? { node: item, offset: item.range?.[0] } : undefined;
}
