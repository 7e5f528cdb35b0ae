
-- Nothing to PUBLIC; billing.grant_access() gives each kind of role what it needs.  Routines that an
-- update finds are left as they are: what was granted on them would be taken for the extension's own
-- and be missing in dumps.
DO $revoke$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT p.oid FROM pg_catalog.pg_proc p
         WHERE p.pronamespace OPERATOR(pg_catalog.=) ANY (ARRAY['billing', 'billing_internal']::regnamespace[])
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_init_privs i
                            WHERE i.classoid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::regclass AND i.objoid OPERATOR(pg_catalog.=) p.oid)
           AND EXISTS (SELECT FROM pg_catalog.pg_depend d
                        WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::regclass AND d.objid OPERATOR(pg_catalog.=) p.oid
                          AND d.deptype OPERATOR(pg_catalog.=) 'e') LOOP
        EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
    END LOOP;
END $revoke$;
