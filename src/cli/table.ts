// Rows of text as columns for a terminal. In: a head and rows. Out: one text. Pure.

/** Every column is as wide as its widest cell, the last one is left ragged. Line breaks in a cell become spaces. */
export function toTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, ...rows].map((row) => head.map((_, column) => (row[column] ?? "").replace(/\s*[\r\n]+\s*/g, " ")));
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const print = (line: readonly string[]) =>
    line
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd();
  return `${lines.map(print).join("\n")}\n`;
}
