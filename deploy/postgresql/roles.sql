-- PostgreSQL roles with the least rights: pps_owner makes and changes the ledger's tables (`pps migrate`), pps works on
-- their rows (every other command and worker). Run it once, before the first `pps migrate`, in the ledger's database:
--
--     sudo -u postgres createdb pps
--     sudo -u postgres psql -d pps -v ON_ERROR_STOP=1 -f deploy/postgresql/roles.sql
--     sudo -u postgres psql -d pps -c '\password pps_owner' -c '\password pps'
--
-- It may be run again: roles that are there stay, and a right that is missing is given.

SELECT 'CREATE ROLE ' || wanted || ' LOGIN'
FROM unnest(ARRAY['pps_owner', 'pps']) AS wanted
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted)
\gexec

-- Nobody else gets in. CREATE on the schema is everybody's before PostgreSQL 15.
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database()) \gexec
SELECT format('GRANT CONNECT ON DATABASE %I TO pps_owner, pps', current_database()) \gexec
REVOKE ALL ON SCHEMA public FROM PUBLIC;

GRANT USAGE, CREATE ON SCHEMA public TO pps_owner;
GRANT USAGE ON SCHEMA public TO pps;

-- What pps_owner makes from now on, and what it made before.
ALTER DEFAULT PRIVILEGES FOR ROLE pps_owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO pps;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO pps;
