-- Leases of endpoints that register themselves: how long since each was renewed, on the database's clock. A renewal touches a row here
-- and nothing else: no object, no revision, no feed. No index has a time, so that renewals stay on their page (HOT).

-- Up Migration

create table endpoint_leases (
  space      text collate "C" not null default 'default',
  name       text collate "C" not null,
  cluster    text collate "C" not null,
  ttl_ms     integer not null check (ttl_ms between 1000 and 86400000),
  renewed_at timestamptz not null default clock_timestamp(),
  -- The drain that the end of the lease began; stays until the lease is renewed.
  drain      text collate "C",
  -- Why the endpoint stays although its lease is over, for people. Null: it need not stay.
  held       text,
  primary key (space, name),
  constraint endpoint_leases_endpoint_exists foreign key (space, name) references endpoints (space, name) on delete cascade
) with (fillfactor = 50);

-- Endpoints that went, or are going, because their lease was over, until others come in their place: what the guard counts.
create table endpoint_lease_ends (
  space   text collate "C" not null default 'default',
  cluster text collate "C" not null,
  name    text collate "C" not null,
  at      timestamptz not null default clock_timestamp(),
  primary key (space, cluster, name)
);

-- When a control plane last looked at the leases. Nobody could renew during a gap: leases begin anew at its end.
create table lease_watch (
  one        boolean primary key default true check (one),
  looked_at  timestamptz not null default clock_timestamp(),
  resumed_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);
insert into lease_watch default values;
