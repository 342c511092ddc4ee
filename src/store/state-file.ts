// The last known good state on disk: two generations of one file, each whole or not there (ADR 0034).
// In: StateRows, now and then. Out: the newest generation that is sound and of this database. Called by snapshot/state-keeper.ts.
// A file is lines (state-form.ts) and a checksum over all of them, written aside, synced and renamed, so that a crash at any moment
// leaves the one before.
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { access, type FileHandle, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import type { StateRows } from "../model/desired-state.js";
import { fromStateLines, readStateHeader, stateFormat, toStateLines } from "./state-form.js";

/** A state as it was kept. */
export interface KeptState {
  readonly rows: StateRows;
  /** ms since 1970, by the clock of the machine that wrote it. */
  readonly writtenAt: number;
}

/** Why a file is not served; values of a metric's label. */
export type RejectReason = "damaged" | "format" | "database" | "unreadable";

export interface StateFileOptions {
  readonly folder: string;
  readonly databaseUrl: string;
  readonly onReject: (file: string, reason: RejectReason, error?: unknown) => void;
  readonly now?: () => number;
}

/** Work between two turns of the event loop, ms. */
const sliceMs = 4;
/** Lines between two looks at the clock. */
const linesPerLook = 32;
const trailerBytes = "sha256 ".length + 64 + 1;
const newline = 0x0a;

/** Which database a URL names: host, port and name, not who asks. It names the file, too. 16 hex digits. */
export function databaseMark(databaseUrl: string): string {
  const { hostname, port, pathname, searchParams } = new URL(databaseUrl);
  const place = [hostname, port || "5432", pathname, searchParams.get("host") ?? "", searchParams.get("port") ?? ""];
  return createHash("sha256").update(place.join("\n")).digest("hex").slice(0, 16);
}

export class StateFile {
  /** The newest generation, and the one before. */
  readonly newest: string;
  readonly previous: string;
  readonly #database: string;
  readonly #now: () => number;

  constructor(private readonly options: StateFileOptions) {
    this.#database = databaseMark(options.databaseUrl);
    this.newest = join(options.folder, `state-${this.#database}`);
    this.previous = `${this.newest}.previous`;
    this.#now = options.now ?? Date.now;
  }

  /**
   * Writes the next generation, in slices that leave the event loop to others. Returns its bytes.
   * @throws the file system's error; what was there before is there still
   */
  async write(rows: StateRows): Promise<number> {
    const { folder } = this.options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const aside = `${this.newest}.${process.pid}.tmp`; // Replicas of one host may share the folder.
    try {
      const file = await open(aside, "w", 0o600);
      let bytes = 0;
      try {
        bytes = await this.#writeLines(file, rows);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(this.newest, this.previous).catch(ignoreMissing);
      await rename(aside, this.newest);
      await syncFolder(folder);
      return bytes;
    } catch (error) {
      await rm(aside, { force: true }).catch(() => {});
      throw error;
    }
  }

  async #writeLines(file: FileHandle, rows: StateRows): Promise<number> {
    const hash = createHash("sha256");
    let bytes = 0;
    const append = async (text: string): Promise<void> => {
      const chunk = Buffer.from(text);
      hash.update(chunk);
      for (let from = 0; from < chunk.length; ) from += (await file.write(chunk, from)).bytesWritten;
      bytes += chunk.length;
    };
    let slice = "";
    let [lines, startedAt] = [0, performance.now()];
    for (const line of toStateLines(rows, this.#database, this.#now())) {
      slice += line;
      lines += 1;
      if (lines % linesPerLook !== 0 || performance.now() - startedAt < sliceMs) continue;
      await append(slice);
      await setImmediate();
      slice = "";
      startedAt = performance.now();
    }
    await append(slice);
    const trailer = `sha256 ${hash.digest("hex")}\n`;
    await file.write(trailer);
    return bytes + trailer.length;
  }

  /** The newest sound generation; undefined: none. A damaged one is put aside, so that it never takes the place of a good one. */
  async read(): Promise<KeptState | undefined> {
    for (const file of [this.newest, this.previous]) {
      const bytes = await readFile(file).catch((error: unknown) => {
        if (!isMissing(error)) this.options.onReject(file, "unreadable", error);
        return undefined;
      });
      if (!bytes) continue;
      const kept = readState(bytes, this.#database);
      if (typeof kept === "object") return kept;
      this.options.onReject(file, kept);
      if (kept === "damaged") await rename(file, `${file}.damaged`).catch(() => {});
    }
    return undefined;
  }

  /** Whether the folder can be written to, before anything is. @throws the file system's error */
  async check(): Promise<void> {
    await mkdir(this.options.folder, { recursive: true, mode: 0o700 });
    await access(this.options.folder, constants.W_OK | constants.X_OK);
  }
}

/** A file's content, or why it is not served. Nothing is looked at before the checksum is right. */
export function readState(bytes: Buffer, database: string): KeptState | Exclude<RejectReason, "unreadable"> {
  const end = bytes.length - trailerBytes;
  if (end <= 0 || bytes[end - 1] !== newline) return "damaged";
  const content = bytes.subarray(0, end);
  const expected = `sha256 ${createHash("sha256").update(content).digest("hex")}\n`;
  if (bytes.toString("latin1", end) !== expected) return "damaged";
  const [first = "", ...lines] = content.toString("utf8").slice(0, -1).split("\n");
  const header = readStateHeader(first);
  if (header?.format !== stateFormat) return "format";
  if (header.database !== database) return "database";
  try {
    return { rows: fromStateLines(header, lines), writtenAt: header.writtenAt };
  } catch {
    return "format"; // Written so, and of no use here: by a binary that keeps other things under this format.
  }
}

/** Renames are lasting once the folder is synced. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}
