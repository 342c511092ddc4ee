// Everything that a test file starts is closed when the file ends, whatever failed, last started first.
// Importing this module is enough: it hooks into the end of the test file that (indirectly) imports it.
// Called by every `start…` of test/support.
import { afterAll } from "vitest";

type Close = () => void | Promise<void>;
const open = new Map<string, Close>();
let serial = 0;

/** Registers `close` for the end of the file. The result takes it off the list again, for things closed earlier. */
export function onCleanup(name: string, close: Close): () => void {
  const key = `${++serial} ${name}`;
  open.set(key, close);
  return () => open.delete(key);
}

/** Closes everything now, each at most once; failures are told together after all were tried. */
export async function cleanUp(): Promise<void> {
  const failures: string[] = [];
  for (const [key, close] of [...open].reverse()) {
    open.delete(key);
    try {
      await close();
    } catch (error) {
      failures.push(`${key}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (failures.length > 0) throw new Error(`could not close ${failures.join("; ")}`);
}

afterAll(cleanUp, 60_000);
