// Columns for a terminal.
import { expect, test } from "vitest";
import { toTable } from "../../../src/cli/table.js";

test("columns are as wide as their widest cell, and no line ends in spaces", () => {
  const table = toTable(["NAME", "TO"], [["checkout", "a=95 b=5"], ["x"]]);
  expect(table).toBe("NAME      TO\ncheckout  a=95 b=5\nx\n");
});

test("a cell with line breaks stays one line", () => {
  expect(toTable(["A"], [["one\n  two"]])).toBe("A\none two\n");
});

test("a head without rows is a line", () => {
  expect(toTable(["A", "B"], [])).toBe("A  B\n");
});
