// What an agent keeps of an Envoy: only what it has acked, and only what belongs together. Each test's mutant stands beside it; each was
// tried, and is caught.
import { beforeEach, expect, test } from "vitest";
import { Acked } from "../../../src/agent/acked.js";
import type { DeltaResponse } from "../../../src/agent/delta-messages.js";
import type { ResourceType } from "../../../src/model/resource-type.js";
import type { Request } from "../../../src/xds/request.js";
import { typeUrls } from "../../../src/xds/type-urls.js";

const noNames = { bytes: Buffer.alloc(0), count: 0 };
function ask(type: ResourceType, has: Readonly<Record<string, string>> = {}): Request {
  return {
    typeUrl: typeUrls[type],
    node: undefined,
    nonce: "",
    refusal: undefined,
    names: noNames,
    unsubscribe: noNames,
    version: "",
    initialVersions: new Map(Object.entries(has)),
  };
}
const answer = (type: ResourceType, nonce: string, refusal?: string): Request => ({ ...ask(type), nonce, refusal });
function bring(
  type: ResourceType,
  nonce: string,
  resources: Readonly<Record<string, string>>,
  removed: string[] = [],
): DeltaResponse {
  const all = Object.entries(resources).map(([name, version]) => ({ name, version, bytes: Buffer.from(`${name}@${version}`) }));
  return { typeUrl: typeUrls[type], nonce, resources: all, removed };
}

let acked: Acked;
let now = 0;
beforeEach(() => {
  [acked, now] = [new Acked(), 1_000];
  acked.opened();
});
const say = (request: Request): ReadonlySet<string> => acked.request(request, now);
const hear = (response: DeltaResponse): void => acked.response(response, now);
/** Asked for, brought and acked. */
function give(type: ResourceType, resources: Readonly<Record<string, string>>): void {
  say(ask(type));
  hear(bring(type, "1", resources));
  say(answer(type, "1"));
}
function taken(afterMs = 1_000): Readonly<Record<string, string>> | undefined {
  const types = acked.take(now + afterMs);
  return (
    types &&
    Object.fromEntries([...types.values()].flatMap((ofType) => [...ofType.values()].map(({ name, version }) => [name, version])))
  );
}

// Mutant: whole without its listeners. An Envoy that started with that would open no port.
test("an Envoy that starts is kept only once its listeners are there, too", () => {
  give("cluster", { app: "a.1" });
  give("endpoint", { app: "e.1" });
  expect(taken(60_000)).toBeUndefined();
  say(ask("listener"));
  expect(taken(60_000)).toBeUndefined();
  hear(bring("listener", "1", { web: "w.1" }));
  say(answer("listener", "1"));
  expect(taken()).toEqual({ app: "e.1", web: "w.1" });
});

// Mutant: nonces without their type.
test("equal nonces of different types are two answers", () => {
  for (const type of ["cluster", "listener"] as const) say(ask(type));
  hear(bring("cluster", "own.1", { app: "a.1" }));
  hear(bring("listener", "own.1", { web: "w.1" }));
  for (const type of ["cluster", "listener"] as const) say(answer(type, "own.1"));
  expect(taken()).toEqual({ app: "a.1", web: "w.1" });
});

// Mutant: an answer is an ack.
test("what is refused is not kept: the form before stays", () => {
  give("cluster", { app: "a.1" });
  give("listener", { web: "w.1" });
  expect(taken()).toEqual({ app: "a.1", web: "w.1" });
  hear(bring("listener", "2", { web: "w.2", other: "o.2" }));
  say(answer("listener", "2", "no"));
  expect(taken()).toBeUndefined();
  hear(bring("listener", "3", { other: "o.3" }));
  say(answer("listener", "3"));
  expect(taken()).toEqual({ app: "a.1", web: "w.1", other: "o.3" });
});

// Mutant: taken while something is unanswered.
test("what is on its way is waited for, so that a file holds what belongs together", () => {
  give("listener", { web: "w.1" });
  give("cluster", { app: "a.1" });
  taken();
  hear(bring("cluster", "2", { other: "o.2" }));
  hear(bring("listener", "2", { web: "w.2" }));
  say(answer("listener", "2"));
  expect(taken()).toBeUndefined();
  say(answer("cluster", "2"));
  expect(taken()).toEqual({ app: "a.1", other: "o.2", web: "w.2" });
});

// Mutant: clusters without an answer are left out. A route that names them would answer 503.
test("a cluster whose endpoints are acked is there, though its own answer is withheld while others warm", () => {
  give("listener", { web: "w.1" });
  give("cluster", {});
  hear(bring("cluster", "2", { app: "a.2", slow: "s.2" }));
  give("endpoint", { app: "e.2" });
  expect(taken(29_000)).toBeUndefined();
  const types = acked.take(now + 30_000);
  expect([...(types?.get(typeUrls.cluster)?.keys() ?? [])]).toEqual(["app"]);
});

// Mutants: a first request forgets nothing; versions are believed by name.
test("a stream's first requests say what the Envoy has: what it lacks is forgotten, what is not known is asked for", () => {
  give("cluster", { app: "a.1", old: "o.1" });
  give("listener", { web: "w.1" });
  taken();
  acked.opened();
  expect([...say(ask("cluster", { app: "a.1", changed: "c.2" }))]).toEqual(["changed"]);
  expect([...say(ask("listener", { web: "w.2" }))]).toEqual(["web"]);
  hear(bring("cluster", "1", { changed: "c.2" }));
  say(answer("cluster", "1"));
  hear(bring("listener", "1", { web: "w.2" }));
  say(answer("listener", "1"));
  expect(taken()).toEqual({ app: "a.1", changed: "c.2", web: "w.2" });
});

test("an Envoy that has all that is known is whole without a word of the control plane", () => {
  give("cluster", { app: "a.1", old: "o.1" });
  give("listener", { web: "w.1" });
  taken();
  acked.opened();
  say(ask("cluster", { app: "a.1" }));
  say(ask("listener", { web: "w.1" }));
  expect(taken()).toEqual({ app: "a.1", web: "w.1" });
});

// Mutants: removed names stay; names that nobody asks for any more stay.
test("what is removed, or not asked for any more, goes", () => {
  give("cluster", { app: "a.1", old: "o.1" });
  give("listener", { web: "w.1" });
  give("endpoint", { app: "e.1", old: "x.1" });
  taken();
  hear(bring("cluster", "2", {}, ["old"]));
  say(answer("cluster", "2"));
  const unsubscribed = Buffer.from([(4 << 3) | 2, 3, ...Buffer.from("old")]);
  say({ ...ask("endpoint"), unsubscribe: { bytes: unsubscribed, count: 1 } });
  expect(taken()).toEqual({ app: "e.1", web: "w.1" });
});

test("nothing is due while nothing has changed", () => {
  give("cluster", { app: "a.1" });
  give("listener", { web: "w.1" });
  expect(acked.dueAt()).toBe(now + 1_000);
  taken();
  expect(acked.dueAt()).toBe(Number.POSITIVE_INFINITY);
  hear(bring("cluster", "2", { app: "a.1" }));
  say(answer("cluster", "2"));
  expect(acked.dueAt()).toBe(Number.POSITIVE_INFINITY);
});
