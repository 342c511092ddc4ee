// One address of a cluster. Endpoints are rows of their own: they are the hot path. Pure.

/** key → value. */
export type Labels = Readonly<Record<string, string>>;

export interface Endpoint {
  readonly cluster: string;
  /** IPv4, or IPv6 in its canonical form without brackets. Never a host name. */
  readonly address: string;
  readonly port: number;
  /** Relative share within its locality, 1–1000. */
  readonly weight: number;
  /** "" when unknown. Fixed for the life of the endpoint: Envoy loses count of connections when it moves. */
  readonly region: string;
  readonly zone: string;
  /** 0 is served first; larger numbers only when smaller ones have no healthy endpoint left. */
  readonly priority: number;
  /** false: no new requests or connections (DRAINING in EDS), existing ones go on. */
  readonly enabled: boolean;
  /** How long it stays without being renewed, 1,000–86,400,000 ms; left out: for ever. Nothing that Envoys get. */
  readonly ttlMs?: number;
  /** What its owners call it, for those who select endpoints (drains); left out: none. Nothing that Envoys get. */
  readonly labels?: Labels;
  /**
   * The drain that has it: nothing new comes (DRAINING in EDS); `closing`: its deadline is over. Never set by bodies.
   * `route`: it has it in that route alone, as a step of a rebalance, and gives way to every other write.
   */
  readonly drain?: { readonly id: string; readonly phase: "draining" | "closing"; readonly route?: string };
}

/** The drain that has it for all who use it; with `route`: or for that route. */
export function drainIn({ drain }: Pick<Endpoint, "drain">, route?: string): Endpoint["drain"] {
  return drain?.route === undefined || drain.route === route ? drain : undefined;
}

/** Whether new requests and connections may go to it, as far as the configuration says; with `route`: by that route. */
export function takesNew(endpoint: Endpoint, route?: string): boolean {
  return endpoint.enabled && drainIn(endpoint, route) === undefined;
}

/** The endpoint's key within its cluster: `10.0.0.7:8080` or `[fd00::7]:8080`. */
export function addressKey(endpoint: { readonly address: string; readonly port: number }): string {
  return endpoint.address.includes(":") ? `[${endpoint.address}]:${endpoint.port}` : `${endpoint.address}:${endpoint.port}`;
}
