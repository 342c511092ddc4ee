// The commands that are clients of a running control plane, and `bootstrap`. In: commander's program. Out: text on stdout,
// trouble on stderr, an exit code (exit-codes.ts). Called by main.ts, which adds `serve` and `migrate`; demo/ adds `up`.
import { Command, Option } from "commander";
import { ApiRefusal } from "./api-client.js";
import { applyDocuments } from "./apply.js";
import { defineBootstrap } from "./bootstrap-command.js";
import type { FileSet } from "./change.js";
import { diffDocuments, type PlanOutput, planOutputs } from "./diff.js";
import { type DrainTerminal, defineDrain, defineDrains, interruptible, runDrain } from "./drain-command.js";
import { changeEndpoint, type EndpointFlags } from "./endpoint.js";
import { CommandError, exitCodes } from "./exit-codes.js";
import { readPaths } from "./files.js";
import { followRevisions } from "./follow.js";
import { get, nodes, type Output, outputs } from "./get.js";
import {
  type HistoryOutput,
  historyOutputs,
  listRevisions,
  rollBack,
  showRevision,
  toAnchor,
  toRevision,
  verifyAudit,
} from "./history.js";
import { objectPath, toKind } from "./kinds.js";
import {
  addApiOptions,
  addWriteOptions,
  callAndWait,
  refusalLines,
  report,
  toAccess,
  toWait,
  type WaitFlags,
} from "./outcome.js";
import { defineRebalances } from "./rebalances-command.js";
import { defineRollouts, type RolloutChoice, type RolloutFlags, showRollouts, toRollout } from "./rollouts.js";
import { type RebalanceFlags, setWeights, showWeights, toRebalance } from "./weights.js";

/** Where a command prints and how it ends; tests give their own. */
export interface Terminal extends DrainTerminal {
  error(text: string): void;
  /** Aborts when nobody reads any more: what goes on until it is interrupted ends then. */
  whenClosed(): AbortSignal;
  /** Does not return. */
  exit(code: number): never;
}

const standardTerminal: Terminal = {
  out: (text) => void process.stdout.write(text),
  error: (text) => void process.stderr.write(text),
  exit: (code) => process.exit(code),
  whenClosed() {
    const closed = new AbortController();
    process.stdout.once("error", () => closed.abort()); // EPIPE, after `| head`.
    return closed.signal;
  },
};

interface ApiFlags {
  readonly api: string;
  readonly author: string;
  readonly reason?: string;
}

type WriteFlags = ApiFlags & WaitFlags;

/** Runs a command's action; a failure with words for people becomes those words and an exit code, anything else is a fault of ours. */
function guarded<Arguments extends unknown[]>(terminal: Terminal, action: (...given: Arguments) => Promise<void>) {
  return async (...given: Arguments) => {
    try {
      await action(...given);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      terminal.error(`${(error instanceof ApiRefusal ? refusalLines(error) : [error.message]).join("\n")}\n`);
      terminal.exit(error.exitCode);
    }
  };
}

const outputOption = () => new Option("-o, --output <format>", "how it is shown").choices([...outputs]).default("table");

function getCommand(terminal: Terminal): Command {
  return addApiOptions(new Command("get"))
    .description("show objects: get routes, get route <name>, get endpoints <cluster>, get endpoint <cluster>/<address>:<port>")
    .argument("<kind>", "clusters, endpoints, listeners or routes")
    .argument("[name]", "one of them; of endpoints, their cluster's")
    .addOption(outputOption())
    .action(
      guarded(terminal, async (kind: string, name: string | undefined, flags: ApiFlags & { output: Output }) => {
        terminal.out(await get(toAccess(flags), kind, name, flags.output));
      }),
    );
}

function nodesCommand(terminal: Terminal): Command {
  return addApiOptions(new Command("nodes"))
    .description("show the fleet: which Envoys are connected, the revision they have, what they refused")
    .option("--gateway <name>", "only those of this gateway")
    .addOption(outputOption())
    .action(
      guarded(terminal, async (flags: ApiFlags & { gateway?: string; output: Output }) => {
        terminal.out(await nodes(toAccess(flags), flags.gateway, flags.output));
      }),
    );
}

