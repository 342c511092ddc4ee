// What one replica knows of what was done to the hosts of a simulated Envoy: the real Replacements, fed with revisions some time after
// they were made. In: what is done, in simulated time. Out: revisions that the Envoy takes over, each at its own time.
// Called by simulated-envoy.ts.
import { Replacements } from "../../../src/drain/replacements.js";
import type { Change } from "../../../src/model/revision.js";
import type { Steady } from "../../../src/status/left-over.js";
import { cluster, endpoint, httpRoute } from "../../support/stream-world.js";

export const resource = "app";

/** What an Envoy does when it takes a revision over. */
export type Deed =
  /** Nothing that concerns the hosts; but one more comes or goes. */
  | "others-come-or-go"
  /** A change of the cluster: all hosts are replaced. */
  | "all-replaced"
  /** The drained endpoint, removed and added again, or moved. */
  | "drained-replaced"
  | "other-replaced"
  /** No route names it any more: the cluster goes. */
  | "cluster-goes"
  | "cluster-comes";

const app = endpoint(resource, 80);
const moved = { ...app, zone: "b" };
const third = endpoint(resource, 82);
const route = httpRoute("r", "web", "/", [resource]);
const of = (port: number) => `${resource}/127.0.0.1:${port}`;

const changesOf: Readonly<Record<Deed, readonly Change[]>> = {
  "others-come-or-go": [{ kind: "endpoint", name: of(82), before: undefined, after: third }],
  "all-replaced": [{ kind: "cluster", name: resource, before: cluster(resource), after: cluster(resource, 2_000) }],
  "drained-replaced": [{ kind: "endpoint", name: of(80), before: app, after: moved }],
  "other-replaced": [{ kind: "endpoint", name: of(81), before: endpoint(resource, 81), after: undefined }],
  "cluster-goes": [{ kind: "route", name: "r", before: route, after: undefined }],
  "cluster-comes": [{ kind: "route", name: "r", before: undefined, after: route }],
};

/** Since when this replica is there, ms of simulated time: the Envoy's streams opened later. */
const loadedAt = -15_000;

export class SimulatedControlPlane {
  #now = loadedAt;
  readonly #unread: { readonly at: number; readonly deed: Deed }[] = [];
  readonly #replacements = new Replacements({
    now: () => this.#now,
    routesOfListener: () => [],
    routesOfCluster: () => [route],
    changesOfOverlay: () => [],
  });

  /** `isNew`: the cluster and its endpoints were made after this replica had read everything. */
  constructor(isNew: boolean) {
    if (!isNew) return;
    const made = { kind: "cluster", name: resource, before: undefined, after: cluster(resource) } as const;
    this.#replacements.revision({ changes: [made, { kind: "endpoint", name: of(80), before: undefined, after: app }] });
  }

  /** A revision that this replica reads at `at`. */
  write(deed: Deed, at: number): void {
    this.#unread.push({ at, deed });
  }

  read(now: number): void {
    this.#now = now;
    for (const due of this.#unread.filter(({ at }) => at <= now)) {
      this.#unread.splice(this.#unread.indexOf(due), 1);
      this.#replacements.revision({ changes: changesOf[due.deed] });
    }
  }

  steady(): Steady {
    return this.#replacements.steady(resource, "127.0.0.1:80");
  }

  explains(name: string, at: number): boolean {
    return this.#replacements.explains(name, at);
  }
}
