// What writers have put into a real Envoy, as its own `/config_dump` tells it. In: an Envoy. Out: object → number, named as in a Sets.
// Called by faulty-run.ts.
import type { Envoy } from "../support/envoy.js";

interface Dump {
  readonly configs: readonly {
    readonly dynamic_active_clusters?: readonly {
      readonly cluster: {
        readonly name: string;
        readonly circuit_breakers?: { readonly thresholds?: readonly { readonly max_connections?: number }[] };
      };
    }[];
    readonly dynamic_route_configs?: readonly {
      readonly route_config: {
        readonly virtual_hosts?: readonly {
          readonly routes?: readonly { readonly name: string; readonly route?: { readonly timeout?: string } }[];
        }[];
      };
    }[];
  }[];
}

export async function configuredNumbers(envoy: Envoy): Promise<ReadonlyMap<string, number>> {
  const { configs } = JSON.parse(await envoy.admin("/config_dump")) as Dump;
  const numbers = new Map<string, number>();
  for (const { dynamic_active_clusters: clusters = [], dynamic_route_configs: tables = [] } of configs) {
    for (const { cluster } of clusters)
      numbers.set(cluster.name, cluster.circuit_breakers?.thresholds?.[0]?.max_connections ?? 0);
    const hosts = tables.flatMap(({ route_config }) => route_config.virtual_hosts ?? []);
    for (const { name, route } of hosts.flatMap(({ routes = [] }) => routes))
      numbers.set(`route ${name}`, Math.round(Number.parseFloat(route?.timeout ?? "0") * 1_000)); // "123.456s"
  }
  return numbers;
}
