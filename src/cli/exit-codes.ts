// What a command's exit code says to a script. The README lists them.

/** Stable: scripts branch on them. */
export const exitCodes = {
  /** All that was asked for is done. */
  ok: 0,
  /** Refused by the control plane or by an Envoy, failed, or not confirmed in time. */
  failed: 1,
  /** The command line, or a file that it names, is wrong; nothing was sent. */
  usage: 2,
  /** The control plane, or its database, can't be reached: the same command may work later. */
  away: 3,
  /** An Envoy refused it, and what was there before is back, as was asked for (--on-refusal rollback). */
  restored: 4,
  /** What was begun goes on by itself, and is not at its end: it is not safe to stop yet. */
  goesOn: 5,
} as const;

/** One of them. */
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

/** A failure of a command, with the words for people. The message is printed as it is. */
export class CommandError extends Error {
  constructor(
    readonly exitCode: ExitCode,
    message: string,
    cause?: unknown,
  ) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "CommandError";
  }
}
