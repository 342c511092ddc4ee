// An Envoy that runs a state without a control plane: for tests of what the translated messages mean, not of how they travel.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onCleanup } from "../support/cleanup.js";
import { findEnvoyBinary } from "../support/envoy.js";
import { freePort } from "../support/ports.js";
import { startChild } from "../support/processes.js";
import { waitFor } from "../support/wait.js";
import { type Translated, translate } from "./case.js";
import { readState } from "./state.js";
import { toRunnableBootstrap } from "./static-bootstrap.js";

export interface RunningEnvoy {
  /** The admin page's answer. */
  admin(path: string): Promise<string>;
}

/** Starts one on a state as golden cases write it, and waits until it serves. It is killed when the test file ends. */
export async function runState(yaml: string): Promise<RunningEnvoy> {
  return runTranslated(translate(readState(yaml)));
}

export async function runTranslated(translated: Translated): Promise<RunningEnvoy> {
  const adminPort = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "chancery-run-"));
  onCleanup("its bootstrap", () => rmSync(folder, { recursive: true, force: true }));
  const bootstrap = join(folder, "bootstrap.pb");
  writeFileSync(bootstrap, toRunnableBootstrap(translated, adminPort));
  const child = startChild("envoy", findEnvoyBinary(), [
    "-c",
    bootstrap,
    "--use-dynamic-base-id",
    "--concurrency",
    "1",
    "-l",
    "warn",
  ]);
  const admin = async (path: string): Promise<string> => (await fetch(`http://127.0.0.1:${adminPort}${path}`)).text();
  await waitFor("Envoy is live", async () => (await admin("/ready")).startsWith("LIVE")).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${child.log()}`);
  });
  return { admin };
}
