// Envoys that stop reading, many at once, while everything that they asked for changes ten times a second: each is cut in the time that is
// set, comes back, and is cut again, and the memory of the control plane does not grow with the revisions that they did not take.
// `npm run chaos -- --idle-readers 1000` is the same with the defaults of production. Mutants that were tried, and are caught: a stream
// whose writes do not leave gets every state, or one at each time that an answer is overdue, in place of one alone; one that is never cut.
import { setTimeout as pause } from "node:timers/promises";
import { expect, test } from "vitest";
import { endpointOf, listenerBody, routeBody } from "../support/bodies.js";
import { crowdSettings } from "../support/crowd.js";
import { scrape } from "../support/metrics.js";
import { freshDatabase } from "../support/postgres.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { openDeafXdsStream } from "../support/xds-client.js";

const asked = process.env["CHANCERY_CHAOS_IDLE_READERS"];
const readers = Number(asked ?? 150);
const durationMs = Number(asked === undefined ? 16 : (process.env["CHANCERY_CHAOS_SECONDS"] ?? 120)) * 1_000;
/** The default in production, and its bound on cutting. */
const writeStallMs = asked === undefined ? 4_000 : 30_000;
const cutWithinMs = writeStallMs + 5_000;
/** Short, so that a missing answer alone holds nothing back: what does is that the response before has not left. The long run takes the default. */
const inFlightOverrideMs = asked === undefined ? 500 : 5_000;
const revisionsPerSecond = 10;
/** Their endpoints are more than HTTP/2 lets through to a peer that does not read (64 KB). */
const endpoints = 3_000;
const mebibyte = 1_048_576;
/** One response of theirs and the connection, generously. */
const maxResponseMebibytes = 0.3;

/** Readers that come back when they are cut. */
class IdleReaders {
  open = 0;
  cuts = 0;
  slowestMs = 0;
  #ends = false;

  constructor(
    private readonly replica: Replica,
    count: number,
  ) {
    for (let at = 0; at < count; at++) void this.#live(`idle-${at}`);
  }
  end(): void {
    this.#ends = true;
  }

  async #live(node: string): Promise<void> {
    while (!this.#ends) {
      this.open += 1;
      const deaf = openDeafXdsStream({ port: this.replica.xdsPort, node, gateway: "edge" }, "large");
      await deaf.cut;
      deaf.close();
      this.open -= 1;
      this.cuts += 1;
      this.slowestMs = Math.max(this.slowestMs, performance.now() - (deaf.answeredAt ?? performance.now()));
    }
  }
}

/** As many revisions as there is time for, each of which changes what all of them asked for. */
async function write({ api }: Replica, untilMs: number): Promise<number> {
  let revisions = 0;
  for (; performance.now() < untilMs; revisions++) {
    const next = performance.now() + 1_000 / revisionsPerSecond;
    await api.put(
      "/v1/clusters/large/endpoints/127.0.0.1:10000",
      endpointOf({ port: 10_000 }, { weight: 1 + (revisions % 100) }),
    );
    await pause(Math.max(0, next - performance.now()));
  }
  return revisions;
}

test(`${readers} Envoys that stop reading are cut within ${cutWithinMs / 1_000} s, and cost no memory per revision`, {
  timeout: durationMs + 240_000,
}, async () => {
  const { url } = await freshDatabase();
  const env = {
    ...crowdSettings,
    CHANCERY_XDS_WRITE_STALL_MS: String(writeStallMs),
    CHANCERY_XDS_IN_FLIGHT_OVERRIDE_MS: String(inFlightOverrideMs),
  };
  const replica = await startReplica({ databaseUrl: url, env });
  const ports = Array.from({ length: endpoints }, (_, index) => endpointOf({ port: 10_000 + index }));
  await replica.api.post("/v1/listeners", listenerBody("web", 80));
  await replica.api.post("/v1/clusters", { name: "large", endpoints: ports });
  await replica.api.post("/v1/routes", routeBody("large", "web", "large"));
  const rss = async (): Promise<number> =>
    ((await scrape(replica.api)).get("chancery_process_resident_memory_bytes") ?? 0) / mebibyte;
  await write(replica, performance.now() + 2_000);
  const before = await rss();

  const idle = new IdleReaders(replica, readers);
  const isBlocked = async (): Promise<boolean> =>
    ((await scrape(replica.api)).get('chancery_xds_streams_open{kind="ads-delta"}') ?? 0) >= readers * 0.9;
  await waitFor("they are there", isBlocked, { timeoutMs: 60_000 });
  const samples: number[] = [];
  const endsAt = performance.now() + durationMs;
  const sampling = (async () => {
    for (; performance.now() < endsAt; await pause(500)) samples.push(await rss());
  })();
  const revisions = await write(replica, endsAt);
  await sampling;
  idle.end();
  const sent = (await scrape(replica.api)).get('chancery_xds_responses_sent_total{type="endpoint"}') ?? 0;
  const streams = idle.cuts + idle.open;
  await waitFor("the last ones are cut", () => idle.open === 0, { timeoutMs: cutWithinMs + 60_000 });

  const quarter = Math.max(1, Math.floor(samples.length / 4));
  const mean = (part: readonly number[]): number => part.reduce((sum, one) => sum + one, 0) / part.length;
  const [early, late, most] = [mean(samples.slice(quarter, 2 * quarter)), mean(samples.slice(-quarter)), Math.max(...samples)];
  console.log(
    `${readers} readers, ${revisions} revisions in ${durationMs / 1_000} s: ${sent} responses with endpoints on ${streams} streams; cut ${idle.cuts} times, the slowest after ${Math.round(idle.slowestMs)} ms; ` +
      `memory ${Math.round(before)} MiB before, ${Math.round(early)} in the second quarter, ${Math.round(late)} in the last, ${Math.round(most)} at most`,
  );
  expect(revisions).toBeGreaterThan(durationMs / 1_000); // A tenth of what was wanted, on the busiest machine.
  expect(idle.cuts).toBeGreaterThanOrEqual(readers);
  expect(idle.slowestMs).toBeGreaterThan(writeStallMs * 0.99);
  expect(idle.slowestMs).toBeLessThan(cutWithinMs + (asked === undefined ? 10_000 : 0));
  // One is under way, and no other follows it while it has not left, for however long the answer is missing.
  expect(sent).toBeLessThanOrEqual(streams);
  // Queued, each revision would cost every reader a response until it is cut; what one has under way it may cost.
  expect(most - before).toBeLessThan(150 + readers * maxResponseMebibytes);
  expect(late - early).toBeLessThan(Math.max(40, early * 0.25));
});
