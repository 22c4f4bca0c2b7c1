-- R06: nothing of ours is unlogged or temporary, partitions made at run time included; durability is the session's choice
SET client_min_messages = error;
SELECT count(*) > 0 AS init FROM eventmkt.init();
SELECT eventmkt.make_partitions('2020-01-01', '2020-02-01') > 0 AS made;
SELECT c.oid::regclass, c.relkind, c.relpersistence FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname LIKE 'eventmkt%' AND c.relpersistence <> 'p';
SELECT count(*) > 20 AS tables FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname LIKE 'eventmkt%' AND relkind IN ('r', 'p');
-- no function of ours sets synchronous_commit, nor does the owner
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname LIKE 'eventmkt%' AND array_to_string(p.proconfig, ',') LIKE '%synchronous_commit%';
SELECT setconfig FROM pg_db_role_setting WHERE array_to_string(setconfig, ',') LIKE '%synchronous_commit%';
SET synchronous_commit = local;
SELECT eventmkt.track('u', 'E') IS NOT NULL AS x, eventmkt.run_due() IS NOT NULL AS ran, current_setting('synchronous_commit');
