// What runs the control plane asks of it: liveness, readiness, metrics, and its own description.
import { Type } from "typebox";
import { AppError } from "../errors.js";
import { answering, readAnswers } from "./answers.js";
import type { Api, ApiContext } from "./context.js";

const tags = ["operations"];

const validationShown = Type.Object(
  {
    state: Type.Unsafe<string>({ type: "string", enum: ["on", "off"] }),
    envoyVersion: Type.Optional(Type.String()),
    reason: Type.Optional(Type.String({ description: "Why it is off." })),
  },
  { description: "Whether writes are shown to a real Envoy before their commit." },
);

const lastKnownGoodShown = Type.Object(
  { revision: Type.Integer(), ageMs: Type.Number({ description: "Since it was written." }), writtenAt: Type.String() },
  { description: "What was kept on disk and is served, as the database has not answered since the start." },
);

const otherHistoryShown = Type.Object(
  {
    at: Type.String(),
    lostRevisions: Type.Integer({
      description: "Revisions that this replica had served or acknowledged and that the database lacks now.",
    }),
    from: Type.Optional(Type.Integer({ description: "The first of them. The number may be another revision's by now." })),
    to: Type.Optional(Type.Integer({ description: "The last of them." })),
    isWhole: Type.Boolean({ description: "false: there may be more before the first, which this replica never had." }),
  },
  { description: "The last time since the start that the database turned out to hold another history: it went back." },
);

const stateFileShown = Type.Object(
  {
    state: Type.Unsafe<string>({ type: "string", enum: ["off", "kept", "failing"] }),
    reason: Type.Optional(Type.String({ description: "Why it can't be written." })),
    revision: Type.Optional(Type.Integer({ description: "Of the state on disk." })),
  },
  { description: "Whether a start without the database would find a state on disk." },
);

/** Adds /healthz, /readyz, /metrics and /openapi.json. */
export function operationCalls(api: Api, { ready, metrics }: ApiContext): void {
  api.get("/healthz", {
    schema: answering(readAnswers(Type.Object({ status: Type.String() })), { summary: "The process lives", tags }),
    handler: () => ({ status: "ok" }),
  });

  api.get("/readyz", {
    schema: answering(
      readAnswers(
        Type.Object({
          ready: Type.Boolean(),
          revision: Type.Integer(),
          waitingFor: Type.Array(Type.String()),
          validation: Type.Optional(validationShown),
          serving: Type.Optional(Type.Unsafe<string>({ type: "string", enum: ["live", "last-known-good"] })),
          lastKnownGood: Type.Optional(lastKnownGoodShown),
          otherHistory: Type.Optional(otherHistoryShown),
          stateFile: Type.Optional(stateFileShown),
        }),
      ),
      {
        summary: "It has loaded its state and serves it; 503 until then",
        tags,
      },
    ),
    handler: () => {
      const readiness = ready();
      if (!readiness.ready) throw new AppError("starting", { ...readiness });
      return readiness;
    },
  });

  api.get("/metrics", {
    schema: { summary: "Metrics for Prometheus", tags },
    handler: async (_, reply) => {
      reply.header("content-type", metrics.contentType);
      return metrics.text();
    },
  });

  api.get("/openapi.json", {
    schema: { summary: "This API as OpenAPI 3.1", tags },
    handler: () => api.swagger(),
  });
}
