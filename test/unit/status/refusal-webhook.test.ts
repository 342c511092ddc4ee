// The webhook's promises: those who refuse one thing are told together, in order, again until it is taken, within its bounds.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { NewRefusal } from "../../../src/status/refusal-log.js";
import { RefusalWebhook, type RefusalWebhookOptions } from "../../../src/status/refusal-webhook.js";
import { createLogger } from "../../../src/telemetry/logger.js";
import { createMetrics, type Metrics } from "../../../src/telemetry/metrics.js";
import { refusedHosts } from "../../support/loopback-only.js";

interface Post {
  readonly id: string;
  readonly revision: number;
  readonly nodes: readonly string[];
  readonly nodesTotal: number;
  readonly author?: string;
  readonly objects: unknown;
}

let posts: Post[];
/** Of each post: its signature, and its body as it came. */
let signatures: (string | undefined)[];
let raws: string[];
let statuses: number[];
let metrics: Metrics;
let webhook: RefusalWebhook;
let url = "";
const server = createServer(async (request, response) => {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  posts.push(JSON.parse(text));
  raws.push(text);
  const signature = request.headers["x-chancery-signature"];
  signatures.push(typeof signature === "string" ? signature : undefined);
  response.writeHead(statuses.shift() ?? 200).end();
});

/** Gathering and back-off in no time; what is told within one turn is told together. */
const clock = {
  now: () => Date.now(),
  after: (_: number, task: () => void) => {
    const timer = setTimeout(task, 0);
    return () => clearTimeout(timer);
  },
};

function start(more: Partial<RefusalWebhookOptions> = {}): void {
  webhook = new RefusalWebhook({
    url,
    allowLinkLocal: false,
    maxQueue: 3,
    replica: "a",
    authorOf: async (revision) => ({ author: `author-${revision}`, requestId: `request-${revision}` }),
    objectsOf: ({ resource }) => [{ kind: "listener", name: resource }],
    log: createLogger("silent"),
    metrics,
    clock,
    ...more,
  });
}
beforeEach(async () => {
  posts = [];
  signatures = [];
  raws = [];
  statuses = [];
  metrics = createMetrics();
  if (!server.listening) await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  server.unref();
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  start();
});
afterEach(() => webhook.close());

const refusal = (node: string, revision: number): NewRefusal => ({
  node,
  gateway: "edge",
  type: "listener",
  resource: "web",
  parts: undefined,
  revision,
  detail: "no",
  at: 0,
});
const outcome = async (name: string): Promise<string | undefined> =>
  new RegExp(`webhook_deliveries_total\\{outcome="${name}"\\} (\\d+)`).exec(await metrics.text())?.[1];

test("Envoys that refuse one thing are one post, another revision is another, in order", async () => {
  for (const node of ["edge-2", "edge-1", "edge-3"]) webhook.tell(refusal(node, 7));
  webhook.tell(refusal("edge-1", 8));
  await expect.poll(() => posts.length).toBe(2);
  expect(posts).toMatchObject([
    {
      revision: 7,
      nodes: ["edge-1", "edge-2", "edge-3"],
      nodesTotal: 3,
      author: "author-7",
      objects: [{ kind: "listener", name: "web" }],
    },
    { revision: 8, nodes: ["edge-1"], nodesTotal: 1 },
  ]);
  await expect.poll(() => outcome("delivered")).toBe("2");
});

test("a post is repeated under one id until it is taken", async () => {
  statuses = [500, 429, 503, 204];
  webhook.tell(refusal("edge-1", 7));
  await expect.poll(() => outcome("delivered")).toBe("1");
  expect(posts).toHaveLength(4);
  expect(new Set(posts.map(({ id }) => id)).size).toBe(1);
});

test("a server that says no is believed; one that is broken is given up after six tries, and the next post goes out", async () => {
  statuses = [400, 500, 500, 500, 500, 500, 500];
  webhook.tell(refusal("edge-1", 1));
  await expect.poll(() => outcome("rejected")).toBe("1");
  webhook.tell(refusal("edge-1", 2));
  webhook.tell(refusal("edge-1", 3));
  await expect.poll(() => outcome("delivered")).toBe("1");
  expect(await outcome("given up")).toBe("1");
  expect(posts.map(({ revision }) => revision)).toEqual([1, 2, 2, 2, 2, 2, 2, 3]);
});

