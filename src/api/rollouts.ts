// Staged rollouts under way and of before, and the policies of gateways. In: HTTP. Out: what the store knows; an abort is a revision.
// How a write becomes a rollout: staging.ts. What drives one: rollout/.
import { Type } from "typebox";
import { AppError } from "../errors.js";
import { countGuards } from "../model/guard.js";
import type { RolloutPolicy } from "../model/rollout.js";
import type { OpenRollout, RolloutStore, Store } from "../store/store.js";
import { answering, readAnswers } from "./answers.js";
import { readAuthor } from "./author.js";
import { whileConnected } from "./caller-waits.js";
import type { Api, ApiContext } from "./context.js";
import { integer, milliseconds, name, object, word } from "./fields.js";
import { refusePreconditions } from "./preconditions.js";
import { fromRolloutBody, rolloutSchema, rolloutShown, toOpenRolloutBody, toPolicyBody, toRolloutBody } from "./rollout-body.js";
import { whenEnded } from "./rollout-wait.js";
import { restore } from "./undo.js";
import { idempotencyOf, type KeyedRequest, maxWaitMs } from "./write-choices.js";

const tags = ["rollouts"];
const standardLimit = 100;
const standardWaitMs = 10_000;
const params = Type.Object({ rollout: Type.String({ maxLength: 128, description: "Its name." }) });

async function existing(store: Pick<RolloutStore, "one">, rollout: string): Promise<OpenRollout> {
  const found = await store.one(rollout);
  if (!found) throw new AppError("not_found", { kind: "rollout", name: rollout, detail: `there is no rollout ${rollout}` });
  return found;
}

/** All of it, with the objects that it changes. */
function shower({ rollouts }: Pick<Store, "rollouts">) {
  return async (open: OpenRollout) => toOpenRolloutBody(open, await rollouts.changesOf(open.rollout.name));
}

function readCalls(api: Api, { store, callerWaits, rolloutEnds, closing }: ApiContext): void {
  const show = shower(store);
  const query = object({
    limit: Type.Optional(integer(1, 1000, "Rollouts on a page.", standardLimit)),
    before: Type.Optional(Type.String({ maxLength: 128, description: "Rollouts that began before this one." })),
  });
  api.get("/v1/rollouts", {
    schema: answering(readAnswers(Type.Object({ items: Type.Array(rolloutShown), next: Type.Optional(Type.String()) })), {
      summary: "List staged rollouts, newest first",
      tags,
      querystring: query,
    }),
    handler: async ({ query: { limit = standardLimit, before } }) => {
      const found = await store.rollouts.list(limit + 1, before);
      const items = found.slice(0, limit);
      const next = found.length > limit ? items.at(-1)?.name : undefined;
      return { items: items.map(toRolloutBody), ...(next === undefined ? {} : { next }) };
    },
  });

  const waitQuery = object({
    wait: Type.Optional(word(["ended"], "`ended`: answer when it is done, or was stopped (409), or the time is over (202).")),
    timeoutMs: Type.Optional(milliseconds(0, maxWaitMs, "Longest wait.", standardWaitMs)),
  });
  api.get("/v1/rollouts/:rollout", {
    schema: answering(readAnswers(rolloutShown), {
      summary: "Read one staged rollout, or wait for its end",
      tags,
      params,
      querystring: waitQuery,
    }),
    handler: async ({ params: { rollout }, query: { wait, timeoutMs = standardWaitMs }, raw }, reply) => {
      const until = (signal: AbortSignal) => whenEnded(store.rollouts, rolloutEnds, rollout, timeoutMs, signal);
      const ended = wait && (await callerWaits.hold(() => whileConnected(raw, closing, until)));
      if (ended && ended.rollout.state !== "done") reply.code(202);
      return show(ended || (await existing(store.rollouts, rollout)));
    },
  });
}

