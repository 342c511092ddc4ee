// Lists of cases, the goals, and one table and one plot over all cases of a list. Pure.
// In: cases with their rows (report.mjs). Out: Markdown, SVG.
import { ratios } from "./report.mjs";

const all = ["ours", "gcp-linear", "gcp-snapshot"];
const every = (lists) =>
  lists.reduce((cases, [key, values]) => cases.flatMap((one) => values.map((value) => ({ ...one, [key]: value }))), [{}]);
/** Ours alone, with ten times as many clusters as a change may cost the same for. */
const large = every([
  ["protocol", ["delta", "sotw"]],
  ["change", ["endpoint", "canary", "service"]],
]).map((one) => ({ ...one, streams: 100, clusters: 10_000, servers: ["ours"] }));

/** suite → cases, as far as they differ from the options. */
export const suites = {
  /** Some minutes: what changes most often when something goes wrong. */
  quick: [
    { streams: 100, clusters: 100, change: "canary", servers: all },
    { streams: 100, clusters: 100, change: "endpoint", servers: all },
    { streams: 1000, clusters: 100, change: "canary", servers: all, burst: 200, reconnect: true },
    { streams: 100, clusters: 100, change: "canary", servers: ["ours", "ours-2", "ours-4"] },
  ],
  /** Hours. */
  full: [
    ...every([
      ["streams", [100, 1000, 3000]],
      ["clusters", [100, 1000]],
      ["protocol", ["delta", "sotw"]],
      ["change", ["endpoint", "canary", "service"]],
    ]).map((one) => ({ ...one, servers: all, burst: 200, reconnect: true, limit: 900 })),
    ...large,
    { streams: 1000, clusters: 100, change: "canary", servers: ["ours"], steady: 600, limit: 900 },
    ...[100, 1000].map((streams) => ({ streams, clusters: 100, change: "canary", servers: ["ours", "ours-2", "ours-4"] })),
  ],
};

/** Measures of the suite's table, with the goal against each peer where there is one: ours / theirs, at most. */
const cpu = "CPU per stream and change, µs";
const shownMeasures = [
  cpu,
  "last stream has it, ms",
  "memory per idle stream, KiB",
  "connect storm, CPU s",
  "API GET meanwhile, p99, ms",
  "event loop delay meanwhile, longest, ms",
  "Postgres' CPU per replica and change, ms",
];

function goalOf({ streams, clusters, change }, measure, peer) {
  const isLinear = peer === "gcp-linear";
  if (measure === cpu && change === "canary" && streams === 100 && clusters === 100) return isLinear ? 1 : 0.5;
  if (measure === cpu && change === "canary" && streams >= 1000) return isLinear ? 0.8 : 0.3;
  if (measure === cpu && change === "endpoint" && streams >= 1000 && clusters >= 1000) return isLinear ? 0.1 : undefined;
  if (measure === "memory per idle stream, KiB" && streams >= 1000) return isLinear ? 0.25 : undefined;
  if (measure === "connect storm, CPU s" && streams >= 1000) return isLinear ? 0.6 : undefined;
  return undefined;
}

const nameOf = ({ streams, clusters, protocol, change }) => `N ${streams}, C ${clusters}, ${protocol}, ${change}`;
const shown = (value) =>
  value === undefined ? "–" : value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));

/** One line per case and measure: [case, measure, ours, { peer → ratio }, { peer → goal }]. */
function linesOf(cases) {
  return cases.flatMap(({ options, rows }) => {
    const found = ratios(rows);
    return shownMeasures.flatMap((measure) => {
      const row = rows.find(({ name }) => name === measure);
      const servers = Object.entries(row?.values ?? {}).filter(([, value]) => value !== undefined);
      if (servers.length === 0) return [];
      const peers = found.filter(({ name }) => name === measure);
      return [
        { options, measure, values: servers, peers: peers.map((one) => ({ ...one, goal: goalOf(options, measure, one.peer) })) },
      ];
    });
  });
}

const judged = ({ ratio, goal }) => {
  if (goal === undefined) return shown(ratio);
  return ratio <= goal ? `${shown(ratio)} (≤ ${goal})` : `**${shown(ratio)}** (≤ ${goal})`;
};

/** The summary: absolute figures, ratios, and goals in brackets; bold: not reached. */
export function suiteTable({ title, about, cases }) {
  const peers = ["gcp-linear", "gcp-snapshot"];
  const head = ["case", "measure", "measured", ...peers.map((peer) => `ours / ${peer}`)];
  const lines = linesOf(cases).map(({ options, measure, values, peers: found }) => [
    nameOf({ protocol: "delta", ...options }),
    measure,
    values.map(([server, value]) => `${server} ${shown(value)}`).join(", "),
    ...peers.map((peer) => found.filter((one) => one.peer === peer).map(judged)[0] ?? "–"),
  ]);
  const table = [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`);
  return [
    `# ${title}`,
    "",
    about,
    "Ratios below 1: ours costs less. Goals in brackets; bold: not reached.",
    "",
    ...table,
    "",
  ].join("\n");
}

const width = 900;
const rowHeight = 18;
const left = 480;
const colours = { "gcp-linear": "#2c7fb8", "gcp-snapshot": "#7fcdbb" };
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const scale = (ratio) => left + ((Math.log10(Math.min(100, Math.max(0.01, ratio))) + 2) / 4) * (width - left - 60);

/** A dot per case, measure and peer on a logarithmic axis, and a red mark where the goal is. */
export function suitePlot({ title, cases }) {
  const lines = linesOf(cases).filter(({ peers }) => peers.length > 0);
  const height = 60 + rowHeight * lines.length;
  const ticks = [0.01, 0.1, 1, 10, 100].map(
    (tick) =>
      `<line x1="${scale(tick)}" x2="${scale(tick)}" y1="40" y2="${height - 18}" stroke="${tick === 1 ? "#333" : "#ddd"}"/><text x="${scale(tick)}" y="${height - 4}" text-anchor="middle">${tick}</text>`,
  );
  const marks = lines.flatMap(({ options, measure, peers }, index) => {
    const y = 52 + index * rowHeight;
    const label = `<text x="${left - 8}" y="${y + 4}" text-anchor="end">${escaped(`${nameOf({ protocol: "delta", ...options })}: ${measure}`)}</text>`;
    const dots = peers.flatMap(({ peer, ratio, goal }) => [
      `<circle cx="${scale(ratio).toFixed(1)}" cy="${y}" r="4" fill="${colours[peer] ?? "#999"}"/>`,
      ...(goal === undefined
        ? []
        : [
            `<line x1="${scale(goal)}" x2="${scale(goal)}" y1="${y - 7}" y2="${y + 7}" stroke="${colours[peer] ?? "#999"}" stroke-width="2"/>`,
          ]),
    ]);
    return [label, ...dots];
  });
  const legend = Object.entries(colours).map(
    ([peer, colour], index) => `<text x="${left + index * 180}" y="32" fill="${colour}">ours / ${peer}, goal |</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/><text x="10" y="18" font-size="13">${escaped(title)}</text>
${[...legend, ...ticks, ...marks].join("\n")}
</svg>
`;
}
