// The configuration as it would be after some changes, without touching the live one: look-ups that see the changes first.
// In: DesiredState and the changes of one write. Out: objects by name, and who names whom. Valid until the live state changes.
// Called by selection.ts.
import type { Cluster } from "../model/cluster.js";
import type { DesiredState } from "../model/desired-state.js";
import { addressKey, type Endpoint } from "../model/endpoint.js";
import type { Listener } from "../model/listener.js";
import type { Change } from "../model/revision.js";
import { clustersOf, listenersOf, type Route } from "../model/route.js";

/** What a look at the configuration after a change can ask. */
export class StateAfter {
  readonly #clusters = new Map<string, Cluster | undefined>();
  readonly #listeners = new Map<string, Listener | undefined>();
  readonly #routes = new Map<string, Route | undefined>();
  /** cluster → address key → endpoint. */
  readonly #endpoints = new Map<string, Map<string, Endpoint | undefined>>();

  constructor(
    private readonly state: DesiredState,
    changes: readonly Change[],
  ) {
    for (const change of changes) this.#note(change);
  }

  cluster(name: string): Cluster | undefined {
    return this.#clusters.has(name) ? this.#clusters.get(name) : this.state.clusters.get(name);
  }

  listener(name: string): Listener | undefined {
    return this.#listeners.has(name) ? this.#listeners.get(name) : this.state.listeners.get(name);
  }

  route(name: string): Route | undefined {
    return this.#routes.has(name) ? this.#routes.get(name) : this.state.routes.get(name);
  }

  endpointsOf(cluster: string): readonly Endpoint[] {
    const changed = this.#endpoints.get(cluster);
    const before = this.state.endpoints.get(cluster) ?? new Map<string, Endpoint>();
    if (!changed) return [...before.values()];
    return [...new Map<string, Endpoint | undefined>([...before, ...changed]).values()].filter((one) => one !== undefined);
  }

  endpoint(cluster: string, key: string): Endpoint | undefined {
    const changed = this.#endpoints.get(cluster);
    return changed?.has(key) ? changed.get(key) : this.state.endpoints.get(cluster)?.get(key);
  }

  routesOfListener(listener: string): readonly Route[] {
    return this.#routesThat(this.state.routesOfListener(listener), (route) => listenersOf(route).includes(listener));
  }

  routesOfCluster(cluster: string): readonly Route[] {
    return this.#routesThat(this.state.routesOfCluster(cluster), (route) => clustersOf(route).includes(cluster));
  }

  #routesThat(before: ReadonlySet<string>, named: (route: Route) => boolean): readonly Route[] {
    const untouched = [...before].filter((name) => !this.#routes.has(name)).flatMap((name) => this.state.routes.get(name) ?? []);
    return [...untouched, ...[...this.#routes.values()].filter((route) => route !== undefined && named(route))].filter(
      (route) => route !== undefined,
    );
  }

  #note(change: Change): void {
    switch (change.kind) {
      case "cluster":
        this.#clusters.set(change.name, change.after);
        return;
      case "listener":
        this.#listeners.set(change.name, change.after);
        return;
      case "route":
        this.#routes.set(change.name, change.after);
        return;
      case "endpoint": {
        const subject = change.after ?? change.before;
        if (!subject) return;
        const ofCluster = this.#endpoints.get(subject.cluster) ?? new Map<string, Endpoint | undefined>();
        this.#endpoints.set(subject.cluster, ofCluster.set(addressKey(subject), change.after));
      }
    }
  }
}
