// The bootstrap that a test's Envoy starts with: the one that `chancery bootstrap` prints, with every statistic kept.
// In: a node, a mode and ports. Out: JSON, which is YAML. Called by envoy.ts.
import { toBootstrap } from "../../src/cli/bootstrap.js";

/** How an Envoy asks: one aggregated stream, or one stream per resource type and set; delta or state of the world. */
export type Mode = "delta" | "sotw" | "separate-delta" | "separate-sotw";

export interface TestBootstrapOptions {
  readonly node: string;
  readonly gateway: string;
  readonly mode: Mode;
  readonly adminPort: number;
  /** xDS ports of the control planes on 127.0.0.1. */
  readonly xdsPorts: readonly number[];
}

const local = (port: number) => ({ host: "127.0.0.1", port });

export function toTestBootstrap({ node, gateway, mode, adminPort, xdsPorts }: TestBootstrapOptions): string {
  const bootstrap = toBootstrap({
    node,
    gateway,
    controlPlanes: xdsPorts.map(local),
    admin: local(adminPort),
    services: mode.startsWith("separate") ? "separate" : "ads",
    stateOfTheWorld: mode.endsWith("sotw"),
    statistics: "all",
  });
  return JSON.stringify(bootstrap);
}
