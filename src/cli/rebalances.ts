// `chancery rebalances`, and what `chancery weights --rebalance` looks on at: long connections that follow the weights of their route.
// In: ids. Out: tables and progress. The rebalance itself is the control plane's: it goes on when this command does not.
import { type ApiAccess, callApi, callOnce, listAll } from "./api-client.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, isObject, type JsonObject, joined, list, number, text } from "./json.js";
import { lookOn } from "./look-on.js";
import { toTable } from "./table.js";

function rebalancePath(id: string): string {
  return `/v1/rebalances/${encodeURIComponent(id)}`;
}

function splitText(rebalance: JsonObject): string {
  const connections = rebalance["connections"];
  if (!isObject(connections)) return "";
  return Object.entries(connections)
    .map(([cluster, count]) => `${cluster} ${number(count)}`)
    .join(", ");
}

/** Where it is, in one line. */
export function progressLine(rebalance: JsonObject): string {
  const steps = list(rebalance["steps"]);
  const last = steps.at(-1);
  const split = splitText(rebalance);
  const now = split === "" ? "" : ` (now ${split})`;
  if (rebalance["state"] === "closing")
    return `closing ${number(field(last, "connections"))} connections of ${text(field(last, "cluster"))}/${text(field(last, "endpoint"))}${now}`;
  const silent = joined(rebalance["silent"]);
  const closed = `${number(rebalance["closed"])} connections closed so far${now}`;
  return silent === "" ? `waiting for the next endpoint: ${closed}` : `waiting for load reports of ${silent}: ${closed}`;
}

/** To its end. @throws CommandError when it was cancelled or superseded (failed), or goes on without us */
export async function followRebalance(
  access: ApiAccess,
  id: string,
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<void> {
  const ended = await lookOn(access, { path: rebalancePath(id), wait: "done", lineOf: progressLine }, print, interrupted);
  if (!ended)
    throw new CommandError(
      exitCodes.goesOn,
      `Rebalance ${id} goes on without this command.\n  chancery rebalances --follow ${id}   looks on\n  chancery rebalances --cancel ${id}   stops it`,
    );
  const told = `${text(ended["state"])}: ${text(ended["outcome"])}; ${number(ended["closed"])} connections closed`;
  if (ended["state"] !== "done") throw new CommandError(exitCodes.failed, `Rebalance ${id} ${told}.`);
  print(told);
}

/** No further connection is closed, and the endpoint that is being closed is back. */
export async function cancelRebalance(access: ApiAccess, id: string, print: (line: string) => void): Promise<void> {
  const { body } = await callOnce(access, { method: "DELETE", path: rebalancePath(id) });
  print(`rebalance ${id}: cancelled; ${number(field(body["object"], "closed"))} connections were closed, and the weights stay`);
}

/** Rebalances, newest first. */
export async function listRebalances(access: ApiAccess, open: boolean, output: "table" | "json"): Promise<string> {
  const path = "/v1/rebalances";
  const items = open
    ? await listAll(access, path, { open: "true" })
    : list((await callApi(access, { method: "GET", path })).body["items"]).filter(isObject);
  if (output === "json") return `${JSON.stringify(items, undefined, 2)}\n`;
  if (items.length === 0) return open ? "No rebalance is open.\n" : "There is no rebalance.\n";
  const rows = items.map((each) => [
    text(each["id"]),
    text(each["state"]),
    text(each["route"]),
    Object.entries(isObject(each["weights"]) ? each["weights"] : {})
      .map(([cluster, weight]) => `${cluster}=${text(weight)}`)
      .join(" "),
    String(number(each["closed"])),
    text(each["author"]),
    text(each["createdAt"]),
    text(each["outcome"]),
  ]);
  return toTable(["REBALANCE", "STATE", "ROUTE", "WEIGHTS", "CLOSED", "BY", "SINCE", "OUTCOME"], rows);
}
