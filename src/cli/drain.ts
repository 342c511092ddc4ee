// `chancery drain` and `chancery drains`: what a deploy script calls before it stops a process. In: endpoints. Out: progress, and an exit
// code that is 0 only when it is safe to stop. The drain itself is the control plane's: it goes on when this command does not.
import { type ApiAccess, callApi, callOnce, listAll } from "./api-client.js";
import { toDurationMs } from "./duration.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, isObject, type JsonObject, joined, list, number, text } from "./json.js";
import { lookOn } from "./look-on.js";
import { toTable } from "./table.js";

const longestTimeoutMs = 3_600_000;

/** What is to be drained. */
export interface DrainTarget {
  /** undefined: the address in all clusters that have it. */
  readonly cluster: string | undefined;
  readonly endpoints: readonly string[];
  /** Instead of endpoints: what they have in common. */
  readonly selector?: DrainSelector | undefined;
}

/** All that is given must hold. */
export interface DrainSelector {
  readonly zone?: string;
  readonly region?: string;
  readonly address?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** How. */
export interface DrainChoices {
  readonly timeoutMs: number | undefined;
  readonly afterwards: "remove" | "disable";
  readonly override: readonly string[];
  readonly wait: boolean;
}

/** 0 to an hour. @throws CommandError (usage) */
export function toDrainTimeoutMs(given: string): number {
  return toDurationMs(given, { most: longestTimeoutMs });
}

/** `version=v1`; the value may be empty. @throws CommandError (usage) for a word that is none, or a key that is given twice */
export function readLabels(words: readonly string[]): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {};
  for (const word of words) {
    const at = word.indexOf("=");
    if (at < 1)
      throw new CommandError(exitCodes.usage, `A label is written <key>=<value>, as in version=v1; got ${JSON.stringify(word)}.`);
    const key = word.slice(0, at);
    if (Object.hasOwn(labels, key)) throw new CommandError(exitCodes.usage, `The label ${key} is given twice.`);
    labels[key] = word.slice(at + 1);
  }
  return labels;
}

