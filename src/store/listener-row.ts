// A listener as the table `listeners` holds it; its gateways are inside `spec`.
// In: a model object, or a row. Out: the other one. Called by objects.ts.
import type { Listener } from "../model/listener.js";
import type { JsonForm } from "./json-form.js";

/** What `listeners` holds, but for space and revision. */
export interface ListenerRow {
  readonly name: string;
  readonly spec: JsonForm<Listener>;
}

/** For writing. */
export function toListenerRow(listener: Listener): ListenerRow {
  return { name: listener.name, spec: listener };
}

/** For reading; needs the spec only, as a change has nothing else. */
export function fromListenerRow({ spec }: Pick<ListenerRow, "spec">): Listener {
  const { name, address, port, gateways } = spec;
  switch (spec.protocol) {
    case "http":
      return {
        name,
        address,
        port,
        protocol: "http",
        gateways,
        idleTimeoutMs: spec.idleTimeoutMs,
        trustedHops: spec.trustedHops,
        ...(spec.healthPath === undefined ? {} : { healthPath: spec.healthPath }),
      };
    case "tcp":
    case "tls":
    case "udp":
      return { name, address, port, protocol: spec.protocol, gateways };
  }
}
