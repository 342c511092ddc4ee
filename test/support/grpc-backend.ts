// A gRPC service for Envoy's http2 and grpc clusters: the standard health service, and a unary echo that names itself.
// Messages are raw bytes; the two that matter have one field each, so no proto files are needed here.
import { Client, credentials, type handleUnaryCall, Metadata, Server, ServerCredentials } from "@grpc/grpc-js";
import { onCleanup } from "./cleanup.js";

export interface GrpcBackend {
  readonly name: string;
  readonly port: number;
  readonly address: string;
  /** What grpc.health.v1.Health/Check answers. */
  serving: boolean;
  calls(): number;
}

const raw = (message: Buffer): Buffer => message;
const method = (path: string) => ({
  path,
  requestStream: false,
  responseStream: false,
  requestSerialize: raw,
  requestDeserialize: raw,
  responseSerialize: raw,
  responseDeserialize: raw,
});
const echoPath = "/chancery.test.Echo/Say";
/** HealthCheckResponse { status = 1: SERVING 1, NOT_SERVING 2 }. */
const healthAnswer = (serving: boolean): Buffer => Buffer.from([0x08, serving ? 1 : 2]);

/** Starts one on a port of the system's choice. It closes when the test file ends. */
export async function startGrpcBackend(name: string): Promise<GrpcBackend> {
  const server = new Server();
  const state = { name, serving: true };
  let calls = 0;
  const check: handleUnaryCall<Buffer, Buffer> = (_call, done) => done(null, healthAnswer(state.serving));
  const say: handleUnaryCall<Buffer, Buffer> = (call, done) => {
    calls++;
    const trailer = new Metadata();
    trailer.set("x-backend", name);
    done(null, Buffer.from(`${name} ${call.request.toString()}`), trailer);
  };
  server.addService({ check: method("/grpc.health.v1.Health/Check") }, { check });
  server.addService({ say: method(echoPath) }, { say });
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    );
  });
  onCleanup(`gRPC backend ${name}`, () => server.forceShutdown());
  return Object.assign(state, { port, address: `127.0.0.1:${port}`, calls: () => calls });
}

/** One echo through Envoy. `host` is the :authority. @throws ServiceError with the gRPC status. */
export async function sayOverGrpc(port: number, text: string, host = `127.0.0.1:${port}`): Promise<string> {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { "grpc.default_authority": host });
  try {
    return await new Promise<string>((resolve, reject) => {
      const options = { deadline: Date.now() + 5_000 };
      client.makeUnaryRequest(echoPath, raw, raw, Buffer.from(text), new Metadata(), options, (error, answer) =>
        error ? reject(error) : resolve(String(answer)),
      );
    });
  } finally {
    client.close();
  }
}
