// `chancery rollouts`: staged rollouts, how far one is, waiting for its end, and stopping it; and what `apply --rollout` means. In: a name,
// flags. Out: text for people, or JSON. Called by commands.ts.
import { setTimeout as pause } from "node:timers/promises";
import { Command, Option } from "commander";
import { type ApiAccess, callApi, callOnce } from "./api-client.js";
import { toDurationMs } from "./duration.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, isObject, type JsonObject, joined, list, number, text } from "./json.js";
import { addApiOptions, rolloutLines } from "./outcome.js";
import { toTable } from "./table.js";

/** Flags of `apply` that are about a rollout. */
export interface RolloutFlags {
  readonly rollout?: string;
  readonly bake: string;
  readonly maxErrorRate?: string;
}

const longestBakeMs = 86_400_000;
/** `1,10%,50%`: one Envoy of each gateway, then a tenth, then half, then all. @throws CommandError (usage) */
function toStages(given: string): readonly JsonObject[] {
  return given.split(",").map((word) => {
    const found = /^(\d{1,5})(%?)$/.exec(word.trim());
    if (!found)
      throw new CommandError(
        exitCodes.usage,
        `Stages are written 1,10%,50%: numbers of Envoys, then percentages; got ${JSON.stringify(given)}.`,
      );
    return found[2] === "%" ? { percent: Number(found[1]) } : { nodes: Number(found[1]) };
  });
}

/** What `POST /v1/changes` takes as `rollout`; undefined: no rollout was asked for. @throws CommandError (usage) */
export function toRollout({ rollout, bake, maxErrorRate }: RolloutFlags): JsonObject | undefined {
  if (rollout === undefined) return undefined;
  const percent = maxErrorRate === undefined ? undefined : Number(maxErrorRate.replace(/%$/, ""));
  if (percent !== undefined && !(percent > 0 && percent <= 100))
    throw new CommandError(exitCodes.usage, `An error rate is a percentage, 0–100; got ${JSON.stringify(maxErrorRate)}.`);
  return {
    stages: toStages(rollout),
    bakeMs: toDurationMs(bake, { most: longestBakeMs }),
    ...(percent === undefined ? {} : { abortOn: { errorRate: percent / 100 } }),
  };
}

/** What is to be done with a rollout. */
export interface RolloutChoice {
  readonly wait: boolean;
  readonly stop: boolean;
  readonly output: "table" | "json";
}

/** The command, without what it does. */
export function defineRollouts(
  act: (
    flags: { api: string; author: string; reason?: string },
    name: string | undefined,
    choice: RolloutChoice,
  ) => Promise<void>,
): Command {
  return addApiOptions(new Command("rollouts"))
    .description("show staged rollouts, newest first; with a name, how far that one is")
    .argument("[name]", "its name")
    .option("--wait", "with a name: tell each step, until it is done (exit code 0) or was stopped (1)", false)
    .option("--stop", "with a name: stop it; the Envoys that have the change are put back", false)
    .option("--reason <text>", "with --stop: recorded with it")
    .addOption(new Option("-o, --output <format>", "how it is shown").choices(["table", "json"]).default("table"))
    .action((name: string | undefined, flags: { api: string; author: string; reason?: string } & RolloutChoice) =>
      act(flags, name, flags),
    );
}

/** @throws CommandError when it was stopped before its end, or `name` is missing where it is needed */
export async function showRollouts(
  access: ApiAccess,
  name: string | undefined,
  { wait, stop, output }: RolloutChoice,
  print: (line: string) => void,
): Promise<void> {
  if (name === undefined) {
    if (wait || stop) throw new CommandError(exitCodes.usage, "--wait and --stop are about one rollout: give its name.");
    return listRollouts(access, output, print);
  }
  const path = `/v1/rollouts/${encodeURIComponent(name)}`;
  if (stop) await callOnce(access, { method: "DELETE", path });
  if (wait) return follow(access, path, print);
  const { body } = await callApi(access, { method: "GET", path });
  for (const line of output === "json" ? [JSON.stringify(body, undefined, 2)] : linesOf(body)) print(line);
}

async function listRollouts(access: ApiAccess, output: "table" | "json", print: (line: string) => void): Promise<void> {
  const { body } = await callApi(access, { method: "GET", path: "/v1/rollouts" });
  const items = list(body["items"]).filter(isObject);
  if (output === "json") return print(JSON.stringify(items, undefined, 2));
  if (items.length === 0) return print("There was no staged rollout so far.");
  const rows = items.map((one) => [
    text(one["name"]),
    text(one["state"]),
    `${number(one["stage"]) + 1}/${list(one["stages"]).length}`,
    joined(one["gateways"]),
    text(one["author"]),
    text(one["startedAt"]),
    text(one["detail"] ?? one["reason"]),
  ]);
  print(toTable(["NAME", "STATE", "STAGE", "GATEWAYS", "AUTHOR", "STARTED", "WHY"], rows).trimEnd());
}

function linesOf(body: JsonObject): readonly string[] {
  const nodes = list(body["nodes"]).filter(isObject);
  const have = nodes.filter((node) => node["has"] === true).length;
  const baked = body["bakedMs"] === undefined ? "" : `, all have it for ${Math.round(number(body["bakedMs"]) / 1000)} s`;
  const expected = Object.entries(isObject(body["expected"]) ? body["expected"] : {});
  return [
    ...rolloutLines({ rollout: body })
      .slice(0, 1)
      .map((line) => line.trim()),
    `  by ${text(body["author"])} since ${text(body["startedAt"])}, revision ${text(body["beganIn"])}`,
    ...expected.map(([gateway, count]) => `  ${gateway}: seen by ${number(count)} in this stage`),
    ...(nodes.length > 0 ? [`  ${have} of ${nodes.length} have it${baked}`] : []),
    ...nodes.flatMap(({ node, refusal }) =>
      isObject(refusal)
        ? [`    ${text(node)} refused ${text(refusal["type"])} ${text(refusal["resource"])}: ${text(refusal["detail"])}`]
        : [],
    ),
    ...list(body["objects"]).map(
      (each) => `  ${text(field(each, "change"))} ${text(field(each, "kind"))} ${text(field(each, "name"))}`,
    ),
  ];
}

/** Between looks. */
const lookMs = 500;

/** A line whenever it has moved. */
async function follow(access: ApiAccess, path: string, print: (line: string) => void): Promise<void> {
  let told = "";
  for (;;) {
    const { body } = await callApi(access, { method: "GET", path });
    const have = list(body["nodes"]).filter((node) => field(node, "has") === true).length;
    const expected = Object.values(isObject(body["expected"]) ? body["expected"] : {}).reduce<number>(
      (sum, one) => sum + number(one),
      0,
    );
    const [line = ""] = rolloutLines({ rollout: body });
    const now =
      body["state"] === "done" || body["state"] === "aborted"
        ? line.trim()
        : `${line.trim()} (${have} of ${expected} Envoys have it)`;
    if (now !== told) print(now);
    told = now;
    if (body["state"] === "done") return;
    if (body["state"] === "aborted") throw new CommandError(exitCodes.failed, "It was stopped, and its Envoys were put back.");
    await pause(lookMs);
  }
}
