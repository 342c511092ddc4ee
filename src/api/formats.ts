// Texts with rules of their own, as JSON Schema formats: each says in words what is wrong with a text.
// In: a text of a client. Out: its fault, or undefined. Ajv runs them (server.ts); schema-problems.ts repeats the words.
import { canonicalAddress, isUnspecified } from "../model/address.js";
import { hostFault } from "../model/host.js";

type FaultOf = (text: string) => string | undefined;

/** Visible ASCII and spaces: what a header, a log and a terminal can carry without harm. */
const printable = /^[\x20-\x7e]*$/;
const headerToken = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/;

function addressFault(text: string): string | undefined {
  if (canonicalAddress(text) !== undefined) return undefined;
  return hostFault(text) === undefined && !/^[\d.]+$/.test(text)
    ? "must be an IP address: host names are not resolved"
    : "must be an IPv4 or IPv6 address like 10.0.0.7 or fd00::7";
}

function pathFault(text: string): string | undefined {
  if (!text.startsWith("/")) return "a path starts with /";
  if (/[?#]/.test(text)) return "a path has no query and no fragment";
  return /^[\x21-\x7e]*$/.test(text) ? undefined : "a path has no spaces, and characters beyond ASCII are written as %XX";
}

/** format → what is wrong with a text, in words for its author. */
export const formats = {
  "ip-address": addressFault,
  "endpoint-address": (text) => {
    const address = canonicalAddress(text);
    return address !== undefined && isUnspecified(address)
      ? `${address} is every address of a machine, and none to connect to`
      : addressFault(text);
  },
  host: hostFault,
  "host-name": (text) => (text.includes("*") ? "must be one host, without a wildcard" : hostFault(text)),
  /** What a Host header may be set to: a name or address, with or without a port. */
  authority: (text) =>
    /^[A-Za-z0-9._\-[\]:]+$/.test(text) ? undefined : "must be a host like shop.example.com or shop.example.com:8443",
  path: pathFault,
  "path-prefix": (text) =>
    pathFault(text) ??
    (text.length > 1 && text.endsWith("/")
      ? `a prefix matches whole path segments: write ${text.replace(/\/+$/, "") || "/"}`
      : undefined),
  "path-and-query": (text) => {
    if (!text.startsWith("/")) return "a path starts with /";
    return /^[\x21-\x22\x24-\x7e]*$/.test(text)
      ? undefined
      : "a path has no spaces and no fragment, and characters beyond ASCII are written as %XX";
  },
  "header-name": (text) => {
    if (text.startsWith(":")) return "pseudo headers have fields of their own: hosts, match.path, match.methods";
    return headerToken.test(text) ? undefined : "a header's name has only letters, digits and !#$%&'*+.^_`|~-";
  },
  "cookie-name": (text) => (headerToken.test(text) ? undefined : "a cookie's name has only letters, digits and !#$%&'*+.^_`|~-"),
  method: (text) => {
    if (text === "CONNECT") return "CONNECT can't be routed";
    return /^[A-Z][A-Z-]*$/.test(text) ? undefined : "a method is written in capital letters, like GET";
  },
  printable: (text) => (printable.test(text) ? undefined : "must be printable ASCII"),
} as const satisfies Record<string, FaultOf>;

/** Name of a form that a text may have. */
export type Format = keyof typeof formats;

/** What is wrong with `text` by the rule of `format`; undefined when nothing is, or when there is no such rule. */
export function formatFault(format: string, text: string): string | undefined {
  const rules: Readonly<Record<string, FaultOf>> = formats;
  return Object.hasOwn(rules, format) ? rules[format]?.(text) : undefined;
}
