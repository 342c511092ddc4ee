// Promises about limits: rates hold over time whatever comes, a request is judged by what it says, and names lead to settings.
import { describe, expect, test } from "vitest";
import { listSettings } from "../../../src/config-table.js";
import { encode } from "../../../src/proto/encode.js";
import { limitMetBy, limitNames, TokenBucket, type XdsLimits } from "../../../src/xds/limits.js";
import { readDeltaRequest, readSotwRequest } from "../../../src/xds/request.js";

describe("a rate", () => {
  test("what is turned away costs nothing: as many pass as time allows", () => {
    const bucket = new TokenBucket(10, 5);
    let taken = 0;
    for (let now = 1_000_000; now < 1_010_000; now += 5) taken += bucket.take(now) ? 1 : 0;
    expect(taken).toBeGreaterThanOrEqual(104);
    expect(taken).toBeLessThanOrEqual(105);
  });

  test("what has come already is paid for later: whoever waits as told keeps the rate", () => {
    const bucket = new TokenBucket(10, 5);
    let now = 1_000_000;
    for (let spent = 0; spent < 105; spent++) now += bucket.spend(now);
    expect(now - 1_000_000).toBeGreaterThanOrEqual(10_000);
    expect(now - 1_000_000).toBeLessThanOrEqual(10_200);
  });

  test("a long rest gives no more than the burst", () => {
    const bucket = new TokenBucket(10, 2);
    expect([1, 2, 3].map(() => bucket.spend(1_000_000_000) > 0)).toEqual([false, false, true]);
  });
});

describe("one request", () => {
  const node = (metadata: number) => ({
    id: "edge-1",
    cluster: "edge",
    metadata: { fields: { padding: { stringValue: "x".repeat(metadata) } } },
    extensions: [{ name: "envoy.something", category: "envoy.things" }],
    user_agent_name: "envoy",
  });
  const limits = { maxNames: 3, maxNodeIdLength: 10, maxNodeMetadataBytes: 500 } as XdsLimits;
  const sotw = (message: object) => readSotwRequest(encode("envoy.service.discovery.v3.DiscoveryRequest", message));
  const delta = (message: object) => readDeltaRequest(encode("envoy.service.discovery.v3.DeltaDiscoveryRequest", message));

  test("tells how large its node and the node's metadata are", () => {
    const [small, large] = [sotw({ node: node(100) }).node, sotw({ node: node(400) }).node];
    expect(small).toMatchObject({ id: "edge-1", gateway: "edge" });
    // 300 characters more, and a byte for a length beyond 127 at each of four levels.
    expect((large?.metadataBytes ?? 0) - (small?.metadataBytes ?? 0)).toBeGreaterThanOrEqual(300);
    expect((large?.metadataBytes ?? 0) - (small?.metadataBytes ?? 0)).toBeLessThanOrEqual(310);
    expect(large?.bytes).toBeGreaterThan(large?.metadataBytes ?? 0);
    expect(sotw({ node: { id: "edge-1" } }).node).toMatchObject({ metadataBytes: 0 });
  });

  test("meets each limit just above it, and none at it", () => {
    expect(limitMetBy(sotw({ resource_names: ["a", "b", "c"], node: node(100) }), limits)).toBeUndefined();
    expect(limitMetBy(sotw({ resource_names: ["a", "b", "c", "d"] }), limits)).toEqual({
      limit: "xds_max_names",
      maximum: 3,
      found: 4,
    });
    expect(limitMetBy(delta({ resource_names_unsubscribe: ["a", "b", "c", "d"] }), limits)?.limit).toBe("xds_max_names");
    expect(limitMetBy(delta({ node: { id: "e".repeat(11) } }), limits)?.limit).toBe("xds_max_node_id_length");
    expect(limitMetBy(delta({ node: { cluster: "e".repeat(11) } }), limits)?.limit).toBe("xds_max_node_id_length");
    expect(limitMetBy(delta({ node: node(500) }), limits)?.limit).toBe("xds_max_node_metadata_bytes");
  });
});

test("every limit's name is that of a setting, so that whoever reads it knows what to set", () => {
  const keys = listSettings().map(({ setting }) => setting.key.toLowerCase().replace("chancery_", ""));
  expect(limitNames.filter((name) => !keys.includes(name))).toEqual(["xds_early_requests"]);
});
