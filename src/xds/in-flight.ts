// What one stream has sent of one type and not heard about yet: which response an answer belongs to, and what is not known to be in use.
// In: frames that go out, nonces that come back. Out: Sent, for refusals.ts and readiness.ts.
import type { ResourceType } from "../model/resource-type.js";
import type { Resource, Seq } from "../snapshot/resource.js";
import type { ResourceTable } from "../snapshot/resource-table.js";
import { type Frame, withNonce } from "./response.js";
import { type Before, carries, formIn, formOf, type Known, knownBefore, namesIn, type Sent, withForms } from "./sent.js";

/** Responses without an answer, and nonces in use, that are remembered; the oldest is forgotten beyond it. */
const maxPending = 256;

export class InFlight {
  #pending: Sent[] = [];
  /** New names of responses that were refused, or not answered for themselves: whether they are in use is not known. */
  readonly #unconfirmed = new Set<string>();
  /** Clusters that a response changed which was refused, or not answered for itself: which form is in the Envoy is not known. */
  readonly #doubtful = new Set<string>();
  /** Cluster → the form that is in use, as its endpoints were taken, although its own response is not answered. */
  readonly #inUse = new Map<string, Resource>();
  /** Shared nonces that this stream has used since the table last changed; their frames begin with its Seq, so no other can come again. */
  readonly #nonces: string[] = [];
  #noncesSeq: Seq = -1;
  #ownNonces = 0;
  #ordinal = 0;
  /**
   * Listeners and RouteConfigurations are few, change often and long, and a route must be put back exactly as it was: what was sent of each
   * is kept here. Clusters and endpoints are many: for them the table's short memory of past forms does.
   */
  readonly #forms: Map<string, Resource> | undefined;

  constructor(
    private readonly type: ResourceType,
    private readonly table: ResourceTable,
    private readonly delta: boolean,
  ) {
    this.#forms = type === "listener" || type === "route" ? new Map() : undefined;
  }

  /** Whether `formOf` knows exactly what was sent, so that a name without a form is a new one. */
  get isExact(): boolean {
    return this.#forms !== undefined;
  }
  /** What the Envoy has of a name that has no exception, when everything up to `sent` has gone out. */
  formOf(name: string, sent: Seq): Known {
    return this.#forms ? this.#forms.get(name) : this.table.at(name, sent);
  }

