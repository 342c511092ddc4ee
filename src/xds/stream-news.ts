// What of a stream status/ should read again: compared with what was told before, and not noted by each event, as most events change
// nothing of it. A push by itself brings no answer: what was acked stays as it was until one comes.
// Owned by: node-stream.ts.
import { type ResourceType, resourceTypes } from "../model/resource-type.js";
import type { Seq } from "../snapshot/resource.js";
import { exceptionsBit, typeBits } from "../status/node-report.js";
import type { TypeStream } from "./type-stream.js";

/** What was told last of one type. */
interface Told {
  acked: Seq;
  isAsked: boolean;
  /** Of the exceptions. */
  changes: number;
  /** Of the table. */
  seq: Seq;
}

export class StreamNews {
  readonly #told: readonly { readonly stream: TypeStream; readonly told: Told }[];

  constructor(types: Readonly<Record<ResourceType, TypeStream>>) {
    this.#told = resourceTypes.map((type) => ({ stream: types[type], told: { acked: 0, isAsked: false, changes: 0, seq: 0 } }));
  }

  /** Bits of what is new since the last call (`typeBits`, `exceptionsBit`); 0: nothing. `touched`: mask of types that it can be of. */
  take(touched: number): number {
    let news = 0;
    for (const { stream, told } of this.#told) if (touched & typeBits[stream.type]) news |= takeOf(stream, told);
    return news;
  }
}

function takeOf(stream: TypeStream, told: Told): number {
  const { acked, exceptions, table } = stream;
  const { isAsked } = stream.subscription;
  const isAnswered = acked !== told.acked || isAsked !== told.isAsked;
  // What is held is told with the table's revision.
  const isOther = exceptions.changes !== told.changes || (exceptions.size > 0 && table.seq !== told.seq);
  if (!isAnswered && !isOther) return 0;
  told.acked = acked;
  told.isAsked = isAsked;
  told.changes = exceptions.changes;
  told.seq = table.seq;
  return (isAnswered ? typeBits[stream.type] : 0) | (isOther ? exceptionsBit : 0);
}
