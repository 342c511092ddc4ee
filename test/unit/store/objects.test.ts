// What goes into a row comes out again, whatever JSON does to it in between: checked on the conversions alone, without a database.
import { expect, test } from "vitest";
import { type Kind, kinds, type ObjectKinds } from "../../../src/model/revision.js";
import { objectTables } from "../../../src/store/objects.js";
import { cluster, endpoint, listener, route } from "../../store/samples.js";

const samples: { readonly [K in Kind]: readonly ObjectKinds[K][] } = {
  cluster: [
    cluster("plain"),
    cluster("checked", {
      healthChecks: [
        {
          kind: "tcp",
          send: undefined,
          receive: ["ok"],
          intervalMs: 1,
          timeoutMs: 1,
          unhealthyThreshold: 1,
          healthyThreshold: 1,
          initialJitterMs: 0,
          intervalJitterMs: 0,
          unhealthyIntervalMs: undefined,
          reuseConnection: false,
          port: undefined,
        },
      ],
    }),
  ],
  endpoint: [endpoint("api", 80), endpoint("api", 80, { address: "fd00::1" })],
  listener: [listener("web", 80), { name: "raw", address: "::", port: 1, protocol: "tcp", gateways: ["edge"] }],
  route: [
    route("checkout", ["web"], [{ cluster: "api", weight: 1 }]),
    { protocol: "udp", name: "dns", listener: "raw", backends: [], hashOnSourceIp: true, idleTimeoutMs: 1 },
  ],
};

function roundTrip<K extends Kind>(kind: K, object: ObjectKinds[K]): ObjectKinds[K] {
  const { toRow, fromRow } = objectTables[kind];
  return fromRow(JSON.parse(JSON.stringify(toRow(object))));
}

test.each(kinds)("every %s survives JSON, with what is undefined in its place", (kind) => {
  for (const object of samples[kind]) expect(roundTrip(kind, object)).toStrictEqual(object);
});

test("rows are named as the store, the changes and the feed name objects", () => {
  expect(objectTables.cluster.toRow(cluster("api")).name).toBe("api");
  expect(objectTables.endpoint.toRow(endpoint("api", 80))).toMatchObject({ name: "api/10.0.0.7:80", cluster: "api" });
  expect(objectTables.endpoint.toRow(endpoint("api", 80, { address: "fd00::1" })).name).toBe("api/[fd00::1]:80");
});

test("a route refers to each cluster and listener once, at any weight; other kinds keep no references", () => {
  const both = route(
    "r",
    ["web"],
    [
      { cluster: "api", weight: 0 },
      { cluster: "api", weight: 5 },
      { cluster: "other", weight: 1 },
    ],
  );
  expect(objectTables.route.references(both)).toEqual({ clusters: ["api", "other"], listeners: ["web"] });
  expect(objectTables.cluster.references(cluster("api"))).toEqual({ clusters: [], listeners: [] });
});
