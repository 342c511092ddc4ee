// What one cluster must keep by itself, beyond the shape of its body. Pure.
// Gives all problems, with JSON pointers into the cluster's body. Most are rules of Envoy that fail a cluster only at its creation.

import type { Problem } from "../errors.js";
import type { Cluster, LoadBalancing } from "./cluster.js";
import type { HealthCheck } from "./health-check.js";
import { problem } from "./problem-codes.js";

export function clusterRuleProblems(cluster: Cluster): readonly Problem[] {
  return [
    ...loadBalancingProblems(cluster.loadBalancing),
    ...cluster.healthChecks.flatMap((check, at) => healthCheckProblems(cluster, check, `/healthChecks/${at}`)),
    ...outlierProblems(cluster),
  ];
}

function isPrime(n: number): boolean {
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return false;
  return n > 1;
}

function loadBalancingProblems(lb: LoadBalancing): Problem[] {
  if (lb.policy === "maglev" && !isPrime(lb.tableSize)) {
    return [
      problem("/loadBalancing/tableSize", "out_of_range", `${lb.tableSize} is no prime number, and Maglev needs one (65537 is)`),
    ];
  }
  if (lb.policy === "ring-hash" && lb.minimumRingSize > lb.maximumRingSize) {
    return [
      problem(
        "/loadBalancing/minimumRingSize",
        "out_of_range",
        `the minimum ring size ${lb.minimumRingSize} is above the maximum ${lb.maximumRingSize}`,
      ),
    ];
  }
  return [];
}

function healthCheckProblems(cluster: Cluster, check: HealthCheck, pointer: string): Problem[] {
  if (check.kind === "grpc" && cluster.protocol !== "grpc" && cluster.protocol !== "http2") {
    return [
      problem(
        `${pointer}/kind`,
        "contradiction",
        `a gRPC check needs a cluster of protocol grpc or http2; this one is ${cluster.protocol}`,
      ),
    ];
  }
  if (check.kind !== "http") return [];
  const problems = check.expectedStatuses.flatMap(({ from, to }, at) =>
    from <= to
      ? []
      : problem(`${pointer}/expectedStatuses/${at}/from`, "out_of_range", `the range starts at ${from}, above its end ${to}`),
  );
  const hostAt = check.headers.findIndex((header) => header.name === "host");
  if (hostAt >= 0) {
    problems.push(problem(`${pointer}/headers/${hostAt}/name`, "contradiction", "the Host header has a field of its own, host"));
  }
  if (check.method === "HEAD" && check.bodyContains !== undefined) {
    problems.push(problem(`${pointer}/bodyContains`, "contradiction", "an answer to HEAD has no body"));
  }
  return problems;
}

function outlierProblems({ outlierDetection }: Cluster): Problem[] {
  if (!outlierDetection || outlierDetection.maxEjectionTimeMs >= outlierDetection.baseEjectionTimeMs) return [];
  return [
    problem("/outlierDetection/maxEjectionTimeMs", "out_of_range", "the maximum ejection time is below the base ejection time"),
  ];
}
