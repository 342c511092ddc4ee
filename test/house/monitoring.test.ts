// What dashboard and alert rules name exists: metrics, and the labels that they select or group by. A panel of a misspelt metric is empty
// for ever, and an alert on one never fires.
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { metricTable } from "../../src/telemetry/metrics.js";

const text = (name: string): string => readFileSync(new URL(`../../docs/monitoring/${name}`, import.meta.url), "utf8");
/** What Prometheus itself adds to each series. */
const addedLabels = ["instance", "job", "le"];

/** What an expression names and the table does not have. */
function strangers(expression: string): string[] {
  const found: string[] = [];
  const labels = new Set<string>(addedLabels);
  for (const [name] of expression.matchAll(/chancery_[a-z0-9_]+/g)) {
    const bare = name.slice("chancery_".length);
    const definition = Object.entries(metricTable).find(
      ([key, { kind }]) => bare === key || (kind === "histogram" && bare.replace(/_(bucket|sum|count)$/, "") === key),
    )?.[1];
    if (definition) for (const label of definition.labels) labels.add(label);
    else found.push(name);
  }
  const named = [...expression.matchAll(/by \(([^)]*)\)/g), ...expression.matchAll(/\{([^}]*)\}/g)];
  for (const [, list = ""] of named)
    for (const label of list.split(",").map((one) => one.replace(/[=!~].*/, "").trim()))
      if (!labels.has(label)) found.push(label);
  return found;
}

test("each alert names metrics and labels that there are", () => {
  const expressions = [...text("alerts.yaml").matchAll(/^ +expr: (.+)$/gm)].map(([, expression = ""]) => expression);
  expect(expressions.length).toBeGreaterThan(10);
  expect(expressions.flatMap(strangers)).toEqual([]);
});

test("each panel names metrics and labels that there are", () => {
  const { panels } = JSON.parse(text("dashboard.json")) as { panels: { targets: { expr: string }[] }[] };
  const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  expect(expressions.length).toBeGreaterThan(15);
  expect(expressions.flatMap(strangers)).toEqual([]);
});

test("it can fail: a misspelt metric, and a strange label", () => {
  expect(strangers("chancery_no_such_metric > 1")).toEqual(["chancery_no_such_metric"]);
  expect(strangers('sum by (colour) (chancery_feed_connected{shape="x"})')).toEqual(["colour", "shape"]);
});