/** The words after `drain`. @throws CommandError (usage) */
export function toDrainTarget(words: readonly string[], all: boolean, selector?: DrainSelector): DrainTarget {
  const [first, ...others] = words;
  if (selector) {
    if (others.length > 0 || (first === undefined) !== all) {
      const say = "With --zone, --region, --address or --label, give one cluster, or --all for all of them, and no endpoints.";
      throw new CommandError(exitCodes.usage, say);
    }
    return { cluster: first, endpoints: [], selector };
  }
  if (all) {
    if (first === undefined || others.length > 0)
      throw new CommandError(exitCodes.usage, "With --all, give one address: chancery drain --all 10.0.0.7:8080.");
    return { cluster: undefined, endpoints: [first] };
  }
  if (first === undefined || others.length === 0) {
    const say = "Give a cluster and its endpoints, as in chancery drain api 10.0.0.7:8080; or --all and an address.";
    throw new CommandError(exitCodes.usage, say);
  }
  return { cluster: first, endpoints: others };
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

/** Where it is, in one line. */
export function progressLine(drain: JsonObject): string {
  const gateways = Object.values(isObject(drain["gateways"]) ? drain["gateways"] : {});
  const named = (key: string): string =>
    gateways
      .map((gateway) => joined(field(gateway, key)))
      .filter(Boolean)
      .join(", ");
  const left = number(drain["inFlight"]) + number(drain["unattributed"]);
  const [unacked, silent] = [named("unacked"), named("silent")];
  switch (drain["state"]) {
    case "requested":
      return `waiting for Envoys: ${number(drain["acked"])} of ${number(drain["total"])} send nothing new${unacked ? ` (not yet: ${unacked})` : ""}`;
    case "in-flight":
    case "closing": {
      const word = drain["state"] === "closing" ? "closing what is left" : "nothing new is sent";
      const quiet = silent ? `; no load report from ${silent}` : "";
      return `${word}: ${left === 0 ? "nothing seen in flight, making sure" : `${left} in flight`}${quiet}`;
    }
    default:
      return `${text(drain["state"])}: ${text(drain["outcome"])}`;
  }
}

/** How it ended. @throws CommandError (failed) when it is not known to be safe to stop */
function tellEnd(print: (line: string) => void, drain: JsonObject): void {
  if (drain["safeToStop"] === true) return print(`safe to stop: ${text(drain["outcome"])}`);
  const left = number(drain["leftOpen"]);
  const open = left > 0 ? ` ${plural(left, "request or connection")} left open.` : "";
  throw new CommandError(exitCodes.failed, `Not known to be safe to stop: ${text(drain["outcome"])}.${open}`);
}

/** Begins it, and with `wait` follows it. @throws CommandError when it is refused, not safe, or goes on */
export async function drain(
  access: ApiAccess,
  { cluster, endpoints, selector }: DrainTarget,
  { timeoutMs, afterwards, override, wait }: DrainChoices,
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<void> {
  const which = selector ? { selector } : cluster === undefined ? { address: endpoints[0] } : { endpoints };
  const query = override.length > 0 ? { override: override.join(",") } : {};
  const body = {
    ...(cluster === undefined ? {} : { cluster }),
    ...which,
    afterwards,
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
  const answer = await callOnce(access, { method: "POST", path: "/v1/drains", query, body });
  const begun = isObject(answer.body["object"]) ? answer.body["object"] : {};
  const id = text(begun["id"]);
  const covered = list(begun["endpoints"]).map((each) => `${text(field(each, "cluster"))}/${text(field(each, "endpoint"))}`);
  print(`drain ${id}: ${covered.join(", ") || endpoints.join(", ")}`);
  for (const each of list(begun["endpoints"]))
    if (field(field(each, "guarantee"), "kind") === "left-open" && begun["endedAt"] === undefined)
      print(
        `  note: what is left of ${text(field(each, "cluster"))}/${text(field(each, "endpoint"))} at the deadline is left open`,
      );
  if (begun["endedAt"] !== undefined) return tellEnd(print, begun);
  if (!wait) throw new CommandError(exitCodes.goesOn, `It goes on, and is not safe to stop yet: chancery drain --follow ${id}`);
  await follow(access, id, print, interrupted);
}

/** To its end, with a line whenever something has changed. @throws CommandError as `drain` */
export async function follow(
  access: ApiAccess,
  id: string,
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<void> {
  const ended = await lookOn(access, { path: drainPath(id), wait: "safe", lineOf: progressLine }, print, interrupted);
  if (ended) return tellEnd(print, ended);
  throw new CommandError(
    exitCodes.goesOn,
    `Drain ${id} goes on without this command, and is not safe to stop yet.\n  chancery drain --follow ${id}   looks on\n  chancery drain --cancel ${id}   puts its endpoints back`,
  );
}

function drainPath(id: string): string {
  return `/v1/drains/${encodeURIComponent(id)}`;
}

/** Puts its endpoints back. */
export async function cancelDrain(access: ApiAccess, id: string, print: (line: string) => void): Promise<void> {
  const { body } = await callOnce(access, { method: "DELETE", path: drainPath(id) });
  print(`drain ${id}: cancelled (${body["changed"] === false ? "it was already" : `revision ${text(body["revision"])}`})`);
}

/** Drains, newest first. */
export async function listDrains(access: ApiAccess, open: boolean, output: "table" | "json"): Promise<string> {
  const query = open ? { open: "true" } : {};
  const items = open
    ? await listAll(access, "/v1/drains", query)
    : list((await callApi(access, { method: "GET", path: "/v1/drains" })).body["items"]).filter(isObject);
  if (output === "json") return `${JSON.stringify(items, undefined, 2)}\n`;
  if (items.length === 0) return open ? "No drain is open.\n" : "There is no drain.\n";
  const rows = items.map((each) => {
    const endpoints = list(each["endpoints"]).map((one) => `${text(field(one, "cluster"))}/${text(field(one, "endpoint"))}`);
    const shown =
      endpoints.length > 2 ? `${endpoints.slice(0, 2).join(", ")} and ${endpoints.length - 2} more` : endpoints.join(", ");
    return [
      text(each["id"]),
      text(each["state"]),
      each["safeToStop"] === true ? "yes" : "no",
      `${number(each["acked"])}/${number(each["total"])}`,
      String(number(each["inFlight"]) + number(each["unattributed"])),
      text(each["author"]),
      text(each["createdAt"]),
      shown,
    ];
  });
  return toTable(["DRAIN", "STATE", "SAFE", "ACKED", "IN FLIGHT", "BY", "SINCE", "ENDPOINTS"], rows);
}
