// LISTEN on a connection of its own: hints that something was committed, never the truth (33 of 200 were lost in one reconnect of
// 200 ms, and behind a pooler in transaction mode none arrive). In: NOTIFY. Out: callbacks, also after every reconnect.
// Called by store.ts when notices are on; without it everything works by polling alone.
import pg from "pg";
import { reasonOf } from "../errors.js";
import type { Logger } from "../telemetry/logger.js";
import { clientConfig } from "./pool.js";

/** What is hinted → the channel's name in Postgres. */
export const channels = { revision: "chancery_revision", sync: "chancery_sync" } as const;
/** revision: something was committed. sync: a replica saved how far its nodes are. */
export type Channel = keyof typeof channels;

const minRetryMs = 100;
const maxRetryMs = 2_000;
/** A connection that died silently is found by this. Until then hints are missing, and the poll goes on. */
const pingMs = 15_000;

/** Where to listen, and whom to call. */
export interface HintOptions {
  readonly databaseUrl: string;
  readonly connectTimeoutMs: number;
  readonly queryTimeoutMs: number;
  /** It listens anew after this long, as the address may lead elsewhere by then: a server that is the primary no more notifies nobody. */
  readonly connectionAgeMs: number;
  readonly log: Logger;
  /** Called for each notice, and for every channel after each connect, as notices may have been missed. */
  readonly onHint: (channel: Channel) => void;
}

/** One connection that listens from construction to close(), through any number of losses. */
export class RevisionHints {
  readonly #abort = new AbortController();
  readonly #loop: Promise<void>;
  #failures = 0;

  constructor(private readonly options: HintOptions) {
    this.#loop = this.#run();
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#loop;
  }

  async #run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        await this.#listen();
      } catch (error) {
        if (this.#failures === 0)
          this.options.log.warn(
            { reason: reasonOf(error) },
            "notices are off until the database answers; changes are found by polling",
          );
        this.#failures += 1;
      }
      const ceilingMs = Math.min(maxRetryMs, minRetryMs * 2 ** Math.min(this.#failures, 10));
      await this.#pause(minRetryMs + Math.random() * ceilingMs);
    }
  }

  /** Returns when closed or of age, throws when the connection is lost. */
  async #listen(): Promise<void> {
    const client = new pg.Client(clientConfig({ ...this.options, name: "hints" }));
    const lost = new Promise<never>((_, reject) => {
      client.on("error", reject);
      client.on("end", () => reject(new Error("the connection for notices has ended")));
    });
    lost.catch(() => {}); // It may break before anything waits for it.
    client.on("notification", ({ channel }) => {
      for (const [name, topic] of entries) if (topic === channel) this.options.onHint(name);
    });
    try {
      await client.connect();
      await client.query(entries.map(([, topic]) => `listen ${topic}`).join("; "));
      if (this.#failures > 0) this.options.log.info({}, "notices are on again");
      this.#failures = 0;
      for (const [name] of entries) this.options.onHint(name);
      const endsAt = performance.now() + this.options.connectionAgeMs;
      while (!this.#abort.signal.aborted && performance.now() < endsAt) {
        await Promise.race([lost, this.#pause(Math.min(pingMs, this.options.connectionAgeMs))]);
        if (!this.#abort.signal.aborted) await client.query("select 1");
      }
    } finally {
      // Not awaited: a connection that is gone would hold up close() until TCP gives up.
      client.end().catch(() => {});
    }
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#abort;
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = setTimeout(done, ms);
      signal.addEventListener("abort", done);
    });
  }
}

const entries: readonly (readonly [Channel, string])[] = [
  ["revision", channels.revision],
  ["sync", channels.sync],
];
