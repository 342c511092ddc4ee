// Every filter of the constant list is off, and can be switched on by a route alone: later features then change no listener. A
// filter that Envoy accepts may still fail when a request meets it (ext_authz without a service aborts Envoy), so requests are
// sent.
import { beforeAll, expect, test } from "vitest";
import { any, decode, encode } from "../../src/proto/encode.js";
import type { AnyProto } from "../../src/proto/messages.js";
import { httpFilterNames } from "../../src/translate/http-filters.js";
import { messageOf, translate } from "../golden/case.js";
import { runTranslated } from "../golden/running-envoy.js";
import { readState } from "../golden/state.js";
import { startHttpBackend } from "../support/http-backend.js";
import { freePort } from "../support/ports.js";
import { send } from "../support/requests.js";

const percent = { numerator: 100 };
/** Route name → the filter that it switches on, with what it needs. */
const switchedOn: Record<string, [keyof typeof httpFilterNames, AnyProto]> = {
  cors: [
    "cors",
    any("envoy.extensions.filters.http.cors.v3.CorsPolicy", { allow_origin_string_match: [{ exact: "http://a.example" }] }),
  ],
  fault: ["fault", any("envoy.extensions.filters.http.fault.v3.HTTPFault", { abort: { http_status: 418, percentage: percent } })],
  limited: [
    "localRateLimit",
    any("envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", {
      stat_prefix: "one",
      token_bucket: { max_tokens: 1, tokens_per_fill: { value: 1 }, fill_interval: { seconds: 60 } },
      filter_enabled: { default_value: percent },
      filter_enforced: { default_value: percent },
    }),
  ],
  compressed: [
    "compressor",
    any("envoy.extensions.filters.http.compressor.v3.CompressorPerRoute", { overrides: { response_direction_config: {} } }),
  ],
  authorized: [
    "extAuthz",
    any("envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute", {
      check_settings: {
        http_service: { server_uri: { uri: "http://authz", cluster: "authz", timeout: { seconds: 1 } } },
      },
    }),
  ],
  // It has no settings for a route: an Any of no type says "on", and says it of any filter.
  health: [
    "healthCheck",
    any("envoy.config.route.v3.FilterConfig", { config: { type_url: "", value: Buffer.alloc(0) } as AnyProto }),
  ],
};

let port = 0;

beforeAll(async () => {
  port = await freePort();
  const [plain, authz] = [await startHttpBackend("plain"), await startHttpBackend("authz")];
  plain.body = "plain text ".repeat(100);
  authz.status = 403;
  const translated = translate(
    readState(`
clusters:
  - { name: plain, endpoints: [{ address: 127.0.0.1, port: ${plain.port} }] }
  - { name: authz, endpoints: [{ address: 127.0.0.1, port: ${authz.port} }] }
listeners: [{ name: web, protocol: http, port: ${port} }]
routes:
  - { name: off, backends: [{ cluster: plain }] }
  - { name: reaches-authz, match: { path: { prefix: /authz } }, backends: [{ cluster: authz }] }
${Object.keys(switchedOn)
  .map((name) => `  - { name: ${name}, match: { path: { prefix: /${name} } }, backends: [{ cluster: plain }] }\n`)
  .join("")}`),
  );
  const [route] = translated.routes;
  if (!route) throw new Error("no route");
  const configuration = decode(messageOf.routes, route.bytes);
  for (const one of configuration.virtual_hosts?.[0]?.routes ?? []) {
    const filter = switchedOn[one.name ?? ""];
    if (filter) one.typed_per_filter_config = { [httpFilterNames[filter[0]]]: filter[1] };
  }
  await runTranslated({ ...translated, routes: [{ ...route, bytes: encode(messageOf.routes, configuration) }] });
});

const get = (path: string, headers: Record<string, string> = {}) => send({ port, path, headers });

test("fault answers in place of the backend", async () => {
  expect((await get("/fault")).status).toBe(418);
});

test("a local rate limit lets the first request through", async () => {
  expect([(await get("/limited")).status, (await get("/limited")).status]).toEqual([200, 429]);
});

test("external authorization asks the service that the route names", async () => {
  expect((await get("/authorized")).status).toBe(403);
});

test("the health check answers by itself", async () => {
  const { status, backend } = await get("/health");
  expect({ status, backend }).toEqual({ status: 200, backend: undefined });
});

test("the compressor compresses", async () => {
  expect((await get("/compressed", { "accept-encoding": "gzip" })).headers["content-encoding"]).toBe("gzip");
});

test("CORS allows the origin", async () => {
  expect((await get("/cors", { origin: "http://a.example" })).headers["access-control-allow-origin"]).toBe("http://a.example");
});

test("a route that switches none on meets none", async () => {
  const { status, headers } = await get("/", { origin: "http://a.example", "accept-encoding": "gzip" });
  expect(status).toBe(200);
  expect(headers["content-encoding"] ?? headers["access-control-allow-origin"] ?? headers["set-cookie"]).toBeUndefined();
});
