// Files of objects: what is read from them, and at which line and column each fault is told.
import { expect, test } from "vitest";
import { readDocuments, toPositionText } from "../../../src/cli/documents.js";

const text = `# a comment
kind: cluster
name: checkout-v1
healthChecks:
  - { kind: http, path: /healthz }
endpoints:
  - address: 10.0.0.7
    port: 8080
---
kind: endpoint
cluster: checkout-v1
address: fd00::7
port: 8080
---
{"kind": "route", "name": "checkout", "backends": [{"cluster": "checkout-v1"}]}
`;

function only(source: string) {
  const { documents, faults } = readDocuments("shop.yaml", source);
  expect(faults).toEqual([]);
  const [document] = documents;
  if (document === undefined) throw new Error("no document");
  return document;
}

const faultsOf = (source: string) =>
  readDocuments("shop.yaml", source).faults.map(({ at, detail }) => `${toPositionText(at)}: ${detail}`);

test("several documents, YAML and JSON, without their kind are what the API takes", () => {
  const { documents, faults } = readDocuments("shop.yaml", text);
  expect(faults).toEqual([]);
  expect(documents.map(({ kind, name, body }) => ({ kind, name, body }))).toEqual([
    {
      kind: "cluster",
      name: "checkout-v1",
      body: {
        name: "checkout-v1",
        healthChecks: [{ kind: "http", path: "/healthz" }],
        endpoints: [{ address: "10.0.0.7", port: 8080 }],
      },
    },
    { kind: "endpoint", name: "checkout-v1/[fd00::7]:8080", body: { address: "fd00::7", port: 8080 } },
    { kind: "route", name: "checkout", body: { name: "checkout", backends: [{ cluster: "checkout-v1" }] } },
  ]);
});

test.each([
  ["", "shop.yaml:2:1"],
  ["/name", "shop.yaml:3:1"],
  ["/healthChecks/0/path", "shop.yaml:5:19"],
  ["/endpoints/0/port", "shop.yaml:8:5"],
  ["/endpoints/0/weight", "shop.yaml:7:5"],
  ["/endpoints/7", "shop.yaml:6:1"],
  ["/nothing/at/all", "shop.yaml:2:1"],
])("the pointer %j leads to %s", (pointer, place) => {
  const [cluster] = readDocuments("shop.yaml", text).documents;
  expect(toPositionText(cluster?.at(pointer) ?? { file: "", line: 0, column: 0 })).toBe(place);
});

test("a pointer leads through an alias, and its escapes are undone", () => {
  const document = only('kind: route\nname: a\nmatch: &m\n  "a/b~c": 1\nother: *m\n');
  expect(toPositionText(document.at("/other/a~1b~0c"))).toBe("shop.yaml:4:3");
});

test("what is no YAML is told with its place, and the other documents are still read", () => {
  const { documents, faults } = readDocuments("shop.yaml", "kind: cluster\nname: a\n---\nkind: [cluster\n");
  expect(documents).toHaveLength(1);
  expect(faults[0]?.at.line).toBeGreaterThanOrEqual(4);
});

test("a key that stands twice is a fault", () => {
  expect(faultsOf("kind: cluster\nname: a\nname: b\n")).toEqual(["shop.yaml:3:1: Map keys must be unique"]);
});

test.each([
  ["- 1\n", "shop.yaml:1:1: a document must be one object with a field `kind`"],
  ["name: a\n", "shop.yaml:1:1: the field kind is missing: cluster, endpoint, listener, route"],
  ["name: a\nkind: clutser\n", "shop.yaml:2:1: kind must be one of cluster, endpoint, listener, route"],
  ["kind: cluster\nname: 5\n", "shop.yaml:2:1: a cluster needs a name"],
  ["kind: endpoint\naddress: 10.0.0.7\nport: 1\n", "shop.yaml:1:1: an endpoint needs the name of its cluster"],
  ["kind: endpoint\ncluster: a\nport: 1\n", "shop.yaml:1:1: an endpoint needs an address"],
])("%j is told", (source, fault) => {
  expect(faultsOf(source)).toEqual([fault]);
});

test("aliases that would grow without bound are a fault, not a crash", () => {
  const levels = Array.from(
    { length: 9 },
    (_, level) => `a${level + 1}: &a${level + 1} [${Array(9).fill(`*a${level}`).join(",")}]`,
  );
  expect(faultsOf(`kind: route\nname: x\na0: &a0 [1]\n${levels.join("\n")}\n`)[0]).toMatch(/alias/i);
});

test("empty documents are skipped", () => {
  expect(readDocuments("shop.yaml", "---\n# nothing\n---\n")).toEqual({ documents: [], faults: [] });
});
