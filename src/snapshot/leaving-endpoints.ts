// Endpoints that are gone from a cluster with a hop, and stay in its inner cluster for a grace: two assignments of one response reach
// Envoy's workers in no order that is known, and one that still chose the endpoint must find it there.
// In: the state at each publication. Out: who stays. Called by gateway-snapshot.ts, once per snapshot.
import type { DesiredState } from "../model/desired-state.js";
import { addressKey, type Endpoint } from "../model/endpoint.js";
import type { Transport } from "../translate/config-source.js";
import { hoppedCluster } from "./resource-factory.js";

interface Leaving {
  readonly endpoint: Endpoint;
  readonly dueAt: number;
}

export class LeavingEndpoints {
  /** Inner cluster → what it had at the last publication, by address key. */
  readonly #present = new Map<string, ReadonlyMap<string, Endpoint>>();
  /** Inner cluster → who has gone, by address key. */
  readonly #leaving = new Map<string, Map<string, Leaving>>();

  constructor(private readonly graceMs: number) {}

  /** Notes who has gone since the last call, and returns who stays; nobody for other clusters than inner ones. `now` in ms. */
  compare(state: DesiredState, name: string, transport: Transport, now: number): readonly Endpoint[] {
    const hopped = hoppedCluster(state, name, transport);
    if (!hopped) return [];
    const present = new Map(state.endpointsOf(hopped.name).map((endpoint) => [addressKey(endpoint), endpoint]));
    const leaving = this.#leaving.get(name) ?? new Map<string, Leaving>();
    for (const [key, endpoint] of this.#present.get(name) ?? [])
      if (!present.has(key)) leaving.set(key, { endpoint, dueAt: now + this.graceMs });
    for (const [key, { dueAt }] of leaving) if (dueAt <= now || present.has(key)) leaving.delete(key);
    this.#present.set(name, present);
    if (leaving.size > 0) this.#leaving.set(name, leaving);
    else this.#leaving.delete(name);
    return [...leaving.values()].map(({ endpoint }) => endpoint);
  }

  /** Inner clusters of which somebody's grace is over. */
  dueNames(now: number): readonly string[] {
    return [...this.#leaving].flatMap(([name, leaving]) => ([...leaving.values()].some(({ dueAt }) => dueAt <= now) ? name : []));
  }

  /** When the next one goes, ms; undefined: nobody waits. */
  nextDueAt(): number | undefined {
    const times = [...this.#leaving.values()].flatMap((leaving) => [...leaving.values()].map(({ dueAt }) => dueAt));
    return times.length > 0 ? Math.min(...times) : undefined;
  }

  /** The inner cluster itself is gone. */
  forget(name: string): void {
    this.#present.delete(name);
    this.#leaving.delete(name);
  }
}
