-- every object of the extension, by rules that no new one may break; all answers are empty
-- a function without a description
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
   AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventmkt'
 WHERE obj_description(p.oid, 'pg_proc') IS NULL;
-- a function that everybody may call
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass
   AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventmkt',
       LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 WHERE a.grantee = 0;
-- a function that is neither C nor bound at creation nor has a fixed search_path
SELECT p.oid::regprocedure, l.lanname FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  JOIN pg_depend d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventmkt'
 WHERE l.lanname NOT IN ('c', 'internal') AND p.prosqlbody IS NULL
   AND p.proname <> 'yearly_summary'	-- is inlined, so that it streams; each name and operator in it has its schema
   AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s LIKE 'search\_path=%');
-- a function that runs with its owner's rights
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname LIKE 'eventmkt%' AND p.prosecdef;
-- a C function on a symbol with another prefix
SELECT p.oid::regprocedure, p.prosrc FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
  JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = 'eventmkt' AND l.lanname = 'c' AND p.prosrc !~ '^emk_';
-- a schema, table, view or sequence that everybody may use
SELECT n.nspname FROM pg_namespace n, LATERAL aclexplode(n.nspacl) a WHERE n.nspname LIKE 'eventmkt%' AND a.grantee = 0;
SELECT c.oid::regclass, a.privilege_type FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
       LATERAL aclexplode(c.relacl) a WHERE n.nspname LIKE 'eventmkt%' AND a.grantee = 0;
-- a type or aggregate without a description
SELECT t.oid::regtype FROM pg_type t JOIN pg_depend d ON d.objid = t.oid AND d.classid = 'pg_type'::regclass
   AND d.deptype = 'e' JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'eventmkt'
 WHERE t.typrelid = 0 AND t.typelem = 0 AND obj_description(t.oid, 'pg_type') IS NULL;
