// The command lines of `chancery drain` and `chancery drains`. What they do is in drain.ts.
import { Command, Option } from "commander";
import type { ApiAccess } from "./api-client.js";
import {
  cancelDrain,
  type DrainSelector,
  drain,
  follow,
  listDrains,
  readLabels,
  toDrainTarget,
  toDrainTimeoutMs,
} from "./drain.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { addApiOptions, toAccess } from "./outcome.js";

/** What the commands print with, and how they learn that somebody wants them to stop. */
export interface DrainTerminal {
  out(text: string): void;
  /** Calls back once, when the person or the system interrupts. Returns how to stop that. Left out: the process's signals. */
  onInterrupt?(callback: () => void): () => void;
}

interface DrainFlags {
  readonly api: string;
  readonly author: string;
  readonly reason?: string;
  readonly all: boolean;
  readonly zone?: string;
  readonly region?: string;
  readonly address?: string;
  readonly label?: string[];
  readonly wait: boolean;
  readonly timeout?: string;
  readonly afterwards: "remove" | "disable";
  readonly override?: string[];
  readonly follow?: string;
  readonly cancel?: string;
}

const signals = ["SIGINT", "SIGTERM"] as const;

function onSignal(callback: () => void): () => void {
  for (const signal of signals) process.once(signal, callback);
  return () => {
    for (const signal of signals) process.off(signal, callback);
  };
}

/** Runs what goes on until it is interrupted. */
export async function interruptible(terminal: DrainTerminal, work: (interrupted: AbortSignal) => Promise<void>): Promise<void> {
  const interrupt = new AbortController();
  const stop = (terminal.onInterrupt ?? onSignal)(() => interrupt.abort());
  try {
    await work(interrupt.signal);
  } finally {
    stop();
  }
}

/** Undefined: endpoints are given by their addresses. */
function toSelector({ zone, region, address, label }: DrainFlags): DrainSelector | undefined {
  const selector = {
    ...(zone === undefined ? {} : { zone }),
    ...(region === undefined ? {} : { region }),
    ...(address === undefined ? {} : { address }),
    ...(label === undefined ? {} : { labels: readLabels(label) }),
  };
  return Object.keys(selector).length > 0 ? selector : undefined;
}

/** What a command line asks for. @throws CommandError */
export async function runDrain(terminal: DrainTerminal, words: readonly string[], flags: DrainFlags): Promise<void> {
  const access: ApiAccess = toAccess(flags);
  const print = (line: string): void => terminal.out(`${line}\n`);
  const { cancel, follow: followed } = flags;
  if ((cancel !== undefined || followed !== undefined) && words.length > 0)
    throw new CommandError(exitCodes.usage, "--cancel and --follow are about a drain by its id, and take no endpoints.");
  if (cancel !== undefined) return cancelDrain(access, cancel, print);
  if (followed !== undefined) return interruptible(terminal, (interrupted) => follow(access, followed, print, interrupted));
  const target = toDrainTarget(words, flags.all, toSelector(flags));
  const timeoutMs = flags.timeout === undefined ? undefined : toDrainTimeoutMs(flags.timeout);
  const choices = { timeoutMs, afterwards: flags.afterwards, override: flags.override ?? [], wait: flags.wait };
  await interruptible(terminal, (interrupted) => drain(access, target, choices, print, interrupted));
}

const drainExitCodes = `
Exit codes: 0 safe to stop (or cancelled); 1 refused, or ended without being known to be safe; 2 wrong command line;
3 the control plane is away; 5 the drain goes on and is not safe to stop yet (without --wait, or interrupted).`;

/** `chancery drain`. */
export function defineDrain(action: (words: string[], flags: DrainFlags) => Promise<void>): Command {
  return addApiOptions(new Command("drain"))
    .description(
      "drain endpoints: nothing new is sent there, what is under way goes on; tells when it is safe to stop the process",
    )
    .usage("[options] <cluster> <address:port...> | --all <address:port> | (<cluster> | --all) --zone ... --label ...")
    .argument("[endpoints...]", "a cluster and its endpoints; with --all, one address; with a selector, a cluster or --all")
    .option("--all", "the address in all clusters that have it", false)
    .option("--zone <zone>", "all endpoints of the zone; with the next three, those for which all of it holds")
    .option("--region <region>", "all endpoints of the region")
    .option("--address <address>", "all endpoints of the address, on any port unless it says one")
    .option("--label <key=value...>", "all endpoints that have these labels")
    .option("--wait", "wait until it is safe to stop, or the drain ends otherwise", false)
    .option("--timeout <time>", "how long what is in flight is waited for, as 60s or 5m (default: the clusters' own)")
    .option("--reason <text>", "recorded with the drain")
    .addOption(
      new Option("--afterwards <what>", "what becomes of the endpoints").choices(["remove", "disable"]).default("remove"),
    )
    .addOption(new Option("--override <guard...>", "guards that are to let it pass").choices(["last-endpoint"]))
    .option("--follow <drain>", "wait for a drain that goes on")
    .option("--cancel <drain>", "end a drain, and put its endpoints back")
    .addHelpText("after", drainExitCodes)
    .action(action);
}

interface ListFlags {
  readonly api: string;
  readonly author: string;
  readonly open: boolean;
  readonly output: "table" | "json";
}

/** `chancery drains`. */
export function defineDrains(
  terminal: DrainTerminal,
  guard: (action: (flags: ListFlags) => Promise<void>) => (flags: ListFlags) => Promise<void>,
) {
  return addApiOptions(new Command("drains"))
    .description("show drains, newest first")
    .option("--open", "only those that have not ended", false)
    .addOption(new Option("-o, --output <format>", "how it is shown").choices(["table", "json"]).default("table"))
    .action(guard(async (flags) => terminal.out(await listDrains(toAccess(flags), flags.open, flags.output))));
}
