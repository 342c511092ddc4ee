// How long the history is kept: two keys of the environment, apart from the table for its size. Called by config-table.ts.
import { integer } from "./config-settings.js";

/** Read into `config.history`. */
export const historySettings = {
  days: integer("CHANCERY_HISTORY_DAYS", {
    unit: "days",
    default: 90,
    min: 0,
    max: 36_500,
    about:
      "Revisions older than this are pruned, by whichever replica comes first; going back any further is refused (beyond_history). 0: all are kept for ever.",
  }),
  leastRevisions: integer("CHANCERY_HISTORY_LEAST_REVISIONS", {
    unit: "revisions",
    default: 1_000,
    min: 256,
    max: 100_000_000,
    about: "So many of the newest revisions are kept whatever their age.",
  }),
} as const;