  /** Oldest first. */
  get pending(): readonly Sent[] {
    return this.#pending;
  }
  /** The newest response that the next one waits for; in delta those beside the stream's main line are waited for by nobody. */
  newest(onlyMain: boolean): Sent | undefined {
    for (let index = this.#pending.length - 1; index >= 0; index--) {
      const sent = this.#pending[index];
      if (!onlyMain || sent?.kind === "main") return sent;
    }
    return undefined;
  }
  /** Everything up to here is answered, when everything up to `sent` has gone out. */
  ackedOf(sent: Seq): Seq {
    let acked = sent;
    for (const { kind, ackedUpTo } of this.#pending) if (kind === "main") acked = Math.min(acked, ackedUpTo);
    return acked;
  }
  /** Whether the name went out as a new one, and no answer since says that it is in use. */
  isUnconfirmed(name: string): boolean {
    return this.#unconfirmed.has(name) || this.#pending.some((sent) => sent.added.has(name));
  }
  get hasUnconfirmed(): boolean {
    return this.#unconfirmed.size > 0 || this.#pending.length > 0;
  }

  /** The Envoy came with this form, the current one. */
  assume(resource: Resource): void {
    this.#forms?.set(resource.name, resource);
  }

  /** The Envoy came with all that is current. */
  assumeAll(isAsked: (name: string) => boolean): void {
    if (this.#forms)
      for (const resource of this.table.resources()) if (isAsked(resource.name)) this.#forms.set(resource.name, resource);
  }

  /** A nonce for a frame that is this stream's alone. */
  ownNonce(): string {
    this.#ownNonces += 1;
    return `own.${this.#ownNonces}`;
  }

  /** Takes down what is about to be written; its frame is the one to write. `heldFrom`: where the stream stood before what it holds back. */
  add(kind: Sent["kind"], frame: Frame, before: Before, from: Seq, heldFrom: ReadonlyMap<string, Seq>, now: number): Sent {
    const repeats = this.#noteNonce(frame.nonce);
    const unique = repeats === 0 ? frame : withNonce(frame, `${frame.nonce}.${repeats}`);
    const had = this.#lastAccepted(frame, this.#noteForms(frame, before));
    const news = this.#news(frame, had, from);
    this.#ordinal += 1;
    const ackedUpTo = kind === "main" ? this.#ackedUpTo(frame, before, from, heldFrom) : from;
    const ordinal = this.#ordinal;
    const { added, changed, reshaped } = news; // Not spread: this runs for every push to every stream.
    const sent: Sent = {
      nonce: unique.nonce,
      ordinal,
      at: now,
      kind,
      from,
      ackedUpTo,
      frame: unique,
      before: had,
      added,
      changed,
      reshaped,
      looks: 0,
    };
    this.#pending.push(sent);
    if (this.#pending.length > maxPending) this.#pending.shift();
    return sent;
  }

  /** How often the nonce was used before. */
  #noteNonce(nonce: string): number {
    if (this.#noncesSeq !== this.table.seq) {
      this.#noncesSeq = this.table.seq;
      if (this.#nonces.length > 1) this.#nonces.length = 1; // Setting it is slow, also to what it is.
      this.#nonces[0] = nonce;
      return 0;
    }
    let repeats = 0;
    for (const used of this.#nonces) if (used === nonce) repeats += 1;
    this.#nonces.push(nonce);
    if (this.#nonces.length > maxPending) this.#nonces.shift();
    return repeats;
  }

  /**
   * The response that the nonce belongs to, and in state of the world those before it, whose own answer may never come (risks §5).
   * Undefined for a stale nonce, or one answered already. `isTaken`: its names are about to be confirmed, so none of them is in doubt.
   */
  answer(
    nonce: string,
    isTaken: (sent: Sent) => boolean,
  ): { readonly sent: Sent; readonly superseded: readonly Sent[] } | undefined {
    let index = 0;
    while (index < this.#pending.length && this.#pending[index]?.nonce !== nonce) index += 1;
    const sent = this.#pending[index];
    if (!sent) return undefined;
    const superseded = this.delta || index === 0 ? none : this.#pending.splice(0, index);
    if (this.#pending.length === 1) this.#pending.pop();
    else this.#pending.splice(this.#pending.indexOf(sent), 1);
    for (const earlier of superseded) this.#doubt(earlier);
    if (!isTaken(sent)) this.#doubt(sent);
    return { sent, superseded };
  }

  #doubt({ added, changed, reshaped }: Sent): void {
    for (const name of added) this.#unconfirmed.add(name);
    for (const name of changed) this.#doubtful.add(name);
    for (const name of reshaped) this.#doubtful.add(name);
  }

  /** The Envoy has taken what `sent` brought: of what else is in flight, that is what it had before. */
  confirm({ frame }: Sent): void {
    this.#settle(frame.resources);
    for (const other of this.#pending) {
      const both = namesIn(frame).filter((name) => carries(other.frame, name));
      if (both.length === 0) continue;
      other.before = withForms(other.before, other.frame, new Map(both.map((name) => [name, formIn(frame, name)])));
      const news = this.#news(other.frame, other.before, other.from);
      other.added = news.added;
    }
  }
  /** Whether a later response without an answer brings the name in another form, or takes it away: then that answer is the one that counts. */
  isReplaced({ frame, ordinal }: Sent, name: string): boolean {
    const hash = formIn(frame, name)?.hash;
    return this.#pending.some(
      (other) =>
        other.kind !== "repair" &&
        other.ordinal > ordinal &&
        carries(other.frame, name) &&
        formIn(other.frame, name)?.hash !== hash,
    );
  }
  /** Whether a response without an answer brings the name, or takes it away. */
  isPending(name: string): boolean {
    return this.#pending.some(({ frame }) => carries(frame, name));
  }
  /** Whether a response without an answer takes the name away: what brings it again has yet to be accepted. */
  isLeaving(name: string): boolean {
    return this.#pending.some(({ frame }) => carries(frame, name) && formIn(frame, name) === undefined);
  }
  /** Whether the name is in flight in more than one form: which of them is in use is not known. */
  isAmbiguous(name: string): boolean {
    const forms = this.#pending.filter(({ frame }) => carries(frame, name)).map(({ frame }) => formIn(frame, name)?.hash);
    return new Set(forms).size > 1;
  }
  #settle(resources: Iterable<{ readonly name: string }>): void {
    if (this.#unconfirmed.size + this.#doubtful.size + this.#inUse.size === 0) return;
    for (const { name } of resources) this.#forgetName(name);
  }
  #forgetName(name: string): void {
    this.#unconfirmed.delete(name);
    this.#doubtful.delete(name);
    this.#inUse.delete(name);
  }
  /** The cluster's endpoints were taken: so the form that is in flight is in use, unless there are several. */
  use(name: string): void {
    if (this.#doubtful.has(name) || this.isAmbiguous(name)) return;
    const sent = this.#pending.find((other) => other.added.has(name));
    const form = sent && formIn(sent.frame, name);
    if (form) this.#inUse.set(name, form);
  }
  /** The Envoy does not have these any more. */
  forget(names: readonly string[]): void {
    for (const name of names) this.#forgetName(name);
  }

  /** An unanswered response may be refused yet: of a name that is in it, the Envoy had what it had before the first such. */
  #lastAccepted(frame: Frame, before: Before): Before {
    if (this.#pending.length === 0) return before;
    const forms = new Map<string, Known>();
    for (const name of namesIn(frame)) {
      const first = this.#pending.find((sent) => carries(sent.frame, name));
      if (first) forms.set(name, this.#inUse.get(name) ?? knownBefore(first.before, name, this.table, first.from));
    }
    return forms.size === 0 ? before : withForms(before, frame, forms);
  }

  /** Writes down what the Envoy will have; returns what it had. */
  #noteForms(frame: Frame, before: Before): Before {
    const forms = this.#forms;
    if (!forms) return before;
    const had = typeof before === "string" ? sharedForms(frame, forms) : new Map([...formsOf(frame, forms), ...before]);
    for (const resource of frame.resources) forms.set(resource.name, resource);
    for (const name of frame.removed) forms.delete(name);
    return had;
  }

  /** Only clusters are watched for what is new in them. */
  #news(frame: Frame, before: Before, from: Seq): News {
    if (this.type !== "cluster") return nothingNew;
    if (typeof before === "string" && this.#doubtful.size === 0) return sharedNews(frame, before, this.table, from);
    const news = { ...newsOf(frame, before, this.table, from), reshaped: new Set<string>() };
    const isOther = ({ name, hash }: Resource) =>
      this.#doubtful.has(name) ||
      this.#pending.some((sent) => carries(sent.frame, name) && formIn(sent.frame, name)?.hash !== hash);
    for (const resource of frame.resources) if (isOther(resource)) news.reshaped.add(resource.name);
    return news;
  }

  /** A frame of the stream's own may bring what was held back for long. */
  #ackedUpTo(frame: Frame, before: Before, from: Seq, heldFrom: ReadonlyMap<string, Seq>): Seq {
    if (typeof before === "string") return from;
    let least = from;
    for (const name of [...frame.resources.map((resource) => resource.name), ...frame.removed]) {
      if (before.has(name)) least = Math.min(least, this.table.seqOf(name) - 1, heldFrom.get(name) ?? from);
    }
    return least;
  }
}

const none: readonly Sent[] = [];

/** name → form, of what the frame brings. */
function formsOf(frame: Frame, forms: ReadonlyMap<string, Resource>): Map<string, Known> {
  return new Map(frame.resources.map(({ name }) => [name, forms.get(name)]));
}

/** What the first stream had that a frame went to; streams that had the same hold the same map. */
const formsBeforeShared = new WeakMap<Frame, ReadonlyMap<string, Known>>();
function sharedForms(frame: Frame, forms: ReadonlyMap<string, Resource>): ReadonlyMap<string, Known> {
  const known = formsBeforeShared.get(frame);
  let isSame = known !== undefined;
  if (known) for (const { name } of frame.resources) isSame &&= known.get(name) === forms.get(name);
  if (known && isSame) return known;
  const made = formsOf(frame, forms);
  if (!known) formsBeforeShared.set(frame, made);
  return made;
}

/** What a frame brings that was not there, or not in this form. */
interface News {
  readonly added: Set<string>;
  readonly changed: Set<string>;
  readonly reshaped: Set<string>;
}
const nothingNew: News = { added: new Set(), changed: new Set(), reshaped: new Set() };

function newsOf(frame: Frame, before: Before, table: ResourceTable, from: Seq): News {
  const added = new Set<string>();
  const changed = new Set<string>();
  for (const { name, hash } of frame.resources) {
    const known = knownBefore(before, name, table, from);
    if (known === undefined) added.add(name);
    if (formOf(known)?.hash !== hash) changed.add(name);
  }
  return { added, changed, reshaped: new Set() };
}

/** A frame that many streams share is looked through once. */
const newsOfShared = new WeakMap<Frame, News>();
function sharedNews(frame: Frame, before: Before, table: ResourceTable, from: Seq): News {
  const known = newsOfShared.get(frame);
  if (known) return known;
  const news = newsOf(frame, before, table, from);
  newsOfShared.set(frame, news);
  return news;
}
