// One type on one stream: what was asked, sent and answered. Delta and state of the world differ in lists and versions alone.
// In: requests and publications, through node-stream.ts. Out: frames. Its state is one Seq and the exceptions, not a map of all names.
import type { ResourceType } from "../model/resource-type.js";
import { hashOfVersion, type Resource, type Seq } from "../snapshot/resource.js";
import type { ResourceTable } from "../snapshot/resource-table.js";
import { decide } from "./decision.js";
import { effectiveList, effectiveVersion } from "./effective-list.js";
import { InFlight } from "./in-flight.js";
import { NameSet } from "./name-set.js";
import { placeholder } from "./placeholder.js";
import { Refusals, type TrialWriter } from "./refusals.js";
import { decodeNames, type Request } from "./request.js";
import { deltaContent, type Frame, sotwContent, toFrame } from "./response.js";
import { onlyOther, resume } from "./resume.js";
import { type Before, type ExceptionMap, formOf, type Known, type Sent } from "./sent.js";
import { type Asked, sharedFrames } from "./shared-frames.js";
import type { StreamView } from "./stream-view.js";
import { isListed, Subscription } from "./subscription.js";

/** What one pass over the names found to send. */
interface Draft {
  readonly before: Map<string, Known>;
  readonly resources: Resource[];
  readonly removed: string[];
}

export class TypeStream implements TrialWriter {
  readonly subscription: Subscription;
  readonly refusals: Refusals;
  readonly inFlight: InFlight;
  #sent: Seq = 0;
  #owed: Asked | undefined;
  readonly #forced = new Set<string>();
  /** State of the world: the list must go out although the table did not change. */
  #listDue = false;
  /** State of the world: it must go out at once, as it takes a broken cluster back. */
  #repairDue = false;
  /** State of the world, after a reconnect with another version: what the Envoy has is not known until the list has gone out. */
  #isStrange = false;
  /** Name with an exception → where the stream stood before the first change that the Envoy lacks. */
  readonly #heldFrom = new Map<string, Seq>();

  constructor(
    readonly type: ResourceType,
    readonly table: ResourceTable,
    private readonly view: StreamView,
  ) {
    this.subscription = new Subscription(type);
    this.refusals = new Refusals(type, table, view, this);
    this.inFlight = new InFlight(type, table, view.delta);
  }

  get exceptions(): ExceptionMap {
    return this.refusals.exceptions;
  }
  /** State of the world, after a reconnect with another version: the Envoy may have what we don't know of. */
  get isStrange(): boolean {
    return this.#isStrange;
  }
  /** Everything up to here has gone out, apart from the exceptions. */
  get sent(): Seq {
    return this.#sent;
  }
  /** Everything up to here is answered, apart from the exceptions. */
  get acked(): Seq {
    return this.#isStrange ? 0 : this.inFlight.ackedOf(this.#sent);
  }
  /** Clusters: the Envoy took the endpoints of these. */
  endpointsAcked(names: readonly string[]): void {
    for (const name of names) this.inFlight.use(name);
  }
  isReplaced(sent: Sent, name: string): boolean {
    return this.inFlight.isReplaced(sent, name);
  }
  pending(): readonly Sent[] {
    return this.inFlight.pending;
  }
  /** Nothing is on its way, owed, or to be tried apart. */
  get isQuiet(): boolean {
    return this.inFlight.pending.length === 0 && this.#owed === undefined && !this.refusals.isQueued;
  }
  /** Whether an answer about the name is yet to come, or it is still to be sent. */
  isUnderWay(name: string): boolean {
    const isOwed = this.#owed === "all" ? this.subscription.includes(name) : this.#owed?.has(name);
    return isOwed || this.refusals.isTried(name) || this.inFlight.isPending(name);
  }

  // ---- Requests ------------------------------------------------------------------------------------------------------

  receive(request: Request, now: number): void {
    const isFirst = !this.subscription.isAsked;
    if (request.nonce !== "") this.#answer(request.nonce, request.refusal, now);
    if (this.view.delta) {
      this.#owe(this.subscription.updateDelta(request));
      if (request.initialVersions.size > 0) this.#resume(request.initialVersions, now);
    } else {
      const { owed, isChanged } = this.subscription.updateSotw(request);
      if (isFirst && request.version !== "") this.#resumeList(request.version, now);
      else if (owed !== undefined) this.#owe(owed);
      else if (isChanged && isListed(this.type)) this.#listDue = true;
    }
    if (request.unsubscribe.count > 0)
      for (const name of decodeNames(request.unsubscribe))
        if (!this.subscription.includes(name)) this.refusals.exceptions.delete(name);
  }

