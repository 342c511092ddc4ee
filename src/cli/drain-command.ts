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
import { cancelNodeDrain, drainNode, followNodeDrain, listNodeDrains } from "./node-drain.js";
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
  readonly node?: string;
  readonly lameDuck?: string;
  /** true: of the Envoy that --node names. */
  readonly follow?: string | true;
  readonly cancel?: string | true;
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
  const { cancel, follow: followed, node } = flags;
  if (node !== undefined) return runNodeDrain(terminal, access, node, words, flags);
  if (cancel === true || followed === true)
    throw new CommandError(exitCodes.usage, "--cancel and --follow need a drain's id, or --node.");
  if (flags.lameDuck !== undefined) throw new CommandError(exitCodes.usage, "--lame-duck goes with --node.");
  if ((cancel !== undefined || followed !== undefined) && words.length > 0)
    throw new CommandError(exitCodes.usage, "--cancel and --follow are about a drain by its id, and take no endpoints.");
  if (cancel !== undefined) return cancelDrain(access, cancel, print);
  if (followed !== undefined) return interruptible(terminal, (interrupted) => follow(access, followed, print, interrupted));
  const target = toDrainTarget(words, flags.all, toSelector(flags));
  const timeoutMs = flags.timeout === undefined ? undefined : toDrainTimeoutMs(flags.timeout);
  const choices = { timeoutMs, afterwards: flags.afterwards, override: flags.override ?? [], wait: flags.wait };
  await interruptible(terminal, (interrupted) => drain(access, target, choices, print, interrupted));
}

/** With --node. @throws CommandError */
async function runNodeDrain(
  terminal: DrainTerminal,
  access: ApiAccess,
  node: string,
  words: readonly string[],
  flags: DrainFlags,
): Promise<void> {
  const print = (line: string): void => terminal.out(`${line}\n`);
  const { cancel, follow: followed, lameDuck, override = [], timeout, wait } = flags;
  if (words.length > 0 || flags.all || typeof cancel === "string" || typeof followed === "string")
    throw new CommandError(exitCodes.usage, "--node names one Envoy: no endpoints and no drain's id go with it.");
  if (cancel) return cancelNodeDrain(access, node, print);
  if (followed) return interruptible(terminal, (interrupted) => followNodeDrain(access, node, print, interrupted));
  const timeoutMs = timeout === undefined ? undefined : toDrainTimeoutMs(timeout);
  const lameDuckMs = lameDuck === undefined ? undefined : toDrainTimeoutMs(lameDuck);
  await interruptible(terminal, (interrupted) =>
    drainNode(access, node, { timeoutMs, lameDuckMs, override, wait }, print, interrupted),
  );
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
    .usage(
      "[options] <cluster> <address:port...> | --all <address:port> | (<cluster> | --all) --zone ... --label ... | --node <id>",
    )
    .argument("[endpoints...]", "a cluster and its endpoints; with --all, one address; with a selector, a cluster or --all")
    .option(
      "--node <id>",
      "an Envoy in place of endpoints: its health checks fail, its listeners go, and its connections are waited for",
    )
    .option(
      "--lame-duck <time>",
      "with --node: how long its health checks fail before its listeners go (default: 10s where a listener has a healthPath)",
    )
    .option("--all", "the address in all clusters that have it", false)
    .option("--zone <zone>", "all endpoints of the zone; with the next three, those for which all of it holds")
    .option("--region <region>", "all endpoints of the region")
    .option("--address <address>", "all endpoints of the address, on any port unless it says one")
    .option("--label <key=value...>", "all endpoints that have these labels")
    .option("--wait", "wait until it is safe to stop, or the drain ends otherwise", false)
    .option(
      "--timeout <time>",
      "how long what is in flight is waited for, as 60s or 5m (default: the clusters' own; of an Envoy 60s)",
    )
    .option("--reason <text>", "recorded with the drain")
    .addOption(
      new Option("--afterwards <what>", "what becomes of the endpoints").choices(["remove", "disable"]).default("remove"),
    )
    .addOption(new Option("--override <guard...>", "guards that are to let it pass").choices(["last-endpoint", "last-node"]))
    .option("--follow [drain]", "wait for a drain that goes on; with --node, the Envoy's")
    .option("--cancel [drain]", "end a drain, and put its endpoints back; with --node, the Envoy's listeners, also after its end")
    .addHelpText("after", drainExitCodes)
    .action(action);
}

interface ListFlags {
  readonly api: string;
  readonly author: string;
  readonly open: boolean;
  readonly nodes: boolean;
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
    .option("--nodes", "those of Envoys, in place of those of endpoints", false)
    .addOption(new Option("-o, --output <format>", "how it is shown").choices(["table", "json"]).default("table"))
    .action(
      guard(async (flags) => {
        const show = flags.nodes ? listNodeDrains : listDrains;
        terminal.out(await show(toAccess(flags), flags.open, flags.output));
      }),
    );
}
