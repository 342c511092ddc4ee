// Promises of the process as a whole, on a real Postgres and without Envoys: what answers when, while it starts and while it stops.
import { afterEach, expect, test } from "vitest";
import { type App, createApp } from "../../src/app.js";
import { readConfig } from "../../src/config.js";
import { createLogger } from "../../src/telemetry/logger.js";
import { freePorts } from "../support/ports.js";
import { databaseProxy, freshDatabase } from "../support/postgres.js";
import { waitFor } from "../support/wait.js";

const apps: App[] = [];
afterEach(async () => {
  for (const app of apps.splice(0)) await app.close();
});

interface Started {
  readonly app: App;
  readonly base: string;
  readonly xdsPort: number;
}

async function create(databaseUrl: string, env: Record<string, string> = {}): Promise<Started> {
  const [apiPort = 0, xdsPort = 0] = await freePorts(2);
  const { config } = readConfig({
    DATABASE_URL: databaseUrl,
    CHANCERY_API_ADDRESS: `127.0.0.1:${apiPort}`,
    CHANCERY_XDS_ADDRESS: `127.0.0.1:${xdsPort}`,
    CHANCERY_DB_CONNECT_TIMEOUT_MS: "500",
    CHANCERY_SHUTDOWN_GRACE_MS: "500",
    ...env,
  });
  const app = await createApp(config, createLogger("silent"));
  apps.push(app);
  return { app, base: `http://127.0.0.1:${apiPort}`, xdsPort };
}

async function get(base: string, path: string): Promise<{ status: number; body: Record<string, unknown> }> {
  const answer = await fetch(`${base}${path}`);
  return { status: answer.status, body: JSON.parse(await answer.text()) };
}

async function isOpen(port: number): Promise<boolean> {
  const { connect } = await import("node:net");
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    }).on("error", () => resolve(false));
  });
}

test("load, then listen: until the database has answered, /readyz says what it waits for and Envoys find nobody", async () => {
  const { url } = await freshDatabase();
  const proxy = await databaseProxy(url);
  proxy.become("closed");
  const { app, base, xdsPort } = await create(proxy.url);
  const started = app.start();
  await waitFor("the admin API listens", () => isOpen(Number(new URL(base).port)));
  expect(await get(base, "/healthz")).toMatchObject({ status: 200 });
  expect(await get(base, "/readyz")).toMatchObject({
    status: 503,
    body: { code: "starting", ready: false, waitingFor: ["the database"] },
  });
  expect(await isOpen(xdsPort)).toBe(false);
  proxy.become("pass");
  expect(await started).toMatchObject({ xdsPort });
  expect(await get(base, "/readyz")).toMatchObject({ status: 200, body: { ready: true, revision: 0, waitingFor: [] } });
  expect(await isOpen(xdsPort)).toBe(true);
});

test("a stop before the first load ends the start, and leaves nothing open", async () => {
  const { url } = await freshDatabase();
  const proxy = await databaseProxy(url);
  proxy.become("closed");
  const { app, base } = await create(proxy.url);
  const started = app.start();
  await waitFor("the admin API listens", () => isOpen(Number(new URL(base).port)));
  const outcome = started.then(
    () => "started",
    () => "called off",
  );
  await app.close();
  expect(await outcome).toBe("called off");
  expect(await isOpen(Number(new URL(base).port))).toBe(false);
});

test("a write that waits is answered at once where no Envoy is concerned", async () => {
  const { url } = await freshDatabase();
  const { app, base } = await create(url);
  await app.start();
  const answer = await fetch(`${base}/v1/clusters?wait=acked`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ name: "a" }),
  });
  const body = JSON.parse(await answer.text());
  expect(body).toMatchObject({ revision: 1, changed: true, sync: { revision: 1, state: "acked", gateways: {} } });
  expect(await get(base, "/v1/nodes")).toEqual({ status: 200, body: { items: [] } });
});

test("an orderly stop: first not ready, then waits end with what there is, then nothing listens", async () => {
  const { url } = await freshDatabase();
  const { app, base, xdsPort } = await create(url, { CHANCERY_SHUTDOWN_DELAY_MS: "400" });
  await app.start();
  const closing = app.close();
  expect(await get(base, "/readyz")).toMatchObject({ status: 503, body: { ready: false } });
  expect(await isOpen(xdsPort)).toBe(true);
  await closing;
  expect(await isOpen(xdsPort)).toBe(false);
  expect(await isOpen(Number(new URL(base).port))).toBe(false);
});

test("a port that is taken is told, not waited for", async () => {
  const { url } = await freshDatabase();
  const first = await create(url);
  await first.app.start();
  const second = await create(url, { CHANCERY_API_ADDRESS: new URL(first.base).host });
  await expect(second.app.start()).rejects.toMatchObject({ code: "EADDRINUSE" });
});
