// What became of a response that an Envoy refused: who of many is at fault is found by sending them apart, the good ones go through,
// the bad one stays out and is taken back (DESIGN §8, "A refusal is contained").
// In: answers to what was sent, through type-stream.ts. Out: trials and repairs, and exceptions that say what the Envoy lacks.

import type { ResourceType } from "../model/resource-type.js";
import type { HttpRoute } from "../model/route.js";
import { changedParts } from "../snapshot/gateway-snapshot.js";
import type { Resource } from "../snapshot/resource.js";
import type { ResourceTable } from "../snapshot/resource-table.js";
import { maxSingles, Narrowing, splitRefused } from "./narrowing.js";
import { type Exception, ExceptionMap, formOf, type Known, knownBefore, type Refusal, type Sent } from "./sent.js";
import type { StreamView } from "./stream-view.js";
import { isListed } from "./subscription.js";

/** Said in Envoy's place until its own words come. */
export const unseenDetail =
  "Envoy did not take the cluster into use: it asked for the endpoints of others of the same response, not for this one's";
export const silentDetail = "Envoy neither accepted nor refused the change in time; it was put back, and will be tried again";

export const blockedDetail =
  "Envoy refuses the whole list for another member of it, whose last good form is not known since the control plane restarted";

/** How the type's stream sends for its refusals. */
export interface TrialWriter {
  /** Sends these alone (in a listed state of the world: with the rest of the list as the Envoy has it). */
  sendTrial(resources: readonly Resource[], before: ReadonlyMap<string, Known>, now: number): void;
  /** Puts back or removes, at once. */
  sendRepair(resources: readonly Resource[], removed: readonly string[], now: number): void;
  /** These go out again although they did not change. */
  force(names: Iterable<string>): void;
  /** State of the world: these are owed an answer, or the list is. */
  owe(names: readonly string[]): void;
  pending(): readonly Sent[];
  /** Whether a later response without an answer brings the name in another form: the answer to `sent` says nothing of it any more. */
  isReplaced(sent: Sent, name: string): boolean;
}

export class Refusals {
  readonly exceptions = new ExceptionMap();
  #queue: (readonly string[])[] = [];

  constructor(
    private readonly type: ResourceType,
    private readonly table: ResourceTable,
    private readonly view: StreamView,
    private readonly writer: TrialWriter,
  ) {}

  get isQueued(): boolean {
    return this.#queue.length > 0;
  }

  /** It waits for its turn to be sent apart, or for the answer to that. */
  isTried(name: string): boolean {
    const state = this.exceptions.get(name)?.state;
    return state === "queued" || state === "trying";
  }

  /** What this node refused on an earlier stream: the same bytes do not go out again. */
  recall(name: string, refusal: Refusal, now: number): void {
    this.exceptions.set(name, { state: "refused", has: this.exceptions.get(name)?.has, at: now, refusal });
  }

  /** State of the world: these clusters the Envoy has in some form, as it asks for their endpoints. */
  recallSeen(names: Iterable<string>): void {
    for (const name of names) {
      const exception = this.exceptions.get(name);
      if (exception?.state !== "refused" || exception.has !== undefined) continue;
      const has = this.table.formOtherThan(name, exception.refusal?.hash ?? "") ?? "unknown";
      this.exceptions.set(name, { ...exception, has });
    }
  }

  /** The Envoy took what `sent` brought. */
  accept(sent: Sent, now: number): void {
    if (this.exceptions.size === 0) return;
    for (const resource of sent.frame.resources) {
      const exception = this.exceptions.get(resource.name);
      if (!exception) continue;
      if (exception.trial && exception.state === "trying") {
        // An answer to what went out before the trial is none to the trial.
        if (sent.kind === "trial") this.#afterTrial(resource.name, exception, resource, true, now);
        else this.exceptions.set(resource.name, { ...exception, has: resource });
      } else if (exception.state === "trying") this.exceptions.set(resource.name, { state: "stale", has: resource, at: now });
      // It was only slow, and we took it for a refusal. What was put back meanwhile is what it has; the new form may go again.
      else if (exception.refusal?.hash === resource.hash && isOurVerdict(exception.refusal))
        this.exceptions.set(resource.name, { state: "stale", has: exception.has, at: now });
    }
  }

