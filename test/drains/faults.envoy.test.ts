// Kill -9 and SIGSTOP of the replica that was asked, with a drain in each state, while the replicas' clocks are a minute ahead and a minute
// behind: none ends early, none twice, each within 2 s of its time. Judged from outside: by the backends' own sessions at the word "safe", by
// the database's clock, by the history. `npm run drains -- --faults 40` is the same for longer.
// Mutant tried and caught: a deadline by the replica's clock. Not caught here, as replicas seldom collide, but by test/store/drains.pg.test.ts:
// a step without its lock and condition.
import { fileURLToPath, pathToFileURL } from "node:url";
import { beforeAll, expect, test } from "vitest";
import { listenerBody } from "../support/bodies.js";
import { type Envoy, startEnvoy } from "../support/envoy.js";
import { freePort } from "../support/ports.js";
import { setUp } from "../support/world.js";
import { type FaultRound, faultRound, type Outcome } from "./fault-round.js";
import { type Fleet, startFleet, startWithinMs } from "./fleet.js";
import { type Observer, observe } from "./observer.js";

const rounds = Number(process.env["CHANCERY_DRAINS_FAULTS"] ?? 2);
/** Fault, and which replica; the first is a minute ahead, the second a minute behind. */
const turns = [
  ["SIGKILL", 0],
  ["SIGSTOP", 1],
  ["SIGKILL", 1],
  ["SIGSTOP", 0],
] as const;
/** 2 s are promised; the rest is what a machine needs that does ten other things. */
const lateMs = 2_000 + (rounds > 2 ? 0 : 1_500);
const longestRoundMs = 90_000;

const wrongClock = (ms: number): Record<string, string> => ({
  NODE_OPTIONS: `--import=${pathToFileURL(fileURLToPath(new URL("wrong-clock.mjs", import.meta.url))).href}`,
  WRONG_CLOCK_MS: String(ms),
});

let fleet: Fleet;
let slow: Envoy;
let slowPort = 0;
let observer: Observer;
beforeAll(async () => {
  fleet = await startFleet("spread", [wrongClock(60_000), wrongClock(-60_000)]);
  slowPort = await freePort();
  slow = await startEnvoy({ node: "slow-1", gateway: "slow", xdsPorts: fleet.replicas.map(({ xdsPort }) => xdsPort) });
  await setUp(fleet.replicas[0].api, [["listener", listenerBody("slow", slowPort, { gateways: ["slow"] })]]);
  await slow.live();
  observer = await observe(fleet.databaseUrl);
}, startWithinMs);

/** What is wrong with it; the empty string: nothing. */
function faultIn({ case: of, last, firstEnd, closing, inUse, othersDied }: Outcome, removed: number, steps: number): string {
  const ended = last.endedAt ?? Number.POSITIVE_INFINITY;
  const due = last.closingUntil ?? last.deadline;
  const faults = [
    last.safeToStop && inUse > 0 ? `safe with ${inUse} in use` : "",
    !last.safeToStop && ended < due ? `ended ${due - ended} ms early` : "",
    closing && closing.now < closing.deadline ? `closing ${closing.deadline - closing.now} ms before its deadline` : "",
    of === "in-flight" && last.safeToStop ? "safe with connections that nothing closed" : "",
    ended > due + lateMs ? `ended ${ended - due} ms late` : "",
    firstEnd?.endedAt === last.endedAt && firstEnd?.safeToStop === last.safeToStop ? "" : "ended twice",
    removed === 1 ? "" : `removed ${removed} times`,
    steps === (last.closingUntil === null ? 1 : 2) ? "" : `${steps} steps`,
    othersDied > 0 ? `${othersDied} sessions of the backend that stays died` : "",
  ].filter((fault) => fault !== "");
  return faults.join("; ");
}

test(`${rounds} faults with a drain in each state, and clocks a minute wrong: none early, none twice, none late`, {
  timeout: 60_000 + rounds * longestRoundMs,
}, async () => {
  const lines: string[] = [];
  const wrong: string[] = [];
  for (let round = 0; round < rounds; round++) {
    const [fault, at] = turns[round % turns.length] ?? turns[0];
    const [victim, survivor] = at === 0 ? fleet.replicas : [fleet.replicas[1], fleet.replicas[0]];
    const options: FaultRound = { round, fault, victim, survivor, slow, slowPort, observer };
    const outcomes = await faultRound(options);
    const { removals, steps } = await observer.history();
    for (const outcome of outcomes) {
      const { last } = outcome;
      const found = faultIn(outcome, removals.get(outcome.endpoint) ?? 0, steps.get(`drain ${last.id}`) ?? 0);
      const sinceDue = Math.round((last.endedAt ?? 0) - (last.closingUntil ?? last.deadline));
      const line = `${fault} of ${victim.id}, ${outcome.case}: safe ${last.safeToStop}, left open ${last.leftOpen} (in fact ${outcome.inUse}), ${sinceDue} ms after its time, "${last.outcome}"`;
      lines.push(line);
      if (found !== "") wrong.push(`${line}: ${found}`);
    }
    if (rounds > 2) console.log(`${round + 1} of ${rounds} rounds, ${wrong.length} wrong`);
  }
  console.log(lines.join("\n"));
  expect(wrong).toEqual([]);
  expect(lines.length).toBe(4 * rounds);
});