interface FileFlags {
  readonly file: string[];
  readonly set: string;
  readonly prune: boolean;
  readonly override?: string[];
}

const guards = ["emptied", "shrink", "size", "rollout", "drain"];

function addFileOptions(command: Command): Command {
  return command
    .requiredOption("-f, --file <path...>", "files, folders, or - for stdin")
    .option("--set <name>", "the set that these files are: an object belongs to the set that put it last", "default")
    .option("--prune", "also delete what the set put before and the files no longer hold", false)
    .addOption(new Option("--override <guard...>", "guards that are to let it pass").choices(guards));
}

const toFileSet = ({ set, prune, override = [] }: FileFlags): FileSet => ({ set, prune, override });

function applyCommand(terminal: Terminal): Command {
  return addFileOptions(addWriteOptions(addApiOptions(new Command("apply"))))
    .description(
      "create or change what files say, in one change: all or nothing (YAML or JSON, several documents each, with `kind: cluster` and so on)",
    )
    .option("--rollout <stages>", "some Envoys first, as 1,10%,50%: each stage when the one before has proved itself")
    .option("--bake <time>", "with --rollout: how long each stage must go well, as 60s or 10m", "60s")
    .option(
      "--max-error-rate <percent>",
      "with --rollout: stop when a stage's Envoys answer 5xx more often than others, by so much",
    )
    .action(
      guarded(terminal, async (flags: WriteFlags & FileFlags & RolloutFlags) => {
        const rollout = toRollout(flags);
        const documents = await readPaths(flags.file, flags.prune);
        const files = { ...toFileSet(flags), rollout };
        await applyDocuments(toAccess(flags), documents, files, toWait(flags), (line) => terminal.out(`${line}\n`));
      }),
    );
}

function diffCommand(terminal: Terminal): Command {
  return addFileOptions(addApiOptions(new Command("diff")))
    .description("show what `apply` of the same files would do: objects, resources of each gateway, Envoys, listeners that drain")
    .option("--exit-code", "exit with 1 when something would change", false)
    .addOption(new Option("-o, --output <format>", "how it is shown").choices([...planOutputs]).default("text"))
    .action(
      guarded(terminal, async (flags: ApiFlags & FileFlags & { exitCode: boolean; output: PlanOutput }) => {
        const documents = await readPaths(flags.file, flags.prune);
        const print = (line: string) => terminal.out(`${line}\n`);
        const count = await diffDocuments(toAccess(flags), documents, toFileSet(flags), flags.output, print);
        if (count > 0 && flags.exitCode) terminal.exit(exitCodes.failed);
      }),
    );
}

function deleteCommand(terminal: Terminal): Command {
  return addWriteOptions(addApiOptions(new Command("delete")))
    .description("remove one object; a cluster or listener that a route names stays")
    .argument("<kind>", "cluster, endpoint, listener or route")
    .argument("<name>", "its name; of an endpoint, <cluster>/<address>:<port>")
    .action(
      guarded(terminal, async (word: string, name: string, flags: WriteFlags) => {
        const kind = toKind(word);
        const answer = await callAndWait(toAccess(flags), { method: "DELETE", path: objectPath(kind, name) }, toWait(flags));
        report((line) => terminal.out(`${line}\n`), `${kind} ${name}: deleted`, answer);
      }),
    );
}

function endpointCommand(terminal: Terminal): Command {
  return addWriteOptions(addApiOptions(new Command("endpoint")))
    .description(
      "change one endpoint and leave the rest of it as it is; disabled, it gets nothing new, and what is under way goes on",
    )
    .argument("<name>", "<cluster>/<address>:<port>")
    .option("--disable", "send it nothing new", false)
    .option("--enable", "send it traffic again", false)
    .option("--weight <number>", "its share relative to the others of its locality, 1–1000")
    .option("--priority <number>", "0 is served first, up to 127")
    .option("--ttl <time>", "drain and remove it when nobody renews it for so long, as 30s")
    .option("--label <key=value...>", "its labels from now on, for drains to select it by")
    .option("--renew", "with --ttl: register it as the flags say, or renew it", false)
    .action(
      guarded(terminal, async (name: string, flags: WriteFlags & EndpointFlags) => {
        await changeEndpoint(toAccess(flags), name, flags, toWait(flags), (line) => terminal.out(`${line}\n`));
      }),
    );
}

