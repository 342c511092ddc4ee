// The end of every switch over a union: a new case must fail to compile. Pure.

/** @throws always; reached only if the state holds what the model's types rule out. */
export function unreachable(value: never): never {
  throw new Error(`translation has no form for ${JSON.stringify(value)}`);
}
