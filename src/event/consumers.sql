-- Consumers of events: named readers, each with a cursor that it moves by acknowledging what it has dealt with.
--
-- Events are read in the order of adoption, transaction, account and number.  A transaction gets its id before it
-- commits, so those beyond the oldest one under way are not readable yet: one of it could still come between.

CREATE FUNCTION billing_internal.check_consumer(consumer text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing.event_consumer c WHERE c.name = consumer) THEN
        PERFORM billing_internal.fail('unknown_consumer', format('consumer "%s" does not exist', consumer));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_consumer(text) IS 'raises unknown_consumer';

CREATE FUNCTION billing_internal.check_event_types(types text[]) RETURNS text[]
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stray CONSTANT text := (SELECT format('"%s"', u.type) FROM unnest(types) u (type)
                             WHERE NOT EXISTS (SELECT FROM billing.event_type t WHERE t.type = u.type) LIMIT 1);
BEGIN
    IF stray IS NOT NULL OR cardinality(types) = 0 THEN
        PERFORM billing_internal.fail('invalid_argument', coalesce('no event has type ' || stray, 'types must not be empty'),
                                      'Table event_type lists the types.');
    END IF;
    RETURN types;
END $$;
COMMENT ON FUNCTION billing_internal.check_event_types(text[]) IS 'the types, or invalid_argument where there is none or one does not exist';