  /** An Envoy that asks for everything but clusters has a broken one stuck in it: it gets them unasked. `seen` it has in some form (DESIGN §8). */
  assumeAsked(seen: Iterable<string>, now: number): void {
    this.subscription.assumeWildcard();
    this.#owed = "all";
    for (const name of seen) {
      const current = this.table.get(name);
      // Of what it has, the form before this one is the best guess: needed only to put it back.
      const has = current ? (this.table.formOtherThan(name, current.hash) ?? "unknown") : "unknown";
      this.refusals.exceptions.set(name, { state: current ? "stale" : "removing", has, at: now, dueAt: now });
    }
  }

  /** These go out again although they did not change. */
  force(names: Iterable<string>): void {
    for (const name of names) if (this.subscription.includes(name)) this.#forced.add(name);
  }

  /** Delta reconnect: what the Envoy says it has is compared by hash; equal needs nothing. */
  #resume(versions: ReadonlyMap<string, string>, now: number): void {
    const { isWildcard, names } = this.subscription;
    const all: Iterable<string> = isWildcard ? new Set([...this.table.names(), ...versions.keys()]) : names;
    const variantOf = (name: string) => this.view.rememberedVariant(name);
    const pastForm = (name: string, hash: string) => this.view.pastForm(this.type, name, hash);
    const graceEnd = now + this.view.times.removalGraceMs;
    const { same, exceptions, unanswered } = resume(this.type, this.table, all, versions, variantOf, pastForm, graceEnd, now);
    for (const resource of same) this.inFlight.assume(resource);
    for (const [name, exception] of exceptions) this.refusals.exceptions.set(name, exception);
    this.#owed = unanswered.length > 0 && !isWildcard ? NameSet.of(unanswered) : undefined;
    this.#sent = this.table.seq;
  }

  /** State-of-the-world reconnect: one version for everything asked for. */
  #resumeList(version: string, now: number): void {
    const shared = sharedFrames(this.table);
    if (hashOfVersion(version) === hashOfVersion(shared.version(this.subscription.asked))) {
      this.#sent = this.table.seq;
      this.inFlight.assumeAll((name) => this.subscription.includes(name));
      return;
    }
    this.#isStrange = true;
    this.#listDue = isListed(this.type);
    if (this.#listDue) return;
    const { names } = this.subscription;
    const only = onlyOther(this.table, names, version, (name, hash) => this.view.pastForm(this.type, name, hash));
    for (const name of names) {
      const current = this.table.get(name);
      if (only && name !== only.name && current) this.inFlight.assume(current);
      else this.refusals.exceptions.set(name, { state: "stale", has: name === only?.name ? only : "unknown", at: now });
    }
  }

  #owe(asked: Asked | undefined): void {
    if (asked === undefined || this.#owed === "all") return;
    this.#owed = asked === "all" || !this.#owed ? asked : NameSet.of([...this.#owed, ...asked]);
  }

  #answer(nonce: string, refusal: string | undefined, now: number): void {
    const isTaken = (sent: Sent): boolean => refusal === undefined || sent.kind === "repair";
    const answer = this.inFlight.answer(nonce, isTaken);
    if (!answer) return; // Stale: what it asks for is read all the same.
    const { sent, superseded } = answer;
    for (const earlier of superseded) this.refusals.supersede(earlier, now);
    if (refusal === undefined) this.refusals.accept(sent, now);
    else this.refusals.refuse(sent, refusal, superseded.length === 0, now);
    if (isTaken(sent)) {
      this.inFlight.confirm(sent);
      this.inFlight.forget(sent.frame.removed);
      this.view.onAccepted(this.type, sent, now);
    }
    if (!this.view.delta && isListed(this.type) && sent.kind === "trial") this.#listDue = true;
  }

  // ---- Sending -------------------------------------------------------------------------------------------------------

  /** Sends what is due, if anything may go now. */
  pump(now: number): void {
    if (!this.subscription.isAsked) return;
    if (!this.#repairDue) this.refusals.pump(now);
    const blocking = this.inFlight.newest(this.view.delta);
    if (blocking && !this.#repairDue && now - blocking.at < this.view.times.inFlightOverrideMs) return;
    if (!this.#isShared(now)) this.#sendOwn(now);
    else if (this.view.delta) this.#sendSharedDelta(now);
    else this.#sendSharedSotw(now);
  }

  /** It was asked for, the table has not moved on, nothing is owed, and the Envoy lacks nothing. Of clusters, all are confirmed, too. */
  get isAtRest(): boolean {
    return (
      this.subscription.isAsked &&
      this.#sent === this.table.seq &&
      this.#owed === undefined &&
      this.exceptions.size === 0 &&
      this.#forced.size === 0 &&
      !this.#listDue &&
      !this.#isStrange &&
      !this.refusals.isQueued &&
      (this.type !== "cluster" || !this.inFlight.hasUnconfirmed)
    );
  }

  /** When `pump` may have something to do without a request or a publication, ms; Infinity: never. */
  wakeAt(): number {
    let at = Number.POSITIVE_INFINITY;
    const isDue =
      this.#sent < this.table.seq || this.#owed !== undefined || this.#forced.size > 0 || this.#listDue || this.refusals.isQueued;
    const newest = this.inFlight.pending.at(-1);
    if (isDue && newest) at = newest.at + this.view.times.inFlightOverrideMs;
    return Math.min(at, this.exceptions.nextAt());
  }

  #isShared(now: number): boolean {
    if (this.exceptions.size > 0 || this.#forced.size > 0 || this.#isStrange || this.#listDue) return false;
    if (this.type === "cluster") return this.table.removedSeq <= this.#sent || this.view.isSettled(now);
    return this.type === "endpoint" || this.view.isAllReady();
  }

  #sendSharedDelta(now: number): void {
    const frames = sharedFrames(this.table);
    const from = this.#sent;
    const owed = this.#owed;
    if (owed !== undefined) {
      this.#owed = undefined;
      // What was asked for before may have changed meanwhile: then `sent` stays, and the next pump brings that.
      if (owed === this.subscription.asked) this.#sent = this.table.seq;
      return this.#write("main", frames.deltaFull(owed), "nothing", from, now);
    }
    const frame = frames.deltaChanges(from, this.subscription.asked);
    if (frame === "lost") return this.view.giveUp("lag");
    this.#sent = this.table.seq;
    if (frame) this.#write("main", frame, "table", from, now);
  }

  #sendSharedSotw(now: number): void {
    const frames = sharedFrames(this.table);
    const from = this.#sent;
    const owed = this.#owed;
    if (owed === undefined && from === this.table.seq) return;
    const { asked } = this.subscription;
    const frame = isListed(this.type)
      ? frames.sotwList(from, asked)
      : owed !== undefined
        ? frames.sotwNames(owed, asked)
        : frames.sotwChanges(from, asked);
    if (frame === "lost") return this.view.giveUp("lag");
    this.#owed = undefined;
    if (owed === undefined || isListed(this.type) || owed === asked) this.#sent = this.table.seq;
    if (frame) this.#write("main", frame, owed === undefined ? "table" : "nothing", from, now);
  }

  /** The path for a stream with exceptions: each name is decided for itself. */
  #sendOwn(now: number): void {
    const changed = this.table.changedSince(this.#sent);
    if (!changed) return this.view.giveUp("lag");
    if (this.#isHeldBack(now)) return;
    const owed = this.#owed;
    const owedNames = new Set(owed === "all" ? this.table.names() : (owed ?? []));
    const changedNames = changed.filter((name) => this.subscription.includes(name));
    // Endpoints that were touched go out although they are the same: their cluster warms until they come.
    const mustAnswer = new Set([...this.#forced, ...owedNames, ...(this.type === "endpoint" ? changedNames : [])]);
    const names = new Set([...changedNames, ...mustAnswer, ...this.exceptions.keys()]);
    const draft: Draft = { before: new Map(), resources: [], removed: [] };
    for (const name of [...names].sort())
      this.#decideOne(name, mustAnswer.has(name), owedNames.has(name) && !this.#forced.has(name), draft, now);
    const from = this.#sent;
    this.#noteHeld(names);
    this.#sent = this.table.seq;
    this.#owed = undefined;
    this.#forced.clear();
    // Nothing at all is an answer too: without it, an Envoy of a gateway without listeners never goes live.
    const isEmptyAnswer = owed === "all" && this.table.names().length === 0 && this.exceptions.size === 0;
    if (this.view.delta) this.#writeDelta(draft, isEmptyAnswer, from, now);
    else this.#writeSotw(draft, mustAnswer, isEmptyAnswer, from, now);
  }

  /** From where on each name with an exception is behind; kept until what it lacked has gone out. */
  #noteHeld(names: Iterable<string>): void {
    for (const name of names) if (this.exceptions.has(name) && !this.#heldFrom.has(name)) this.#heldFrom.set(name, this.#sent);
  }

  /** State of the world after a reconnect: what a list lacks is gone at once, so it waits until all of it is known and may go. */
  #isHeldBack(now: number): boolean {
    if (!this.#isStrange) return false;
    if (this.type === "cluster") return !this.view.knowsClusters(now);
    return this.type === "listener" && this.table.resources().some((resource) => this.view.unready(resource.clusters).length > 0);
  }

  #decideOne(name: string, mustAnswer: boolean, isNew: boolean, draft: Draft, now: number): void {
    const exception = this.exceptions.get(name);
    const current = this.table.get(name);
    const isUnknown = this.#isStrange && this.type === "cluster" && this.view.isSeen(name);
    // Of what it has, the form before this one is the best guess: needed only to put it back.
    const has: Known = exception
      ? exception.has
      : isUnknown
        ? (this.table.formOtherThan(name, current?.hash ?? "") ?? "unknown")
        : isNew && !this.inFlight.isExact
          ? undefined
          : this.inFlight.formOf(name, this.#sent);
    const decision = decide({ type: this.type, name, current, has, exception }, this.view, this.view.snapshots, now);
    if (decision.exception) this.refusals.exceptions.set(name, decision.exception);
    else this.refusals.exceptions.delete(name);
    if (!decision.exception && current && formOf(has)?.hash === current.hash) this.inFlight.assume(current);
    if (decision.send === "nothing" && !mustAnswer) return;
    draft.before.set(name, has);
    if (decision.send === "remove") draft.removed.push(name);
    else if (decision.send !== "nothing") draft.resources.push(decision.send);
    else {
      const answer = decision.exception ? formOf(decision.exception.has) : current;
      if (answer) draft.resources.push(answer);
      else if (!current || this.type === "endpoint") draft.removed.push(name);
    }
  }

  #writeDelta({ before, resources, removed }: Draft, isEmptyAnswer: boolean, from: Seq, now: number): void {
    if (resources.length + removed.length === 0 && !isEmptyAnswer) return;
    const content = deltaContent(this.type, String(this.table.revision), resources, removed);
    this.#write("main", toFrame(content, this.inFlight.ownNonce()), before, from, now);
  }

  #writeSotw(
    { before, resources, removed }: Draft,
    mustAnswer: ReadonlySet<string>,
    isEmptyAnswer: boolean,
    from: Seq,
    now: number,
  ): void {
    const isList = isListed(this.type);
    for (const [name, { has }] of this.exceptions) if (!before.has(name)) before.set(name, has);
    const isChanged = resources.length + removed.length > 0;
    // A list that only takes things back is a repair: a refusal of it is a late one, of what it takes back (risks §5).
    const kind = isList && !isChanged && !this.#isStrange ? "repair" : "main";
    const isDue = isChanged || isEmptyAnswer || (isList && this.#listDue);
    [this.#listDue, this.#repairDue, this.#isStrange] = [false, false, false];
    const listed = isList
      ? this.#effective()
      : [...resources, ...removed.filter((name) => mustAnswer.has(name)).flatMap((name) => placeholder(this.type, name) ?? [])];
    if (!isDue || (!isList && listed.length === 0)) return;
    this.#write(
      kind,
      toFrame(sotwContent(this.type, this.#effectiveVersion(), listed, removed), this.inFlight.ownNonce()),
      before,
      from,
      now,
    );
  }

  sendTrial(resources: readonly Resource[], before: ReadonlyMap<string, Known>, now: number): void {
    const content = this.view.delta
      ? deltaContent(this.type, "trial", resources, [])
      : isListed(this.type)
        ? sotwContent(this.type, this.#effectiveVersion(), this.#effective(), [])
        : sotwContent(this.type, this.#effectiveVersion(resources), resources, []);
    this.#write("trial", toFrame(content, this.inFlight.ownNonce()), before, this.#sent, now);
    if (this.type === "cluster") this.view.forceEndpoints(resources.map((resource) => resource.name));
  }

  sendRepair(resources: readonly Resource[], removed: readonly string[], now: number): void {
    const had = new Map<string, Known>(resources.map((resource) => [resource.name, resource]));
    for (const name of removed) had.set(name, undefined);
    this.#write(
      "repair",
      toFrame(deltaContent(this.type, "repair", resources, removed), this.inFlight.ownNonce()),
      had,
      this.#sent,
      now,
    );
    if (this.type === "cluster") this.view.forceEndpoints(resources.map((resource) => resource.name));
  }

  owe(names: readonly string[]): void {
    if (isListed(this.type)) [this.#listDue, this.#repairDue] = [true, true];
    else for (const name of names) this.#forced.add(name);
    if (this.type === "cluster") this.view.forceEndpoints(names);
  }

  #effective(): Resource[] {
    return effectiveList(this.table, this.exceptions, this.subscription, this.#sent);
  }
  /** `onTrial`: in place of what the Envoy has of these names, so that the version is true if it takes them. */
  #effectiveVersion(onTrial: readonly Resource[] = []): string {
    return effectiveVersion(this.table, this.exceptions, this.subscription, this.#sent, onTrial);
  }

  #write(kind: Sent["kind"], frame: Frame, before: Before, from: Seq, now: number): void {
    const sent = this.inFlight.add(kind, frame, before, from, this.#heldFrom, now);
    if (this.#heldFrom.size > 0)
      for (const name of this.#heldFrom.keys()) if (!this.exceptions.has(name)) this.#heldFrom.delete(name);
    this.view.write(this.type, sent);
  }
}
