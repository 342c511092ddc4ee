// The loops that bring drains to their end, of endpoints and of Envoys, as one: they start, are woken and stop together.
// In: the rooms that they look at. Out: both, running. Called by app.ts.
import { DrainJobs, type DrainJobsOptions } from "./drain-jobs.js";
import { NodeDrainJobs, type NodeDrainJobsOptions } from "./node-drain-jobs.js";

/** One per replica. */
export class DrainLoops {
  readonly #loops: readonly [DrainJobs, NodeDrainJobs];

  constructor(options: DrainJobsOptions & NodeDrainJobsOptions) {
    this.#loops = [new DrainJobs(options), new NodeDrainJobs(options)];
  }

  start(): void {
    for (const loop of this.#loops) loop.start();
  }

  /** A drain may have begun or ended: look now. */
  wake(): void {
    for (const loop of this.#loops) loop.wake();
  }

  /** Waits for the steps under way. */
  async stop(): Promise<void> {
    await Promise.all(this.#loops.map((loop) => loop.stop()));
  }
}
