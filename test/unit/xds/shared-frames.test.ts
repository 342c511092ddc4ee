// What a change costs, counted and not timed: messages translated, frames encoded and bytes sent for one endpoint's new weight do
// not depend on how many clusters there are, nor on how many streams get it (DESIGN §12). Times are measured by `npm run bench`.
// Mutants that it caught: apply() that rebuilds the whole snapshot (translations), SharedFrames that forgets its frames (built),
// or looks up the changed names for each stream (looks).
import { expect, test, vi } from "vitest";
import { DesiredState } from "../../../src/model/desired-state.js";
import { Snapshots } from "../../../src/snapshot/snapshots.js";
import { NameSet } from "../../../src/xds/name-set.js";
import { sharedFrames } from "../../../src/xds/shared-frames.js";
import { cluster, endpoint, httpListener, httpRoute } from "../../support/stream-world.js";

const streams = 1_000;

function mesh(clusters: number): DesiredState {
  const names = Array.from({ length: clusters }, (_, index) => `svc-${String(index).padStart(5, "0")}`);
  return DesiredState.from({
    revision: 1,
    id: "id-1",
    clusters: names.map((name) => cluster(name)),
    endpoints: names.flatMap((name) => [endpoint(name, 1), endpoint(name, 2)]),
    listeners: [httpListener("web", 80)],
    routes: names.map((name) => httpRoute(name, "web", `/${name}`, [name])),
  });
}

/** One endpoint's weight goes from 1 to 2; every stream asks for what changed since, and as many that did not subscribe to it. */
function costOfOneEndpoint(clusters: number) {
  const snapshots = new Snapshots({
    removalGraceMs: 1_000,
    now: () => 0,
    onFault: ({ error }) => {
      throw error;
    },
  });
  snapshots.load(mesh(clusters));
  const { tables } = snapshots.acquire("edge", "ads");
  expect(tables.endpoint.names()).toHaveLength(clusters);
  const before = { ...snapshots.translations };
  const from = tables.endpoint.seq;
  const others = (["cluster", "listener", "route"] as const).map((type) => ({ type, from: tables[type].seq }));
  const old = endpoint("svc-00007", 1);
  const change = { kind: "endpoint", name: "svc-00007/127.0.0.1:1", before: old, after: { ...old, weight: 2 } } as const;
  snapshots.apply([{ revision: 2, id: "id-2", changes: [change] }]);
  const shared = sharedFrames(tables.endpoint);
  const looks = vi.spyOn(tables.endpoint, "changedSince");
  const unconcerned = NameSet.of(["svc-00008"]);
  for (let stream = 0; stream < streams; stream++) expect(shared.deltaChanges(from, unconcerned)).toBeUndefined();
  const frames = new Set(Array.from({ length: streams }, () => shared.deltaChanges(from, "all")));
  const [frame] = frames;
  if (frame === undefined || frame === "lost") throw new Error("no stream would get the change");
  const after = snapshots.translations;
  return {
    translations: Object.fromEntries(
      Object.entries(after).map(([type, count]) => [type, count - (before[type as keyof typeof before] ?? 0)]),
    ),
    encodes: shared.built,
    looks: looks.mock.calls.length,
    frames: frames.size,
    bytes: frame.framed.length,
    unchanged: others.filter((one) => tables[one.type].changedSince(one.from)?.length === 0).map(({ type }) => type),
  };
}

test("one endpoint's change costs the same with 100 and with 10,000 clusters, and is encoded once for 1,000 streams", () => {
  const small = costOfOneEndpoint(100);
  expect(small.translations).toEqual({ cluster: 0, endpoint: 1, listener: 0, route: 0 });
  expect(small).toMatchObject({ encodes: 1, frames: 1, looks: 2, unchanged: ["cluster", "listener", "route"] });
  expect(small.bytes).toBeLessThan(400);
  expect(costOfOneEndpoint(10_000)).toEqual(small);
});
