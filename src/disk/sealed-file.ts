// A file that is there whole or not at all: lines and a checksum over them, written aside, synced and renamed, with the generation
// before beside it (ADR 0034). In: lines. Out: the newest generation that is sound. Called by store/state-file.ts and agent/kept-file.ts.
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { access, type FileHandle, mkdir, open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";

/** A sound file whose content is not for whoever reads it: why; `damaged` and `unreadable` are found here. */
export type Unfit<R extends string> = R | "damaged" | "unreadable";

export interface SealedFileOptions<R extends string> {
  readonly folder: string;
  readonly name: string;
  readonly onReject: (file: string, reason: Unfit<R>, error?: unknown) => void;
}

/** Work between two turns of the event loop, ms. */
const sliceMs = 4;
/** Lines between two looks at the clock. */
const linesPerLook = 32;
const trailerBytes = "sha256 ".length + 64 + 1;
const newline = 0x0a;

export class SealedFile<R extends string = never> {
  /** The newest generation, and the one before. */
  readonly newest: string;
  readonly previous: string;

  constructor(private readonly options: SealedFileOptions<R>) {
    this.newest = join(options.folder, options.name);
    this.previous = `${this.newest}.previous`;
  }

  /**
   * Writes the next generation, in slices that leave the event loop to others. Each line ends with a newline. Returns its bytes.
   * @throws the file system's error; what was there before is there still
   */
  async write(lines: Iterable<string>): Promise<number> {
    const { folder } = this.options;
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const aside = `${this.newest}.${process.pid}.tmp`; // Processes of one host may share the folder.
    try {
      const file = await open(aside, "w", 0o600);
      let bytes = 0;
      try {
        bytes = await writeLines(file, lines);
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

  /**
   * What `accept` makes of the newest generation that is sound and fits; undefined: none. A damaged one is put aside, so that it never
   * takes the place of a good one.
   */
  async read<T extends object>(accept: (lines: readonly string[]) => T | R): Promise<T | undefined> {
    for (const file of [this.newest, this.previous]) {
      const bytes = await readFile(file).catch((error: unknown) => {
        if (!isMissing(error)) this.options.onReject(file, "unreadable", error);
        return undefined;
      });
      if (!bytes) continue;
      const lines = unseal(bytes);
      const accepted = lines === undefined ? "damaged" : accept(lines);
      if (typeof accepted === "object") return accepted;
      this.options.onReject(file, accepted);
      if (lines === undefined) await rename(file, `${file}.damaged`).catch(() => {});
    }
    return undefined;
  }

  /** Whether the folder can be written to, before anything is. @throws the file system's error */
  async check(): Promise<void> {
    await mkdir(this.options.folder, { recursive: true, mode: 0o700 });
    await access(this.options.folder, constants.W_OK | constants.X_OK);
  }
}

/** The lines of a file, without their newlines; undefined: it is damaged. Nothing is looked at before the checksum is right. */
export function unseal(bytes: Buffer): string[] | undefined {
  const end = bytes.length - trailerBytes;
  if (end <= 0 || bytes[end - 1] !== newline) return undefined;
  const content = bytes.subarray(0, end);
  const expected = `sha256 ${createHash("sha256").update(content).digest("hex")}\n`;
  return bytes.toString("latin1", end) === expected ? content.toString("utf8").slice(0, -1).split("\n") : undefined;
}

async function writeLines(file: FileHandle, lines: Iterable<string>): Promise<number> {
  const hash = createHash("sha256");
  let bytes = 0;
  const append = async (text: string): Promise<void> => {
    const chunk = Buffer.from(text);
    hash.update(chunk);
    for (let from = 0; from < chunk.length; ) from += (await file.write(chunk, from)).bytesWritten;
    bytes += chunk.length;
  };
  let slice = "";
  let [count, startedAt] = [0, performance.now()];
  for (const line of lines) {
    slice += line;
    count += 1;
    if (count % linesPerLook !== 0 || performance.now() - startedAt < sliceMs) continue;
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
