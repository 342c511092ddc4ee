// GET /v1/revisions?follow=true: revisions and their sync as they happen, as server-sent events. One look at the database for all
// followers; a hint makes it sooner. In: the history, and what status/ knows. Out: events. Called by revisions.ts.
// A follower that comes back names the last revision it saw (`Last-Event-ID`), and misses none. https://html.spec.whatwg.org/#server-sent-events
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { AppError } from "../errors.js";
import type { Revision } from "../model/revision.js";
import type { Sync } from "../status/sync.js";
import { beyondCut, type RevisionFacts, type RevisionMark } from "../store/store.js";
import type { ApiContext } from "./context.js";
import { toRevisionBody } from "./revision-body.js";

/** Between two looks, when nothing hints at a change. */
const pollMs = 500;
const maxRetryMs = 5_000;
/** Of a revision that not every Envoy has: looked at again after a quarter of the time that it has taken, within these bounds. */
const minLookMs = 250;
const maxLookMs = 5_000;
/** Revisions whose sync is looked at; the oldest are given up, as the newer ones tell more. */
const maxUnsettled = 16;
/** Revisions of one read. */
const pageSize = 100;
/** An idle stream is seen to live by this. */
const heartbeatMs = 15_000;
/** What a follower has not taken by then is too much: it is cut off, and comes back with `Last-Event-ID`. */
const maxBufferedBytes = 1024 * 1024;
/** A follower that is behind and does not read. */
const stallMs = 30_000;

/** One stream. */
interface Follower {
  readonly raw: ServerResponse;
  sentUpTo: Revision;
  /** What it was told last has a sync that it may not know: it comes back, or caught up with what happened before it came. */
  owedSync: boolean;
}

/** A revision that not every Envoy has, as far as anybody was told. */
interface Unsettled {
  readonly since: number;
  lookAt: number;
  /** The newest event about it; "" when none was sent. */
  text: string;
}

type FollowersContext = Pick<ApiContext, "store" | "fleet" | "metrics" | "log" | "limits" | "closing">;

/** Everybody who follows; one API server has one. */
export class Followers {
  readonly #followers = new Set<Follower>();
  readonly #unsettled = new Map<Revision, Unsettled>();
  /** Streams that are open, or about to be. */
  #taken = 0;
  #at: RevisionMark = { revision: 0, id: "" };
  #isRunning = false;
  #wake: (() => void) | undefined;
  /** Something may have happened since the last look began. */
  #nudged = false;
  #heartbeatAt = 0;

  constructor(private readonly context: FollowersContext) {}

  /** Answers with a stream. @throws too_many_requests, not_found or beyond_history (`after`), database_unavailable */
  async follow(request: FastifyRequest, reply: FastifyReply, after: Revision | undefined): Promise<void> {
    const { limits, metrics } = this.context;
    if (this.#taken >= limits.maxFollowers) {
      metrics.count("limit_hits_total", { limit: "api_max_followers" });
      const { maxFollowers } = limits;
      throw new AppError("too_many_requests", { maxFollowers, detail: `${maxFollowers} callers follow already` });
    }
    this.#taken += 1;
    metrics.set("api_followers", {}, this.#taken);
    const { raw } = reply;
    raw.once("close", () => metrics.set("api_followers", {}, --this.#taken));
    const head = await this.context.store.head();
    const seen = after === undefined ? lastEventId(request) : undefined;
    const sentUpTo = after ?? seen ?? head.revision;
    const cut = await this.context.store.history.cut();
    if (sentUpTo < cut.revision) throw beyondCut(sentUpTo, cut);
    if (sentUpTo > head.revision)
      throw new AppError("not_found", { kind: "revision", name: String(sentUpTo), detail: `there is no revision ${sentUpTo}` });
    if (raw.destroyed) return;
    reply.hijack();
    raw.writeHead(200, {
      "content-type": "text/event-stream; charset=utf-8",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
      "x-request-id": request.id,
    });
    this.#begin({ raw, sentUpTo, owedSync: seen !== undefined && seen > 0 }, head);
  }

  #begin(follower: Follower, head: RevisionMark): void {
    const { raw } = follower;
    this.#followers.add(follower);
    raw.once("close", () => {
      this.#followers.delete(follower);
      if (this.#followers.size === 0) this.#wake?.();
    });
    raw.on("error", () => {}); // Its client has gone; `close` follows.
    raw.write(": follows\n\n");
    if (!this.#isRunning) {
      this.#at = head;
      this.#unsettled.clear();
      void this.#run();
    }
    this.#catchUp(follower).catch((error: unknown) => {
      this.context.log.warn({ err: error }, "a follower could not be brought up to date");
      raw.destroy();
    });
  }

  /** Reads what the follower has missed; from there on the loop tells it. */
  async #catchUp(follower: Follower): Promise<void> {
    const { raw } = follower;
    while (follower.sentUpTo < this.#at.revision && !raw.destroyed) {
      const { history, read } = this.context.store;
      const begin = await history.cut();
      const own = follower.sentUpTo <= begin.revision ? begin : await read.revision(follower.sentUpTo);
      const next = await history.after({ revision: follower.sentUpTo, id: own?.id ?? "" }, pageSize);
      if (next.kind !== "next") return void raw.end(otherHistory);
      for (const facts of next.revisions) this.#tell(follower, facts);
      follower.owedSync = true;
      if (raw.writableNeedDrain) await once(raw, "drain", { signal: AbortSignal.timeout(stallMs) });
    }
    for (const { text } of this.#unsettled.values()) if (text !== "") this.#send(follower, text);
    if (follower.owedSync && !this.#unsettled.has(follower.sentUpTo)) await this.#tellSync(follower, follower.sentUpTo);
  }

  /** Of a revision that nobody looks at: it was there before the loop, or it was settled before this follower caught up. */
  async #tellSync(follower: Follower, revision: Revision): Promise<void> {
    const sync = await this.context.fleet.lookSync(revision);
    const text = toSyncEvent(sync);
    this.#send(follower, text);
    const now = performance.now();
    if (sync.state === "pending") this.#unsettled.set(revision, { since: now, lookAt: now + minLookMs, text });
  }

  async #run(): Promise<void> {
    const { closing, log, store } = this.context;
    this.#isRunning = true;
    this.#heartbeatAt = performance.now() + heartbeatMs;
    const nudge = (): void => {
      this.#nudged = true;
      this.#wake?.();
    };
    const stops = [store.onRevisionHint(nudge), store.onSyncHint(nudge)];
    closing.addEventListener("abort", nudge, { once: true });
    let failures = 0;
    while (this.#followers.size > 0 && !closing.aborted) {
      try {
        await this.#look();
        failures = 0;
      } catch (error) {
        if (failures === 0) log.warn({ err: error }, "the history can't be read; followers wait");
        failures += 1;
      }
      this.#beat();
      await this.#pause(
        failures > 0 ? Math.min(maxRetryMs, pollMs * 2 ** failures) : this.#unsettled.size > 0 ? minLookMs : pollMs,
      );
    }
    closing.removeEventListener("abort", nudge);
    for (const stop of stops) stop();
    for (const { raw } of this.#followers) raw.end();
    this.#isRunning = false;
  }

