// Ends what this process started, should this process die without a chance to do so itself (kill -9, out of memory).
// A shell of 1 MB reads from a pipe that only we hold: its end is our death. In: pids to keep an eye on. Called by up.ts and tests.
import { spawn } from "node:child_process";

/** How a process is asked to end. */
export type EndSignal = "TERM" | "INT";

/** Outlives us by a moment. */
export interface Keeper {
  /** From now on the process ends with us. INT is what makes Postgres end without waiting for its clients. */
  keep(pid: number, signal: EndSignal): void;
  /** It has ended: its number may be another process's soon. */
  release(pid: number): void;
  /** Nothing is kept any more. */
  close(): void;
}

/** Lines `keep <signal> <pid>` and `release <pid>` come in; after the last one everything kept is ended, gently and then not. */
const script = `
kept=""
without() { rest=""; for each in $kept; do case "$each" in *:"$1") ;; *) rest="$rest $each" ;; esac; done; kept="$rest"; }
while read -r verb first second; do
  case "$verb" in
    keep) without "$second"; kept="$kept $first:$second" ;;
    release) without "$first" ;;
  esac
done
[ -z "$kept" ] && exit 0
for each in $kept; do kill -"\${each%%:*}" "\${each##*:}" 2>/dev/null; done
sleep 3
for each in $kept; do kill -KILL "\${each##*:}" 2>/dev/null; done
exit 0
`;

/** In a session of its own: a Ctrl-C in the terminal must not end it before us. */
export function startKeeper(): Keeper {
  const shell = spawn("/bin/sh", ["-c", script], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  shell.on("error", () => undefined); // No shell here: everything works, only a kill -9 of us leaves things behind.
  shell.stdin.on("error", () => undefined);
  shell.unref();
  const tell = (line: string) => void shell.stdin.write(`${line}\n`);
  return {
    keep: (pid, signal) => tell(`keep ${signal} ${pid}`),
    release: (pid) => tell(`release ${pid}`),
    close: () => void shell.stdin.end(),
  };
}
