// What a stream remembers of what it sent, and of the resources that the Envoy does not have as the table says.
import type { Revision } from "../model/revision.js";
import type { HttpRoute } from "../model/route.js";
import type { Resource, Seq } from "../snapshot/resource.js";
import type { ResourceTable } from "../snapshot/resource-table.js";
import type { Narrowing } from "./narrowing.js";
import type { Frame } from "./response.js";

/** What the Envoy has of a name: a form that we know, nothing, or something that an earlier stream gave it. */
export type Known = Resource | undefined | "unknown";

/**
 * name → what the Envoy had last accepted before, and for other names what the table had then; "table": that for all; "nothing": none of it.
 */
export type Before = ReadonlyMap<string, Known> | "nothing" | "table";

/** What the Envoy had of a name before a response that was sent when it was at `from`. */
export function knownBefore(before: Before, name: string, table: ResourceTable, from: Seq): Known {
  if (before === "nothing") return undefined;
  return before !== "table" && before.has(name) ? before.get(name) : table.at(name, from);
}

/** The same, with other forms for some names of the frame. */
export function withForms(before: Before, frame: Frame, forms: ReadonlyMap<string, Known>): Before {
  if (before === "table") return forms;
  const rest: Iterable<[string, Known]> = before === "nothing" ? frame.resources.map(({ name }) => [name, undefined]) : before;
  return new Map<string, Known>([...rest, ...forms]);
}

/** Frame → name → its form in it; undefined: taken away. Made once for all streams, and only when two responses are in flight. */
const formsInFrames = new WeakMap<Frame, ReadonlyMap<string, Resource | undefined>>();

function formsIn(frame: Frame): ReadonlyMap<string, Resource | undefined> {
  const known = formsInFrames.get(frame);
  if (known) return known;
  const forms = new Map<string, Resource | undefined>(frame.removed.map((name) => [name, undefined]));
  for (const resource of frame.resources) forms.set(resource.name, resource);
  formsInFrames.set(frame, forms);
  return forms;
}

/** Names that the frame brings or takes away. */
export function namesIn(frame: Frame): string[] {
  return [...formsIn(frame).keys()];
}
export function carries(frame: Frame, name: string): boolean {
  return formsIn(frame).has(name);
}
/** What the frame brings of the name; undefined when it takes it away, or says nothing of it. */
export function formIn(frame: Frame, name: string): Resource | undefined {
  return formsIn(frame).get(name);
}

/** A response without its answer. */
export interface Sent {
  readonly nonce: string;
  /** Grows with each response of the stream and type. */
  readonly ordinal: number;
  readonly at: number;
  /** main: brings the stream on from `from`. trial: looks for the culprit of a refusal. repair: puts back what was there. */
  readonly kind: "main" | "trial" | "repair";
  readonly from: Seq;
  /** Until it is answered, no more than up to here is acked: what waited as an exception may be older than `from`. */
  readonly ackedUpTo: Seq;
  readonly frame: Frame;
  /** By what was accepted, not by what was sent: kept up to date by answers to other responses that are in flight at the same time. */
  before: Before;
  /** Names that the Envoy had not accepted before: clusters among them are not ready until this is answered. */
  added: ReadonlySet<string>;
  /** Names whose form is another than was accepted, the added ones among them. */
  readonly changed: ReadonlySet<string>;
  /** Names that went out in another form before, without being accepted: a change for an Envoy that has that one. */
  readonly reshaped: ReadonlySet<string>;
  /** How often it was looked at for want of an answer (node-stream.ts, "Clusters that Envoy keeps silent about"). */
  looks: number;
}

export interface Refusal {
  readonly hash: string;
  /** Of the refused bytes: whose author is told. */
  readonly revision: Revision;
  readonly detail: string;
  /** When the same bytes may go out again; Infinity: never. */
  readonly retryAt: number;
  readonly count: number;
}

/** A route as the Envoy refused it. */
export interface BadForm {
  readonly form: HttpRoute;
  readonly revision: Revision;
  readonly detail: string;
}

/** A name for which the Envoy does not have what the table has. */
export interface Exception {
  /**
   * stale: to be compared and sent. queued, trying: suspect of a refusal. refused: by the Envoy. held: waits for a cluster.
   * removing: gone, but maybe still in use. unanswered: taken back, as the Envoy said nothing.
   */
  readonly state: "stale" | "queued" | "trying" | "refused" | "held" | "removing" | "unanswered";
  readonly has: Known;
  readonly at: number;
  readonly refusal?: Refusal | undefined;
  /** removing: when to look again, ms; and not before this time, whatever is acked. */
  readonly dueAt?: number | undefined;
  readonly notBefore?: number | undefined;
  /** Of a RouteConfiguration: the forms that the Envoy refused, and the routes kept in an earlier form. */
  readonly badForms?: ReadonlyMap<string, BadForm> | undefined;
  readonly keptBack?: readonly string[] | undefined;
  /** Of a RouteConfiguration on trial. */
  readonly trial?:
    | { readonly base: Resource; readonly before: Resource | undefined; readonly narrowing: Narrowing; readonly detail: string }
    | undefined;
}

/** name → exception, of one type on one stream. */
export class ExceptionMap extends Map<string, Exception> {
  /** Grows whenever something in it changes: who has read it need not read it again. */
  changes = 0;

  override set(name: string, exception: Exception): this {
    this.changes += 1;
    return super.set(name, exception);
  }
  override delete(name: string): boolean {
    const wasThere = super.delete(name);
    if (wasThere) this.changes += 1;
    return wasThere;
  }

  /** When the next of them is to be looked at again although nothing came, ms; Infinity: none. */
  nextAt(): number {
    let at = Number.POSITIVE_INFINITY;
    if (this.size === 0) return at;
    for (const { state, refusal, dueAt } of this.values()) {
      if (state === "refused" || state === "unanswered") at = Math.min(at, refusal?.retryAt ?? at);
      else if (state === "removing") at = Math.min(at, dueAt ?? at);
    }
    return at;
  }
}

/** The form that we know the Envoy has, if any. */
export function formOf(known: Known): Resource | undefined {
  return known === "unknown" ? undefined : known;
}

/** What is remembered of a node over its reconnects to this replica. */
export interface NodeMemory {
  /** `<type>/<name>` → what it refused, until it takes those bytes. */
  readonly refusals: Map<string, Refusal>;
  /** RouteConfiguration → the variant that it has, where that is not what the table has. */
  readonly variants: Map<string, { readonly has: Resource; readonly badForms: ReadonlyMap<string, BadForm> | undefined }>;
}
