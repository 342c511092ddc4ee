// IP addresses: one spelling each, and the keys and overlaps that are made of them.
import { isIPv4, isIPv6 } from "node:net";
import fc from "fast-check";
import { expect, test } from "vitest";
import { addressesOverlap, canonicalAddress, parseAddressKey } from "../../../src/model/address.js";
import { addressKey } from "../../../src/model/endpoint.js";

test.each([
  ["10.0.0.7", "10.0.0.7"],
  ["FD00:0:0:0:0:0:0:7", "fd00::7"],
  ["fd00::0007", "fd00::7"],
  ["2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"],
  ["2001:0:0:1:0:0:0:1", "2001:0:0:1::1"],
  ["1:0:0:2:0:0:3:4", "1::2:0:0:3:4"],
  ["::", "::"],
  ["::1", "::1"],
  ["1::", "1::"],
  ["::ffff:10.0.0.7", "::ffff:10.0.0.7"],
  ["::FFFF:0a00:0007", "::ffff:10.0.0.7"],
  ["64:ff9b::10.0.0.7", "64:ff9b::a00:7"],
])("%s is written %s", (text, canonical) => {
  expect(canonicalAddress(text)).toBe(canonical);
});

test.each([
  "",
  "10.0.0",
  "10.0.0.256",
  "010.0.0.1",
  "10.0.0.1 ",
  "example.com",
  ":",
  ":::",
  "1::2::3",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:8:9",
  "1:2:3:4:5:6:7::8",
  "fe80::1%eth0",
  "12345::",
  "::1.2.3",
  "1.2.3.4::",
  "[::1]",
  "g::",
])("%j is no address", (text) => {
  expect(canonicalAddress(text)).toBeUndefined();
});

test("an address is one exactly when Node says so, and its canonical form means the same", () => {
  const any = fc.oneof(fc.ipV4(), fc.ipV6(), fc.string({ maxLength: 20, unit: fc.constantFrom(..."0123456789abcf:.") }));
  fc.assert(
    fc.property(any, (text) => {
      const canonical = canonicalAddress(text);
      // "1:2:3:4:5:6:7::" and the like: Node takes a `::` that stands for one group, and so do we.
      expect(canonical !== undefined).toBe(isIPv4(text) || isIPv6(text));
      if (canonical !== undefined) expect(canonicalAddress(canonical)).toBe(canonical);
    }),
    { numRuns: 5_000 },
  );
});

test("the key of an endpoint reads back as its address and port, in any spelling", () => {
  expect(parseAddressKey("[FD00:0::7]:8080")).toEqual({ address: "fd00::7", port: 8080 });
  expect(parseAddressKey("10.0.0.7:8080")).toEqual({ address: "10.0.0.7", port: 8080 });
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), fc.integer({ min: 1, max: 65_535 }), (text, port) => {
      const address = canonicalAddress(text) ?? "";
      expect(parseAddressKey(addressKey({ address, port }))).toEqual({ address, port });
    }),
  );
});

test.each([
  "10.0.0.7",
  "10.0.0.7:",
  "10.0.0.7:0",
  "10.0.0.7:65536",
  "10.0.0.7:08",
  "fd00::7:80",
  "[10.0.0.7]:80",
  "[fd00::7]",
  "[fd00::7]80",
  ":80",
  "a:80",
])("%j is no key", (text) => expect(parseAddressKey(text)).toBeUndefined());

test("the unspecified address overlaps all of its family, and only those", () => {
  expect(addressesOverlap("0.0.0.0", "10.0.0.7")).toBe(true);
  expect(addressesOverlap("10.0.0.7", "0.0.0.0")).toBe(true);
  expect(addressesOverlap("::", "fd00::7")).toBe(true);
  expect(addressesOverlap("::", "10.0.0.7")).toBe(false);
  expect(addressesOverlap("10.0.0.7", "10.0.0.8")).toBe(false);
});
