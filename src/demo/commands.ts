// `chancery up` and `chancery demo-backends`: flags and environment → the demo. In: commander's program. Out: a fleet until Ctrl-C.
// Called by main.ts.
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Command, Option } from "commander";
import { toHostPort, toInteger } from "../cli/bootstrap-command.js";
import { CommandError, exitCodes } from "../cli/exit-codes.js";
import { backendKinds, startBackends } from "./backends.js";
import { type DemoOptions, runDemo } from "./up.js";

/** Options as commander gives them; undefined where neither flag nor environment says anything. */
interface UpFlags {
  readonly apiPort?: string;
  readonly xdsPort?: string;
  readonly httpPort?: string;
  readonly tcpPort?: string;
  readonly backendsPort: string;
  readonly envoys: string;
  readonly dataDir: string;
  readonly databaseUrl?: string;
}

const mainScript = join(dirname(dirname(fileURLToPath(import.meta.url))), "main.js");
const standard = { api: "127.0.0.1:8080", xds: "127.0.0.1:18000", httpPort: "10000", tcpPort: "10001", backendsPort: "10011" };
/** A second Ctrl-C that comes sooner is the same one, passed on by npm. */
const impatientAfterMs = 1000;

const toPort = (flag: string, given: string) => toInteger(flag, given, 1, 65_535);

/** Where a server of ours listens: the flag's port on the environment's address. */
function address(key: string, standardAddress: string, flag: string, port: string | undefined) {
  const at = toHostPort(process.env[key] ?? standardAddress);
  return port === undefined ? at : { host: at.host, port: toPort(flag, port) };
}

/** @throws CommandError (usage) that names the flag */
export function toDemoOptions(flags: UpFlags): DemoOptions {
  const moved = [
    ...(flags.httpPort === undefined ? [] : (["web"] as const)),
    ...(flags.tcpPort === undefined ? [] : (["tcp-in"] as const)),
  ];
  return {
    mainScript,
    program: `node ${relative(process.cwd(), mainScript)}`,
    dataDir: resolve(flags.dataDir),
    api: address("CHANCERY_API_ADDRESS", standard.api, "--api-port", flags.apiPort),
    xds: address("CHANCERY_XDS_ADDRESS", standard.xds, "--xds-port", flags.xdsPort),
    configuration: {
      gateway: "edge",
      host: "127.0.0.1",
      httpPort: toPort("--http-port", flags.httpPort ?? standard.httpPort),
      tcpPort: toPort("--tcp-port", flags.tcpPort ?? standard.tcpPort),
      firstBackendPort: toInteger("--backends-port", flags.backendsPort, 1, 65_535 - backendKinds.length + 1),
      moved,
    },
    envoys: toInteger("--envoys", flags.envoys, 0, 8),
    databaseUrl: flags.databaseUrl,
  };
}

/** Aborts at Ctrl-C, SIGTERM or a closed terminal. Impatience ends us at once; the keeper then ends the rest. */
function stopSignal(): AbortSignal {
  const stop = new AbortController();
  let since = 0;
  const onSignal = () => {
    if (stop.signal.aborted && Date.now() - since > impatientAfterMs) process.exit(exitCodes.failed);
    if (stop.signal.aborted) return;
    since = Date.now();
    stop.abort();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, onSignal);
  return stop.signal;
}

/** Any failure is told in words: a stack trace helps nobody who just wants to see the demo. */
async function told(work: () => Promise<void>): Promise<void> {
  try {
    await work();
    process.exitCode = exitCodes.ok;
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = error instanceof CommandError ? error.exitCode : exitCodes.failed;
  }
}

function upCommand(): Command {
  return new Command("up")
    .description("run the demo: an embedded Postgres, the control plane, two Envoys and their backends; Ctrl-C stops it all")
    .option("--api-port <port>", `admin API (default 8080; environment: CHANCERY_API_ADDRESS, default ${standard.api})`)
    .option("--xds-port <port>", `xDS (default 18000; environment: CHANCERY_XDS_ADDRESS, default ${standard.xds})`)
    .addOption(
      new Option("--http-port <port>", `HTTP listener of the Envoys (default ${standard.httpPort})`).env(
        "CHANCERY_DEMO_HTTP_PORT",
      ),
    )
    .addOption(
      new Option("--tcp-port <port>", `TCP listener of the Envoys (default ${standard.tcpPort})`).env("CHANCERY_DEMO_TCP_PORT"),
    )
    .option("--backends-port <port>", `first of the ${backendKinds.length} ports of the backends`, standard.backendsPort)
    .option("--envoys <count>", "how many Envoys", "2")
    .addOption(new Option("--data-dir <folder>", "database, logs and bootstraps").env("CHANCERY_DATA_DIR").default(".data"))
    .option("--database-url <url>", "a Postgres of yours in place of the embedded one; the demo writes its configuration into it")
    .action((flags: UpFlags) => {
      const stop = stopSignal();
      return told(() => runDemo(toDemoOptions(flags), (line) => console.log(line), stop));
    });
}

function backendsCommand(): Command {
  return new Command("demo-backends")
    .description("run only the demo's backends, as docker-compose.yml does")
    .option("--address <ip>", "where they listen", "127.0.0.1")
    .option("--backends-port <port>", `first of their ${backendKinds.length} ports`, standard.backendsPort)
    .action((flags: { address: string; backendsPort: string }) => {
      const stop = stopSignal();
      return told(async () => {
        const firstPort = toInteger("--backends-port", flags.backendsPort, 1, 65_535 - backendKinds.length + 1);
        const close = await startBackends(flags.address, firstPort);
        for (const [index, { name }] of backendKinds.entries())
          console.log(`${name} listens on ${flags.address}:${firstPort + index}`);
        stop.addEventListener("abort", () => void close(), { once: true });
      });
    });
}

/** Call it after registerCommands of cli/, whose handling of usage errors these commands inherit. */
export function registerDemoCommands(program: Command): void {
  for (const command of [upCommand(), backendsCommand()]) program.addCommand(command.copyInheritedSettings(program));
}