  /**
   * The Envoy refused what `sent` brought, or part of it. `detail` is its own text, to be shown and never parsed. `isCertain`: it may not be the
   * withheld refusal of a response before it, which in state of the world has no answer of its own (risks §5).
   */
  refuse(sent: Sent, detail: string, isCertain: boolean, now: number): void {
    if (sent.kind === "repair") return this.#refuseLate(detail, now);
    if (this.view.delta) this.#keepRemoved(sent, now); // In state of the world the next list lacks them, too.
    const suspects = sent.frame.resources.filter((resource) => this.#isSuspect(sent, resource));
    // A refused response of endpoints is refused whole: what was only sent again in it, for a cluster that warms, goes once more.
    if (this.type === "endpoint" && suspects.length > 0)
      this.writer.force(sent.frame.resources.filter((resource) => !suspects.includes(resource)).map(({ name }) => name));
    const onTrial = suspects.find((resource) => this.exceptions.get(resource.name)?.trial);
    if (suspects.length === 0) return this.#explain(detail);
    const exception = onTrial && this.exceptions.get(onTrial.name);
    if (onTrial && exception) {
      if (sent.kind === "trial") this.#afterTrial(onTrial.name, exception, onTrial, false, now);
      return; // An answer to what went out before the trial is none to the trial.
    }
    const [only] = suspects;
    // With a culprit known already, the rest is not at fault by elimination: it goes again, alone.
    const isKnown = sent.frame.resources.some((resource) => this.#isRefused(resource));
    if (isKnown) this.#explain(detail);
    if (isKnown && !this.view.delta && isListed(this.type)) return this.#wait(suspects, sent, now);
    if (only && suspects.length === 1 && !isKnown && isCertain)
      return this.#markRefused(only, this.#before(sent, only), detail, now);
    for (const resource of suspects) {
      const { refusal } = this.exceptions.get(resource.name) ?? {};
      this.exceptions.set(resource.name, { state: "queued", has: this.#before(sent, resource), at: now, refusal });
    }
    const names = suspects.map(({ name }) => name);
    // A cluster that failed when it was made is still in Envoy, and the same bytes would not fail again: it goes, and comes alone.
    if (this.type === "cluster") this.#repair(names, now);
    this.#queue.push(...splitRefused(names, !this.view.delta && isListed(this.type)));
  }

  /** State of the world: a later answer came instead of the one to `sent`. What was on trial in it is looked at anew. */
  supersede(sent: Sent, now: number): void {
    if (sent.kind !== "trial") return;
    for (const { name } of sent.frame.resources) {
      const exception = this.exceptions.get(name);
      if (exception?.state === "trying")
        this.exceptions.set(name, { state: "stale", has: exception.has, at: now, badForms: exception.badForms });
    }
  }

  /** Sends what waits to be tried: back to back in delta, one after the other in state of the world. */
  pump(now: number): void {
    if (this.#queue.length === 0) return;
    const atOnce = this.view.delta ? maxSingles : 1;
    const isOut = (sent: Sent) => !this.view.delta || sent.kind === "trial";
    while (this.#queue.length > 0 && this.writer.pending().filter(isOut).length < atOnce) {
      const before = new Map([...this.exceptions].map(([name, { has }]) => [name, has]));
      const resources: Resource[] = [];
      for (const name of this.#queue.shift() ?? []) {
        const exception = this.exceptions.get(name);
        const current = this.table.get(name);
        if (exception?.state !== "queued") continue;
        this.exceptions.set(name, { ...exception, state: current ? "trying" : "stale" });
        if (!current) continue;
        resources.push(current);
      }
      if (resources.length > 0) this.writer.sendTrial(resources, before, now);
    }
  }

  /** Delta, of an Envoy with a broken cluster stuck in it: one of those that it refused before may be the one. */
  takeOut(now: number): void {
    const names = [...this.exceptions].filter(([, { state, has }]) => state === "refused" && has === undefined);
    if (names.length > 0)
      this.#repair(
        names.map(([name]) => name),
        now,
      );
  }

  /** A cluster that Envoy holds without using it counts as refused, and goes: it would keep every answer back (envoy.md §6.2). */
  refuseUnseen(sent: Sent, names: readonly string[], now: number): void {
    for (const resource of sent.frame.resources) {
      if (names.includes(resource.name)) this.#setRefused(resource, undefined, unseenDetail, now);
    }
    this.#repair(names, now);
  }

  /** Changed clusters on which Envoy says nothing for too long go back to the form it had, so that its answers come again. */
  putBack(sent: Sent, now: number): void {
    const names: string[] = [];
    for (const resource of sent.frame.resources) {
      const before = this.#before(sent, resource);
      const exception = this.exceptions.get(resource.name);
      const isGoing = exception ? exception.state === "removing" : !this.table.get(resource.name);
      const isOpen = !exception || isGoing || (sent.kind === "trial" && exception.state === "trying");
      // A new one whose endpoints the Envoy asks for could be made; but not if it changed since, as it does not ask again.
      const isGood = before === undefined && !sent.reshaped.has(resource.name);
      if (isGood || !(sent.changed.has(resource.name) || sent.reshaped.has(resource.name)) || !isOpen) continue;
      if (this.table.get(resource.name) !== resource) {
        // Another form, or none, is wanted by now: on trial no more, it is looked at anew.
        // One that is to go may be in use until then, and must not keep the answers back: its last form serves meanwhile.
        if (isGoing) this.exceptions.set(resource.name, { state: "removing", at: now, dueAt: now, ...exception, has: before });
        else if (exception) this.exceptions.set(resource.name, { state: "stale", has: before, at: now });
        if (isGoing && before !== "unknown") names.push(resource.name);
        continue;
      }
      const refusal = {
        hash: resource.hash,
        revision: resource.revision,
        detail: silentDetail,
        count: 1,
        retryAt: now + this.view.times.refusalRetryMs,
      };
      this.exceptions.set(resource.name, { state: "unanswered", has: before, at: now, refusal });
      // What an earlier process gave it is not known, and goes on serving.
      if (before !== "unknown") names.push(resource.name);
    }
    if (names.length > 0) this.#repair(names, now);
  }

  /** The withheld refusal of what a repair took back (risks §5): who of those that were put back is at fault is still to be found. */
  #refuseLate(detail: string, now: number): void {
    this.#explain(detail);
    const names = [...this.exceptions]
      .filter(([, { state, refusal }]) => state === "unanswered" && refusal?.detail === silentDetail)
      .map(([name]) => name);
    for (const name of names) this.exceptions.set(name, { state: "queued", has: this.exceptions.get(name)?.has, at: now });
    if (names.length > 0) this.#queue.push(...splitRefused(names, !this.view.delta && isListed(this.type)));
  }

  /** State of the world: a list that must hold a refused form, as no other is known, is refused again whatever else it brings. */
  #wait(suspects: readonly Resource[], sent: Sent, now: number): void {
    for (const resource of suspects) {
      const { name, hash, revision } = resource;
      const refusal = { hash, revision, detail: blockedDetail, count: 1, retryAt: now + this.view.times.refusalRetryMs };
      this.exceptions.set(name, { state: "unanswered", has: this.#before(sent, resource), at: now, refusal });
    }
  }

  /** A response that is refused whole takes nothing away either. */
  #keepRemoved(sent: Sent, now: number): void {
    for (const name of sent.frame.removed) {
      if (this.exceptions.has(name) || this.writer.isReplaced(sent, name)) continue;
      const has = knownBefore(sent.before, name, this.table, sent.from);
      if (has !== undefined) this.exceptions.set(name, { state: "removing", has, at: now, dueAt: now });
    }
  }

  #isSuspect(sent: Sent, resource: Resource): boolean {
    if (this.exceptions.get(resource.name)?.state === "queued" || this.#isRefused(resource)) return false;
    if (this.writer.isReplaced(sent, resource.name)) return false;
    const before = this.#before(sent, resource);
    // A new cluster whose endpoints the Envoy has asked for is in it, and may carry traffic already.
    if (this.type === "cluster" && before === undefined && !sent.reshaped.has(resource.name) && this.view.isSeen(resource.name))
      return false;
    return formOf(before)?.hash !== resource.hash;
  }

  #isRefused(resource: Resource): boolean {
    const exception = this.exceptions.get(resource.name);
    return exception?.state === "refused" && exception.refusal?.hash === resource.hash;
  }

  /** What the Envoy had before `sent`: what is known since from an earlier refusal, unless that is this very form. */
  #before(sent: Sent, { name, hash }: Resource): Known {
    const exception = this.exceptions.get(name);
    if (exception && formOf(exception.has)?.hash !== hash) return exception.has;
    return knownBefore(sent.before, name, this.table, sent.from);
  }

  #markRefused(resource: Resource, before: Known, detail: string, now: number): void {
    if (this.type === "route" && resource.parts) {
      // Of an Envoy whose routes are not known, none is left out to find the culprit: it may be live.
      if (before !== "unknown") return this.#tryParts(resource, resource.parts, before, detail, now);
    }
    this.#setRefused(resource, before, detail, now);
    this.#repair([resource.name], now);
  }

