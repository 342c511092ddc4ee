// Environment → Config, once, at the start of `serve`, `migrate` and `up`. Every key is in the table of
// config-table.ts; here are the types that follow from it, and the judgement of what was given.
// All problems are reported at once. A key that is nearly one of ours is refused with the right name; other CHANCERY_* keys
// only warn, because Kubernetes puts some of its own into every pod beside a service of that name (CHANCERY_SERVICE_HOST).
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import type { Setting } from "./config-settings.js";
import { nearest } from "./config-spelling.js";
import { foreignKeys, listSettings, settings } from "./config-table.js";

type ValueOf<S> = S extends Setting<infer T> ? T : never;
type Sections = typeof settings;
type Read = { readonly [S in keyof Sections]: { readonly [F in keyof Sections[S]]: ValueOf<Sections[S][F]> } };
/** What the environment says. Times in ms, sizes in bytes. */
export type Config = Omit<Read, "process"> & {
  readonly process: Omit<Read["process"], "replicaId"> & { readonly replicaId: string };
};

/** One fault in the environment: which key, and what is wrong with it, as the rest of a sentence. */
export interface ConfigProblem {
  readonly key: string;
  readonly detail: string;
}

/** Thrown by `readConfig`; the message lists every problem on a line of its own. */
export class ConfigError extends Error {
  constructor(readonly problems: readonly ConfigProblem[]) {
    super(
      `The environment has ${problems.length === 1 ? "a problem" : `${problems.length} problems`}:\n${problems.map((problem) => `  ${problem.key}: ${problem.detail}`).join("\n")}`,
    );
    this.name = "ConfigError";
  }
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Unknown keys: near misses are problems, the rest are warnings. */
function judgeUnknown(env: Environment): { problems: ConfigProblem[]; warnings: string[] } {
  const known = [...listSettings().map(({ setting }) => setting.key), ...Object.keys(foreignKeys)];
  const problems: ConfigProblem[] = [];
  const warnings: string[] = [];
  for (const key of Object.keys(env).sort()) {
    if (!/^CHANCERY_/i.test(key) || known.includes(key)) continue;
    const meant = nearest(key, known);
    if (meant !== undefined) problems.push({ key, detail: `is unknown; did you mean ${meant}?` });
    else warnings.push(`${key} is not a setting of Chancery and is ignored.`);
  }
  return { problems, warnings };
}

/** Rules between two settings, which no single bound can say. */
function judgeTogether(config: Config): ConfigProblem[] {
  const { status, validation, xds } = config;
  const problems: ConfigProblem[] = [];
  if (status.beatMs * 2 > status.leaseMs)
    problems.push({
      key: settings.status.beatMs.key,
      detail: `must be at most half of ${settings.status.leaseMs.key} (${status.leaseMs} ms)`,
    });
  if (xds.refusalRetryMinMs > xds.refusalRetryMaxMs) {
    problems.push({
      key: settings.xds.refusalRetryMinMs.key,
      detail: `must not be above ${settings.xds.refusalRetryMaxMs.key} (${xds.refusalRetryMaxMs} ms)`,
    });
  }
  if (validation.mode === "required" && validation.envoyBinary === undefined) {
    problems.push({
      key: settings.validation.envoyBinary.key,
      detail: `must be set where ${settings.validation.mode.key} is required`,
    });
  }
  return problems;
}

function defaultReplicaId(): string {
  const host = hostname()
    .replace(/[^A-Za-z0-9.-]/g, "-")
    .replace(/^[^A-Za-z0-9]+/, "")
    .slice(0, 50);
  return `${host || "replica"}-${randomBytes(3).toString("hex")}`;
}

/**
 * Reads the whole environment. `warnings` are sentences for the log.
 * @throws ConfigError with every problem at once
 */
export function readConfig(env: Environment): { config: Config; warnings: readonly string[] } {
  const { problems, warnings } = judgeUnknown(env);
  const read = <T>(setting: Setting<T>): T => {
    const result = setting.read(env[setting.key]);
    if (result.problem !== undefined) problems.push({ key: setting.key, detail: result.problem });
    return result.value;
  };
  const section = <F extends Record<string, Setting<unknown>>>(fields: F): { readonly [K in keyof F]: ValueOf<F[K]> } => {
    const values = Object.fromEntries(Object.entries(fields).map(([field, setting]) => [field, read(setting)]));
    return values as { readonly [K in keyof F]: ValueOf<F[K]> }; // Object.fromEntries forgets which value belongs to which key.
  };
  const processSection = section(settings.process);
  const validation = section(settings.validation);
  const config: Config = {
    process: { ...processSection, replicaId: processSection.replicaId ?? defaultReplicaId() },
    database: section(settings.database),
    history: section(settings.history),
    snapshot: section(settings.snapshot),
    api: section(settings.api),
    validation: { ...validation, envoyBinary: validation.envoyBinary ?? (env["ENVOY_BIN"] || undefined) },
    refusals: section(settings.refusals),
    xds: section(settings.xds),
    status: section(settings.status),
    demo: section(settings.demo),
  };
  if (problems.length === 0) problems.push(...judgeTogether(config));
  if (problems.length > 0) throw new ConfigError(problems);
  return { config, warnings };
}
