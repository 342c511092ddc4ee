// Protobuf written by hand, for bytes that are spliced: compared with what protobufjs reads, and with what encode() gives.
import * as fc from "fast-check";
import protobuf from "protobufjs";
import { expect, test } from "vitest";
import { encode } from "../../../src/proto/encode.js";
import { bytesField, piecesField, stringField, varint, varintField } from "../../../src/proto/wire.js";

test("a varint is what protobufjs reads", () => {
  fc.assert(
    fc.property(fc.nat({ max: Number.MAX_SAFE_INTEGER }), (value) => {
      expect(Number(String(protobuf.Reader.create(varint(value)).uint64()))).toBe(value);
    }),
  );
});

test("spliced fields give the bytes that encoding the whole message gives", () => {
  const route = { match: { prefix: "/" }, route: { cluster: "a" }, name: "r".repeat(300) };
  const host = { name: "h", domains: ["h", "*"], routes: [route, route] };
  const routeBytes = encode("envoy.config.route.v3.Route", route);
  const hostPieces = [
    ...stringField(1, "h"),
    ...stringField(2, "h"),
    ...stringField(2, "*"),
    ...bytesField(3, routeBytes),
    ...bytesField(3, routeBytes),
  ];
  const spliced = Buffer.concat([...stringField(1, "c"), ...piecesField(2, hostPieces), ...varintField(14, 1)]);
  const whole = encode("envoy.config.route.v3.RouteConfiguration", {
    name: "c",
    virtual_hosts: [host],
    ignore_port_in_host_matching: true,
  });
  expect(spliced.equals(whole)).toBe(true);
});

test("empty texts and zeros are left out, as proto3 does", () => {
  expect([...stringField(1, ""), ...varintField(2, 0)]).toEqual([]);
});

test("a field with bytes does not copy them", () => {
  const bytes = Buffer.from("abc");
  expect(bytesField(1, bytes)[1]).toBe(bytes);
});
