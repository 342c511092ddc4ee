// The demo's Postgres, kept running: when it ends by itself it is started again on its port, where the control plane looks for it.
// In: a data folder. Out: a URL, and how to stop it. Called by up.ts.
import { setTimeout as delay } from "node:timers/promises";
import { startEmbeddedPostgres } from "./embedded-postgres.js";
import type { Keeper } from "./keeper.js";
import { isAlive } from "./postgres-process.js";
import type { Exit, Running } from "./running.js";
import { supervise } from "./supervise.js";

/** Where its data is, whom to tell, and who ends it should we die. */
export interface DatabaseOptions {
  readonly dataDir: string;
  readonly say: (line: string) => void;
  readonly keeper: Keeper;
}

/** It is no child of ours when it was taken over from an earlier run, so its process is looked at, not waited for. */
const lookMs = 500;

async function whenGone(pid: number, stopped: AbortSignal): Promise<Exit> {
  while (isAlive(pid) && !stopped.aborted) await delay(lookMs, undefined, { signal: stopped }).catch(() => undefined);
  return { code: null, signal: null };
}

async function start(
  { dataDir, say, keeper }: DatabaseOptions,
  port: number | undefined,
): Promise<Running & { readonly url: string }> {
  const log = (line: string): void => (port === undefined ? say(`  ${line}`) : undefined); // The second time it is no news.
  const postgres = await startEmbeddedPostgres({ dataDir, log, ...(port === undefined ? {} : { port }) });
  if (!postgres.reused) keeper.keep(postgres.pid, "INT");
  const stopped = new AbortController();
  const exited = whenGone(postgres.pid, stopped.signal).finally(() => keeper.release(postgres.pid));
  return {
    url: postgres.url,
    pid: postgres.pid,
    logFile: `${postgres.dataDir}/server.log`,
    exited,
    stop: async () => {
      await postgres.stop();
      stopped.abort();
      return exited;
    },
  };
}

/** @throws Error in words for people, when the first start fails */
export async function keepPostgres(options: DatabaseOptions): Promise<{ readonly url: string; stop(): Promise<void> }> {
  let last: (Running & { readonly url: string }) | undefined;
  const startAgain = async (): Promise<Running & { readonly url: string }> => {
    await last?.stop(); // It is gone; what is left is the note that it is ours to stop.
    last = await start(options, last && Number(new URL(last.url).port));
    return last;
  };
  const postgres = await supervise("Postgres", startAgain, options.say);
  return { url: postgres.current().url, stop: () => postgres.stop() };
}
