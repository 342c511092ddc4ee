// The work: the mesh of gcp-server (model.go), said in the words of the admin API, and the changes that are measured.
// In: how many clusters. Out: bodies of POST /v1/changes, and for each change what to call and what to watch for. Pure.

export const endpointsPerCluster = 10;
const listenerCount = 10;
/** Clusters in one POST /v1/changes: its body stays below the limit. */
const perCall = 100;

const clusterName = (index) => `svc-${String(index).padStart(5, "0")}`;
const listenerName = (index) => `listener-${String(index).padStart(3, "0")}`;

function cluster(index) {
  return {
    op: "put",
    kind: "cluster",
    object: {
      name: clusterName(index),
      connectTimeoutMs: 2000,
      outlierDetection: { consecutive5xx: 5, intervalMs: 10_000 },
      circuitBreakers: { maxConnections: 1024, maxRequests: 4096, maxRetries: 3 },
      endpoints: Array.from({ length: endpointsPerCluster }, (_, endpoint) => ({
        address: `10.${(index >> 8) & 255}.${index & 255}.${endpoint + 1}`,
        port: 8080,
        weight: 100,
        region: "eu-west-1",
        zone: "eu-west-1a",
      })),
    },
  };
}

function listener(index) {
  const object = { name: listenerName(index), protocol: "http", port: 10_000 + index, gateways: ["fleet"] };
  return { op: "put", kind: "listener", object };
}

/** Two routes for each host, as many hosts as clusters; the very first route is a canary. */
function routes(host, clusters) {
  const shared = {
    protocol: "http",
    listeners: [listenerName(host % listenerCount)],
    hosts: [`app-${String(host).padStart(5, "0")}.example.com`],
  };
  const next = clusterName((host + 1) % clusters);
  const canary = [
    { cluster: clusterName(host), weight: 100 },
    { cluster: next, weight: 0 },
  ];
  const first = host < listenerCount ? canary : [{ cluster: clusterName(host) }];
  return [
    { name: `vh-${host}-r0`, match: { path: { prefix: "/api/v1" } }, backends: first },
    { name: `vh-${host}-r1`, match: { path: { prefix: "/" } }, backends: [{ cluster: next }] },
  ].map((own) => ({ op: "put", kind: "route", object: { ...own, ...shared } }));
}

/** Bodies of POST /v1/changes, in the order in which they are to be sent. */
export function* meshOf(clusters) {
  const count = (from) => Math.min(perCall, clusters - from);
  const from = (start) => Array.from({ length: count(start) }, (_, index) => start + index);
  for (let start = 0; start < clusters; start += perCall) yield from(start).map(cluster);
  yield Array.from({ length: listenerCount }, (_, index) => listener(index));
  for (let start = 0; start < clusters; start += perCall) yield from(start).flatMap((host) => routes(host, clusters));
}

/**
 * change → how ours and theirs are told ({{k}}, {{w}} and {{v}}: xdsfleet fills them in), and the resource that shows it. `grows`: it
 * leaves something behind, so each run needs a database of its own.
 */
export const changes = {
  endpoint: {
    type: "eds",
    ours: { method: "PATCH", path: `/v1/clusters/${clusterName(0)}/endpoints/10.0.0.1:8080`, body: '{"weight":{{w}}}' },
    ourName: clusterName(0),
    theirs: "/eds?cluster=0&weight={{w}}",
    theirName: `${clusterName(0)}.prod.example.internal`,
  },
  canary: {
    type: "rds",
    ours: {
      method: "PUT",
      path: "/v1/routes/vh-0-r0/weights",
      body: `{"weights":{"${clusterName(0)}":{{v}},"${clusterName(1)}":{{w}}}}`,
    },
    ourName: listenerName(0),
    theirs: "/canary?listener=0&weight={{w}}",
    theirName: "routes-000",
  },
  // A new cluster with its endpoints, and a route to it: done when the route is there, which is after the cluster.
  service: {
    type: "rds",
    ours: { method: "POST", path: "/v1/changes", body: newService() },
    ourName: listenerName(0),
    theirs: "/service?k={{k}}",
    theirName: "routes-000",
    grows: true,
  },
};

function newService() {
  const name = "new-{{k}}";
  const put = (kind, object) => ({ op: "put", kind, object: { ...object, name } });
  const route = {
    protocol: "http",
    listeners: [listenerName(0)],
    hosts: ["app-00000.example.com"],
    match: { path: { prefix: "/service/{{k}}" } },
    backends: [{ cluster: name }],
  };
  return JSON.stringify({ changes: [put("cluster", cluster(0).object), put("route", route)] });
}

/** Puts the changed objects back, so that the first change of the next case is one. */
export const reset = [
  { ...changes.endpoint.ours, body: '{"weight":100}' },
  { ...changes.canary.ours, body: `{"weights":{"${clusterName(0)}":100,"${clusterName(1)}":0}}` },
];
