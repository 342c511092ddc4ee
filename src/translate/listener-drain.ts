// Whether Envoy closes connections when a listener becomes another one. In: a listener's bytes before and after. Out: yes or no.
// Measured on Envoy 1.40: what differs inside a filter chain drains that chain; a chain that is only added drains nothing; anything at
// the level of the listener (address, listener filters), or its removal, drains all of it. Drained connections are closed after the
// drain time. Pure. Called by plan/.
import { sameContent } from "../model/same.js";
import { decode } from "../proto/encode.js";
import type { FilterChainProto, ListenerProto } from "../proto/messages.js";

/** `after` undefined: the listener goes. UDP has no connections: a session moves with its next datagram (DESIGN §9). */
export function drainsConnections(before: Uint8Array, after: Uint8Array | undefined): boolean {
  const old = decode("envoy.config.listener.v3.Listener", before);
  if (old.address?.socket_address?.protocol === "UDP") return false;
  if (!after) return true;
  const next = decode("envoy.config.listener.v3.Listener", after);
  if (!sameContent(withoutChains(old), withoutChains(next))) return true;
  const kept = chainsOf(next);
  return [...chainsOf(old)].some(([name, chain]) => !sameContent(chain, kept.get(name)));
}

function withoutChains(listener: ListenerProto): ListenerProto {
  return { ...listener, filter_chains: [] };
}

function chainsOf(listener: ListenerProto): ReadonlyMap<string, FilterChainProto> {
  return new Map((listener.filter_chains ?? []).map((chain) => [chain.name ?? "", chain]));
}
