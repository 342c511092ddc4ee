// Migrations are numbered without a gap, forward only, and end as the store expects them.
import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";

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
