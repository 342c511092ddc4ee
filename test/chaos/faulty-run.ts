// One chaos run: faults by seed, one after the other, under writers that count what was acknowledged, Envoys that write down what they got,
// and load through real Envoys. After each fault everything must be the same again; at the end every checker gives its verdict.
// In: which faults, for how long, a seed. Out: verdicts. Called by faults.envoy.test.ts.
import { randomFrom } from "../plan/random-writes.js";
import { sql } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";
import { countMissing, faultsIn, judge } from "./checker.js";
import { readChanges, readEvidence, readInitial, readObjects } from "./evidence.js";
import { type FaultContext, faults } from "./faults.js";
import { type FaultyWorld, startFaultyWorld } from "./faulty-world.js";
import type { RunHistory } from "./history.js";
import { findRegressions, type Timeline } from "./order-checker.js";
import type { LeftHistory } from "./postgres-pair.js";
import { configuredNumbers } from "./real-envoy.js";
import { mountSmallDisk } from "./small-disk.js";
import { summaryOf } from "./world.js";
import { startWriters, type Writers } from "./writers.js";

export interface FaultyRunOptions {
  readonly faults: readonly string[];
  readonly seed: number;
  /** No fault begins after this; ms. */
  readonly durationMs: number;
  /** But for the first so many. */
  readonly leastFaults?: number;
  /** Everything must be the same again within this after a fault; ms. */
  readonly convergeMs: number;
  readonly envoys: number;
  readonly simulated: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly log: (line: string) => void;
}

/** One checker's word. */
export interface CheckerVerdict {
  readonly checker: string;
  readonly faults: readonly string[];
  /** What it looked at, for people. */
  readonly about: string;
}

export interface FaultyRun {
  readonly verdicts: readonly CheckerVerdict[];
  /** Faults that struck, in their order. */
  readonly struck: readonly string[];
  /** Acknowledged writes that are gone, told or not. */
  readonly missing: number;
}

const maxSkewMs = 60_000;
/** The world must take writes again within this after a fault. */
const recoverMs = 60_000;

export async function carryOutFaultyRun(options: FaultyRunOptions): Promise<FaultyRun> {
  const random = randomFrom(options.seed);
  const synchronous = !options.faults.includes("failover-lagging");
  const disk = options.faults.includes("disk-full") ? await mountSmallDisk() : undefined;
  if (options.faults.includes("disk-full") && !disk)
    options.log("disk-full is left out: a small disk can be mounted by root only");
  const world = await startFaultyWorld({
    synchronous,
    dataDir: disk && `${disk}/postgres`,
    envoys: options.envoys,
    simulated: options.simulated,
    maxSkewMs: options.faults.includes("clock-skew") ? maxSkewMs : 0,
    random,
    loadMs: options.durationMs + 600_000,
    ...(options.env ? { env: options.env } : {}),
  });
  const run = new Run(options, world, random, disk);
  return run.carryOut();
}

class Run {
  readonly #writers: Writers;
  readonly #struck: string[] = [];
  /** Histories that were left, oldest first, and where the next one began. */
  readonly #left: { readonly changes: Timeline["changes"]; readonly fork: number }[] = [];
  readonly #unconverged: string[] = [];
  #slowestMs = 0;

