-- A write costs one statement less: commit_revision writes the new specs of rows that were there itself, together with their revision, so
-- that each is written once in place of twice. And what it looks at in the changes it looks at once.

-- Up Migration

-- As in 0012. applies: the specs of rows that were there are to be written, too; false: the caller has. Rows that are made or deleted are
-- the caller's in any case, as references hang on them.
create function commit_revision(the_id uuid, the_author text, the_request_id text, the_reason text, the_changes jsonb,
                                the_overrides text[], may_empty boolean, the_rollout text, hint boolean, applies boolean)
returns bigint language plpgsql as $$
declare
  difference record;
  held       record;
  taken      revision_counter;
  made       revisions;
  written    bigint := 0;
  touched    bigint;
begin
  select coalesce(sum(step) filter (where kind = 'cluster'), 0)::bigint as clusters,
         coalesce(sum(step) filter (where kind = 'endpoint'), 0)::bigint as endpoints,
         coalesce(sum(step) filter (where kind = 'listener'), 0)::bigint as listeners,
         coalesce(sum(step) filter (where kind = 'route'), 0)::bigint as routes,
         -- Rows of objects that are to be there in the end.
         count(*) filter (where has_after and kind in ('cluster', 'endpoint', 'listener', 'route')) as wanted,
         text_hash(coalesce(string_agg(line, E'\n' order by ordinal), '')) as changes_hash
    into difference
    from (select item.ordinal, item.change->>'kind' as kind,
                 coalesce(jsonb_typeof(item.change->'after'), 'null') <> 'null' as has_after,
                 (coalesce(jsonb_typeof(item.change->'before'), 'null') = 'null')::int
                   - (coalesce(jsonb_typeof(item.change->'after'), 'null') = 'null')::int as step,
                 change_line(item.ordinal, 'default', item.change->>'kind', item.change->>'name',
                             item.change->'before', item.change->'after') as line
            from jsonb_array_elements(the_changes) with ordinality as item (change, ordinal)) as items;

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
  made.changes_hash := difference.changes_hash;
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
    update clusters as object set revision = taken.n, spec = case when applies then change.after else object.spec end
      from changes as change
     where change.revision = taken.n and change.kind = 'cluster' and change.after is not null
       and object.space = change.space and object.name = change.name;
    get diagnostics touched = row_count;
    written := written + touched;
  end if;
  if the_changes @> '[{"kind": "endpoint"}]' then
    update endpoints as object set revision = taken.n, spec = case when applies then change.after else object.spec end
      from changes as change
     where change.revision = taken.n and change.kind = 'endpoint' and change.after is not null
       and object.space = change.space and object.name = change.name;
    get diagnostics touched = row_count;
    written := written + touched;
  end if;
  if the_changes @> '[{"kind": "listener"}]' then
    update listeners as object set revision = taken.n, spec = case when applies then change.after else object.spec end
      from changes as change
     where change.revision = taken.n and change.kind = 'listener' and change.after is not null
       and object.space = change.space and object.name = change.name;
    get diagnostics touched = row_count;
    written := written + touched;
  end if;
  if the_changes @> '[{"kind": "route"}]' then
    update routes as object set revision = taken.n, spec = case when applies then change.after else object.spec end
      from changes as change
     where change.revision = taken.n and change.kind = 'route' and change.after is not null
       and object.space = change.space and object.name = change.name;
    get diagnostics touched = row_count;
    written := written + touched;
  end if;

  if written <> difference.wanted then
    raise exception 'revision % changes % objects, but % rows are there', taken.n, difference.wanted, written;
  end if;
  if the_changes @> '[{"kind": "rollout"}]' then
    update rollouts as object set revision = taken.n, began_in = coalesce(object.began_in, taken.n) from changes as change
     where change.revision = taken.n and change.kind = 'rollout' and object.name = change.name;
  end if;
  if hint then
    perform pg_notify('chancery_revision', taken.n::text);
  end if;
  return taken.n;
end
$$;

-- For control planes of the releases before, while they are upgraded one by one: they have written the specs themselves.
create or replace function commit_revision(the_id uuid, the_author text, the_request_id text, the_reason text, the_changes jsonb,
                                           the_overrides text[], may_empty boolean, the_rollout text, hint boolean)
returns bigint language sql as $$
  select commit_revision(the_id, the_author, the_request_id, the_reason, the_changes, the_overrides, may_empty, the_rollout, hint, false)
$$;

update schema_version set version = 15;
