// What is committed: migrations are never edited after they landed, and nothing names a path of one machine or a registry's host.
// A new migration is added to test/house/landed-migrations.txt with `sha256sum migrations/*.sql`.
import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type Fault, keptPaths, lineOf, planted, readKept, type SourceFile, shown } from "./source-tree.js";

const landedList = "test/house/landed-migrations.txt";

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** `<sha256>  <path>` a line, as sha256sum prints them. */
function migrationFaults(list: string, migrations: readonly SourceFile[]): string[] {
  const landed = new Map(
    list
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"))
      .map((line) => [line.slice(66).trim(), line.slice(0, 64)] as const),
  );
  const there = new Map(migrations.map(({ path, text }) => [path, text]));
  return [
    ...[...there].filter(([path]) => !landed.has(path)).map(([path]) => `${path} is not in ${landedList}`),
    ...[...landed].filter(([path]) => !there.has(path)).map(([path]) => `${path} landed and is gone`),
    ...[...there]
      .filter(([path, text]) => landed.has(path) && landed.get(path) !== sha256(text))
      .map(([path]) => `${path} was edited after it landed`),
  ];
}

/** Numbers in order, each once. */
function numberFaults(paths: readonly string[]): string[] {
  return paths.filter(
    (path, index) => !new RegExp(`^migrations/${String(index + 1).padStart(4, "0")}_[a-z0-9_]+\\.sql$`).test(path),
  );
}

// Spelled in parts, so that this file does not break its own rule.
const machinePath = new RegExp(`(?<![\\w.~/-])/(?:${["work", "root", "home"].join("|")})/[\\w.-]+`, "g");
const hosts = [
  "registry\\.[a-z]",
  "npmjs\\.",
  "pypi\\.",
  "pythonhosted\\.",
  "crates\\.io",
  "proxy\\.golang",
  "artifactory",
  "deb\\.debian",
  "repo1?\\.maven",
];
const registryHost = new RegExp(`https?://[\\w.@:-]*(?:${hosts.join("|")})[^\\s"')]*`, "g");

function namedPlaces({ path, text }: SourceFile): Fault[] {
  return [machinePath, registryHost].flatMap((pattern) =>
    [...text.matchAll(pattern)].map((match) => ({ path, line: lineOf(text, match.index), what: match[0] })),
  );
}

/** Binary files can't be read for words. */
const isText = (path: string): boolean => !/\.(?:png|jpg|ico|woff2|gz|bin)$/.test(path);

test("landed migrations are as they landed, and new ones are listed", () => {
  const migrations = keptPaths().filter((path) => path.startsWith("migrations/"));
  expect(migrations.length).toBeGreaterThan(0);
  expect(numberFaults(migrations)).toEqual([]);
  expect(migrationFaults(readKept(landedList).text, migrations.map(readKept))).toEqual([]);
});

test("no file names a path of one machine or the host of a registry", () => {
  const files = keptPaths().filter(isText).map(readKept);
  expect(files.length).toBeGreaterThan(100);
  expect(shown(files.flatMap(namedPlaces))).toEqual([]);
});

describe("planted faults are found", () => {
  const first = planted("migrations/0001_first.sql", "create table a ();");

  test("an edited, a new and a lost migration", () => {
    const list = `# Landed.\n${sha256(first.text)}  ${first.path}\n`;
    expect(migrationFaults(list, [first])).toEqual([]);
    expect(migrationFaults(list, [planted(first.path, "create table b ();")])).toEqual([
      `${first.path} was edited after it landed`,
    ]);
    expect(migrationFaults(list, [first, planted("migrations/0002_new.sql", "")])).toEqual([
      `migrations/0002_new.sql is not in ${landedList}`,
    ]);
    expect(migrationFaults(list, [])).toEqual([`${first.path} landed and is gone`]);
  });

  test("a number left out, a number used twice", () => {
    expect(numberFaults(["migrations/0001_a.sql", "migrations/0003_b.sql"])).toEqual(["migrations/0003_b.sql"]);
    expect(numberFaults(["migrations/0001_a.sql", "migrations/0001_b.sql"])).toEqual(["migrations/0001_b.sql"]);
  });

  test("a machine's path and a registry's host, but not a path like one", () => {
    const host = `https://registry.${"npmjs"}.org/fastify`;
    const file = planted(
      "docs/a.md",
      `See /${"work"}/main/src.`,
      `From ${host}.`,
      "GET /v1/work/root, src/home/a.ts, below /root (0700), https://example.com/work/a",
    );
    expect(namedPlaces(file)).toEqual([
      { path: "docs/a.md", line: 1, what: `/${"work"}/main` },
      { path: "docs/a.md", line: 2, what: `${host}.` },
    ]);
  });
});
