// Sets of resource names, interned: a thousand Envoys that ask for the same thousand clusters hold one set, and a response for
// one of them is a response for all. Compared by identity.
import { createHash } from "node:crypto";
import type { RawNames } from "./request.js";
import { decodeNames } from "./request.js";

/** Transitions remembered per set: what follows from the same request on the same set. */
const maxTransitions = 32;

const interned = new Map<string, WeakRef<NameSet>[]>();
const finalizer = new FinalizationRegistry<string>((key) => {
  const alive = (interned.get(key) ?? []).filter((ref) => ref.deref());
  if (alive.length > 0) interned.set(key, alive);
  else interned.delete(key);
});
let nextId = 1;

export class NameSet {
  static readonly empty = NameSet.of([]);
  /** Unique among the sets of this process. */
  readonly id = nextId++;
  readonly #names: ReadonlySet<string>;
  readonly #transitions = new Map<string, WeakRef<NameSet>>();

  private constructor(names: ReadonlySet<string>) {
    this.#names = names;
  }

  /** The one set of these names. */
  static of(names: Iterable<string>): NameSet {
    const set = names instanceof Set ? names : new Set(names);
    const key = keyOf(set);
    const refs = interned.get(key) ?? [];
    for (const ref of refs) {
      const known = ref.deref();
      if (known?.equals(set)) return known;
    }
    const made = new NameSet(set);
    interned.set(key, [...refs, new WeakRef(made)]);
    finalizer.register(made, key);
    return made;
  }

  /** The set of a raw list alone; remembered, as an Envoy's list is the same as its neighbours'. */
  static ofRaw(raw: RawNames): NameSet {
    return raw.count === 0 ? NameSet.empty : NameSet.empty.plus(raw);
  }

  get size(): number {
    return this.#names.size;
  }
  has(name: string): boolean {
    return this.#names.has(name);
  }
  [Symbol.iterator](): IterableIterator<string> {
    return this.#names.values();
  }
  equals(names: ReadonlySet<string>): boolean {
    if (names.size !== this.#names.size) return false;
    for (const name of names) if (!this.#names.has(name)) return false;
    return true;
  }

  plus(raw: RawNames): NameSet {
    return this.#transition("+", raw, (names) => NameSet.of(new Set([...this.#names, ...names])));
  }
  minus(raw: RawNames): NameSet {
    return this.#transition("-", raw, (names) => {
      const left = new Set(this.#names);
      for (const name of names) left.delete(name);
      return NameSet.of(left);
    });
  }
  /** Names of this set that `other` lacks. */
  without(other: NameSet): NameSet {
    if (other.size === 0) return this;
    return other === this ? NameSet.empty : NameSet.of([...this.#names].filter((name) => !other.has(name)));
  }

  #transition(sign: string, raw: RawNames, step: (names: string[]) => NameSet): NameSet {
    if (raw.count === 0) return this;
    const key = sign + digest(raw.bytes);
    const known = this.#transitions.get(key)?.deref();
    if (known) return known;
    const next = step(decodeNames(raw));
    for (const oldest of this.#transitions.keys()) {
      if (this.#transitions.size < maxTransitions) break;
      this.#transitions.delete(oldest);
    }
    this.#transitions.set(key, new WeakRef(next));
    return next;
  }
}

/** Long lists are remembered by their hash: the keys of 32 lists of 31 KB would be a megabyte. */
function digest(bytes: Buffer): string {
  return bytes.length <= 200 ? bytes.toString("latin1") : createHash("sha256").update(bytes).digest("base64");
}

/** Does not depend on the order of the names; a collision only costs a comparison. */
function keyOf(names: ReadonlySet<string>): string {
  let sum = 0;
  for (const name of names) {
    let hash = 0x811c9dc5;
    for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
    sum = (sum + (hash >>> 0)) % Number.MAX_SAFE_INTEGER;
  }
  return `${names.size}:${sum}`;
}