  constructor(
    private readonly options: FaultyRunOptions,
    private readonly world: FaultyWorld,
    private readonly random: (below: number) => number,
    private readonly disk: string | undefined,
  ) {
    this.#writers = startWriters({
      urls: world.planes.map(({ replica }) => replica.api.url),
      writers: 4,
      seed: options.seed,
      hangUpOneIn: 25,
      routes: world.routes,
      maxPauseMs: 200,
      isHeld: true,
    });
  }

  async carryOut(): Promise<FaultyRun> {
    const initial = await readInitial(this.world.pair.directUrl());
    this.#writers.goOn();
    const endsAt = performance.now() + this.options.durationMs;
    for (const name of this.#order()) {
      if (performance.now() > endsAt && this.#struck.length >= (this.options.leastFaults ?? 0)) break;
      await this.#strike(name);
    }
    const attempts = await this.#writers.stop();
    await this.world.pair.settled();
    const load = await this.world.load.stop();
    const evidence = await readEvidence(
      this.world.pair.directUrl(),
      this.world.planes.map(({ replica }) => replica),
      initial,
    );
    const history: RunHistory = { attempts, ...evidence, toldLost: this.#toldLost() };
    const regressions = findRegressions(this.world.recorded, await this.#timelines());
    const rejected = await Promise.all(this.world.envoys.map((envoy) => envoy.statSum(".*\\.update_rejected")));
    const streams = this.world.recorded.reduce((sum, envoy) => sum + envoy.streams, 0);
    const missing = countMissing(history);
    // A writer whose own object was lost deletes what is not there any more.
    const unexpected = this.#writers.unexpected.filter((answer) => missing === 0 || answer !== "422 invalid_reference");
    const verdicts: CheckerVerdict[] = [
      {
        checker: "writes",
        faults: [...faultsIn(judge(history)), ...unexpected],
        about: `${summaryOf(history)}; ${missing} lost and told as lost`,
      },
      {
        checker: "order",
        faults: regressions,
        about: `${this.world.recorded.length} simulated Envoys, ${streams} streams, ${this.#left.length} histories left`,
      },
      {
        checker: "convergence",
        faults: this.#unconverged,
        about: `${this.#struck.length} faults; the slowest took ${Math.round(this.#slowestMs)} ms`,
      },
      {
        checker: "data plane",
        faults: load.failures.map(({ asked, what }) => `${asked}: ${what}`),
        about: `${load.total} requests`,
      },
      {
        checker: "refusals",
        faults: rejected.flatMap((count, index) => (count > 0 ? [`edge-${index} refused ${count} updates`] : [])),
        about: `${rejected.length} real Envoys`,
      },
    ];
    return { verdicts, struck: this.#struck, missing };
  }

  /** All faults in an order by seed, again and again. */
  *#order(): Generator<string> {
    const names = this.options.faults.filter(
      (name) => faults[name] !== undefined && (name !== "disk-full" || this.disk !== undefined),
    );
    for (;;) {
      const bag = [...names];
      while (bag.length > 0) yield bag.splice(this.random(bag.length), 1)[0] ?? "";
    }
  }

  async #strike(name: string): Promise<void> {
    const startedAt = performance.now();
    const context: FaultContext = {
      world: this.world,
      writers: this.#writers,
      random: this.random,
      disk: this.disk,
      onLeft: (left) => this.#readLeft(left),
    };
    this.#struck.push(name);
    await faults[name]?.(context);
    const overAt = performance.now();
    const wanted = this.#writers.acked + 5;
    await waitFor(`writes get through after ${name}`, () => this.#writers.acked >= wanted, { timeoutMs: recoverMs });
    await this.#writers.hold();
    const convergedMs = await this.#converge(name);
    this.#writers.goOn();
    this.options.log(
      `${name} for ${Math.round(overAt - startedAt)} ms; the same everywhere ${convergedMs} ms after the last write; ${this.#writers.acked} writes acknowledged`,
    );
  }

  /** Until every Envoy has what the database has. */
  async #converge(after: string): Promise<number> {
    const startedAt = performance.now();
    const objects = await readObjects(this.world.pair.directUrl());
    let different: readonly string[] = [];
    const look = async (): Promise<boolean> => {
      different = await this.#different(objects);
      return different.length === 0;
    };
    await waitFor("every Envoy has what the database has", look, { timeoutMs: recoverMs }).catch(() => undefined);
    const tookMs = Math.round(performance.now() - startedAt);
    this.#slowestMs = Math.max(this.#slowestMs, tookMs);
    if (different.length > 0) this.#unconverged.push(`after ${after}, never: ${different.slice(0, 3).join("; ")}`);
    else if (tookMs > this.options.convergeMs) this.#unconverged.push(`after ${after}: ${tookMs} ms`);
    return tookMs;
  }

  async #different(objects: Readonly<Record<string, number>>): Promise<string[]> {
    const simulated = this.world.recorded.map((envoy) => [envoy.node, envoy.now()] as const);
    const real = await Promise.all(this.world.envoys.map(async (envoy) => [envoy.node, await configuredNumbers(envoy)] as const));
    return [...simulated, ...real].flatMap(([node, now]) =>
      Object.entries(objects)
        .filter(([name, value]) => !name.startsWith("own-") && now.get(name) !== value)
        .map(([name, value]) => `${node} has ${name} at ${now.get(name)}, not ${value}`),
    );
  }

  // ---- Histories -----------------------------------------------------------------------------------------------------

  async #readLeft(left: LeftHistory): Promise<void> {
    const ids = "select revision::text, id::text from revisions order by revisions.revision";
    type Mark = { readonly revision: string; readonly id: string };
    const [old, now] = [await sql<Mark>(left.url, ids), await sql<Mark>(this.world.pair.directUrl(), ids)];
    const kept = new Set(now.map(({ id }) => id));
    const fork = Math.max(0, ...old.filter(({ id }) => kept.has(id)).map(({ revision }) => Number(revision)));
    this.#left.push({ changes: await readChanges(left.url), fork });
    await left.remove();
  }

  async #timelines(): Promise<readonly Timeline[]> {
    const last = { changes: await readChanges(this.world.pair.directUrl()) };
    return [...this.#left, last].map(({ changes }, index) => ({ changes, fork: this.#left[index - 1]?.fork ?? 0 }));
  }

  /** What control planes have told as lost, in their logs. */
  #toldLost(): (readonly [number, number])[] {
    return this.world.planes
      .flatMap(({ replica }) => replica.log().split("\n"))
      .filter((line) => line.includes("another history"))
      .flatMap((line): (readonly [number, number])[] => {
        const { lostFrom, lostTo }: { lostFrom?: unknown; lostTo?: unknown } = JSON.parse(line);
        return typeof lostFrom === "number" && typeof lostTo === "number" ? [[lostFrom, lostTo]] : [];
      });
  }
}
