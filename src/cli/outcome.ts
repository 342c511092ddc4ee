// What became of a write, in plain words: the revision, and which Envoys have it. In: answers of the API. Out: lines for people.
// Called by apply, delete and weights, which share the options read here.
import { type Command, Option } from "commander";
import { type ApiAccess, type ApiAnswer, type ApiCall, type ApiRefusal, callOnce, toApiUrl } from "./api-client.js";
import { toDurationMs } from "./duration.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, isObject, type JsonObject, joined, list, number, text } from "./json.js";

/** Whether a write waits until the Envoys have it; `timeoutMs` is the API's own bound. */
export interface Wait {
  readonly wait: boolean;
  readonly timeoutMs: number;
  /** So many of each gateway's Envoys are enough. Default: all. */
  readonly quorumPercent?: number | undefined;
  /** Put back what was there before when an Envoy refuses it. */
  readonly rollsBack?: boolean | undefined;
}

/** The options of `addWriteOptions`, as they come. */
export interface WaitFlags {
  readonly wait: boolean;
  readonly timeout: string;
  readonly quorum?: string;
  readonly onRefusal: "keep" | "rollback";
}

/** Who names a quorum, or what is to happen on a refusal, waits. @throws CommandError (usage) */
export function toWait({ wait, timeout, quorum, onRefusal }: WaitFlags): Wait {
  const rollsBack = onRefusal === "rollback";
  const quorumPercent = quorum === undefined ? undefined : toPercent(quorum);
  return {
    wait: wait || rollsBack || quorum !== undefined,
    timeoutMs: toDurationMs(timeout, { least: 1, most: longestWaitMs }),
    quorumPercent,
    rollsBack,
  };
}

/** `90%` or `90`. */
function toPercent(given: string): number {
  const found = /^([1-9]\d?|100)%?$/.exec(given);
  if (found) return Number(found[1]);
  throw new CommandError(exitCodes.usage, `A quorum is written 90%, from 1% to 100%; got ${JSON.stringify(given)}.`);
}

/** As long as the API's own default. */
export const defaultWaitMs = 10_000;
const longestWaitMs = 120_000;
/** Beyond the wait itself, for the write and the way there and back. */
const slackMs = 15_000;

/** Options that every command that writes has. */
export function addWriteOptions(command: Command): Command {
  return command
    .option("--wait", "wait until every Envoy concerned has it", false)
    .option("--timeout <time>", "with --wait: how long, as 10s or 500ms", `${defaultWaitMs / 1000}s`)
    .option("--quorum <percent>", "wait, and be content when so many of each gateway's Envoys have it, as 90%")
    .addOption(
      new Option(
        "--on-refusal <what>",
        "rollback: wait, and put back what was there before when an Envoy refuses it (exit code 4)",
      )
        .choices(["keep", "rollback"])
        .default("keep"),
    )
    .option("--reason <text>", "recorded with the change");
}

/** Options that every command has that talks to the API. */
export function addApiOptions(command: Command): Command {
  return command
    .option("--api <url>", "admin API (environment: CHANCERY_API)", process.env["CHANCERY_API"] ?? "http://127.0.0.1:8080")
    .option(
      "--author <name>",
      "who asks (environment: CHANCERY_AUTHOR)",
      process.env["CHANCERY_AUTHOR"] ?? process.env["USER"] ?? "cli",
    );
}

/** @throws CommandError (usage) for what is no URL */
export function toAccess(options: { api: string; author: string; reason?: string }): ApiAccess {
  return { url: toApiUrl(options.api), author: options.author, reason: options.reason };
}

/** Sends a write, with the wait that was asked for; done once, also when its answer gets lost. */
export function callAndWait(access: ApiAccess, call: ApiCall, wait: Wait): Promise<ApiAnswer> {
  if (!wait.wait) return callOnce(access, call);
  const { timeoutMs, quorumPercent, rollsBack } = wait;
  const query = {
    ...call.query,
    wait: quorumPercent === undefined ? "acked" : `acked:${quorumPercent}%`,
    timeoutMs,
    ...(rollsBack ? { onRefusal: "rollback" } : {}),
  };
  return callOnce(access, { ...call, query, timeoutMs: timeoutMs + slackMs });
}