  async #look(): Promise<void> {
    this.#nudged = false;
    const next = await this.context.store.history.after(this.#at, pageSize);
    if (next.kind !== "next") {
      // What they were told is not what happened. They come back, and learn where things stand.
      for (const { raw } of this.#followers) raw.end(otherHistory);
      this.#unsettled.clear();
      this.#at = await this.context.store.head();
      return;
    }
    if (next.revisions.length === pageSize) this.#nudged = true; // There may be more.
    const now = performance.now();
    for (const facts of next.revisions) {
      this.#at = { revision: facts.revision, id: facts.id };
      this.#unsettled.set(facts.revision, { since: now, lookAt: now, text: "" });
      for (const follower of this.#followers) if (follower.sentUpTo === facts.revision - 1) this.#tell(follower, facts);
    }
    for (const revision of [...this.#unsettled.keys()].slice(0, -maxUnsettled)) this.#unsettled.delete(revision);
    for (const [revision, one] of this.#unsettled) if (one.lookAt <= performance.now()) await this.#lookAt(revision, one);
  }

  async #lookAt(revision: Revision, one: Unsettled): Promise<void> {
    const sync = await this.context.fleet.lookSync(revision);
    const now = performance.now();
    one.lookAt = now + Math.min(maxLookMs, Math.max(minLookMs, (now - one.since) / 4));
    const text = toSyncEvent(sync);
    if (text !== one.text) {
      one.text = text;
      for (const follower of this.#followers) if (follower.sentUpTo >= revision) this.#send(follower, text);
    }
    if (sync.state !== "pending") this.#unsettled.delete(revision);
  }

  #tell(follower: Follower, facts: RevisionFacts): void {
    follower.sentUpTo = facts.revision;
    this.#send(follower, `id: ${facts.revision}\nevent: revision\ndata: ${JSON.stringify(toRevisionBody(facts))}\n\n`);
  }

  #send({ raw }: Follower, text: string): void {
    if (raw.destroyed || raw.writableEnded) return;
    if (raw.writableLength > maxBufferedBytes) {
      this.context.metrics.count("limit_hits_total", { limit: "api_follower_buffer" });
      raw.destroy();
      return;
    }
    raw.write(text);
  }

  #beat(): void {
    if (performance.now() < this.#heartbeatAt) return;
    this.#heartbeatAt = performance.now() + heartbeatMs;
    for (const follower of this.#followers) this.#send(follower, ":\n\n");
  }

  async #pause(ms: number): Promise<void> {
    if (this.context.closing.aborted || this.#nudged) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

const toSyncEvent = (sync: Sync): string => `event: sync\ndata: ${JSON.stringify(sync)}\n\n`;

const otherHistory =
  'event: other-history\ndata: {"detail":"the database has another history than the one that was told: read the configuration anew"}\n\n';

/** What a browser's EventSource sends when it comes back. */
function lastEventId({ headers }: FastifyRequest): Revision | undefined {
  const given = headers["last-event-id"];
  return typeof given === "string" && /^\d{1,15}$/.test(given) ? Number(given) : undefined;
}
