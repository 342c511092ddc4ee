// What most feature tests need: a fresh database, a control plane on it and Envoys that serve its configuration.
// In: how many, and how the Envoys ask. Out: all of them. Everything ends with the test file.
import { type Api, acked, type Mutation, type NodeBody } from "./api-client.js";
import { onCleanup } from "./cleanup.js";
import { type Envoy, type Mode, startEnvoy } from "./envoy.js";
import { freshDatabase } from "./postgres.js";
import { type Replica, startReplica } from "./replica.js";
import { waitFor } from "./wait.js";

export interface World {
  readonly databaseUrl: string;
  readonly replica: Replica;
  readonly api: Api;
  /** The first Envoy, and all of them. */
  readonly envoy: Envoy;
  readonly envoys: readonly Envoy[];
}

export interface WorldOptions {
  /** Node ids; default one, `edge-1`. All are of gateway `edge`. */
  readonly nodes?: readonly string[];
  readonly mode?: Mode;
  readonly env?: Readonly<Record<string, string>>;
}

/** A migrated database of this test's own, dropped when the file ends. */
export async function startDatabase(): Promise<string> {
  const { url, drop } = await freshDatabase();
  onCleanup("database", drop);
  return url;
}

/** Starts it and waits until every Envoy is live and known. */
export async function startWorld({ nodes = ["edge-1"], mode = "delta", env = {} }: WorldOptions = {}): Promise<World> {
  const databaseUrl = await startDatabase();
  const replica = await startReplica({ databaseUrl, env });
  const start = (node: string): Promise<Envoy> => startEnvoy({ node, gateway: "edge", xdsPorts: [replica.xdsPort], mode });
  const envoys = await Promise.all(nodes.map(start));
  const [envoy] = envoys;
  if (!envoy) throw new Error("a world needs an Envoy");
  for (const one of envoys) {
    await one.live();
    await connected(replica.api, one.node);
  }
  return { databaseUrl, replica, api: replica.api, envoy, envoys };
}

/** Waits until the control plane shows the node as connected. */
export const connected = (api: Api, node: string): Promise<NodeBody> =>
  waitFor(`${node} is connected`, async () => {
    const body = await api.node(node);
    return body?.connected ? body : undefined;
  });

/** Waits until the node has acked everything up to `revision`. */
export const ackedBy = (api: Api, node: string, revision: number, timeoutMs = 15_000): Promise<NodeBody> =>
  waitFor(
    `${node} has revision ${revision}`,
    async () => {
      const body = await api.node(node);
      return body?.connected && body.ackedRevision >= revision ? body : undefined;
    },
    { timeoutMs },
  );

/** What a test sets up before it begins: written in order, the last one waited for until every Envoy has it. */
export async function setUp(
  api: Api,
  writes: readonly (readonly ["cluster" | "listener" | "route", unknown])[],
): Promise<Mutation> {
  let last: Mutation | undefined;
  for (const [index, [kind, body]] of writes.entries()) {
    last = await api.post(`/v1/${kind}s${index === writes.length - 1 ? acked : ""}`, body);
  }
  if (!last) throw new Error("nothing to set up");
  if (last.sync && last.sync.state !== "acked") throw new Error(`the set-up was not acked: ${JSON.stringify(last.sync)}`);
  return last;
}
