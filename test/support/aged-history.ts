// A history that is older than it is: the revisions' times are moved back, and the chain over them made anew, as if they had been
// written then; a cut that was made before is of this chain, too. In: a database. Called by the tests of retention.
import { sealExpression } from "../../src/store/history-cut.js";
import { sql } from "./postgres.js";

/** Everything up to the revision was written so many days earlier than it was. */
export async function age(databaseUrl: string, upTo: number, days: number): Promise<void> {
  await sql(
    databaseUrl,
    `do $$ declare the revisions; previous bytea := (select hash from history_cut); begin
       for the in select * from revisions order by revision loop
         if the.revision <= ${upTo} then the.at := the.at - make_interval(days => ${days}); end if;
         the.previous_hash := previous;
         previous := text_hash(revision_line(the));
         update revisions set at = the.at, previous_hash = the.previous_hash, hash = previous where revision = the.revision;
       end loop;
       update history_cut set head_hash = (select hash from revisions where revision = head) where revision > 0;
       update history_cut set seal = ${sealExpression} where revision > 0;
       update idempotency_keys set at = (select at from revisions where id = revision_id) where revision_id is not null;
     end $$`,
  );
}
