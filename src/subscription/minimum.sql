-- Minimums: least amounts of an item or a subscription.

CREATE FUNCTION billing_internal.minimum_row(minimum_id bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    m billing.minimum;
BEGIN
    SELECT * INTO m FROM billing.minimum x WHERE x.account_id = minimum_id >> 24 AND x.id = minimum_id;
    IF m.id IS NULL THEN
        PERFORM billing_internal.fail('unknown_minimum', format('minimum %s does not exist', minimum_id));
    END IF;
    RETURN to_jsonb(m);
END $$;
COMMENT ON FUNCTION billing_internal.minimum_row(bigint) IS 'a minimum, or unknown_minimum';

-- Refuses a period that the cycles of the subscription, or the periods of the item, do not fit into.
CREATE FUNCTION billing_internal.check_minimum_period(timeline jsonb, change jsonb, at timestamptz) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    every CONSTANT interval := change->>'every';
    base interval := (SELECT c.every FROM billing_internal.cycle_at(timeline, at) c);
    item jsonb;
BEGIN
    IF change->>'item_id' IS NOT NULL THEN
        item := billing_internal.item_of(timeline, change);
        IF item->>'kind' <> 'recurring' THEN
            PERFORM billing_internal.fail('invalid_argument', format('item %s is charged once', item->>'id'), 'A minimum is of what recurs.');
        END IF;
        SELECT p.every INTO STRICT base FROM jsonb_populate_recordset(NULL::billing.item_version, timeline->'item_version') v
          JOIN billing.price p ON p.code = v.price WHERE v.item_id = (item->>'id')::bigint AND v.version = 1;
    END IF;
    IF every IS NOT NULL THEN
        PERFORM billing_internal.check_interval(every);
        IF NOT billing_internal.is_multiple(every, base) THEN
            PERFORM billing_internal.fail('invalid_interval', format('%s is not a multiple of %s', every, base),
                                          'The period of a minimum is so many cycles, or of an item so many of its periods.');
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_minimum_period(jsonb, jsonb, timestamptz) IS 'refuses a period of a minimum that does not fit';

CREATE FUNCTION billing_internal.plan_set_minimum(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
    account CONSTANT bigint := subscription_id >> 24;
    m billing.minimum;
    old billing.minimum;
    edits jsonb;
BEGIN
    PERFORM billing_internal.check_not_over(timeline, change, at), billing_internal.check_minimum_period(timeline, change, at);
    m := jsonb_populate_record(NULL::billing.minimum, change - ARRAY['amount', 'id', 'account_id', 'from_at', 'to_at', 'currency']);
    m.account_id := account;
    m.id := billing_internal.new_id(account, '{"ids":0}');
    m.subscription_id := subscription_id;
    m.currency := billing_internal.account_currency(account);
    m.amount := billing_internal.check_value((change->>'amount')::numeric, 'fixed', m.currency);
    m.proration := billing_internal.check_one_of(coalesce(m.proration, 'day'), 'proration', 'day', 'none');
    m.from_at := at;
    IF m.tax IS NOT NULL AND NOT EXISTS (SELECT FROM billing.tax_class c WHERE c.code = m.tax) THEN
        PERFORM billing_internal.fail('unknown_tax', format('tax class "%s" does not exist', m.tax));
    END IF;
    edits := billing_internal.with_new_row(billing_internal.new_edits(m.id, at), 'minimum', to_jsonb(m));
    FOR old IN SELECT x.* FROM jsonb_populate_recordset(NULL::billing.minimum, timeline->'minimum') x
                WHERE (x.item_id, x.every) IS NOT DISTINCT FROM (m.item_id, m.every) AND x.to_at IS DISTINCT FROM x.from_at
                  AND coalesce(x.to_at, 'infinity') > at LOOP
        old.to_at := greatest(old.from_at, at);
        edits := billing_internal.with_row(edits, 'minimum', to_jsonb(old));
    END LOOP;
    RETURN edits;
END $$;
COMMENT ON FUNCTION billing_internal.plan_set_minimum(bigint, jsonb) IS 'plan of billing.set_minimum';

CREATE FUNCTION billing.set_minimum(subscription_id bigint, amount numeric, item_id bigint DEFAULT NULL, every interval DEFAULT NULL,
    tax text DEFAULT NULL, proration text DEFAULT 'day', effective_at timestamptz DEFAULT NULL, invoice_now boolean DEFAULT false,
    reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.set_minimum(bigint, numeric, bigint, interval, text, text, timestamptz, boolean, text, text) IS
    'charges at least an amount for every period of a subscription or an item that starts from an instant on (default now), in place of the minimum before; every: a longer period than the cycle; returns its id';
CREATE FUNCTION billing_internal.set_minimum(subscription_id bigint, amount numeric, item_id bigint, every interval, tax text, proration text,
    effective_at timestamptz, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'set_minimum', 'amount', $2, 'item_id', $3, 'every', $4,
        'tax', $5, 'proration', $6, 'effective_at', $7, 'reason', $9), coalesce($8, false))
$$;
COMMENT ON FUNCTION billing_internal.set_minimum(bigint, numeric, bigint, interval, text, text, timestamptz, boolean, text, text) IS
    'body of billing.set_minimum';

CREATE FUNCTION billing_internal.plan_end_minimum(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at timestamptz := billing_internal.effective_instant(timeline, change);
    m billing.minimum := jsonb_populate_record(NULL::billing.minimum, billing_internal.minimum_row((change->>'minimum_id')::bigint));
BEGIN
    IF m.subscription_id <> plan_end_minimum.subscription_id THEN
        PERFORM billing_internal.fail('unknown_minimum', format('subscription %s has no minimum %s', subscription_id, m.id));
    END IF;
    PERFORM billing_internal.check_not_ended('minimum', m.id, m.to_at, at);
    at := greatest(at, m.from_at);
    m.to_at := at;
    RETURN billing_internal.with_row(billing_internal.new_edits(m.id, at), 'minimum', to_jsonb(m));
END $$;
COMMENT ON FUNCTION billing_internal.plan_end_minimum(bigint, jsonb) IS 'plan of billing.end_minimum';

CREATE FUNCTION billing.end_minimum(minimum_id bigint, effective_at timestamptz DEFAULT NULL, invoice_now boolean DEFAULT false,
    reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.end_minimum(bigint, timestamptz, boolean, text, text) IS
    'ends a minimum: periods that start from an instant on (default now) have it no more; returns its id';
CREATE FUNCTION billing_internal.end_minimum(minimum_id bigint, effective_at timestamptz, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription((billing_internal.minimum_row($1)->>'subscription_id')::bigint, jsonb_build_object('verb', 'end_minimum',
        'minimum_id', $1, 'effective_at', $2, 'reason', $4), coalesce($3, false))
$$;
COMMENT ON FUNCTION billing_internal.end_minimum(bigint, timestamptz, boolean, text, text) IS 'body of billing.end_minimum';
