// ETags: the revision in which an object last changed, opaque to clients and compared as text (so no number can be too large).
// In: If-Match and If-None-Match. Out: whether the write may go on. https://www.rfc-editor.org/rfc/rfc9110#section-13
import type { IncomingHttpHeaders } from "node:http";
import { AppError } from "../errors.js";
import type { Revision } from "../model/revision.js";

/** What must hold of the stored object for a write to go on. */
export interface Preconditions {
  /** "*": any that exists. A list: one of these. */
  readonly ifMatch: "*" | readonly string[] | undefined;
  /** `If-None-Match: *`: create, never replace. */
  readonly mustBeNew: boolean;
}

/** The ETag of an object that last changed in `revision`. */
export function etag(revision: Revision): string {
  return `"${revision}"`;
}

const tag = /^(?:W\/)?"[\x21\x23-\x7e]*"$/;
const maxTags = 20;

/** @throws invalid_header */
export function readPreconditions(headers: IncomingHttpHeaders): Preconditions {
  const noneMatch = headers["if-none-match"];
  if (noneMatch !== undefined && noneMatch.trim() !== "*") {
    throw new AppError("invalid_header", { header: "If-None-Match", detail: "a write takes only `If-None-Match: *`" });
  }
  return { ifMatch: readIfMatch(headers["if-match"]), mustBeNew: noneMatch !== undefined };
}

function readIfMatch(value: string | undefined): Preconditions["ifMatch"] {
  if (value === undefined) return undefined;
  if (value.trim() === "*") return "*";
  const tags = value.split(",").map((one) => one.trim());
  if (tags.length > maxTags || !tags.every((one) => tag.test(one))) {
    throw new AppError("invalid_header", {
      header: "If-Match",
      detail: `must be * or 1–${maxTags} quoted tags, as the ETag header of an answer gives them`,
    });
  }
  return tags;
}

/** `current`: the object's revision, undefined when it is not there. @throws precondition_failed */
export function checkPreconditions({ ifMatch, mustBeNew }: Preconditions, current: Revision | undefined): void {
  const facts = current === undefined ? {} : { current: etag(current) };
  if (mustBeNew && current !== undefined)
    throw new AppError("precondition_failed", { ...facts, detail: "the object exists, and If-None-Match: * asks for a new one" });
  if (ifMatch === undefined) return;
  // A weak tag never matches here: the comparison is the strong one.
  const matches = current !== undefined && (ifMatch === "*" || ifMatch.includes(etag(current)));
  if (!matches) throw new AppError("precondition_failed", facts);
}

/** For sets of objects, which have no tag of their own. @throws invalid_header */
export function refusePreconditions(headers: IncomingHttpHeaders): void {
  const header =
    headers["if-match"] !== undefined ? "If-Match" : headers["if-none-match"] !== undefined ? "If-None-Match" : undefined;
  if (header) throw new AppError("invalid_header", { header, detail: "a set of endpoints has no ETag; single endpoints have" });
}
