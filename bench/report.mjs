// What a run found: medians of repetitions, ratios to the peer, a Markdown table and a plot (SVG). Pure, but for the machine's facts.
// In: measurements of run.mjs. Out: text.
import { cpus, totalmem } from "node:os";

export function median(values) {
  const sorted = values.filter((value) => Number.isFinite(value)).sort((a, b) => a - b);
  return sorted.length === 0 ? undefined : sorted[Math.floor(sorted.length / 2)];
}

export function machine() {
  const all = cpus();
  return {
    cpu: all[0]?.model ?? "unknown",
    cores: all.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
  };
}

/** What is compared: how to read it from a measurement, less is better. CPU of a change holds Postgres', where there is one. */
export const measures = [
  [
    "CPU per stream and change, µs",
    ({ propagation: p, storm }) => ((p.server_cpu_ms_per_change + p.beside_cpu_ms_per_change) * 1000) / storm.streams,
  ],
  ["of it the control plane's, µs", ({ propagation: p }) => p.server_cpu_us_per_change_and_stream],
  [
    "Postgres' CPU per replica and change, ms",
    ({ propagation: p }, replicas) => replicas && p.beside_cpu_ms_per_change / replicas,
  ],
  ["last stream has it, ms", ({ propagation }) => propagation.last_ms],
  ["p99 stream, ms", ({ propagation }) => propagation.p99_ms],
  ["median stream, ms", ({ propagation }) => propagation.p50_ms],
  ["bytes per stream and change", ({ propagation }) => propagation.bytes_per_stream_per_change],
  ["memory per idle stream, KiB", ({ storm, idle }) => idleKiB(storm, idle)],
  ["connect storm, CPU s", ({ storm }) => storm.server_cpu_s],
  ["connect storm, last stream, ms", ({ storm }) => storm.sync.last_ms],
  ["burst, CPU s", ({ burst }) => burst && (burst.server_cpu_ms + burst.beside_cpu_ms) / 1000],
  ["burst, until quiet, ms", ({ burst }) => burst?.until_quiet_ms],
  ["burst, responses per stream", ({ burst }) => burst?.responses_per_stream],
  ["reconnect of all, CPU s", ({ reconnect }) => reconnect?.server_cpu_s],
  ["reconnect of all, last stream, ms", ({ reconnect }) => reconnect?.sync.last_ms],
  ["steady: memory slope, KiB per minute", ({ steady }) => steady && slopeKiBPerMinute(steady)],
  ["API GET meanwhile, p99, ms", ({ api }) => api?.p99Ms],
  ["event loop delay meanwhile, longest, ms", ({ api }) => api?.loopDelayMs],
];

/** After a pause, or a garbage collection where the server can be asked for one: whichever is less. */
function idleKiB(storm, idle) {
  const after = Math.min(idle?.server_rss_after ?? Number.POSITIVE_INFINITY, storm.server_rss_after_gc ?? storm.server_rss_after);
  return (after - storm.server_rss_before) / 1024 / storm.streams;
}

/** Least squares over the second half: the first one is a process that warms up. */
function slopeKiBPerMinute({ server_rss_each_10_s: all }) {
  const bytes = all.slice(Math.floor(all.length / 2));
  if (bytes.length < 3) return undefined;
  const middle = (bytes.length - 1) / 2;
  const mean = bytes.reduce((sum, one) => sum + one, 0) / bytes.length;
  const products = bytes.reduce((sum, one, index) => sum + (index - middle) * (one - mean), 0);
  const squares = bytes.reduce((sum, _, index) => sum + (index - middle) ** 2, 0);
  return ((products / squares) * 6) / 1024;
}

/** measure → server → median over the runs. `floor`: µs per stream, of the same bytes over plain sockets. */
export function summary(runs, floor) {
  const servers = [...new Set(runs.map(({ server }) => server))];
  const rows = measures.map(([name, read]) => ({
    name,
    values: Object.fromEntries(
      servers.map((server) => [
        server,
        median(
          runs.filter((run) => run.server === server && !run.failed).map((run) => read(run.report, run.replicas) ?? Number.NaN),
        ),
      ]),
    ),
  }));
  return floor === undefined ? rows : [rows[0], { name: floorName, values: { "raw floor": floor } }, ...rows.slice(1)];
}

