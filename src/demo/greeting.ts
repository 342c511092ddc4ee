// What a user reads when the demo is up: where everything is, and what to try. In: addresses. Out: text. Pure. Called by up.ts.

/** Where everything is. */
export interface GreetingFacts {
  readonly apiUrl: string;
  readonly xdsAddress: string;
  /** Host of the demo's listeners and backends. */
  readonly host: string;
  /** undefined: the user has removed the listener. */
  readonly httpPort: number | undefined;
  readonly tcpPort: number | undefined;
  readonly firstBackendPort: number;
  readonly envoys: readonly { readonly name: string; readonly adminUrl: string }[];
  readonly controlPlanePid: number;
  readonly folder: string;
  /** How this program is called, as in `node dist/main.js`. */
  readonly program: string;
}

function places(facts: GreetingFacts): readonly (readonly [string, string])[] {
  const { apiUrl, host, firstBackendPort, envoys } = facts;
  const through = envoys.map(({ name }) => name).join(" and ");
  const demo: (readonly [string, string])[] = [];
  if (envoys.length > 0 && facts.httpPort !== undefined)
    demo.push(["HTTP", `http://${host}:${facts.httpPort}/   through ${through}`]);
  if (envoys.length > 0 && facts.tcpPort !== undefined) demo.push(["TCP echo", `${host}:${facts.tcpPort}   through ${through}`]);
  return [
    ["Admin API", `${apiUrl}/v1   its pages: ${apiUrl}/docs`],
    ["xDS", `${facts.xdsAddress}   (control plane: pid ${facts.controlPlanePid})`],
    ...demo,
    ["Backends", `${host}:${firstBackendPort} … ${firstBackendPort + 4}   two of checkout v1, two of checkout v2, an echo`],
    ...envoys.map(({ name, adminUrl }) => [name, `${adminUrl}   Envoy's own admin page`] as const),
    ["Logs", facts.folder],
  ];
}

function commandLines(facts: GreetingFacts): readonly string[] {
  const { apiUrl, host, program } = facts;
  const json = "-H 'content-type: application/json'";
  const http =
    facts.httpPort === undefined || facts.envoys.length === 0
      ? ""
      : `\n    for i in 1 2 3 4 5 6; do curl -s http://${host}:${facts.httpPort}/; done`;
  const flag = apiUrl === "http://127.0.0.1:8080" ? "" : ` --api ${apiUrl}`;
  return [
    `Shift half of the traffic to version 2; the answer comes when every Envoy has it:
    curl -X PUT '${apiUrl}/v1/routes/checkout/weights?wait=acked' ${json} \\
      -d '{"weights":{"checkout-v1":50,"checkout-v2":50}}'${http}`,
    `Send nothing new to one endpoint; what is under way goes on:
    curl -X PATCH '${apiUrl}/v1/clusters/checkout-v1/endpoints/${host}:${facts.firstBackendPort}?wait=acked' ${json} -d '{"enabled":false}'`,
    `Look at the fleet:
    ${program} nodes${flag}`,
    `Let a backend answer 500 to everything: its health check takes it out within three seconds (mode/ok heals it):
    curl -X POST http://${host}:${facts.firstBackendPort + 2}/mode/fail`,
    `Ask for something that can't be, and be told why:
    curl -X POST ${apiUrl}/v1/routes ${json} \\
      -d '{"name":"broken","protocol":"http","listeners":["wbe"],"backends":[{"cluster":"checkout-v3"}]}'`,
  ];
}

/** The same facts give the same text. */
export function toGreeting(facts: GreetingFacts): string {
  const width = Math.max(...places(facts).map(([what]) => what.length));
  const where = places(facts).map(([what, at]) => `  ${what.padEnd(width)}  ${at}`);
  const commands = commandLines(facts).map((text, index) => `  ${index + 1}. ${text}`);
  return [
    "",
    "Chancery is running.",
    "",
    ...where,
    "",
    "Try:",
    "",
    ...commands.flatMap((command) => [command, ""]),
    "Ctrl-C stops everything.",
  ].join("\n");
}
