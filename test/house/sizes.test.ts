// STYLE.md "Size": a function fits a screen, a file fits a sitting, and folders are one deep under src/. Tests included.
import { describe, expect, test } from "vitest";
import {
  type Fault,
  keptPaths,
  planted,
  type SourceFile,
  type SyntaxNode,
  shown,
  syntaxOf,
  typeScriptFiles,
} from "./source-tree.js";

const maxFunctionLines = 70;
const maxFileLines = 400;

const functionTypes = new Set([
  "FunctionDeclaration",
  "FunctionExpression",
  "ArrowFunctionExpression",
  "ClassMethod",
  "PrivateMethod",
  "Constructor",
  "MethodProperty",
  "GetterProperty",
  "SetterProperty",
]);

/** `describe(…, () => …)` groups tests and is no function to be read in one go. */
function groupsTests(node: SyntaxNode): boolean {
  let call: unknown = node.parent?.type === "CallExpression" ? node.parent.raw["callee"] : undefined;
  for (;;) {
    const callee = call as { type?: string; value?: string; object?: unknown; callee?: unknown } | undefined;
    if (callee?.type === "Identifier") return callee.value === "describe";
    call = callee?.object ?? callee?.callee;
    if (!call) return false;
  }
}

function longFunctions(file: SourceFile): Fault[] {
  return syntaxOf(file)
    .filter((node) => functionTypes.has(node.type) && !groupsTests(node))
    .filter((node) => node.lastLine - node.firstLine + 1 > maxFunctionLines)
    .map((node) => ({
      path: file.path,
      line: node.firstLine,
      what: `a function of ${node.lastLine - node.firstLine + 1} lines`,
    }));
}

function longFile({ path, text }: SourceFile): Fault[] {
  const lines = text.split("\n").length - 1;
  return lines > maxFileLines ? [{ path, line: 1, what: `a file of ${lines} lines` }] : [];
}

const deepFolders = (paths: readonly string[]): string[] => paths.filter((path) => /^src\/[^/]+\/[^/]+\//.test(path));

const files = typeScriptFiles("src", "test");

test("the rules see the whole project", () => {
  expect(files.length).toBeGreaterThan(100);
  expect(files.filter((file) => file.path.startsWith("src/")).length).toBeGreaterThan(50);
});

test(`no function has more than ${maxFunctionLines} lines`, () => {
  expect(shown(files.flatMap(longFunctions))).toEqual([]);
});

test(`no file has more than ${maxFileLines} lines`, () => {
  expect(shown(files.flatMap(longFile))).toEqual([]);
});

test("folders are one deep under src/", () => {
  expect(deepFolders(keptPaths())).toEqual([]);
});

describe("planted faults are found", () => {
  const body = (lines: number): string[] => Array.from({ length: lines }, (_, index) => `  call(${index}, "ä");`);

  test.each([
    ["a function", ["// Ä comment with wide letters.", "export function big() {", ...body(69), "}"], 2],
    ["an arrow", ["const small = 1;", "const big = () => {", ...body(69), "};"], 2],
    ["a method", ["class Big {", "  #run() {", ...body(69), "  }", "}"], 2],
    ["a test", ['test("big", () => {', ...body(69), "});"], 1],
  ])("%s one line too long", (_name, lines, line) => {
    expect(longFunctions(planted("src/planted.ts", ...lines))).toEqual([
      { path: "src/planted.ts", line, what: "a function of 71 lines" },
    ]);
  });

  test("70 lines pass, and so does a long describe", () => {
    expect(longFunctions(planted("src/planted.ts", "export function fits() {", ...body(68), "}"))).toEqual([]);
    expect(longFunctions(planted("test/planted.ts", 'describe.each([1])("group", () => {', ...body(100), "});"))).toEqual([]);
  });

  test("a file one line too long", () => {
    expect(longFile(planted("src/planted.ts", ...body(401)))).toHaveLength(1);
    expect(longFile(planted("src/planted.ts", ...body(400)))).toEqual([]);
  });

  test("a folder two deep", () => {
    expect(deepFolders(["src/api/v1/clusters.ts", "src/api/clusters.ts", "src/main.ts"])).toEqual(["src/api/v1/clusters.ts"]);
  });
});
