-- Drains of Envoys: one that is to be stopped, or replaced. Which Envoys, and in which phase, goes through `changes` as kind 'node-drain', so
-- that every replica agrees, and a restart keeps it. How far each is is kept here, on the database's clock.

-- Up Migration

create table node_drains (
  node         text collate "C" primary key,
  -- Of this drain of the node: what is said of an earlier one does not count. Made anew when it is waited for once more.
  id           text collate "C" not null,
  gateway      text collate "C" not null,
  phase        text not null check (phase in ('lame-duck', 'withdrawn')),
  author       text not null,
  request_id   text not null,
  reason       text,
  lame_duck_ms integer not null,
  timeout_ms   integer not null,
  created_at   timestamptz not null default clock_timestamp(),
  -- When the listeners go, and until when connections are waited for.
  withdraw_at  timestamptz not null,
  deadline     timestamptz not null,
  -- When the Envoy was first known to have no listener any more; stays.
  acked_at     timestamptz,
  -- What its newest metrics say, after that. Null: none have come.
  verdict      text check (verdict in ('open', 'settling', 'zero')),
  connections  integer,
  reported_at  timestamptz,
  reported_by  text collate "C",
  -- When it last gave a sign in this drain.
  seen_at      timestamptz not null default clock_timestamp(),
  -- When a replica last looked, and since when one has without a gap; null: there was no gap. Nobody could be seen to go meanwhile.
  looked_at    timestamptz not null default clock_timestamp(),
  resumed_at   timestamptz,
  -- The Envoy stays drained after that.
  ended_at     timestamptz,
  safe_to_stop boolean not null default false,
  left_open    integer,
  -- Why it ended as it did, for people.
  outcome      text
) with (fillfactor = 50);
create index node_drains_of_gateway on node_drains (gateway);
insert into write_locks (name) values ('node-drains');

-- As in 0007, but: which kinds are objects is said by naming those, so that a kind that is none needs no change here.
create or replace function commit_revision(the_id uuid, the_author text, the_request_id text, the_reason text, the_changes jsonb,
                                           the_overrides text[], may_empty boolean, the_rollout text, hint boolean)
returns bigint language plpgsql as $$
declare
  difference record;
  held       record;
  taken      revision_counter;
  made       revisions;
  wanted     bigint;
  written    bigint := 0;
  touched    bigint;
begin
  select coalesce(sum(step) filter (where kind = 'cluster'), 0)::bigint as clusters,
         coalesce(sum(step) filter (where kind = 'endpoint'), 0)::bigint as endpoints,
         coalesce(sum(step) filter (where kind = 'listener'), 0)::bigint as listeners,
         coalesce(sum(step) filter (where kind = 'route'), 0)::bigint as routes
    into difference
    from (select change.kind, (change.before is null)::int - (change.after is null)::int as step
            from jsonb_to_recordset(the_changes) as change (kind text, before jsonb, after jsonb)) as steps;
  select text_hash(coalesce(string_agg(change_line(item.ordinal, 'default', item.change->>'kind', item.change->>'name',
                                                   item.change->'before', item.change->'after'), E'\n' order by item.ordinal), ''))
    into made.changes_hash
    from jsonb_array_elements(the_changes) with ordinality as item (change, ordinal);

  -- From here on every other writer waits.
  update revision_counter as counter
     set n = counter.n + 1,
         clusters = counter.clusters + difference.clusters,
         endpoints = counter.endpoints + difference.endpoints,
         listeners = counter.listeners + difference.listeners,
         routes = counter.routes + difference.routes
  returning counter.* into strict taken;
  if not may_empty and ((taken.clusters = 0 and difference.clusters < 0) or (taken.endpoints = 0 and difference.endpoints < 0)
                     or (taken.listeners = 0 and difference.listeners < 0) or (taken.routes = 0 and difference.routes < 0)) then
    raise exception 'a kind would be emptied that was not when it was looked at' using errcode = 'CH001';
  end if;

  -- Objects that a rollout is trying out change only with it, and what they name stays: whoever came first wins, as everybody has the lock here.
  if exists (select from rollout_objects) then
    select rollout_objects.rollout, rollout_objects.kind, rollout_objects.name into held
      from rollout_objects
      join jsonb_to_recordset(the_changes) as change (kind text, name text, after jsonb)
        on change.kind = rollout_objects.kind and change.name = rollout_objects.name
     where rollout_objects.rollout is distinct from the_rollout and (rollout_objects.changes or change.after is null)
     limit 1;
    if found then
      raise exception 'rollout % holds % %', held.rollout, held.kind, held.name
        using errcode = 'CH002', detail = json_build_object('rollout', held.rollout, 'kind', held.kind, 'name', held.name)::text;
    end if;
  end if;

  made.revision := taken.n;
  made.id := the_id;
  made.author := the_author;
  made.request_id := the_request_id;
  made.reason := the_reason;
  made.at := clock_timestamp();
  made.clusters := taken.clusters;
  made.endpoints := taken.endpoints;
  made.listeners := taken.listeners;
  made.routes := taken.routes;
  made.overrides := the_overrides;
  made.previous_hash := coalesce((select revisions.hash from revisions where revisions.revision = taken.n - 1), text_hash(''));
  made.hash := text_hash(revision_line(made));
  insert into revisions (revision, id, author, request_id, reason, at, clusters, endpoints, listeners, routes,
                         overrides, changes_hash, previous_hash, hash)
  values (made.revision, made.id, made.author, made.request_id, made.reason, made.at, made.clusters, made.endpoints, made.listeners,
          made.routes, made.overrides, made.changes_hash, made.previous_hash, made.hash);

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

  select count(*) into wanted from changes
   where changes.revision = taken.n and changes.after is not null and changes.kind in ('cluster', 'endpoint', 'listener', 'route');
  if written <> wanted then
    raise exception 'revision % changes % objects, but % rows are there', taken.n, wanted, written;
  end if;
  update rollouts as object set revision = taken.n, began_in = coalesce(object.began_in, taken.n) from changes as change
   where change.revision = taken.n and change.kind = 'rollout' and object.name = change.name;
  if hint then
    perform pg_notify('chancery_revision', taken.n::text);
  end if;
  return taken.n;
end
$$;
