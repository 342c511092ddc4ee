#!/usr/bin/env node
// The process: `chancery <command>`. `serve`, `migrate` and `agent` are here; the others are clients of the admin API (cli/), and `up` is the
// demo (demo/). Rooms are imported when their command is called, so that each starts with no more than it needs.
import { readFileSync } from "node:fs";
import closeWithGrace from "close-with-grace";
import { Command } from "commander";
import { type Config, ConfigError, readConfig } from "./config.js";
import { settingsHelp } from "./config-help.js";
import { AppError, reasonOf } from "./errors.js";
import { createLogger, failureFacts, type Logger, logLevels } from "./telemetry/logger.js";

/** As in cli/exit-codes.ts: 1 failed, 2 wrong usage, 3 a database that can't be reached. */
const exitCode = { failed: 1, usage: 2, away: 3 } as const;
/** Beyond the grace that streams and requests have: for what closes after them. */
const closeReserveMs = 5_000;

function readVersion(): string {
  const about: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return typeof about === "object" && about !== null && "version" in about ? String(about.version) : "unknown";
}

function readEnvironment(): { config: Config; log: Logger } {
  try {
    const { config, warnings } = readConfig(process.env);
    const log = createLogger(config.process.logLevel).child({ replica: config.process.replicaId });
    for (const warning of warnings) log.warn({}, warning);
    return { config, log };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n\n\`chancery serve --help\` lists every key.\n`);
    process.exit(exitCode.usage);
  }
}

/** The whole of it in the log, its root in one line for who started it by hand. */
function fail(log: Logger, error: unknown, sentence: string): never {
  log.fatal(failureFacts(error), sentence);
  process.stderr.write(`${sentence}: ${reasonOf(error)}\n`);
  process.exit(error instanceof AppError && error.code === "database_unavailable" ? exitCode.away : exitCode.failed);
}

async function migrateDatabase(config: Config, log: Logger): Promise<void> {
  const { migrate } = await import("./store/migrate.js");
  await migrate(config.database.migrationUrl ?? config.database.url, log).catch((error: unknown) =>
    fail(log, error, "the database schema could not be brought up to date"),
  );
}

async function serve(options: { readonly migrate: boolean }): Promise<void> {
  const { config, log } = readEnvironment();
  log.info({ version: readVersion(), node: process.version, pid: process.pid }, "starting");
  const { createApp } = await import("./app.js");
  if (options.migrate) await migrateDatabase(config, log);
  const app = await createApp(config, log);
  const delay = config.process.shutdownDelayMs + config.process.shutdownGraceMs + closeReserveMs;
  let closing = false;
  closeWithGrace(
    {
      delay,
      logger: false,
      onSecondSignal: (signal) => log.fatal({ signal }, "asked to stop again: ending at once"),
      onTimeout: (afterMs) => log.fatal({ afterMs }, "could not stop in time"),
    },
    async ({ err, signal }) => {
      closing = true;
      if (err) log.fatal({ err }, "an error that nothing expected: stopping");
      else log.info({ signal }, "asked to stop");
      await app.close();
    },
  );
  // While it is being stopped, the rest of the start is called off: that is no failure.
  await app.start().catch((error: unknown) => (closing ? undefined : fail(log, error, "the control plane could not start")));
}

function addServe(program: Command): void {
  program
    .command("serve")
    .description("run a control plane: configured by the environment, any number on one Postgres")
    .option("--migrate", "bring the database's schema up to date first (replicas that start at once wait for one another)", false)
    .addHelpText("after", settingsHelp)
    .action(serve);
  program
    .command("migrate")
    .description("bring the database's schema up to date, and end")
    .action(async () => {
      const { config, log } = readEnvironment();
      await migrateDatabase(config, log);
    });
}

interface AgentFlags {
  readonly listen: string;
  readonly xds: string;
  readonly stateDir: string;
  readonly status: string;
  readonly patience: string;
  readonly logLevel: string;
}

async function agent(flags: AgentFlags): Promise<void> {
  const [{ Agent }, { serveStatus }, { toHostPort, toInteger }, { CommandError }] = await Promise.all([
    import("./agent/agent.js"),
    import("./agent/status-page.js"),
    import("./cli/bootstrap-command.js"),
    import("./cli/exit-codes.js"),
  ]);
  const level = logLevels.find((one) => one === flags.logLevel);
  try {
    if (!level) throw new CommandError(exitCode.usage, `--log-level is one of ${logLevels.join(", ")}.`);
    const log = createLogger(level);
    const running = new Agent({
      listen: toHostPort(flags.listen),
      controlPlanes: flags.xds.split(",").map(toHostPort),
      folder: flags.stateDir,
      patienceMs: toInteger("--patience", flags.patience, 1, 600) * 1_000,
      log,
    });
    const status = toHostPort(flags.status);
    closeWithGrace({ delay: closeReserveMs, logger: false }, async ({ err, signal }) => {
      if (err) log.fatal({ err }, "an error that nothing expected: stopping");
      else log.info({ signal }, "asked to stop");
      await running.close();
    });
    await running.listen().catch((error: unknown) => fail(log, error, "the agent could not start"));
    await serveStatus(running, status).catch((error: unknown) => fail(log, error, "the agent could not start"));
    log.info(
      { version: readVersion(), listen: flags.listen, controlPlanes: flags.xds, folder: flags.stateDir },
      "the agent serves",
    );
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(error.exitCode);
  }
}

function addAgent(program: Command): void {
  program
    .command("agent")
    .description("stand beside an Envoy: keep its configuration on disk, and start it from there while no control plane answers")
    .option("--listen <host:port>", "where the Envoy comes to: the --xds of its bootstrap", "127.0.0.1:18010")
    .option("--xds <host:port,…>", "control planes, one or more", "127.0.0.1:18000")
    .requiredOption("--state-dir <folder>", "where the configuration is kept; made if missing")
    .option("--status <host:port>", "where GET /readyz, /healthz and /metrics are answered", "127.0.0.1:18011")
    .option("--patience <seconds>", "how long a control plane may say nothing to an Envoy that starts", "5")
    .option("--log-level <level>", logLevels.join(", "), "info")
    .action(agent);
}

async function main(): Promise<void> {
  const program = new Command("chancery").description(
    "A control plane for Envoy fleets: an admin API in, xDS out, and the answer of every Envoy back.",
  );
  program.version(readVersion(), "-V, --version", "print the version");
  program.exitOverride(({ exitCode: code }) => process.exit(code === 0 ? 0 : exitCode.usage));
  addServe(program);
  addAgent(program);
  const command = process.argv[2];
  if (command !== "serve" && command !== "migrate" && command !== "agent") {
    const [{ registerCommands }, { registerDemoCommands }] = await Promise.all([
      import("./cli/commands.js"),
      import("./demo/commands.js"),
    ]);
    registerCommands(program);
    registerDemoCommands(program);
  }
  await program.parseAsync(process.argv);
}

await main();
