// The whole suite in the portable mode: CHANCERY_DB_MODE=portable, as a replica reads it. With it every tenth revision is refused by the
// database as a serialization failure, as distributed engines do (ADR 0035). `npm run portable` sets both. In: the environment. Called by
// whoever opens a store.

/** Tests that are about what the mode does not have (NOTIFY, ten runs, waiting at the counter) say so by `skipIf`. */
export const isPortable = process.env["CHANCERY_DB_MODE"] === "portable";

/** Everything but the tests' own looks goes through a pgbouncer in transaction mode. */
export const isPooled = process.env["CHANCERY_TEST_POOLER"] === "on";

/** Made in the template of all test databases. Whoever commits a revision meets it, at its last statement. */
export const injectFailures = `
  create function lose_now_and_then() returns trigger language plpgsql as $$
  begin
    if random() < 0.1 then raise exception 'injected' using errcode = '40001'; end if;
    return new;
  end $$;
  create trigger lose_now_and_then before insert on revisions for each row execute function lose_now_and_then();`;

/** For a test that is about one failure of its own: no other one comes in between. */
export const injectNothing = "drop trigger if exists lose_now_and_then on revisions";
