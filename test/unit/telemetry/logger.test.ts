// Promises about the log: one JSON object a line, the fields that people search by, and no secret in it.
import { Writable } from "node:stream";
import { expect, test } from "vitest";
import { AppError } from "../../../src/errors.js";
import { createLogger, failureFacts, type Logger, type LogLevel } from "../../../src/telemetry/logger.js";

function collecting(level: LogLevel): { log: Logger; lines: () => Record<string, unknown>[]; text: () => string } {
  const chunks: string[] = [];
  const sink = new Writable({
    write(chunk: Buffer, _, done) {
      chunks.push(chunk.toString());
      done();
    },
  });
  return { log: createLogger(level, sink), lines: () => chunks.map((chunk) => JSON.parse(chunk)), text: () => chunks.join("") };
}

test("a line is JSON with a level in words, a time in UTC, the fields of its children, and the sentence", () => {
  const { log, lines } = collecting("info");
  log.child({ replica: "a" }).child({ node: "e1", revision: 7 }).info({ nonce: "n" }, "an Envoy answered");
  expect(lines()).toMatchObject([{ level: "info", replica: "a", node: "e1", revision: 7, nonce: "n", msg: "an Envoy answered" }]);
  expect(lines()[0]?.["time"]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

test("lines below the level are not written", () => {
  const { log, lines } = collecting("warn");
  log.info({}, "no");
  log.error({}, "yes");
  expect(lines().map(({ msg }) => msg)).toEqual(["yes"]);
});

test("an error comes with its stack and its causes", () => {
  const { log, lines } = collecting("info");
  log.error({ err: new Error("outer", { cause: new Error("inner") }) }, "it failed");
  expect(JSON.stringify(lines()[0])).toMatch(/outer[\s\S]*inner/);
});

test("passwords, tokens and headers that carry them never leave, at the top or inside", () => {
  const { log, text } = collecting("info");
  const secret = "hunter2";
  log.info({ password: secret, databaseUrl: `postgres://u:${secret}@h/d` }, "top");
  log.info({ headers: { authorization: secret, cookie: secret, "set-cookie": secret, "x-api-key": secret } }, "one down");
  log.info(
    { request: { headers: { authorization: secret, token: secret } }, config: { database: { migrationUrl: secret } } },
    "two down",
  );
  expect(text()).not.toContain(secret);
  expect(text()).toContain("[redacted]");
});

test("an expected failure is told by its code and what began it, without a stack; an unexpected one whole", () => {
  const { log, lines } = collecting("info");
  const away = new AggregateError([new Error("connect ECONNREFUSED ::1:5432"), new Error("connect ECONNREFUSED 127.0.0.1:5432")]);
  const failure = new AppError(
    "database_unavailable",
    { detail: "run `chancery migrate`" },
    [],
    new Error("in between", { cause: away }),
  );
  log.warn({ ...failureFacts(failure), revision: 7 }, "expected");
  log.warn(failureFacts(new TypeError("a bug")), "unexpected");
  expect(lines()).toMatchObject([
    { code: "database_unavailable", detail: "run `chancery migrate`", reason: "connect ECONNREFUSED ::1:5432", revision: 7 },
    { err: { type: "TypeError", message: "a bug" } },
  ]);
  expect(JSON.stringify(lines()[0])).not.toMatch(/stack/);
  expect(JSON.stringify(lines()[1])).toMatch(/stack/);
});
