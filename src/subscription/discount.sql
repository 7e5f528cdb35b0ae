-- Discounts and increments of an account, a subscription or an item.

CREATE FUNCTION billing_internal.account_currency(account_id bigint) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result CONSTANT text := (SELECT a.currency FROM billing.account a WHERE a.account_id = account_currency.account_id);
BEGIN
    IF result IS NULL THEN
        PERFORM billing_internal.fail('unknown_account', format('account %s does not exist', account_id));
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.account_currency(bigint) IS 'currency of an account, or unknown_account';

-- Cycles of a whole account are those of its first subscription that has so many to come.
CREATE FUNCTION billing_internal.end_of_account_cycles(account_id bigint, from_at timestamptz, cycles int) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s bigint;
    result timestamptz;
BEGIN
    FOR s IN SELECT x.id FROM billing.subscription x WHERE x.account_id = end_of_account_cycles.account_id
                AND coalesce(x.end_at, 'infinity') > from_at ORDER BY x.start_at > from_at, x.id LOOP
        result := billing_internal.end_of_cycles(billing_internal.timeline(s), from_at, cycles, true);
        EXIT WHEN result IS NOT NULL;
    END LOOP;
    IF result IS NULL THEN
        PERFORM billing_internal.fail('invalid_argument', format('account %s has no subscription by whose cycles to count', account_id), NULL,
                                      'Name an instant with until, or a subscription.');
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.end_of_account_cycles(bigint, timestamptz, int) IS
    'instant at which so many cycles of a whole account are over';

-- A row of table discount for an account, checked; change holds the arguments of add_discount.
CREATE FUNCTION billing_internal.new_discount(account_id bigint, id bigint, at timestamptz, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d billing.discount;
    until CONSTANT timestamptz := change->>'until';
BEGIN
    d.account_id := account_id;
    d.id := id;
    d.subscription_id := change->>'subscription_id';
    d.item_id := change->>'item_id';
    d.kind := billing_internal.check_one_of(coalesce(change->>'kind', 'discount'), 'kind', 'discount', 'increment');
    d.type := billing_internal.check_one_of(coalesce(change->>'type', 'percentage'), 'type', 'percentage', 'fixed');
    d.currency := CASE d.type WHEN 'fixed' THEN billing_internal.account_currency(account_id) END;
    d.value := billing_internal.check_value((change->>'value')::numeric, d.type, d.currency);
    d.from_at := at;
    d.cycles := billing_internal.check_between((change->>'cycles')::int, 'cycles', 1, 100000);
    d.description := change->>'description';
    d.reason := change->>'reason';
    d.metadata := billing_internal.check_metadata(nullif(change->'metadata', 'null'));
    d.coupon := change->>'coupon';
    d.document := coalesce((change->>'document')::boolean, false) OR d.type = 'fixed' AND d.subscription_id IS NULL;
    IF d.kind = 'discount' AND d.type = 'percentage' AND d.value > 100 THEN
        PERFORM billing_internal.fail('invalid_argument', format('value is %s', d.value), 'A discount is at most 100 percent.');
    ELSIF d.kind = 'increment' AND d.document THEN
        PERFORM billing_internal.fail('invalid_argument', 'an increment of a fixed amount needs a subscription', NULL, 'Name the subscription or the item.');
    ELSIF until <= at THEN
        PERFORM billing_internal.fail('invalid_argument', 'until must lie after effective_at');
    END IF;
    PERFORM billing_internal.check_instant(coalesce(until, at), 'until');
    d.to_at := until;
    RETURN to_jsonb(d);
END $$;
COMMENT ON FUNCTION billing_internal.new_discount(bigint, bigint, timestamptz, jsonb) IS 'a row of table discount, from the arguments of add_discount';

-- Refuses what is no longer there when the discount would begin.
CREATE FUNCTION billing_internal.check_not_over(timeline jsonb, change jsonb, at timestamptz) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF at >= (timeline->'subscription'->0->>'end_at')::timestamptz THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is over at %s', timeline->'subscription'->0->>'id', at));
    ELSIF change->>'item_id' IS NOT NULL AND at >= (billing_internal.item_of(timeline, change)->>'end_at')::timestamptz THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('item %s is over at %s', change->>'item_id', at));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_not_over(jsonb, jsonb, timestamptz) IS 'refuses an instant after the end of a subscription or of the item that a change names';

