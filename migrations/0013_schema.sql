-- Which programs may work with this schema, so that an older control plane that still runs, or is started again, knows whether it may.
-- And how many Envoys each replica has, so that one with more than its share lets some go.

-- Up Migration

-- One row. Every later migration sets both columns: version to its own number; compatible_from to its own number too if programs of the
-- release before can't go on with it (contract), else it leaves it as it is (expand).
create table schema_version (
  only_row        boolean primary key default true check (only_row),
  -- The number of the newest migration.
  version         integer not null,
  -- Programs that know at least this migration may go on.
  compatible_from integer not null,
  check (compatible_from between 1 and version)
);
insert into schema_version (version, compatible_from) values (13, 13);

-- Envoys connected to it, as it said with its last beat.
alter table replicas add column nodes integer not null default 0;
