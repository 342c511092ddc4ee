// The raw floor: what it costs to write the same bytes to N plain sockets and to read a short answer from each, with no protocol at all.
// No server on this machine can do a change for less. In: N and the bytes that a change took per stream. Out: CPU per stream, in µs.
// One process writes, on the server's core; another one reads and answers, on the load's. Called by case.mjs; it starts this file anew.
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { start } from "./processes.mjs";

const file = fileURLToPath(import.meta.url);
/** As long as an Envoy's answer to a response. */
const answerBytes = 120;
const warmUps = 10;
const rounds = 40;
const pauseMs = 20;

/** Both processes; resolves with µs of CPU per socket and round, median of the rounds' mean. @throws Error when they do not end in time */
export async function measureFloor({ streams, bytes, core, folder, limitMs }) {
  const args = ["serve", String(streams), String(Math.max(1, Math.round(bytes)))];
  let found;
  let reader;
  const onLine = (line) => {
    const [word, value] = line.split(" ");
    if (word === "cpu") found = Number(value);
    if (word === "port") {
      const own = [file, "connect", String(streams), args[2], value];
      reader = start({ command: process.execPath, args: own, core: core.load, logFile: `${folder}/floor-reader.log` });
    }
  };
  const shared = { command: process.execPath, core: core.server };
  const writer = start({ ...shared, args: [file, ...args], logFile: `${folder}/floor.log`, onLine });
  const timer = setTimeout(() => void writer.stop(), limitMs);
  await writer.ended;
  clearTimeout(timer);
  await reader?.stop();
  if (found === undefined) throw new Error("the raw floor could not be measured");
  return found;
}

async function serve(streams, bytes) {
  const sockets = [];
  let left = 0;
  let done = () => {};
  const server = createServer((socket) => {
    sockets.push(socket.setNoDelay(true));
    let answered = 0;
    socket.on("data", (part) => {
      answered += part.length;
      if (answered < answerBytes) return;
      answered -= answerBytes;
      left -= 1;
      if (left === 0) done();
    });
  });
  server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 });
  await once(server, "listening");
  process.stderr.write(`port ${server.address().port}\n`);
  while (sockets.length < streams) await delay(10);
  const frame = Buffer.alloc(bytes, 1);
  const round = async () => {
    left = sockets.length;
    const all = new Promise((resolve) => (done = resolve));
    for (const socket of sockets) socket.write(frame);
    await all;
    await delay(pauseMs);
  };
  for (let index = 0; index < warmUps; index++) await round();
  const before = process.cpuUsage();
  for (let index = 0; index < rounds; index++) await round();
  const { user, system } = process.cpuUsage(before);
  process.stderr.write(`cpu ${(user + system) / rounds / sockets.length}\n`);
  process.exit(0);
}

function read(streams, bytes, port) {
  const answer = Buffer.alloc(answerBytes, 1);
  for (let index = 0; index < streams; index++) {
    let got = 0;
    const socket = connect(port, "127.0.0.1").setNoDelay(true);
    socket.on("error", () => process.exit(1));
    socket.on("close", () => process.exit(0));
    socket.on("data", (part) => {
      got += part.length;
      if (got < bytes) return;
      got -= bytes;
      socket.write(answer);
    });
  }
}

if (process.argv[1] === file) {
  const [mode, ...numbers] = process.argv.slice(2);
  if (mode === "serve") await serve(...numbers.map(Number));
  else if (mode === "connect") read(...numbers.map(Number));
}
