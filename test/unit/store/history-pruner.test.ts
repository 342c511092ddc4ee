// The background of pruning: it goes on while there is something, pauses longer than it works, tells once what is wrong, and ends.
import { pino } from "pino";
import { afterEach, expect, test } from "vitest";
import { HistoryPruner } from "../../../src/store/history-pruner.js";
import { type PruneStep, toRetentionRule } from "../../../src/store/retention.js";
import { createMetrics } from "../../../src/telemetry/metrics.js";
import { waitFor } from "../../support/wait.js";

const closing: HistoryPruner[] = [];
afterEach(async () => {
  for (const each of closing.splice(0)) await each.close();
});

function start(step: () => Promise<PruneStep>) {
  const lines: string[] = [];
  const log = pino({ level: "debug" }, { write: (line: string) => void lines.push(line) });
  const metrics = createMetrics();
  const pruner = new HistoryPruner({ step, log, metrics, idleMs: 10 });
  closing.push(pruner);
  const value = async (name: string): Promise<string | undefined> =>
    new RegExp(`^chancery_${name} (\\S+)$`, "m").exec(await metrics.text())?.[1];
  return { pruner, lines, value };
}

const nothing: PruneStep = { pruned: 0, cut: 0, isMore: false, break: undefined };

test("0 days is for ever, and no rule at all", () => {
  expect(toRetentionRule({ days: 0, leastRevisions: 1_000 })).toBeUndefined();
  expect(toRetentionRule({ days: 90, leastRevisions: 1_000 })).toEqual({ days: 90, least: 1_000 });
});

test("it goes on until there is nothing more, and says once what went", async () => {
  const steps = [
    { ...nothing, pruned: 500, cut: 500, isMore: true },
    { ...nothing, pruned: 20, cut: 520, isMore: true },
  ];
  const { lines, value } = start(async () => steps.shift() ?? { ...nothing, cut: 520 });
  await waitFor("the log line", () => lines.length > 0);
  await new Promise((resolve) => setTimeout(resolve, 50)); // Some looks at nothing, which are no news.
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ pruned: 520, upTo: 520 }]);
  expect(await value("history_pruned_total")).toBe("520");
  expect(await value("history_cut_revision")).toBe("520");
  expect(await value("history_broken")).toBe("0");
});

test("a history that is not what was written is told once, and shows in a metric until it is mended", async () => {
  let looks = 0;
  let found: PruneStep["break"] = {
    revision: 4,
    kind: "edited",
    detail: "the row of revision 4 is not the one that was written",
  };
  const { lines, value } = start(async () => {
    looks += 1;
    return { ...nothing, break: found };
  });
  await waitFor("several looks", () => looks > 3);
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ level: 50, revision: 4, kind: "edited" }]);
  expect(await value("history_broken")).toBe("1");
  found = undefined;
  await waitFor("it is mended", async () => (await value("history_broken")) === "0");
});

test("a database that is away is told once, and asked again", async () => {
  let looks = 0;
  const { lines } = start(async () => {
    looks += 1;
    throw new Error("gone fishing");
  });
  await waitFor("several looks", () => looks > 3);
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ level: 40, reason: "gone fishing" }]);
});

test("closing waits for the step under way, and none follows", async () => {
  let [begun, ended] = [0, 0];
  const { pruner } = start(async () => {
    begun += 1;
    await new Promise((resolve) => setTimeout(resolve, 30));
    ended += 1;
    return { ...nothing, isMore: true };
  });
  await waitFor("a step", () => begun > 0);
  await pruner.close();
  expect(ended).toBe(begun);
  const before = begun;
  await new Promise((resolve) => setTimeout(resolve, 80));
  expect(begun).toBe(before);
});
