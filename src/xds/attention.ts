// Which types of one stream need a look: those that were not at rest when they were last looked at, those that something happened to,
// and those whose table has moved on. A thousand streams hold more than a processor's cache does, so what is at rest is not even read.
// Owned by: node-stream.ts.
import type { ResourceType } from "../model/resource-type.js";
import type { Seq } from "../snapshot/resource.js";
import type { ResourceTable } from "../snapshot/resource-table.js";
import { allTypes, typeBits } from "../status/node-report.js";

export class Attention {
  /** Mask of types. */
  #awake: number = allTypes;
  /** Mask of types that were looked at, or that something happened to, since this was last asked. */
  #touched = 0;
  /** All types have been looked at with what the tables held then. */
  #seq: Seq = -1;

  constructor(private readonly tables: Readonly<Record<ResourceType, ResourceTable>>) {}

  /** Something happened to the type. */
  wake(type: ResourceType): void {
    this.#awake |= typeBits[type];
    this.#touched |= typeBits[type];
  }

  needs(type: ResourceType): boolean {
    return (this.#awake & typeBits[type]) !== 0 || this.tables[type].seq > this.#seq;
  }

  /** The type was looked at. */
  looked(type: ResourceType, isAtRest: boolean): void {
    this.#touched |= typeBits[type];
    if (isAtRest) this.#awake &= ~typeBits[type];
    else this.#awake |= typeBits[type];
  }

  /** All that needed it were looked at (`seq`: of the newest publication); or not, and the rest is to be looked at next time. */
  finish(seq: Seq): void {
    this.#seq = seq;
  }
  breakOff(): void {
    this.#awake = allTypes;
    this.#touched = allTypes;
  }

  takeTouched(): number {
    const touched = this.#touched;
    this.#touched = 0;
    return touched;
  }
}
