// `chancery apply`: makes the control plane hold what files say. In: files, folders or stdin. Out: a line for each object.
// All files are read before anything is sent; clusters go before endpoints, listeners and routes. Nothing is removed, except
// endpoints of a cluster whose document lists its endpoints: that list is the whole set.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { type ApiAccess, type ApiAnswer, ApiRefusal, callApi } from "./api-client.js";
import { type Fault, type ObjectDocument, readDocuments, toPositionText } from "./documents.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import type { JsonObject } from "./json.js";
import { kinds, objectPath } from "./kinds.js";
import { callAndWait, isUnconfirmed, lintLines, refusalLines, syncLines, type Wait } from "./outcome.js";

type Print = (line: string) => void;

/** What became of all documents together. */
interface Tally {
  refused: number;
  unconfirmed: number;
}

async function filesIn(path: string): Promise<readonly string[]> {
  if (path === "-") return [path];
  const found = await stat(path).catch((error: unknown) => {
    throw new CommandError(
      exitCodes.usage,
      `${path} can't be read: ${error instanceof Error ? error.message : String(error)}`,
      error,
    );
  });
  if (!found.isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => /\.(ya?ml|json)$/.test(name)).sort();
  if (names.length === 0) throw new CommandError(exitCodes.usage, `${path} holds no .yaml, .yml or .json file.`);
  return names.map((name) => join(path, name));
}

/** The same object twice would make the outcome depend on the order of files. */
function repeated(documents: readonly ObjectDocument[]): readonly Fault[] {
  const first = new Map<string, ObjectDocument>();
  return documents.flatMap((document) => {
    const key = `${document.kind} ${document.name}`;
    const earlier = first.get(key);
    if (earlier === undefined) first.set(key, document);
    return earlier === undefined
      ? []
      : [{ at: document.at("/name"), detail: `${key} is there twice; first at ${toPositionText(earlier.at(""))}` }];
  });
}

/** @throws CommandError (usage) that lists every fault of every file with its place */
export async function readPaths(paths: readonly string[]): Promise<readonly ObjectDocument[]> {
  const documents: ObjectDocument[] = [];
  const faults: Fault[] = [];
  for (const path of paths) {
    for (const file of await filesIn(path)) {
      const read = readDocuments(
        file === "-" ? "stdin" : file,
        file === "-" ? await readAll(process.stdin) : await readFile(file, "utf8"),
      );
      documents.push(...read.documents);
      faults.push(...read.faults);
    }
  }
  faults.push(...repeated(documents));
  if (faults.length > 0) {
    throw new CommandError(
      exitCodes.usage,
      `Nothing was sent:\n${faults.map(({ at, detail }) => `${toPositionText(at)}: ${detail}`).join("\n")}`,
    );
  }
  if (documents.length === 0) throw new CommandError(exitCodes.usage, "There is no object in what was given; nothing was sent.");
  return documents;
}

async function exists(access: ApiAccess, path: string): Promise<boolean> {
  try {
    await callApi(access, { method: "GET", path });
    return true;
  } catch (error) {
    if (error instanceof ApiRefusal && error.status === 404) return false;
    throw error;
  }
}

/** The calls of one document. A cluster that exists takes its endpoints by a call of their own. */
async function send(access: ApiAccess, document: ObjectDocument, wait: Wait): Promise<readonly ApiAnswer[]> {
  const path = objectPath(document.kind, document.name);
  const put = (at: string, body: JsonObject) => callAndWait(access, { method: "PUT", path: at, body }, wait);
  const { endpoints, ...rest } = document.body;
  if (document.kind !== "cluster" || endpoints === undefined || !(await exists(access, path)))
    return [await put(path, document.body)];
  return [await put(path, rest), await put(`${path}/endpoints`, { endpoints })];
}

function didText(document: ObjectDocument, answers: readonly ApiAnswer[]): string {
  const label = `${document.kind} ${document.name}`;
  const changed = answers.filter(({ body }) => body["changed"] !== false);
  if (changed.length === 0) return `${label}: unchanged`;
  const revisions = changed.map(({ body }) => String(body["revision"])).join(", ");
  return `${label}: applied (revision ${revisions})`;
}

/** Each problem at its place in the file; what points nowhere stands at the document's beginning. */
function refusedLines(document: ObjectDocument, error: ApiRefusal): readonly string[] {
  const label = `${document.kind} ${document.name}`;
  if (error.problems.length === 0) {
    const [first = "", ...others] = refusalLines(error);
    return [`${toPositionText(document.at(""))}: ${label}: ${first}`, ...others];
  }
  return error.problems.map(({ pointer, detail }) => {
    const fieldName = pointer === "" ? "" : ` ${pointer.slice(1).replaceAll("/", ".")}:`;
    return `${toPositionText(document.at(pointer))}: ${label}:${fieldName} ${detail}`;
  });
}

async function applyOne(access: ApiAccess, document: ObjectDocument, wait: Wait, print: Print, tally: Tally): Promise<void> {
  try {
    const answers = await send(access, document, wait);
    print(didText(document, answers));
    for (const line of new Set(answers.flatMap(({ body }) => [...syncLines(body), ...lintLines(body)]))) print(line);
    if (answers.some(isUnconfirmed)) tally.unconfirmed++;
  } catch (error) {
    if (!(error instanceof ApiRefusal) || error.exitCode !== exitCodes.failed) throw error;
    tally.refused++;
    for (const line of refusedLines(document, error)) print(line);
  }
}

/**
 * Sends the documents kind by kind. After a refusal the rest of that kind is still tried, so that all faults are told at once;
 * later kinds, which may build on what was refused, are not.
 * @throws CommandError when something was refused, or not confirmed in time
 */
export async function applyDocuments(
  access: ApiAccess,
  documents: readonly ObjectDocument[],
  wait: Wait,
  print: Print,
): Promise<void> {
  const tally: Tally = { refused: 0, unconfirmed: 0 };
  const notSent: ObjectDocument[] = [];
  for (const kind of kinds) {
    const ofKind = documents.filter((document) => document.kind === kind);
    if (tally.refused > 0) notSent.push(...ofKind);
    else for (const document of ofKind) await applyOne(access, document, wait, print, tally);
  }
  if (notSent.length > 0)
    print(`Not sent, because of the above: ${notSent.map(({ kind, name }) => `${kind} ${name}`).join(", ")}`);
  if (tally.refused > 0) throw new CommandError(exitCodes.failed, `${tally.refused} of ${documents.length} objects refused.`);
  if (tally.unconfirmed > 0) {
    throw new CommandError(exitCodes.failed, "All is committed, and not every Envoy confirmed it in time. They go on trying.");
  }
}
