-- What the Envoys answered, on its way home: written by every replica, read by all. Nothing here is configuration, and losing it
-- costs one round of flushes. Leases and ages are on the database's clock: the replicas' clocks are never compared.

-- Up Migration

-- A replica whose lease is over counts as gone; what it wrote is kept for a while, and not believed.
create table replicas (
  id          text collate "C" primary key,
  started_at  timestamptz not null,
  -- The revision that it has loaded and serves.
  revision    bigint not null,
  lease_until timestamptz not null
);

-- One row per Envoy, owned by the replica that has its newest stream.
create table nodes (
  id            text collate "C" primary key,
  gateway       text collate "C" not null,
  replica       text collate "C" not null,
  connected     boolean not null,
  -- As the replica's own clock told it, for people.
  since         timestamptz not null,
  -- When the stream was opened, on the database's clock: decides which replica's row is the newer one.
  opened_at     timestamptz not null,
  streams       jsonb not null,
  envoy_version text not null,
  acked         jsonb not null,
  exceptions    jsonb not null
) with (fillfactor = 80);
create index nodes_by_gateway on nodes (gateway, id);
create index nodes_by_replica on nodes (replica);

-- How far one replica's nodes of one gateway are with one revision.
create table revision_sync (
  replica  text collate "C" not null,
  gateway  text collate "C" not null,
  revision bigint not null,
  sync     jsonb not null,
  primary key (revision, gateway, replica)
) with (fillfactor = 80);
create index revision_sync_by_replica on revision_sync (replica, revision);
