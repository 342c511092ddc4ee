// What one stream asked for of one type. Delta names grow and shrink; state of the world names the whole list each time.
// In: requests. Out: what is asked for now, and what is owed an answer although nothing changed.
// https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol (how the client specifies what resources to return)
import type { ResourceType } from "../model/resource-type.js";
import { NameSet } from "./name-set.js";
import type { Request } from "./request.js";
import type { Asked } from "./shared-frames.js";

/** Types whose state of the world is the whole list, what it lacks is gone, and which may be asked for without names. */
export function isListed(type: ResourceType): boolean {
  return type === "cluster" || type === "listener";
}

export class Subscription {
  #isAsked = false;
  #isWildcard = false;
  #names = NameSet.empty;
  /** State of the world: the last list, as it came; an ack that repeats it is not decoded. */
  #lastList: Buffer | undefined;

  constructor(private readonly type: ResourceType) {}

  /** Whether any request for the type has come. */
  get isAsked(): boolean {
    return this.#isAsked;
  }
  get isWildcard(): boolean {
    return this.#isWildcard;
  }
  get names(): NameSet {
    return this.#names;
  }
  get asked(): Asked {
    return this.#isWildcard ? "all" : this.#names;
  }
  includes(name: string): boolean {
    return this.#isWildcard || this.#names.has(name);
  }

  assumeWildcard(): void {
    this.#isAsked = true;
    this.#isWildcard = true;
  }

  /** Takes a delta request. What it subscribes to is owed an answer, also when it was subscribed to before. */
  updateDelta(request: Request): Asked | undefined {
    const isFirst = !this.#isAsked;
    this.#isAsked = true;
    const added = NameSet.ofRaw(request.names);
    const dropped = NameSet.ofRaw(request.unsubscribe);
    const wasWildcard = this.#isWildcard;
    this.#names = this.#names.plus(request.names).minus(request.unsubscribe);
    const isImplicit = isFirst && added.size === 0 && isListed(this.type);
    this.#isWildcard = added.has("*") || isImplicit || (wasWildcard && !dropped.has("*"));
    if (this.#isWildcard && !wasWildcard) return "all";
    return added.size > 0 ? added : undefined;
  }

  /**
   * Takes a state-of-the-world request. `owed`: names that are new in it, or all of them when it answers nothing.
   * `isChanged`: the list is another than before.
   */
  updateSotw(request: Request): { owed: Asked | undefined; isChanged: boolean } {
    const isFirst = !this.#isAsked;
    this.#isAsked = true;
    if (!isFirst && request.nonce !== "" && this.#lastList?.equals(request.names.bytes))
      return { owed: undefined, isChanged: false };
    const isChanged = isFirst || !this.#lastList?.equals(request.names.bytes);
    this.#lastList = Buffer.from(request.names.bytes);
    const before = this.#names;
    this.#names = NameSet.ofRaw(request.names);
    this.#isWildcard = this.#names.has("*") || (isListed(this.type) && this.#names.size === 0 && (isFirst || this.#isWildcard));
    if (request.nonce === "") return { owed: this.asked, isChanged };
    const added = this.#isWildcard ? NameSet.empty : this.#names.without(before);
    return { owed: added.size > 0 ? added : undefined, isChanged };
  }
}
