// The faults of a chaos run: what each does to the world, and undoes. Their names and what they are, for people, is in faults.json, which
// `npm run chaos -- --help` prints. In: a world. Out: resolves when the fault is over. Called by faulty-run.ts.
import { readFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { waitFor } from "../support/wait.js";
import type { FaultyWorld, Reachable } from "./faulty-world.js";
import type { LeftHistory } from "./postgres-pair.js";
import type { Writers } from "./writers.js";

/** What a fault may touch. */
export interface FaultContext {
  readonly world: FaultyWorld;
  readonly writers: Writers;
  readonly random: (below: number) => number;
  /** Where the first primary's disk is mounted; undefined: it has no small one. */
  readonly disk: string | undefined;
  /** Takes a history that a failover left. */
  readonly onLeft: (left: LeftHistory) => Promise<void>;
}

const slowAtResumeMs = 250;

type Strike = (context: FaultContext) => Promise<void>;

/** name → what it is, for people. */
export const faultTexts: Readonly<Record<string, string>> = JSON.parse(
  readFileSync(new URL("faults.json", import.meta.url), "utf8"),
);

const between = ({ random }: FaultContext, least: number, most: number): number => least + random(most - least + 1);

function plane({ world, random }: FaultContext): Reachable {
  const found = world.planes[random(world.planes.length)];
  if (!found) throw new Error("no control plane");
  return found;
}

/** name → what it does. `clock-skew` holds for the whole run: the world gives each start a clock. */
export const faults: Readonly<Record<string, Strike>> = {
  "replica-kill": async (context) => {
    const { replica } = plane(context);
    await replica.kill();
    await replica.start(context.world.nextClock());
  },
  "replica-pause": async (context) => {
    const hung = plane(context);
    const forMs = between(context, 1_000, 12_000);
    hung.replica.pause();
    await pause(forMs / 2);
    // Some Envoys of the others come over, and are the first that it hears of when it goes on, with an older state than they have.
    for (const other of context.world.planes) if (other !== hung) other.xds.cut();
    await pause(forMs / 2);
    // Its own look at the database comes late, so that whoever does not wait for it would show.
    context.world.pair.address.slowBy(slowAtResumeMs);
    hung.replica.resume();
    await pause(4 * slowAtResumeMs);
    context.world.pair.address.slowBy(0);
  },
  "postgres-kill": async ({ world }) => {
    await world.pair.settled(); // A standby that is being copied would be half of one.
    const { primary } = world.pair;
    await primary.crash();
    await primary.start();
  },
  failover: async ({ world, onLeft }) => onLeft(await world.pair.failover()),
  "failover-lagging": async (context) => {
    const { world, writers, onLeft } = context;
    await world.pair.settled();
    world.pair.replication.become("stalled");
    const wanted = writers.acked + between(context, 5, 30);
    await waitFor("acknowledged writes that the standby lacks", () => writers.acked >= wanted, { timeoutMs: 30_000 });
    await onLeft(await world.pair.failover());
  },
  "database-cut": async ({ world }) => world.pair.address.cut(),
  "database-slow": async (context) => slow(context.world.pair.address, context),
  "database-blackhole": async (context) => stall(context.world.pair.address, between(context, 1_000, 6_000)),
  "commit-reply-lost": async (context) => {
    const { address } = context.world.pair;
    address.loseRepliesTo("commit_revision(");
    await pause(between(context, 1_000, 2_000));
    address.loseRepliesTo(undefined);
  },
  "disk-full": async (context) => {
    const { disk, world } = context;
    if (disk === undefined) return;
    await context.world.pair.settled();
    const ballast = join(disk, "ballast");
    await fill(ballast);
    await pause(between(context, 2_000, 4_000));
    await rm(ballast);
    const { primary } = world.pair;
    // Without room for its log it has ended, and nobody else starts it.
    if (!(await primary.isRunning())) await primary.start();
  },
  "envoy-cut": async (context) => plane(context).xds.cut(),
  "envoy-slow": async (context) => slow(plane(context).xds, context),
  "envoy-blackhole": async (context) => stall(plane(context).xds, between(context, 1_000, 12_000)),
};

async function slow(proxy: Reachable["xds"], context: FaultContext): Promise<void> {
  proxy.slowBy(between(context, 50, 250));
  await pause(between(context, 1_000, 3_000));
  proxy.slowBy(0);
}

async function stall(proxy: Reachable["xds"], forMs: number): Promise<void> {
  proxy.become("stalled");
  await pause(forMs);
  proxy.become("pass");
}

/** Until there is no room for one more byte. */
async function fill(path: string): Promise<void> {
  const file = await open(path, "w");
  for (let size = 33_554_432; size >= 1; ) {
    const isWritten = await file.write(Buffer.alloc(size, 1)).then(
      ({ bytesWritten }) => bytesWritten === size,
      () => false,
    );
    if (!isWritten) size = Math.floor(size / 16);
  }
  await file.close();
}
