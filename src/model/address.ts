// IP addresses as text: one canonical form each, so that equal addresses are equal strings. Pure, without node:net.
// In: what a client wrote. Out: the form that is stored, compared and shown.

function ipv4Octets(text: string): readonly number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4) return undefined;
  const octets = parts.map((part) => (/^(0|[1-9]\d{0,2})$/.test(part) ? Number(part) : 256));
  return octets.every((octet) => octet <= 255) ? octets : undefined;
}

/** Hex groups of one side of `::`; the last of the address may be an IPv4 address, which is two groups. */
function ipv6Groups(side: string, endsAddress: boolean): readonly number[] | undefined {
  if (side === "") return [];
  const parts = side.split(":");
  const groups: number[] = [];
  for (const [at, part] of parts.entries()) {
    const octets = endsAddress && at === parts.length - 1 && part.includes(".") ? ipv4Octets(part) : undefined;
    if (octets) {
      const [a = 0, b = 0, c = 0, d = 0] = octets;
      groups.push(a * 256 + b, c * 256 + d);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16));
    else return undefined;
  }
  return groups;
}

function ipv6(text: string): readonly number[] | undefined {
  const sides = text.split("::");
  if (sides.length > 2) return undefined;
  const head = ipv6Groups(sides[0] ?? "", sides.length === 1);
  const tail = sides.length === 2 ? ipv6Groups(sides[1] ?? "", true) : [];
  if (!head || !tail) return undefined;
  const missing = 8 - head.length - tail.length;
  if (sides.length === 1) return missing === 0 ? head : undefined;
  return missing >= 1 ? [...head, ...Array<number>(missing).fill(0), ...tail] : undefined;
}

/** RFC 5952: lower case, no leading zeros, the first longest run of two or more zero groups as `::`, mapped IPv4 dotted. */
function ipv6Text(groups: readonly number[]): string {
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    const [high = 0, low = 0] = groups.slice(6);
    return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  let [runAt, runLength] = [0, 0];
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && groups[at + length] === 0) length++;
    if (length > runLength) [runAt, runLength] = [at, length];
  }
  const hex = groups.map((group) => group.toString(16));
  if (runLength < 2) return hex.join(":");
  return `${hex.slice(0, runAt).join(":")}::${hex.slice(runAt + runLength).join(":")}`;
}

/** The canonical form of an IPv4 or IPv6 address (no brackets, no scope id), or undefined when `text` is none. */
export function canonicalAddress(text: string): string | undefined {
  if (text.length > 45) return undefined;
  if (!text.includes(":")) return ipv4Octets(text)?.join(".");
  const groups = ipv6(text);
  return groups && ipv6Text(groups);
}

/** `0.0.0.0` or `::`: every address of this machine; good to listen on, nothing to connect to. */
export function isUnspecified(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

/**
 * True when two sockets on the same port would take the same packets: equal, or one is the unspecified address of the
 * other's family. `::` does not cover IPv4, because Envoy opens it for IPv6 only.
 */
export function addressesOverlap(one: string, other: string): boolean {
  if (one === other) return true;
  return (isUnspecified(one) || isUnspecified(other)) && one.includes(":") === other.includes(":");
}

/** Reads `10.0.0.7:8080` or `[fd00::7]:8080`, in any spelling of the address; undefined when it is neither. */
export function parseAddressKey(text: string): { readonly address: string; readonly port: number } | undefined {
  const bracketed = text.startsWith("[");
  const end = text.lastIndexOf(bracketed ? "]:" : ":");
  if (end < 0) return undefined;
  const host = bracketed ? text.slice(1, end) : text.slice(0, end);
  const portText = text.slice(end + (bracketed ? 2 : 1));
  const address = canonicalAddress(host);
  if (address === undefined || address.includes(":") !== bracketed || !/^[1-9]\d{0,4}$/.test(portText)) return undefined;
  const port = Number(portText);
  return port <= 65_535 ? { address, port } : undefined;
}

/** Whether two addresses of one port can't both be bound: the same one, or one of them is its family's wildcard. */
export function overlap(one: string, other: string): boolean {
  if (one === other) return true;
  if (one.includes(":") !== other.includes(":")) return false;
  return [one, other].some((address) => address === "0.0.0.0" || address === "::");
}
