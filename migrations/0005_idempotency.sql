-- Answers by the key that their request carried, stored in the transaction of the write itself: a client that lost an answer asks again
-- under the same key, and the write is not done twice. Kept for a day; each write under a key deletes a few that are older.

-- Up Migration

create table idempotency_keys (
  key          text collate "C" primary key,
  -- Of what was asked: the same key for something else is a mistake of the client's.
  request_hash text not null,
  -- Null only within the transaction that does the write.
  answer       jsonb,
  -- The revision's id, made before its number is known; null: the write changed nothing.
  revision_id  uuid,
  at           timestamptz not null default clock_timestamp()
);
create index idempotency_keys_by_age on idempotency_keys (at);