function weightsCommand(terminal: Terminal): Command {
  return addWriteOptions(addApiOptions(new Command("weights")))
    .description("set the weights of a route's backends, all at once; without weights, show them")
    .argument("<route>", "its name")
    .argument("[weights...]", "<cluster>=<weight> for every backend of the route")
    .option(
      "--rebalance",
      "of a TCP route: close long connections at a pace, so that they follow; with --wait, to the end",
      false,
    )
    .option("--rebalance-after <time>", "the same, the first one so long after the shift, as 10s (default 10s)")
    .option("--rebalance-rate <number>", "the same, so many a second on average (default 20)")
    .action(
      guarded(terminal, async (route: string, words: string[], flags: WriteFlags & RebalanceFlags) => {
        const rebalance = toRebalance(flags);
        const print = (line: string) => terminal.out(`${line}\n`);
        if (words.length > 0)
          return interruptible(terminal, (interrupted) =>
            setWeights(toAccess(flags), route, words, { wait: toWait(flags), rebalance }, print, interrupted),
          );
        if (rebalance) throw new CommandError(exitCodes.usage, "Give the weights that connections are to follow.");
        terminal.out(await showWeights(toAccess(flags), route));
      }),
    );
}

interface RevisionFlags extends ApiFlags {
  readonly by?: string;
  readonly object?: string;
  readonly limit: string;
  readonly against?: string;
  readonly follow: boolean;
  readonly after?: string;
  readonly output: HistoryOutput;
}

/** Following is of all revisions, as they come. @throws CommandError (usage) */
function refuseBesideFollow(word: string | undefined, { by, object, against, after, follow }: RevisionFlags): void {
  const others = [word, by, object, against].some((one) => one !== undefined);
  if (follow && others)
    throw new CommandError(exitCodes.usage, "--follow shows every revision as it comes: it goes with --after and --output only.");
  if (!follow && after !== undefined) throw new CommandError(exitCodes.usage, "--after goes with --follow.");
}

function revisionsCommand(terminal: Terminal): Command {
  return addApiOptions(new Command("revisions"))
    .description("show the history, newest first; with a number, what that revision changed, who made it and who has it")
    .argument("[revision]", "its number")
    .option("--by <author>", "only those by this author")
    .option("--object <kind/name>", "only those that changed this object, as in route/checkout")
    .option("--limit <count>", "how many", "20")
    .option("--against <revision>", "with a revision: compare it with this one in place of the one before it")
    .option("--follow", "show revisions, and which Envoys have them, as they happen, until it is interrupted", false)
    .option("--after <revision>", "with --follow: begin after this one, in place of the newest")
    .addOption(
      new Option("-o, --output <format>", "how it is shown; json with --follow: a document on each line")
        .choices([...historyOutputs])
        .default("table"),
    )
    .action(
      guarded(terminal, async (word: string | undefined, flags: RevisionFlags) => {
        const { by: author, object, against, output } = flags;
        const access = toAccess(flags);
        refuseBesideFollow(word, flags);
        if (flags.follow) {
          const after = flags.after === undefined ? undefined : toRevision(flags.after);
          const signal = terminal.whenClosed();
          await followRevisions(access, { after, output, signal }, (line) => terminal.out(`${line}\n`));
        } else if (word === undefined) {
          const limit = Math.min(1000, Math.max(1, toRevision(flags.limit)));
          terminal.out(await listRevisions(access, { author, object, limit }, output));
        } else {
          const other = against === undefined ? undefined : toRevision(against);
          terminal.out(await showRevision(access, toRevision(word), other, output));
        }
      }),
    );
}

