// `chancery weights`: the canary split of a route. In: `a=95 b=5`, and whether long connections follow. Out: one atomic write, or the
// weights as they are.
import { type ApiAccess, callApi } from "./api-client.js";
import { toDrainTimeoutMs } from "./drain.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, isObject, list, number, text } from "./json.js";
import { objectPath } from "./kinds.js";
import { callAndWait, report, type Wait } from "./outcome.js";
import { followRebalance } from "./rebalances.js";
import { toTable } from "./table.js";

/** @throws CommandError (usage) for a word that is no `<cluster>=<weight>`, or names a cluster twice */
export function readWeights(words: readonly string[]): Readonly<Record<string, number>> {
  const weights: Record<string, number> = {};
  for (const word of words) {
    const found = /^([^=]+)=(\d{1,5})$/.exec(word);
    const [, cluster, weight] = found ?? [];
    if (cluster === undefined)
      throw new CommandError(
        exitCodes.usage,
        `A weight is written <cluster>=<number>, as in checkout-v2=5; got ${JSON.stringify(word)}.`,
      );
    if (Object.hasOwn(weights, cluster)) throw new CommandError(exitCodes.usage, `${cluster} is named twice.`);
    weights[cluster] = Number(weight);
  }
  return weights;
}

/** The route's weights, each with its share of the sum. */
export async function showWeights(access: ApiAccess, route: string): Promise<string> {
  const { body } = await callApi(access, { method: "GET", path: objectPath("route", route) });
  const backends = list(body["backends"]).map((backend) => ({
    cluster: text(field(backend, "cluster")),
    weight: Number(field(backend, "weight")),
  }));
  if (backends.length === 0) return `Route ${route} has no backends.\n`;
  const sum = backends.reduce((total, { weight }) => total + weight, 0);
  const share = (weight: number) => (sum === 0 ? "none" : `${((100 * weight) / sum).toFixed(1)} %`);
  return toTable(
    ["BACKEND", "WEIGHT", "SHARE"],
    backends.map(({ cluster, weight }) => [cluster, String(weight), share(weight)]),
  );
}

/** As the flags come. */
export interface RebalanceFlags {
  readonly rebalance: boolean;
  readonly rebalanceAfter?: string;
  readonly rebalanceRate?: string;
}

/** Undefined: long connections stay where they are. @throws CommandError (usage) */
export function toRebalance({ rebalance, rebalanceAfter, rebalanceRate }: RebalanceFlags): object | undefined {
  if (!rebalance && rebalanceAfter === undefined && rebalanceRate === undefined) return undefined;
  if (rebalanceRate !== undefined && !/^[1-9]\d{0,5}$/.test(rebalanceRate))
    throw new CommandError(
      exitCodes.usage,
      `A rate is a whole number of connections a second; got ${JSON.stringify(rebalanceRate)}.`,
    );
  return {
    ...(rebalanceAfter === undefined ? {} : { afterMs: toDrainTimeoutMs(rebalanceAfter) }),
    ...(rebalanceRate === undefined ? {} : { ratePerSecond: Number(rebalanceRate) }),
  };
}

/**
 * `rebalance`: long connections are to follow. With a wait, that is looked on at as well, to its end.
 * @throws CommandError when refused, not confirmed in time, or interrupted while connections follow
 */
export async function setWeights(
  access: ApiAccess,
  route: string,
  words: readonly string[],
  { wait, rebalance }: { readonly wait: Wait; readonly rebalance: object | undefined },
  print: (line: string) => void,
  interrupted: AbortSignal,
): Promise<void> {
  const body = { weights: readWeights(words), ...(rebalance ? { rebalance } : {}) };
  const answer = await callAndWait(access, { method: "PUT", path: `${objectPath("route", route)}/weights`, body }, wait);
  const begun = answer.body["rebalance"];
  const id = text(field(begun, "id"));
  if (isObject(begun)) {
    const from = list(begun["losing"]).map((each) => text(field(each, "cluster")));
    const pace = `${number(begun["ratePerSecond"])} a second, after ${number(begun["afterMs"])} ms`;
    print(`rebalance ${id}: connections of ${from.join(", ")} follow the weights, ${pace}`);
  }
  report(print, `route ${route}: ${words.join(" ")}`, answer);
  if (!isObject(begun)) return;
  if (wait.wait) await followRebalance(access, id, print, interrupted);
  else print(`  look on with: chancery rebalances --follow ${id}`);
}
