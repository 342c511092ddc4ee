// An Envoy is served from what was kept. Mutant: a name that was not kept gets no answer.
import { expect, test } from "vitest";
import { KeptStream } from "../../../src/agent/kept-stream.js";
import type { Request } from "../../../src/xds/request.js";

const tag = (field: number): number => (field << 3) | 2;

test("from disk every name gets an answer, a wildcard all, and an ack none", () => {
  const one = { name: "one", version: "a.1", bytes: Buffer.from("1") };
  const stream = new KeptStream(new Map([["some.type", new Map([["one", one]])]]));
  const names = (...all: string[]) => ({
    bytes: Buffer.concat(all.map((name) => Buffer.from([tag(3), name.length, ...Buffer.from(name)]))),
    count: all.length,
  });
  const request = (given: Partial<Request>): Request => ({
    ...{
      typeUrl: "some.type",
      node: undefined,
      nonce: "",
      refusal: undefined,
      names: names(),
      unsubscribe: names(),
      version: "",
    },
    ...{ initialVersions: new Map() },
    ...given,
  });
  expect(stream.receive(request({}))).toEqual({ typeUrl: "some.type", nonce: "kept.1", resources: [one], removed: [] });
  expect(stream.receive(request({ nonce: "kept.1" }))).toBeUndefined();
  expect(stream.receive(request({ names: names("one", "two") }))).toMatchObject({ resources: [one], removed: ["two"] });
  expect(stream.receive(request({ typeUrl: "unknown.type" }))).toMatchObject({ resources: [], removed: [] });
});
