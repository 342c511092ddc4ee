// The state that a replica serves, as text: what state-file.ts keeps on disk. In: StateRows. Out: lines of JSON, and the way back.
// Objects have the form of their table's `spec`, so that a field added later gets its default here as it does there.
import type { StateRows } from "../model/desired-state.js";
import type { Kind, ObjectKinds, Revision } from "../model/revision.js";
import { objectTables, type RowKinds } from "./objects.js";
import { fromOverlayRow, type OverlayRow } from "./rollout-row.js";
import { toSpecChange } from "./row-change.js";

/** Goes up when an older binary could not read what a newer one writes, or the other way round. */
export const stateFormat = "chancery-state-1";

/** The first line. */
export interface StateHeader {
  readonly format: string;
  /** Which database it is of (`databaseMark`). */
  readonly database: string;
  readonly revision: Revision;
  readonly id: string;
  /** ms since 1970, by the clock of the machine. */
  readonly writtenAt: number;
  /** Lines that follow, the checksum's not counted. */
  readonly lines: number;
}

/** The first letter of a line says what it holds. */
const letters = { cluster: "c", endpoint: "e", listener: "l", route: "r", overlay: "o", pastRoute: "p", nodeDrain: "d" } as const;

/** One line per object, each with its newline; the header first. */
export function* toStateLines(rows: StateRows, database: string, writtenAt: number): Generator<string> {
  const { revision, id, clusters, endpoints, listeners, routes, overlays = [], pastRoutes = [], nodeDrains = [] } = rows;
  const lines = [clusters, endpoints, listeners, routes, overlays, pastRoutes, nodeDrains].reduce(
    (sum, { length }) => sum + length,
    0,
  );
  const header: StateHeader = { format: stateFormat, database, revision, id, writtenAt, lines };
  yield `${JSON.stringify(header)}\n`;
  for (const one of clusters) yield toObjectLine("cluster", one);
  for (const one of endpoints) yield toObjectLine("endpoint", one);
  for (const one of listeners) yield toObjectLine("listener", one);
  for (const one of routes) yield toObjectLine("route", one);
  for (const { name, shares, changes } of overlays) {
    const row: OverlayRow = { name, shares: Object.fromEntries(shares), changes: changes.map(toSpecChange) };
    yield `${letters.overlay}${JSON.stringify(row)}\n`;
  }
  for (const { name, before } of pastRoutes)
    yield `${letters.pastRoute}${JSON.stringify({ name, before: before && objectTables.route.toRow(before).spec })}\n`;
  for (const nodeDrain of nodeDrains) yield `${letters.nodeDrain}${JSON.stringify(nodeDrain)}\n`;
}

function toObjectLine<K extends Kind>(kind: K, object: ObjectKinds[K]): string {
  return `${letters[kind]}${JSON.stringify(objectTables[kind].toRow(object).spec)}\n`;
}

/** The header of a text, or undefined where there is none of any format. */
export function readStateHeader(firstLine: string): StateHeader | undefined {
  try {
    const header: unknown = JSON.parse(firstLine);
    // Of a file whose checksum is right: whoever wrote `format` wrote the rest.
    return typeof header === "object" && header !== null && "format" in header ? (header as StateHeader) : undefined;
  } catch {
    return undefined;
  }
}

/** What the lines after the header hold. @throws Error when they are not as many as the header says, or one is of a kind unknown here */
export function fromStateLines(header: StateHeader, lines: readonly string[]): StateRows {
  if (lines.length !== header.lines) throw new Error(`${lines.length} lines where ${header.lines} were written`);
  const of = (letter: string): unknown[] => byLetter.get(letter) ?? [];
  const byLetter = new Map<string, unknown[]>(Object.values(letters).map((letter) => [letter, []]));
  for (const line of lines) {
    const into = byLetter.get(line.slice(0, 1));
    if (!into) throw new Error("a line of a kind that is not known here");
    into.push(JSON.parse(line.slice(1)));
  }
  const objects = <K extends Kind>(kind: K): ObjectKinds[K][] =>
    of(letters[kind]).map((spec) => objectTables[kind].fromRow({ spec: spec as RowKinds[K]["spec"] })); // Written by toObjectLine.
  return {
    revision: header.revision,
    id: header.id,
    clusters: objects("cluster"),
    endpoints: objects("endpoint"),
    listeners: objects("listener"),
    routes: objects("route"),
    overlays: of(letters.overlay).map((row) => fromOverlayRow(row as OverlayRow)), // Written by toStateLines, as the next ones.
    pastRoutes: (of(letters.pastRoute) as { name: string; before?: RowKinds["route"]["spec"] }[]).map(({ name, before }) => ({
      name,
      before: before && objectTables.route.fromRow({ spec: before }),
    })),
    nodeDrains: of(letters.nodeDrain) as NonNullable<StateRows["nodeDrains"]>,
  };
}
