// Envoy's protos → dist/protos.json (all that encoding reads at run time) and gen/ (TypeScript types, build time only). In:
// proto/plane.proto and what it imports from the dev dependency @grpc/grpc-js-xds, plus proto/overlay.mjs. Called by build.mjs.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { overlay } from "../proto/overlay.mjs";

const require = createRequire(import.meta.url);
require("@grpc/proto-loader"); // Registers google/protobuf/descriptor.proto and its kin with protobufjs.
const protobuf = require("protobufjs");

const top = join(dirname(fileURLToPath(import.meta.url)), "..");
const folderOf = (name) => dirname(require.resolve(`${name}/package.json`));
const versionOf = (name) => JSON.parse(readFileSync(join(folderOf(name), "package.json"), "utf8")).version;
const includes = [
  join(top, "proto"),
  ...["envoy-api", "xds", "googleapis"].map((tree) => join(folderOf("@grpc/grpc-js-xds"), "deps", tree)),
  join(folderOf("@grpc/grpc-js-xds"), "deps", "protoc-gen-validate"),
];

/** A hash of everything that the output depends on. */
function inputsHash() {
  const hash = createHash("sha256");
  for (const name of ["@grpc/grpc-js-xds", "@grpc/proto-loader", "protobufjs"]) hash.update(`${name} ${versionOf(name)}\n`);
  const own = readdirSync(join(top, "proto"), { recursive: true })
    .filter((name) => /\.(proto|mjs)$/.test(name))
    .sort();
  for (const name of own) hash.update(`${name}\n`).update(readFileSync(join(top, "proto", name)));
  return hash.update(readFileSync(fileURLToPath(import.meta.url))).digest("hex");
}

function loadRoot() {
  const root = new protobuf.Root();
  root.resolvePath = (_origin, target) => {
    if (protobuf.common.get(target)) return target;
    const found = includes.map((folder) => join(folder, target)).find(existsSync);
    if (!found) throw new Error(`${target} is imported, but found neither in proto/ nor in @grpc/grpc-js-xds`);
    return found;
  };
  return root.loadSync("plane.proto", { keepCase: true }).resolveAll();
}

function addOverlay(root) {
  for (const [typeName, fields] of Object.entries(overlay)) {
    const type = root.lookupType(typeName);
    for (const [name, { id, type: fieldType, rule, oneof }] of Object.entries(fields)) {
      const taken = type.fields[name] ?? type.fieldsById[id];
      if (taken)
        throw new Error(
          `overlay: ${typeName}.${name} = ${id} clashes with ${taken.name} = ${taken.id}; drop it from proto/overlay.mjs`,
        );
      const field = new protobuf.Field(name, id, fieldType, rule);
      if (oneof) type.oneofs[oneof].add(field);
      else type.add(field);
    }
  }
  return root.resolveAll();
}

// ---- dist/protos.json: without comments, options that encoding ignores, and annotations.

const wireOptions = ["packed", "proto3_optional", "default"];
const annotations = [
  "validate",
  "udpa.annotations",
  "xds.annotations",
  "envoy.annotations",
  "google.api.Http",
  "google.api.HttpRule",
  "google.api.CustomHttpPattern",
];
// google/protobuf/descriptor.proto is there for custom options only.
const descriptorNames = new Set(
  Object.keys(protobuf.common.get("google/protobuf/descriptor.proto").nested.google.nested.protobuf.nested),
);
const isDescriptor = (path, name) => path.join(".") === "google.protobuf" && descriptorNames.has(name);
const mapValues = (object, change) => Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value, key)]));

// Options are stripped by structure, not by name: a field may itself be called `options` or `comment`.
function clean(object) {
  const kept = Object.entries(object.options ?? {}).filter(([key]) => wireOptions.includes(key));
  const {
    options: _options,
    comment: _comment,
    comments: _comments,
    valuesOptions: _values,
    parsedOptions: _parsed,
    ...rest
  } = object;
  return kept.length > 0 ? { ...rest, options: Object.fromEntries(kept) } : rest;
}

