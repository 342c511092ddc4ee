// `chancery revisions`, `chancery rollback` and `chancery audit verify`: who changed what, going back, and whether the history is what was
// written. In: a revision, filters. Out: text for people, or JSON. Called by commands.ts.
import { type ApiAccess, callApi } from "./api-client.js";
import { objectLines, planLines } from "./diff.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, isObject, type JsonObject, joined, list, number, text } from "./json.js";
import { callAndWait, report, syncLines, type Wait } from "./outcome.js";
import { toTable } from "./table.js";

/** Ways in which the history is shown. */
export const historyOutputs = ["table", "json"] as const;
/** One of them. */
export type HistoryOutput = (typeof historyOutputs)[number];

/** A revision's number. @throws CommandError (usage) */
export function toRevision(word: string): number {
  if (/^\d{1,15}$/.test(word)) return Number(word);
  throw new CommandError(
    exitCodes.usage,
    `A revision is a number, as \`chancery revisions\` lists them; got ${JSON.stringify(word)}.`,
  );
}

/** Which revisions are listed; `object` is `<kind>/<name>`. */
export interface RevisionChoice {
  readonly author?: string | undefined;
  readonly object?: string | undefined;
  readonly limit: number;
}

/** The newest revisions, as a table. */
export async function listRevisions(
  access: ApiAccess,
  { author, object, limit }: RevisionChoice,
  output: HistoryOutput,
): Promise<string> {
  const slash = object?.indexOf("/") ?? -1;
  if (object !== undefined && slash < 1)
    throw new CommandError(
      exitCodes.usage,
      "An object is written <kind>/<name>, as in route/checkout or endpoint/api/10.0.0.7:8080.",
    );
  const [kind, name] = object === undefined ? [] : [object.slice(0, slash), object.slice(slash + 1)];
  const { body } = await callApi(access, { method: "GET", path: "/v1/revisions", query: { author, kind, name, limit } });
  const items = list(body["items"]).filter(isObject);
  if (output === "json") return `${JSON.stringify(items, undefined, 2)}\n`;
  if (items.length === 0) return "There is no such revision.\n";
  const rows = items.map((one) => [
    text(one["revision"]),
    text(one["at"]),
    text(one["author"]),
    text(one["changes"]),
    joined(one["overrides"]),
    text(one["reason"]),
  ]);
  return toTable(["REVISION", "AT", "AUTHOR", "CHANGES", "OVERRIDES", "REASON"], rows);
}

/** One revision: who made it and why, what it changed (or what differs from `against`), and how far it is at the Envoys. */
export async function showRevision(
  access: ApiAccess,
  revision: number,
  against: number | undefined,
  output: HistoryOutput,
): Promise<string> {
  const path = `/v1/revisions/${revision}`;
  const { body: facts } = await callApi(access, { method: "GET", path });
  const objects = await readDiff(access, revision, against);
  const { body: sync } = await callApi(access, { method: "GET", path: `${path}/sync` });
  if (output === "json") return `${JSON.stringify({ ...facts, objects, sync }, undefined, 2)}\n`;
  const reason = text(facts["reason"]);
  const overrides = joined(facts["overrides"]);
  const lines = [
    `revision ${revision} by ${text(facts["author"])} at ${text(facts["at"])}, request ${text(facts["requestId"])}`,
    ...(reason === "" ? [] : [`  ${reason}`]),
    ...(overrides === "" ? [] : [`  guards overridden: ${overrides}`]),
    ...(against === undefined ? [] : [`against revision ${against}:`]),
    ...(objects.length === 0 ? ["nothing differs"] : objects.flatMap(objectLines)),
    ...syncLines({ sync }),
  ];
  return `${lines.join("\n")}\n`;
}

/** All pages. */
async function readDiff(access: ApiAccess, revision: number, against: number | undefined): Promise<readonly unknown[]> {
  const objects: unknown[] = [];
  let after: string | undefined;
  do {
    const { body } = await callApi(access, { method: "GET", path: `/v1/revisions/${revision}/diff`, query: { against, after } });
    objects.push(...list(body["objects"]));
    after = typeof body["next"] === "string" ? body["next"] : undefined;
  } while (after !== undefined);
  return objects;
}

