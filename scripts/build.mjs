// npm run build: dist/ from src/ and proto/. Protos are built only when an input of theirs has changed (1.5 s); tsc always (0.7
// s).
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildProtos } from "./build-protos.mjs";

const top = join(dirname(fileURLToPath(import.meta.url)), "..");
if (buildProtos()) console.log("Built dist/protos.json and gen/ from proto/.");
const tsc = join(dirname(createRequire(import.meta.url).resolve("typescript/package.json")), "bin", "tsc");
try {
  execFileSync(process.execPath, [tsc, "-p", join(top, "tsconfig.json")], { stdio: "inherit" });
} catch {
  process.exit(1); // tsc has said what is wrong.
}
