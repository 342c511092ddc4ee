-- Staged rollouts: a change that only some Envoys have, until it has proved itself there (an overlay over the desired state). What the
-- snapshots need of one goes through `changes` as kind 'rollout', like any object, so that every replica agrees at which revision an
-- Envoy sees what. How far one is, and what its Envoys say, is kept beside it, on the database's clock.

-- Up Migration

create table rollouts (
  name        text collate "C" primary key,
  -- In which it last moved; null only within the transaction that makes it.
  revision    bigint,
  state       text not null check (state in ('staging', 'watching', 'done', 'aborted')),
  -- Index into stages.
  stage       int not null default 0,
  -- What was asked for: stages, bakeMs, abortOn.
  policy      jsonb not null,
  -- The objects, before and after, as in changes.
  changes     jsonb not null,
  -- gateway -> share of its Envoys that see the changes, of 2^32.
  shares      jsonb not null,
  -- gateway -> Envoys that were connected when the stage began and see the changes.
  expected    jsonb not null default '{}',
  overrides   text[] not null default '{}',
  -- The set of files that its objects belong to once it is promoted, and which.
  applied     jsonb,
  author      text not null,
  request_id  text not null,
  reason      text,
  started_at  timestamptz not null default clock_timestamp(),
  -- When the stage began, and since when all its Envoys have the changes.
  stage_at    timestamptz not null default clock_timestamp(),
  acked_at    timestamptz,
  ended_at    timestamptz,
  -- When a replica last looked after it, and since when one has without a gap: while nobody did, nobody could be seen to go or to confirm.
  looked_at   timestamptz not null default clock_timestamp(),
  resumed_at  timestamptz not null default clock_timestamp(),
  -- Why it was aborted, for programs and for people.
  cause       text,
  detail      text,
  -- In which it began.
  began_in    bigint
);
insert into write_locks (name) values ('rollouts');
create index rollouts_open on rollouts (state) where state in ('staging', 'watching');
create index rollouts_by_age on rollouts (started_at desc);

-- What an open rollout holds: nobody else changes an object that it changes, nor removes one that those name.
create table rollout_objects (
  rollout text collate "C" not null references rollouts on delete cascade,
  kind    text collate "C" not null,
  name    text collate "C" not null,
  changes boolean not null,
  primary key (kind, name, rollout)
);

-- What one Envoy of an open rollout says, told by the replica that has its stream.
create table rollout_nodes (
  rollout   text collate "C" not null references rollouts on delete cascade,
  node      text collate "C" not null,
  gateway   text collate "C" not null,
  replica   text collate "C" not null,
  stage     int not null,
  connected boolean not null,
  -- Everything that the rollout changes, acked.
  has       boolean not null,
  -- In Envoy's words; null: nothing that the rollout changes.
  refusal   jsonb,
  -- Streams that it has opened in the stage.
  streams   int not null,
  lost_at   timestamptz,
  seen_at   timestamptz not null default clock_timestamp(),
  primary key (rollout, node)
);

-- Requests of one replica's Envoys since the stage began: of those that see the changes, and of the others of their gateway.
create table rollout_traffic (
  rollout  text collate "C" not null references rollouts on delete cascade,
  replica  text collate "C" not null,
  stage    int not null,
  sees     boolean not null,
  requests bigint not null,
  errors   bigint not null,
  primary key (rollout, replica, stage, sees)
);

-- What holds for changes of a gateway that do not say otherwise. A change of it is a revision, with the kind 'rollout-policy'.
create table gateway_policies (
  gateway text collate "C" primary key,
  rollout jsonb not null,
  author  text not null,
  at      timestamptz not null default clock_timestamp()
);

-- As in 0006, and: what a rollout holds is refused to everybody else; the rollout's own writes name it.
create function commit_revision(the_id uuid, the_author text, the_request_id text, the_reason text, the_changes jsonb,
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
   where changes.revision = taken.n and changes.after is not null and changes.kind not in ('rollout', 'rollout-policy');
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


-- For control planes of the releases before, while they are upgraded one by one: they are held back by rollouts, too.
create or replace function commit_revision(the_id uuid, the_author text, the_request_id text, the_reason text, the_changes jsonb,
                                           the_overrides text[], may_empty boolean, hint boolean)
returns bigint language sql as $$
  select commit_revision(the_id, the_author, the_request_id, the_reason, the_changes, the_overrides, may_empty, null::text, hint)
$$;
