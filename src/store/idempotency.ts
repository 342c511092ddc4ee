// Writes that are done once for one key, however often they are asked for. In: the key and a hash of what is asked. Out: the first
// write's answer, from its own transaction, or leave to do it. Two that come together wait for one another at the key's row.
// Called by write.ts.
import { AppError } from "../errors.js";
import type { Revision } from "../model/revision.js";
import type { RevisionMark } from "./revisions.js";
import type { Transaction } from "./transaction.js";

/** A client's key, and what tells its request from others. */
export interface Idempotency {
  readonly key: string;
  readonly requestHash: string;
}

/** What the first write under a key came to. */
export interface FirstAnswer {
  /** As JSON holds it. */
  readonly value: unknown;
  readonly committed: RevisionMark | undefined;
}

/** Answers are kept for this long. */
const retention = "24 hours";
/** Older ones that each write under a key deletes: more than it adds, and few enough not to be felt. */
const cleanUpStep = 20;

/** undefined: the key is new, and this transaction's. @throws idempotency_key_reused */
export async function claimKey(transaction: Transaction, { key, requestHash }: Idempotency): Promise<FirstAnswer | undefined> {
  await transaction.query(
    `delete from idempotency_keys where key in
       (select key from idempotency_keys where at < clock_timestamp() - interval '${retention}' order by at limit ${cleanUpStep} for update skip locked)`,
  );
  // Waits for another transaction that has just made the row: what that one answers is then seen below.
  const made = await transaction.query(
    "insert into idempotency_keys (key, request_hash) values ($1, $2) on conflict (key) do nothing returning key",
    [key, requestHash],
  );
  if (made.length > 0) return undefined;
  // Locked, so that this transaction's commit waits for a synchronous standby: a restarted primary shows what its standby may not have.
  const [first] = await transaction.query<{
    request_hash: string;
    answer: unknown;
    id: string | null;
    revision: Revision | null;
  }>(
    `select known.request_hash, known.answer, known.revision_id::text as id, revisions.revision
       from idempotency_keys as known left join revisions on revisions.id = known.revision_id where known.key = $1 for update of known`,
    [key],
  );
  if (first?.request_hash !== requestHash)
    throw new AppError("idempotency_key_reused", { detail: "the Idempotency-Key was used for another request before" });
  const { answer, id, revision } = first;
  return { value: answer, committed: id !== null && revision !== null ? { id, revision } : undefined };
}

/** To be called before the commit. `id`: of the revision that it makes; undefined: it makes none. */
export async function rememberAnswer(
  transaction: Transaction,
  { key }: Idempotency,
  answer: unknown,
  id: string | undefined,
): Promise<void> {
  await transaction.query("update idempotency_keys set answer = $2, revision_id = $3 where key = $1", [
    key,
    JSON.stringify(answer ?? null),
    id,
  ]);
}
