// `chancery bootstrap`: options of the command line → the text of an Envoy bootstrap. The message itself is made in bootstrap.ts.
import { Command, Option } from "commander";
import { stringify } from "yaml";
import { type BootstrapOptions, type HostPort, toBootstrap } from "./bootstrap.js";
import { CommandError, exitCodes } from "./exit-codes.js";

/** Options as commander gives them. */
interface BootstrapFlags {
  readonly node: string;
  readonly gateway: string;
  readonly xds: string;
  readonly adminPort: string;
  readonly adminAddress: string;
  readonly region?: string;
  readonly zone?: string;
  readonly services: "ads" | "separate";
  readonly sotw: boolean;
  readonly statistics: "few" | "all";
  readonly maxConnections: string;
  readonly format: "yaml" | "json";
}

/** `10.0.0.1:18000`, `cp.example.com:18000` or `[fd00::1]:18000`. @throws CommandError (usage) */
export function toHostPort(given: string): HostPort {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s/]+)):(\d{1,5})$/.exec(given.trim());
  const host = found?.[1] ?? found?.[2];
  const port = Number(found?.[3]);
  if (host === undefined || port < 1 || port > 65_535) {
    throw new CommandError(
      exitCodes.usage,
      `An address is given as host:port, as in 10.0.0.1:18000; got ${JSON.stringify(given)}.`,
    );
  }
  return { host, port };
}

/** A whole number in its bounds. @throws CommandError (usage) that names the flag */
export function toInteger(flag: string, given: string, minimum: number, maximum: number): number {
  const value = /^\d{1,10}$/.test(given) ? Number(given) : Number.NaN;
  if (value >= minimum && value <= maximum) return value;
  throw new CommandError(
    exitCodes.usage,
    `${flag} must be a whole number from ${minimum} to ${maximum}; got ${JSON.stringify(given)}.`,
  );
}

const namePattern = /^[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?$/;

function toOptions(flags: BootstrapFlags): BootstrapOptions {
  if (!namePattern.test(flags.gateway)) {
    throw new CommandError(
      exitCodes.usage,
      `--gateway takes lower-case letters, digits, dots and dashes; got ${JSON.stringify(flags.gateway)}.`,
    );
  }
  if (!/^[\x21-\x7e]{1,253}$/.test(flags.node))
    throw new CommandError(exitCodes.usage, "--node takes 1 to 253 printable characters without spaces.");
  return {
    node: flags.node,
    gateway: flags.gateway,
    controlPlanes: flags.xds.split(",").map(toHostPort),
    admin: { host: flags.adminAddress, port: toInteger("--admin-port", flags.adminPort, 0, 65_535) },
    ...(flags.region !== undefined && { region: flags.region }),
    ...(flags.zone !== undefined && { zone: flags.zone }),
    services: flags.services,
    stateOfTheWorld: flags.sotw,
    statistics: flags.statistics,
    maxConnections: toInteger("--max-connections", flags.maxConnections, 1, 10_000_000),
  };
}

/** The head tells how the file came to be, and how to start an Envoy with it. */
function head(flags: BootstrapFlags): string {
  return `# Envoy bootstrap for node ${flags.node} of gateway ${flags.gateway}, made by \`chancery bootstrap\`.
# Start: envoy -c <this file> --drain-time-s 30 --drain-strategy immediate
`;
}

/** The whole text. @throws CommandError (usage) for an option that can't be */
export function toBootstrapText(flags: BootstrapFlags): string {
  const bootstrap = toBootstrap(toOptions(flags));
  if (flags.format === "json") return `${JSON.stringify(bootstrap, undefined, 2)}\n`;
  return head(flags) + stringify(bootstrap, { lineWidth: 0, aliasDuplicateObjects: false });
}

/** `print` gets the text lazily, and tells the user when an option can't be. */
export function defineBootstrap(print: (text: () => string) => Promise<void>): Command {
  return new Command("bootstrap")
    .description("print the configuration that an Envoy of a gateway starts with")
    .requiredOption("--node <id>", "name of this Envoy, unique in the fleet")
    .requiredOption("--gateway <name>", "gateway whose listeners it opens")
    .option("--xds <host:port,…>", "control planes, one or more", "127.0.0.1:18000")
    .option("--admin-port <port>", "Envoy's own admin page; 0: any free port", "9901")
    .option("--admin-address <ip>", "where that page listens; it has no login", "127.0.0.1")
    .option("--region <name>", "where this Envoy is")
    .option("--zone <name>", "where this Envoy is, within the region")
    .addOption(
      new Option("--services <kind>", "ads: one ordered stream; separate: one for each type")
        .choices(["ads", "separate"])
        .default("ads"),
    )
    .option("--sotw", "state of the world in place of delta", false)
    .addOption(new Option("--statistics <which>", "what Envoy keeps and reports").choices(["few", "all"]).default("few"))
    .option("--max-connections <count>", "client connections that it takes at once", "50000")
    .addOption(new Option("--format <format>", "of the output").choices(["yaml", "json"]).default("yaml"))
    .action((flags: BootstrapFlags) => print(() => toBootstrapText(flags)));
}
