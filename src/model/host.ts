// Host names as routes match them: exact (`shop.example.com`) or wildcard (`*.example.com`). Pure.
// Used for HTTP hosts and for TLS server names; both are compared in lower case.

const label = /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/;
const maxHostLength = 253;

/** Why `text` is no host that a route can match, in words for its author; undefined when it is one. Case is no fault. */
export function hostFault(text: string): string | undefined {
  if (text.length === 0 || text.length > maxHostLength) return `a host has 1–${maxHostLength} characters`;
  if (text === "*") return "leave the list empty to match every host";
  if (text.includes(":")) return "a host has no port: the port of the Host header is not compared";
  if (text.includes("/")) return "a host is a name like shop.example.com, without scheme or path";
  const name = text.startsWith("*.") ? text.slice(2) : text;
  if (name.includes("*")) return "a wildcard stands for whole labels at the start: *.example.com";
  if (name.endsWith(".")) return "a host has no dot at its end";
  const bad = name
    .toLowerCase()
    .split(".")
    .find((part) => !label.test(part));
  if (bad === undefined) return undefined;
  return bad === ""
    ? "a host has no empty label"
    : "a label of a host is 1–63 of a–z, 0–9, - and _, and does not start or end with -";
}
