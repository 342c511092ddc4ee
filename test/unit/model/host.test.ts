// Hosts that a route may match.
import { expect, test } from "vitest";
import { hostFault } from "../../../src/model/host.js";

test.each([
  "shop.example.com",
  "Shop.Example.com",
  "*.example.com",
  "localhost",
  "10.0.0.7",
  "my_service",
  "a.b-c.d",
  "x".repeat(63),
])("%s is a host", (text) => expect(hostFault(text)).toBeUndefined());

test.each([
  ["", "1–253 characters"],
  ["*", "leave the list empty"],
  ["shop.example.com:443", "no port"],
  ["https://shop.example.com", "no port"],
  ["shop.example.com/x", "without scheme or path"],
  ["shop.*.com", "whole labels at the start"],
  ["*shop.example.com", "whole labels at the start"],
  ["shop.example.com.", "no dot at its end"],
  ["shop..example.com", "no empty label"],
  ["-shop.example.com", "does not start or end with -"],
  ["shöp.example.com", "a–z"],
  ["x".repeat(64), "1–63"],
  ["x.".repeat(127), "1–253 characters"],
])("%j is refused, and the text says why", (text, why) => {
  expect(hostFault(text)).toContain(why);
});
