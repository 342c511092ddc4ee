// A time as a person writes it on a command line. In: text. Out: ms. Called by whoever has an option that is one.
import { CommandError, exitCodes } from "./exit-codes.js";

const units: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** In ms, both included. */
export interface DurationBounds {
  /** Default: 0. */
  readonly least?: number;
  readonly most: number;
}

/** `500ms`, `60s`, `5m`, `1h`, or `500`, which is ms. @throws CommandError (usage) that says the bound */
export function toDurationMs(given: string, { least = 0, most }: DurationBounds): number {
  const found = /^(\d{1,8})(ms|s|m|h)?$/.exec(given);
  const ms = found ? Number(found[1]) * (units[found[2] ?? "ms"] ?? Number.NaN) : Number.NaN;
  if (ms >= least && ms <= most) return ms;
  throw new CommandError(
    exitCodes.usage,
    `A time is written 500ms, 60s, 5m or 1h, at most ${shown(most)}; got ${JSON.stringify(given)}.`,
  );
}

function shown(ms: number): string {
  const unit = ["h", "m", "s"].find((one) => ms % (units[one] ?? 1) === 0) ?? "ms";
  return `${ms / (units[unit] ?? 1)}${unit}`;
}