/** Stopping one is what the driver does too, asked for by a person. */
function abortCall(api: Api, { store, log }: ApiContext): void {
  const show = shower(store);
  api.delete("/v1/rollouts/:rollout", {
    schema: answering(readAnswers(rolloutShown), {
      summary: "Stop a staged rollout: the Envoys that have the change are put back. One that has ended stays as it is.",
      tags,
      params,
    }),
    handler: async (request) => {
      refusePreconditions(request.headers);
      const { rollout: wanted } = request.params;
      const author = readAuthor(request.headers, request.id);
      const { rollout } = await existing(store.rollouts, wanted);
      const changes = await store.rollouts.changesOf(rollout.name);
      const end = { cause: "asked", detail: `stopped by ${author.author}${author.reason ? `: ${author.reason}` : ""}` };
      const reason = author.reason ?? `rollout ${rollout.name}: stopped`;
      await store.write(
        { ...author, reason },
        async (tx) => {
          if (await tx.rollouts.abort(rollout.name, end)) return;
          if (await tx.rollouts.finish(rollout.name, "aborted", end)) await restore(tx, changes, rollout.revision);
        },
        // What everybody has goes back to what was there before, so no guard stands in its way.
        {
          overrides: rollout.state === "watching" ? countGuards : [],
          idempotency: idempotencyOf(request),
        },
      );
      log.info({ ...author, rollout: rollout.name }, "rollout stopped");
      return show(await existing(store.rollouts, wanted));
    },
  });
}

const policyShown = Type.Object({
  gateway: Type.String(),
  rollout: Type.Unknown({ description: "As PUT takes it." }),
  author: Type.String(),
  at: Type.String({ format: "date-time" }),
});

/** A change of a policy is a revision: whoever lifts one is in the history. */
async function setPolicy(
  { store, log }: ApiContext,
  request: KeyedRequest & { readonly id: string; readonly params: { readonly gateway: string } },
  policy: RolloutPolicy | undefined,
): Promise<RolloutPolicy | undefined> {
  refusePreconditions(request.headers);
  const { gateway } = request.params;
  const given = readAuthor(request.headers, request.id);
  const author = { ...given, reason: given.reason ?? `rollout policy of gateway ${gateway} ${policy ? "set" : "lifted"}` };
  const { value } = await store.write(author, (tx) => tx.rollouts.setPolicy(gateway, policy, author.author), {
    idempotency: idempotencyOf(request),
  });
  log.info({ ...author, gateway }, "rollout policy");
  return value ?? undefined;
}

function policyCalls(api: Api, context: ApiContext): void {
  const gatewayParams = Type.Object({ gateway: name("gateway") });
  const { store } = context;
  const none = (gateway: string) =>
    new AppError("not_found", { kind: "rollout policy", name: gateway, detail: `gateway ${gateway} has none` });
  const shown = async (gateway: string) => {
    const [found] = await store.rollouts.policies([gateway]);
    if (!found) throw none(gateway);
    return { ...found, rollout: toPolicyBody(found.rollout) };
  };
  api.get("/v1/gateways/:gateway/rollout-policy", {
    schema: answering(readAnswers(policyShown), {
      summary: "How a gateway's changes are rolled out",
      tags,
      params: gatewayParams,
    }),
    handler: ({ params: { gateway } }) => shown(gateway),
  });
  api.put("/v1/gateways/:gateway/rollout-policy", {
    schema: answering(readAnswers(policyShown), {
      summary: "Stage every change of a gateway from now on, unless it says `override=rollout`. Endpoints go to all at once.",
      tags,
      params: gatewayParams,
      body: rolloutSchema,
    }),
    handler: async (request) => {
      await setPolicy(context, request, fromRolloutBody(request.body, ""));
      return shown(request.params.gateway);
    },
  });
  api.delete("/v1/gateways/:gateway/rollout-policy", {
    schema: answering(readAnswers(Type.Object({ gateway: Type.String(), rollout: Type.Unknown() })), {
      summary: "Stage a gateway's changes no more",
      tags,
      params: gatewayParams,
    }),
    handler: async (request) => {
      const { gateway } = request.params;
      const before = await setPolicy(context, request, undefined);
      if (!before) throw none(gateway);
      return { gateway, rollout: toPolicyBody(before) };
    },
  });
}

/** Adds the calls under /v1/rollouts and the policies of gateways. */
export function rolloutCalls(api: Api, context: ApiContext): void {
  readCalls(api, context);
  abortCall(api, context);
  policyCalls(api, context);
}
