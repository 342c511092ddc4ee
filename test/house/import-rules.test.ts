// The house plan holds (.dependency-cruiser.cjs): every room enters only the rooms that it may, every library has one owner, nothing
// is circular. And the check itself works: it saw every file, and each kind of planted fault is found.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { type Fault, keptPaths, planted, type SourceFile, shown, syntaxOf, top, typeScriptFiles } from "./source-tree.js";

interface Cruise {
  readonly modules: readonly { readonly source: string }[];
  readonly summary: {
    readonly violations: readonly { readonly from: string; readonly to: string; readonly rule: { readonly name: string } }[];
  };
}

function cruise(folder: string): Cruise {
  const program = join(top, "node_modules", ".bin", "depcruise");
  const result = spawnSync(program, ["--config", join(top, ".dependency-cruiser.cjs"), "--output-type", "json", "src"], {
    cwd: folder,
    encoding: "utf8",
    maxBuffer: 256 * 1024 * 1024,
  });
  if (!result.stdout.startsWith("{")) throw new Error(`dependency-cruiser failed: ${result.stderr}`);
  return JSON.parse(result.stdout) as Cruise;
}
const violations = ({ summary }: Cruise): string[] =>
  summary.violations.map(({ rule, from, to }) => `${rule.name}: ${from} → ${to}`);

/** cli/ and demo/ are clients: of the API's files they import types, which leave nothing behind in the program. */
function importedApiCode(file: SourceFile): Fault[] {
  return syntaxOf(file).flatMap(({ type, raw, firstLine }) => {
    const { source, typeOnly, specifiers } = raw as {
      source?: { value?: string };
      typeOnly?: boolean;
      specifiers?: { isTypeOnly?: boolean }[];
    };
    if (!/^(?:Import|Export\w*)Declaration$/.test(type) || !/(?:^|\/)api\//.test(source?.value ?? "")) return [];
    const onlyTypes =
      typeOnly === true || (specifiers !== undefined && specifiers.length > 0 && specifiers.every((one) => one.isTypeOnly));
    return onlyTypes ? [] : [{ path: file.path, line: firstLine, what: `code of ${source?.value}` }];
  });
}

describe("the house", () => {
  let found: Cruise;
  beforeAll(() => {
    found = cruise(top);
  });

  test("no import breaks a rule", () => {
    expect(violations(found)).toEqual([]);
  });

  test("clients import only types of the API", () => {
    expect(shown(typeScriptFiles("src/cli", "src/demo").flatMap(importedApiCode))).toEqual([]);
  });

  test("every file of src/ was looked at", () => {
    const seen = found.modules.map(({ source }) => source).filter((source) => source.startsWith("src/"));
    expect(seen.sort()).toEqual(keptPaths().filter((path) => path.startsWith("src/") && path.endsWith(".ts")));
  });
});

/** rule → files of a small house that break it. `a` and `b` are given names of the rule's own: all stand in one house. */
const faults: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "model-may-import-nothing": {
    "src/model/a.ts": 'import { b } from "../store/b.js";\nexport const a = b;',
    "src/store/b.ts": "export const b = 1;",
  },
  "translate-may-import-model+proto": {
    "src/translate/a.ts": 'import type { B } from "../snapshot/b.js";\nexport const a: B = 1;',
    "src/snapshot/b.ts": "export type B = number;",
  },
  "api-may-import-model+store+status+plan+drain+rollout+telemetry": {
    "src/api/a.ts": 'import { b } from "../snapshot/b.js";\nexport const a = b;',
    "src/snapshot/b.ts": "export const b = 1;",
  },
  "cli-may-import-nothing": {
    "src/cli/a.ts": 'import { b } from "../store/b.js";\nexport const a = b;',
    "src/store/b.ts": "export const b = 1;",
  },
  "every-folder-is-a-room": {
    "src/attic/a.ts": 'import { b } from "./b.js";\nexport const a = b;',
    "src/attic/b.ts": "export const b = 1;",
  },
  "only-api-imports-fastify": { "src/store/a.ts": 'import { fastify } from "fastify";\nexport const a = fastify;' },
  "only-store-imports-postgres": { "src/api/a.ts": 'import pg from "pg";\nexport const a = pg;' },
  "only-xds-and-agent-imports-grpc": {
    "src/status/a.ts": 'import { createServer } from "node:http2";\nexport const a = createServer;',
  },
  "no-cycles": {
    "src/xds/a.ts": 'import { b } from "./b.js";\nexport const a = () => b;',
    "src/xds/b.ts": 'import { a } from "./a.js";\nexport const b = () => a;',
  },
  "no-orphans": { "src/xds/a.ts": "export const a = 1;" },
  "pure-rooms-have-no-io": { "src/model/a.ts": 'import { readFileSync } from "node:fs";\nexport const a = readFileSync;' },
  "src-never-imports-test": {
    "src/xds/a.ts": 'import { b } from "../../test/b.js";\nexport const a = b;',
    "test/b.ts": "export const b = 1;",
  },
  "nobody-imports-the-root": {
    "src/xds/a.ts": 'import { app } from "../app.js";\nexport const a = app;',
    "src/app.ts": "export const app = 1;",
  },
  "imports-resolve": { "src/xds/a.ts": 'import { b } from "./gone.js";\nexport const a = b;' },
};

