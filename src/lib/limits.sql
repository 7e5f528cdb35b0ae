-- Reading limited to an entity: row-level security on the tables, and views that read with the rights
-- of who asks.  Off until limit_reading() is called, and then without a function of the engine, so that
-- the books stay readable, and limited, without it.

-- Everything that is limited has an account, an entity or a run; jobs are of all entities.
CREATE FUNCTION billing_internal.own_rows(relation regclass) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN c.relname = 'entity' THEN 'code IN (SELECT o.entity FROM billing.own_access o)'
                WHEN c.relname = 'posting_rule' THEN 'entity = '''' OR entity IN (SELECT o.entity FROM billing.own_access o)'
                WHEN 'entity' = ANY (k.columns) THEN 'entity IN (SELECT o.entity FROM billing.own_access o)'
                WHEN 'account_id' = ANY (k.columns) THEN format('EXISTS (SELECT FROM billing.account a WHERE a.account_id = %I.account_id)', c.relname)
                WHEN 'run_id' = ANY (k.columns) THEN format('EXISTS (SELECT FROM billing.run r WHERE r.id = %I.run_id)', c.relname)
                WHEN c.relname IN ('job', 'job_history') THEN 'false' END
      FROM pg_class c CROSS JOIN LATERAL (SELECT array_agg(a.attname::text) FROM pg_attribute a
                                           WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) k (columns)
     WHERE c.oid = relation AND c.relkind IN ('r', 'p')
$$;
COMMENT ON FUNCTION billing_internal.own_rows(regclass) IS
    'condition for rows of a table that belong to an entity of the current user; null: the table is of all entities';

CREATE FUNCTION billing_internal.reading_limited() RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = 'billing.account'::regclass AND p.polname = 'own_entity')
$$;
COMMENT ON FUNCTION billing_internal.reading_limited() IS 'was limit_reading() called?';

-- The first condition is asked once per statement; for who may see all, the second is never evaluated.  EXISTS
-- lets the planner choose between a look-up per row and one list of accounts, where IN would always make the list.
CREATE FUNCTION billing_internal.apply_limits() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation regclass;
    own_rows text;
BEGIN
    FOR relation, own_rows IN SELECT r, billing_internal.own_rows(r) FROM billing_internal.book_relations() r LOOP
        IF own_rows IS NOT NULL THEN
            EXECUTE format('DROP POLICY IF EXISTS own_entity ON %s', relation);
            EXECUTE format('CREATE POLICY own_entity ON %s USING (EXISTS (SELECT FROM billing.own_access o WHERE o.entity = %L) OR %s)', relation, '', own_rows);
            EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
        END IF;
    END LOOP;
    FOR relation IN SELECT billing_internal.limited_views() LOOP
        EXECUTE format('ALTER VIEW %s SET (security_invoker = true)', relation);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.apply_limits() IS 'gives every table its policy, and lets views read as who asks';

CREATE FUNCTION billing_internal.limited_views() RETURNS SETOF regclass
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT r FROM billing_internal.book_relations() r JOIN pg_class c ON c.oid = r WHERE c.relkind = 'v' AND c.relname <> 'own_access'
$$;
COMMENT ON FUNCTION billing_internal.limited_views() IS 'views that read as who asks where reading is limited';

-- Row-level security stays on where a policy of somebody else is left.
CREATE FUNCTION billing_internal.lift_limits() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT p.polrelid FROM pg_policy p JOIN billing_internal.book_relations() r ON r = p.polrelid WHERE p.polname = 'own_entity' LOOP
        EXECUTE format('DROP POLICY own_entity ON %s', relation);
        IF NOT EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = relation) THEN
            EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', relation);
        END IF;
    END LOOP;
    FOR relation IN SELECT billing_internal.limited_views() LOOP
        EXECUTE format('ALTER VIEW %s RESET (security_invoker)', relation);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.lift_limits() IS 'takes back what apply_limits() did';

CREATE FUNCTION billing.limit_reading(enabled boolean DEFAULT true) RETURNS boolean
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.limit_reading(boolean) IS
    'lets access to one entity include reading its rows of every table and view, by row-level security, or ends that; returns whether it was otherwise before';
CREATE FUNCTION billing_internal.limit_reading(enabled boolean) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF enabled IS NULL THEN
        PERFORM billing_internal.fail('null_value_not_allowed', '"enabled" of limit_reading() must not be null');
    ELSIF enabled AND current_setting('server_version_num')::int < 150000 THEN
        PERFORM billing_internal.fail('feature_not_supported', 'reading cannot be limited to an entity before PostgreSQL 15',
                                      'Views read with the rights of their owner there.', 'Give the role views of your own.');
    ELSIF enabled = billing_internal.reading_limited() THEN
        RETURN false;
    ELSIF enabled THEN
        PERFORM billing_internal.apply_limits();
    ELSE
        PERFORM billing_internal.lift_limits();
    END IF;
    PERFORM billing_internal.renew_access(r.rolname)
       FROM pg_roles r WHERE r.rolname IN (SELECT a.role_name FROM billing.access a WHERE a.entity <> '');
    RETURN true;
END $$;
COMMENT ON FUNCTION billing_internal.limit_reading(boolean) IS 'body of billing.limit_reading';