const floorName = "the same bytes over plain sockets and an answer back, µs per stream";

/** measure × peer → ours / theirs; where both were measured. */
export function ratios(rows) {
  return rows.flatMap(({ name, values: { ours, ...others } }) =>
    Object.entries(others).flatMap(([peer, theirs]) =>
      peer.startsWith("gcp-") && ours > 0 && theirs > 0 ? [{ name, peer, ratio: ours / theirs }] : [],
    ),
  );
}

const shown = (value) =>
  value === undefined ? "–" : value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));

export function markdown({ title, about, rows, notes }) {
  const servers = [...new Set(rows.flatMap(({ values }) => Object.keys(values)))];
  const peers = servers.filter((server) => server.startsWith("gcp-"));
  const found = ratios(rows);
  const ratio = (name, peer) => shown(found.find((one) => one.name === name && one.peer === peer)?.ratio);
  const head = ["", ...servers, ...peers.map((peer) => `ours / ${peer}`)];
  const lines = rows
    .filter(({ values }) => Object.values(values).some((value) => value !== undefined))
    .map(({ name, values }) => [
      name,
      ...servers.map((server) => shown(values[server])),
      ...peers.map((peer) => ratio(name, peer)),
    ]);
  const table = [head, head.map(() => "---"), ...lines].map((cells) => `| ${cells.join(" | ")} |`);
  return [`# ${title}`, "", ...about, "", ...table, "", ...notes.map((note) => `- ${note}`), ""].join("\n");
}

const width = 760;
const barHeight = 14;
const left = 330;
const colours = ["#2c7fb8", "#7fcdbb"];
const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Bars of ours / theirs on a logarithmic axis; the line in the middle is 1, and left of it ours costs less. */
export function plot({ title, rows }) {
  const found = ratios(rows);
  const peers = [...new Set(found.map(({ peer }) => peer))];
  const names = [...new Set(found.map(({ name }) => name))];
  const scale = (ratio) => left + ((Math.log10(Math.min(100, Math.max(0.01, ratio))) + 2) / 4) * (width - left - 60);
  const one = scale(1);
  const rowHeight = barHeight * Math.max(1, peers.length) + 8;
  const height = 70 + rowHeight * names.length;
  const bars = found.map(({ name, peer, ratio }) => {
    const y = 50 + names.indexOf(name) * rowHeight + peers.indexOf(peer) * barHeight;
    const x = scale(ratio);
    const box = `<rect x="${Math.min(x, one).toFixed(1)}" y="${y}" width="${Math.max(1, Math.abs(x - one)).toFixed(1)}" height="${barHeight - 2}" fill="${colours[peers.indexOf(peer) % 2]}"/>`;
    return `${box}<text x="${width - 50}" y="${y + 11}">${shown(ratio)}</text>`;
  });
  const labels = names.map(
    (name, index) => `<text x="${left - 8}" y="${62 + index * rowHeight}" text-anchor="end">${escaped(name)}</text>`,
  );
  const legend = peers.map(
    (peer, index) => `<text x="${left + index * 200}" y="38" fill="${colours[index % 2]}">ours / ${escaped(peer)}</text>`,
  );
  const ticks = [0.01, 0.1, 1, 10, 100].map(
    (tick) =>
      `<line x1="${scale(tick)}" x2="${scale(tick)}" y1="46" y2="${height - 20}" stroke="${tick === 1 ? "#333" : "#ddd"}"/><text x="${scale(tick)}" y="${height - 6}" text-anchor="middle">${tick}</text>`,
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">
<rect width="100%" height="100%" fill="#fff"/><text x="10" y="18" font-size="13">${escaped(title)}</text>
${[...legend, ...ticks, ...labels, ...bars].join("\n")}
</svg>
`;
}
