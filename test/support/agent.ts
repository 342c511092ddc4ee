// `chancery agent` as a process of its own, beside the Envoys of a test. In: the control planes. Out: its status, and ways to end it.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { AgentNode } from "../../src/agent/agent.js";
import { onCleanup } from "./cleanup.js";
import { type Scrape, scrape } from "./metrics.js";
import { freePorts } from "./ports.js";
import { type Child, startChild } from "./processes.js";
import { waitFor } from "./wait.js";

const main = fileURLToPath(new URL("../../dist/main.js", import.meta.url));

export interface AgentProcess {
  /** Where Envoys come to. */
  readonly port: number;
  /** Where it keeps what they have. */
  readonly folder: string;
  nodes(): Promise<readonly AgentNode[]>;
  /** Its metrics. */
  scrape(): Promise<Scrape>;
  log(): string;
  kill(): Promise<void>;
  stop(): Promise<void>;
  /** Starts it again, on the same ports and folder. */
  start(): Promise<void>;
}

/** Starts one and waits until it listens. */
export async function startAgent(xdsPorts: readonly number[], patienceSeconds = 1): Promise<AgentProcess> {
  const [port = 0, statusPort = 0] = await freePorts(2);
  const folder = mkdtempSync(join(tmpdir(), "agent-"));
  onCleanup("the agent's files", () => rmSync(folder, { recursive: true, force: true }));
  const xds = xdsPorts.map((one) => `127.0.0.1:${one}`).join(",");
  const flags = ["--listen", `127.0.0.1:${port}`, "--status", `127.0.0.1:${statusPort}`, "--patience", String(patienceSeconds)];
  const launch = (): Child =>
    startChild(
      "agent",
      process.execPath,
      [main, "agent", ...flags, "--xds", xds, "--state-dir", folder, "--log-level", "debug"],
      {
        NODE_OPTIONS: undefined,
      },
    );
  const read = async (): Promise<AgentNode[]> => {
    const response = await fetch(`http://127.0.0.1:${statusPort}/readyz`, { signal: AbortSignal.timeout(5_000) });
    return ((await response.json()) as { nodes: AgentNode[] }).nodes; // As status-page.ts writes it.
  };
  let child = launch();
  const listening = (): Promise<unknown> => waitFor("the agent listens", () => read().then(() => true), { timeoutMs: 30_000 });
  await listening();
  return {
    port,
    folder,
    nodes: read,
    scrape: () => scrape({ url: `http://127.0.0.1:${statusPort}` }),
    log: () => child.log(),
    kill: () => child.kill(),
    stop: () => child.stop(),
    start: async () => {
      child = launch();
      await listening();
    },
  };
}
