// The files that `apply` and `diff` are given. In: files, folders or `-` for stdin. Out: their documents, or every fault of every file
// with its place. All is read before anything is sent.
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { type Fault, type ObjectDocument, readDocuments, toPositionText } from "./documents.js";
import { CommandError, exitCodes } from "./exit-codes.js";

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

/**
 * `mayBeEmpty`: no document at all is something to ask for.
 * @throws CommandError (usage) that lists every fault of every file with its place
 */
export async function readPaths(paths: readonly string[], mayBeEmpty = false): Promise<readonly ObjectDocument[]> {
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
  if (documents.length === 0 && !mayBeEmpty)
    throw new CommandError(exitCodes.usage, "There is no object in what was given; nothing was sent.");
  return documents;
}
