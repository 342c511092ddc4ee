// The last known good state on disk: lines (state-form.ts) in a sealed file, of one database (ADR 0034).
// In: StateRows, now and then. Out: the newest generation that is sound and of this database. Called by snapshot/state-keeper.ts.
import { createHash } from "node:crypto";
import { SealedFile, type Unfit, unseal } from "../disk/sealed-file.js";
import type { StateRows } from "../model/desired-state.js";
import { fromStateLines, readStateHeader, stateFormat, toStateLines } from "./state-form.js";

/** A state as it was kept. */
export interface KeptState {
  readonly rows: StateRows;
  /** ms since 1970, by the clock of the machine that wrote it. */
  readonly writtenAt: number;
}

/** Why a file is not served; values of a metric's label. */
export type RejectReason = Unfit<"format" | "database">;

export interface StateFileOptions {
  readonly folder: string;
  readonly databaseUrl: string;
  readonly onReject: (file: string, reason: RejectReason, error?: unknown) => void;
  readonly now?: () => number;
}

/** Which database a URL names: host, port and name, not who asks. It names the file, too. 16 hex digits. */
export function databaseMark(databaseUrl: string): string {
  const { hostname, port, pathname, searchParams } = new URL(databaseUrl);
  const place = [hostname, port || "5432", pathname, searchParams.get("host") ?? "", searchParams.get("port") ?? ""];
  return createHash("sha256").update(place.join("\n")).digest("hex").slice(0, 16);
}

export class StateFile {
  readonly #file: SealedFile<"format" | "database">;
  readonly #database: string;
  readonly #now: () => number;

  constructor({ folder, databaseUrl, onReject, now = Date.now }: StateFileOptions) {
    this.#database = databaseMark(databaseUrl);
    this.#file = new SealedFile({ folder, name: `state-${this.#database}`, onReject });
    this.#now = now;
  }

  /** The newest generation's path, and the one's before. */
  get newest(): string {
    return this.#file.newest;
  }
  get previous(): string {
    return this.#file.previous;
  }

  /** Returns the bytes written. @throws the file system's error; what was there before is there still */
  write(rows: StateRows): Promise<number> {
    return this.#file.write(toStateLines(rows, this.#database, this.#now()));
  }

  /** The newest sound generation; undefined: none. */
  read(): Promise<KeptState | undefined> {
    return this.#file.read((lines) => fromLines(lines, this.#database));
  }

  /** Whether the folder can be written to, before anything is. @throws the file system's error */
  check(): Promise<void> {
    return this.#file.check();
  }
}

/** A file's content, or why it is not served. */
export function readState(bytes: Buffer, database: string): KeptState | Exclude<RejectReason, "unreadable"> {
  const lines = unseal(bytes);
  return lines ? fromLines(lines, database) : "damaged";
}

function fromLines([first = "", ...lines]: readonly string[], database: string): KeptState | "format" | "database" {
  const header = readStateHeader(first);
  if (header?.format !== stateFormat) return "format";
  if (header.database !== database) return "database";
  try {
    return { rows: fromStateLines(header, lines), writtenAt: header.writtenAt };
  } catch {
    return "format"; // Written so, and of no use here: by a binary that keeps other things under this format.
  }
}