/** What is to be rolled back, and how. */
export interface RollbackChoice {
  readonly scope: "revision" | "configuration";
  readonly dryRun: boolean;
  /** Guards that are to let it pass. */
  readonly override: readonly string[];
}

/** @throws CommandError when refused, or not confirmed in time */
export async function rollBack(
  access: ApiAccess,
  revision: number,
  { scope, dryRun, override }: RollbackChoice,
  wait: Wait,
  print: (line: string) => void,
): Promise<void> {
  const body = {
    scope,
    ...(override.length > 0 ? { override: Object.fromEntries(override.map((guard) => [guard, true])) } : {}),
  };
  const call = { method: "POST", path: `/v1/revisions/${revision}/rollback`, body } as const;
  if (dryRun) {
    const { body: plan } = await callApi(access, { ...call, query: { dryRun: "true" } });
    for (const line of planLines(plan)) print(line);
    return;
  }
  const answer = await callAndWait(access, call, wait);
  for (const each of list(answer.body["objects"]))
    print(`${text(field(each, "kind"))} ${text(field(each, "name"))}: ${text(field(each, "change"))}`);
  report(print, scope === "revision" ? `revision ${revision} undone` : `configuration as at revision ${revision}`, answer);
}

/** `<revision>:<hash>`, as an earlier `audit verify` printed it. @throws CommandError (usage) */
export function toAnchor(word: string): { readonly revision: number; readonly hash: string } {
  const [, revision, hash] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(word) ?? [];
  if (revision !== undefined && hash !== undefined) return { revision: Number(revision), hash };
  throw new CommandError(
    exitCodes.usage,
    `An anchor is <revision>:<hash>, as \`chancery audit verify\` prints it; got ${JSON.stringify(word)}.`,
  );
}

/** Times that pruning may overtake the reading. */
const maxRestarts = 3;

/**
 * Verifies the history from its beginning to its end, and, on the way, that it goes through the anchor.
 * @throws CommandError at the first revision that is not what was written
 */
export async function verifyAudit(
  access: ApiAccess,
  anchor: { readonly revision: number; readonly hash: string } | undefined,
  print: (line: string) => void,
): Promise<void> {
  // By itself, so that a history which was made anew from before the anchor on is found although it is whole.
  if (anchor) checkPage((await readAudit(access, { after: anchor.revision, hash: anchor.hash, limit: 1 })).body);
  let verified = 0;
  let at: JsonObject = {};
  let next: unknown;
  let restarts = 0;
  let cut: unknown;
  do {
    const query = isObject(next) ? { after: number(next["revision"]), hash: text(next["hash"]) } : {};
    const { body } = await readAudit(access, query);
    // What this page was to follow was pruned while the page before it was read: from the beginning that is now.
    const isOvertaken = isObject(next) && field(body["break"], "kind") === "pruned" && restarts++ < maxRestarts;
    if (!isOvertaken) checkPage(body);
    verified = isOvertaken ? 0 : verified + number(body["verified"]);
    at = isObject(body["mark"]) ? body["mark"] : {};
    next = isOvertaken ? null : body["next"];
    cut = body["cut"];
  } while (next !== undefined);
  print(verified === 1 ? "1 revision is as it was written." : `${verified} revisions are as they were written.`);
  if (isObject(cut)) {
    const rule = `kept are ${text(cut["days"])} days, and ${text(cut["least"])} revisions at least`;
    print(`Up to revision ${text(cut["revision"])} the history was pruned, last at ${text(cut["cutAt"])} (${rule}).`);
  }
  print("Keep this elsewhere, and give it as --anchor next time:");
  print(`${text(at["revision"])}:${text(at["hash"])}`);
}

function readAudit(access: ApiAccess, query: Readonly<Record<string, string | number>>) {
  return callApi(access, { method: "GET", path: "/v1/audit", query });
}

function checkPage(body: JsonObject): void {
  const found = body["break"];
  if (!isObject(found)) return;
  const where = `revision ${text(found["revision"])} (${text(found["kind"])})`;
  throw new CommandError(exitCodes.failed, `The history is not what was written, from ${where} on: ${text(found["detail"])}.`);
}
