// The follower: it never says that it is fresh while the database has more, reads everything again when it must, and loses no revision.
// Against a history in memory whose answers can be held back. Mutants that were tried, and are caught: fresh without asking; a read of
// the head that began before the call is taken; what is fresh is not waited for; another history, or a pruned one, is not read again;
// acknowledgements that are not remembered, or held against a read that began before them; only numbers compared for a stream; what was
// lost told with each try.
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { DesiredState } from "../../../src/model/desired-state.js";
import type { Change, CommittedRevision, Revision } from "../../../src/model/revision.js";
import { createFollower, type Follower, type FollowerOptions } from "../../../src/snapshot/follower.js";
import type { RevisionMark } from "../../../src/store/store.js";
import { createMetrics, type Metrics } from "../../../src/telemetry/metrics.js";
import { cluster, endpoint, httpRoute, listener } from "../model/samples.js";

type Reads = FollowerOptions["store"];

/** A database: what it holds, and when it answers. */
class History implements Reads {
  readonly revisions: CommittedRevision[] = [];
  id = "a";
  /** Revisions up to here are pruned. */
  cut: Revision = 0;
  /** While set, calls of it see what is there when they begin, and answer when it is let go. */
  held: { readonly call: string; readonly until: Promise<void>; readonly letGo: () => void } | undefined;
  isAway = false;
  readonly calls: Record<string, number> = { head: 0, loadState: 0, readAfter: 0 };
  #hint: (() => void) | undefined;
  /** As the writer of a revision is answered by this process. */
  acknowledge: (mark: RevisionMark) => void = () => {};

  get newest(): Revision {
    return this.revisions.at(-1)?.revision ?? 0;
  }
  commit(...changes: readonly Change[]): Revision {
    const revision = this.newest + 1;
    this.revisions.push({ revision, id: `${this.id}-${revision}`, changes });
    return revision;
  }
  hint(): void {
    this.#hint?.();
  }
  hold(call: string): () => void {
    let letGo = (): void => {};
    const until = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    this.held = { call, until, letGo };
    return () => {
      this.held = undefined;
      letGo();
    };
  }

  async #answer<T>(call: string, value: () => T): Promise<T> {
    this.calls[call] = (this.calls[call] ?? 0) + 1;
    if (this.isAway) throw new Error("away");
    const seen = value();
    if (this.held?.call === call) await this.held.until;
    return seen;
  }
  #idOf(revision: Revision): string {
    return revision === 0 ? "" : `${this.id}-${revision}`;
  }
  head = () => this.#answer("head", () => ({ revision: this.newest, id: this.#idOf(this.newest) }));
  loadState: Reads["loadState"] = () =>
    this.#answer("loadState", () => {
      const empty = { revision: 0, id: "", clusters: [], endpoints: [], listeners: [], routes: [] };
      const state = DesiredState.from(empty);
      for (const revision of this.revisions) state.apply(revision);
      return {
        revision: this.newest,
        id: this.#idOf(this.newest),
        clusters: [...state.clusters.values()],
        endpoints: [...state.endpoints.values()].flatMap((of) => [...of.values()]),
        listeners: [...state.listeners.values()],
        routes: [...state.routes.values()],
      };
    });
  readAfter: Reads["readAfter"] = (at, limit) =>
    this.#answer("readAfter", () => {
      if (at.revision > this.newest) return { kind: "other-history" };
      if (at.revision < this.cut) return { kind: "pruned" };
      if (at.id !== this.#idOf(at.revision)) return { kind: "other-history" };
      const revisions = this.revisions.filter(({ revision }) => revision > at.revision).slice(0, limit);
      return { kind: "next", revisions, head: this.newest };
    });
  keptOf: Reads["keptOf"] = (marks) =>
    this.#answer("keptOf", () => {
      const ids = new Set(this.revisions.map(({ id }) => id));
      return new Set(marks.map(({ id }) => id).filter((id) => ids.has(id)));
    });
  onCommitted = (callback: (mark: RevisionMark) => void) => {
    this.acknowledge = callback;
    return () => {};
  };
  onRevisionHint = (callback: () => void) => {
    this.#hint = callback;
    return () => {
      this.#hint = undefined;
    };
  };
}

const pollMs = 1_000;
let history: History;
let follower: Follower;
let metrics: Metrics;
let lines: { readonly level: number; readonly msg: string }[];

const put = (timeoutMs: number): Change => ({
  kind: "cluster",
  name: "app",
  before: undefined,
  after: cluster("app", { connectTimeoutMs: timeoutMs }),
});
const timeoutMs = (): number | undefined => follower.snapshots.state?.clusters.get("app")?.connectTimeoutMs;
const count = async (series: string): Promise<string | undefined> =>
  new RegExp(`^chancery_${series} (\\S+)$`, "m").exec(await metrics.text())?.[1];
