// What the docs name exists, and what exists is in the docs: error codes, settings, decision records, and the symbols by which
// docs/architecture.md walks a reader through the code.
import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { describe, expect, test } from "vitest";
import { foreignKeys, listSettings } from "../../src/config-table.js";
import { errorCodes } from "../../src/errors.js";
import { lintCodes } from "../../src/model/lint.js";
import { problemCodes } from "../../src/model/problem-codes.js";
import { metricTable } from "../../src/telemetry/metrics.js";
import { keptPaths, readKept, top, typeScriptFiles } from "./source-tree.js";

/** The first code in a table row, and the code of a heading: what the page describes. */
function describedCodes(markdown: string): string[] {
  return [...markdown.matchAll(/^(?:\|\s*|#{2,4}\s+)`([A-Za-z0-9_]+)`/gm)].map((match) => match[1] ?? "");
}

/** What is in one list and not in the other, either way, and what stands twice. */
function differences(existing: readonly string[], described: readonly string[]): string[] {
  const [there, told] = [new Set(existing), new Set(described)];
  return [
    ...[...there].filter((code) => !told.has(code)).map((code) => `${code} is not described`),
    ...[...told].filter((code) => !there.has(code)).map((code) => `${code} does not exist`),
    ...described.filter((code, index) => described.indexOf(code) !== index).map((code) => `${code} is described twice`),
  ];
}

/** Two decision records of one number, and names that are none. */
function adrFaults(paths: readonly string[]): string[] {
  const names = paths.filter((path) => path.startsWith("docs/adr/")).map((path) => basename(path));
  const numbers = names.map((name) => /^(\d{4})-[a-z0-9-]+\.md$/.exec(name)?.[1]);
  return [
    ...names.filter((_, index) => numbers[index] === undefined).map((name) => `${name} is not NNNN-title.md`),
    ...names
      .filter((_, index) => numbers[index] !== undefined && numbers.indexOf(numbers[index]) !== index)
      .map((name) => `${name}: its number is taken`),
  ];
}

/**
 * Names in backticks that point nowhere. Checked are paths with an ending, and names that look like a symbol of ours: camelCase,
 * PascalCase, or with brackets after them. Words of the language, of Envoy and of JSON are not.
 */
function danglingNames(markdown: string, exists: (path: string) => boolean, code: string): string[] {
  const withoutBlocks = markdown.replaceAll(/^```.*?^```/gms, "");
  const names = [...withoutBlocks.matchAll(/`([^`\n]+)`/g)].map((match) => match[1] ?? "");
  const dangling = names.filter((name) => {
    if (/^[\w./-]+\.(?:ts|mjs|sql|cjs|proto|md)$/.test(name)) return !exists(name) && !exists(`src/${name}`);
    const [, symbol = "", member, call] = /^([A-Za-z_$][\w$]*)(?:\.([\w$]+))?(\(.*\))?$/.exec(name) ?? [];
    if (symbol === "" || (!/[a-z][A-Z]|^[A-Z][a-z]/.test(symbol) && call === undefined)) return false;
    return ![symbol, ...(member === undefined ? [] : [member])].every((word) =>
      new RegExp(`\\b${word.replaceAll("$", "\\$")}\\b`).test(code),
    );
  });
  return [...new Set(dangling)];
}

const doc = (path: string): string => readFileSync(join(top, path), "utf8");

test("docs/errors.md describes every error, problem and lint code, and no other", () => {
  const codes = [...Object.keys(errorCodes), ...Object.keys(problemCodes), ...lintCodes];
  expect(differences(codes, describedCodes(doc("docs/errors.md")))).toEqual([]);
});

test("docs/configuration.md describes every setting, and no other", () => {
  const keys = [...listSettings().map(({ setting }) => setting.key), ...Object.keys(foreignKeys)];
  expect(differences(keys, describedCodes(doc("docs/configuration.md")))).toEqual([]);
});

test("docs/configuration.md gives each setting's default and bound as the program has them", () => {
  const rows = doc("docs/configuration.md").split("\n");
  const wrong = listSettings().filter(({ setting }) => {
    const row = rows.find((line) => line.includes(`\`${setting.key}\``)) ?? "";
    return !row.includes(setting.shown) || !row.includes(setting.bound);
  });
  expect(wrong.map(({ setting }) => `${setting.key}: ${setting.shown}; ${setting.bound}`)).toEqual([]);
});

test("the metrics that docs/operations.md names are in the table", () => {
  const section = /Metrics worth an alert[\s\S]*?(?=\n## )/.exec(doc("docs/operations.md"))?.[0] ?? "";
  const named = [...section.matchAll(/`([a-z]+_[a-z_]+)(?:\{[^`]*\})?`/g)]
    .map((match) => match[1] ?? "")
    .filter((name) => name !== "chancery_");
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((name) => !Object.hasOwn(metricTable, name))).toEqual([]);
});

test("decision records have numbers of their own", () => {
  expect(adrFaults(keptPaths())).toEqual([]);
});

test("what docs/architecture.md names is in src/", () => {
  const code = typeScriptFiles("src")
    .map(({ text }) => text)
    .join("\n");
  const text = doc("docs/architecture.md");
  expect([...text.matchAll(/`/g)].length).toBeGreaterThan(40);
  expect(danglingNames(text, (path) => existsSync(join(top, path)), code)).toEqual([]);
});

test("links between the pages lead somewhere", () => {
  const pages = keptPaths().filter((path) => path.endsWith(".md"));
  const broken = pages.flatMap((page) =>
    [...readKept(page).text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g)]
      .map((match) => match[1] ?? "")
      .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(join(top, page, "..", target)))
      .map((target) => `${page}: ${target}`),
  );
  expect(broken).toEqual([]);
});

describe("planted faults are found", () => {
  test("a code that is missing, one that is gone, one told twice", () => {
    const page = "| `a_code` | x |\n### `gone`\n| `a_code` | again |\nText with `other`.";
    expect(describedCodes(page)).toEqual(["a_code", "gone", "a_code"]);
    expect(differences(["a_code", "new_code"], describedCodes(page))).toEqual([
      "new_code is not described",
      "gone does not exist",
      "a_code is described twice",
    ]);
  });

  test("a number used twice, a name without one", () => {
    const paths = ["docs/adr/0001-one.md", "docs/adr/0001-two.md", "docs/adr/three.md", "docs/adr/0002-fine.md"];
    expect(adrFaults(paths)).toEqual(["three.md is not NNNN-title.md", "0001-two.md: its number is taken"]);
  });

  test("a symbol and a file that are gone", () => {
    const page =
      "`createStore` in `store/store.ts`, `Fleet.sync()`, `gone()`, `goneClass`, `store/gone.ts`, plain `edge` and `PUT /v1`.";
    const exists = (path: string): boolean => path === "src/store/store.ts";
    expect(danglingNames(page, exists, "function createStore() {} class Fleet { sync() {} }")).toEqual([
      "gone()",
      "goneClass",
      "store/gone.ts",
    ]);
  });
});
