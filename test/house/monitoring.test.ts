// What dashboard and alert rules name exists: metrics, and the labels that they select or group by. A panel of a misspelt metric is empty
// for ever, and an alert on one never fires.
import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { agentMetricTable } from "../../src/agent/metrics.js";
import { metricTable } from "../../src/telemetry/metrics.js";
import type { MetricTable } from "../../src/telemetry/registry.js";

const text = (name: string): string => readFileSync(new URL(`../../docs/monitoring/${name}`, import.meta.url), "utf8");
const tables: MetricTable = { ...metricTable, ...agentMetricTable };
/** What Prometheus itself adds to each series. */
const addedLabels = ["instance", "job", "le"];

/** What an expression names and the table does not have. */
function strangers(expression: string): string[] {
  const found: string[] = [];
  const labels = new Set<string>(addedLabels);
  for (const [name] of expression.matchAll(/chancery_[a-z0-9_]+/g)) {
    const bare = name.slice("chancery_".length);
    const definition = Object.entries(tables).find(
      ([key, { kind }]) => bare === key || (kind === "histogram" && bare.replace(/_(bucket|sum|count)$/, "") === key),
    )?.[1];
    if (definition) for (const label of definition.labels) labels.add(label);
    else found.push(name);
  }
  const named = [...expression.matchAll(/(?:by|on) \(([^)]*)\)/g), ...expression.matchAll(/\{([^}]*)\}/g)];
  for (const [, list = ""] of named)
    for (const label of list.split(",").map((one) => one.replace(/[=!~].*/, "").trim()))
      if (!labels.has(label)) found.push(label);
  return found;
}

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly annotations: { readonly summary?: string; readonly runbook?: string };
}
const rules = (): Rule[] =>
  (parse(text("alerts.yaml")) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules); // Ours.

/** Whether a page of docs/ is there and, with an anchor, has that heading as GitHub spells it. */
function isPlace(runbook: string): boolean {
  const [path = "", anchor] = runbook.split("#");
  const page = new URL(`../../${path}`, import.meta.url);
  if (!existsSync(page)) return false;
  const headings = [...readFileSync(page, "utf8").matchAll(/^#+ (.+)$/gm)].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^a-z0-9 _-]/g, "")
      .replaceAll(" ", "-"),
  );
  return anchor === undefined || headings.includes(anchor);
}

test("each alert has a name of its own, a summary, and a runbook that is there", () => {
  const all = rules();
  expect(new Set(all.map(({ alert }) => alert)).size).toBe(all.length);
  expect(all.filter(({ annotations }) => !annotations.summary).map(({ alert }) => alert)).toEqual([]);
  expect(all.filter(({ annotations }) => !isPlace(annotations.runbook ?? "nowhere.md")).map(({ alert }) => alert)).toEqual([]);
  expect([isPlace("docs/agent.md#no-such-heading"), isPlace("docs/none.md")]).toEqual([false, false]);
});

/** Series of a labelled counter are born with their first count, which `increase` does not see. */
test("an alert on a counter whose series may be born late looks at new series, too", () => {
  const blind = rules().filter(({ expr }) =>
    [...expr.matchAll(/increase\(chancery_(\w+)/g)].some(
      ([, name = ""]) => (tables[name]?.labels.length ?? 0) > 0 && / > 0(?! or)$/.test(expr) && !expr.includes("unless"),
    ),
  );
  expect(blind.map(({ alert }) => alert)).toEqual([]);
});

/** What an operator has to be woken or told for. */
const promises = [
  ...["feed_connected", "revision_lag", "serving_last_known_good", "feed_lost_revisions_total", "feed_histories_total"],
  ...["state_file_failing", "xds_resources_refused", "xds_resources_unanswered", "drains_ended_total", "limit_hits_total"],
  ...["agent_saves_failing", "agent_files_rejected_total", "agent_nodes", "agent_kept_refused_total"],
];
test("each promise that can break has an alert", () => {
  const named = new Set(rules().flatMap(({ expr }) => [...expr.matchAll(/chancery_(\w+)/g)].map(([, name]) => name)));
  expect(promises.filter((name) => !named.has(name))).toEqual([]);
});

test("each alert names metrics and labels that there are", () => {
  const expressions = rules().map(({ expr }) => expr);
  expect(expressions.length).toBeGreaterThan(25);
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
