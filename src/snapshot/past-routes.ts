// What a RouteConfiguration may have been, guessed from what its routes were before they last changed: an Envoy that comes from another
// process names a hash, and nothing else. In: changes of routes, newest first. Out: overrides for variants. Pure; called by snapshots.ts.
import type { HttpRoute, Route } from "../model/route.js";
import type { Resource } from "./resource.js";

/** A route before it changed; undefined: it was not there. */
export interface PastRoute {
  readonly name: string;
  readonly before: Route | undefined;
}

/** Guesses that are tried; each encodes one RouteConfiguration. */
const maxGuesses = 64;

type Overrides = ReadonlyMap<string, HttpRoute | undefined>;

/**
 * Likeliest first: one route in an earlier form and the others as they are (that one is refused), then all as they were before the newest
 * changes (the Envoy was away), then two in an earlier form. At most 64.
 */
export function pastOverrides(current: Resource, past: readonly PastRoute[]): Overrides[] {
  const own = past.flatMap(({ name, before }): [string, HttpRoute | undefined][] => {
    if (before === undefined) return current.parts?.has(name) ? [[name, undefined]] : [];
    return before.protocol === "http" && before.listeners.includes(current.name) ? [[name, before]] : [];
  });
  const guesses: Overrides[] = own.slice(0, maxGuesses / 2).map((one) => new Map([one]));
  for (let count = 2; count <= Math.min(own.length, maxGuesses / 4); count++) {
    // The oldest of several forms of one route is what it was then.
    guesses.push(new Map(own.slice(0, count)));
  }
  for (let first = 0; first < own.length; first++) {
    for (let second = first + 1; second < own.length; second++) {
      const [one, other] = [own[first], own[second]];
      if (guesses.length >= maxGuesses) return guesses;
      if (one && other && one[0] !== other[0]) guesses.push(new Map([one, other]));
    }
  }
  return guesses;
}
