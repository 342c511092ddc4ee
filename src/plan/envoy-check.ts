// One run of `envoy --mode validate`, bounded in time and in processes. In: a bootstrap. Out: what Envoy said of it.
// The Envoy gets none of our environment (it holds the database's password), and its files are ours alone. Called by validate.ts.
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What one run came to. */
export type Checked =
  | { readonly kind: "accepted" }
  /** `detail`: Envoy's own words. */
  | { readonly kind: "refused"; readonly detail: string }
  /** It ended by a fault of its own: what it was given would do that to a fleet, too. */
  | { readonly kind: "crashed"; readonly detail: string }
  /** Nothing is known: `late` in time, `busy` with others, or it could not be run. */
  | { readonly kind: "unknown"; readonly reason: "late" | "busy" | "failed"; readonly detail: string };

/** Where the Envoy is, and the limits of running it. */
export interface EnvoyCheckOptions {
  readonly binary: string;
  /** Runs at once; more wait. */
  readonly maxProcesses: number;
  /** Runs that wait for their turn; one more is `busy`. */
  readonly maxWaiting?: number;
}

/** Letters of Envoy's words that are kept. */
const maxDetailLength = 2_000;
const maxOutputBytes = 1024 * 1024;
const standardMaxWaiting = 100;
/** What a dynamic binary and its temporary files may need. */
const passedOn = ["PATH", "LD_LIBRARY_PATH", "TMPDIR"] as const;
/** Signals by which a program ends that broke its own rules. SIGKILL is not among them: that is the machine, or us. */
const crashSignals: readonly string[] = ["SIGABRT", "SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP", "SIGSYS"];

/** Runs Envoys, a few at once. */
export class EnvoyCheck {
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #abort = new AbortController();

  constructor(private readonly options: EnvoyCheckOptions) {}

  /** Runs that are under way or wait. */
  get load(): number {
    return this.#running + this.#waiting.length;
  }

  /** What `envoy --version` says: `1.40.0`, or the reason why it can't be run. */
  async version(timeoutMs: number): Promise<{ readonly version: string } | { readonly fault: string }> {
    const ran = await this.#run(["--version"], timeoutMs);
    const version = /version: [0-9a-f]+\/([^/]+)\//.exec(ran.output)?.[1];
    if (ran.code === 0) return { version: version ?? "unknown" };
    return { fault: ran.late ? `\`envoy --version\` took longer than ${timeoutMs} ms` : ran.fault };
  }

  /** `deadline` is on the clock of performance.now(); waiting for a turn counts. */
  async check(bootstrap: Buffer, deadline: number): Promise<Checked> {
    const { maxProcesses, maxWaiting = standardMaxWaiting } = this.options;
    if (this.#running >= maxProcesses && this.#waiting.length >= maxWaiting)
      return {
        kind: "unknown",
        reason: "busy",
        detail: `${maxWaiting} checks wait for the ${maxProcesses} that may run at once`,
      };
    if (!(await this.#turn(deadline))) return { kind: "unknown", reason: "late", detail: "no turn came in time" };
    try {
      return await this.#check(bootstrap, deadline);
    } catch (error) {
      // The temporary files: a full disk, a folder that is not there.
      return { kind: "unknown", reason: "failed", detail: error instanceof Error ? error.message : String(error) };
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  /** Ends runs that are under way; they are `unknown`. */
  close(): void {
    this.#abort.abort();
  }

  /** False when the time is over first. */
  async #turn(deadline: number): Promise<boolean> {
    if (this.#running >= this.options.maxProcesses) {
      const isMyTurn = await new Promise<boolean>((resolve) => {
        const go = (): void => {
          clearTimeout(timer);
          resolve(true);
        };
        const timer = setTimeout(() => {
          this.#waiting.splice(this.#waiting.indexOf(go), 1);
          resolve(false);
        }, deadline - performance.now());
        this.#waiting.push(go);
      });
      if (!isMyTurn) return false;
    }
    this.#running += 1;
    return true;
  }

  async #check(bootstrap: Buffer, deadline: number): Promise<Checked> {
    const folder = await mkdtemp(join(tmpdir(), "chancery-validate-"));
    const file = join(folder, "bootstrap.pb");
    try {
      await writeFile(file, bootstrap, { mode: 0o600 });
      const flags = ["--mode", "validate", "--concurrency", "1", "--log-level", "error", "--log-format", "%v"];
      const ran = await this.#run([...flags, "-c", file], Math.max(1, deadline - performance.now()));
      if (ran.code === 0) return { kind: "accepted" };
      if (ran.late) return { kind: "unknown", reason: "late", detail: "Envoy took too long" };
      const detail = wordsOf(ran.output, file);
      if (ran.signal !== undefined && crashSignals.includes(ran.signal))
        return { kind: "crashed", detail: `Envoy crashed on it (${ran.signal})${detail === "" ? "" : `: ${detail}`}` };
      if (ran.code === 1 && detail !== "") return { kind: "refused", detail };
      return { kind: "unknown", reason: "failed", detail: [ran.fault, detail].filter((text) => text !== "").join(": ") };
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  }

  #run(args: readonly string[], timeoutMs: number): Promise<Ran> {
    const env = Object.fromEntries(passedOn.flatMap((key) => (process.env[key] === undefined ? [] : [[key, process.env[key]]])));
    const started = performance.now();
    return new Promise((resolve) => {
      const options = {
        env,
        timeout: Math.ceil(timeoutMs),
        killSignal: "SIGKILL", // An Envoy that builds a ring of 8 million entries does not look at SIGTERM.
        maxBuffer: maxOutputBytes,
        signal: this.#abort.signal,
        windowsHide: true,
      } as const;
      execFile(this.options.binary, args, options, (error, stdout, stderr) => {
        if (!error) return resolve({ code: 0, signal: undefined, late: false, output: `${stdout}${stderr}`, fault: "" });
        resolve({
          code: typeof error.code === "number" ? error.code : undefined,
          signal: error.signal ?? undefined,
          late: error.killed === true && performance.now() - started >= timeoutMs,
          output: args[0] === "--version" ? stdout : stderr,
          fault: faultOf(error),
        });
      });
    });
  }
}

interface Ran {
  readonly code: number | undefined;
  readonly signal: string | undefined;
  readonly late: boolean;
  readonly output: string;
  readonly fault: string;
}

function faultOf(error: { readonly code?: unknown; readonly signal?: unknown }): string {
  if (typeof error.code === "string") return `it can't be run (${error.code})`;
  return error.signal ? `it was ended by ${String(error.signal)}` : `it ended with exit code ${String(error.code)}`;
}

/** Without the name of our own temporary file, and in one line where Envoy broke it. */
function wordsOf(output: string, file: string): string {
  return output
    .replaceAll(`error initializing configuration '${file}': `, "")
    .replaceAll(file, "the configuration")
    .replaceAll(/\s*\n\s*/g, " ")
    .replaceAll(/\s{2,}/g, " ")
    .trim()
    .slice(0, maxDetailLength);
}