/** `edge: 2 of 2 Envoys have it`, then who refused, lags or left. */
function gatewayLines(gateway: string, sync: unknown): readonly string[] {
  const names = (key: string) => joined(field(sync, key));
  const total = number(field(sync, "total"));
  const refused = list(field(sync, "refused")).map(
    (each) =>
      `    ${text(field(each, "node"))} refused ${text(field(each, "type"))} ${text(field(each, "resource"))}: ${text(field(each, "detail"))}`,
  );
  return [
    total === 0
      ? `  ${gateway}: no Envoy is connected that this changes`
      : `  ${gateway}: ${number(field(sync, "acked"))} of ${total} Envoys have it`,
    ...refused,
    ...(names("lagging") ? [`    waiting for ${names("lagging")}`] : []),
    ...(names("gone") ? [`    left before they answered: ${names("gone")}`] : []),
  ];
}

/** A line for each gateway and each trouble in it; nothing when the answer has no `sync`. */
export function syncLines(body: JsonObject): readonly string[] {
  const gateways = field(body["sync"], "gateways");
  const behind = list(field(body["sync"], "replicasBehind")).map((replica) => text(replica) || "not known which");
  return [
    ...(isObject(gateways) ? Object.entries(gateways).flatMap(([gateway, sync]) => gatewayLines(gateway, sync)) : []),
    ...(behind.length > 0 ? [`  control planes that have not loaded it yet: ${behind.join(", ")}`] : []),
  ];
}

/** Advice of the API: what is valid, and often not what was meant. */
export function lintLines(body: JsonObject): readonly string[] {
  return list(body["lint"]).map((each) => `  note: ${text(field(each, "pointer"))} ${text(field(each, "detail"))}`);
}

/** A write that only some Envoys see so far; nothing when the answer has no `rollout`. */
export function rolloutLines(body: JsonObject): readonly string[] {
  const rollout = body["rollout"];
  if (!isObject(rollout)) return [];
  const name = text(rollout["name"]);
  const at = `stage ${number(rollout["stage"]) + 1} of ${list(rollout["stages"]).length}`;
  const words: Readonly<Record<string, string>> = {
    staging: `is staged: ${at}; it is not the configuration yet`,
    watching: "is everywhere, and still watched",
    done: "is done",
    aborted: `was stopped at ${at}: ${text(rollout["detail"])}`,
  };
  const state = text(rollout["state"]);
  const isOpen = state === "staging" || state === "watching";
  return [`  rollout ${name} ${words[state] ?? state}`, ...(isOpen ? [`  watch it with: chancery rollouts ${name} --wait`] : [])];
}

/** `did` is what happened, as in "route checkout: weights set". */
export function outcomeLines(did: string, { body }: ApiAnswer): readonly string[] {
  const revision = body["changed"] === false ? "nothing to change" : `revision ${text(body["revision"])}`;
  return [`${did} (${revision})`, ...rolloutLines(body), ...syncLines(body), ...lintLines(body)];
}

/** True when the wait ended before every Envoy had answered: committed, but not confirmed. A rollout says itself how far it is. */
export function isUnconfirmed({ status, body }: ApiAnswer): boolean {
  return status === 202 && body["rollout"] === undefined;
}

/** Why not: the API's words, or, where the write is committed and an Envoy refused it, the Envoy's. */
export function refusalLines(error: ApiRefusal): readonly string[] {
  const lines = syncLines(error.body);
  if (lines.length === 0) return [error.message];
  const revision = text(error.body["revision"]);
  const rollback = error.body["rollback"];
  if (!isObject(rollback)) return [`Revision ${revision} is committed, and not every Envoy takes it:`, ...lines];
  if (rollback["state"] !== "restored")
    return [
      `Revision ${revision} stays, and not every Envoy takes it:`,
      ...lines,
      `It was not put back: ${text(rollback["detail"])}.`,
    ];
  const back = text(rollback["revision"]);
  return [
    `Revision ${revision} was refused:`,
    ...lines,
    `What was there before is back, as revision ${back}${field(rollback["sync"], "state") === "acked" ? "" : ", which not every Envoy has yet"}:`,
    ...syncLines(rollback),
  ];
}

/** Prints what happened; the exit code says whether all Envoys have it. */
export function report(print: (line: string) => void, did: string, answer: ApiAnswer): void {
  for (const line of outcomeLines(did, answer)) print(line);
  if (isUnconfirmed(answer))
    throw new CommandError(exitCodes.failed, "It is committed, and not every Envoy confirmed it in time. They go on trying.");
}