/** What the rules allow, and must go on allowing. */
const allowed: Readonly<Record<string, string>> = {
  "src/cli/a.ts": 'import type { B } from "../api/b.js";\nexport const a: B = 1;',
  "src/api/b.ts": 'import { AppError } from "../errors.js";\nexport type B = number;\nexport const b = AppError;',
  "src/errors.ts": "export class AppError {}",
  "src/demo/c.ts": 'import { a } from "../cli/a.js";\nexport const c = a;',
  "src/app.ts": 'import { c } from "./demo/c.js";\nimport { d } from "./store/d.js";\nexport const app = [c, d];',
  "src/store/d.ts": 'import pg from "pg";\nimport { e } from "../model/e.js";\nexport const d = [pg, e];',
  "src/model/e.ts": 'import assert from "node:assert/strict";\nexport const e = assert;',
};

const withNames = (files: Readonly<Record<string, string>>, serial: number): [string, string][] =>
  Object.entries(files).map(([path, text]) => [
    path.replace(/\/([ab])\.ts$/, `/$1${serial}.ts`),
    text.replaceAll(/\/([ab])\.js"/g, `/$1${serial}.js"`),
  ]);

/** A house of these files, cruised and taken down. */
function cruiseHouse(built: Readonly<Record<string, string>>): Cruise {
  const folder = mkdtempSync(join(tmpdir(), "chancery-house-"));
  const packages = ["fastify", "pg", "@grpc/grpc-js"].map((name) => [`node_modules/${name}/index.js`, "module.exports = {};"]);
  for (const name of ["tsconfig.json", "package.json"]) symlinkSync(join(top, name), join(folder, name));
  for (const [path, text] of Object.entries({ ...Object.fromEntries(packages), ...built })) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), `${text}\n`);
  }
  try {
    return cruise(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe("planted faults are found", () => {
  let found: Cruise;
  beforeAll(() => {
    found = cruiseHouse(Object.fromEntries(Object.values(faults).flatMap(withNames)));
  });

  test.each(Object.keys(faults).map((rule, serial) => [rule, serial] as const))("%s", (rule, serial) => {
    const broken = found.summary.violations.filter(({ from }) => from.endsWith(`/a${serial}.ts`));
    expect(broken.map((violation) => violation.rule.name)).toContain(rule);
  });

  test("code of the API in a client is found, types are not", () => {
    const client = (line: string): Fault[] => importedApiCode(planted("src/cli/a.ts", line));
    expect(client('import { b } from "../api/b.js";')).toHaveLength(1);
    expect(client('import { type B, b } from "../api/b.js";')).toHaveLength(1);
    expect(client('import "../api/b.js";')).toHaveLength(1);
    expect(client('export { b } from "../api/b.js";')).toHaveLength(1);
    expect(client('import type { B } from "../api/b.js";')).toEqual([]);
    expect(client('import { type B } from "../api/b.js";')).toEqual([]);
  });

  test("what is allowed is not found", () => {
    expect(violations(cruiseHouse(allowed))).toEqual([]);
  });
});
