// What one cluster must keep by itself, beyond the shape of its body. Pure.
// Gives all problems, with JSON pointers into the cluster's body. Most are rules of Envoy that fail a cluster only at its creation.

import type { Problem } from "../errors.js";
import { type Cluster, type LoadBalancing, speaksHttp } from "./cluster.js";
import type { HealthCheck } from "./health-check.js";
import { problem } from "./problem-codes.js";

export function clusterRuleProblems(cluster: Cluster): readonly Problem[] {
  return [
    ...loadBalancingProblems(cluster.loadBalancing),
    ...cluster.healthChecks.flatMap((check, at) => healthCheckProblems(cluster, check, `/healthChecks/${at}`)),
    ...outlierProblems(cluster),
    ...drainProblems(cluster),
    ...slowStartProblems(cluster),
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

function drainProblems({ protocol, drain, healthChecks }: Cluster): Problem[] {
  const problems: Problem[] = [];
  if (drain.sticky === "until-drained" && !speaksHttp(protocol)) {
    problems.push(problem("/drain/sticky", "contradiction", `sessions by cookie are of HTTP; this cluster is ${protocol}`));
  }
  if (drain.atDeadline === "leave") return problems;
  if (protocol === "udp") {
    problems.push(
      problem("/drain/atDeadline", "contradiction", "UDP has nothing to close: a session moves at its next datagram"),
    );
  }
  if (protocol !== "tcp") return problems;
  if (healthChecks.length === 0) {
    problems.push(
      problem("/healthChecks", "contradiction", "connections are closed by way of an active health check, and there is none"),
    );
  }
  for (const [at, check] of healthChecks.entries()) {
    if (!check.reuseConnection) continue;
    problems.push(
      problem(
        `/healthChecks/${at}/reuseConnection`,
        "contradiction",
        "a check that keeps its connection never meets the socket that makes it fail: false closes connections at the deadline",
      ),
    );
  }
  return problems;
}

function slowStartProblems({ loadBalancing: { policy }, slowStartMs }: Cluster): Problem[] {
  if (slowStartMs === 0 || policy === "least-request" || policy === "round-robin") return [];
  return [problem("/slowStartMs", "contradiction", `${policy} has no slow start; least-request and round-robin have`)];
}
