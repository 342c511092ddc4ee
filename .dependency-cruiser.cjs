// The house plan as rules (docs/architecture.md). Read top-down: each room lists the rooms it may enter.
// `main.ts` and `app.ts` (the composition root) may enter every room; nobody may import them.
// Run by `npm test` and by test/house/import-rules.test.ts, which also plants a fault for each kind of rule.
const rooms = {
  model: [],
  telemetry: [],
  disk: [],
  proto: [],
  translate: ["model", "proto"],
  store: ["model", "disk", "telemetry"],
  status: ["model", "store", "telemetry"],
  snapshot: ["model", "store", "translate", "proto", "telemetry"],
  xds: ["model", "snapshot", "status", "proto", "telemetry"],
  plan: ["model", "store", "snapshot", "translate", "status", "telemetry"],
  drain: ["model", "store", "status", "telemetry"],
  agent: ["disk", "xds", "telemetry"],
  rollout: ["model", "store", "snapshot", "status", "telemetry"],
  api: ["model", "store", "status", "plan", "drain", "rollout", "telemetry"],
  cli: [],
  demo: ["cli"],
};
const names = Object.keys(rooms);
// Clients of the admin API see its schemas, as types, and nothing else of the control plane. That they are types only is checked by
// test/house/import-rules.test.ts: read through swc, an import does not tell here whether it is one of types.
const clients = ["cli", "demo"];

const onlyAllowed = Object.entries(rooms).map(([room, may]) => ({
  name: `${room}-may-import-${may.join("+") || "nothing"}`,
  severity: "error",
  from: { path: `^src/${room}/` },
  to: {
    path: "^src/",
    pathNot: [`^src/(${[room, ...may].join("|")})/`, "^src/errors\\.ts$", ...(clients.includes(room) ? ["^src/api/"] : [])],
  },
}));
const noUnknownRoom = {
  name: "every-folder-is-a-room",
  severity: "error",
  from: { path: "^src/[^/]+/", pathNot: `^src/(${names.join("|")}|gen)/` },
  to: {},
};

// One owner per outside library: swap it in one room, read its quirks in one room.
const owners = {
  fastify: { library: "^(node_modules/)?(@fastify/|fastify)", rooms: "api" },
  postgres: { library: "^(node_modules/)?((@types/)?pg|node-pg-migrate)(/|$)", rooms: "store" },
  grpc: { library: "^(node_modules/)?(@grpc/|@connectrpc/)|^(node:)?http2$", rooms: "xds|agent" },
  protobufjs: { library: "^(node_modules/)?(protobufjs|@protobufjs/)", rooms: "proto|xds|agent" },
  logs: { library: "^(node_modules/)?(pino|prom-client)(/|$)", rooms: "telemetry" },
};
const oneOwner = Object.entries(owners).map(([name, { library, rooms: owner }]) => ({
  name: `only-${owner.replaceAll("|", "-and-")}-imports-${name}`,
  severity: "error",
  from: { path: "^src/", pathNot: `^src/(${owner})/|^src/gen/` },
  to: { path: library },
}));

module.exports = {
  forbidden: [
    ...onlyAllowed,
    noUnknownRoom,
    ...oneOwner,
    { name: "no-cycles", severity: "error", from: { path: "^src/" }, to: { circular: true } },
    {
      name: "no-orphans",
      severity: "error",
      from: { orphan: true, path: "^src/", pathNot: "^src/(model|gen|telemetry)/" },
      to: {},
    },
    { name: "pure-rooms-have-no-io", severity: "error", from: { path: "^src/(model|translate)/" }, to: { dependencyTypes: ["core"], pathNot: "^(node:)?assert" } },
    { name: "src-never-imports-test", severity: "error", from: { path: "^src/" }, to: { path: "^(test|bench)/" } },
    {
      name: "nobody-imports-the-root",
      severity: "error",
      from: { path: "^src/.+/" },
      to: { path: "^src/(main|app|config)\\.ts$" },
    },
    { name: "imports-resolve", severity: "error", from: { path: "^src/" }, to: { couldNotResolve: true } },
  ],
  options: {
    parser: "swc",
    tsPreCompilationDeps: "specify",
    doNotFollow: { path: "node_modules" },
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: { extensions: [".ts", ".js", ".mjs", ".cjs", ".d.ts"], conditionNames: ["import", "node", "types", "default"], exportsFields: ["exports"] },
  },
};
