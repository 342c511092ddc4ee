// No two writers, however they meet, leave a route that names a cluster or a listener which is not there (DESIGN §4).
import { beforeAll, expect, test } from "vitest";
import { AppError } from "../../src/errors.js";
import type { Store, WriteTx } from "../../src/store/store.js";
import { freshDatabase, sql, type TestDatabase } from "../support/postgres.js";
import { author, cluster, endpoint, listener, openStore, route } from "./samples.js";

let database: TestDatabase;
let store: Store;
beforeAll(async () => {
  database = await freshDatabase();
  store = await openStore(database.url);
});

const pause = (): Promise<void> => new Promise((done) => setTimeout(done, Math.random() * 4));
const codeOf = (error: unknown): string => (error instanceof AppError ? error.code : String(error));

/** Routes that name something which is not there, read from the specs themselves. */
async function dangling(): Promise<unknown[]> {
  return sql(
    database.url,
    `select routes.name, backend->>'cluster' as cluster from routes, jsonb_array_elements(spec->'action'->'backends') as backend
      where not exists (select from clusters where clusters.name = backend->>'cluster')
     union all
     select routes.name, named from routes, jsonb_array_elements_text(spec->'listeners') as named
      where not exists (select from listeners where listeners.name = named)`,
  );
}

test("what a route names can't be deleted, and the error names the routes", async () => {
  await store.write(author, async (tx) => {
    await tx.put("cluster", cluster("used"));
    await tx.put("listener", listener("used", 81));
    await tx.put(
      "route",
      route(
        "one",
        ["used"],
        [
          { cluster: "used", weight: 1 },
          { cluster: "used", weight: 0 },
        ],
      ),
    );
    await tx.put("route", route("two", ["used"], [{ cluster: "used", weight: 0 }]));
  });
  for (const kind of ["cluster", "listener"] as const) {
    const refused = store.write(author, (tx) => tx.delete(kind, "used"));
    await expect(refused).rejects.toMatchObject({ code: "in_use", facts: { kind, name: "used", routes: ["one", "two"] } });
  }
  const takesAll = { overrides: ["emptied"] } as const;
  const removeAll = async (tx: WriteTx): Promise<void> => {
    expect((await tx.routesOfCluster("used")).map(({ object }) => object.name)).toEqual(["one", "two"]);
    expect((await tx.routesOfListener("used")).map(({ object }) => object.name)).toEqual(["one", "two"]);
    await tx.deleteAll("route", ["one", "two"]);
    await tx.delete("cluster", "used");
    await tx.delete("listener", "used");
  };
  await store.write(author, removeAll, takesAll);
});

test("a route or an endpoint that names what is not there is invalid_reference, also when the work did not look", async () => {
  const routed = store.write(author, (tx) => tx.put("route", route("lost", [], [{ cluster: "nowhere", weight: 1 }])));
  await expect(routed).rejects.toMatchObject({ code: "invalid_reference" });
  await expect(store.write(author, (tx) => tx.put("endpoint", endpoint("nowhere", 1)))).rejects.toMatchObject({
    code: "invalid_reference",
  });
});

test("a route that stops naming a cluster lets it go; one that only shifts weights touches no reference", async () => {
  await store.write(author, async (tx) => {
    await tx.putAll("cluster", [cluster("blue"), cluster("green")]);
    await tx.put(
      "route",
      route(
        "shift",
        [],
        [
          { cluster: "blue", weight: 1 },
          { cluster: "green", weight: 0 },
        ],
      ),
    );
  });
  const references = "select cluster, xmin::text as writer from route_clusters where route = 'shift' order by cluster";
  const before = await sql(database.url, references);
  await store.write(author, (tx) =>
    tx.put(
      "route",
      route(
        "shift",
        [],
        [
          { cluster: "blue", weight: 0 },
          { cluster: "green", weight: 1 },
        ],
      ),
    ),
  );
  expect(await sql(database.url, references)).toEqual(before);
  await store.write(author, (tx) => tx.put("route", route("shift", [], [{ cluster: "green", weight: 1 }])));
  expect((await store.write(author, (tx) => tx.delete("cluster", "blue"))).value).toBe(true);
});

test("who creates a route while another deletes its cluster: one of the two is refused, every time", async () => {
  const outcomes = new Map<string, number>();
  const rounds = Array.from({ length: 60 }, async (_, round) => {
    const name = `raced-${round}`;
    await store.write(author, async (tx) => {
      await tx.put("cluster", cluster(name));
      await tx.put("endpoint", endpoint(name, 1));
    });
    const create = async (): Promise<string> => {
      await pause();
      await store.write(author, async (tx) => {
        if (!(await tx.share("cluster", name))) throw new AppError("invalid_reference");
        await pause();
        await tx.put("route", route(name, [], [{ cluster: name, weight: 1 }]));
      });
      return "created";
    };
    const remove = async (): Promise<string> => {
      await pause();
      await store.write(author, (tx) => tx.delete("cluster", name));
      return "deleted";
    };
    const [created, removed] = await Promise.all([create().catch(codeOf), remove().catch(codeOf)]);
    const outcome = `${created}, ${removed}`;
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  });
  await Promise.all(rounds);
  expect([...outcomes.keys()].sort()).toEqual(["created, in_use", "invalid_reference, deleted"]);
  expect(await dangling()).toEqual([]);
});

test("random writers over few names leave nothing dangling, and every refusal has its code", async () => {
  const names = ["r0", "r1", "r2"];
  const pick = (): string => names[Math.floor(Math.random() * names.length)] ?? "r0";
  const refusals = new Set<string>();
  const acts = [
    () =>
      store.write(author, (tx) => tx.put("cluster", cluster(pick(), { connectTimeoutMs: 1 + Math.floor(Math.random() * 9) }))),
    () => store.write(author, (tx) => tx.put("listener", listener(pick(), 80))),
    () => store.write(author, (tx) => tx.delete("cluster", pick())),
    () => store.write(author, (tx) => tx.delete("listener", pick())),
    () => store.write(author, (tx) => tx.delete("route", pick())),
    () => store.write(author, (tx) => tx.put("endpoint", endpoint(pick(), 1))),
    () =>
      store.write(author, async (tx) => {
        await tx.put("route", route(pick(), [pick()], [{ cluster: pick(), weight: 1 }]));
        await pause();
      }),
  ];
  await Promise.all(
    Array.from({ length: 8 }, async () => {
      for (let nth = 0; nth < 30; nth++)
        await acts[Math.floor(Math.random() * acts.length)]?.().catch((error) => refusals.add(codeOf(error)));
    }),
  );
  for (const code of refusals) expect(["in_use", "invalid_reference", "write_contention"]).toContain(code);
  expect(await dangling()).toEqual([]);
  await store.loadState(); // Its counts hold, too.
});
