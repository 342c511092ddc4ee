// A control plane's metrics as a scraper reads them. In: its API. Out: series and values. Called by the tests of limits and metrics.

/** `chancery_` + name + labels in braces, as in the text → value. */
export type Scrape = ReadonlyMap<string, number>;

export async function scrape(api: { readonly url: string }): Promise<Scrape> {
  const text = await (await fetch(`${api.url}/metrics`)).text();
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return new Map(
    lines.map((line) => {
      const space = line.lastIndexOf(" ");
      return [line.slice(0, space), Number(line.slice(space + 1))];
    }),
  );
}

/** How often a limit was met. */
export const limitHits = async (api: { readonly url: string }, limit: string): Promise<number> =>
  (await scrape(api)).get(`chancery_limit_hits_total{limit="${limit}"}`) ?? 0;
