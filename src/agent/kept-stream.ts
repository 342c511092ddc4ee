// Serves what was kept to an Envoy that starts while no control plane answers: incremental xDS, of a state that never changes.
// Pure. In: requests. Out: responses. Called by ads-stream.ts.
import { decodeNames, type Request } from "../xds/request.js";
import type { AckedTypes } from "./acked.js";
import type { AckedResource, DeltaResponse } from "./delta-messages.js";

export class KeptStream {
  readonly #asked = new Set<string>();
  #nonces = 0;

  constructor(private readonly kept: AckedTypes) {}

  /**
   * The answer, if the request asks for something. A name that was not kept is told to be gone: without an answer Envoy waits for it for
   * ever (envoy.md §2).
   */
  receive(request: Request): DeltaResponse | undefined {
    const { typeUrl } = request;
    const isFirst = !this.#asked.has(typeUrl);
    this.#asked.add(typeUrl);
    const names = decodeNames(request.names);
    const isWildcard = isFirst && (names.length === 0 || names.includes("*"));
    if (!isWildcard && names.length === 0) return undefined;
    const held = this.kept.get(typeUrl) ?? new Map<string, AckedResource>();
    const resources = isWildcard ? [...held.values()] : names.flatMap((name) => held.get(name) ?? []);
    const removed = names.filter((name) => name !== "*" && !held.has(name));
    this.#nonces += 1;
    return { typeUrl, nonce: `kept.${this.#nonces}`, resources, removed };
  }
}
