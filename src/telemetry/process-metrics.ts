// What the process itself says at each scrape: event loop delay, memory, CPU. Nothing runs between scrapes but Node's own sampler.
// The event loop delay is the figure to watch: one replica is one core of JavaScript, and everything waits behind it.
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Definition, MetricsOf } from "./registry.js";

export const processTable = {
  event_loop_delay_seconds: {
    kind: "gauge",
    labels: ["quantile"],
    help: "Delay of the event loop since the last scrape (0.5, 0.99, 1).",
  },
  process_resident_memory_bytes: { kind: "gauge", labels: [], help: "Resident memory of the process." },
  process_heap_used_bytes: { kind: "gauge", labels: [], help: "JavaScript heap in use." },
  process_cpu_seconds_total: { kind: "counter", labels: [], help: "CPU time of the process, user and system." },
  process_start_time_seconds: { kind: "gauge", labels: [], help: "When the process started, in seconds since the epoch." },
} as const satisfies Record<string, Definition>;

/**
 * Sampling step of the delay: how late a sample is, is what anything else that arrives then waits. Each sample wakes the process, which is
 * most of what an idle one costs: 4 ms of CPU per second at 10 ms, 2.4 at 20.
 */
const resolutionMs = 20;
const quantiles = [0.5, 0.99, 1] as const;

/** Keeps the process metrics current. Returns the way to stop. */
export function watchProcess(metrics: MetricsOf<typeof processTable>): () => void {
  const delay = monitorEventLoopDelay({ resolution: resolutionMs });
  delay.enable();
  metrics.set("process_start_time_seconds", {}, Math.round(Date.now() / 1000 - process.uptime()));
  let countedCpuSeconds = 0;
  const stopReading = metrics.beforeScrape(() => {
    for (const quantile of quantiles) {
      // The sampler measures the time between two samples, so its own step is taken off.
      const delayMs = Math.max(0, delay.percentile(quantile * 100) / 1e6 - resolutionMs);
      metrics.set("event_loop_delay_seconds", { quantile }, Number.isFinite(delayMs) ? delayMs / 1000 : 0);
    }
    delay.reset();
    const memory = process.memoryUsage();
    metrics.set("process_resident_memory_bytes", {}, memory.rss);
    metrics.set("process_heap_used_bytes", {}, memory.heapUsed);
    const cpu = process.cpuUsage();
    const cpuSeconds = (cpu.user + cpu.system) / 1e6;
    metrics.count("process_cpu_seconds_total", {}, cpuSeconds - countedCpuSeconds);
    countedCpuSeconds = cpuSeconds;
  });
  return () => {
    stopReading();
    delay.disable();
  };
}
