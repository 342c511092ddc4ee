// A disk that is soon full: a small tmpfs, which only root can mount. In: nothing. Out: its folder; gone when the test file ends.
// Called by faulty-run.ts.
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdir, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { isRoot } from "../../src/demo/postgres-folders.js";
import { onCleanup } from "../support/cleanup.js";

const run = promisify(execFile);
/** An empty cluster is 40 MB; the primary keeps as much of its log for a standby as killable-postgres.ts says. */
const megabytes = 448;

/** undefined: nobody but root can, or this system can't. */
export async function mountSmallDisk(): Promise<string | undefined> {
  if (!isRoot() || process.platform !== "linux") return undefined;
  const folder = join(tmpdir(), `chancery-test-disk-${randomUUID()}`);
  await mkdir(folder, { mode: 0o755 });
  const isMounted = await run("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m,mode=755`, "tmpfs", folder]).then(
    () => true,
    () => false,
  );
  if (!isMounted) {
    await rmdir(folder);
    return undefined;
  }
  onCleanup("small disk", async () => {
    await run("umount", ["-l", folder]);
    await rmdir(folder);
  });
  return folder;
}
