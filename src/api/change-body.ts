// The body of POST /v1/changes: several writes that become one revision, told apart by `op`, puts and deletes also by `kind`.
// In: JSON. Out: a body that the schema has passed, for change-set.ts. An object in it is what POST takes for its kind.
import { type Static, Type } from "typebox";
import type { Kind } from "../model/revision.js";
import { weightsField } from "./backend-body.js";
import { clusterCreated } from "./cluster-body.js";
import { endpointSchema } from "./endpoint-body.js";
import { integer, list, name, object, oneOf } from "./fields.js";
import { listenerSchema } from "./listener-body.js";
import { rolloutSchema } from "./rollout-body.js";
import { routeSchema } from "./route-body.js";

/** Writes that one change may hold. */
export const maxChanges = 1_000;

const ifMatch = Type.Optional(
  Type.String({
    pattern: '^(\\*|"\\d{1,15}")$',
    description: 'Only if the object is as in the answer with this ETag, like `"42"`, or, with `*`, if it is there at all.',
  }),
);
const put = { op: Type.Literal("put"), ifMatch };
const remove = { op: Type.Literal("delete"), ifMatch };
const kind = <const K extends Kind>(word: K) => ({ kind: Type.Literal(word) });

const putSchema = oneOf(
  "kind",
  [
    object({ ...put, ...kind("cluster"), object: clusterCreated }),
    object({ ...put, ...kind("endpoint"), cluster: name("cluster"), object: endpointSchema }),
    object({ ...put, ...kind("listener"), object: listenerSchema }),
    object({ ...put, ...kind("route"), object: routeSchema }),
  ],
  "Create an object, or replace it. `endpoints` of a cluster, when given, are its whole set, also if the cluster is there already.",
  { op: put.op },
);
const endpointName = Type.String({ maxLength: 64, description: "`10.0.0.7:8080` or `[fd00::7]:8080`." });
const deleteSchema = oneOf(
  "kind",
  [
    object({ ...remove, ...kind("cluster"), name: name("cluster") }),
    object({ ...remove, ...kind("endpoint"), cluster: name("cluster"), name: endpointName }),
    object({ ...remove, ...kind("listener"), name: name("listener") }),
    object({ ...remove, ...kind("route"), name: name("route") }),
  ],
  "Delete an object; a cluster's endpoints go with it.",
  { op: remove.op },
);
const weightsSchema = object({ op: Type.Literal("weights"), ifMatch, route: name("route"), weights: weightsField });

const overridden = (what: string) => Type.Optional(Type.Literal(true, { description: what }));
/** Guards that a body lets its change pass. */
export const overrideSchema = object(
  {
    emptied: overridden("A kind of which none would be left."),
    shrink: overridden("More than 30 % and at least 5 of a kind, or of one cluster's endpoints, gone."),
    size: overridden("A configuration above its hard size."),
    rollout: overridden("The gateways' policies of staged rollouts: every Envoy gets the change at once."),
    drain: overridden("Endpoints gone, or their cluster changed, while they are being drained."),
  },
  { description: "Guards that are to let this change pass; recorded with the revision." },
);

/** The body of POST /v1/changes. */
export const changesBody = object({
  changes: list(
    oneOf("op", [putSchema, deleteSchema, weightsSchema], "One write."),
    0,
    maxChanges,
    "Writes that happen together or not at all, each object at most once, in any order.",
  ),
  baseRevision: Type.Optional(
    integer(0, Number.MAX_SAFE_INTEGER, "Only if this is the newest revision of the whole configuration."),
  ),
  override: Type.Optional(overrideSchema),
  rollout: Type.Optional(rolloutSchema),
  apply: Type.Optional(
    object(
      {
        set: name("set"),
        prune: Type.Optional(
          Type.Boolean({
            default: false,
            description: "Also delete what was put under this name and is not in `changes` now. Default false.",
          }),
        ),
      },
      { description: "The objects put by this change belong to this set from now on, as the files of `chancery apply` do." },
    ),
  ),
});
/** A body that the schema has passed. */
export type ChangesBody = Static<typeof changesBody>;
