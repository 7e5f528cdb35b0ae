-- The books: made, completed, migrated, adopted; and who may do what with them.

CREATE FUNCTION billing.setup(owner regrole DEFAULT pg_catalog.quote_ident(CURRENT_USER)::pg_catalog.regrole,
    OUT action text, OUT from_version text, OUT to_version text)
    RETURNS record LANGUAGE c AS 'MODULE_PATHNAME', 'billing_setup';
COMMENT ON FUNCTION billing.setup(regrole) IS
    'makes the tables of the books for a role to own, completes or migrates those that are there; returns what it did';

-- Runs as the superuser who called setup(): checks what is there, lets the owner make tables.
CREATE FUNCTION billing_internal.setup_prepare(INOUT owner regrole, engine text, OUT action text, OUT from_version text)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    present regrole := (SELECT relowner::regrole FROM pg_class WHERE relnamespace = 'billing'::regnamespace AND relname = 'book');
    stray text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE oid = owner) THEN
        PERFORM billing_internal.fail('undefined_object', format('role %s does not exist', owner));
    ELSIF present IS NOT NULL AND owner <> present AND owner <> quote_ident(current_user)::regrole THEN
        PERFORM billing_internal.fail('invalid_argument', format('the books belong to role %s', present), NULL,
                                      'To give them to another role use REASSIGN OWNED or ALTER TABLE ... OWNER TO.');
    END IF;
    owner := coalesce(present, owner);
    SELECT c.oid::regclass INTO stray FROM pg_class c
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
       AND (present IS NULL OR c.relowner <> owner AND position(format('billing.%s ', c.relname) IN billing_internal.books_ddl()) > 0
            -- a view of that name could run anything as the superuser who reads it below
            OR c.relname = 'book' AND c.relkind NOT IN ('r', 'p'))
     LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('hostile_schema', format('relation %s was not made by billing.setup()', stray), NULL,
                                      'Move or drop it, or give it to the owner of the books.');
    END IF;
    action := 'created';
    IF present IS NOT NULL THEN
        SELECT version INTO from_version FROM billing.book;
        action := CASE WHEN from_version <> engine THEN 'migrated' ELSE 'completed' END;
        IF string_to_array(from_version, '.')::int[] > string_to_array(engine, '.')::int[] THEN
            PERFORM billing_internal.fail('books_version_mismatch',
                format('books of version %s are newer than the engine, %s', from_version, engine), NULL,
                'Install that version of the extension.');
        END IF;
    END IF;
    IF NOT (SELECT rolsuper FROM pg_roles WHERE oid = owner) THEN
        EXECUTE format('GRANT USAGE ON SCHEMA billing, billing_internal TO %s WITH GRANT OPTION', owner);
        EXECUTE format('GRANT CREATE ON SCHEMA billing TO %s', owner);
        EXECUTE format('GRANT EXECUTE ON ALL ROUTINES IN SCHEMA billing, billing_internal TO %s', owner);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.setup_prepare(regrole, text) IS 'first part of setup(): checks what is there and lets the owner make tables';

CREATE FUNCTION billing_internal.books_migration(from_version text, engine text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- a copy without rows does not know its version: from the first, since steps may be repeated
    reached text := coalesce(from_version, (SELECT s.from_version FROM billing_internal.books_steps() s
                                             WHERE s.from_version NOT IN (SELECT x.to_version FROM billing_internal.books_steps() x)));
    step record;
    ddl text := '';
BEGIN
    WHILE reached <> engine LOOP
        SELECT * INTO step FROM billing_internal.books_steps() s WHERE s.from_version = reached;
        IF NOT FOUND THEN
            PERFORM billing_internal.fail('books_version_mismatch', format('books of version %s cannot be migrated to version %s', reached, engine));
        END IF;
        ddl := ddl || step.ddl;
        reached := step.to_version;
    END LOOP;
    RETURN ddl;
END $$;
COMMENT ON FUNCTION billing_internal.books_migration(text, text) IS 'what setup() executes to change tables of an older version into those of the engine; null: of any version';

CREATE FUNCTION billing_internal.identity(OUT system_identifier bigint, OUT database_oid bigint)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT c.system_identifier FROM pg_control_system() c), (SELECT d.oid::bigint FROM pg_database d WHERE d.datname = current_database())
$$;
COMMENT ON FUNCTION billing_internal.identity() IS 'cluster and database in which this is called';

CREATE FUNCTION billing_internal.setup_book(engine text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO billing.book (version, system_identifier, database_oid, adopted_at, event_system_identifier, event_database_oid)
    SELECT engine, i.system_identifier, i.database_oid, now(), i.system_identifier, i.database_oid FROM billing_internal.identity() i
        ON CONFLICT (singleton) DO UPDATE SET version = engine;
    IF billing_internal.reading_limited() THEN
        PERFORM billing_internal.apply_limits();
    END IF;
    PERFORM billing_internal.apply_access(a.role_name, a.kind, a.entity) FROM billing.access a JOIN pg_roles r ON r.rolname = a.role_name;
END $$;
COMMENT ON FUNCTION billing_internal.setup_book(text) IS 'second part of setup(), as the owner: notes the version and renews the grants';

-- Runs as the superuser again: nobody but a superuser may put anything into the schema.
CREATE FUNCTION billing_internal.setup_finish(owner regrole) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE oid = owner) THEN
        EXECUTE format('REVOKE CREATE ON SCHEMA billing FROM %s', owner);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.setup_finish(regrole) IS 'last part of setup(): closes the schema again';

