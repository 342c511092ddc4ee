// Every message and service that Chancery speaks, by reflection: read once from dist/protos.json, which scripts/build-protos.mjs
// makes of Envoy's protos. Called by encode.ts and wire's readers in xds/, which also finds its services here.
import { readFileSync } from "node:fs";
import protobuf from "protobufjs";
import type { Types } from "../../gen/types.js";

/** Full name of a message, e.g. `envoy.config.cluster.v3.Cluster`. */
export type TypeName = keyof Types;

// The same place seen from src/proto (tests) and from dist/proto (built).
const file = new URL("../../dist/protos.json", import.meta.url);

/** 97–154 ms and 6 MB of heap: once per process. */
export const root = protobuf.Root.fromJSON(JSON.parse(readFileSync(file, "utf8"))).resolveAll();

/** name → type; lookupType walks the name's parts each time. */
const types = new Map<string, protobuf.Type>();

/** @throws when there is no such message, which the compiler has ruled out for a TypeName. */
export function messageType(name: TypeName): protobuf.Type {
  let type = types.get(name);
  if (!type) {
    type = root.lookupType(name);
    types.set(name, type);
  }
  return type;
}
