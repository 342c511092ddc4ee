-- The history can be trusted: every revision carries a hash over itself, its changes and the hash of the one before, so that a row that
-- was edited, deleted or moved is found (`chancery audit verify`). Whoever may write to the database can compute a new chain from there
-- on: against that, keep a newer hash elsewhere and verify against it. And: which guards a revision was allowed to pass.

-- Up Migration

alter table revisions
  add column overrides     text[] not null default '{}',
  -- Over the lines of its changes, in their order.
  add column changes_hash  bytea,
  -- The hash of revision - 1; of the first one: the hash of nothing.
  add column previous_hash bytea,
  add column hash          bytea;

create index revisions_by_author on revisions (author, revision);
create index changes_by_kind on changes (space, kind, revision);

-- One text per row, the same for the same content wherever it is made: store/audit.ts has these two expressions again, so that it need
-- not trust what these functions have become.
create function change_line(the_ordinal bigint, the_space text, the_kind text, the_name text, the_before jsonb, the_after jsonb)
returns text language sql stable as $$
  select jsonb_build_array(the_ordinal, the_space, the_kind, the_name, the_before, the_after)::text
$$;

create function revision_line(the revisions) returns text language sql stable as $$
  select jsonb_build_array(the.revision, the.id, the.author, the.request_id, the.reason, (extract(epoch from the.at) * 1000000)::bigint,
                           the.clusters, the.endpoints, the.listeners, the.routes, to_jsonb(the.overrides),
                           encode(the.changes_hash, 'hex'), encode(the.previous_hash, 'hex'))::text
$$;

create function text_hash(line text) returns bytea language sql immutable as $$
  select sha256(convert_to(line, 'UTF8'))
$$;

-- What is there gets its chain.
do $$
declare
  the      revisions;
  previous bytea := text_hash('');
begin
  for the in select * from revisions order by revision loop
    select text_hash(coalesce(string_agg(change_line(change.ordinal, change.space, change.kind, change.name, change.before, change.after),
                                         E'\n' order by change.ordinal), ''))
      into the.changes_hash from changes as change where change.revision = the.revision;
    the.previous_hash := previous;
    previous := text_hash(revision_line(the));
    update revisions set changes_hash = the.changes_hash, previous_hash = the.previous_hash, hash = previous
     where revisions.revision = the.revision;
  end loop;
end
$$;

alter table revisions
  alter column changes_hash set not null,
  alter column previous_hash set not null,
  alter column hash set not null;

-- As in 0002, with the chain, the overrides, and the last word on a kind that would be emptied: two writers that each take half of it
-- can't see each other before. may_empty: that was looked at, or allowed.
create function commit_revision(the_id uuid, the_author text, the_request_id text, the_reason text, the_changes jsonb,
                                the_overrides text[], may_empty boolean, hint boolean)
returns bigint language plpgsql as $$
declare
  difference record;
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

-- For control planes of the release before, while they are upgraded one by one: the same chain; they know no guards.
create or replace function commit_revision(the_id uuid, the_author text, the_request_id text, the_reason text, the_changes jsonb, hint boolean)
returns bigint language sql as $$
  select commit_revision(the_id, the_author, the_request_id, the_reason, the_changes, '{}'::text[], true, hint)
$$;