test("more than may wait is dropped and counted; nodes that join a refusal that waits cost nothing", async () => {
  for (let revision = 1; revision <= 5; revision++) webhook.tell(refusal("edge-1", revision));
  webhook.tell(refusal("edge-2", 3));
  await expect.poll(() => posts.length).toBe(3);
  expect(posts.map(({ revision }) => revision)).toEqual([1, 2, 3]);
  expect(posts[2]?.nodes).toEqual(["edge-1", "edge-2"]);
  expect(await outcome("dropped")).toBe("2");
  expect(await metrics.text()).toContain('chancery_limit_hits_total{limit="webhookQueue"} 2');
  await expect.poll(async () => (await metrics.text()).includes("chancery_webhook_queue 0")).toBe(true);
});

test("without a database it is told without its author", async () => {
  start({ authorOf: () => Promise.reject(new Error("away")) });
  webhook.tell(refusal("edge-1", 7));
  await expect.poll(() => posts.length).toBe(1);
  expect(posts[0]).not.toHaveProperty("author");
});

test("a link-local address is not called", async () => {
  start({ url: "http://169.254.169.254/latest/meta-data" });
  webhook.tell(refusal("edge-1", 7));
  await expect.poll(() => outcome("rejected")).toBe("1");
  expect(refusedHosts).toEqual([]);
});

/** As docs/operations.md has it for receivers; `body` are the bytes as they came. */
function isFromChancery(header: string | undefined, body: string, secret: string, now = Date.now()): boolean {
  const [, t, v1] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(header ?? "") ?? [];
  if (v1 === undefined || Math.abs(now / 1000 - Number(t)) > 300) return false;
  const expected = createHmac("sha256", secret).update(`${t}.`).update(body).digest();
  return timingSafeEqual(Buffer.from(v1, "hex"), expected);
}

test("with a secret each try is signed anew, over the body and the time; nobody else's, and nothing old or changed, verifies", async () => {
  const secret = "a secret of 16 or more";
  let now = Date.parse("2026-01-01T00:00:00Z");
  statuses = [500, 204];
  start({ secret, clock: { ...clock, now: () => (now += 1_000) } });
  webhook.tell(refusal("edge-1", 7));
  await expect.poll(() => outcome("delivered")).toBe("1");
  const [first, second] = posts;
  expect(signatures).toHaveLength(2);
  for (const [at, raw] of raws.entries()) expect(isFromChancery(signatures[at], raw, secret, now)).toBe(true);
  expect(signatures[0]).not.toBe(signatures[1]);
  expect(second).toEqual(first);
  const [header, raw = ""] = [signatures[1], raws[1]];
  expect(isFromChancery(header, raw.replace("edge-1", "edge-2"), secret, now)).toBe(false);
  expect(isFromChancery(header, raw, "another secret", now)).toBe(false);
  expect(isFromChancery(header, raw, secret, now + 301_000)).toBe(false);
  const renewed = header?.replace(/t=\d+/, `t=${Math.floor(now / 1000) + 200}`);
  expect(isFromChancery(renewed, raw, secret, now)).toBe(false);
});

test("without a secret nothing is signed", async () => {
  webhook.tell(refusal("edge-1", 7));
  await expect.poll(() => posts.length).toBe(1);
  expect(signatures).toEqual([undefined]);
});

test("closing ends a back-off and forgets what waits", async () => {
  statuses = Array.from({ length: 50 }, () => 500);
  start({ clock: { ...clock, after: (ms, task) => clock.after(ms, ms === 250 ? task : () => {}) } });
  webhook.tell(refusal("edge-1", 7));
  await expect.poll(() => posts.length).toBe(1);
  await webhook.close();
  webhook.tell(refusal("edge-1", 8));
  expect(posts).toHaveLength(1);
});
