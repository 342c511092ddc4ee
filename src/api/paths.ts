// Which methods a path takes, so that a wrong one is told from a wrong path (405 with Allow, not 404).
// In: the routes as they are registered. Out: methods for a path. Called by server.ts.

/** The paths of all calls, by pattern. */
export class Paths {
  /** segments of the pattern, `:x` for a parameter → methods. */
  readonly #patterns = new Map<string, Set<string>>();

  add(pattern: string, methods: string | readonly string[]): void {
    const known = this.#patterns.get(pattern) ?? new Set();
    for (const method of typeof methods === "string" ? [methods] : methods) known.add(method);
    this.#patterns.set(pattern, known);
  }

  /** Sorted; empty when no call has this path. `url` may carry a query. */
  methodsOf(url: string): readonly string[] {
    const segments = (url.split("?")[0] ?? "").split("/");
    const matching = [...this.#patterns].filter(([pattern]) => matches(pattern.split("/"), segments));
    return [...new Set(matching.flatMap(([, methods]) => [...methods]))].sort();
  }
}

function matches(pattern: readonly string[], segments: readonly string[]): boolean {
  return (
    pattern.length === segments.length &&
    pattern.every((part, at) => (part.startsWith(":") ? segments[at] !== "" : part === segments[at]))
  );
}
