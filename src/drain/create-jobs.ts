// The loops of this room, with what wakes which: drains of endpoints and of Envoys, leases, whose ends begin drains, and rebalances, whose
// steps are drains.
// In: the other rooms, as app.ts has them. Out: their starts and stops. Called by app.ts.
import type { Store, WriteTx } from "../store/store.js";
import type { Metrics } from "../telemetry/metrics.js";
import { DrainJobs } from "./drain-jobs.js";
import { LeaseJobs, type StartedByLease } from "./lease-jobs.js";
import { NodeDrainJobs, type NodeDrainJobsOptions } from "./node-drain-jobs.js";
import { RebalanceJobs, type RebalanceJobsOptions } from "./rebalance-jobs.js";

/** What the loops are made of. */
export interface CreateJobsOptions extends Omit<RebalanceJobsOptions, "onDrain" | "loads">, Omit<NodeDrainJobsOptions, "loads"> {
  readonly loads: RebalanceJobsOptions["loads"] & NodeDrainJobsOptions["loads"];
  readonly store: Pick<Store, "drains" | "leases" | "nodeDrains" | "rebalances" | "work">;
  readonly metrics: Metrics;
  /** Begins an ordinary drain of one endpoint, within the transaction. */
  readonly startDrain: (tx: WriteTx, drain: StartedByLease) => Promise<void>;
  /** A drain may have begun or ended. */
  readonly hintWatch: () => void;
}

/** Between `start` and `stop`. */
export interface Jobs {
  start(): void;
  /** To be called before the API stops: nobody can renew then. */
  stopLeases(): Promise<void>;
  stop(): Promise<void>;
  readonly onDrain: () => void;
  readonly onRebalance: () => void;
}

export function createJobs({ startDrain, hintWatch, ...options }: CreateJobsOptions): Jobs {
  const { log, metrics, store } = options;
  const drains = new DrainJobs({ store, log, metrics });
  const nodeDrains = new NodeDrainJobs(options);
  const onDrain = (): void => {
    drains.wake();
    nodeDrains.wake();
    hintWatch();
  };
  const rebalances = new RebalanceJobs({ ...options, onDrain });
  const leases = new LeaseJobs({ store, startDrain, onDrain, log, metrics });
  return {
    onDrain,
    onRebalance: () => {
      onDrain(); // One that was under way for it may have been cancelled.
      rebalances.wake();
    },
    start: () => {
      for (const jobs of [drains, nodeDrains, leases, rebalances]) jobs.start();
    },
    stopLeases: () => leases.stop(),
    async stop() {
      await rebalances.stop();
      await Promise.all([drains.stop(), nodeDrains.stop()]);
    },
  };
}
