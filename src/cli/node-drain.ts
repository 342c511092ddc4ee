// `chancery drain --node`: what a script calls before it stops or replaces an Envoy. In: the id of one. Out: progress, and an exit code that is
// 0 only when it is safe to stop. The drain itself is the control plane's: it goes on when this command does not. Called by drain-command.ts.
import { type ApiAccess, callOnce, listAll } from "./api-client.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { isObject, type JsonObject, number, text } from "./json.js";
import { lookOn } from "./look-on.js";
import { toTable } from "./table.js";

/** How. Times in ms. */
export interface NodeDrainChoices {
  readonly timeoutMs: number | undefined;
  readonly lameDuckMs: number | undefined;
  readonly override: readonly string[];
  readonly wait: boolean;
}

function nodePath(node: string): string {
  return `/v1/node-drains/${encodeURIComponent(node)}`;
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Where it is, in one line. */
export function nodeProgressLine(drain: JsonObject): string {
  const away = drain["connected"] === false ? `; ${text(drain["node"])} is not connected` : "";
  switch (drain["state"]) {
    case "lame-duck":
      return `lame duck: health checks fail, listeners accept until ${text(drain["withdrawAt"])}${away}`;
    case "withdrawing":
      return `withdrawing its listeners${away}`;
    case "draining": {
      const left = number(drain["connections"]);
      const seen = left === 0 ? "no connection seen, making sure" : `${plural(left, "connection")} open`;
      return `listeners are gone: ${drain["silent"] === true ? "its metrics do not tell of connections" : seen}${away}`;
    }
    default:
      return `${text(drain["state"])}: ${text(drain["outcome"])}`;
  }
}

/** @throws CommandError (failed) when it is not known to be safe to stop */
function tellNodeEnd(print: (line: string) => void, drain: JsonObject): void {
  if (drain["safeToStop"] === true) return print(`safe to stop: ${text(drain["outcome"])}`);
  throw new CommandError(exitCodes.failed, `Not known to be safe to stop: ${text(drain["outcome"])}.`);
}

/** Begins it, and with `wait` follows it. @throws CommandError when it is refused, not safe, or goes on */
export async function drainNode(
  access: ApiAccess,
  node: string,
  { timeoutMs, lameDuckMs, override, wait }: NodeDrainChoices,
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<void> {
  const query = override.length > 0 ? { override: override.join(",") } : {};
  const body = { node, ...(timeoutMs === undefined ? {} : { timeoutMs }), ...(lameDuckMs === undefined ? {} : { lameDuckMs }) };
  const answer = await callOnce(access, { method: "POST", path: "/v1/node-drains", query, body });
  const begun = isObject(answer.body["object"]) ? answer.body["object"] : {};
  print(`drain of Envoy ${node}${answer.body["changed"] === false ? ", which goes on" : ""}: gateway ${text(begun["gateway"])}`);
  if (begun["endedAt"] !== undefined) return tellNodeEnd(print, begun);
  const goesOn = `It goes on, and is not safe to stop yet: chancery drain --node ${node} --follow`;
  if (!wait) throw new CommandError(exitCodes.goesOn, goesOn);
  await followNodeDrain(access, node, print, interrupted);
}

/** To its end. @throws CommandError as `drainNode` */
export async function followNodeDrain(
  access: ApiAccess,
  node: string,
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<void> {
  const ended = await lookOn(access, { path: nodePath(node), wait: "safe", lineOf: nodeProgressLine }, print, interrupted);
  if (ended) return tellNodeEnd(print, ended);
  throw new CommandError(
    exitCodes.goesOn,
    `The drain of ${node} goes on without this command, and it is not safe to stop yet.\n  chancery drain --node ${node} --follow   looks on\n  chancery drain --node ${node} --cancel   brings its listeners back`,
  );
}

/** Brings its listeners back. */
export async function cancelNodeDrain(access: ApiAccess, node: string, print: (line: string) => void): Promise<void> {
  const { body } = await callOnce(access, { method: "DELETE", path: nodePath(node) });
  print(`drain of Envoy ${node}: cancelled, its listeners come back (revision ${text(body["revision"])})`);
}

/** Drained Envoys, by node. */
export async function listNodeDrains(access: ApiAccess, open: boolean, output: "table" | "json"): Promise<string> {
  const all = (await listAll(access, "/v1/node-drains")).filter(isObject);
  const items = open ? all.filter((each) => each["endedAt"] === undefined) : all;
  if (output === "json") return `${JSON.stringify(items, undefined, 2)}\n`;
  if (items.length === 0) return open ? "No Envoy's drain is open.\n" : "No Envoy is drained.\n";
  const rows = items.map((each) => [
    text(each["node"]),
    text(each["gateway"]),
    text(each["state"]),
    each["safeToStop"] === true ? "yes" : "no",
    each["connections"] === undefined ? "" : text(each["connections"]),
    text(each["author"]),
    text(each["createdAt"]),
  ]);
  return toTable(["NODE", "GATEWAY", "STATE", "SAFE", "CONNECTIONS", "BY", "SINCE"], rows);
}
