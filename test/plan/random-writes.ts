// Random writes of one change, over few names, so that they meet: clusters and listeners of all protocols, routes, endpoints, weights,
// deletes. Many are refused, as they should be. In: a seed. Out: bodies for POST /v1/changes. Called by the property tests of plans.
import type { Json } from "../support/api-client.js";

/** mulberry32: the same writes in every run. */
export function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296) * below);
  };
}

const gatewaySets = [["edge"], ["edge", "inner"], ["inner"]];

export class RandomWrites {
  constructor(private readonly random: (below: number) => number) {}

  /** One to five writes; now and then one object twice, which is refused. */
  change(): Json[] {
    const count = this.random(3) === 0 ? 2 + this.random(4) : 1;
    return Array.from({ length: count }, () => this.#write());
  }

  #pick<T>(from: readonly T[]): T {
    const picked = from[this.random(from.length)];
    if (picked === undefined) throw new Error("nothing to pick from");
    return picked;
  }
  #write(): Json {
    const kinds = ["cluster", "cluster", "endpoint", "endpoint", "listener", "route", "route", "route", "weights", "delete"];
    switch (this.#pick(kinds)) {
      case "cluster":
        return { op: "put", kind: "cluster", object: this.#cluster() };
      case "endpoint":
        return { op: "put", kind: "endpoint", cluster: this.#clusterName(), object: this.#endpoint() };
      case "listener":
        return { op: "put", kind: "listener", object: this.#listener() };
      case "route":
        return { op: "put", kind: "route", object: this.#route() };
      case "weights":
        return { op: "weights", route: this.#routeName(), weights: { [this.#clusterName()]: this.random(10) } };
      default:
        return this.#delete();
    }
  }
  #delete(): Json {
    const kind = this.#pick(["cluster", "endpoint", "listener", "route"]);
    const name = { cluster: this.#clusterName(), listener: `http-${this.random(3)}`, route: this.#routeName() }[kind];
    if (name !== undefined) return { op: "delete", kind, name };
    return { op: "delete", kind, cluster: this.#clusterName(), name: `10.0.0.${1 + this.random(6)}:80` };
  }
  /** The first letter says the protocol: h, t, u. */
  #clusterName(of = this.#pick(["h", "h", "t", "u"])): string {
    return `${of}-${this.random(3)}`;
  }
  #routeName(): string {
    return `${this.#pick(["http", "tcp", "tls", "udp"])}-${this.random(2)}`;
  }
  #cluster(): Json {
    const name = this.#clusterName();
    const protocol = { h: "http", t: "tcp", u: "udp" }[name.slice(0, 1)];
    const endpoints = Array.from({ length: this.random(4) }, (_, at) => this.#endpoint(at + 1));
    return {
      name,
      protocol,
      connectTimeoutMs: 1_000 + this.random(3),
      ...(this.random(4) === 0 ? { healthChecks: [{ kind: "tcp" }] } : {}),
      ...(this.random(2) === 0 ? { endpoints } : {}),
    };
  }
  #endpoint(last = 1 + this.random(6)): Json {
    return { address: `10.0.0.${last}`, port: 80, weight: 1 + this.random(3), enabled: this.random(5) > 0 };
  }
  #listener(): Json {
    const protocol = this.#pick(["http", "tcp", "tls", "udp"]);
    const at = this.random(protocol === "http" ? 3 : 2);
    const port = { http: 100, tcp: 200, tls: 300, udp: 400 }[protocol] ?? 500;
    return {
      name: `${protocol}-${at}`,
      protocol,
      port: port + at + (this.random(6) === 0 ? 10 : 0),
      gateways: this.#pick(gatewaySets),
      ...(protocol === "http" ? { trustedHops: this.random(4) === 0 ? 1 : 0 } : {}),
    };
  }
  #route(): Json {
    const name = this.#routeName();
    const protocol = name.slice(0, 3);
    if (name.startsWith("http")) {
      return {
        name,
        protocol: "http",
        listeners: this.random(3) === 0 ? ["http-0", "http-1"] : [`http-${this.random(3)}`],
        hosts: this.random(2) === 0 ? [`${this.#pick(["a", "b"])}.example.com`] : [],
        match: { path: { prefix: `/${this.random(3)}` } },
        backends: this.#backends("h"),
      };
    }
    if (name.startsWith("udp"))
      return { name, protocol: "udp", listener: `udp-${this.random(2)}`, backends: this.#backends("u") };
    const tls = name.startsWith("tls");
    return {
      name,
      protocol: "tcp",
      listener: `${tls ? "tls" : protocol}-${this.random(2)}`,
      ...(tls ? { sni: [`${name}.example.com`] } : {}),
      ...(this.random(4) === 0 ? { split: "listener" } : {}),
      backends: this.#backends(this.#pick(["t", "h"])),
    };
  }
  #backends(of: string): Json[] {
    const first = this.random(3);
    const both = this.random(2) === 0;
    const weight = () => this.random(10);
    return [
      { cluster: `${of}-${first}`, weight: weight() },
      ...(both ? [{ cluster: `${of}-${(first + 1) % 3}`, weight: weight() }] : []),
    ];
  }
}
