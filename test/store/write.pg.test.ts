// What a write promises: one revision for one change, none for no change, the truth about what came before, and an honest outcome.

import { beforeAll, describe, expect, test } from "vitest";
import type { Endpoint } from "../../src/model/endpoint.js";
import type { Store } from "../../src/store/store.js";
import { isPortable } from "../support/database-mode.js";
import { freshDatabase, sql, type TestDatabase } from "../support/postgres.js";
import { author, cluster, endpoint, listener, openStore, route } from "./samples.js";

let database: TestDatabase;
let store: Store;
beforeAll(async () => {
  database = await freshDatabase();
  store = await openStore(database.url);
});

async function changesOf(revision: number): Promise<unknown[]> {
  return sql(database.url, "select kind, name, before, after from changes where revision = $1 order by ordinal", [revision]);
}

test("a write makes one revision with its author, its changes and the counts after it", async () => {
  const { value, committed } = await store.write(
    { author: "ada", requestId: "r-7", reason: 'it\'s for\\a "test"' },
    async (tx) => {
      await tx.insert("cluster", cluster("first"));
      await tx.putAll("endpoint", [endpoint("first", 1), endpoint("first", 2)]);
      return "value";
    },
  );
  expect(value).toBe("value");
  const revision = committed?.revision ?? 0;
  expect(await store.head()).toEqual(committed);
  expect(await store.read.revision(revision)).toMatchObject({
    id: committed?.id,
    author: "ada",
    requestId: "r-7",
    reason: 'it\'s for\\a "test"',
    counts: { cluster: 1, endpoint: 2, listener: 0, route: 0 },
  });
  expect(await changesOf(revision)).toMatchObject([
    { kind: "cluster", name: "first", before: null, after: { name: "first" } },
    { kind: "endpoint", name: "first/10.0.0.7:1", before: null },
    { kind: "endpoint", name: "first/10.0.0.7:2", before: null },
  ]);
  expect((await store.read.get("endpoint", "first/10.0.0.7:2"))?.revision).toBe(revision);
});

test("what a write changed and then looked at, it sees; and what it put back after that look is back", async () => {
  // Mutants: changed rows that are not sent before the next statement; after a look, what is left unsent is forgotten.
  const backends = (weight: number) => [
    { cluster: "looked", weight: 100 - weight },
    { cluster: "other", weight },
  ];
  await store.write(author, async (tx) => {
    await tx.putAll("cluster", [cluster("looked"), cluster("other")]);
    await tx.put("listener", listener("looked", 81));
    await tx.put("route", route("looked", ["looked"], backends(0)));
  });
  const { committed, value } = await store.write(author, async (tx) => {
    await tx.put("route", route("looked", ["looked"], backends(7)));
    const [seen] = await tx.routesOfCluster("looked"); // A look at the table, not at what the transaction remembers.
    await tx.put("route", route("looked", ["looked"], backends(0)));
    return seen?.object;
  });
  expect(value).toMatchObject({ action: { backends: backends(7) } });
  expect(committed).toBeUndefined();
  expect((await store.read.get("route", "looked"))?.object).toMatchObject({ action: { backends: backends(0) } });
  const looked = await store.write(author, async (tx) => {
    await tx.put("route", route("looked", ["looked"], backends(8)));
    await tx.routesOfCluster("looked");
    await tx.put("route", route("looked", ["looked"], backends(9)));
    await tx.put("cluster", cluster("other", { connectTimeoutMs: 9 }));
  });
  expect(looked.changes).toHaveLength(2);
  const stored = await store.read.get("route", "looked");
  expect(stored).toMatchObject({ object: { action: { backends: backends(9) } }, revision: looked.committed?.revision });
  expect((await store.read.get("cluster", "other"))?.object).toMatchObject({ connectTimeoutMs: 9 });
});

test("a write that changes nothing makes no revision and leaves the object's own alone", async () => {
  await store.write(author, (tx) => tx.put("cluster", cluster("still")));
  const before = await store.read.get("cluster", "still");
  const head = await store.head();
  expect(await store.write(author, (tx) => tx.put("cluster", cluster("still")))).toEqual({
    value: "unchanged",
    committed: undefined,
    changes: [],
    replayed: false,
  });
  const roundTrip = await store.write(author, async (tx) => {
    await tx.put("cluster", cluster("still", { connectTimeoutMs: 1 }));
    await tx.put("cluster", cluster("still"));
    await tx.put("cluster", cluster("never"));
    await tx.delete("cluster", "never");
    await tx.delete("cluster", "still");
    await tx.put("cluster", cluster("still"));
  });
  expect(roundTrip.committed).toBeUndefined();
  expect(await store.head()).toEqual(head);
  expect(await store.read.get("cluster", "still")).toEqual(before);
});

