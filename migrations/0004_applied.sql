-- Which set of files put an object: `chancery apply --prune` deletes what its files no longer hold, and only what they put before.
-- An object belongs to the set that put it last. It leaves the set when it is deleted, by whomever: made anew by hand, it is nobody's.

-- Up Migration

create table applied (
  space    text collate "C" not null default 'default',
  kind     text collate "C" not null,
  name     text collate "C" not null,
  set_name text collate "C" not null,
  primary key (space, kind, name)
);
create index applied_by_set on applied (space, set_name);
