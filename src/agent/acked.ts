// What one Envoy has acked, learned from the messages that pass by. Pure: the clock is an argument.
// In: requests and responses of its stream. Out: what another process of this Envoy may start with. Owned by node-keeper.ts.
import { decodeNames, type Request } from "../xds/request.js";
import { typeUrls } from "../xds/type-urls.js";
import type { AckedResource, DeltaResponse } from "./delta-messages.js";

/** type URL → name → resource. */
export type AckedTypes = ReadonlyMap<string, ReadonlyMap<string, AckedResource>>;

/** No message for this long, and nothing unanswered: what is acked belongs together. */
const quietMs = 1_000;
/** Envoy holds back answers of clusters while one of them warms. After this long what is known is kept without them. */
const longestWaitMs = 30_000;
/** Responses without an answer. A control plane has one on its way for each type, and up to 40 while it looks for a refused one. */
const maxPending = 4_096;

export class Acked {
  #types: Map<string, Map<string, AckedResource>>;
  /** Types of this stream that were asked for, and those of them that need no answer any more to be whole. */
  #asked = new Set<string>();
  #whole = new Set<string>();
  /** type URL and nonce, as nonces of different types may be equal → what it brought. */
  #pending = new Map<string, DeltaResponse>();
  #activeAt = 0;
  /** Since when something differs from what was last taken; undefined: nothing does. */
  #changedAt: number | undefined;

  constructor(types: AckedTypes = new Map()) {
    this.#types = new Map([...types].map(([type, resources]) => [type, new Map(resources)]));
  }

  /** A stream begins; its Envoy says in the first request for each type what it has. */
  opened(): void {
    [this.#asked, this.#whole, this.#pending] = [new Set(), new Set(), new Map()];
  }

  /**
   * Names of which the Envoy has a form that is not known here: the control plane must send them again, or they would be missing from
   * what is kept for ever.
   */
  request(request: Request, now: number): ReadonlySet<string> {
    this.#activeAt = now;
    const { typeUrl, initialVersions, nonce } = request;
    const held = this.#of(typeUrl);
    const isFirst = !this.#asked.has(typeUrl);
    this.#asked.add(typeUrl);
    for (const name of decodeNames(request.unsubscribe)) this.#forget(held, name, now);
    if (nonce !== "") this.#answered(`${typeUrl} ${nonce}`, request.refusal !== undefined, now);
    if (!isFirst) return none;
    for (const name of [...held.keys()]) if (!initialVersions.has(name)) this.#forget(held, name, now);
    const unknown = [...initialVersions].filter(([name, version]) => held.get(name)?.version !== version).map(([name]) => name);
    // With nothing unknown there may be nothing to send, and then no response comes.
    if (initialVersions.size > 0 && unknown.length === 0) this.#whole.add(typeUrl);
    return new Set(unknown);
  }

  /** @throws RangeError when the Envoy answers nothing any more */
  response(response: DeltaResponse, now: number): void {
    this.#activeAt = now;
    this.#whole.add(response.typeUrl);
    this.#pending.set(`${response.typeUrl} ${response.nonce}`, response);
    if (this.#pending.size > maxPending) throw new RangeError(`${maxPending} responses without an answer`);
  }

  /** When to ask `take` again, ms; Infinity: nothing has changed. */
  dueAt(): number {
    if (this.#changedAt === undefined) return Number.POSITIVE_INFINITY;
    const late = this.#changedAt + longestWaitMs;
    return this.#isSettled() ? Math.min(late, this.#activeAt + quietMs) : late;
  }

  /** What belongs together by now; undefined: nothing has changed, or it is too early to tell. */
  take(now: number): AckedTypes | undefined {
    if (now < this.dueAt() || !this.#isWhole()) return undefined;
    this.#changedAt = undefined;
    const taken = new Map<string, ReadonlyMap<string, AckedResource>>();
    for (const type of this.#asked) taken.set(type, new Map(this.#of(type)));
    taken.set(typeUrls.cluster, this.#withWarmClusters());
    return taken;
  }

  /** Everything that is known of the Envoy. */
  get types(): AckedTypes {
    return this.#types;
  }

  #of(typeUrl: string): Map<string, AckedResource> {
    const known = this.#types.get(typeUrl) ?? new Map<string, AckedResource>();
    this.#types.set(typeUrl, known);
    return known;
  }

  /** An Envoy that has just started has its listeners last: without them it would serve nothing. */
  #isWhole(): boolean {
    return this.#asked.has(typeUrls.listener) && this.#asked.has(typeUrls.cluster) && this.#asked.size === this.#whole.size;
  }

  #isSettled(): boolean {
    return this.#isWhole() && this.#pending.size === 0;
  }

  #answered(key: string, isRefused: boolean, now: number): void {
    const response = this.#pending.get(key);
    this.#pending.delete(key);
    if (!response || isRefused) return;
    const { typeUrl, resources, removed } = response;
    const held = this.#of(typeUrl);
    for (const name of removed) this.#forget(held, name, now);
    for (const resource of resources) {
      if (held.get(resource.name)?.version === resource.version) continue;
      // A copy: the chunk that it is a view of may be a hundred times as large.
      held.set(resource.name, { ...resource, bytes: Buffer.from(resource.bytes) });
      this.#changedAt ??= now;
    }
  }

  #forget(held: Map<string, AckedResource>, name: string, now: number): void {
    if (held.delete(name)) this.#changedAt ??= now;
  }

  /** An Envoy that has acked a cluster's endpoints has the cluster, whose own answer waits for others that came with it. */
  #withWarmClusters(): ReadonlyMap<string, AckedResource> {
    const clusters = new Map(this.#of(typeUrls.cluster));
    const endpoints = this.#of(typeUrls.endpoint);
    for (const response of this.#pending.values()) {
      if (response.typeUrl !== typeUrls.cluster) continue;
      for (const resource of response.resources) if (endpoints.has(resource.name)) clusters.set(resource.name, resource);
    }
    return clusters;
  }
}

const none: ReadonlySet<string> = new Set();
