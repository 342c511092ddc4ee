// Server-sent events of the admin API, one by one. In: an answer's body. Out: events, as they come; comments only show that it lives.
// https://html.spec.whatwg.org/#parsing-an-event-stream. Called by follow.ts.
import { isObject, type JsonObject } from "./json.js";

/** One event; its data is JSON, as all of Chancery's are. */
export interface ApiEvent {
  readonly event: string;
  readonly body: JsonObject;
}

/** Longer than any event of Chancery's: whatever sends that is something else. */
const maxBlockLength = 8 * 1024 * 1024;

function toEvent(block: string): ApiEvent | undefined {
  const fields = new Map<string, string>();
  for (const line of block.split("\n")) {
    const [, name = "", value = ""] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name !== "") fields.set(name, value);
  }
  const text = fields.get("data");
  if (text === undefined) return undefined;
  const body: unknown = JSON.parse(text);
  return isObject(body) ? { event: fields.get("event") ?? "message", body } : undefined;
}

/** `onBytes`: something came, if only a comment. @throws SyntaxError for what is not JSON, RangeError for an endless event, and the body's own */
export async function* readEvents(body: AsyncIterable<Uint8Array>, onBytes: () => void): AsyncGenerator<ApiEvent> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of body) {
    onBytes();
    rest += decoder.decode(bytes, { stream: true });
    const blocks = rest.split("\n\n");
    rest = blocks.pop() ?? "";
    if (rest.length > maxBlockLength) throw new RangeError("an event does not end");
    for (const block of blocks) {
      const event = toEvent(block);
      if (event) yield event;
    }
  }
}
