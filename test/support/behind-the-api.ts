// Writes that the admin API would refuse, put in through the store as its own revision: what a bug, an older version or a hand in the
// database could leave there. In: model objects. Out: the revision. Called by the tests of refusals.

import { addressKey } from "../../src/model/endpoint.js";
import type { Kind, ObjectKinds } from "../../src/model/revision.js";
import { createStore, type Store, type WriteTx } from "../../src/store/store.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { createMetrics } from "../../src/telemetry/metrics.js";
import { isPortable } from "./database-mode.js";

const author = { author: "behind-the-api", requestId: "behind-the-api", reason: "a test" };

type AnyObject = { [K in Kind]: readonly [K, ObjectKinds[K]] }[Kind];

async function withStore<T>(databaseUrl: string, work: (store: Store) => Promise<T>): Promise<T> {
  const store = await createStore({
    databaseUrl,
    portable: isPortable,
    notify: true,
    apiPoolSize: 2,
    feedPoolSize: 1,
    connectTimeoutMs: 5_000,
    queryTimeoutMs: 10_000,
    connectionAgeMs: 60_000,
    log: createLogger("fatal"),
    metrics: createMetrics(),
  });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

const revisionOf = ({ committed }: { committed: { revision: number } | undefined }): number => {
  if (!committed) throw new Error("the write behind the API changed nothing");
  return committed.revision;
};

async function put(tx: WriteTx, [kind, object]: AnyObject): Promise<void> {
  await tx.put(kind, object);
  // An endpoint's mark is kept by every put: it is a drain's to set.
  if (kind === "endpoint") await tx.markDrained([`${object.cluster}/${addressKey(object)}`], object.drain);
}

/** Writes all of them in one revision, unchecked, the marks of drains included. */
export const putBehind = (databaseUrl: string, objects: readonly AnyObject[]): Promise<number> =>
  withStore(databaseUrl, async (store) => {
    const work = async (tx: WriteTx): Promise<void> => {
      for (const object of objects) await put(tx, object);
    };
    return revisionOf(await store.write(author, work, { overrides: ["drain"] }));
  });

/** Removes one object, unchecked. An endpoint's name is `<cluster>/<address:port>`. */
export const removeBehind = (databaseUrl: string, kind: Kind, name: string): Promise<number> =>
  withStore(databaseUrl, async (store) =>
    revisionOf(await store.write(author, async (tx) => void (await tx.delete(kind, name)))),
  );
