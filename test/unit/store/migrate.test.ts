// Migrations are numbered without a gap, forward only, and end as the store expects them.
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { schemaFault, schemaVersion } from "../../../src/store/schema-version.js";

const folder = new URL("../../../migrations/", import.meta.url);
const files = readdirSync(folder).sort();

test("migrations are numbered from 0001 without a gap", () => {
  expect(files.map((name) => name.slice(0, 5))).toEqual(files.map((_, at) => `${String(at + 1).padStart(4, "0")}_`));
  for (const name of files) expect(name).toMatch(/^\d{4}_[a-z0-9-]+\.sql$/);
});

test.each(files)("%s goes forward only, and needs nothing that a portable database lacks", (name) => {
  const text = readFileSync(new URL(name, folder), "utf8");
  expect(text).toMatch(/^-- Up Migration$/m);
  expect(text).not.toMatch(/down migration/i);
  const statements = text.replaceAll(/--.*$/gm, "");
  expect(statements).not.toMatch(/\b(bigserial|serial|advisory|create trigger|temporary|exclude using|create extension)\b/i);
});

test("every migration says which programs may go on with it, and the program knows the newest", () => {
  expect(files.length).toBe(schemaVersion);
  for (const [at, name] of files.entries()) {
    const number = at + 1;
    if (number < 14) continue; // The thirteenth made the row.
    const text = readFileSync(new URL(name, folder), "utf8");
    expect([name, /update schema_version set version = (\d+)(, compatible_from = (\d+))?;/.exec(text)?.[1]]).toEqual([
      name,
      String(number),
    ]);
  }
});

// Mutants that were tried, and are caught: a newer schema always passes; it never does.
test("a program goes on with a newer schema where that says so, and with nothing older or contracted", () => {
  const judged = (version: number | null, from: number | null) =>
    schemaFault({ schema_version: version, compatible_from: from }, 11)?.code;
  expect(judged(11, 11)).toBeUndefined();
  expect(judged(11, 4)).toBeUndefined();
  expect(judged(15, 11)).toBeUndefined();
  expect(judged(15, 12)).toBe("schema_too_new");
  expect(judged(10, 1)).toBe("database_unavailable");
  expect(judged(null, null)).toBe("database_unavailable");
});
