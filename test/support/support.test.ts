// The tools of the tests, tried on themselves without Envoy: a tool that can't tell a fault makes every test above it worthless.
import { describe, expect, test } from "vitest";
import { sayOverGrpc, startGrpcBackend } from "./grpc-backend.js";
import { startHttpBackend } from "./http-backend.js";
import { sendMany, startLoad } from "./load.js";
import { openTcp, openTls, openWebSockets } from "./long-connections.js";
import { freePort } from "./ports.js";
import { startChild } from "./processes.js";
import { send } from "./requests.js";
import { askTcp, askTls, askUdp } from "./short-connections.js";
import { startTcpBackend, startTlsBackend, startUdpBackend } from "./stream-backends.js";
import { waitFor } from "./wait.js";

describe("waiting", () => {
  test("an answer that never comes is an error that names the last one", async () => {
    await expect(waitFor("the moon", () => false, { timeoutMs: 60, everyMs: 10 })).rejects.toThrow(
      "the moon: not within 60 ms; last: answered false",
    );
  });

  test("a question that throws is asked again", async () => {
    let asked = 0;
    const question = (): number => {
      asked++;
      if (asked < 3) throw new Error("not yet");
      return asked;
    };
    expect(await waitFor("the third time", question)).toBe(3);
  });
});

describe("backends and clients", () => {
  test("an HTTP backend names itself, tells checks from requests, and fails when told", async () => {
    const backend = await startHttpBackend("one");
    expect((await send({ port: backend.port, path: "/a", host: "shop.example.com" })).headers).toMatchObject({
      "x-backend": "one",
      "x-seen-path": "/a",
      "x-seen-host": "shop.example.com",
    });
    await send({ port: backend.port, headers: { "user-agent": "Envoy/HC" } });
    expect([backend.requests, backend.checks]).toEqual([1, 1]);
    backend.status = 500;
    expect((await send({ port: backend.port })).status).toBe(500);
  });

  test("load counts answers by backend and keeps each failure", async () => {
    const backend = await startHttpBackend("one");
    expect((await sendMany(100, { port: backend.port })).byBackend).toEqual(new Map([["one", 100]]));
    backend.status = 503;
    const failing = await sendMany(10, { port: backend.port });
    expect([failing.failed, failing.byStatus.get(503), failing.failures.length]).toEqual([10, 10, 10]);
    const nobody = await startLoad({ next: () => ({ port: 1 }), maxRequests: 3 }).done;
    expect(nobody.failures.map((failure) => failure.what).join()).toContain("ECONNREFUSED");
  });

  test("load at a rate keeps to it", async () => {
    const backend = await startHttpBackend("one");
    const load = startLoad({ next: () => ({ port: backend.port }), requestsPerSecond: 100, newConnections: 1, maxMs: 1_000 });
    const { total } = await load.done;
    expect(total).toBeGreaterThan(50);
    expect(total).toBeLessThan(125);
  });

  test("long connections of every kind answer, and tell that they were cut", async () => {
    const http = await startHttpBackend("http");
    const tcp = await startTcpBackend("tcp");
    const tls = await startTlsBackend("tls");
    const lines = [await openWebSockets(http.port, 2), await openTcp(tcp.port, 2), await openTls(tls.port, "tls.test", 2)];
    for (const kept of lines) {
      await kept.answer();
      expect(kept.alive()).toBe(2);
    }
    await Promise.all([http.close(), tcp.close(), tls.close()]);
    for (const kept of lines) {
      await waitFor("the cut is noticed", () => kept.alive() === 0);
      expect(kept.deaths()).toHaveLength(2);
    }
  });

  test("short connections learn who answered, over TCP, TLS, UDP and gRPC", async () => {
    const [tcp, tls, udp, grpc] = await Promise.all([
      startTcpBackend("tcp"),
      startTlsBackend("tls"),
      startUdpBackend("udp"),
      startGrpcBackend("grpc"),
    ]);
    expect(await askTcp(tcp.port, { from: "127.0.0.9" })).toBe("tcp");
    expect(await askTls(tls.port, "any.test")).toBe("tls");
    expect(await askUdp(udp.port)).toBe("udp");
    expect(await sayOverGrpc(grpc.port, "hi")).toBe("grpc hi");
    expect(tcp.served()).toBe(1);
  });
});

describe("processes", () => {
  test("a child's output is kept, and kill ends it", async () => {
    const child = startChild("talker", process.execPath, ["-e", "console.log('up'); setInterval(() => {}, 1000)"]);
    await waitFor("its output", () => child.log().includes("up"));
    await child.kill();
    expect(await child.ended).toBe("SIGKILL");
    expect(child.isRunning()).toBe(false);
  });

  test("what a killed test process leaves behind is reaped", async () => {
    // The reaper sees the end of its input, as when the test process is gone.
    const sleeper = startChild("sleeper", process.execPath, ["-e", "setInterval(() => {}, 1000)"]);
    const script = new URL("reaper.mjs", import.meta.url).pathname;
    const reaper = startChild("reaper", "bash", ["-c", `echo +${sleeper.pid} | "${process.execPath}" "${script}"`]);
    expect(await reaper.ended).toBe("exit code 0");
    expect(await sleeper.ended).toBe("SIGKILL");
  });

  test("free ports are not given twice", async () => {
    const ports = await Promise.all(Array.from({ length: 20 }, freePort));
    expect(new Set(ports).size).toBe(20);
  });
});