function slim(json, path = []) {
  const out = clean(json);
  for (const part of ["fields", "oneofs", "methods"]) if (out[part]) out[part] = mapValues(out[part], clean);
  if (out.nested) {
    const kept = Object.entries(out.nested).filter(
      ([name, child]) => !annotations.includes([...path, name].join(".")) && !child.extend && !isDescriptor(path, name),
    );
    out.nested = Object.fromEntries(kept.map(([name, child]) => [name, slim(child, [...path, name])]));
  }
  return out;
}

// ---- gen/: declarations only.

const messages = (space) =>
  space.nestedArray.flatMap((child) =>
    child instanceof protobuf.Namespace ? [...(child instanceof protobuf.Type ? [child] : []), ...messages(child)] : [],
  );

/** One line of gen/types.d.ts: full name → generated type. */
function entry(type) {
  const names = type.fullName.slice(1).split(".");
  let file = type;
  while (file.parent instanceof protobuf.Type) file = file.parent;
  const name = file === type ? type.name : `_${names.join("_")}`;
  return `  "${names.join(".")}": import("./${file.fullName.slice(1).replaceAll(".", "/")}.js").${name};`;
}

const anyDeclaration = `export declare const packed: unique symbol;
/**
 * Made by any() in src/proto/encode.ts only: the generated type takes any object with '@type', and protobufjs then drops what
 * it does not know.
 */
export interface Any { readonly type_url: string; readonly value: Buffer; readonly [packed]: true }
export interface Any__Output { type_url?: string; value?: Buffer }
`;

function writeTypes(root, folder) {
  execFileSync(
    process.execPath,
    [
      join(folderOf("@grpc/proto-loader"), "build", "bin", "proto-loader-gen-types.js"),
      "--keepCase",
      "--longs=String",
      "--enums=String",
      "--arrays",
      "--grpcLib=@grpc/grpc-js",
      "--importFileExtension=.js",
      "--targetFileExtension=.d.ts",
      "-I",
      join(top, "dist"),
      "-O",
      folder,
      "--",
      "protos.json",
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  rmSync(join(folder, "protos.json")); // The index for grpc.loadPackageDefinition, under an odd name.
  for (const name of readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".d.ts"))) {
    const text = readFileSync(join(folder, name), "utf8");
    // Enums are generated as values, which a declaration file can't hold.
    const declared = text.replace(/^export const (\w+) = (\{[^}]*\}) as const;$/gm, "declare const $1: $2;");
    if (declared !== text) writeFileSync(join(folder, name), `${declared}\nexport {};\n`);
  }
  writeFileSync(join(folder, "google/protobuf/Any.d.ts"), anyDeclaration);
  writeFileSync(join(folder, "types.d.ts"), `export interface Types {\n${messages(root).map(entry).sort().join("\n")}\n}\n`);
}

/** Builds both when an input has changed since, or when one of them is missing. Returns whether it did. */
export function buildProtos() {
  const stamp = join(top, "gen", "inputs.sha256");
  const wanted = inputsHash();
  const json = join(top, "dist", "protos.json");
  if (existsSync(json) && existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return false;
  const slimmed = slim(addOverlay(loadRoot()).toJSON());
  const root = protobuf.Root.fromJSON(structuredClone(slimmed)).resolveAll(); // Throws if something was dropped that is needed.
  mkdirSync(join(top, "dist"), { recursive: true });
  writeFileSync(json, JSON.stringify(slimmed));
  const fresh = join(top, "gen.new");
  rmSync(fresh, { recursive: true, force: true });
  writeTypes(root, fresh);
  writeFileSync(join(fresh, "inputs.sha256"), wanted);
  rmSync(join(top, "gen"), { recursive: true, force: true });
  renameSync(fresh, join(top, "gen"));
  return true;
}
