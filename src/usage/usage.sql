-- Usage events.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing_internal.usage_event_arrived() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_usage_event_arrived';
COMMENT ON FUNCTION billing_internal.usage_event_arrived() IS 'checks new usage events and makes accounts with late ones due again';

CREATE FUNCTION billing.record_usage(subscription_id bigint, meter text, event_key text, quantity numeric DEFAULT 1,
    at timestamptz DEFAULT NULL, properties jsonb DEFAULT NULL)
    RETURNS boolean LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.record_usage(bigint, text, text, numeric, timestamptz, jsonb) IS
    'records use of a meter at a moment (default now); true when it is new, false when the same event was recorded before';
CREATE FUNCTION billing_internal.record_usage(subscription_id bigint, meter text, event_key text, quantity numeric,
    at timestamptz, properties jsonb)
    RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := subscription_id >> 24;
    old billing.usage_event;
BEGIN
    IF NOT EXISTS (SELECT FROM billing.subscription s WHERE s.account_id = account AND s.id = record_usage.subscription_id) THEN
        PERFORM billing_internal.fail('unknown_subscription', format('subscription %s does not exist', subscription_id));
    ELSIF NOT EXISTS (SELECT FROM billing.meter m WHERE m.code = record_usage.meter) THEN
        PERFORM billing_internal.fail('unknown_meter', format('meter "%s" does not exist', meter));
    ELSIF quantity IS NULL OR quantity < 0 OR quantity >= 'Infinity' THEN
        PERFORM billing_internal.fail('invalid_quantity', format('quantity of event "%s" is %s', event_key, coalesce(quantity::text, 'null')),
                                      'A quantity is finite and not negative.');
    ELSIF event_key = '' THEN
        PERFORM billing_internal.fail('invalid_argument', 'event_key must not be empty');
    END IF;
    PERFORM billing_internal.check_instant(coalesce(at, now()), 'at');
    PERFORM billing_internal.lock_account(account);
    SELECT * INTO old FROM billing.usage_event u WHERE u.account_id = account AND u.event_key = record_usage.event_key;
    IF FOUND THEN
        IF (old.subscription_id, old.meter, old.quantity, old.at, old.properties)
           IS DISTINCT FROM (subscription_id, meter, quantity, coalesce(at, old.at), properties) THEN
            PERFORM billing_internal.fail('idempotency_conflict',
                format('event key "%s" was used before with other arguments', event_key), NULL, 'Use a new key for a new event.');
        END IF;
        RETURN false;
    END IF;
    at := coalesce(at, now());
    PERFORM billing_internal.check_usage(subscription_id, meter, event_key, at);
    INSERT INTO billing.usage_event (account_id, event_key, subscription_id, meter, at, quantity, properties)
    VALUES (account, event_key, subscription_id, meter, at, quantity, properties);
    UPDATE billing.account_state s SET recompute_from = least(s.recompute_from, record_usage.at)
     WHERE s.account_id = account AND record_usage.at < s.billed_through;
    RETURN true;
END $$;
COMMENT ON FUNCTION billing_internal.record_usage(bigint, text, text, numeric, timestamptz, jsonb) IS 'body of billing.record_usage';

-- Refuses an event that no item would ever charge.
CREATE FUNCTION billing_internal.check_usage(subscription_id bigint, meter text, event_key text, at timestamptz) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    live boolean := (
        SELECT bool_or(check_usage.at >= i.start_at AND check_usage.at < coalesce(least(i.end_at, s.end_at), 'infinity') AND NOT EXISTS (
                   SELECT FROM billing.interruption n WHERE n.account_id = s.account_id AND n.subscription_id = s.id
                      AND check_usage.at >= n.from_at AND check_usage.at < coalesce(n.to_at, 'infinity')))
          FROM billing.subscription s
          JOIN billing.subscription_item i ON i.account_id = s.account_id AND i.subscription_id = s.id
          JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id
          JOIN billing.price p ON p.code = v.price AND p.meter = check_usage.meter
         WHERE s.account_id = check_usage.subscription_id >> 24 AND s.id = check_usage.subscription_id);
BEGIN
    IF live IS NULL THEN
        PERFORM billing_internal.fail('unknown_meter', format('subscription %s has no item on meter "%s"', subscription_id, meter));
    ELSIF NOT live THEN
        PERFORM billing_internal.fail('usage_outside_subscription',
            format('usage event "%s" lies outside the life of subscription %s', event_key, subscription_id));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_usage(bigint, text, text, timestamptz) IS 'refuses a usage event that no item would ever charge';

CREATE FUNCTION billing.record_usages(events jsonb) RETURNS int
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.record_usages(jsonb) IS
    'records many usage events: an array of objects with the arguments of record_usage as keys; returns how many are new';
CREATE FUNCTION billing_internal.record_usages(events jsonb) RETURNS int
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    e jsonb;
    result int := 0;
BEGIN
    IF jsonb_typeof(events) <> 'array' THEN
        PERFORM billing_internal.fail('invalid_argument', 'events must be an array');
    END IF;
    PERFORM billing_internal.check_bulk(events, 'record_usage');
    FOR e IN SELECT x FROM jsonb_array_elements(events) x ORDER BY (x->>'subscription_id')::bigint LOOP
        IF e->>'subscription_id' IS NULL OR e->>'meter' IS NULL OR e->>'event_key' IS NULL THEN
            PERFORM billing_internal.fail('null_value_not_allowed', 'every event must have a subscription_id, a meter and an event_key');
        END IF;
        result := result + billing_internal.record_usage((e->>'subscription_id')::bigint, e->>'meter', e->>'event_key',
            CASE WHEN e ? 'quantity' THEN (e->>'quantity')::numeric ELSE 1 END, (e->>'at')::timestamptz, nullif(e->'properties', 'null'))::int;
    END LOOP;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.record_usages(jsonb) IS 'body of billing.record_usages';
