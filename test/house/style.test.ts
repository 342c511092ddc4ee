// STYLE.md §10 and §12, as far as a program can judge: no `any`, no `!`, no default exports, no open task without an issue, a head on every
// file, a doc comment on what is exported, names by the rules, unit tests beside what they test.
import { describe, expect, test } from "vitest";
import { type Fault, keptPaths, lineOf, planted, type SourceFile, shown, syntaxOf, typeScriptFiles } from "./source-tree.js";

const minDocumentedPercent = 80;
const commentPercent = { min: 12, max: 30 };
/** Modules that another program loads by their default export. */
const loadedByDefault = ["vitest.config.ts", "test/support/postgres-setup.ts"];

const forbiddenSyntax: Readonly<Record<string, string>> = {
  TsNonNullExpression: "`!` instead of a check",
  ExportDefaultDeclaration: "a default export",
  ExportDefaultExpression: "a default export",
};

/** In tests, a `biome-ignore` with its reason right above excuses a line; in src/ nothing does. */
function unwantedSyntax(file: SourceFile): Fault[] {
  const lines = file.text.split("\n");
  const isExcused = (line: number): boolean =>
    file.path.startsWith("test/") && /biome-ignore \S+: \S/.test(lines[line - 2] ?? "");
  return syntaxOf(file).flatMap(({ type, raw, firstLine }) => {
    const what = type === "TsKeywordType" && raw["kind"] === "any" ? "`any`" : forbiddenSyntax[type];
    if (what === undefined || isExcused(firstLine) || (what === "a default export" && loadedByDefault.includes(file.path)))
      return [];
    return [{ path: file.path, line: firstLine, what }];
  });
}

/** Spelled in two parts, so that this file does not break its own rule. */
const todo = new RegExp(`\\b(?:TO${"DO"}|FIX${"ME"}|XX${"X"})\\b(?!\\(#\\d+\\))`, "g");
const openTodos = ({ path, text }: SourceFile): Fault[] =>
  [...text.matchAll(todo)].map((match) => ({ path, line: lineOf(text, match.index), what: `${match[0]} without an issue` }));

/** Lines of the comment at the top. */
const headLines = ({ text }: SourceFile): number => {
  const lines = text.split("\n");
  const end = lines.findIndex((line) => !line.startsWith("//"));
  return end < 0 ? lines.length : end;
};
function missingHead(file: SourceFile): Fault[] {
  const head = headLines(file);
  return head >= 1 && head <= 6 ? [] : [{ path: file.path, line: 1, what: `a head of ${head} lines, not 1 to 6` }];
}

/** Exports of one file, and whether a doc comment ends right above. */
function exportsOf({ path, text }: SourceFile): { at: string; documented: boolean }[] {
  const lines = text.split("\n");
  return lines.flatMap((line, index) => {
    const [, name] = /^export (?:async |abstract |declare )*(?:function|const|class|interface|type|enum) (\w+)/.exec(line) ?? [];
    if (name === undefined) return [];
    return [{ at: `${path}:${index + 1} ${name}`, documented: (lines[index - 1] ?? "").trimEnd().endsWith("*/") }];
  });
}
const share = (part: number, whole: number): number => (100 * part) / Math.max(1, whole);

const isComment = (line: string): boolean => /^\s*(?:\/\/|\/\*|\*)/.test(line) || /[;,{(\])}>\w] \/\/ /.test(line);
function commentShare(files: readonly SourceFile[]): number {
  const lines = files.flatMap(({ text }) => text.split("\n")).filter((line) => line.trim() !== "");
  return share(lines.filter(isComment).length, lines.length);
}

const badNames = (paths: readonly string[]): string[] =>
  paths.filter((path) => !/^(?:[a-z0-9]+(?:-[a-z0-9]+)*\/)*[a-z0-9]+(?:-[a-z0-9]+)*(?:\.[a-z]+)*\.(?:ts|mjs)$/.test(path));
/** The HTTP connection manager is Envoy's own noun. */
const emptyWords = (paths: readonly string[]): string[] =>
  paths
    .filter((path) => !path.endsWith("/http-connection-manager.ts"))
    .filter((path) => /(?:^|[/-])(?:managers?|helpers?|utils?|misc|common)(?:[./-])/.test(path));

/**
 * Files of test/unit that mirror nothing in src/: `<room>/<file>.test.ts`, with a word more before `.test` if there are several.
 * `…-model.test.ts` is a model of several files together.
 */
function unmirroredTests(paths: readonly string[]): string[] {
  const sources = new Set(paths.filter((path) => path.startsWith("src/")));
  return paths.filter((path) => {
    const parts = /^test\/unit\/(.+?)(?:\.[a-z-]+)?\.test\.ts$/.exec(path);
    return (
      parts &&
      !path.endsWith("-model.test.ts") &&
      !sources.has(`src/${parts[1]}.ts`) &&
      !sources.has(`src/${parts[1]?.replace(/\.[a-z-]+$/, "")}.ts`)
    );
  });
}

