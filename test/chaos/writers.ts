// Writers that count exactly what was acknowledged: each write has a token of its own, is sent under an Idempotency-Key, and is sent again
// under the same one until an answer says what became of it. Some answers are lost on purpose, by hanging up on a write under way.
// In: the replicas' addresses. Out: what each writer was told. Called by chaos.pg.test.ts.
import { setTimeout as pause } from "node:timers/promises";
import { randomFrom } from "../plan/random-writes.js";
import type { Json } from "../support/api-client.js";
import { waitFor } from "../support/wait.js";
import type { Sets, WriteAttempt } from "./history.js";

/** How many there are, where they write, and how they behave. */
export interface WriterOptions {
  /** Of the admin APIs; a writer goes to the next one when its own fails. */
  readonly urls: readonly string[];
  readonly writers: number;
  readonly seed: number;
  /** One in so many requests is hung up on before its answer. */
  readonly hangUpOneIn: number;
  /** False: a mutant, which asks again without a key. */
  readonly isKeyed?: boolean;
  /** Routes, by the names that they go by in a Sets, that are written as well; they exist. */
  readonly routes?: ReadonlyMap<string, Json>;
  /** They begin when they are told to go on. */
  readonly isHeld?: boolean;
  /** Longest pause between two writes of a writer, ms. */
  readonly maxPauseMs?: number;
}

/** A group of writers under way. */
export interface Writers {
  readonly acked: number;
  readonly hungUp: number;
  /** `<status> <code>` of answers that were neither a success nor to be expected of a database or replica that is away. */
  readonly unexpected: readonly string[];
  /** No new write begins; resolves when the last ones have ended. */
  hold(): Promise<void>;
  /** They go on. */
  goOn(): void;
  /** Every write ends with an answer, or as unknown after `patienceMs`. Resolves with all of them. */
  stop(patienceMs?: number): Promise<readonly WriteAttempt[]>;
}

/** Clusters that all writers share: what one writes, another overwrites, so that a write which is done again later shows. */
export const sharedClusters = ["shared-0", "shared-1", "shared-2", "shared-3", "shared-4", "shared-5"] as const;
const requestTimeoutMs = 15_000;
const standardMaxPauseMs = 20;
const maxRetryPauseMs = 100;
const hangUpWithinMs = 30;
/** They say that trying again may help; 408 comes from a control plane that hung, and says nothing of an earlier try. */
const retryable = new Set([408, 429, 503]);

interface Answer {
  readonly status: number;
  readonly body: { readonly revision?: number; readonly code?: string };
}

/** Starts them. They write until they are stopped. */
export function startWriters(options: WriterOptions): Writers {
  const writers = Array.from({ length: options.writers }, (_, index) => new Writer(index, options));
  const running = writers.map((writer) => writer.run());
  const sum = (count: (writer: Writer) => number): number => writers.reduce((total, writer) => total + count(writer), 0);
  return {
    get acked() {
      return sum((writer) => writer.acked);
    },
    get hungUp() {
      return sum((writer) => writer.hungUp);
    },
    get unexpected() {
      return writers.flatMap((writer) => writer.unexpected);
    },
    async hold() {
      for (const writer of writers) writer.isHeld = true;
      await waitFor("no write is under way", () => writers.every(({ isBusy }) => !isBusy), { timeoutMs: 60_000, everyMs: 5 });
    },
    goOn() {
      for (const writer of writers) writer.isHeld = false;
    },
    async stop(patienceMs = 30_000) {
      for (const writer of writers) writer.stopBy = performance.now() + patienceMs;
      await Promise.all(running);
      return writers.flatMap((writer) => writer.attempts);
    },
  };
}

class Writer {
  readonly attempts: WriteAttempt[] = [];
  readonly unexpected: string[] = [];
  acked = 0;
  hungUp = 0;
  /** Set: no new write begins, and the last one is given up at this time. */
  stopBy: number | undefined;
  isHeld: boolean;
  isBusy = false;
  readonly #random: (below: number) => number;
  readonly #shared: readonly string[];
  #serial = 0;
  #replica: number;
  #ownExists = false;

