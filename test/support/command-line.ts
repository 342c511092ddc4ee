// A command as a person types it, within the test's own process. In: words. Out: what it printed, as it goes, and its exit code.
import { Command } from "commander";
import { registerCommands } from "../../src/cli/commands.js";

export interface RunningCommand {
  /** So far. */
  readonly out: string;
  readonly error: string;
  /** Resolves with the exit code. */
  readonly ended: Promise<number>;
  /** The same with all that it printed. */
  readonly done: Promise<FinishedCommand>;
  /** As if its reader had gone. */
  close(): void;
  /** Ctrl-C. */
  interrupt(): void;
}

/** A command that has come to its end. */
export interface FinishedCommand {
  readonly out: string;
  readonly error: string;
  readonly code: number;
}

class Left extends Error {
  constructor(readonly code: number) {
    super(`left with ${code}`);
  }
}

export function startCommand(words: readonly string[]): RunningCommand {
  const said = { out: "", error: "" };
  const closed = new AbortController();
  let interrupt = (): void => {};
  const program = new Command("chancery");
  registerCommands(program, {
    out: (text) => {
      said.out += text;
    },
    error: (text) => {
      said.error += text;
    },
    exit: (left) => {
      throw new Left(left);
    },
    whenClosed: () => closed.signal,
    onInterrupt: (callback) => {
      interrupt = callback;
      return () => {};
    },
  });
  const ended = program.parseAsync([...words], { from: "user" }).then(
    () => 0,
    (thrown: unknown) => {
      if (thrown instanceof Left) return thrown.code;
      throw thrown;
    },
  );
  return {
    get out() {
      return said.out;
    },
    get error() {
      return said.error;
    },
    ended,
    done: ended.then((code) => ({ ...said, code })),
    close: () => closed.abort(),
    interrupt: () => interrupt(),
  };
}

/** The same, to its end. */
export function runCommand(words: readonly string[]): Promise<FinishedCommand> {
  return startCommand(words).done;
}
