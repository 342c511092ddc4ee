// Who asks, and why: from headers that a client sets, kept with the revision and sent home with a refusal.
import type { IncomingHttpHeaders } from "node:http";
import { AppError } from "../errors.js";
import type { Author } from "../model/revision.js";

const maxAuthorLength = 128;
const maxReasonLength = 512;
const requestIdForm = /^[A-Za-z0-9._-]{1,64}$/;

/** A client's request id when it is sane; undefined: we make one. */
export function requestIdOf(headers: IncomingHttpHeaders): string | undefined {
  const given = headers["x-request-id"];
  return typeof given === "string" && requestIdForm.test(given) ? given : undefined;
}

/** @throws invalid_header */
export function readAuthor(headers: IncomingHttpHeaders, requestId: string): Author {
  return {
    author: readText(headers, "X-Chancery-Author", maxAuthorLength) ?? "anonymous",
    requestId,
    reason: readText(headers, "X-Chancery-Reason", maxReasonLength),
  };
}

/** Node reads headers as Latin-1; clients write names in UTF-8. */
function readText(headers: IncomingHttpHeaders, header: string, maxLength: number): string | undefined {
  const raw = headers[header.toLowerCase()];
  if (raw === undefined || raw === "") return undefined;
  const text = typeof raw === "string" ? Buffer.from(raw, "latin1").toString("utf8") : "";
  if (text.length >= 1 && text.length <= maxLength && !/[\p{Cc}\p{Surrogate}\uFFFD]/u.test(text)) return text;
  throw new AppError("invalid_header", {
    header,
    detail: `must be 1–${maxLength} characters of UTF-8 without control characters`,
  });
}
