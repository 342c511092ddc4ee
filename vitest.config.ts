// How the tests run: three projects, one after the other, told apart by what must be running (STYLE.md §11).
// unit: nothing; pg: the embedded Postgres; envoy: Postgres and a real Envoy. No retries: a flaky test is a fault to find.
// Called by scripts/test.mjs (`npm test`), or by hand: `npx vitest run --project unit`.
import { defineConfig } from "vitest/config";

const postgresSetup = "test/support/postgres-setup.ts";
const isolated = {
  pool: "forks",
  retry: 0,
  environment: "node",
  setupFiles: ["test/support/loopback-only.ts"],
} as const;

export default defineConfig({
  test: {
    ...isolated,
    teardownTimeout: 20_000,
    projects: [
      {
        test: {
          ...isolated,
          name: "unit",
          include: ["test/**/*.test.ts"],
          exclude: ["test/**/*.{pg,envoy}.test.ts"],
          testTimeout: 30_000,
          hookTimeout: 30_000,
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          ...isolated,
          name: "pg",
          include: ["test/**/*.pg.test.ts"],
          globalSetup: [postgresSetup],
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 2,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...isolated,
          name: "envoy",
          include: ["test/**/*.envoy.test.ts"],
          globalSetup: [postgresSetup],
          // A file starts a control plane and an Envoy or two, and drives load through them: two files fill two cores.
          testTimeout: 120_000,
          hookTimeout: 90_000,
          maxWorkers: 2,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