test("only what changed gets the new revision, and `before` is what was there", async () => {
  await store.write(author, (tx) => tx.putAll("cluster", [cluster("left"), cluster("right")]));
  const old = await store.read.get("cluster", "left");
  const { value, committed } = await store.write(author, (tx) =>
    tx.putAll("cluster", [cluster("left"), cluster("right", { connectTimeoutMs: 9 })]),
  );
  expect(value).toEqual(["unchanged", "updated"]);
  expect(await store.read.get("cluster", "left")).toEqual(old);
  expect((await store.read.get("cluster", "right"))?.revision).toBe(committed?.revision);
  expect(await changesOf(committed?.revision ?? 0)).toMatchObject([
    { name: "right", before: { connectTimeoutMs: 5_000 }, after: { connectTimeoutMs: 9 } },
  ]);
});

test("a cluster takes its endpoints with it, and their removal is in the history", async () => {
  await store.write(author, async (tx) => {
    await tx.insert("cluster", cluster("short"));
    await tx.putAll("endpoint", [endpoint("short", 1), endpoint("short", 2)]);
  });
  const { value, committed } = await store.write(author, (tx) => tx.delete("cluster", "short"));
  expect(value).toBe(true);
  expect(await changesOf(committed?.revision ?? 0)).toMatchObject([
    { kind: "endpoint", name: "short/10.0.0.7:1", after: null },
    { kind: "endpoint", name: "short/10.0.0.7:2", after: null },
    { kind: "cluster", name: "short", after: null },
  ]);
  expect(await store.read.endpointsOf("short")).toEqual([]);
  expect((await store.write(author, (tx) => tx.delete("cluster", "short"))).value).toBe(false);
});

test("work that throws leaves nothing behind", async () => {
  const head = await store.head();
  const failing = store.write(author, async (tx) => {
    await tx.insert("cluster", cluster("ghost"));
    throw new Error("the caller changed its mind");
  });
  await expect(failing).rejects.toThrow("the caller changed its mind");
  expect(await store.read.get("cluster", "ghost")).toBeUndefined();
  expect(await store.head()).toEqual(head);
});

test("inserting what exists is already_exists, and a text that can't be stored is invalid_body", async () => {
  await store.write(author, (tx) => tx.put("cluster", cluster("taken")));
  await expect(store.write(author, (tx) => tx.insert("cluster", cluster("taken")))).rejects.toMatchObject({
    code: "already_exists",
  });
  for (const host of ["a\u0000b", "a\ud800b"]) {
    const unstorable = { ...route("unstorable", [], []), hosts: [host] };
    await expect(store.write(author, (tx) => tx.put("route", unstorable))).rejects.toMatchObject({ code: "invalid_body" });
  }
  const { committed } = await store.write({ ...author, reason: "a\u0000b" }, (tx) => tx.put("cluster", cluster("nul")));
  expect((await store.read.revision(committed?.revision ?? 0))?.reason).toBe("ab");
});

test("statements asked for at once go one after the other", async () => {
  const { value } = await store.write(author, async (tx) =>
    Promise.all(["a", "b", "c"].map((name) => tx.put("cluster", cluster(`at-once-${name}`)))),
  );
  expect(value).toEqual(["created", "created", "created"]);
});

test("two writers that create the same object: one creates it, the other sees it", async () => {
  const outcomes = await Promise.all(
    Array.from(
      { length: 8 },
      async (_, n) =>
        (await store.write(author, (tx) => tx.put("cluster", cluster("contested", { connectTimeoutMs: 10 + n })))).value,
    ),
  );
  expect(outcomes.filter((outcome) => outcome === "created")).toHaveLength(1);
  expect(outcomes.filter((outcome) => outcome === "updated")).toHaveLength(7);
});

