-- The beginning of the history may be pruned: this row says up to which revision, and with which hash, so that what is kept can still be
-- verified from there on. One row, which whoever prunes claims (`for update skip locked`), and which moves in the transaction that deletes.
-- 0: nothing is cut. It names the newest revision of its time as well: a chain that is made anew later does not go through it.

-- Up Migration

create table history_cut (
  only_row  boolean primary key default true check (only_row),
  -- The last revision that is gone, its id, its hash and its time; the next one names that hash as the one before.
  revision  bigint not null,
  id        uuid,
  hash      bytea not null,
  at        timestamptz,
  -- When it was cut, on the database's clock, and by which rule: older than so many days, and not among the newest so many.
  cut_at    timestamptz,
  days      integer not null,
  least     integer not null,
  -- The newest revision then, and its hash.
  head      bigint not null,
  head_hash bytea not null,
  -- Over the row: store/history-cut.ts has the expression again, so that it need not trust what is here.
  seal      bytea not null
);

insert into history_cut (revision, hash, days, least, head, head_hash, seal)
values (0, text_hash(''), 0, 0, 0, text_hash(''), text_hash(''));