  constructor(
    private readonly index: number,
    private readonly options: WriterOptions,
  ) {
    this.#random = randomFrom(options.seed * 1_000 + index);
    this.#replica = index;
    this.isHeld = options.isHeld ?? false;
    this.#shared = [...sharedClusters, ...(options.routes?.keys() ?? [])];
  }

  async run(): Promise<void> {
    while (this.stopBy === undefined) {
      if (this.isHeld) {
        await pause(5);
        continue;
      }
      this.isBusy = true;
      this.#serial += 1;
      const sets = this.#sets();
      const attempt = await this.#carryOut(`w${this.index}-${this.#serial}`, sets);
      this.attempts.push(attempt);
      if (attempt.outcome === "acked") this.acked += 1;
      if (attempt.outcome === "acked" && this.#own in sets) this.#ownExists = sets[this.#own] !== undefined;
      this.isBusy = false;
      await pause(this.#random(this.options.maxPauseMs ?? standardMaxPauseMs));
    }
  }

  get #own(): string {
    return `own-${this.index}`;
  }

  /** A number that no other write has, on two objects that all share; now and then the writer's own object comes or goes. */
  #sets(): Sets {
    const value = (this.index + 1) * 1_000_000 + this.#serial;
    if (this.#random(5) === 0) return { [this.#own]: this.#ownExists ? undefined : value };
    const count = this.#shared.length;
    const first = this.#random(count);
    const second = (first + 1 + this.#random(count - 1)) % count;
    return { [this.#shared[first] ?? ""]: value, [this.#shared[second] ?? ""]: value };
  }

  async #carryOut(token: string, sets: Sets): Promise<WriteAttempt> {
    for (let tries = 1; ; tries++) {
      const answer = await this.#send(token, sets, tries).catch(() => undefined); // No answer: it may be done or not.
      const { status, body } = answer ?? { status: 0, body: {} };
      if (status >= 200 && status < 300) return { token, sets, outcome: "acked", revision: body.revision, tries };
      if (status !== 0 && !retryable.has(status)) this.unexpected.push(`${status} ${body.code}`);
      if (status >= 400 && status < 500 && !retryable.has(status))
        return { token, sets, outcome: "refused", revision: undefined, tries };
      if (this.stopBy !== undefined && performance.now() > this.stopBy)
        return { token, sets, outcome: "unknown", revision: undefined, tries };
      if (answer === undefined) this.#replica += 1;
      await pause(this.#random(maxRetryPauseMs));
    }
  }

  #toChange(name: string, value: number | undefined): Json {
    if (value === undefined) return { op: "delete", kind: "cluster", name };
    const route = this.options.routes?.get(name);
    if (route) return { op: "put", kind: "route", object: { ...route, timeoutMs: value } };
    return { op: "put", kind: "cluster", object: { name, circuitBreakers: { maxConnections: value } } };
  }

  async #send(token: string, sets: Sets, tries: number): Promise<Answer> {
    const { hangUpOneIn, isKeyed = true, urls } = this.options;
    const changes = Object.entries(sets).map(([name, value]) => this.#toChange(name, value));
    const line = new AbortController();
    const hangsUp = this.#random(hangUpOneIn) === 0;
    const timer = setTimeout(() => line.abort(), hangsUp ? this.#random(hangUpWithinMs) : requestTimeoutMs);
    try {
      const response = await fetch(`${urls[this.#replica % urls.length]}/v1/changes`, {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "x-chancery-author": `writer-${this.index}`,
          "x-chancery-reason": token,
          ...(isKeyed ? { "idempotency-key": token } : {}),
        },
        body: JSON.stringify({ changes }),
        signal: line.signal,
      });
      return { status: response.status, body: (await response.json()) as Answer["body"] };
    } catch (error) {
      if (line.signal.aborted && hangsUp) this.hungUp += 1;
      throw new Error(`no answer to ${token}, try ${tries}`, { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }
}
