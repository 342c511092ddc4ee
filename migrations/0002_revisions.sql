-- The history: one revision per committed write, numbered in the order of commits, and what it changed. It is the diff, the audit
-- trail and the feed that replicas follow. A sequence would not do: numbers taken early commit late, and a poller misses them
-- (14-64 % under 16 writers). So n comes from one counter row, in commit_revision, the last statement of a write.

-- Up Migration

create table revisions (
  revision   bigint primary key,
  -- Random: the same number with another id is another history (a failover to a lagging standby reuses numbers).
  id         uuid not null unique,
  author     text not null,
  request_id text not null,
  reason     text,
  at         timestamptz not null,
  -- Objects of each kind after this revision: a full load must find exactly these many.
  clusters   bigint not null,
  endpoints  bigint not null,
  listeners  bigint not null,
  routes     bigint not null
);

-- before or after is null where the object was not there; both are specs as the object tables hold them.
create table changes (
  revision bigint not null references revisions (revision),
  ordinal  integer not null,
  space    text collate "C" not null default 'default',
  kind     text collate "C" not null,
  name     text collate "C" not null,
  before   jsonb,
  after    jsonb,
  primary key (revision, ordinal),
  constraint changes_change_something check (before is not null or after is not null)
);
create index changes_by_object on changes (space, kind, name, revision);

-- One row. Locked by commit_revision only, and last of all, so that it is held for one statement and no deadlock can pass through it.
create table revision_counter (
  only_row  boolean primary key default true check (only_row),
  n         bigint not null,
  clusters  bigint not null,
  endpoints bigint not null,
  listeners bigint not null,
  routes    bigint not null
);
insert into revision_counter (n, clusters, endpoints, listeners, routes) values (0, 0, 0, 0, 0);

-- Takes the next revision and writes it down: revisions, changes, the rows' own revision, and the hint. To be sent together with COMMIT.
-- the_changes: [{kind, name, before?, after?}], the net effect of the transaction, each object at most once.
create function commit_revision(the_id uuid, the_author text, the_request_id text, the_reason text, the_changes jsonb, hint boolean)
returns bigint language plpgsql as $$
declare
  taken   revision_counter;
  wanted  bigint;
  written bigint := 0;
  touched bigint;
begin
  update revision_counter as counter
     set n = counter.n + 1,
         clusters = counter.clusters + difference.clusters,
         endpoints = counter.endpoints + difference.endpoints,
         listeners = counter.listeners + difference.listeners,
         routes = counter.routes + difference.routes
    from (select coalesce(sum(step) filter (where kind = 'cluster'), 0)::bigint as clusters,
                 coalesce(sum(step) filter (where kind = 'endpoint'), 0)::bigint as endpoints,
                 coalesce(sum(step) filter (where kind = 'listener'), 0)::bigint as listeners,
                 coalesce(sum(step) filter (where kind = 'route'), 0)::bigint as routes
            from (select change.kind, (change.before is null)::int - (change.after is null)::int as step
                    from jsonb_to_recordset(the_changes) as change (kind text, before jsonb, after jsonb)) as steps) as difference
  returning counter.* into strict taken;

  insert into revisions (revision, id, author, request_id, reason, at, clusters, endpoints, listeners, routes)
  values (taken.n, the_id, the_author, the_request_id, the_reason, clock_timestamp(),
          taken.clusters, taken.endpoints, taken.listeners, taken.routes);

  insert into changes (revision, ordinal, kind, name, before, after)
  select taken.n, item.ordinal, item.change->>'kind', item.change->>'name', item.change->'before', item.change->'after'
    from jsonb_array_elements(the_changes) with ordinality as item (change, ordinal);

  -- The guards keep a change of one route from scanning the other tables.
  if the_changes @> '[{"kind": "cluster"}]' then
    update clusters as object set revision = taken.n from changes as change
     where change.revision = taken.n and change.kind = 'cluster' and change.after is not null
       and object.space = change.space and object.name = change.name;
    get diagnostics touched = row_count;
    written := written + touched;
  end if;
  if the_changes @> '[{"kind": "endpoint"}]' then
    update endpoints as object set revision = taken.n from changes as change
     where change.revision = taken.n and change.kind = 'endpoint' and change.after is not null
       and object.space = change.space and object.name = change.name;
    get diagnostics touched = row_count;
    written := written + touched;
  end if;
  if the_changes @> '[{"kind": "listener"}]' then
    update listeners as object set revision = taken.n from changes as change
     where change.revision = taken.n and change.kind = 'listener' and change.after is not null
       and object.space = change.space and object.name = change.name;
    get diagnostics touched = row_count;
    written := written + touched;
  end if;
  if the_changes @> '[{"kind": "route"}]' then
    update routes as object set revision = taken.n from changes as change
     where change.revision = taken.n and change.kind = 'route' and change.after is not null
       and object.space = change.space and object.name = change.name;
    get diagnostics touched = row_count;
    written := written + touched;
  end if;

  select count(*) into wanted from changes where changes.revision = taken.n and changes.after is not null;
  if written <> wanted then
    raise exception 'revision % changes % objects, but % rows are there', taken.n, wanted, written;
  end if;
  if hint then
    perform pg_notify('chancery_revision', taken.n::text);
  end if;
  return taken.n;
end
$$;
