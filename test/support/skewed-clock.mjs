// A process whose clock is wrong: loaded by NODE_OPTIONS=--import, it shifts Date by CHANCERY_TEST_CLOCK_SKEW_MS. Durations
// (performance.now, timers) are as they are: a clock that is wrong runs on all the same.
const skewMs = Number(process.env["CHANCERY_TEST_CLOCK_SKEW_MS"] ?? 0);
const RealDate = Date;

globalThis.Date = class extends RealDate {
  constructor(...given) {
    if (given.length === 0) super(RealDate.now() + skewMs);
    else super(...given);
  }
  static now() {
    return RealDate.now() + skewMs;
  }
};
