// Encoding is deterministic, and refuses what protobufjs would drop without a word: misspelt fields, unknown enum values, two of a oneof.
import { describe, expect, test } from "vitest";
import { any, decode, encode, InvalidMessage, typeUrl } from "../../../src/proto/encode.js";
import type { ClusterProto, RouteActionProto } from "../../../src/proto/messages.js";

const clusterName = "envoy.config.cluster.v3.Cluster";

/** The compiler stops most faults; these come in behind its back. */
function problemsOf(run: () => unknown): readonly { pointer: string; detail: string }[] {
  try {
    run();
  } catch (error) {
    if (error instanceof InvalidMessage) return error.problems;
    throw error;
  }
  return [];
}

function behindTheCompiler(fields: Record<string, unknown>): ClusterProto {
  return fields as ClusterProto;
}

test("a message comes back as it went in", () => {
  const message: ClusterProto = {
    name: "a",
    type: "EDS",
    connect_timeout: { seconds: "5" },
    least_request_lb_config: { choice_count: { value: 3 } },
  };
  expect(decode(clusterName, encode(clusterName, message))).toMatchObject(message);
});

test("the same message gives the same bytes whatever the order of its keys, of map entries, and of defaults written out", () => {
  const options = (key: string) =>
    any("envoy.extensions.upstreams.http.v3.HttpProtocolOptions", { explicit_http_config: { [key]: {} } });
  const [one, two] = [options("http2_protocol_options"), options("http_protocol_options")];
  const bytes = encode(clusterName, { name: "a", alt_stat_name: "b", typed_extension_protocol_options: { one, two } });
  const reversed = encode(clusterName, {
    typed_extension_protocol_options: { two, one },
    ignore_health_on_host_removal: false,
    alt_stat_name: "b",
    name: "a",
    health_checks: [],
  });
  expect(reversed.equals(bytes)).toBe(true);
});

test("a field with presence is written at its default too: 0s is not the same as unset", () => {
  expect(encode(clusterName, { connect_timeout: {} }).length).toBeGreaterThan(0);
  expect(decode(clusterName, encode(clusterName, { common_lb_config: { healthy_panic_threshold: { value: 0 } } }))).toMatchObject(
    {
      common_lb_config: { healthy_panic_threshold: {} },
    },
  );
});

test("the text 0 is a text, and the number 0 a default", () => {
  expect(decode(clusterName, encode(clusterName, { name: "0" })).name).toBe("0");
  for (const zero of [0, "0"]) expect(encode("google.protobuf.UInt64Value", { value: zero })).toHaveLength(0);
});

describe("what protobufjs would drop without a word is refused, with a pointer to it", () => {
  test.each<[string, Record<string, unknown>, string]>([
    ["a misspelt field", { nam: "a" }, "/nam"],
    ["a camelCase field", { lbPolicy: "RANDOM" }, "/lbPolicy"],
    ["an enum value that does not exist", { lb_policy: "RANDOMLY" }, "/lb_policy"],
    ["an enum number that does not exist", { lb_policy: 99 }, "/lb_policy"],
    ["a field that is undefined", { name: undefined }, "/name"],
    ["a bare scalar for a wrapper", { per_connection_buffer_limit_bytes: 5 }, "/per_connection_buffer_limit_bytes"],
    [
      "a negative unsigned number",
      { per_connection_buffer_limit_bytes: { value: -1 } },
      "/per_connection_buffer_limit_bytes/value",
    ],
    ["a fraction", { per_connection_buffer_limit_bytes: { value: 1.5 } }, "/per_connection_buffer_limit_bytes/value"],
    [
      "a number above 32 bits",
      { per_connection_buffer_limit_bytes: { value: 2 ** 32 } },
      "/per_connection_buffer_limit_bytes/value",
    ],
    ["a text for a number", { connect_timeout: { nanos: "5" } }, "/connect_timeout/nanos"],
    ["a number for a text", { name: 5 }, "/name"],
    ["a text for a boolean", { ignore_health_on_host_removal: "yes" }, "/ignore_health_on_host_removal"],
    ["an object for a list", { health_checks: {} }, "/health_checks"],
    ["a list for an object", { connect_timeout: [] }, "/connect_timeout"],
    ["null", { connect_timeout: null }, "/connect_timeout"],
    ["a field of a message in a list", { health_checks: [{}, { intervall: {} }] }, "/health_checks/1/intervall"],
    ["a second member of a oneof", { type: "EDS", cluster_type: {} }, "/cluster_type"],
    ["the name of a oneof", { lb_config: "maglev_lb_config" }, "/lb_config"],
    ["a name that every object has", { constructor: {} }, "/constructor"],
    [
      "a key with a slash in a map",
      { typed_extension_protocol_options: { "a/b": { urls: "" } } },
      "/typed_extension_protocol_options/a~1b/urls",
    ],
  ])("%s", (_what, fields, pointer) => {
    expect(problemsOf(() => encode(clusterName, behindTheCompiler(fields))).map((problem) => problem.pointer)).toEqual([pointer]);
  });

  test("every fault at once", () => {
    const problems = problemsOf(() =>
      encode(clusterName, behindTheCompiler({ nam: "a", type: "EDSS", health_checks: [{ timeout: 1 }] })),
    );
    expect(problems).toHaveLength(3);
  });

  test("a fault inside an Any, where it is packed", () => {
    const target: RouteActionProto = { cluster: "a", weighted_clusters: {} };
    expect(problemsOf(() => any("envoy.config.route.v3.RouteAction", target))).toHaveLength(1);
  });
});

test("64-bit numbers are taken as numbers and as texts, within their range", () => {
  const ring = (size: number | string) => () =>
    encode(clusterName, { ring_hash_lb_config: { minimum_ring_size: { value: size } } });
  expect(ring(1024)().equals(ring("1024")())).toBe(true);
  expect(problemsOf(ring("18446744073709551615"))).toEqual([]);
  for (const bad of ["18446744073709551616", "-1", "1e3", 1.5, 2 ** 60])
    expect(problemsOf(ring(bad)), String(bad)).toHaveLength(1);
});

test("an Any names its type", () => {
  expect(any("envoy.extensions.filters.http.router.v3.Router", {}).type_url).toBe(
    typeUrl("envoy.extensions.filters.http.router.v3.Router"),
  );
});