/** Lets everything happen that is due within so many ms. */
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** A promise's value, or "open" while it has none. */
function watch<T>(promise: Promise<T>): { readonly value: T | "open" } {
  const watched: { value: T | "open" } = { value: "open" };
  void promise.then((value) => {
    watched.value = value;
  });
  return watched;
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  lines = [];
  history = new History();
  metrics = createMetrics();
  history.commit(
    put(1),
    { kind: "endpoint", name: "app/10.0.0.1:80", before: undefined, after: endpoint("app", "10.0.0.1") },
    { kind: "listener", name: "web", before: undefined, after: listener("web", "http") },
    { kind: "route", name: "r", before: undefined, after: httpRoute("r", ["app"]) },
  );
  const log = pino({ level: "debug" }, { write: (line: string) => void lines.push(JSON.parse(line)) });
  follower = createFollower({ store: history, pollMs, removalGraceMs: 1_000, log, metrics });
  await follower.start(new AbortController().signal);
  await pass(1);
});
afterEach(async () => {
  history.held?.letGo();
  const closed = follower.close();
  await pass(10);
  await closed;
  vi.useRealTimers();
});

test("what is committed is published: within a poll, and at once after a hint", async () => {
  history.commit(put(2));
  await pass(pollMs * 1.25);
  expect(timeoutMs()).toBe(2);
  history.commit(put(3));
  history.hint();
  await pass(1);
  expect(timeoutMs()).toBe(3);
});

test("more revisions than one read brings are read one read after the other, without a pause", async () => {
  for (let at = 0; at < 450; at++) history.commit(put(1_000 + at));
  history.hint();
  await pass(1);
  expect(follower.snapshots.revision).toBe(451);
});

describe("whenFresh", () => {
  test("is true at once when the database has no more", async () => {
    const fresh = watch(follower.snapshots.whenFresh());
    await pass(1);
    expect(fresh.value).toBe(true);
  });

  test("waits until what the database had is loaded, and has it loaded at once", async () => {
    const letGo = history.hold("readAfter");
    history.commit(put(2));
    const fresh = watch(follower.snapshots.whenFresh());
    await pass(100);
    expect(fresh.value).toBe("open");
    expect(timeoutMs()).toBe(1);
    letGo();
    await pass(1);
    expect(fresh.value).toBe(true);
    expect(timeoutMs()).toBe(2);
  });

  test("is never answered by a read that began before the call: it may have seen less", async () => {
    const letGo = history.hold("head");
    const early = watch(follower.snapshots.whenFresh()); // Its read has seen revision 1, and is on its way.
    await pass(1);
    history.commit(put(2));
    const late = watch(follower.snapshots.whenFresh());
    letGo();
    const held = history.hold("readAfter");
    await pass(200);
    expect([early.value, late.value]).toEqual([true, "open"]);
    held();
    await pass(1);
    expect(late.value).toBe(true);
    expect(timeoutMs()).toBe(2);
  });

  test("costs one read for all that open within 50 ms", async () => {
    const calls = Array.from({ length: 100 }, () => watch(follower.snapshots.whenFresh()));
    await pass(60);
    const later = Array.from({ length: 100 }, () => watch(follower.snapshots.whenFresh()));
    await pass(100);
    expect([...calls, ...later].every(({ value }) => value === true)).toBe(true);
    expect(history.calls["head"]).toBeLessThanOrEqual(4);
  });

  test("is false when the database can't be asked, or does not bring in time what it has", async () => {
    history.isAway = true;
    const away = watch(follower.snapshots.whenFresh());
    await pass(100);
    expect(away.value).toBe(false);
    history.isAway = false;
    await pass(10_000);
    const letGo = history.hold("readAfter");
    history.commit(put(2));
    const late = watch(follower.snapshots.whenFresh());
    await pass(4_000);
    expect(late.value).toBe("open");
    await pass(1_500);
    expect(late.value).toBe(false);
    letGo();
  });
});

