// Busy ports are found before anything starts. That a shared port is busy too is in test/demo/up.envoy.test.ts.
import { createServer, type Server } from "node:net";
import { afterEach, expect, test } from "vitest";
import { freePort, portFaults } from "../../../src/demo/ports.js";

const servers: Server[] = [];

function listen(host: string): Promise<number> {
  const server = createServer();
  servers.push(server);
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host, port: 0 }, () => {
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : 0);
    });
  });
}

afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
});

const api = (port: number) => ({ host: "127.0.0.1", port, what: "the admin API", flag: "--api-port" });

test("free ports are no fault", async () => {
  expect(await portFaults([api(await freePort())])).toEqual([]);
});

test.each(["127.0.0.1", "0.0.0.0"])(
  "a port that another server has on %s is told with who wants it and the flag",
  async (host) => {
    const port = await listen(host);
    expect(await portFaults([api(port)])).toEqual([
      `the admin API wants 127.0.0.1:${port}, which is in use by another program; --api-port chooses another port`,
    ]);
  },
);

test("two servers of ours on one port are told without any of them started", async () => {
  const port = await freePort();
  const faults = await portFaults([api(port), { ...api(port), what: "xDS", flag: "--xds-port" }]);
  expect(faults).toEqual([`xDS and the admin API both want port ${port}; --xds-port or --api-port chooses another`]);
});

test("an address that this machine does not have is told as such", async () => {
  expect(await portFaults([{ ...api(8080), host: "203.0.113.1" }])).toEqual([
    "the admin API wants 203.0.113.1:8080, which is not an address of this machine; --api-port chooses another port",
  ]);
});
