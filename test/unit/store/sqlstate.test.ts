// What Postgres answers, as callers of the store meet it.
import pg from "pg";
import { expect, test } from "vitest";
import { AppError } from "../../../src/errors.js";
import { QueryFailure, toAppError } from "../../../src/store/sqlstate.js";

function answered(code: string): pg.DatabaseError {
  const error = new pg.DatabaseError("no", 1, "error");
  error.code = code;
  return error;
}

const codeFor = (cause: unknown): string => {
  const error = toAppError(new QueryFailure(cause));
  return error instanceof AppError ? error.code : "not for callers";
};

test.each([
  ["08006", "database_unavailable"],
  ["28P01", "database_unavailable"],
  ["53100", "database_unavailable"],
  ["53300", "database_unavailable"],
  ["57P01", "database_unavailable"],
  ["57P03", "database_unavailable"],
  ["57014", "database_unavailable"],
  ["25006", "database_unavailable"],
  ["3D000", "database_unavailable"],
  ["42P01", "database_unavailable"],
  ["40001", "write_contention"],
  ["40P01", "write_contention"],
  ["55P03", "write_contention"],
  ["23505", "write_contention"],
  ["23503", "invalid_reference"],
  ["22021", "invalid_body"],
  ["22P05", "invalid_body"],
  ["42601", "not for callers"],
  ["23514", "not for callers"],
])("SQLSTATE %s is %s", (state, code) => {
  expect(codeFor(answered(state))).toBe(code);
});

test("an error without the server's answer is the connection's", () => {
  for (const cause of [new Error("Query read timeout"), Object.assign(new Error("refused"), { code: "ECONNREFUSED" })]) {
    expect(new QueryFailure(cause)).toMatchObject({ kind: "unavailable", isUnanswered: true });
    expect(codeFor(cause)).toBe("database_unavailable");
  }
});

test("an error of the caller's own passes through untouched", () => {
  const own = new AppError("not_found");
  expect(toAppError(own)).toBe(own);
});
