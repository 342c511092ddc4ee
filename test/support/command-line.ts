// A command as a person types it, within the test's own process. In: words. Out: what it printed, as it goes, and its exit code.
import { Command } from "commander";
import { registerCommands } from "../../src/cli/commands.js";

export interface RunningCommand {
  /** So far. */
  readonly out: string;
  readonly error: string;
  /** Resolves with the exit code. */
  readonly ended: Promise<number>;
  /** As if its reader had gone. */
  close(): void;
}

class Left extends Error {
  constructor(readonly code: number) {
    super(`left with ${code}`);
  }
}

export function startCommand(words: readonly string[]): RunningCommand {
  const said = { out: "", error: "" };
  const closed = new AbortController();
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
    close: () => closed.abort(),
  };
}

/** The same, to its end. */
export async function runCommand(
  words: readonly string[],
): Promise<{ readonly out: string; readonly error: string; readonly code: number }> {
  const command = startCommand(words);
  const code = await command.ended;
  return { out: command.out, error: command.error, code };
}
