-- Up Migration

-- A step of a rebalance is a drain of one endpoint, in one route, that puts it back at its end.
alter table drains drop constraint drains_state_check;
alter table drains add constraint drains_state_check
  check (state in ('draining', 'closing', 'removed', 'disabled', 'restored', 'cancelled'));
alter table drains drop constraint drains_afterwards_check;
alter table drains add constraint drains_afterwards_check check (afterwards in ('remove', 'disable', 'restore'));
alter table drains drop constraint drains_end_in_an_end_state;
alter table drains add constraint drains_end_in_an_end_state
  check ((ended_at is not null) = (state in ('removed', 'disabled', 'restored', 'cancelled')));

create table rebalances (
  -- The order of their creation, for lists.
  ordinal         bigint generated always as identity unique,
  id              text collate "C" primary key,
  author          text not null,
  request_id      text not null,
  reason          text,
  state           text not null default 'open' check (state in ('open', 'done', 'superseded', 'cancelled')),
  route           text collate "C" not null,
  -- {cluster: weight}: what the connections are to be shared by. Other weights of the route supersede it.
  weights         jsonb not null,
  -- [{cluster, guarantee: {kind, closesWithinMs, because}}]: whose connections may be closed.
  losing          jsonb not null,
  after_ms        integer not null,
  rate_per_second integer not null,
  -- Whose Envoys have the route: those of its listener when it began.
  gateways        jsonb not null,
  created_at      timestamptz not null default clock_timestamp(),
  -- The first step is not before this; a later one not before the end of the drain before it and the pause.
  next_at         timestamptz not null,
  -- [{cluster, endpoint, connections, drain}], in the order in which they began.
  steps           jsonb not null default '[]',
  -- The drain of the last step, and how long to wait after its end.
  drain           text collate "C",
  pause_ms        integer not null default 0,
  -- {cluster: connections} as they were at its end.
  connections     jsonb,
  ended_at        timestamptz,
  outcome         text,
  constraint rebalances_end_in_an_end_state check ((ended_at is not null) = (state <> 'open'))
);
create unique index rebalances_open on rebalances (route) where ended_at is null;
create index rebalances_ended on rebalances (ended_at) where ended_at is not null;

-- What the Envoys of one replica's load reports have open, while a rebalance runs.
create table rebalance_loads (
  rebalance  text collate "C" not null references rebalances (id) on delete cascade,
  node       text collate "C" not null,
  -- Its load reports may come to two replicas.
  replica    text collate "C" not null,
  -- {address:port: connections}; an endpoint without any is absent.
  counts     jsonb not null,
  -- When the newest report came.
  load_at    timestamptz not null,
  primary key (rebalance, node, replica)
) with (fillfactor = 70);
