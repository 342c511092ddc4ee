// A process that listens with the shortest queue and is then stopped: what connects to it beyond the queue waits for its SYN to be
// answered. Awake, it answers any HTTP request. Prints its port. Started by test/support/deaf-backend.ts.
import { createServer } from "node:http";

const server = createServer((_request, response) => response.end("hello from deaf\n"));
server.listen({ host: "127.0.0.1", port: 0, backlog: 1 }, () => process.stdout.write(`port ${server.address().port}\n`));
