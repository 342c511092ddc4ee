// The stable codes of single problems (`errors[].code` in an answer), and which error of errors.ts they make together.
// docs/errors.md describes each. In: rules of model/ and checks of api/. Out: api/ chooses the status of the answer. Pure.
import type { ErrorCode, Problem } from "../errors.js";

/** code → the error that a body with only this problem is answered with. */
export const problemCodes = {
  malformed_json: "malformed_body",
  duplicate_key: "malformed_body",
  forbidden_key: "malformed_body",
  not_storable: "malformed_body",
  unknown_field: "invalid_body",
  missing_field: "invalid_body",
  wrong_type: "invalid_body",
  not_one_of: "invalid_body",
  out_of_range: "invalid_body",
  wrong_length: "invalid_body",
  wrong_count: "invalid_body",
  wrong_format: "invalid_body",
  duplicate: "invalid_body",
  exactly_one: "invalid_body",
  contradiction: "invalid_body",
  invalid_regex: "invalid_body",
  name_differs: "invalid_body",
  unknown_cluster: "invalid_reference",
  unknown_listener: "invalid_reference",
  unknown_route: "invalid_reference",
  unknown_backend: "invalid_reference",
  missing_backend: "invalid_reference",
  unknown_endpoint: "invalid_reference",
  protocol_mismatch: "invalid_reference",
  sni_not_allowed: "invalid_reference",
  shared_address: "invalid_reference",
  backends_differ: "invalid_reference",
  no_rebalance: "invalid_reference",
  listener_taken: "conflict",
  sni_taken: "conflict",
  address_taken: "conflict",
  breaks_route: "conflict",
  named_by_route: "in_use",
  envoy_refuses: "refused_by_validation",
  changed_since: "precondition_failed",
  location_fixed: "endpoint_location_fixed",
} as const satisfies Record<string, ErrorCode>;

export type ProblemCode = keyof typeof problemCodes;

export function problem(pointer: string, code: ProblemCode, detail: string): Problem {
  return { pointer, code, detail };
}

/** RFC 6901. */
export function escapePointer(segment: string): string {
  return segment.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** Which error stands for a mixed list: what the author must fix in the body goes before what the world must allow. */
export const precedence: readonly ErrorCode[] = [
  "malformed_body",
  "invalid_body",
  "precondition_failed",
  "invalid_reference",
  "endpoint_location_fixed",
  "conflict",
  "in_use",
];

/** The error that answers all of `problems` at once. */
export function errorOf(problems: readonly Problem[]): ErrorCode {
  const errors = new Set<ErrorCode>(problems.map(({ code }) => (isProblemCode(code) ? problemCodes[code] : "invalid_body")));
  return precedence.find((code) => errors.has(code)) ?? "invalid_body";
}

function isProblemCode(code: string): code is ProblemCode {
  return Object.hasOwn(problemCodes, code);
}
