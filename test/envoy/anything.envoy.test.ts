// Whatever the admin API lets through, the real Envoy takes: a refused resource can hold back good ones beside it.
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { anyState } from "../golden/arbitrary.js";
import { translate } from "../golden/case.js";
import { toStaticBootstrap, validate } from "../golden/static-bootstrap.js";
import { findEnvoyBinary } from "../support/envoy.js";

const envoy = findEnvoyBinary();

test("Envoy accepts any state within the API's bounds", async () => {
  await fc.assert(
    fc.asyncProperty(anyState, async (state) => {
      expect(await validate(envoy, toStaticBootstrap(translate(state)))).toEqual({ accepted: true, complaints: "" });
    }),
    { numRuns: 60, endOnFailure: true },
  );
}, 120_000);
