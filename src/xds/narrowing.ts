// Which of many is at fault, when Envoy refuses them together: try parts alone, halve what is refused.
// Pure bookkeeping; the caller sends a trial and says what became of it.

/** Up to this many are tried one by one, back to back: each bad one is then sent exactly once more (40 gave exactly one NACK, measured). */
export const maxSingles = 40;

/** How to split names that were refused together: one by one, or in halves when they are many, or must be tried in one list. */
export function splitRefused(names: readonly string[], halvesOnly: boolean): readonly (readonly string[])[] {
  if (!halvesOnly && names.length <= maxSingles) return names.map((name) => [name]);
  const middle = Math.ceil(names.length / 2);
  return [names.slice(0, middle), names.slice(middle)].filter((half) => half.length > 0);
}

/** One trial at a time, over things that can only be tried together with the rest: routes of one RouteConfiguration. */
export class Narrowing {
  #groups: (readonly string[])[];
  readonly #bad: string[] = [];

  constructor(suspects: readonly string[]) {
    this.#groups = suspects.length > 1 ? [...splitRefused(suspects, true)] : [];
    if (suspects.length === 1) this.#bad.push(...suspects);
  }

  /** Names that go with the next trial; undefined: done. */
  get trial(): readonly string[] | undefined {
    return this.#groups[0];
  }
  /** Names that must stay in their previous form during the trial: not yet tried, or found bad. */
  get keptBack(): readonly string[] {
    return [...this.#groups.slice(1).flat(), ...this.#bad];
  }
  get bad(): readonly string[] {
    return this.#bad;
  }

  accepted(): void {
    this.#groups.shift();
  }
  refused(): void {
    const trial = this.#groups.shift();
    if (!trial) return;
    if (trial.length === 1) this.#bad.push(...trial);
    else this.#groups.unshift(...splitRefused(trial, true));
  }
}
