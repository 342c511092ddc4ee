// All resources of one type for one gateway, with the order in which they changed: what a stream lacks is a range of it.
// In: set, touch and remove by gateway-snapshot.ts. Out: read by every stream in xds/. A stream remembers one Seq, not a map.

import type { ResourceType } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import type { Resource, Seq } from "./resource.js";

/** Older forms kept per name, for putting back what an Envoy had. */
const maxPastForms = 4;
/** Publications that a stream may lag behind; one that lags further is cut and reads everything again. */
const maxLogLength = 4_096;

interface Entry {
  current: Resource | undefined;
  /** When it last changed, or was touched. */
  seq: Seq;
  /** When it came (back) into being. */
  createdSeq: Seq;
  /** When it came into being for the first time that is remembered. */
  bornSeq: Seq;
  /** Of a removed one: from here on nothing names it. */
  unreferencedSeq: Seq;
  /** Newest first; `seq` is when it became current. */
  past: { resource: Resource | undefined; seq: Seq }[];
  /** When `current` became current. */
  formSeq: Seq;
}

/** One publication. `revision` is undefined when it only let go of what a grace had kept: nobody who waits for a revision waits for that. */
interface Step {
  readonly seq: Seq;
  readonly names: readonly string[];
  readonly revision: Revision | undefined;
}

export class ResourceTable {
  readonly #entries = new Map<string, Entry>();
  /** Ascending by seq. */
  readonly #log: Step[] = [];
  #seq: Seq = 0;
  #removedSeq: Seq = 0;
  /** Up to here streams have been woken. */
  #visibleSeq: Seq = 0;
  #revision: Revision = 0;
  /** Sum of the 64-bit hashes of all forms: the same for the same content in any order. */
  #sum = 0n;
  #live = 0;

  constructor(readonly type: ResourceType) {}

  /** The newest publication that changed this table; 0: none yet. */
  get seq(): Seq {
    return this.#seq;
  }
  /** The revision that last changed this table. */
  get revision(): Revision {
    return this.#revision;
  }
  get size(): number {
    return this.#live;
  }
  /** One version for the whole table, the same on every replica with the same content. */
  get sum(): bigint {
    return this.#sum;
  }
  /** The newest publication that removed something. */
  get removedSeq(): Seq {
    return this.#removedSeq;
  }

