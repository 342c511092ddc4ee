// From when on a cluster is known, over the messages of one stream: what was there before may have left something on replaced hosts.
// Mutants that it caught: a stream's first sample taken for the cluster's beginning; the process taken for new without its first message;
// changes told before the clock is known forgotten; parts of a message taken for the whole.
import { describe, expect, test } from "vitest";
import { type ClusterGauges, noGauges } from "../../../src/status/left-over.js";
import { type MetricsSample, MetricsStream } from "../../../src/status/metrics-stream.js";

const known = { since: 0, replacedAt: undefined };
const busy = (membershipChanges = 0): ClusterGauges => ({ ...noGauges, requests: 9, membershipChanges });

/** One message a second, from the second 100 on. Returns what can be left over in the cluster app at their end. */
function told(
  messages: readonly Partial<MetricsSample>[],
  stampOf = (index: number) => 100_000 + 1_000 * index,
): number | undefined {
  const stream = new MetricsStream(100_000, () => false);
  for (const [index, message] of messages.entries()) {
    const clusters = new Map([["chancery", noGauges], ...(message.clusters ?? [])]);
    stream.received({ stampMs: stampOf(index), answers: 0, errors: 0, ...message, clusters }, 100_000 + 1_000 * index);
  }
  return stream.bound("app", known);
}

const without: Partial<MetricsSample> = {};
const having = (gauges = busy()): Partial<MetricsSample> => ({ clusters: new Map([["app", gauges]]) });
const first = (message: Partial<MetricsSample>, uptimeMs = 1_000): Partial<MetricsSample> => ({
  ...message,
  uptimeMs,
  isFirstOfProcess: true,
});
const more = Array.from({ length: 6 }, () => having());

describe("a cluster that is never quiet", () => {
  test("that was not there in an earlier sample of the stream left nothing over", () => {
    expect(told([without, without, having(busy(1)), ...more])).toBe(0);
    expect(told([having(), without, having(busy(1)), ...more])).toBe(0);
  });

  test("that was there in the first may have", () => {
    expect(told([having(busy(1)), ...more])).toBe(9);
    // The time of the first message is not known before the second.
    expect(told([without, having(busy(1)), ...more])).toBe(9);
  });

  test("left nothing over in a process whose first message this stream has", () => {
    expect(told([first(having(busy(1))), ...more])).toBe(0);
    expect(told([first(without), having(busy(1)), ...more])).toBe(0);
  });

  test("may have when the message is not the first of the process: the control plane's address has changed", () => {
    expect(told([first(having(busy(1)), 60_000), ...more])).toBe(9);
    expect(told([having(busy(1)), first(having()), ...more])).toBe(9);
  });

  test("may have when hosts came and went again before the second message", () => {
    expect(told([first(having(busy(2))), ...more])).toBe(9);
    expect(told([first(having(busy(1))), having(busy(1)), ...more])).toBe(9);
  });
});

test("a message that comes in parts tells nothing of clusters", () => {
  const inParts = (index: number): number => 100_000 + 1_000 * Math.floor(index / 2);
  expect(told([without, without, without, having(busy(1)), ...more], inParts)).not.toBe(0);
});

test("what another replica passes on of some clusters says nothing of the others", () => {
  const shared = new MetricsStream(0, () => false, true);
  shared.sampled(new Map([["app", noGauges]]), 1_000);
  expect([shared.bound("other", known), shared.quietSince("other", 0)]).toEqual([undefined, undefined]);
  shared.sampled(
    new Map([
      ["app", noGauges],
      ["other", busy()],
    ]),
    5_000,
  );
  shared.sampled(new Map([["other", busy()]]), 9_000);
  expect(shared.bound("other", known)).toBe(9);
});