CREATE FUNCTION billing.create_event_consumer(name text, types text[] DEFAULT NULL, from_start boolean DEFAULT false, entity text DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.create_event_consumer(text, text[], boolean, text) IS
    'creates a reader of events, of some types or all, of one seller or all; it reads what comes from now on, or with from_start also all that is kept; returns its name';
CREATE FUNCTION billing_internal.create_event_consumer(name text, types text[], from_start boolean, entity text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    adoption CONSTANT int := billing_internal.event_adoption();
BEGIN
    PERFORM billing_internal.check_not_empty(name, 'name'), billing_internal.check_event_types(types);
    PERFORM billing_internal.check_entity(entity);
    INSERT INTO billing.event_consumer (name, types, last_adoption_number, last_xid, last_account_id, last_event_no, acknowledged_at, entity)
    SELECT create_event_consumer.name, create_event_consumer.types, CASE WHEN from_start THEN 0 ELSE adoption END,
           CASE WHEN from_start THEN '0' ELSE pg_snapshot_xmin(pg_current_snapshot()) END, 0, 0, now(), create_event_consumer.entity;
    RETURN name;
END $$;
COMMENT ON FUNCTION billing_internal.create_event_consumer(text, text[], boolean, text) IS 'body of billing.create_event_consumer';

CREATE FUNCTION billing.drop_event_consumer(consumer text) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.drop_event_consumer(text) IS 'drops a reader of events; nothing is kept for it any more; returns its name';
CREATE FUNCTION billing_internal.drop_event_consumer(consumer text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_consumer(consumer);
    DELETE FROM billing.event_consumer c WHERE c.name = consumer;
    RETURN consumer;
END $$;
COMMENT ON FUNCTION billing_internal.drop_event_consumer(text) IS 'body of billing.drop_event_consumer';

CREATE FUNCTION billing.read_events(consumer text, max int DEFAULT 100, OUT "position" text, OUT type text, OUT account_id bigint, OUT event_no bigint,
    OUT occurred_at timestamptz, OUT recorded_at timestamptz, OUT subscription_id bigint, OUT invoice_id bigint, OUT payment_id bigint,
    OUT case_id bigint, OUT payload jsonb)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.read_events(text, int) IS
    'the next events of a consumer, at most so many, in an order that never skips one; the same ones again until billing.acknowledge_events()';
-- Its plan depends on how far the consumer is.
CREATE FUNCTION billing_internal.read_events(consumer text, max int, OUT "position" text, OUT type text, OUT account_id bigint, OUT event_no bigint,
    OUT occurred_at timestamptz, OUT recorded_at timestamptz, OUT subscription_id bigint, OUT invoice_id bigint, OUT payment_id bigint,
    OUT case_id bigint, OUT payload jsonb)
    RETURNS SETOF record LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    c billing.event_consumer;
    count CONSTANT int := billing_internal.check_between(coalesce(max, 100), 'max', 1, 100000);
    adoption CONSTANT int := billing_internal.event_adoption();
    -- Taken before the events are looked for: what is older is seen by whatever follows.
    horizon CONSTANT xid8 := pg_snapshot_xmin(pg_current_snapshot());
BEGIN
    PERFORM billing_internal.check_billable(now()), billing_internal.check_consumer(consumer);
    SELECT * INTO c FROM billing.event_consumer x WHERE x.name = consumer;
    RETURN QUERY
    SELECT concat_ws('-', e.adoption_number, e.xid, e.account_id, e.event_no), e.type, e.account_id, e.event_no, e.occurred_at, e.recorded_at,
           e.subscription_id, e.invoice_id, e.payment_id, e.case_id, e.payload
      FROM billing.event e
     WHERE (e.adoption_number, e.xid, e.account_id, e.event_no) > (c.last_adoption_number, c.last_xid, c.last_account_id, c.last_event_no)
       AND (e.adoption_number, e.xid) < (adoption, horizon)
       AND (c.types IS NULL OR e.type = ANY (c.types))
       AND (c.entity IS NULL OR EXISTS (SELECT FROM billing.account_state s WHERE s.account_id = e.account_id AND s.entity = c.entity))
     ORDER BY e.adoption_number, e.xid, e.account_id, e.event_no LIMIT count;
    -- What the consumer does not want it need not pass again next time, nor is it kept for it.
    IF NOT FOUND AND (c.types IS NOT NULL OR c.entity IS NOT NULL) AND NOT current_setting('transaction_read_only')::boolean
       AND EXISTS (SELECT FROM billing.event e
                    WHERE (e.adoption_number, e.xid, e.account_id, e.event_no) > (c.last_adoption_number, c.last_xid, c.last_account_id, c.last_event_no)
                      AND (e.adoption_number, e.xid) < (adoption, horizon)) THEN
        UPDATE billing.event_consumer x SET last_adoption_number = adoption, last_xid = horizon, last_account_id = 0, last_event_no = 0
         WHERE x.name = consumer AND (x.last_adoption_number, x.last_xid) < (adoption, horizon);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.read_events(text, int) IS 'body of billing.read_events';

CREATE FUNCTION billing.acknowledge_events(consumer text, "position" text) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.acknowledge_events(text, text) IS
    'a consumer has dealt with all events up to a position that billing.read_events() returned; repeating it does nothing; returns the position';
CREATE FUNCTION billing_internal.acknowledge_events(consumer text, "position" text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part CONSTANT text[] := regexp_match("position", '^(\d{1,9})-(\d{1,19})-(\d{1,9})-(\d{1,18})$');
    adoption CONSTANT int := billing_internal.event_adoption();
    wanted CONSTANT record := ROW(part[1]::int, part[2]::xid8, part[3]::bigint, part[4]::bigint);
    acknowledged record;
BEGIN
    PERFORM billing_internal.check_billable(now());
    IF part IS NULL THEN
        PERFORM billing_internal.fail('invalid_argument', format('"%s" is no position of an event', "position"), 'billing.read_events() returns positions.');
    END IF;
    SELECT c.last_adoption_number, c.last_xid, c.last_account_id, c.last_event_no INTO acknowledged
      FROM billing.event_consumer c WHERE c.name = consumer FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM billing_internal.check_consumer(consumer);
    END IF;
    IF wanted = acknowledged THEN
        RETURN "position";
    ELSIF wanted < acknowledged THEN
        PERFORM billing_internal.fail('wrong_position', format('consumer "%s" has acknowledged more than that', consumer),
                                      format('It asks for %s.', "position"), 'Let only one session at a time read for a consumer.');
    ELSIF (part[1]::int, part[2]::xid8) >= (adoption, pg_snapshot_xmin(pg_current_snapshot())) THEN
        PERFORM billing_internal.fail('wrong_position', format('consumer "%s" cannot have read that far', consumer),
                                      format('It asks for %s, but older transactions are under way.', "position"));
    END IF;
    UPDATE billing.event_consumer c
       SET last_adoption_number = part[1]::int, last_xid = part[2]::xid8, last_account_id = part[3]::bigint,
           last_event_no = part[4]::bigint, acknowledged_at = now()
     WHERE c.name = consumer;
    RETURN "position";
END $$;
COMMENT ON FUNCTION billing_internal.acknowledge_events(text, text) IS 'body of billing.acknowledge_events';

CREATE FUNCTION billing.keep_events(types text[], keep boolean) RETURNS int
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.keep_events(text[], boolean) IS
    'writes events of these types from now on, or no longer; those that were written stay; returns how many types that changes';
CREATE FUNCTION billing_internal.keep_events(types text[], keep boolean) RETURNS int
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    changed int;
BEGIN
    PERFORM billing_internal.check_event_types(types);
    UPDATE billing.event_type t SET kept = keep WHERE t.type = ANY (types) AND t.kept <> keep;
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END $$;
COMMENT ON FUNCTION billing_internal.keep_events(text[], boolean) IS 'body of billing.keep_events';

CREATE FUNCTION billing.prune_events(older_than interval) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.prune_events(interval) IS
    'deletes events that are older than that and that every consumer has acknowledged; of each account the oldest first; returns how many';
CREATE FUNCTION billing_internal.prune_events(older_than interval) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    slowest billing.event_consumer;
    kept billing.event;
    last billing.event;
    deleted bigint;
BEGIN
    IF older_than < interval '0' THEN
        PERFORM billing_internal.fail('invalid_argument', 'older_than must not be negative');
    END IF;
    SELECT * INTO slowest FROM billing.event_consumer c ORDER BY c.last_adoption_number, c.last_xid, c.last_account_id, c.last_event_no LIMIT 1;
    SELECT * INTO kept FROM billing.event e WHERE e.recorded_at > now() - older_than ORDER BY e.adoption_number, e.xid, e.account_id, e.event_no LIMIT 1;
    SELECT * INTO last FROM billing.event e
     WHERE (slowest.name IS NULL OR (e.adoption_number, e.xid, e.account_id, e.event_no)
                <= (slowest.last_adoption_number, slowest.last_xid, slowest.last_account_id, slowest.last_event_no))
       AND (kept.type IS NULL OR (e.adoption_number, e.xid, e.account_id, e.event_no) < (kept.adoption_number, kept.xid, kept.account_id, kept.event_no))
     ORDER BY e.adoption_number DESC, e.xid DESC, e.account_id DESC, e.event_no DESC LIMIT 1;
    -- A transaction may be older than another and yet have come to an account after it: where the other's events
    -- stay, so do those of it, that an account's numbers have no hole.
    WITH old AS (
        SELECT e.account_id, max(e.event_no) AS event_no FROM billing.event e
         WHERE (e.adoption_number, e.xid, e.account_id, e.event_no) <= (last.adoption_number, last.xid, last.account_id, last.event_no) GROUP BY 1),
    account AS (
        SELECT o.account_id, o.event_no, min(e.event_no) AS first_kept
          FROM old o LEFT JOIN billing.event e ON e.account_id = o.account_id AND e.event_no < o.event_no
           AND (e.adoption_number, e.xid, e.account_id, e.event_no) > (last.adoption_number, last.xid, last.account_id, last.event_no)
         GROUP BY 1, 2)
    DELETE FROM billing.event e USING account a
     WHERE a.account_id = e.account_id AND e.event_no < coalesce(a.first_kept, a.event_no + 1)
       AND (e.adoption_number, e.xid, e.account_id, e.event_no) <= (last.adoption_number, last.xid, last.account_id, last.event_no);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    RETURN deleted;
END $$;
COMMENT ON FUNCTION billing_internal.prune_events(interval) IS 'body of billing.prune_events';