  get(name: string): Resource | undefined {
    return this.#entries.get(name)?.current;
  }
  names(): string[] {
    return [...this.#entries].filter(([, entry]) => entry.current).map(([name]) => name);
  }
  /** Sorted by name: the same content gives the same response bytes. */
  resources(): Resource[] {
    return [...this.#entries.values()].flatMap((entry) => entry.current ?? []).sort(byName);
  }

  /** When the name last changed or was touched; 0 when it never was there. */
  seqOf(name: string): Seq {
    return this.#entries.get(name)?.seq ?? 0;
  }
  /** When the resource came into being; undefined when it is not there. */
  createdSeq(name: string): Seq | undefined {
    const entry = this.#entries.get(name);
    return entry?.current ? entry.createdSeq : undefined;
  }
  /** From when on nothing names the removed resource. */
  unreferencedSeq(name: string): Seq {
    return this.#entries.get(name)?.unreferencedSeq ?? 0;
  }

  /** The form that was current at `seq`, undefined when there was none; "unknown" when it is too old to be kept. */
  at(name: string, seq: Seq): Resource | "unknown" | undefined {
    const entry = this.#entries.get(name);
    if (!entry || seq < entry.bornSeq) return undefined;
    if (entry.formSeq <= seq) return entry.current;
    const past = entry.past.find((form) => form.seq <= seq);
    return past ? past.resource : "unknown";
  }

  /** A form of the name with this hash, current or past. */
  formWithHash(name: string, hash: string): Resource | undefined {
    const entry = this.#entries.get(name);
    if (entry?.current?.hash === hash) return entry.current;
    return entry?.past.find((form) => form.resource?.hash === hash)?.resource;
  }

  /** The newest form of the name with another hash. */
  formOtherThan(name: string, hash: string): Resource | undefined {
    const entry = this.#entries.get(name);
    return [entry?.current, ...(entry?.past ?? []).map((form) => form.resource)].find((form) => form && form.hash !== hash);
  }

  /** Names changed, touched or removed after `from`, each once, sorted; undefined: too far back, the log has been cut. */
  changedSince(from: Seq): readonly string[] | undefined {
    if (from >= this.#seq) return [];
    const oldest = this.#log[0];
    if (!oldest || (this.#log.length >= maxLogLength && from < oldest.seq - 1)) return oldest ? undefined : [];
    const names = new Set<string>();
    for (let i = this.#log.length - 1; i >= 0; i--) {
      const step = this.#log[i];
      if (!step || step.seq <= from) break;
      for (const name of step.names) names.add(name);
    }
    return [...names].sort();
  }

  /**
   * The newest revision whose changes to this table are all within `seq`: `newest` when none came after it. After another history numbers may
   * have gone back: then the least counts, so that nothing is said to be there which is not.
   */
  revisionAt(seq: Seq, newest: Revision): Revision {
    let first: Revision | undefined;
    for (let i = this.#log.length - 1; i >= 0; i--) {
      const step = this.#log[i];
      if (!step || step.seq <= seq) break;
      if (step.revision !== undefined) first = Math.min(first ?? step.revision, step.revision);
    }
    return first === undefined ? newest : first - 1;
  }

  /** Streams are woken: from here on any of them may have what is current. */
  show(): void {
    this.#visibleSeq = this.#seq;
  }

  /** Takes one publication's changes. `touched` names are sent again although their bytes are the same. */
  commit(
    seq: Seq,
    revision: Revision | undefined,
    set: readonly Resource[],
    touched: readonly string[],
    removed: ReadonlyMap<string, Seq>,
  ): void {
    for (const resource of set) this.#set(resource, seq);
    for (const name of touched) {
      const entry = this.#entries.get(name);
      if (entry) entry.seq = seq;
    }
    for (const [name, unreferencedSeq] of removed) this.#remove(name, unreferencedSeq, seq);
    this.#seq = seq;
    this.#revision = revision ?? this.#revision;
    this.#log.push({ seq, revision, names: [...set.map((resource) => resource.name), ...touched, ...removed.keys()] });
    if (this.#log.length > maxLogLength) this.#forget(this.#log.splice(0, this.#log.length - maxLogLength));
  }

  #set(resource: Resource, seq: Seq): void {
    const entry = this.#entries.get(resource.name);
    this.#count(resource, 1);
    if (!entry) {
      const times = { seq, createdSeq: seq, bornSeq: seq, unreferencedSeq: 0, formSeq: seq };
      this.#entries.set(resource.name, { current: resource, past: [], ...times });
      return;
    }
    if (!entry.current) entry.createdSeq = seq;
    this.#replace(entry, resource, seq);
  }

  #remove(name: string, unreferencedSeq: Seq, seq: Seq): void {
    const entry = this.#entries.get(name);
    if (!entry?.current) return;
    this.#replace(entry, undefined, seq);
    entry.unreferencedSeq = unreferencedSeq;
    this.#removedSeq = seq;
  }

  #replace(entry: Entry, resource: Resource | undefined, seq: Seq): void {
    if (entry.current) this.#count(entry.current, -1);
    // A form that came and went before any stream was woken was sent to nobody.
    if (entry.formSeq <= this.#visibleSeq) {
      entry.past.unshift({ resource: entry.current, seq: entry.formSeq });
      entry.past.length = Math.min(entry.past.length, maxPastForms);
    }
    Object.assign(entry, { current: resource, seq, formSeq: seq });
  }

  /** Removed names whose last trace left the log are gone for good. */
  #forget(steps: readonly { readonly names: readonly string[] }[]): void {
    const oldest = this.#log[0]?.seq ?? 0;
    for (const step of steps) {
      for (const name of step.names) {
        const entry = this.#entries.get(name);
        if (entry && !entry.current && entry.seq < oldest) this.#entries.delete(name);
      }
    }
  }

  #count(resource: Resource, sign: 1 | -1): void {
    this.#sum = BigInt.asUintN(64, this.#sum + BigInt(sign) * summand(resource));
    this.#live += sign;
  }
}

/** What one resource adds to a sum over many. Its bytes hold its name, so the hash does too. */
export function summand(resource: { readonly hash: string }): bigint {
  return BigInt(`0x${resource.hash}`);
}

function byName(a: Resource, b: Resource): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
