// The project's own files, as the house rules read them: paths, text and syntax trees. Rules are functions from files to faults, so
// that each can be tried on a planted fault. Called by every test in test/house.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseSync } from "@swc/core";

export const top = fileURLToPath(new URL("../..", import.meta.url));

/** One file: its path from the top, with slashes, and its text. */
export interface SourceFile {
  readonly path: string;
  readonly text: string;
}

/** One broken rule, ready to print. */
export interface Fault {
  readonly path: string;
  readonly line: number;
  readonly what: string;
}

/** Everything that git keeps, or would keep: committed and new files, without what .gitignore names. */
export function keptPaths(): string[] {
  const list = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: top, encoding: "utf8" });
  const paths = list.split("\n").filter((path) => path !== "" && existsSync(join(top, path)));
  return [...new Set(paths)].sort();
}

/** The line that makes a file a program (`#!`) reads as a comment: the parser takes it nowhere but at the very top. */
export const readKept = (path: string): SourceFile => ({
  path,
  text: readFileSync(join(top, path), "utf8").replace(/^#!/, "//"),
});

/** TypeScript files below the folders. */
export const typeScriptFiles = (...folders: readonly string[]): SourceFile[] =>
  keptPaths()
    .filter((path) => path.endsWith(".ts") && folders.some((folder) => path.startsWith(`${folder}/`)))
    .map(readKept);

export const lineOf = (text: string, offset: number): number => text.slice(0, offset).split("\n").length;

/** A node of the syntax tree, with what the rules look at. */
export interface SyntaxNode {
  readonly type: string;
  /** First and last line, 1-based; 0 for nodes without a place. */
  readonly firstLine: number;
  readonly lastLine: number;
  readonly raw: Readonly<Record<string, unknown>>;
  readonly parent: SyntaxNode | undefined;
}

/** Put before the text: the first token then tells where the file begins in swc's running count of bytes. */
const anchor = "0;";

/** All nodes of a file, parents before children. */
export function syntaxOf({ path, text }: SourceFile): SyntaxNode[] {
  const module = parseSync(anchor + text, { syntax: "typescript", target: "es2022", comments: false });
  const bytes = Buffer.from(anchor + text);
  const base = module.span.start;
  const newlines: number[] = [];
  for (const [index, byte] of bytes.entries()) if (byte === 10) newlines.push(index);
  const toLine = (position: number): number => {
    let [low, high] = [0, newlines.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((newlines[middle] ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return low + 1;
  };
  const nodes: SyntaxNode[] = [];
  const visit = (value: unknown, parent: SyntaxNode | undefined): void => {
    if (Array.isArray(value)) for (const item of value) visit(item, parent);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return;
    const raw = value as Record<string, unknown>;
    let node = parent;
    if (typeof raw["type"] === "string") {
      const span = raw["span"] as { start: number; end: number } | undefined;
      const lines = span ? [toLine(span.start - base), toLine(span.end - base - 1)] : [0, 0];
      node = { type: raw["type"], firstLine: lines[0] ?? 0, lastLine: lines[1] ?? 0, raw, parent };
      nodes.push(node);
    }
    for (const [key, child] of Object.entries(raw)) if (key !== "span") visit(child, node);
  };
  visit(module.body, undefined);
  if (nodes.length < 2 && text.trim() !== "" && !path.endsWith(".d.ts")) throw new Error(`${path}: nothing was parsed`);
  return nodes;
}

/** Faults as the assertion shows them. */
export const shown = (faults: readonly Fault[]): string[] => faults.map(({ path, line, what }) => `${path}:${line} ${what}`);

/** A file for a planted fault. */
export const planted = (path: string, ...lines: readonly string[]): SourceFile => ({ path, text: `${lines.join("\n")}\n` });
