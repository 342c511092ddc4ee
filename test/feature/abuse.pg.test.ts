// HTTP/2 abuse of the xDS port, from raw sockets, whatever serves gRPC there: each attack is cut, nothing crashes, memory comes back, and
// another client is served all the while. What the attacks are: test/support/http2-abuse.ts.
// Mutant that was tried, and is caught: a reader without a longest message ("served").
import { afterAll, beforeAll, expect, test } from "vitest";
import { listenerBody } from "../support/bodies.js";
import { attack, attacks } from "../support/http2-abuse.js";
import { collectGarbage } from "../support/inspector.js";
import { scrape } from "../support/metrics.js";
import { freePort } from "../support/ports.js";
import { type Replica, startReplica } from "../support/replica.js";
import { waitFor } from "../support/wait.js";
import { startDatabase } from "../support/world.js";
import { openXdsStream, type XdsStream } from "../support/xds-client.js";

let replica: Replica;
let inspector = 0;
let pid = 0;

beforeAll(async () => {
  inspector = await freePort();
  replica = await startReplica({
    databaseUrl: await startDatabase(),
    id: "attacked",
    env: {
      NODE_OPTIONS: `--inspect=127.0.0.1:${inspector}`,
      CHANCERY_LOG_LEVEL: "warn",
      CHANCERY_XDS_IDLE_CONNECTION_MS: "1000",
    },
  });
  pid = replica.pid();
});

interface Measure {
  readonly heap: number;
  readonly resident: number;
}
async function measure(): Promise<Measure> {
  await collectGarbage(inspector);
  const series = await scrape(replica.api);
  return {
    heap: series.get("chancery_process_heap_used_bytes") ?? 0,
    resident: series.get("chancery_process_resident_memory_bytes") ?? 0,
  };
}
/** Longest delay of the event loop since this was asked last, and CPU time so far, in ms. */
async function look(): Promise<{ readonly stallMs: number; readonly cpuMs: number }> {
  const series = await scrape(replica.api);
  return {
    stallMs: (series.get('chancery_event_loop_delay_seconds{quantile="1"}') ?? 0) * 1_000,
    cpuMs: (series.get("chancery_process_cpu_seconds_total") ?? 0) * 1_000,
  };
}

/** A client that is served: how long the slowest of its changes took, in ms. */
interface Victim {
  stop(): Promise<{ readonly changes: number; readonly slowestMs: number }>;
}
function startVictim(stream: XdsStream): Victim {
  let isOver = false;
  let [changes, slowestMs] = [0, 0];
  const run = (async () => {
    for (let port = 1_000; !isOver; port++) {
      const startedAt = performance.now();
      // On a machine that is out of CPU the database may be late: then the write is for another try.
      const written = await replica.api.call("PUT", "/v1/listeners/web", listenerBody("web", port));
      if (written.status === 503) continue;
      await waitFor(
        "the victim has it",
        () => JSON.stringify(stream.state("listener").get("web")?.message).includes(`:${port}`),
        {
          everyMs: 5,
        },
      );
      slowestMs = Math.max(slowestMs, performance.now() - startedAt);
      changes += 1;
      await new Promise((done) => setTimeout(done, 50));
    }
  })();
  return {
    async stop() {
      isOver = true;
      await run;
      stream.close();
      return { changes, slowestMs };
    },
  };
}

const notes: string[] = [];
afterAll(() => {
  if (process.env["CHANCERY_SHOW_FIGURES"]) process.stdout.write(`${notes.join("\n")}\n`);
});

test("every attack is cut, while another client is served, and costs nothing that stays", async () => {
  await replica.api.post("/v1/listeners", listenerBody("web", 999));
  const stream = openXdsStream({ port: replica.xdsPort, node: "victim", gateway: "edge", protocol: "delta" });
  stream.ackAll();
  stream.request("listener");
  await stream.next("listener");
  for (const what of Object.values(attacks)) await attack(replica.xdsPort, what, 500); // Code is compiled, pools are filled.
  const before = await measure();
  const victim = startVictim(stream);
  const outcomes: Record<string, string> = {};
  let dearestMs = 0;
  let { cpuMs } = await look();
  for (const [name, what] of Object.entries(attacks)) {
    const startedAt = performance.now();
    outcomes[name] = await attack(replica.xdsPort, what);
    const ms = Math.round(performance.now() - startedAt);
    const now = await look();
    const costMs = Math.round(now.cpuMs - cpuMs);
    dearestMs = Math.max(dearestMs, costMs);
    notes.push(`${name}: ${outcomes[name]} in ${ms} ms, CPU ${costMs} ms, stall ${Math.round(now.stallMs)} ms`);
    cpuMs = now.cpuMs;
  }
  const { changes, slowestMs } = await victim.stop();
  await waitFor("all attackers are forgotten", async () => {
    const { heap } = await measure();
    return heap < before.heap * 1.1;
  });
  const after = await measure();
  notes.push(`${changes} changes, slowest ${Math.round(slowestMs)} ms`);
  notes.push(`heap ${before.heap} -> ${after.heap}, resident ${before.resident} -> ${after.resident}`);
  const cut = Object.entries(outcomes).filter(([, outcome]) => outcome !== "served");
  expect(cut.map(([name]) => name)).toEqual(Object.keys(attacks));
  expect(replica.pid()).toBe(pid);
  expect((await replica.api.call("GET", "/readyz")).status).toBe(200);
  expect(changes).toBeGreaterThan(3);
  expect(slowestMs).toBeLessThan(5_000);
  // The event loop can't be held for longer than an attack has cost, the victim's changes included; the delay itself is the machine's, too.
  expect(dearestMs).toBeLessThan(1_000);
  expect(after.heap).toBeLessThan(before.heap * 1.1);
  expect(after.resident).toBeLessThan(before.resident * 1.1 + 20 * 1024 * 1024);
}, 90_000);
