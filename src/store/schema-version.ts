// Whether this program may work with the database's schema: the number of its newest migration against the row that migrations keep
// (migrations/0013_schema.sql). A schema may be newer as long as it says so (expand); one that is not is refused (contract).
// In: that row, read with each poll of the feed and each full load. Out: a failure, or nothing. Called by the rest of this room.
import { AppError } from "../errors.js";

/** The newest migration that this program was built with; a test compares it with the folder. */
export const schemaVersion = 15;

/** The row, as queries of the feed and of full loads bring it. */
export interface SchemaColumns {
  readonly schema_version: number | null;
  readonly compatible_from: number | null;
}

/** What keeps the program of `own` from working with such a schema; undefined: nothing does. */
export function schemaFault(
  { schema_version: version, compatible_from: compatibleFrom }: SchemaColumns,
  own = schemaVersion,
): AppError | undefined {
  if ((version ?? 0) < own) {
    const detail = `its schema is older than this program (${version ?? 0}, and ${own} is needed): run \`chancery migrate\``;
    return new AppError("database_unavailable", { detail }, [], new Error(detail));
  }
  if ((compatibleFrom ?? 0) <= own) return undefined;
  const detail = `the database's schema is ${version} and takes programs from ${compatibleFrom} on; this one is of ${own}: run the newer release`;
  return new AppError("schema_too_new", { schema: version, compatibleFrom, program: own, detail }, [], new Error(detail));
}

/** Remembers what the last look said, so that a replica that must not go on sends the database nothing more but the next look. */
export class SchemaGate {
  #tooNew: AppError | undefined;

  /** To be called with what a look brought. @throws schema_too_new, database_unavailable (it is too old) */
  see(columns: SchemaColumns): void {
    const fault = schemaFault(columns);
    this.#tooNew = fault?.code === "schema_too_new" ? fault : undefined;
    if (fault) throw fault;
  }

  /** @throws schema_too_new, when the last look said so */
  check(): void {
    if (this.#tooNew) throw this.#tooNew;
  }

  /** Why this replica must not go on, in words; undefined: it may. */
  get reason(): string | undefined {
    const detail = this.#tooNew?.facts["detail"];
    return typeof detail === "string" ? detail : undefined;
  }
}
