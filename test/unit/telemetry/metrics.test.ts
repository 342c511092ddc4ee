// Promises about metrics: the table is what comes out, its names follow Prometheus, and mistakes do not compile.
import { describe, expect, test } from "vitest";
import { agentMetricTable, createAgentMetrics } from "../../../src/agent/metrics.js";
import { createMetrics, metricTable } from "../../../src/telemetry/metrics.js";
import { watchProcess } from "../../../src/telemetry/process-metrics.js";

const table = Object.entries<{ kind: string; labels: readonly string[]; help: string }>({ ...metricTable, ...agentMetricTable });

describe("the table", () => {
  test("names say their unit: counters end in _total, histograms in _seconds or _bytes", () => {
    for (const [name, { kind }] of table) {
      expect(name).toMatch(/^[a-z][a-z0-9_]*$/);
      if (kind === "counter") expect(name).toMatch(/_total$/);
      else expect(name).not.toMatch(/_total$/);
      if (kind === "histogram") expect(name).toMatch(/_(seconds|bytes)$/);
      expect(name).not.toMatch(/_(ms|millis|kb|mb)(_|$)/);
    }
  });

  test("every metric has help that is a sentence, and comes out under the prefix chancery_", async () => {
    const text = (await createMetrics().text()) + (await createAgentMetrics([]).text());
    for (const [name, { help, kind }] of table) {
      expect(help).toMatch(/^[A-Z].{10,}\.$/);
      expect(text).toContain(`# TYPE chancery_${name} ${kind}\n`);
    }
  });

  test("no label is the name of a node, a gateway or an object: each value is a series for ever", () => {
    for (const [, { labels }] of table)
      for (const label of labels)
        expect(["node", "gateway", "name", "cluster", "listener", "replica", "revision"]).not.toContain(label);
  });
});

describe("counting", () => {
  test("counters, gauges and histograms say what was written to them", async () => {
    const metrics = createMetrics();
    metrics.count("xds_nacks_total", { type: "cluster" });
    metrics.count("xds_nacks_total", { type: "cluster" }, 2);
    metrics.set("snapshot_revision", {}, 7);
    metrics.observe("snapshot_build_seconds", { cause: "load" }, 0.02);
    const text = await metrics.text();
    expect(text).toContain('chancery_xds_nacks_total{type="cluster"} 3');
    expect(text).toContain("chancery_snapshot_revision 7");
    expect(text).toContain('chancery_snapshot_build_seconds_bucket{le="0.025",cause="load"} 1');
    expect(text).toContain('chancery_snapshot_build_seconds_bucket{le="0.01",cause="load"} 0');
  });

  test("two control planes in one process share nothing", async () => {
    const [one, other] = [createMetrics(), createMetrics()];
    one.set("snapshot_revision", {}, 7);
    expect(await other.text()).toContain("chancery_snapshot_revision 0");
  });

  test("a misspelt metric, a missing label and a strange one do not compile", () => {
    const metrics = createMetrics();
    const wrong = (): void => {
      // @ts-expect-error: no such metric
      metrics.count("xds_nack_total", { type: "cluster" });
      // @ts-expect-error: the label is missing
      metrics.count("xds_nacks_total", {});
      // @ts-expect-error: no such label
      metrics.count("xds_nacks_total", { typ: "cluster" });
      // @ts-expect-error: a gauge is not counted
      metrics.count("snapshot_revision", {});
    };
    expect(wrong).toBeTypeOf("function");
  });

  test("gauges that are read at a scrape are read at each, until told to stop", async () => {
    const metrics = createMetrics();
    let revision = 1;
    const stop = metrics.beforeScrape(() => metrics.set("snapshot_revision", {}, revision));
    expect(await metrics.text()).toContain("chancery_snapshot_revision 1");
    revision = 2;
    expect(await metrics.text()).toContain("chancery_snapshot_revision 2");
    stop();
    revision = 3;
    expect(await metrics.text()).toContain("chancery_snapshot_revision 2");
  });
});

test("the process tells its memory, its CPU time and the delay of its event loop", async () => {
  const metrics = createMetrics();
  const stop = watchProcess(metrics);
  const end = performance.now() + 60;
  await new Promise((resolve) => setTimeout(resolve, 30));
  while (performance.now() < end);
  await new Promise((resolve) => setTimeout(resolve, 30));
  const value = async (name: string): Promise<number> =>
    Number(
      (await metrics.text())
        .split("\n")
        .find((line) => line.startsWith(`chancery_${name} `))
        ?.split(" ")[1],
    );
  expect(await value('event_loop_delay_seconds{quantile="1"}')).toBeGreaterThan(0);
  expect(await value("process_resident_memory_bytes")).toBeGreaterThan(1e7);
  expect(await value("process_cpu_seconds_total")).toBeGreaterThan(0);
  stop();
});