describe("everything is read again, and published by content,", () => {
  /** What an Envoy of the gateway would have, and how often streams were woken for it. */
  function observe() {
    const snapshot = follower.snapshots.acquire("edge", "ads");
    let woken = 0;
    follower.snapshots.onPublished((changed) => {
      if (changed.has(snapshot)) woken += 1;
    });
    const hash = () => snapshot.tables.cluster.get("app")?.hash;
    return { snapshot, hash, woken: () => woken };
  }

  test("when the database has another history, be it an older one", async () => {
    history.commit(put(2));
    history.commit(put(3));
    history.hint();
    await pass(1);
    const { hash, snapshot, woken } = observe();
    const before = hash();
    // A failover to a standby that lagged, where other writes then took the same numbers.
    history.revisions.length = 1;
    history.id = "b";
    history.commit(put(9));
    await pass(pollMs * 1.25);
    expect(timeoutMs()).toBe(9);
    expect([follower.snapshots.revision, snapshot.revision]).toEqual([2, 2]);
    expect(hash()).not.toBe(before);
    expect(woken()).toBe(1);
    expect(await count("feed_histories_total")).toBe("1");
    expect(lines.filter(({ level }) => level === 50).map(({ msg }) => msg)).toEqual([expect.stringContaining("another history")]);
    // And it is followed from there.
    history.commit(put(10));
    await pass(pollMs * 1.25);
    expect(timeoutMs()).toBe(10);
    expect(history.calls["loadState"]).toBe(2);
  });

  test("when the database lacks a revision that this process has acknowledged, though nobody has read it", async () => {
    // The write was answered, and the primary died before any replica's poll: the standby never had it.
    history.acknowledge({ revision: 2, id: "a-2" });
    await pass(pollMs * 1.25);
    expect(await count("feed_histories_total")).toBe("1");
    expect(follower.otherHistory).toMatchObject({ lost: 1, from: 2, to: 2, isWhole: true });
    // And once is enough: what follows is followed.
    history.commit(put(7));
    await pass(pollMs * 1.25);
    expect([timeoutMs(), history.calls["loadState"]]).toEqual([7, 2]);
    expect(await count("feed_histories_total")).toBe("1");
  });

  test("when the number of a revision that this process has acknowledged went to another one", async () => {
    history.acknowledge({ revision: 2, id: "a-2" });
    history.id = "b";
    history.revisions.splice(0, 1, { ...(history.revisions[0] as CommittedRevision), id: "b-1" });
    history.commit(put(8));
    await pass(pollMs * 1.25);
    expect(follower.otherHistory).toMatchObject({ lost: 2, from: 1, to: 2, isWhole: false });
    expect(timeoutMs()).toBe(8);
  });

  test("but not when a read that began before an acknowledgement lacks it", async () => {
    const letGo = history.hold("readAfter");
    history.hint();
    await pass(1);
    history.commit(put(2));
    history.acknowledge({ revision: 2, id: "a-2" });
    letGo();
    await pass(pollMs * 1.25);
    expect([timeoutMs(), history.calls["loadState"]]).toEqual([2, 1]);
    expect(await count("feed_histories_total")).toBe("0");
  });

  test("and what was lost is told by number, once, though the load fails at first", async () => {
    for (const at of [2, 3, 4]) history.commit(put(at));
    history.hint();
    await pass(1);
    history.revisions.length = 2;
    const { loadState } = history;
    history.loadState = async () => Promise.reject(new Error("away"));
    await pass(10_000);
    history.loadState = loadState;
    await pass(10_000);
    expect(timeoutMs()).toBe(2);
    expect(await count("feed_histories_total")).toBe("1");
    expect(await count("feed_lost_revisions_total")).toBe("2");
    expect(follower.otherHistory).toMatchObject({ lost: 2, from: 3, to: 4, isWhole: true });
    expect(lines.filter(({ msg }) => msg.includes("another history"))).toMatchObject([
      { lostRevisions: 2, lostFrom: 3, lostTo: 4 },
    ]);
  });

  test("before a stream that opens gets anything of the one that was left", async () => {
    for (const at of [2, 3]) history.commit(put(at));
    history.hint();
    await pass(1);
    history.revisions.length = 2; // The newest is 2 again, and this replica serves 3.
    const letGo = history.hold("readAfter");
    const fresh = watch(follower.snapshots.whenFresh());
    await pass(100);
    expect(fresh.value).toBe("open");
    letGo();
    await pass(1);
    expect([fresh.value, timeoutMs()]).toEqual([true, 2]);
  });

  test("when that history says the same, nobody is woken", async () => {
    const { woken } = observe();
    history.id = "b";
    history.revisions.splice(0, 1, { ...(history.revisions[0] as CommittedRevision), id: "b-1" });
    await pass(pollMs * 1.25);
    expect(history.calls["loadState"]).toBe(2);
    expect(woken()).toBe(0);
  });

  test("when what came after was pruned, which is no other history", async () => {
    const { woken } = observe();
    history.commit(put(2));
    history.commit(put(3));
    history.cut = 2;
    await pass(pollMs * 1.25);
    expect(timeoutMs()).toBe(3);
    expect(woken()).toBe(1);
    expect(await count("feed_histories_total")).toBe("0");
    expect(lines.filter(({ level }) => level >= 40).map(({ msg }) => msg)).toEqual([expect.stringContaining("was pruned")]);
  });
});

test("a database that is away changes nothing, is told once, and is followed again", async () => {
  history.isAway = true;
  await pass(20_000);
  expect([follower.isConnected(), timeoutMs()]).toEqual([false, 1]);
  expect(lines.filter(({ level }) => level === 50)).toHaveLength(1);
  history.isAway = false;
  history.commit(put(2));
  await pass(10_000);
  expect([follower.isConnected(), timeoutMs()]).toEqual([true, 2]);
});
