// State of the world: the list as one Envoy should have it, with its exceptions in their place. Pure.
// Called by type-stream.ts for streams that lack something; all others share the table's own list.
import type { Resource, Seq } from "../snapshot/resource.js";
import { type ResourceTable, summand } from "../snapshot/resource-table.js";
import type { Exception } from "./sent.js";
import { sharedFrames, versionOf } from "./shared-frames.js";
import type { Subscription } from "./subscription.js";

/** Sorted by name. `sent`: how far the stream's names have been decided on. */
export function effectiveList(
  table: ResourceTable,
  exceptions: ReadonlyMap<string, Exception>,
  subscription: Subscription,
  sent: Seq,
): Resource[] {
  const names = new Set([...table.names(), ...(table.changedSince(sent) ?? []), ...exceptions.keys()]);
  const asked = [...names].filter((name) => subscription.includes(name)).sort();
  return asked.flatMap((name) => {
    const exception = exceptions.get(name);
    if (exception?.state === "trying") return table.get(name) ?? [];
    if (!exception) {
      const known = table.at(name, sent); // Newer forms have not been decided on yet.
      return (known === "unknown" ? table.get(name) : known) ?? [];
    }
    if (exception.has !== "unknown") return exception.has ?? [];
    // Left out, it would be gone from an Envoy that may use it.
    return table.formOtherThan(name, exception.refusal?.hash ?? "") ?? table.get(name) ?? [];
  });
}

/** The version of what the Envoy has after the list: the table's own when there is no exception. */
export function effectiveVersion(
  table: ResourceTable,
  exceptions: ReadonlyMap<string, Exception>,
  subscription: Subscription,
  sent: Seq,
  onTrial: readonly Resource[],
): string {
  if (exceptions.size === 0) return sharedFrames(table).version(subscription.asked);
  const tried = new Set(onTrial.map(({ name }) => name));
  const rest = effectiveList(table, exceptions, subscription, sent).filter(({ name }) => !tried.has(name));
  const sum = [...rest, ...onTrial].reduce((total, resource) => total + summand(resource), 0n);
  return versionOf(BigInt.asUintN(64, sum), table.revision);
}
