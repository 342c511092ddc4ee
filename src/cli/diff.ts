// `chancery diff`: what `apply` of the same files would do, and to whom. In: documents. Out: the plan of the API, for people or as JSON.
// Nothing is changed.
import { type ApiAccess, ApiRefusal, callApi } from "./api-client.js";
import { adviceLines, type FileSet, refusedLines, toChangeBody } from "./change.js";
import type { ObjectDocument } from "./documents.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, isObject, type JsonObject, joined, list, number, text } from "./json.js";

/** Ways in which a plan is shown. */
export const planOutputs = ["text", "json"] as const;
/** One of them. */
export type PlanOutput = (typeof planOutputs)[number];

function valueText(difference: unknown, side: "before" | "after"): string {
  return JSON.stringify(field(difference, side)) ?? "none";
}

/** An object that comes or goes is told by its name: all of it would be noise. */
export function objectLines(object: unknown): readonly string[] {
  const change = text(field(object, "change"));
  const head = `${text(field(object, "kind"))} ${text(field(object, "name"))}: ${change}`;
  if (change !== "updated") return [head];
  return [
    head,
    ...list(field(object, "diff")).map(
      (each) => `  ${text(field(each, "pointer"))}: ${valueText(each, "before")} → ${valueText(each, "after")}`,
    ),
  ];
}

function gatewayLines(name: string, gateway: unknown): readonly string[] {
  const nodes = field(gateway, "nodes");
  const count = typeof nodes === "number" ? `${nodes} ${nodes === 1 ? "Envoy" : "Envoys"} connected` : "Envoys not counted";
  const resources = list(field(gateway, "resources")).map((each) => {
    const parts = joined(field(each, "parts"));
    const what = `${text(field(each, "type"))} ${text(field(each, "name"))}: ${text(field(each, "change"))}`;
    return `  ${what}${parts === "" ? "" : ` (${parts})`}`;
  });
  const drains = list(field(gateway, "drains")).map(
    (listener) => `  listener ${text(listener)} drains: its connections are closed`,
  );
  return [`gateway ${name}, ${count}`, ...resources, ...drains];
}

/** By what means drains would end after the change, where that differs. */
function guaranteeLine(guarantee: unknown): string {
  const kindOf = (when: string): string => text(field(field(guarantee, when), "kind"));
  const from = field(guarantee, "before") === undefined ? "" : `${kindOf("before")} → `;
  return `drains of cluster ${text(field(guarantee, "cluster"))}: ${from}${kindOf("after")} (${text(field(field(guarantee, "after"), "because"))})`;
}

function validationLines(validation: unknown): readonly string[] {
  if (validation === "passed") return ["a real Envoy takes it"];
  return isObject(validation) ? [`a real Envoy: ${text(validation)}`] : [];
}

/** The plan in words. */
export function planLines(plan: JsonObject, documents: readonly ObjectDocument[] = []): readonly string[] {
  if (plan["changed"] === false) return ["nothing to change", ...adviceLines(documents, plan)];
  const gateways = plan["gateways"];
  return [
    ...list(plan["objects"]).flatMap(objectLines),
    ...(isObject(gateways) ? Object.entries(gateways).flatMap(([name, gateway]) => gatewayLines(name, gateway)) : []),
    ...rolloutLines(plan["rollout"]),
    ...list(plan["guarantees"]).map(guaranteeLine),
    ...list(plan["untranslatable"]).map(
      (each) => `can't be translated: ${text(field(each, "type"))} ${text(field(each, "name"))}`,
    ),
    ...validationLines(plan["validation"]),
    ...adviceLines(documents, plan),
  ];
}

/** `staged: 1, 10 %, all; each for 60 s`. */
function rolloutLines(rollout: unknown): readonly string[] {
  if (!isObject(rollout)) return [];
  const stages = list(rollout["stages"]).map((stage) => {
    const percent = field(stage, "percent");
    if (percent === undefined) return text(field(stage, "nodes"));
    return percent === 100 ? "all" : `${text(percent)} %`;
  });
  return [`staged: ${stages.join(", ")} of the Envoys; each stage for ${number(rollout["bakeMs"]) / 1000} s`];
}

/** Returns how many objects would change. @throws CommandError when the change would be refused */
export async function diffDocuments(
  access: ApiAccess,
  documents: readonly ObjectDocument[],
  files: FileSet,
  output: PlanOutput,
  print: (line: string) => void,
): Promise<number> {
  const body = toChangeBody(documents, files);
  const call = { method: "POST", path: "/v1/changes", query: { dryRun: "true" }, body } as const;
  const { body: plan } = await callApi(access, call).catch((error: unknown) => {
    if (!(error instanceof ApiRefusal) || error.exitCode !== exitCodes.failed) throw error;
    for (const line of refusedLines(documents, error)) print(line);
    throw new CommandError(exitCodes.failed, "It would be refused.", error);
  });
  for (const line of output === "json" ? [JSON.stringify(plan, undefined, 2)] : planLines(plan, documents)) print(line);
  return list(plan["objects"]).length;
}
