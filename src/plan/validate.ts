// Validation by the real Envoy: what a write would make of the configuration is shown to an Envoy before it is committed.
// In: the changes of a write. Out: a verdict, in Envoy's own words. Without a binary it is off, and says so.
// Only what changes is asked about, with what it needs (selection.ts); verdicts are kept by content, so the same is asked once.
// Called by api/ in each write, and for plans.
import { createHash } from "node:crypto";
import type { DesiredState } from "../model/desired-state.js";
import type { Change } from "../model/revision.js";
import type { Logger } from "../telemetry/logger.js";
import type { Metrics } from "../telemetry/metrics.js";
import { type Answer, findCulprit } from "./culprit.js";
import { type Checked, EnvoyCheck } from "./envoy-check.js";
import { renderBootstrap } from "./rendering.js";
import { type ObjectName, type Selection, selectChanged, selectOnly, suspectsOf } from "./selection.js";
import { StateAfter } from "./state-after.js";

/** Where the Envoy is and what bounds it. Times in ms. */
export interface ValidatorOptions {
  /** Path of an Envoy, as near to the fleet's version as can be; undefined: validation is off. */
  readonly binary: string | undefined;
  /** How long one write may be looked at, the search for who is at fault included. */
  readonly timeoutMs: number;
  readonly maxProcesses: number;
  /** Verdicts that are remembered; beyond it the oldest goes. */
  readonly maxVerdicts: number;
  /** Refuse writes about which nothing could be found out, in place of letting them through. */
  readonly required: boolean;
  /** The configuration that this replica serves; undefined until the first load. */
  readonly state: () => DesiredState | undefined;
  /** Resolves when this replica has what was committed before; false: the database can't be asked. */
  readonly whenFresh: () => Promise<boolean>;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** What a plan says of a write: the check's verdict as JSON. */
export type PlannedValidation = "passed" | "off" | Readonly<Record<string, unknown>>;

/** What is known of a write. */
export type Verdict =
  | { readonly kind: "passed" }
  /** `object`: who is at fault, where that can be told. `detail`: Envoy's own words. */
  | { readonly kind: "refused"; readonly detail: string; readonly object: ObjectName | undefined }
  /** Nothing is: the time was over, too many were asked about, it could not be run, or no state is loaded. */
  | { readonly kind: "unknown"; readonly reason: "late" | "busy" | "failed" | "starting"; readonly detail: string }
  | { readonly kind: "off" };

/** Whether writes are validated; what /readyz shows. */
export type ValidationState =
  | { readonly state: "on"; readonly envoyVersion: string }
  /** `reason` in words. */
  | { readonly state: "off"; readonly reason: string };

const noBinary: ValidationState = { state: "off", reason: "no Envoy is configured (CHANCERY_ENVOY_BIN)" };
const versionTimeoutMs = 10_000;
/** An Envoy takes a bootstrap with nothing in it. One that does not is broken, and so are its refusals. */
const emptyBootstrap = Buffer.alloc(0);

type Settled = Extract<Verdict, { readonly kind: "passed" | "refused" }>;

/** Asks the real Envoy. One per process. */
export class Validator {
  readonly #check: EnvoyCheck | undefined;
  #state: ValidationState = noBinary;
  /** SHA-256 of a bootstrap → what Envoy said; the oldest first. */
  readonly #verdicts = new Map<string, Settled>();
  /** The same, of those being asked about. */
  readonly #asked = new Map<string, Promise<Verdict>>();
  #starting: Promise<void> | undefined;

