// An endpoint as the table `endpoints` holds it: a row of its own, named `<cluster>/<address:port>`.
// In: a model object, or a row. Out: the other one. Called by objects.ts.
import { addressKey, type Endpoint } from "../model/endpoint.js";
import type { JsonForm } from "./json-form.js";

/** What `endpoints` holds, but for space and revision. */
export interface EndpointRow {
  readonly name: string;
  readonly cluster: string;
  readonly spec: JsonForm<Endpoint>;
}

/** The endpoint's name in the store, in changes and in the feed. */
export function endpointName(endpoint: { readonly cluster: string; readonly address: string; readonly port: number }): string {
  return `${endpoint.cluster}/${addressKey(endpoint)}`;
}

/** For writing; `cluster` is a column as well, for its foreign key. */
export function toEndpointRow(endpoint: Endpoint): EndpointRow {
  return { name: endpointName(endpoint), cluster: endpoint.cluster, spec: endpoint };
}

/** For reading; needs the spec only, as a change has nothing else. */
export function fromEndpointRow({ spec }: Pick<EndpointRow, "spec">): Endpoint {
  return {
    cluster: spec.cluster,
    address: spec.address,
    port: spec.port,
    weight: spec.weight,
    region: spec.region,
    zone: spec.zone,
    priority: spec.priority,
    enabled: spec.enabled,
    ...(spec.ttlMs === undefined ? {} : { ttlMs: spec.ttlMs }),
    ...(spec.labels ? { labels: spec.labels } : {}),
    ...(spec.drain ? { drain: fromMark(spec.drain) } : {}),
  };
}

function fromMark({ id, phase, route }: JsonForm<NonNullable<Endpoint["drain"]>>): NonNullable<Endpoint["drain"]> {
  return { id, phase, ...(route === undefined ? {} : { route }) };
}
