// Everything that translation emits is accepted by the real Envoy, without a warning: all golden cases, over every transport.
import { expect, test } from "vitest";
import { decode, encode } from "../../src/proto/encode.js";
import { goldenCases, messageOf, stateOf, translate } from "../golden/case.js";
import { toStaticBootstrap, validate } from "../golden/static-bootstrap.js";
import { findEnvoyBinary } from "../support/envoy.js";

const envoy = findEnvoyBinary();

test.each(goldenCases)("Envoy accepts what the case %s translates to", async (name) => {
  const verdict = await validate(envoy, toStaticBootstrap(translate(stateOf(name))));
  expect(verdict).toEqual({ accepted: true, complaints: "" });
});

test.each(["delta", "sotw"] as const)("Envoy accepts config sources of the separate services, %s", async (transport) => {
  for (const name of ["http-weights", "tcp", "health-checks"]) {
    const verdict = await validate(envoy, toStaticBootstrap(translate(stateOf(name), transport)));
    expect(verdict, name).toEqual({ accepted: true, complaints: "" });
  }
});

test("Envoy refuses a case with one fault in it, so that its acceptance of the others means something", async () => {
  const translated = translate(stateOf("http-weights"));
  const [route] = translated.routes;
  const configuration = decode(messageOf.routes, route?.bytes ?? Buffer.alloc(0));
  const [host] = configuration.virtual_hosts ?? [];
  const broken = {
    ...configuration,
    virtual_hosts: [{ ...host, routes: [{ match: { prefix: "/" }, route: { cluster: "nobody" } }] }],
  };
  const verdict = await validate(
    envoy,
    toStaticBootstrap({ ...translated, routes: [{ name: "web", bytes: encode(messageOf.routes, broken), clusters: [] }] }),
  );
  expect(verdict.accepted).toBe(false);
  expect(verdict.complaints).toContain("nobody");
});
