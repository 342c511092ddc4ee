// What an HTTP route matches, as its body says it: `{ name, exact: "x" }` where the model has `{ kind: "exact", value: "x" }`.
// In: JSON that the schema has passed. Out: model/route.ts, and back. Called by http-route-body.ts.
import { type Static, Type } from "typebox";
import type { HttpMatch, NamedMatch, PathMatch, ValueMatch } from "../model/route.js";
import { list, object, text } from "./fields.js";

const comparisons = ["exact", "prefix", "suffix", "contains", "regex", "present"] as const;
const paths = ["prefix", "exact", "regex"] as const;

/** Compiled by RE2 only, when all bounds are known to hold: see model/regex.ts. */
const regex = Type.String({
  minLength: 1,
  maxLength: 1000,
  description: "RE2 syntax, against the whole text. 1–1000 characters.",
});

const comparison = {
  exact: Type.Optional(text(0, 1024, "printable", "The whole value.")),
  prefix: Type.Optional(text(1, 1024, "printable", "Its start.")),
  suffix: Type.Optional(text(1, 1024, "printable", "Its end.")),
  contains: Type.Optional(text(1, 1024, "printable", "A part of it.")),
  regex: Type.Optional(regex),
  present: Type.Optional(Type.Literal(true, { description: "true: it is there, with any value." })),
};
const not = Type.Optional(
  Type.Boolean({ default: false, description: "true: matches where the comparison does not. Default false." }),
);

const header = object(
  { name: text(1, 128, "header-name", "Header, in any case."), ...comparison, not },
  { exactlyOneOf: comparisons },
);
const cookie = object({ name: text(1, 128, "cookie-name", "Cookie."), ...comparison, not }, { exactlyOneOf: comparisons });
const query = object(
  { name: text(1, 128, "printable", "Query parameter. It has no `not`: Envoy can't."), ...comparison },
  { exactlyOneOf: comparisons },
);

const path = object(
  {
    prefix: Type.Optional(
      text(1, 1024, "path-prefix", "Whole segments: /api matches /api and /api/x, not /apiary; / matches all."),
    ),
    exact: Type.Optional(text(1, 1024, "path", "The whole path.")),
    regex: Type.Optional(regex),
  },
  { exactlyOneOf: paths, description: 'Path without its query. Default {"prefix": "/"}.' },
);

/** The `match` of an HTTP route. */
export const matchSchema = object(
  {
    path: Type.Optional(path),
    methods: Type.Optional(
      list(text(1, 32, "method", "Method, in capitals."), 0, 16, "Any of these; none: every method.", { unique: true }),
    ),
    headers: Type.Optional(list(header, 0, 16, "All must hold. Default none.")),
    query: Type.Optional(list(query, 0, 16, "All must hold. Default none.")),
    cookies: Type.Optional(list(cookie, 0, 16, "All must hold. Default none.")),
  },
  { description: "What a request must be like; all conditions must hold. Default: every request." },
);
/** A body that the schema has passed. */
export type MatchBody = Static<typeof matchSchema>;

type ComparisonBody = { [K in Exclude<(typeof comparisons)[number], "present">]?: string } & { present?: true };

function fromComparison(body: ComparisonBody): ValueMatch {
  for (const kind of comparisons) {
    const value = body[kind];
    if (kind === "present" || value === undefined || value === true) continue;
    return { kind, value };
  }
  return { kind: "present" }; // The schema has seen to it that one of them is there.
}

function toComparison(match: ValueMatch): ComparisonBody {
  switch (match.kind) {
    case "present":
      return { present: true };
    case "exact":
      return { exact: match.value };
    case "prefix":
      return { prefix: match.value };
    case "suffix":
      return { suffix: match.value };
    case "contains":
      return { contains: match.value };
    case "regex":
      return { regex: match.value };
  }
}

function fromPath(body: MatchBody["path"]): PathMatch {
  if (body?.exact !== undefined) return { kind: "exact", value: body.exact };
  if (body?.regex !== undefined) return { kind: "regex", value: body.regex };
  return { kind: "prefix", value: body?.prefix ?? "/" };
}

function toPath(match: PathMatch): NonNullable<MatchBody["path"]> {
  switch (match.kind) {
    case "exact":
      return { exact: match.value };
    case "prefix":
      return { prefix: match.value };
    case "regex":
      return { regex: match.value };
  }
}

function fromConditions(
  bodies: readonly (ComparisonBody & { name: string; not?: boolean })[] = [],
  named = (text: string) => text,
): readonly NamedMatch[] {
  return bodies.map((body) => ({ name: named(body.name), match: fromComparison(body), not: body.not ?? false }));
}

function toConditions(conditions: readonly NamedMatch[]) {
  return conditions.map(({ name, match, not: inverted }) => ({ name, ...toComparison(match), not: inverted }));
}

/** Names of headers are kept in lower case: HTTP does not tell them apart. */
export function fromMatchBody(body: MatchBody = {}): HttpMatch {
  return {
    path: fromPath(body.path),
    methods: body.methods ?? [],
    headers: fromConditions(body.headers, (named) => named.toLowerCase()),
    query: fromConditions(body.query),
    cookies: fromConditions(body.cookies),
  };
}

/** The inverse of fromMatchBody. */
export function toMatchBody(match: HttpMatch): MatchBody {
  return {
    path: toPath(match.path),
    methods: [...match.methods],
    headers: toConditions(match.headers),
    query: match.query.map(({ name, match: one }) => ({ name, ...toComparison(one) })),
    cookies: toConditions(match.cookies),
  };
}
