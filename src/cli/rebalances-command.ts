// The command line of `chancery rebalances`. What it does is in rebalances.ts.
import { Command, Option } from "commander";
import { type DrainTerminal, interruptible } from "./drain-command.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { addApiOptions, toAccess } from "./outcome.js";
import { cancelRebalance, followRebalance, listRebalances } from "./rebalances.js";

interface RebalancesFlags {
  readonly api: string;
  readonly author: string;
  readonly open: boolean;
  readonly output: "table" | "json";
  readonly follow?: string;
  readonly cancel?: string;
}

type Action = (flags: RebalancesFlags) => Promise<void>;

const rebalancesExitCodes = `
Exit codes: 0 done, shown or cancelled; 1 refused, or it was cancelled or superseded; 2 wrong command line; 3 the control plane is away;
5 it goes on without the command.`;

/** `chancery rebalances`. */
export function defineRebalances(terminal: DrainTerminal, guard: (action: Action) => Action): Command {
  const print = (line: string): void => terminal.out(`${line}\n`);
  return addApiOptions(new Command("rebalances"))
    .description("show rebalances, newest first: long TCP connections that follow the weights of their route")
    .option("--open", "only those that have not ended", false)
    .option("--follow <rebalance>", "look on at one, to its end")
    .option("--cancel <rebalance>", "close no further connection; the weights stay")
    .addOption(new Option("-o, --output <format>", "how they are shown").choices(["table", "json"]).default("table"))
    .addHelpText("after", rebalancesExitCodes)
    .action(
      guard(async (flags) => {
        const access = toAccess(flags);
        const { cancel, follow } = flags;
        if (cancel !== undefined && follow !== undefined)
          throw new CommandError(exitCodes.usage, "--follow and --cancel contradict each other.");
        if (cancel !== undefined) return cancelRebalance(access, cancel, print);
        if (follow === undefined) return terminal.out(await listRebalances(access, flags.open, flags.output));
        await interruptible(terminal, (interrupted) => followRebalance(access, follow, print, interrupted));
      }),
    );
}