  #setRefused(resource: Resource, has: Known, detail: string, now: number): void {
    const earlier = this.view.earlierRefusal(this.type, resource.name);
    const count = earlier?.hash === resource.hash ? earlier.count + 1 : 1;
    const waitMs = Math.min(this.view.times.refusalRetryMs * 2 ** (count - 1), this.view.times.maxRefusalRetryMs);
    // Only a listener's refusal may depend on the machine (its port), and the text is not to be trusted to tell. A verdict of ours may be wrong.
    const mayChange = this.type === "listener" || detail === unseenDetail;
    const refusal = {
      hash: resource.hash,
      revision: resource.revision,
      detail,
      count,
      retryAt: mayChange ? now + waitMs : Number.POSITIVE_INFINITY,
    };
    this.exceptions.set(resource.name, { state: "refused", has, at: now, refusal });
    this.view.onRefused(this.type, resource.name, refusal);
  }

  /** Envoy says late why it kept silent: its own words replace ours. */
  #explain(detail: string): void {
    for (const [name, exception] of this.exceptions) {
      if (exception.state !== "refused" || exception.refusal?.detail !== unseenDetail) continue;
      const refusal = { ...exception.refusal, detail, retryAt: Number.POSITIVE_INFINITY };
      this.exceptions.set(name, { ...exception, refusal });
      this.view.onRefused(this.type, name, refusal);
    }
  }

  /** Takes refused clusters out of Envoy at once: left there, one stays warming, and no answer comes any more. */
  #repair(names: readonly string[], now: number): void {
    if (!this.view.delta) return this.writer.owe(names);
    if (this.type !== "cluster" && this.type !== "endpoint") return;
    const resources: Resource[] = [];
    const removed: string[] = [];
    for (const name of names) {
      const has = this.exceptions.get(name)?.has;
      if (has === undefined) removed.push(name);
      else if (has !== "unknown") resources.push(has); // Endpoints too: their cluster may be warming, and would wait for them for ever.
    }
    if (resources.length + removed.length > 0) this.writer.sendRepair(resources, removed, now);
  }

  // ---- Routes of one RouteConfiguration ------------------------------------------------------------------------------

  #tryParts(
    resource: Resource,
    parts: ReadonlyMap<string, HttpRoute>,
    before: Resource | undefined,
    detail: string,
    now: number,
  ): void {
    const suspects = (changedParts(before, resource) ?? [...parts.keys()]).filter((name) => parts.has(name));
    if (suspects.length === 0) return this.#setRefused(resource, before, detail, now);
    this.exceptions.set(resource.name, {
      state: "trying",
      has: before,
      at: now,
      badForms: this.exceptions.get(resource.name)?.badForms,
      trial: { base: resource, before, narrowing: new Narrowing(suspects), detail },
    });
    this.#nextTrial(resource.name, now);
  }

  #afterTrial(name: string, exception: Exception, tried: Resource, isGood: boolean, now: number): void {
    if (isGood) exception.trial?.narrowing.accepted();
    else exception.trial?.narrowing.refused();
    this.exceptions.set(name, { ...exception, has: isGood ? tried : exception.has });
    this.#nextTrial(name, now);
  }

  #nextTrial(name: string, now: number): void {
    const exception = this.exceptions.get(name);
    const trial = exception?.trial;
    if (!exception || !trial) return;
    if (trial.narrowing.trial) {
      const overrides = new Map(trial.narrowing.keptBack.map((route) => [route, trial.before?.parts?.get(route)]));
      const variant = this.view.snapshots.routeVariant(trial.base, overrides);
      if (variant) return this.writer.sendTrial([variant], new Map([[name, exception.has]]), now);
    }
    const badForms = new Map(exception.badForms);
    for (const route of trial.narrowing.bad) {
      const form = trial.base.parts?.get(route);
      if (form) badForms.set(route, { form, revision: trial.base.revision, detail: trial.detail });
    }
    const refusal: Refusal = {
      hash: "",
      revision: trial.base.revision,
      detail: trial.detail,
      count: 1,
      retryAt: Number.POSITIVE_INFINITY,
    };
    this.exceptions.set(name, {
      state: badForms.size > 0 ? "refused" : "stale",
      has: exception.has,
      at: now,
      refusal,
      badForms,
      keptBack: [...badForms.keys()],
    });
    if (badForms.size > 0) this.view.onRefused(this.type, name, refusal);
  }
}

/** The Envoy itself has said nothing: the verdict is ours, and its answer may still overturn it. */
function isOurVerdict(refusal: Refusal): boolean {
  return refusal.detail === unseenDetail || refusal.detail === silentDetail;
}
