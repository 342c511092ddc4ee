// Frames that many streams share: one per (from, to, name set). The first stream that needs one pays for it.
// Kept only for the newest publication of a table: a stream further behind gets one of its own making.
import type { Resource, Seq } from "../snapshot/resource.js";
import { type ResourceTable, summand } from "../snapshot/resource-table.js";
import type { NameSet } from "./name-set.js";
import { placeholder } from "./placeholder.js";
import { type Content, deltaContent, type Frame, sotwContent, toFrame } from "./response.js";

/** What a stream asks for: all, or these names. */
export type Asked = NameSet | "all";

/** Frames kept per table; beyond it the oldest is made anew. Reached only by that many different name sets at once. */
const maxFrames = 512;

const caches = new WeakMap<ResourceTable, SharedFrames>();

/** The frames of a table. */
export function sharedFrames(table: ResourceTable): SharedFrames {
  const known = caches.get(table);
  if (known) return known;
  const made = new SharedFrames(table);
  caches.set(table, made);
  return made;
}

export class SharedFrames {
  #seq: Seq = -1;
  readonly #frames = new Map<string, Frame>();
  /** What was asked for and gave no frame, by the same keys: that is looked up once, too. */
  readonly #without = new Map<string, undefined | "lost">();
  readonly #sums = new Map<number, bigint>();
  /** Frames built since the start; a test asserts that a thousand streams cost one. */
  built = 0;

  constructor(private readonly table: ResourceTable) {}

  /** Delta: all that `asked` names, as it is now; what is not there is told to be gone. */
  deltaFull(asked: Asked): Frame {
    return this.#frame(`df${idOf(asked)}`, () => {
      const { resources, missing } = this.#select(asked);
      return deltaContent(this.table.type, this.version("all"), resources, missing);
    });
  }

  /** Delta: what changed after `from`; undefined when nothing of it is asked for, "lost" when `from` is too far back. */
  deltaChanges(from: Seq, asked: Asked): Frame | undefined | "lost" {
    return this.#found(`dc${from}.${idOf(asked)}`, () => {
      const names = this.#changed(from, asked);
      if (names === "lost" || names.length === 0) return names === "lost" ? "lost" : undefined;
      const resources = names.flatMap((name) => this.table.get(name) ?? []);
      return deltaContent(
        this.table.type,
        this.version("all"),
        resources,
        names.filter((name) => !this.table.get(name)),
      );
    });
  }

  /** State of the world: the whole list. `from` only tells what is left out since. */
  sotwList(from: Seq, asked: Asked): Frame {
    return this.#frame(`sl${from}.${idOf(asked)}`, () => {
      const names = this.#changed(from, asked);
      const gone = names === "lost" ? [] : names.filter((name) => !this.table.get(name));
      return sotwContent(this.table.type, this.version(asked), this.#select(asked).resources, gone);
    });
  }

  /** State of the world: some names of those asked for, with an empty one for what is not there. */
  sotwNames(names: Asked, asked: Asked): Frame {
    return this.#frame(`sn${idOf(names)}.${idOf(asked)}`, () => {
      const { resources, missing } = this.#select(names);
      return sotwContent(
        this.table.type,
        this.version(asked),
        [...resources, ...missing.flatMap((name) => placeholder(this.table.type, name) ?? [])],
        [],
      );
    });
  }

  /** State of the world, for types whose response need not be the whole: what changed after `from` and is there. */
  sotwChanges(from: Seq, asked: Asked): Frame | undefined | "lost" {
    return this.#found(`sc${from}.${idOf(asked)}`, () => {
      const names = this.#changed(from, asked);
      if (names === "lost") return "lost";
      const resources = names.flatMap((name) => this.table.get(name) ?? []);
      return resources.length === 0 ? undefined : sotwContent(this.table.type, this.version(asked), resources, []);
    });
  }

  /** Names changed after `from` that are asked for, sorted; "lost": too far back. */
  #changed(from: Seq, asked: Asked): readonly string[] | "lost" {
    const names = this.table.changedSince(from);
    if (!names) return "lost";
    return asked === "all" ? names : names.filter((name) => asked.has(name));
  }

  /** State of the world: one version for all that is asked for; the same on every replica with the same content. */
  version(asked: Asked): string {
    return versionOf(this.sum(asked), this.table.revision);
  }

  sum(asked: Asked): bigint {
    if (asked === "all") return this.table.sum;
    this.#refresh();
    const known = this.#sums.get(asked.id);
    if (known !== undefined) return known;
    let sum = 0n;
    for (const name of asked) {
      const resource = this.table.get(name);
      if (resource) sum += summand(resource);
    }
    sum = BigInt.asUintN(64, sum);
    this.#sums.set(asked.id, sum);
    return sum;
  }

  #select(asked: Asked): { resources: readonly Resource[]; missing: readonly string[] } {
    if (asked === "all") return { resources: this.table.resources(), missing: [] };
    const names = [...asked].sort();
    return {
      resources: names.flatMap((name) => this.table.get(name) ?? []),
      missing: names.filter((name) => !this.table.get(name)),
    };
  }

  #refresh(): void {
    if (this.#seq === this.table.seq) return;
    this.#seq = this.table.seq;
    this.#frames.clear();
    this.#without.clear();
    this.#sums.clear();
  }

  #found(key: string, build: () => Content | undefined | "lost"): Frame | undefined | "lost" {
    this.#refresh();
    const known = this.#frames.get(key);
    if (known) return known;
    if (this.#without.has(key)) return this.#without.get(key);
    const content = build();
    if (content !== undefined && content !== "lost") return this.#frame(key, () => content);
    if (this.#without.size < maxFrames) this.#without.set(key, content);
    return content;
  }

  #frame(key: string, build: () => Content): Frame {
    this.#refresh();
    const known = this.#frames.get(key);
    if (known) return known;
    this.built += 1;
    for (const oldest of this.#frames.keys()) {
      if (this.#frames.size < maxFrames) break;
      this.#frames.delete(oldest);
    }
    const frame = toFrame(build(), `${this.#seq}.${key}`);
    this.#frames.set(key, frame);
    return frame;
  }
}

/** Equal by the part before the dot, as versions of single resources are. */
export function versionOf(sum: bigint, revision: number): string {
  return `${sum.toString(16).padStart(16, "0")}.${revision}`;
}

function idOf(asked: Asked): string {
  return asked === "all" ? "all" : String(asked.id);
}
