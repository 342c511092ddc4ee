// `chancery apply`: makes the control plane hold what files say, in one change: all of it or nothing. In: documents. Out: a line for each
// object. Nothing is removed, except endpoints of a cluster whose document lists its endpoints (that list is the whole set), and, with
// --prune, what an earlier apply of the same set put and the files no longer hold.
import { type ApiAccess, ApiRefusal } from "./api-client.js";
import { adviceLines, type FileSet, refusedLines, toChangeBody } from "./change.js";
import type { ObjectDocument } from "./documents.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, list, text } from "./json.js";
import { callAndWait, isUnconfirmed, rolloutLines, syncLines, type Wait } from "./outcome.js";

/** @throws CommandError when it was refused, which changes nothing, or not confirmed in time */
export async function applyDocuments(
  access: ApiAccess,
  documents: readonly ObjectDocument[],
  files: FileSet,
  wait: Wait,
  print: (line: string) => void,
): Promise<void> {
  const call = { method: "POST", path: "/v1/changes", body: toChangeBody(documents, files) } as const;
  const answer = await callAndWait(access, call, wait).catch((error: unknown) => {
    // What is committed and refused by an Envoy, and what never reached the control plane, is told by the caller.
    if (!(error instanceof ApiRefusal) || error.exitCode !== exitCodes.failed || error.code === "refused_by_envoy") throw error;
    for (const line of refusedLines(documents, error)) print(line);
    throw new CommandError(exitCodes.failed, "Refused; nothing was changed.", error);
  });
  const { body } = answer;
  for (const each of list(body["objects"]))
    print(`${text(field(each, "kind"))} ${text(field(each, "name"))}: ${text(field(each, "change"))}`);
  print(body["changed"] === false ? "nothing to change" : `revision ${text(body["revision"])}`);
  for (const line of [...rolloutLines(body), ...syncLines(body), ...adviceLines(documents, body)]) print(line);
  if (isUnconfirmed(answer))
    throw new CommandError(exitCodes.failed, "All is committed, and not every Envoy confirmed it in time. They go on trying.");
}
