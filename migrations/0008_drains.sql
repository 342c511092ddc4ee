-- Drains: endpoints on their way out, as objects with a deadline that any replica can finish. All times are on the database's clock,
-- and nothing is decided by another one. What is drained is also marked in the endpoints' own specs ("drain"), which is what Envoys get.

-- Up Migration

create table drains (
  -- The order of their creation, for lists.
  ordinal        bigint generated always as identity unique,
  id             text collate "C" primary key,
  author         text not null,
  request_id     text not null,
  reason         text,
  state          text not null check (state in ('draining', 'closing', 'removed', 'disabled', 'cancelled')),
  afterwards     text not null check (afterwards in ('remove', 'disable')),
  timeout_ms     integer not null,
  -- Of the revision that made the endpoints draining: its id is known before its number. Null: they all were already.
  revision_id    uuid,
  -- The newest revision that this drain needs of Envoys when it made none of its own.
  joined_at      bigint not null default 0,
  -- [{cluster, endpoint, connectTimeoutMs, guarantee: {kind, closesWithinMs, because}, joins}]; joins: the drain that has it already.
  endpoints      jsonb not null,
  -- Whose Envoys have the endpoints: those of the listeners that reached the clusters when it began.
  gateways       jsonb not null,
  created_at     timestamptz not null default clock_timestamp(),
  deadline       timestamptz not null,
  -- Set at the deadline, where something can be closed: until when that takes.
  closing_until  timestamptz,
  ended_at       timestamptz,
  safe_to_stop   boolean not null default false,
  left_open      integer,
  -- Why it ended as it did, for people.
  outcome        text,
  constraint drains_end_in_an_end_state check ((ended_at is not null) = (state in ('removed', 'disabled', 'cancelled')))
);
create index drains_open on drains (ordinal) where ended_at is null;
create index drains_ended on drains (ended_at) where ended_at is not null;
-- How an endpoint went last, also when it is not known of which cluster it was.
create index changes_removing_endpoints on changes (revision) where kind = 'endpoint' and after is null;

-- One Envoy's part of a drain, in three pieces, because its streams of configuration, of load reports and of metrics may each end at
-- another replica.
create table drain_nodes (
  drain        text collate "C" not null references drains (id) on delete cascade,
  node         text collate "C" not null,
  gateway      text collate "C" not null,
  -- When it was known to send nothing new; stays.
  acked_at     timestamptz,
  acked_by     text collate "C",
  -- What its newest load report says. Null: none has come.
  verdict      text check (verdict in ('settling', 'in-flight', 'zero')),
  in_flight    integer not null default 0,
  unattributed integer not null default 0,
  load_at      timestamptz,
  load_by      text collate "C",
  -- What its newest metrics say of the clusters, for the replica that has its load reports. Null: that one has the metrics too, or none do.
  gauges       jsonb,
  gauges_at    timestamptz,
  gauges_by    text collate "C",
  -- When it last gave a sign.
  at           timestamptz not null default clock_timestamp(),
  primary key (drain, node)
) with (fillfactor = 70);
