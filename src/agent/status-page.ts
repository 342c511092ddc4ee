// What an agent tells of itself over HTTP: `GET /readyz`, `/healthz` and `/metrics`. In: Agent. Called by main.ts.
import { createServer, type Server } from "node:http";
import { reasonOf } from "../errors.js";
import type { Agent } from "./agent.js";
import type { UpstreamAddress } from "./upstreams.js";

/** `/readyz` answers 200 as soon as Envoys may come: an agent without a control plane is of use, too. @throws when it can't be bound */
export async function serveStatus(agent: Agent, { host, port }: UpstreamAddress): Promise<Server> {
  const server = createServer({ requestTimeout: 5_000, headersTimeout: 5_000 }, (request, response) => {
    const send = (status: number, body: object): void => {
      response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
    };
    const failed = (error: unknown): void => send(500, { detail: reasonOf(error) });
    if (request.method !== "GET") send(405, { detail: "only GET" });
    else if (request.url === "/healthz") send(200, { status: "ok" });
    else if (request.url === "/readyz") agent.nodes().then((nodes) => send(200, { status: "ready", nodes }), failed);
    else if (request.url === "/metrics")
      agent
        .metrics()
        .then(({ text, contentType }) => response.writeHead(200, { "content-type": contentType }).end(text))
        .catch(failed);
    else send(404, { detail: "/readyz, /healthz and /metrics are here" });
  });
  server.maxConnections = 64;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve());
  });
  return server.unref();
}