  constructor(private readonly options: ValidatorOptions) {
    if (options.binary !== undefined)
      this.#check = new EnvoyCheck({ binary: options.binary, maxProcesses: options.maxProcesses });
    if (this.#check) this.#state = { state: "off", reason: "the Envoy has not been tried yet" };
  }

  /** What /readyz says. */
  get state(): ValidationState {
    return this.#state;
  }
  /** False: every verdict would be `off`, and may be. */
  get isAsked(): boolean {
    return this.isRequired || this.#starting !== undefined || this.#state.state === "on";
  }
  /** A write without a verdict is refused. */
  get isRequired(): boolean {
    return this.options.required;
  }

  /** Finds out whether the Envoy runs; writes wait for it. Never throws: without it validation is off, and says so. */
  async start(): Promise<void> {
    if (!this.#check) return;
    this.#starting = this.#try(this.#check);
    await this.#starting;
    this.#starting = undefined;
  }

  async #try(check: EnvoyCheck): Promise<void> {
    const found = await check.version(versionTimeoutMs);
    const empty = "fault" in found ? undefined : await check.check(emptyBootstrap, performance.now() + versionTimeoutMs);
    if (!("fault" in found) && empty?.kind === "accepted") {
      this.#state = { state: "on", envoyVersion: found.version };
      this.options.log.info({ envoyVersion: found.version }, "writes are validated by a real Envoy");
      return;
    }
    const reason = "fault" in found ? found.fault : empty && "detail" in empty ? empty.detail : "it does not run";
    this.#state = { state: "off", reason: `the configured Envoy can't be used: ${reason}` };
    this.options.log.warn({ reason }, "validation by a real Envoy is off: the configured one can't be used");
  }

  /** Ends what is under way. */
  close(): void {
    this.#check?.close();
  }

  /** What a real Envoy says of the configuration after these changes. Changes that render to nothing pass. */
  async judge(changes: readonly Change[]): Promise<Verdict> {
    const { log, metrics } = this.options;
    await this.#starting;
    if (!this.#check || this.#state.state === "off") return { kind: "off" };
    const startedAt = performance.now();
    const verdict = await this.#judge(this.#check, changes, startedAt + this.options.timeoutMs);
    const seconds = (performance.now() - startedAt) / 1000;
    metrics.observe("validation_seconds", { outcome: verdict.kind }, seconds);
    metrics.count("validations_total", { outcome: verdict.kind === "unknown" ? verdict.reason : verdict.kind });
    if (verdict.kind === "unknown")
      log.warn({ reason: verdict.reason, detail: verdict.detail }, "a write could not be validated");
    return verdict;
  }

  /** The same for a plan, which tells it and never fails for it. */
  async describe(changes: readonly Change[]): Promise<PlannedValidation> {
    const verdict = await this.judge(changes);
    if (verdict.kind === "passed" || verdict.kind === "off") return verdict.kind;
    return { ...verdict };
  }

  async #judge(check: EnvoyCheck, changes: readonly Change[], deadline: number): Promise<Verdict> {
    // What the write refers to may have been committed by another replica just now.
    await within(this.options.whenFresh(), deadline);
    const state = this.options.state();
    if (!state) return { kind: "unknown", reason: "starting", detail: "no state is loaded yet" };
    // The search below looks at the live state again; that other objects move on meanwhile does not matter to it.
    const after = new StateAfter(state, changes);
    const selection = selectChanged(after, changes);
    const whole = render(after, selection);
    if (whole === undefined) return { kind: "passed" };
    const suspects = suspectsOf(selection, changes);
    const part = (some: readonly ObjectName[]): Rendered => render(after, selectOnly(after, some));
    if (!Buffer.isBuffer(whole)) {
      const ask = async (some: readonly ObjectName[]): Promise<Answer> => (isUntranslatable(part(some)) ? "refused" : "accepted");
      return { kind: "refused", detail: whole.untranslatable, object: await findCulprit(suspects, ask) };
    }
    return this.#once(whole, () => this.#ask(check, whole, suspects, part, deadline));
  }

  /** Asks about the same content once, also when it is asked for twice at the same time. */
  async #once(bootstrap: Buffer, ask: () => Promise<Verdict>): Promise<Verdict> {
    const key = createHash("sha256").update(bootstrap).digest("hex");
    const known = this.#verdicts.get(key);
    if (known) {
      this.#verdicts.delete(key); // Used lately, so it goes to the end of those to be forgotten.
      this.#verdicts.set(key, known);
      return known;
    }
    const asked = this.#asked.get(key);
    if (asked) return asked;
    const asking = ask().finally(() => this.#asked.delete(key));
    this.#asked.set(key, asking);
    const verdict = await asking;
    if (verdict.kind === "passed" || verdict.kind === "refused") this.#remember(key, verdict);
    return verdict;
  }

  #remember(key: string, verdict: Settled): void {
    this.#verdicts.set(key, verdict);
    for (const oldest of this.#verdicts.keys()) {
      if (this.#verdicts.size <= this.options.maxVerdicts) break;
      this.#verdicts.delete(oldest);
    }
  }

  async #ask(
    check: EnvoyCheck,
    whole: Buffer,
    suspects: readonly ObjectName[],
    part: (some: readonly ObjectName[]) => Rendered,
    deadline: number,
  ): Promise<Verdict> {
    const checked = await check.check(whole, deadline);
    if (checked.kind === "accepted") return { kind: "passed" };
    if (checked.kind === "unknown") return checked;
    // A full disk or a broken installation refuses everything: a refusal counts if the same Envoy takes an empty configuration now.
    const empty = await check.check(emptyBootstrap, Math.max(deadline, performance.now() + 1_000));
    if (empty.kind !== "accepted")
      return { kind: "unknown", reason: "failed", detail: `Envoy refuses even an empty configuration: ${checked.detail}` };
    let detail = checked.detail;
    const object = await findCulprit(suspects, async (some) => {
      const bootstrap = part(some);
      if (!Buffer.isBuffer(bootstrap)) return "accepted";
      const answer: Checked = await check.check(bootstrap, deadline);
      if (answer.kind === "unknown") return "unknown";
      if (answer.kind === "accepted") return "accepted";
      detail = answer.detail; // Of fewer objects, so nearer to the cause.
      return "refused";
    });
    return { kind: "refused", detail: object ? detail : checked.detail, object };
  }
}

/** Bytes, nothing, or why the resources can't be made: then no Envoy would ever get them. */
type Rendered = Buffer | undefined | { readonly untranslatable: string };

/** Resolves with the promise, or when the time is over. */
async function within(promise: Promise<unknown>, deadline: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((done) => {
    timer = setTimeout(done, Math.max(0, deadline - performance.now()));
  });
  await Promise.race([promise, over]).finally(() => clearTimeout(timer));
}

function isUntranslatable(rendered: Rendered): boolean {
  return rendered !== undefined && !Buffer.isBuffer(rendered);
}

function render(after: StateAfter, selection: Selection): Rendered {
  try {
    return renderBootstrap(after, selection);
  } catch (error) {
    return { untranslatable: `it can't be translated: ${error instanceof Error ? error.message : String(error)}` };
  }
}
