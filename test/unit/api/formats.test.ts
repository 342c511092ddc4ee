// Texts with rules of their own.
import { expect, test } from "vitest";
import { type Format, formatFault } from "../../../src/api/formats.js";

test.each([
  ["ip-address", ["10.0.0.7", "0.0.0.0", "::", "FD00::7"], ["example.com", "10.0.0", "", "10.0.0.7:80"]],
  ["endpoint-address", ["10.0.0.7", "fd00::7"], ["0.0.0.0", "::", "0:0::0", "backend.internal", "127.0.0.1.1"]],
  ["host", ["shop.example.com", "*.example.com"], ["*", "a b"]],
  ["host-name", ["shop.example.com"], ["*.example.com"]],
  ["authority", ["shop.example.com", "shop.example.com:8443", "[::1]:80"], ["a b", "a/b", "é"]],
  ["path", ["/", "/a/b/", "/%C3%A9"], ["", "a", "/a b", "/a?b", "/a#b", "/é"]],
  ["path-prefix", ["/", "/a", "/a/b"], ["/a/", "//", "a", "/a?b"]],
  ["path-and-query", ["/a?b=c", "/"], ["/a#b", "a", "/a b"]],
  ["header-name", ["x-canary", "X-Canary", "a_b"], ["", "a b", ":path", "é", "a:b"]],
  ["cookie-name", ["session", "a.b"], ["", "a=b", "a;b"]],
  ["method", ["GET", "M-SEARCH"], ["get", "CONNECT", "", "G T"]],
  ["printable", ["", "a b~"], ["a\nb", "a\tb", "é", "\x7f"]],
] as const)("%s", (format, good, bad) => {
  for (const text of good) expect([text, formatFault(format, text)]).toEqual([text, undefined]);
  for (const text of bad) expect([text, typeof formatFault(format, text)]).toEqual([text, "string"]);
});

test("a fault says how to do it right", () => {
  const said = (format: Format, text: string): string => formatFault(format, text) ?? "";
  expect(said("endpoint-address", "backend.internal")).toContain("host names are not resolved");
  expect(said("endpoint-address", "10.0.0.999")).toContain("like 10.0.0.7");
  expect(said("path-prefix", "/api//")).toContain("write /api");
  expect(said("header-name", ":path")).toContain("match.path");
});
