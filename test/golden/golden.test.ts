// Each folder here is a case: state.yaml in, one file per resource type out. UPDATE_GOLDEN=1 writes the files; read the diff
// then.
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { goldenCases, goldenFiles, goldenFolder, stateOf, translate, transportOf } from "./case.js";

test.each(goldenCases)("translation of the case %s is as recorded", (name) => {
  const folder = join(goldenFolder, name);
  const files = goldenFiles(translate(stateOf(name), transportOf(name)));
  const recorded = readdirSync(folder).filter((file) => file.endsWith(".yaml") && file !== "state.yaml");
  if (process.env["UPDATE_GOLDEN"]) {
    for (const file of recorded) if (!files.has(file)) rmSync(join(folder, file));
    for (const [file, text] of files) writeFileSync(join(folder, file), text);
    return;
  }
  expect(recorded.sort()).toEqual([...files.keys()].sort());
  for (const [file, text] of files) {
    const path = join(folder, file);
    expect(existsSync(path) && readFileSync(path, "utf8"), file).toBe(text);
  }
});