CREATE FUNCTION billing_internal.plan_add_discount(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
    id CONSTANT bigint := billing_internal.new_id(subscription_id >> 24, '{"ids":0}');
BEGIN
    PERFORM billing_internal.check_not_over(timeline, change, at);
    RETURN billing_internal.with_new_row(billing_internal.new_edits(id, at), 'discount',
               billing_internal.new_discount(subscription_id >> 24, id, at, change || jsonb_build_object('subscription_id', subscription_id)));
END $$;
COMMENT ON FUNCTION billing_internal.plan_add_discount(bigint, jsonb) IS 'plan of billing.add_discount for a subscription or an item';

-- Of a whole account there is no timeline to plan in.
CREATE FUNCTION billing_internal.write_account_discount(account_id bigint, change jsonb, invoice_now boolean) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce((change->>'effective_at')::timestamptz, now());
    d billing.discount;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at');
    d := jsonb_populate_record(NULL::billing.discount,
                               billing_internal.new_discount(account_id, billing_internal.next_id(account_id), at, change));
    IF d.cycles IS NOT NULL THEN
        d.cycles_from := at;
        d.to_at := least(d.to_at, billing_internal.end_of_account_cycles(account_id, at, d.cycles));
    END IF;
    INSERT INTO billing.discount SELECT d.*;
    PERFORM billing_internal.timeline_changed(account_id, at, true),
            billing_internal.emit(account_id, 'account.changed', at, payload => jsonb_build_object('verb', 'add_discount', 'discount_id', d.id) || jsonb_strip_nulls(jsonb_build_object('reason', d.reason)));
    IF invoice_now THEN
        PERFORM billing_internal.bill_now(account_id, at);
    END IF;
    RETURN d.id;
END $$;
COMMENT ON FUNCTION billing_internal.write_account_discount(bigint, jsonb, boolean) IS 'enters a discount of a whole account; the account is locked';

-- The subscription that a discount concerns, null: the whole account.
CREATE FUNCTION billing_internal.discounted_subscription(account_id bigint, subscription_id bigint, item_id bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result CONSTANT bigint := CASE WHEN item_id IS NULL THEN subscription_id ELSE billing_internal.subscription_of(item_id) END;
BEGIN
    PERFORM billing_internal.account_currency(account_id);
    IF result >> 24 <> account_id OR result <> subscription_id THEN
        PERFORM billing_internal.fail(CASE WHEN item_id IS NULL THEN 'unknown_subscription' ELSE 'unknown_item' END,
            CASE WHEN item_id IS NULL THEN format('account %s has no subscription %s', account_id, subscription_id)
                 ELSE format('account %s or subscription %s has no item %s', account_id, subscription_id, item_id) END);
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.discounted_subscription(bigint, bigint, bigint) IS 'the subscription that arguments name, which is of the account; or null';

CREATE FUNCTION billing.add_discount(account_id bigint, value numeric, type text DEFAULT 'percentage', kind text DEFAULT 'discount',
    subscription_id bigint DEFAULT NULL, item_id bigint DEFAULT NULL, cycles int DEFAULT NULL, until timestamptz DEFAULT NULL,
    description text DEFAULT NULL, effective_at timestamptz DEFAULT NULL, invoice_now boolean DEFAULT false, reason text DEFAULT NULL,
    metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.add_discount(bigint, numeric, text, text, bigint, bigint, int, timestamptz, text, timestamptz, boolean, text, jsonb, text) IS
    'takes a percentage or a fixed amount off (kind increment: adds it) in cycles that start from an instant on (default now), for an account, a subscription or an item; returns its id';
CREATE FUNCTION billing_internal.add_discount(account_id bigint, value numeric, type text, kind text, subscription_id bigint, item_id bigint,
    cycles int, until timestamptz, description text, effective_at timestamptz, invoice_now boolean, reason text, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    subscription CONSTANT bigint := billing_internal.discounted_subscription(account_id, subscription_id, item_id);
    change CONSTANT jsonb := jsonb_build_object('verb', 'add_discount', 'account_id', account_id, 'value', value, 'type', type, 'kind', kind,
        'subscription_id', subscription, 'item_id', item_id, 'cycles', cycles, 'until', until, 'description', description,
        'effective_at', effective_at, 'reason', reason, 'metadata', metadata);
BEGIN
    IF subscription IS NOT NULL THEN
        RETURN billing_internal.change_subscription(subscription, change, coalesce(invoice_now, false));
    END IF;
    PERFORM billing_internal.lock_account(account_id);
    RETURN billing_internal.write_account_discount(account_id, change, coalesce(invoice_now, false));
END $$;
COMMENT ON FUNCTION billing_internal.add_discount(bigint, numeric, text, text, bigint, bigint, int, timestamptz, text, timestamptz, boolean, text, jsonb, text) IS
    'body of billing.add_discount';

-- A discount or minimum that ends; before it began it has never been.
CREATE FUNCTION billing_internal.check_not_ended(what text, id bigint, to_at timestamptz, at timestamptz) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF to_at <= at THEN
        PERFORM billing_internal.fail('discount_ended', format('%s %s ended at %s', what, id, to_at));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_not_ended(text, bigint, timestamptz, timestamptz) IS 'refuses to end what ended before';

CREATE FUNCTION billing_internal.discount_row(discount_id bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d billing.discount;
BEGIN
    SELECT * INTO d FROM billing.discount x WHERE x.account_id = discount_id >> 24 AND x.id = discount_id;
    IF d.id IS NULL THEN
        PERFORM billing_internal.fail('unknown_discount', format('discount %s does not exist', discount_id));
    END IF;
    RETURN to_jsonb(d);
END $$;
COMMENT ON FUNCTION billing_internal.discount_row(bigint) IS 'a discount, or unknown_discount';

CREATE FUNCTION billing_internal.plan_end_discount(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at timestamptz := billing_internal.effective_instant(timeline, change);
    d billing.discount := jsonb_populate_record(NULL::billing.discount, billing_internal.discount_row((change->>'discount_id')::bigint));
BEGIN
    IF d.subscription_id IS DISTINCT FROM plan_end_discount.subscription_id THEN
        PERFORM billing_internal.fail('unknown_discount', format('subscription %s has no discount %s', subscription_id, d.id));
    END IF;
    PERFORM billing_internal.check_not_ended('discount', d.id, d.to_at, at);
    at := greatest(at, d.from_at);
    d.to_at := at;
    d.end_reason := change->>'reason';
    RETURN billing_internal.with_row(billing_internal.new_edits(d.id, at), 'discount', to_jsonb(d));
END $$;
COMMENT ON FUNCTION billing_internal.plan_end_discount(bigint, jsonb) IS 'plan of billing.end_discount for a subscription or an item';

CREATE FUNCTION billing.end_discount(discount_id bigint, effective_at timestamptz DEFAULT NULL, invoice_now boolean DEFAULT false,
    reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.end_discount(bigint, timestamptz, boolean, text, text) IS
    'ends a discount or an increment: cycles that start from an instant on (default now) have it no more; returns its id';
CREATE FUNCTION billing_internal.end_discount(discount_id bigint, effective_at timestamptz, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    d billing.discount := jsonb_populate_record(NULL::billing.discount, billing_internal.discount_row(discount_id));
    at CONSTANT timestamptz := coalesce(effective_at, now());
BEGIN
    IF d.subscription_id IS NOT NULL THEN
        RETURN billing_internal.change_subscription(d.subscription_id, jsonb_build_object('verb', 'end_discount', 'discount_id', discount_id,
            'effective_at', effective_at, 'reason', reason), coalesce(invoice_now, false));
    END IF;
    PERFORM billing_internal.check_instant(at, 'effective_at'), billing_internal.lock_account(d.account_id);
    d := jsonb_populate_record(NULL::billing.discount, billing_internal.discount_row(discount_id));
    PERFORM billing_internal.check_not_ended('discount', d.id, d.to_at, at);
    UPDATE billing.discount x SET to_at = greatest(at, x.from_at), end_reason = end_discount.reason WHERE x.account_id = d.account_id AND x.id = d.id;
    PERFORM billing_internal.timeline_changed(d.account_id, greatest(at, d.from_at), true),
            billing_internal.emit(d.account_id, 'account.changed', at, payload => jsonb_build_object('verb', 'end_discount', 'discount_id', d.id) || jsonb_strip_nulls(jsonb_build_object('reason', reason)));
    IF invoice_now THEN
        PERFORM billing_internal.bill_now(d.account_id, at);
    END IF;
    RETURN d.id;
END $$;
COMMENT ON FUNCTION billing_internal.end_discount(bigint, timestamptz, boolean, text, text) IS 'body of billing.end_discount';
