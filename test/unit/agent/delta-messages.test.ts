// The wire, as an agent reads and writes it. Mutants that were tried, and are caught: all versions are unknown; the revision is dropped from
// an unknown one.
import protobuf from "protobufjs";
import { expect, test } from "vitest";
import { readDeltaResponse, toDeltaResponse, withUnknownVersions } from "../../../src/agent/delta-messages.js";
import { readDeltaRequest } from "../../../src/xds/request.js";

const tag = (field: number): number => (field << 3) | 2;

test("a request in which some versions are unknown is the same request otherwise", () => {
  const writer = protobuf.Writer.create();
  for (const [name, version] of [
    ["app", "aa.7"],
    ["other", "bb.9"],
  ] as const) {
    const entry = protobuf.Writer.create().uint32(tag(1)).string(name).uint32(tag(2)).string(version).finish();
    writer.uint32(tag(5)).bytes(entry);
  }
  const request = Buffer.from(writer.uint32(tag(2)).string("some.type").uint32(tag(3)).string("app").finish());
  const before = readDeltaRequest(request);
  const after = readDeltaRequest(withUnknownVersions(request, before.initialVersions, new Set(["other"])));
  expect([...after.initialVersions]).toEqual([
    ["app", "aa.7"],
    ["other", "unknown.9"],
  ]);
  expect({ ...after, initialVersions: before.initialVersions }).toEqual(before);
});

test("a response is read as it was written", () => {
  const bytes = Buffer.from(protobuf.Writer.create().uint32(tag(1)).string("aa.7").uint32(tag(3)).string("app").finish());
  const response = { typeUrl: "some.type", nonce: "3", resources: [{ name: "app", version: "aa.7", bytes }], removed: ["old"] };
  expect(readDeltaResponse(Buffer.from(toDeltaResponse(response)))).toEqual(response);
});