interface RollbackFlags extends WriteFlags {
  readonly configuration: boolean;
  readonly dryRun: boolean;
  readonly override?: string[];
}

function rollbackCommand(terminal: Terminal): Command {
  return addWriteOptions(addApiOptions(new Command("rollback")))
    .description("undo what a revision changed, or make everything as it was at it; always as a new revision")
    .argument("<revision>", "its number")
    .option("--configuration", "the whole configuration as it was at this revision", false)
    .option("--dry-run", "show what would change, and change nothing", false)
    .addOption(new Option("--override <guard...>", "guards that are to let it pass").choices(guards))
    .action(
      guarded(terminal, async (word: string, flags: RollbackFlags) => {
        const { configuration, dryRun, override = [] } = flags;
        const scope = configuration ? "configuration" : "revision";
        const print = (line: string) => terminal.out(`${line}\n`);
        await rollBack(toAccess(flags), toRevision(word), { scope, dryRun, override }, toWait(flags), print);
      }),
    );
}

function auditCommand(terminal: Terminal): Command {
  const verify = addApiOptions(new Command("verify"))
    .description("check that no revision and no change was edited, deleted or moved since it was written")
    .option("--anchor <revision:hash>", "what an earlier run printed: finds also a history that was written anew")
    .action(
      guarded(terminal, async (flags: ApiFlags & { anchor?: string }) => {
        const anchor = flags.anchor === undefined ? undefined : toAnchor(flags.anchor);
        await verifyAudit(toAccess(flags), anchor, (line) => terminal.out(`${line}\n`));
      }),
    );
  return new Command("audit").description("the history as evidence").addCommand(verify);
}

function rolloutsOf(terminal: Terminal): Command {
  const show = async (flags: ApiFlags, name: string | undefined, choice: RolloutChoice): Promise<void> => {
    const print = (line: string) => terminal.out(`${line}\n`);
    await showRollouts(toAccess(flags), name, choice, print);
  };
  return defineRollouts(guarded(terminal, show));
}

function bootstrapCommand(terminal: Terminal): Command {
  return defineBootstrap(guarded(terminal, async (text: () => string) => terminal.out(text())));
}

function drainCommand(terminal: Terminal): Command {
  return defineDrain(guarded(terminal, (words, flags) => runDrain(terminal, words, flags)));
}

function drainsCommand(terminal: Terminal): Command {
  return defineDrains(terminal, (action) => guarded(terminal, action));
}

function rebalancesCommand(terminal: Terminal): Command {
  return defineRebalances(terminal, (action) => guarded(terminal, action));
}

const exitCodesText = `
Exit codes: 0 done; 1 refused, failed, or not confirmed in time; 2 wrong command line or file, nothing was sent;
3 the control plane or its database is away; 4 an Envoy refused it, and what was there before is back (--on-refusal rollback);
5 a drain or a rebalance goes on without the command (a drain: it is not safe to stop yet).
\`revisions --follow\` ends with 1 when the history it followed is no more, and with 3 when the control plane is away for a minute.`;

/** Adds the commands to the program, and makes usage errors of it and of them exit with 2. */
export function registerCommands(program: Command, terminal: Terminal = standardTerminal): void {
  const make = [
    getCommand,
    applyCommand,
    diffCommand,
    deleteCommand,
    endpointCommand,
    weightsCommand,
    drainCommand,
    drainsCommand,
    rebalancesCommand,
    nodesCommand,
    revisionsCommand,
    rollbackCommand,
    rolloutsOf,
    auditCommand,
    bootstrapCommand,
  ];
  const commands = make.map((each) => each(terminal));
  for (const command of [program, ...commands, ...commands.flatMap((each) => each.commands)]) {
    command.configureOutput({ writeOut: terminal.out, writeErr: terminal.error }).showHelpAfterError("(--help tells more)");
    command.exitOverride(({ exitCode }) => terminal.exit(exitCode === 0 ? exitCodes.ok : exitCodes.usage));
  }
  for (const command of commands) program.addCommand(command);
  program.addHelpText("after", exitCodesText);
}
