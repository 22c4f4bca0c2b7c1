-- installs the extension; every other test runs in a fresh copy of the database that this one leaves behind
CREATE EXTENSION eventmkt;
SELECT extversion ~ '^[0-9]+\.[0-9]+\.[0-9]+$' AS version_ok, n.nspname AS schema
  FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'eventmkt';
CREATE EXTENSION eventmkt;
