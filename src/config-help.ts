// The table of settings, as text: for `chancery serve --help`, and as docs/configuration.md shows it.
// In: config-table.ts. Called by: main.ts, test/unit/config.test.ts.
import { foreignKeys, listSettings } from "./config-table.js";

/** section → its heading in the documentation, and what is read there. */
const headings: Readonly<Record<string, string>> = {
  process: "Process",
  database: "Database",
  history: "History",
  snapshot: "Following changes",
  api: "Admin API",
  validation: "Validation by a real Envoy",
  refusals: "Refusals",
  xds: "Envoys (xDS)",
  status: "Status",
  demo: "Demo",
};

function withUnit(value: string, unit: string): string {
  return unit && /\d/.test(value) ? `${value} ${unit}` : value;
}

/** Breaks text at spaces. */
function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line && line.length + word.length + 1 > width) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return [...lines, line];
}

/** Every key with its default, bound and meaning, for a terminal. */
export function settingsHelp(): string {
  const lines = ["", "Environment:"];
  for (const { setting } of listSettings()) {
    const facts = [setting.shown && `default ${withUnit(setting.shown, setting.unit)}`, withUnit(setting.bound, setting.unit)]
      .filter(Boolean)
      .join("; ");
    lines.push(`  ${setting.key}  [${facts}]`, ...wrap(setting.about, 92).map((line) => `      ${line}`));
  }
  return lines.join("\n");
}

/** The same as Markdown tables, one per section: what docs/configuration.md holds between its markers. */
export function settingsMarkdown(): string {
  const lines: string[] = [];
  let current = "";
  for (const { section, setting } of listSettings()) {
    if (section !== current) {
      if (current) lines.push("");
      lines.push(`## ${headings[section] ?? section}`, "", "| key | default | bound | meaning |", "|---|---|---|---|");
      current = section;
    }
    lines.push(
      `| \`${setting.key}\` | ${withUnit(setting.shown, setting.unit)} | ${withUnit(setting.bound, setting.unit)} | ${setting.about} |`,
    );
  }
  lines.push("", "## Keys of other commands", "", "| key | meaning |", "|---|---|");
  for (const [key, about] of Object.entries(foreignKeys)) lines.push(`| \`${key}\` | ${about} |`);
  return lines.join("\n");
}
