-- Since when each replica has looked without a gap. An Envoy that is not connected counts as gone only after somebody could have seen it come:
-- after an outage of all control planes, or of the database, no Envoy has come back yet, and none is gone.

-- Up Migration

alter table replicas add column live_since timestamptz not null default clock_timestamp();

update schema_version set version = 14;
