// Following the revisions: each comes once and in order, with its sync as that changes, also to who comes back; nobody can follow
// without bound, and a stream ends when it can't go on telling the truth.
import { connect } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type EventStream, openEventStream } from "../support/event-stream.js";
import { sql } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";
import { type ApiUnderTest, startApi, synced } from "./api-under-test.js";

let it: ApiUnderTest;
let isClosed = false;
const open: EventStream[] = [];
beforeEach(async () => {
  isClosed = false;
  it = await startApi({ limits: { maxFollowers: 3, closeTimeoutMs: 2_000 } });
});
afterEach(async () => {
  for (const stream of open.splice(0)) stream.close();
  if (!isClosed) await it.close();
});

async function follow(query = "", headers: Readonly<Record<string, string>> = {}): Promise<EventStream> {
  const stream = await openEventStream(`${it.api.url}/v1/revisions?follow=true${query}`, headers);
  open.push(stream);
  return stream;
}
const make = (name: string) => it.api.put(`/v1/clusters/${name}`, {});
const told = ({ events }: EventStream) => events.flatMap(({ event, id }) => (event === "revision" ? Number(id) : []));
const has = (stream: EventStream, revision: number) => stream.next(`revision ${revision}`, ({ id }) => id === String(revision));

test("a revision is told as GET shows it, then its sync, once each", async () => {
  const stream = await follow();
  expect(stream.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  await make("a");
  const { data } = await has(stream, 1);
  expect(data).toEqual(await it.api.get("/v1/revisions/1"));
  const { data: sync } = await stream.next("its sync", ({ event }) => event === "sync");
  expect(sync).toEqual(synced(1, "acked"));
  await make("b");
  await stream.next(
    "the next sync",
    ({ event, data: next }) => event === "sync" && (next as { revision: number }).revision === 2,
  );
  expect(stream.events.map(({ event, id }) => `${event} ${id}`)).toEqual([
    "revision 1",
    "sync undefined",
    "revision 2",
    "sync undefined",
  ]);
});

test("sync is told again when it changes, until all have it, and not when it does not", async () => {
  const gateways = (acked: number) => ({ edge: { total: 2, acked, refused: [], lagging: [], gone: [] } });
  let acked = 0;
  let looks = 0;
  it.fleet.waitSync = async (revision) => {
    looks += 1;
    return synced(revision, acked < 2 ? "pending" : "acked", { gateways: gateways(acked) });
  };
  const stream = await follow();
  await make("a");
  const states = () =>
    stream.events.flatMap(({ event, data }) => (event === "sync" ? (data as { gateways: object }).gateways : []));
  for (acked of [0, 1, 2]) {
    const from = looks;
    await waitFor("two looks more", () => looks >= from + 2 || acked === 2);
    await waitFor(`the sync with ${acked}`, () => states().length === acked + 1);
  }
  expect(states()).toEqual([gateways(0), gateways(1), gateways(2)]);
  const settled = looks;
  await make("b");
  await has(stream, 2);
  await waitFor("the look at the other one", () => looks > settled);
  expect(states()).toHaveLength(4);
});

test("the newest of what was made before one came is told with its sync, and once more to who comes back", async () => {
  let acked = 0;
  const gateways = { edge: { total: 2, acked: 0, refused: [], lagging: [], gone: [] } };
  it.fleet.waitSync = async (revision) => synced(revision, acked < 2 ? "pending" : "acked", { gateways });
  const seen = ({ events }: EventStream) =>
    events.map(({ event, data }) => `${event} ${(data as { revision: number }).revision} ${(data as { state?: string }).state}`);
  await make("a");
  await make("b");
  // Mutant: only what the loop itself finds is looked at. Nobody heard of a revision that was made while its follower connected.
  const early = await follow("&after=0");
  await waitFor("its sync", () => early.events.length >= 3);
  acked = 2;
  await waitFor("its end", () => early.events.length >= 4);
  expect(seen(early)).toEqual(["revision 1 undefined", "revision 2 undefined", "sync 2 pending", "sync 2 acked"]);
  const [back, fromHere] = [await follow("", { "last-event-id": "2" }), await follow("&after=2")];
  await waitFor("what it missed", () => back.events.length > 0);
  await make("c");
  for (const stream of [back, fromHere]) await stream.next("the sync of 3", () => seen(stream).includes("sync 3 acked"));
  expect(seen(back)).toEqual(["sync 2 acked", "revision 3 undefined", "sync 3 acked"]);
  expect(seen(fromHere)).toEqual(["revision 3 undefined", "sync 3 acked"]);
});

test("who comes back names the last one seen, by header or by query, and misses none; who comes first hears what is new", async () => {
  for (let at = 1; at <= 250; at++) await make(`c${at}`);
  const [byHeader, byQuery, fresh] = [await follow("", { "last-event-id": "3" }), await follow("&after=248"), await follow()];
  await make("last");
  for (const stream of [byHeader, byQuery, fresh]) await has(stream, 251);
  expect(told(byHeader)).toEqual(Array.from({ length: 248 }, (_, at) => at + 4));
  expect(told(byQuery)).toEqual([249, 250, 251]);
  expect(told(fresh)).toEqual([251]);
});

test("revisions that are made while one catches up come in order, each once", async () => {
  for (let at = 1; at <= 120; at++) await make(`c${at}`);
  const writing = (async () => {
    for (let at = 1; at <= 60; at++) await make(`d${at}`);
  })();
  const stream = await follow("&after=0");
  await writing;
  await has(stream, 180);
  expect(told(stream)).toEqual(Array.from({ length: 180 }, (_, at) => at + 1));
});

test("more followers than the limit get 429, and one who leaves makes room", async () => {
  const streams = [await follow(), await follow(), await follow()];
  expect(await it.api.refused(429, "GET", "/v1/revisions?follow=true")).toMatchObject({
    code: "too_many_requests",
    maxFollowers: 3,
  });
  streams[0]?.close();
  await waitFor("room for another one", async () => {
    const stream = await follow();
    return stream.status === 200;
  });
});

test("a revision that is not there yet can't have been seen", async () => {
  expect((await it.api.refused(404, "GET", "/v1/revisions?follow=true&after=9")).code).toBe("not_found");
  // And those who were refused take no place.
  for (let at = 0; at < 5; at++) await it.api.refused(404, "GET", "/v1/revisions?follow=true&after=9");
  expect((await follow()).status).toBe(200);
});

test("another history ends the stream, and says so", async () => {
  await make("a");
  await make("b");
  const stream = await follow();
  await sql(it.databaseUrl, "update revisions set id = gen_random_uuid() where revision = 2");
  await stream.next("the end", ({ event }) => event === "other-history");
  await waitFor("its end", () => stream.ended);
  const next = await follow();
  await make("c");
  await has(next, 3);
});

test("who does not read is cut off, and the others hear everything", async () => {
  const reading = await follow();
  const { hostname, port } = new URL(it.api.url);
  const socket = connect(Number(port), hostname);
  await new Promise<void>((connected) => socket.once("connect", () => connected()));
  socket.write(`GET /v1/revisions?follow=true HTTP/1.1\r\nhost: ${hostname}\r\n\r\n`);
  await new Promise<void>((answered) => socket.once("data", () => answered()));
  socket.pause();
  let closed = false;
  socket.on("close", () => {
    closed = true;
  });
  socket.on("error", () => {});
  const text = "x".repeat(500_000);
  it.fleet.waitSync = async (revision) => synced(revision, "acked", { replicasBehind: [text] });
  let made = 0;
  await waitFor(
    "the place of the one who does not read",
    async () => {
      made += 1;
      await make(`c${made}`);
      await has(reading, made);
      const metrics = await it.api.call("GET", "/metrics");
      return (
        metrics.text.includes('limit_hits_total{limit="api_follower_buffer"} 1') &&
        /chancery_api_followers 1\b/.test(metrics.text)
      );
    },
    { timeoutMs: 40_000 },
  );
  expect(told(reading)).toEqual(Array.from({ length: made }, (_, at) => at + 1));
  socket.resume();
  await waitFor("the end of its connection", () => closed);
});

test("when the server closes, streams end at once", async () => {
  const stream = await follow();
  const began = performance.now();
  isClosed = true;
  await it.close();
  expect(performance.now() - began).toBeLessThan(1_500);
  await waitFor("its end", () => stream.ended);
});
