// Which refusals are new: an Envoy that is shown the same bytes again, or a stream that is read again, says nothing new.
// In: nodes after an answer. Out: each refusal once, while it is remembered. In memory, per replica: one that restarts, or to which an
// Envoy moves, tells what still stands once more. Owned by: fleet.ts.
import type { ResourceException } from "../model/node.js";
import type { ResourceType } from "../model/resource-type.js";
import type { Revision } from "../model/revision.js";
import { type FleetNode, isRefusal } from "./fleet-node.js";

/** One Envoy said no to one resource, in its own words. */
export interface NewRefusal {
  readonly node: string;
  readonly gateway: string;
  readonly type: ResourceType;
  readonly resource: string;
  /** Routes of a RouteConfiguration that are at fault; undefined: all of the resource. */
  readonly parts: readonly string[] | undefined;
  /** Of the bytes that were refused. */
  readonly revision: Revision;
  readonly detail: string;
  /** ms since the epoch, this replica's clock. */
  readonly at: number;
}

/** Refusals that are remembered; beyond it the oldest may be told again. */
const maxRemembered = 10_000;

/** Tells refusals apart from their repeats. */
export class RefusalLog {
  readonly #read = new WeakMap<FleetNode, readonly ResourceException[]>();
  /** The oldest first. */
  readonly #told = new Set<string>();

  constructor(private readonly onNew: (refusal: NewRefusal) => void) {}

  /** After each answer; cheap while the node's exceptions are the same ones. */
  look(node: FleetNode): void {
    if (this.#read.get(node) === node.exceptions) return;
    this.#read.set(node, node.exceptions);
    for (const exception of node.exceptions) if (isRefusal(exception)) this.#tell(node, exception);
  }

  #tell(node: FleetNode, { type, name, parts, revision, detail, at }: ResourceException): void {
    const key = JSON.stringify([node.id, type, name, parts ?? [], revision]);
    if (this.#told.has(key)) return;
    this.#told.add(key);
    for (const oldest of this.#told) {
      if (this.#told.size <= maxRemembered) break;
      this.#told.delete(oldest);
    }
    this.onNew({ node: node.id, gateway: node.gateway, type, resource: name, parts, revision, detail, at });
  }
}
