-- grant_access() and revoke_access(): what each kind may do, and what it may not
\set QUIET on
SET client_min_messages = warning;
SELECT count(*) FROM eventmkt.init();
CREATE ROLE admin_access_tracker;
CREATE ROLE admin_access_marketer;
CREATE ROLE admin_access_analyst;
CREATE ROLE admin_access_operator;
CREATE ROLE admin_access_none;
-- what happens when a role runs a statement: its state, 'ok', or the SQLSTATE; nothing stays
CREATE FUNCTION public.as_role(who text, statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	BEGIN
		EXECUTE format('SET LOCAL ROLE %I', 'admin_access_' || who);
		EXECUTE statement;
		RAISE EXCEPTION 'ok' USING ERRCODE = 'XXOK0';
	EXCEPTION WHEN OTHERS THEN
		RETURN CASE SQLSTATE WHEN 'XXOK0' THEN 'ok' ELSE SQLSTATE END;
	END;
END $$;
SELECT eventmkt.grant_access('admin_access_tracker', 'tracker');
SELECT eventmkt.grant_access('admin_access_marketer', 'marketer');
SELECT eventmkt.grant_access('admin_access_analyst', 'analyst');
SELECT eventmkt.grant_access('admin_access_operator', 'operator');
-- a view made after the grant, by the owner
SET ROLE eventmkt;
CREATE VIEW eventmkt_bi.admin_access_later AS SELECT 1 AS x;
RESET ROLE;
CREATE TABLE public.statements (id int, statement text);
INSERT INTO public.statements VALUES
	(1, $$SELECT eventmkt.track('u1', 'Seen')$$),
	(2, $$INSERT INTO eventmkt_data.inbox (user_id, event) VALUES ('u2', 'Seen')$$),
	(3, $$SELECT * FROM eventmkt_data.inbox$$),
	(4, $$SELECT eventmkt.create_rule('r', on_event => 'Seen', send_to => 'none')$$),
	(5, $$SELECT * FROM eventmkt_bi.admin_access_later$$),
	(6, $$SELECT * FROM eventmkt_data.event$$),
	(7, $$INSERT INTO eventmkt_data.event SELECT * FROM eventmkt_data.event$$),
	(8, $$SELECT * FROM eventmkt.secret$$),
	(9, $$SELECT count(*) FROM eventmkt.health()$$),
	(10, $$SELECT eventmkt.advance_clock('0')$$),
	(11, $$SELECT eventmkt.adopt('send')$$),
	(12, $$SELECT eventmkt.clock()$$),
	(13, $$SELECT eventmkt.init()$$),
	(14, $$SELECT eventmkt.grant_access('admin_access_none', 'operator')$$),
	(15, $$CREATE TRIGGER t AFTER INSERT ON eventmkt_data.event FOR EACH ROW EXECUTE FUNCTION eventmkt.invalidate_cache()$$),
	(16, $$CREATE RULE r AS ON INSERT TO eventmkt_data.work DO ALSO SELECT 1$$),
	(17, $$CREATE INDEX i ON eventmkt_data.work ((lower(profile_id)))$$),
	(18, $$ALTER TABLE eventmkt_data.work ENABLE ROW LEVEL SECURITY$$),
	(19, $$CREATE TABLE eventmkt_data.mine (x int)$$),
	(20, $$UPDATE eventmkt_data.setting SET value = '1' WHERE key = 'clock_offset'$$);
SELECT id, public.as_role('tracker', statement) AS tracker, public.as_role('marketer', statement) AS marketer,
	public.as_role('analyst', statement) AS analyst, public.as_role('operator', statement) AS operator,
	public.as_role('none', statement) AS "none", left(statement, 60) AS statement FROM public.statements ORDER BY id;
-- nothing for everybody
SELECT n.nspname, p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
	LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE n.nspname LIKE 'eventmkt%' AND a.grantee = 0;
SELECT c.relname, a.privilege_type FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, LATERAL aclexplode(c.relacl) a
 WHERE n.nspname LIKE 'eventmkt%' AND a.grantee = 0;
-- two kinds share things: taking one back leaves the other whole
SELECT eventmkt.grant_access('admin_access_tracker', 'analyst');
SELECT eventmkt.grant_access('admin_access_tracker', 'analyst');
SELECT public.as_role('tracker', 'SELECT * FROM eventmkt_bi.admin_access_later');
SELECT eventmkt.revoke_access('admin_access_tracker', 'analyst');
SELECT public.as_role('tracker', 'SELECT * FROM eventmkt_bi.admin_access_later') AS analyst,
	public.as_role('tracker', 'SELECT eventmkt.clock()') AS tracker;
SELECT role, kind FROM eventmkt_data.access ORDER BY 1, 2;
SELECT eventmkt.revoke_access('admin_access_' || kind, kind) FROM unnest('{tracker,marketer,analyst,operator}'::text[]) kind;
SELECT count(*) FROM eventmkt_data.access;
-- nothing is left that would keep the roles from being dropped
DROP ROLE admin_access_tracker, admin_access_marketer, admin_access_analyst, admin_access_operator, admin_access_none;
-- errors
SELECT eventmkt.grant_access('eventmkt', 'king');
\echo :SQLSTATE
SELECT eventmkt.grant_access('admin_access_none', 'tracker');
\echo :SQLSTATE
SELECT eventmkt.grant_access('public', 'tracker');
\echo :SQLSTATE
