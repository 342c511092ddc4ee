-- The objects that operators write, one table per noun. `spec` is the whole object as store/*-row.ts writes it, its name included.
-- `revision` is the one in which the row last changed (its ETag); commit_revision (0002) sets it. References between objects are rows
-- with foreign keys, so that two concurrent writers can never leave a dangling one. Names sort by bytes (collation "C") everywhere.

-- Up Migration

create table clusters (
  space    text collate "C" not null default 'default',
  name     text collate "C" not null,
  spec     jsonb not null,
  revision bigint not null,
  primary key (space, name),
  constraint clusters_name_is_in_spec check (coalesce(spec->>'name', '') = name)
);

-- name: <cluster>/<address:port>. Rows of their own: they are the hot path, and the fill factor keeps their updates on one page.
create table endpoints (
  space    text collate "C" not null default 'default',
  name     text collate "C" not null,
  cluster  text collate "C" not null,
  spec     jsonb not null,
  revision bigint not null,
  primary key (space, name),
  constraint endpoints_cluster_exists foreign key (space, cluster) references clusters (space, name),
  constraint endpoints_cluster_is_in_spec check (coalesce(spec->>'cluster', '') = cluster),
  constraint endpoints_name_starts_with_cluster check (starts_with(name, cluster || '/'))
) with (fillfactor = 80);
create index endpoints_by_cluster on endpoints (space, cluster, name);

create table listeners (
  space    text collate "C" not null default 'default',
  name     text collate "C" not null,
  spec     jsonb not null,
  revision bigint not null,
  primary key (space, name),
  constraint listeners_name_is_in_spec check (coalesce(spec->>'name', '') = name)
);

create table routes (
  space    text collate "C" not null default 'default',
  name     text collate "C" not null,
  spec     jsonb not null,
  revision bigint not null,
  primary key (space, name),
  constraint routes_name_is_in_spec check (coalesce(spec->>'name', '') = name)
) with (fillfactor = 80);

-- Every cluster that a route names, at any weight.
create table route_clusters (
  space   text collate "C" not null default 'default',
  route   text collate "C" not null,
  cluster text collate "C" not null,
  primary key (space, route, cluster),
  constraint route_clusters_route_exists foreign key (space, route) references routes (space, name) on delete cascade,
  constraint route_clusters_cluster_exists foreign key (space, cluster) references clusters (space, name)
);
create index route_clusters_by_cluster on route_clusters (space, cluster, route);

create table route_listeners (
  space    text collate "C" not null default 'default',
  route    text collate "C" not null,
  listener text collate "C" not null,
  primary key (space, route, listener),
  constraint route_listeners_route_exists foreign key (space, route) references routes (space, name) on delete cascade,
  constraint route_listeners_listener_exists foreign key (space, listener) references listeners (space, name)
);
create index route_listeners_by_listener on route_listeners (space, listener, route);

-- Rows that a transaction locks for a rule over several objects which no constraint can hold: 'listener-ports' before it decides
-- that an address is free. A row lock, because advisory locks are not portable.
create table write_locks (name text collate "C" primary key);
insert into write_locks (name) values ('listener-ports');
