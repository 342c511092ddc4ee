// One round of a fault: four drains, one in each state and one that ends by itself, and then the replica that was asked for them is killed,
// or hangs. In: a fleet and a fault. Out: what became of each drain. Called by faults.envoy.test.ts.
import { setTimeout as pause } from "node:timers/promises";
import type { Api } from "../support/api-client.js";
import { clusterBody, listenerBody, quickCheck, routeBody, streamRouteBody } from "../support/bodies.js";
import type { Envoy } from "../support/envoy.js";
import { type LongConnections, openTcp, openWebSockets } from "../support/long-connections.js";
import { freePort } from "../support/ports.js";
import type { Replica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { setUp } from "../support/world.js";
import { type Backend, startBackend } from "./backend.js";
import type { Observer, Seen } from "./observer.js";

/** The state in which a drain is when the fault strikes. `ending`: in flight, and over by itself a moment later. */
export const cases = ["requested", "in-flight", "ending", "closing"] as const;
export type Case = (typeof cases)[number];

export interface FaultRound {
  readonly round: number;
  readonly fault: "SIGKILL" | "SIGSTOP";
  readonly victim: Replica;
  readonly survivor: Replica;
  /** Of gateway `slow`, which has the cluster of `requested` only: it is stopped while that drain begins. */
  readonly slow: Envoy;
  readonly slowPort: number;
  readonly observer: Observer;
}

/** What became of one drain. */
export interface Outcome {
  readonly case: Case;
  readonly endpoint: string;
  readonly last: Seen;
  /** The first look that found it ended: its end is not to change any more. */
  readonly firstEnd: Seen | undefined;
  /** The first look that found it closing. */
  readonly closing: Seen | undefined;
  /** Sessions on its backend, by the backend's own count, when it was first seen ended. */
  readonly inUse: number;
  /** Sessions of the backend that stays which died. */
  readonly othersDied: number;
}

interface Scene {
  readonly case: Case;
  readonly cluster: string;
  readonly leaving: Backend;
  readonly staying: Backend;
  readonly held: LongConnections;
}

const sessions = 6;
const timeoutMs: Readonly<Record<Case, number>> = { requested: 12_000, "in-flight": 12_000, ending: 20_000, closing: 1_500 };
/** After the fault, ms. */
const resumeAfterMs = 1_000;
const closeAfterMs = 3_000;
const longestMs = 60_000;

async function startScene(api: Api, of: Case, { round, slowPort }: FaultRound): Promise<Scene> {
  const name = `${of}-${round}`;
  const kind = of === "requested" ? "websocket" : "tcp";
  const start = async (which: string): Promise<Backend> => startBackend(kind, `${which}-${name}`, await freePort());
  const [leaving, staying] = [await start("leaving"), await start("staying")];
  if (kind === "websocket") {
    await setUp(api, [
      ["cluster", clusterBody(name, [leaving, staying])],
      ["route", routeBody(name, "slow", name, { upgrades: ["websocket"], match: { path: { prefix: `/${name}` } } })],
    ]);
    return { case: of, cluster: name, leaving, staying, held: await openWebSockets(slowPort, sessions, `/${name}`) };
  }
  const port = await freePort();
  const closes = of === "closing" ? { drain: { atDeadline: "close" }, healthChecks: [quickCheck("tcp")] } : {};
  await setUp(api, [
    ["listener", listenerBody(name, port, { protocol: "tcp" })],
    ["cluster", clusterBody(name, [leaving, staying], { protocol: "tcp", loadBalancing: { policy: "round-robin" }, ...closes })],
    ["route", streamRouteBody("tcp", name, name, name)],
  ]);
  return { case: of, cluster: name, leaving, staying, held: await openTcp(port, sessions) };
}

/** Strikes when each drain is in its state. */
async function strike({ fault, victim }: FaultRound, ids: ReadonlyMap<Case, string>): Promise<void> {
  const stateOf = async (of: Case): Promise<string> =>
    (await victim.api.get<{ state: string }>(`/v1/drains/${ids.get(of)}`)).state;
  for (const [of, state] of [
    ["in-flight", "in-flight"],
    ["ending", "in-flight"],
    ["requested", "requested"],
  ] as const)
    await waitFor(`${of} is ${state}`, async () => (await stateOf(of)) === state, { timeoutMs: 8_000, everyMs: 20 });
  await waitFor("closing", async () => (await stateOf("closing")) === "closing", { timeoutMs: 8_000, everyMs: 10 });
  if (fault === "SIGKILL") await victim.kill();
  else victim.pause();
}

export async function faultRound(round: FaultRound): Promise<readonly Outcome[]> {
  const { victim, survivor, slow, observer, fault } = round;
  const scenes = [];
  for (const of of cases) scenes.push(await startScene(survivor.api, of, round));
  const open = new Map(scenes.map(({ case: of, staying }) => [of, staying.inUse()]));
  slow.pause();
  const ids = new Map<Case, string>();
  for (const { case: of, cluster, leaving } of scenes) {
    const body = { cluster, endpoints: [leaving.address], timeoutMs: timeoutMs[of] };
    ids.set(of, String((await victim.api.post("/v1/drains", body)).object?.["id"]));
  }
  const seen = new Map<string, { closing?: Seen; firstEnd?: Seen; last?: Seen; inUse?: number }>();
  const leavingOf = new Map(scenes.map(({ case: of, leaving }) => [ids.get(of) ?? "", leaving]));
  observer.onSeen((row) => {
    const leaving = leavingOf.get(row.id);
    if (!leaving) return;
    const known = seen.get(row.id) ?? {};
    if (row.state === "closing") known.closing ??= row;
    if (row.endedAt !== null) {
      known.inUse ??= leaving.inUse();
      known.firstEnd ??= row;
    }
    seen.set(row.id, { ...known, last: row });
  });
  await strike(round, ids);
  await pause(resumeAfterMs);
  slow.resume();
  await pause(closeAfterMs - resumeAfterMs);
  for (const { case: of, held } of scenes) if (of === "requested" || of === "ending") held.close();
  const areOver = (): boolean => [...ids.values()].every((id) => (seen.get(id)?.last?.endedAt ?? null) !== null);
  await waitFor("all drains have ended", areOver, { timeoutMs: longestMs });
  if (fault === "SIGKILL") await victim.start();
  else victim.resume();
  await pause(2_000); // Whoever woke up has had his look.
  return scenes.map(({ case: of, cluster, leaving, staying, held }) => {
    const { last, firstEnd, closing, inUse = 0 } = seen.get(ids.get(of) ?? "") ?? {};
    if (!last) throw new Error(`${of} was never seen`);
    const isHeld = of === "in-flight" || of === "closing";
    const othersDied = isHeld ? (open.get(of) ?? 0) - staying.inUse() : 0;
    held.close();
    return { case: of, endpoint: `${cluster}/${leaving.address}`, last, firstEnd, closing, inUse, othersDied };
  });
}
