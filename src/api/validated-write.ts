// A write that a real Envoy has agreed to before it is committed. In: the write, and where its changes are looked at. Out: its result.
// The Envoy is asked between two runs of the write, not within one: others would wait for its locks meanwhile. The first run is
// rolled back once its changes are known; the second one commits if it comes to the same. Called by writes.ts and staging.ts.
import { createHash } from "node:crypto";
import { AppError, Interruption } from "../errors.js";
import { problem } from "../model/problem-codes.js";
import type { Author, Change } from "../model/revision.js";
import type { Validator, Verdict } from "../plan/validate.js";
import type { Store, WriteChoices, WriteTx, Written } from "../store/store.js";

/** Other writers may make the changes come out differently each time; then the write is given up. */
const maxRuns = 5;

/** Thrown out of a write whose changes nobody has judged yet. */
class Unjudged extends Interruption {
  constructor(
    readonly changes: readonly Change[],
    readonly key: string,
  ) {
    super("these changes have not been judged yet");
  }
}

/**
 * Runs `write` and hands it `check`, to be called at the end of its transaction's work with what that came to.
 * @throws refused_by_validation, validation_unavailable (only where a verdict is required), write_contention, and what `write` throws
 */
export async function validated<T>(
  validator: Pick<Validator, "isAsked" | "isRequired" | "judge"> | undefined,
  write: (check: (changes: readonly Change[]) => void) => Promise<T>,
): Promise<T> {
  if (!validator?.isAsked) return write(() => {});
  const judged = new Set<string>();
  const check = (changes: readonly Change[]): void => {
    if (changes.length === 0) return;
    const key = keyOf(changes);
    if (!judged.has(key)) throw new Unjudged(changes, key);
  };
  for (let run = 1; run <= maxRuns; run++) {
    try {
      return await write(check);
    } catch (error) {
      if (!(error instanceof Unjudged)) throw error;
      assertPasses(await validator.judge(error.changes), validator.isRequired);
      judged.add(error.key);
    }
  }
  throw new AppError("write_contention", { detail: "other writers change the same objects all the time" });
}

/** One write, its outcome and changes, checked at the end of its work. @throws what `validated` and the store throw */
export function writeValidated<T>(
  store: Pick<Store, "write">,
  validator: Parameters<typeof validated>[0],
  author: Author,
  work: (tx: WriteTx) => Promise<T>,
  choices: WriteChoices,
): Promise<Written<T>> {
  const checked = (check: (changes: readonly Change[]) => void) => async (tx: WriteTx) => {
    const outcome = await work(tx);
    check(tx.netChanges());
    return outcome;
  };
  return validated(validator, (check) => store.write(author, checked(check), choices));
}

function assertPasses(verdict: Verdict, isRequired: boolean): void {
  switch (verdict.kind) {
    case "passed":
      return;
    case "refused":
      throw refusedByValidation(verdict);
    case "off":
      if (isRequired) throw new AppError("validation_unavailable", { reason: "off" });
      return;
    case "unknown":
      if (isRequired) throw new AppError("validation_unavailable", { reason: verdict.reason, detail: verdict.detail });
  }
}

function refusedByValidation({ detail, object }: Extract<Verdict, { readonly kind: "refused" }>): AppError {
  const where = object ? `${object.kind} ${object.name}: ` : "";
  const facts = { detail: `Envoy refuses ${where}${detail}`, envoy: detail, ...(object ? { object } : {}) };
  return new AppError("refused_by_validation", facts, [], object && new RefusedObject(object));
}

/** An object as a verdict names it. */
export type ObjectName = NonNullable<Extract<Verdict, { readonly kind: "refused" }>["object"]>;

/** What Envoy refuses, at its place in the body where it has one. Any other error is as it was. */
export function pointedOut(error: unknown, pointerTo: (object: ObjectName) => string | undefined): unknown {
  if (!(error instanceof AppError) || !(error.cause instanceof RefusedObject)) return error;
  const pointer = pointerTo(error.cause.object);
  if (pointer === undefined) return error;
  return new AppError(error.code, error.facts, [problem(pointer, "envoy_refuses", String(error.facts["envoy"]))], error);
}

/** The object at fault, for whoever knows where it stands in the body. */
class RefusedObject extends Error {
  constructor(readonly object: ObjectName) {
    super(`Envoy refuses ${object.kind} ${object.name}`);
  }
}

/** The same changes, whatever was there before them. */
function keyOf(changes: readonly Change[]): string {
  const hash = createHash("sha256");
  for (const { kind, name, after } of changes) hash.update(JSON.stringify([kind, name, after ?? null]));
  return hash.digest("hex");
}
