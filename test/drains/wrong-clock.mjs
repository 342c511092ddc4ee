// A process whose clock is wrong by WRONG_CLOCK_MS: Date and everything that reads it, not performance.now() nor timers.
// Loaded before the program itself, by `node --import`. Called by faults.envoy.test.ts.
const wrongMs = Number(process.env.WRONG_CLOCK_MS);
const RightDate = Date;

globalThis.Date = class Date extends RightDate {
  constructor(...args) {
    if (args.length === 0) super(RightDate.now() + wrongMs);
    else super(...args);
  }
  static now() {
    return RightDate.now() + wrongMs;
  }
};