test("writers that look and then write never lose each other's change, and the history is one chain", async () => {
  await store.write(author, async (tx) => {
    await tx.put("cluster", cluster("chain"));
    await tx.put("endpoint", endpoint("chain", 1));
  });
  const start = (await store.head()).revision;
  await Promise.all(
    Array.from({ length: 20 }, () =>
      store.write(author, async (tx) => {
        const found = await tx.get("endpoint", "chain/10.0.0.7:1");
        await new Promise((done) => setTimeout(done, Math.random() * 3));
        if (found) await tx.put("endpoint", { ...found.object, weight: found.object.weight + 1 });
      }),
    ),
  );
  const steps = await sql(
    database.url,
    "select (before->>'weight')::int as before, (after->>'weight')::int as after from changes where revision > $1 order by revision",
    [start],
  );
  expect(steps).toEqual(Array.from({ length: 20 }, (_, n) => ({ before: n + 1, after: n + 2 })));
});

test("the address of a listener can't be taken twice at once", async () => {
  const claim = (name: string): Promise<{ value: string }> =>
    store.write(author, async (tx) => {
      const others = await tx.listenersAt("0.0.0.0", 8_443);
      if (others.length > 0) return "taken";
      await tx.put("listener", listener(name, 8_443, { address: name === "l0" ? "10.1.1.1" : "0.0.0.0" }));
      return "free";
    });
  const values = (await Promise.all(["l0", "l1", "l2", "l3"].map(claim))).map(({ value }) => value);
  expect(values.filter((value) => value === "free")).toHaveLength(1);
  await store.write(author, async (tx) => {
    expect(await tx.listenersAt("::", 8_443)).toEqual([]);
    expect(await tx.listenersAt("0.0.0.0", 8_444)).toEqual([]);
  });
});

describe("against other writers", () => {
  test("a transaction that the database takes back runs again", async () => {
    const { url } = await freshDatabase();
    await failTheFirst(url, 3);
    const eager = await openStore(url);
    let runs = 0;
    const { committed } = await eager.write(author, async (tx) => {
      runs += 1;
      await tx.put("cluster", cluster("api"));
    });
    expect(committed?.revision).toBe(1);
    expect(runs).toBe(4);
  });

  test.skipIf(isPortable)("one that is taken back for ever is write_contention, soon", async () => {
    const { url } = await freshDatabase();
    await failTheFirst(url, 1_000);
    const eager = await openStore(url);
    const startedAt = performance.now();
    await expect(eager.write(author, (tx) => tx.put("cluster", cluster("api")))).rejects.toMatchObject({
      code: "write_contention",
    });
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(await eager.head()).toEqual({ revision: 0, id: "" });
  });

  test("on a serializable database every acknowledged write is applied exactly once", async () => {
    const { url } = await freshDatabase();
    await sql(url, `alter database ${new URL(url).pathname.slice(1)} set default_transaction_isolation = 'serializable'`);
    const strict = await openStore(url);
    await strict.write(author, async (tx) => {
      await tx.put("cluster", cluster("api"));
      await tx.put("endpoint", endpoint("api", 1));
    });
    let acknowledged = 0;
    const increment = async (): Promise<void> => {
      try {
        await strict.write(author, async (tx) => {
          const found = await tx.get("endpoint", "api/10.0.0.7:1");
          if (found) await tx.put("endpoint", { ...found.object, weight: found.object.weight + 1 });
        });
        acknowledged += 1;
      } catch (error) {
        expect(error).toMatchObject({ code: "write_contention" });
      }
    };
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        for (let nth = 0; nth < 8; nth++) await increment();
      }),
    );
    const counted: Endpoint | undefined = (await strict.read.get("endpoint", "api/10.0.0.7:1"))?.object;
    expect(counted?.weight).toBe(1 + acknowledged);
    expect((await strict.head()).revision).toBe(1 + acknowledged);
    expect(acknowledged).toBeGreaterThan(16);
  });
});

/** The next `times` writes of a cluster meet a serialization failure. Sequences are not undone with their transaction. */
async function failTheFirst(url: string, times: number): Promise<void> {
  await sql(
    url,
    `create sequence failures;
     create function fail_some() returns trigger language plpgsql as $$
     begin
       if nextval('failures') <= ${times} then raise exception 'injected' using errcode = '40001'; end if;
       return new;
     end $$;
     create trigger fail_some before insert on clusters for each row execute function fail_some();`,
  );
}