const sources = typeScriptFiles("src");
const all = typeScriptFiles("src", "test");
const scripts = keptPaths().filter((path) => /^(?:src|test|scripts|bench)\/.*\.(?:ts|mjs)$/.test(path));

test("no any, no non-null assertion, no default export", () => {
  expect(shown(all.flatMap(unwantedSyntax))).toEqual([]);
});

test("no open task without an issue", () => {
  expect(shown(all.flatMap(openTodos))).toEqual([]);
});

test("every file says at its head what lives there", () => {
  expect(shown(all.flatMap(missingHead))).toEqual([]);
});

test(`at least ${minDocumentedPercent} % of the exports have a doc comment`, () => {
  const exported = sources.flatMap(exportsOf);
  const bare = exported.filter(({ documented }) => !documented).map(({ at }) => at);
  expect(exported.length).toBeGreaterThan(100);
  expect(share(exported.length - bare.length, exported.length), bare.join("\n")).toBeGreaterThanOrEqual(minDocumentedPercent);
});

test(`between ${commentPercent.min} and ${commentPercent.max} % of the lines are comments`, () => {
  expect(commentShare(sources)).toBeGreaterThanOrEqual(commentPercent.min);
  expect(commentShare(sources)).toBeLessThanOrEqual(commentPercent.max);
});

test("file names are in kebab-case and say what they hold", () => {
  expect(badNames(scripts)).toEqual([]);
  expect(emptyWords(scripts)).toEqual([]);
});

test("unit tests mirror src/", () => {
  expect(unmirroredTests(keptPaths())).toEqual([]);
});

describe("planted faults are found", () => {
  test.each([
    ["const a: any = 1;", "`any`"],
    ["function f(a: any[]) {}", "`any`"],
    ["const b = a!.c;", "`!` instead of a check"],
    ["export default 1;", "a default export"],
    ["export default function f() {}", "a default export"],
  ])("%s", (line, what) => {
    expect(unwantedSyntax(planted("src/planted.ts", "// Head.", line))).toEqual([{ path: "src/planted.ts", line: 2, what }]);
  });

  test("an excuse with a reason counts in a test, not in src/", () => {
    const lines = [
      "// Head.",
      "// biome-ignore lint/suspicious/noExplicitAny: trusted.",
      "type Yaml = any;",
      "// biome-ignore lint/x:",
      "const b: any = 1;",
    ];
    expect(unwantedSyntax(planted("test/planted.ts", ...lines)).map(({ line }) => line)).toEqual([5]);
    expect(unwantedSyntax(planted("src/planted.ts", ...lines)).map(({ line }) => line)).toEqual([3, 5]);
  });

  test("`any` in words and comments is none", () => {
    expect(unwantedSyntax(planted("src/planted.ts", "// any of them", 'export const many = "any";'))).toEqual([]);
  });

  test("an open task is found, one with its issue is not", () => {
    const task = `TO${"DO"}`;
    expect(openTodos(planted("src/planted.ts", `// ${task}: later`, `// ${task}(#12): later`))).toHaveLength(1);
  });

  test("a file without a head, and one with a head of seven lines", () => {
    expect(missingHead(planted("src/planted.ts", "export const a = 1;"))).toHaveLength(1);
    expect(missingHead(planted("src/planted.ts", ...Array(7).fill("// Line."), "const a = 1;"))).toHaveLength(1);
    expect(missingHead(planted("src/planted.ts", "// What lives here.", "const a = 1;"))).toEqual([]);
  });

  test("exports with and without a doc comment", () => {
    const file = planted("src/planted.ts", "/** One. */", "export const a = 1;", "export async function b() {}", "export { c };");
    expect(exportsOf(file).map(({ documented }) => documented)).toEqual([true, false]);
  });

  test("the share of comments", () => {
    expect(commentShare([planted("a.ts", "// One.", "a();", "b(); // Two.", "", "c();", 'd("http://x");')])).toBe(40);
  });

  test("names", () => {
    expect(badNames(["src/api/clusterBody.ts", "src/api/cluster-body.ts", "test/a.pg.test.ts", "src/Api/a.ts"])).toEqual([
      "src/api/clusterBody.ts",
      "src/Api/a.ts",
    ]);
    expect(emptyWords(["src/api/string-utils.ts", "src/api/utility-bill.ts", "src/helpers/a.ts"])).toEqual([
      "src/api/string-utils.ts",
      "src/helpers/a.ts",
    ]);
  });

  test("a unit test of nothing", () => {
    const paths = [
      "src/model/route.ts",
      "test/unit/model/route.test.ts",
      "test/unit/model/route.order.test.ts",
      "test/unit/model/gone.test.ts",
    ];
    expect(unmirroredTests(paths)).toEqual(["test/unit/model/gone.test.ts"]);
  });
});
