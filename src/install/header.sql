\echo Use "CREATE EXTENSION billing" to load this file. \quit

SET LOCAL search_path TO pg_catalog, pg_temp;
-- Bodies name tables that billing.setup() makes later.
SET LOCAL check_function_bodies TO off;

-- The schema is not a member: the books live in it and must survive DROP EXTENSION ... CASCADE.
-- So it may exist already, and then it must not be able to shadow what the engine calls.
DO $check$
DECLARE
    found text;
BEGIN
    SELECT format('schema "billing" belongs to role "%s", who is not a superuser', r.rolname) INTO found
      FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) n.nspowner
     WHERE n.nspname OPERATOR(pg_catalog.=) 'billing' AND NOT r.rolsuper;
    IF found IS NULL THEN
        SELECT object INTO found FROM (
            SELECT format('function %s', p.oid::regprocedure) AS object
              FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) 'billing'::regnamespace
            UNION ALL
            SELECT format('operator %s', o.oid::regoperator)
              FROM pg_catalog.pg_operator o WHERE o.oprnamespace OPERATOR(pg_catalog.=) 'billing'::regnamespace
            UNION ALL
            SELECT format('type %s', t.oid::regtype)
              FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) t.typrelid
             WHERE t.typnamespace OPERATOR(pg_catalog.=) 'billing'::regnamespace
               AND (c.oid IS NULL OR c.relkind OPERATOR(pg_catalog.=) 'c')
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray OPERATOR(pg_catalog.=) t.oid)) hostile
         LIMIT 1;
    END IF;
    IF found IS NULL THEN
        SELECT format('permission of %s to create objects', CASE WHEN a.grantee OPERATOR(pg_catalog.=) 0 THEN 'everybody' ELSE format('role "%s"', r.rolname) END)
          INTO found
          FROM pg_catalog.pg_namespace n CROSS JOIN pg_catalog.aclexplode(n.nspacl) a
          LEFT JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) a.grantee
         WHERE n.nspname OPERATOR(pg_catalog.=) 'billing' AND a.privilege_type OPERATOR(pg_catalog.=) 'CREATE' AND r.rolsuper IS NOT TRUE
         LIMIT 1;
    END IF;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'schema "billing" cannot be used'
            USING ERRCODE = 'LB005', DETAIL = format('It holds or is something the extension did not make: %s.', found),
                  HINT = 'Move, drop or revoke it, then create the extension again.';
    END IF;
END $check$;

CREATE SCHEMA billing_internal;
COMMENT ON SCHEMA billing_internal IS 'functions that the engine and the triggers of the books use; nothing to call by hand';