CREATE FUNCTION billing.adopt_books() RETURNS int LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.adopt_books() IS
    'lets books that were copied here (restored dump, template copy, pg_upgrade) bill; make sure that the original no longer does; returns the adoption number';
CREATE FUNCTION billing_internal.adopt_books() RETURNS int
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    -- logical replication brings rows, and leaves sequences where they were
    SELECT setval('billing.account_id_seq', a.last) FROM (SELECT max(account_id) AS last FROM billing.account) a, billing.account_id_seq s WHERE a.last >= s.last_value;
    SELECT setval('billing.run_id_seq', r.last) FROM (SELECT max(id) AS last FROM billing.run) r, billing.run_id_seq s WHERE r.last >= s.last_value;
    UPDATE billing.book b SET system_identifier = i.system_identifier, database_oid = i.database_oid,
           adoption_number = greatest(b.adoption_number + 1, b.event_adoption_number), adopted_at = now()
      FROM billing_internal.identity() i RETURNING b.adoption_number
$$;
COMMENT ON FUNCTION billing_internal.adopt_books() IS 'body of billing.adopt_books';

-- The engine's routines that a kind of access may call, without those of the kinds it includes.
CREATE FUNCTION billing_internal.access_routines(kind text) RETURNS SETOF regprocedure
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.oid::regprocedure FROM pg_proc p
     WHERE p.pronamespace = 'billing'::regnamespace
       AND CASE WHEN p.prosrc LIKE 'billing\_call\_%' THEN p.prosrc = 'billing_call_' || kind
                WHEN p.proname IN ('bill_run', 'collection_run', 'dunning_run', 'finalize_invoice') THEN kind = 'operator'
                WHEN p.proname IN ('schedule_job', 'alter_job', 'unschedule_job', 'run_job') THEN kind = 'operator'
                WHEN p.proname IN ('bill_account', 'invoice_account', 'preview', 'preview_change', 'preview_change_cost', 'preview_invoices') THEN kind = 'application'
                WHEN p.proname IN ('charge', 'explain_charge', 'round_amount', 'nth_period', 'unbilled_on', 'verify_chain', 'check')
                     THEN kind = 'reader'
                ELSE false END
$$;
COMMENT ON FUNCTION billing_internal.access_routines(text) IS 'routines that a kind of access adds to those of the kinds it includes';

CREATE FUNCTION billing_internal.access_kinds(kind text) RETURNS text[]
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT (ARRAY['reader', 'application', 'operator', 'administrator'])
           [1:array_position(ARRAY['reader', 'application', 'operator', 'administrator'], kind)]
$$;
COMMENT ON FUNCTION billing_internal.access_kinds(text) IS 'a kind of access and those it includes';

-- Others' tables in the schema are nobody's business here.
CREATE FUNCTION billing_internal.book_relations() RETURNS SETOF regclass
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.oid::regclass FROM pg_class c JOIN pg_class book ON book.oid = 'billing.book'::regclass AND book.relowner = c.relowner
     WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind IN ('r', 'p', 'v')
       AND position(format('billing.%s ', c.relname) IN billing_internal.books_ddl()) > 0
$$;
COMMENT ON FUNCTION billing_internal.book_relations() IS 'tables and views that setup() made';

-- Routines are granted by the owner of the engine.  A grant of another role is dumped with that role's
-- name, and a parallel restore may repeat it before that role may look into the schema.
CREATE FUNCTION billing_internal.routine_access(role_name text, kinds text[], limited boolean DEFAULT false) RETURNS void
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_routine_access';
COMMENT ON FUNCTION billing_internal.routine_access(text, text[], boolean) IS
    'lets a role call the routines of kinds of access, limited ones through calls only; null takes all routines from it';
