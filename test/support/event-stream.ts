// A client of server-sent events, for tests: reads events one by one. In: an address. Out: what came, and whether it has ended.
// Written apart from the server: it knows the standard, https://html.spec.whatwg.org/#parsing-an-event-stream, and nothing of ours.
import { waitFor } from "./wait.js";

/** One event; comments (heartbeats) are counted, not listed. */
export interface ServerEvent {
  readonly event: string;
  readonly id: string | undefined;
  readonly data: unknown;
}

export interface EventStream {
  readonly status: number;
  readonly headers: Headers;
  readonly events: readonly ServerEvent[];
  /** True once the server has ended it, or the connection was cut. */
  readonly ended: boolean;
  /** The first event that fits, come or to come. */
  next(what: string, fits: (event: ServerEvent) => boolean): Promise<ServerEvent>;
  close(): void;
}

function parseBlock(block: string): ServerEvent | undefined {
  const fields = new Map<string, string>();
  for (const line of block.split("\n")) {
    const [, name = "", value = ""] = /^([a-z]+): ?(.*)$/.exec(line) ?? [];
    if (name !== "") fields.set(name, value);
  }
  const data = fields.get("data");
  return data === undefined
    ? undefined
    : { event: fields.get("event") ?? "message", id: fields.get("id"), data: JSON.parse(data) };
}

/** Resolves when the answer begins. */
export async function openEventStream(url: string, headers: Readonly<Record<string, string>> = {}): Promise<EventStream> {
  const abort = new AbortController();
  const response = await fetch(url, { headers, signal: abort.signal });
  const events: ServerEvent[] = [];
  const state = { ended: false };
  const read = async (): Promise<void> => {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const bytes of response.body ?? []) {
      rest += decoder.decode(bytes, { stream: true });
      const blocks = rest.split("\n\n");
      rest = blocks.pop() ?? "";
      events.push(...blocks.flatMap((block) => parseBlock(block) ?? []));
    }
  };
  void read()
    .catch(() => {})
    .finally(() => {
      state.ended = true;
    });
  return {
    status: response.status,
    headers: response.headers,
    events,
    get ended() {
      return state.ended;
    },
    next: (what, fits) => waitFor(what, () => events.find(fits)),
    close: () => abort.abort(),
  };
}
