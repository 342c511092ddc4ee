// Any object as GET shows it. In: an object of the model. Out: its body. Called where objects of all kinds are shown together: plans.
import type { Kind, ObjectKinds } from "../model/revision.js";
import { toClusterBody } from "./cluster-body.js";
import { toEndpointBody } from "./endpoint-body.js";
import { toListenerBody } from "./listener-body.js";
import { toRouteBody } from "./route-body.js";

/** kind → its body. A new kind fails to compile until it is here. */
const bodies: { readonly [K in Kind]: (object: ObjectKinds[K]) => unknown } = {
  cluster: toClusterBody,
  endpoint: toEndpointBody,
  listener: toListenerBody,
  route: toRouteBody,
};

export function showObject<K extends Kind>(kind: K, object: ObjectKinds[K]): unknown {
  return bodies[kind](object);
}
