// A delta stream that comes back: what the Envoy says it has, held against what it should have. Equal by hash needs nothing.
// Pure. Called by type-stream.ts for the first request of a type that names versions.
import type { ResourceType } from "../model/resource-type.js";
import { hashOfVersion, type Resource } from "../snapshot/resource.js";
import { type ResourceTable, summand } from "../snapshot/resource-table.js";
import type { Exception, Known, NodeMemory } from "./sent.js";

export interface Resumption {
  /** Has it in the current form. */
  readonly same: readonly Resource[];
  /** Has another form, or none, or what is gone. */
  readonly exceptions: ReadonlyMap<string, Exception>;
  /** Names that it asks for, which neither side has: it waits to be told so. */
  readonly unanswered: readonly string[];
}

/** `versions`: name → version that the Envoy has. `removalNotBefore`: a cluster that went while it was away may be in use until then. */
export function resume(
  type: ResourceType,
  table: ResourceTable,
  names: Iterable<string>,
  versions: ReadonlyMap<string, string>,
  variantOf: (name: string) => ReturnType<NodeMemory["variants"]["get"]>,
  pastForm: (name: string, hash: string) => Resource | undefined,
  removalNotBefore: number,
  now: number,
): Resumption {
  const same: Resource[] = [];
  const exceptions = new Map<string, Exception>();
  const unanswered: string[] = [];
  for (const name of names) {
    const hash = hashOfVersion(versions.get(name) ?? "");
    const current = table.get(name);
    const remembered = type === "route" ? variantOf(name) : undefined;
    const variant = remembered?.has.hash === hash ? remembered : undefined;
    const has: Known =
      hash === "" ? undefined : (variant?.has ?? table.formWithHash(name, hash) ?? pastForm(name, hash) ?? "unknown");
    if (current && hash === current.hash) same.push(current);
    else if (current) exceptions.set(name, { state: "stale", has, at: now, badForms: variant?.badForms });
    else if (has === undefined) unanswered.push(name);
    else {
      const notBefore = type === "cluster" ? removalNotBefore : undefined;
      exceptions.set(name, { state: "removing", has, at: now, dueAt: notBefore, notBefore });
    }
  }
  return { same, exceptions, unanswered };
}

/**
 * State of the world names the sum of all hashes. When one resource alone is another than the table's, what is left of the sum is its hash:
 * the form that the Envoy has of it. undefined: not found, or the version is of another control plane.
 */
export function onlyOther(
  table: ResourceTable,
  names: Iterable<string>,
  version: string,
  pastForm: (name: string, hash: string) => Resource | undefined,
): Resource | undefined {
  if (!/^[0-9a-f]{16}\./.test(version)) return undefined;
  const present = [...names].flatMap((name) => table.get(name) ?? []);
  const sum = present.reduce((total, resource) => total + summand(resource), 0n);
  for (const resource of present) {
    const rest = BigInt.asUintN(64, BigInt(`0x${hashOfVersion(version)}`) - sum + summand(resource));
    const form = pastForm(resource.name, rest.toString(16).padStart(16, "0"));
    if (form) return form;
  }
  return undefined;
}
