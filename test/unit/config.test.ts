// Promises about the environment: what is read, what is refused, and that the documentation says the same.
// docs/configuration.md is made from the table: when the last test fails, put the text that it prints between the two markers.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ConfigError, readConfig } from "../../src/config.js";
import { settingsHelp, settingsMarkdown } from "../../src/config-help.js";
import { parseAddress } from "../../src/config-settings.js";
import { foreignKeys, listSettings } from "../../src/config-table.js";

const database = { DATABASE_URL: "postgres://chancery:s3cret@db.example.com:5432/chancery" };

function problemsOf(env: Record<string, string>): readonly { key: string; detail: string }[] {
  try {
    readConfig(env);
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

describe("what is read", () => {
  test("a database is enough; everything else has a default", () => {
    const { config, warnings } = readConfig(database);
    expect(warnings).toEqual([]);
    expect(config.api.address).toEqual({ host: "127.0.0.1", port: 8080 });
    expect(config.xds).toMatchObject({
      address: { host: "127.0.0.1", port: 18000 },
      maxStreamsPerConnection: 8,
      writeStallMs: 30_000,
      keepaliveMs: 30_000,
      keepaliveTimeoutMs: 10_000,
      streamAgeMs: 0,
    });
    expect(config.snapshot).toEqual({ pollMs: 500, removalGraceMs: 30_000 });
    expect(config.status).toEqual({ leaseMs: 5_000, beatMs: 1_500, flushMs: 100 });
    expect(config.process.replicaId).toMatch(/^[A-Za-z0-9][A-Za-z0-9.-]*-[0-9a-f]{6}$/);
  });

  test("two replicas on one host get two names", () => {
    expect(readConfig(database).config.process.replicaId).not.toBe(readConfig(database).config.process.replicaId);
  });

  test("a variable that is set but empty counts as not set", () => {
    expect(readConfig({ ...database, CHANCERY_POLL_MS: "", CHANCERY_REPLICA_ID: "" }).config.snapshot.pollMs).toBe(500);
    expect(problemsOf({ DATABASE_URL: "" })).toMatchObject([{ key: "DATABASE_URL" }]);
  });

  test("addresses take IPv4, host names, and IPv6 in brackets", () => {
    expect(parseAddress("[::1]:18000")).toEqual({ host: "::1", port: 18000 });
    expect(parseAddress("control-plane.example.com:80")).toEqual({ host: "control-plane.example.com", port: 80 });
    for (const wrong of ["8080", ":8080", "::1:8080", "host:70000", "host:", "host:80 ", "[host]:80"])
      expect(parseAddress(wrong)).toBeUndefined();
  });
});

describe("what is refused", () => {
  test("all problems are told at once", () => {
    const problems = problemsOf({
      CHANCERY_POLL_MS: "fast",
      CHANCERY_NOTIFY: "yes",
      CHANCERY_XDS_ADDRESS: "18000",
      CHANCERY_LOG_LEVEL: "loud",
      CHANCERY_REPLICA_ID: "a b",
    });
    expect(problems.map(({ key }) => key).sort()).toEqual([
      "CHANCERY_LOG_LEVEL",
      "CHANCERY_NOTIFY",
      "CHANCERY_POLL_MS",
      "CHANCERY_REPLICA_ID",
      "CHANCERY_XDS_ADDRESS",
      "DATABASE_URL",
    ]);
  });

  test("every number is held to its bounds, which its problem names", () => {
    for (const { setting } of listSettings()) {
      const bounds = /^([\d,]+)–([\d,]+)$/.exec(setting.bound);
      if (!bounds) continue;
      const [least = 0, most = 0] = bounds.slice(1).map((text) => Number(text.replaceAll(",", "")));
      expect(setting.read(String(least))).toEqual({ value: least });
      expect(setting.read(String(most))).toEqual({ value: most });
      for (const wrong of [least - 1, most + 1, "1e3", "0x10", "1.5", " 5", "-0"])
        expect(setting.read(String(wrong)).problem).toContain(setting.bound);
    }
  });

  test("no text makes reading throw anything but the list of problems", () => {
    const keys = listSettings().map(({ setting }) => setting.key);
    fc.assert(
      fc.property(fc.dictionary(fc.constantFrom(...keys), fc.string()), (env) => {
        for (const { key } of problemsOf(env)) expect(keys).toContain(key);
      }),
    );
  });

  test("a misspelt key is refused with the right one", () => {
    expect(problemsOf({ ...database, CHANCERY_POL_MS: "250" })).toEqual([
      { key: "CHANCERY_POL_MS", detail: "is unknown; did you mean CHANCERY_POLL_MS?" },
    ]);
    expect(problemsOf({ ...database, CHANCERY_REMOVAL_GARCE_MS: "1" })[0]?.detail).toContain("CHANCERY_REMOVAL_GRACE_MS");
    expect(problemsOf({ ...database, chancery_notify: "off" })[0]?.detail).toContain("CHANCERY_NOTIFY");
  });

  test("keys that Kubernetes makes for a service of our name only warn", () => {
    const kubernetes = {
      CHANCERY_SERVICE_HOST: "10.0.0.1",
      CHANCERY_SERVICE_PORT: "80",
      CHANCERY_PORT: "tcp://10.0.0.1:80",
      CHANCERY_PORT_80_TCP_ADDR: "10.0.0.1",
    };
    expect(readConfig({ ...database, ...kubernetes }).warnings).toHaveLength(4);
  });

  test("keys of the CLI and of other programs are left alone", () => {
    expect(
      readConfig({ ...database, CHANCERY_API: "http://x", CHANCERY_AUTHOR: "me", DATABASE_URI: "x", PATH: "/bin" }).warnings,
    ).toEqual([]);
  });

  test("no problem repeats a password", () => {
    // Mutant: the URL's problem quotes what was given.
    for (const url of ["postgres//chancery:s3cret@db", "mysql://chancery:s3cret@db/x"]) {
      expect(() => readConfig({ DATABASE_URL: url })).toThrow(ConfigError);
      expect(problemsOf({ DATABASE_URL: url })[0]?.detail).not.toContain("s3cret");
    }
  });

  test("settings that contradict each other are refused", () => {
    expect(problemsOf({ ...database, CHANCERY_BEAT_MS: "6000" })).toMatchObject([{ key: "CHANCERY_BEAT_MS" }]);
    expect(problemsOf({ ...database, CHANCERY_XDS_REFUSAL_RETRY_MIN_MS: "400000" })).toMatchObject([
      { key: "CHANCERY_XDS_REFUSAL_RETRY_MIN_MS" },
    ]);
  });
});

describe("what is documented", () => {
  test("no key is there twice, and each has a meaning and a bound", () => {
    const keys = [...listSettings().map(({ setting }) => setting.key), ...Object.keys(foreignKeys)];
    expect(new Set(keys).size).toBe(keys.length);
    for (const { setting } of listSettings()) {
      expect(setting.about.length).toBeGreaterThan(20);
      expect(setting.bound).not.toBe("");
    }
  });

  test("`chancery serve --help` names every key", () => {
    for (const { setting } of listSettings()) expect(settingsHelp()).toContain(`  ${setting.key}  [`);
  });

  test("docs/configuration.md is the table, and names no key that there is not", () => {
    const page = readFileSync(fileURLToPath(new URL("../../docs/configuration.md", import.meta.url)), "utf8");
    const tables = /<!-- settings -->\n([\s\S]*)\n<!-- \/settings -->/.exec(page)?.[1];
    expect(tables, settingsMarkdown()).toBe(settingsMarkdown());
    const known = new Set([...listSettings().map(({ setting }) => setting.key), ...Object.keys(foreignKeys)]);
    for (const [key] of page.matchAll(/\b(CHANCERY|DATABASE)_[A-Z_]+\b/g)) expect(known).toContain(key);
  });
});