CREATE FUNCTION billing_internal.change_routine_access(role_name text, kinds text[], limited boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    routine regprocedure;
BEGIN
    IF kinds IS NULL THEN
        EXECUTE format('REVOKE ALL ON ALL ROUTINES IN SCHEMA billing, billing_internal FROM %I', role_name);
        RETURN;
    END IF;
    FOR routine IN SELECT billing_internal.access_routines(k) FROM unnest(kinds) k
                    UNION ALL
                   SELECT p.oid FROM pg_proc p
                    WHERE 'administrator' = ANY (kinds) AND NOT limited
                      AND p.pronamespace = 'billing_internal'::regnamespace AND (p.proname LIKE 'check\_%' OR p.proname = 'fail') LOOP
        EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %I', routine, role_name);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.change_routine_access(text, text[], boolean) IS 'body of billing_internal.routine_access, as the owner of the engine';

-- Grants by the owner of the books.  Access to one entity is through calls, which check it, and where
-- reading is limited to entities, also by SELECT.
CREATE FUNCTION billing_internal.apply_access(role_name text, kind text, entity text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kinds CONSTANT text[] := billing_internal.access_kinds(kind);
    routine regprocedure;
    relation regclass;
BEGIN
    EXECUTE format('GRANT USAGE ON SCHEMA billing TO %I', role_name);
    PERFORM billing_internal.routine_access(role_name, kinds, entity <> '');
    IF entity <> '' AND NOT billing_internal.reading_limited() THEN RETURN; END IF;
    FOR relation IN SELECT billing_internal.book_relations() LOOP
        EXECUTE format('GRANT SELECT ON %s TO %I', relation, role_name);
    END LOOP;
    IF entity <> '' THEN RETURN; END IF;
    IF 'application' = ANY (kinds) THEN
        EXECUTE format('GRANT INSERT ON billing.usage_event TO %I', role_name);
    END IF;
    IF 'administrator' = ANY (kinds) THEN
        EXECUTE format('GRANT INSERT, UPDATE, DELETE ON billing.entity, billing.tax_class, billing.tax_rate, billing.product,
                        billing.meter, billing.price, billing.price_version, billing.plan, billing.plan_item, billing.ledger_account, billing.posting_rule TO %I', role_name);
        -- not the counters
        EXECUTE format('GRANT INSERT (code, entity, format, restart_yearly), UPDATE (format, restart_yearly) ON billing.series TO %I', role_name);
        EXECUTE format('GRANT USAGE ON SCHEMA billing_internal TO %I', role_name);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.apply_access(text, text, text) IS 'gives a role the privileges of a kind of access';

CREATE FUNCTION billing.grant_access(role regrole, kind text, entity text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.grant_access(regrole, text, text) IS
    'lets a role act as administrator, operator, application or reader, each including those after it, for all entities or one; returns the role''s name';
CREATE FUNCTION billing_internal.grant_access(role regrole, kind text, entity text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name CONSTANT text := (SELECT rolname FROM pg_roles WHERE oid = role);
BEGIN
    PERFORM billing_internal.check_one_of(kind, 'kind of access', 'administrator', 'operator', 'application', 'reader');
    IF name IS NULL THEN
        PERFORM billing_internal.fail('undefined_object', format('role %s does not exist', role));
    END IF;
    IF entity IS NOT NULL THEN
        PERFORM billing_internal.the_entity(entity);
        IF kind = 'reader' AND NOT billing_internal.reading_limited() THEN
            PERFORM billing_internal.fail('object_not_in_prerequisite_state', 'reading is not limited to entities',
                'Tables and views show all entities.', 'Call billing.limit_reading() first, which gives the tables row-level security.');
        END IF;
    END IF;
    IF name = current_user THEN
        PERFORM billing_internal.fail('invalid_argument', format('role "%s" owns the books', name), 'It may do everything.');
    END IF;
    INSERT INTO billing.access (role_name, kind, entity) VALUES (name, kind, coalesce(entity, '')) ON CONFLICT DO NOTHING;
    PERFORM billing_internal.apply_access(name, kind, coalesce(entity, ''));
    RETURN name;
END $$;
COMMENT ON FUNCTION billing_internal.grant_access(regrole, text, text) IS 'body of billing.grant_access';

CREATE FUNCTION billing_internal.renew_access(role_name text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation regclass;
BEGIN
    FOR relation IN SELECT billing_internal.book_relations() LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %I', relation, role_name);
    END LOOP;
    PERFORM billing_internal.routine_access(role_name, NULL);
    EXECUTE format('REVOKE ALL ON SCHEMA billing, billing_internal FROM %I', role_name);
    PERFORM billing_internal.apply_access(a.role_name, a.kind, a.entity) FROM billing.access a WHERE a.role_name = renew_access.role_name;
END $$;
COMMENT ON FUNCTION billing_internal.renew_access(text) IS 'takes all privileges from a role and gives it those of the access it has';

CREATE FUNCTION billing.revoke_access(role regrole, kind text, entity text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.revoke_access(regrole, text, text) IS 'takes a kind of access from a role; what other grants give it stays; returns the role''s name';
CREATE FUNCTION billing_internal.revoke_access(role regrole, kind text, entity text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name CONSTANT text := (SELECT rolname FROM pg_roles WHERE oid = role);
BEGIN
    DELETE FROM billing.access a WHERE a.role_name = name AND a.kind = revoke_access.kind AND a.entity = coalesce(revoke_access.entity, '');
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('invalid_argument', format('role "%s" has no such access', name));
    END IF;
    PERFORM billing_internal.renew_access(name);
    RETURN name;
END $$;
COMMENT ON FUNCTION billing_internal.revoke_access(regrole, text, text) IS 'body of billing.revoke_access';

CREATE FUNCTION billing_internal.check_billable(at timestamptz) RETURNS void LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'billing_check_billable';
COMMENT ON FUNCTION billing_internal.check_billable(timestamptz) IS
    'refuses to make documents in books that were not adopted, while billing is disabled, or too far in the future';
