// `chancery weights`: the canary split of a route. In: `a=95 b=5`. Out: one atomic write, or the weights as they are.
import { type ApiAccess, callApi } from "./api-client.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { field, list, text } from "./json.js";
import { objectPath } from "./kinds.js";
import { callAndWait, report, type Wait } from "./outcome.js";
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

/** @throws CommandError when refused, or not confirmed in time */
export async function setWeights(
  access: ApiAccess,
  route: string,
  words: readonly string[],
  wait: Wait,
  print: (line: string) => void,
): Promise<void> {
  const weights = readWeights(words);
  const answer = await callAndWait(
    access,
    { method: "PUT", path: `${objectPath("route", route)}/weights`, body: { weights } },
    wait,
  );
  report(print, `route ${route}: ${words.join(" ")}`, answer);
}
