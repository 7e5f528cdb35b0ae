-- Subscriptions.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing.subscription_id(external_id text) RETURNS bigint
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.subscription_id(text) IS 'id of the subscription with an external id';
CREATE FUNCTION billing_internal.subscription_id(external_id text) RETURNS bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT billing_internal.find_key('subscription', $1) $$;
COMMENT ON FUNCTION billing_internal.subscription_id(text) IS 'body of billing.subscription_id';

-- The plan's items with the caller's merged over them by price, each with the version of its price for a start.
CREATE FUNCTION billing_internal.merge_items(plan text, items jsonb, start_at timestamptz)
    RETURNS TABLE (ordinal int, price text, price_version int, quantity numeric, cycles int, metadata jsonb, currency text, archived boolean, metered boolean)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known CONSTANT text[] := ARRAY['price', 'quantity', 'cycles', 'metadata'];
    twice text;
BEGIN
    RETURN QUERY
    WITH given AS (SELECT * FROM billing_internal.parse_items(coalesce(items, '[]'), known)),
         planned AS (SELECT * FROM billing.plan_item i WHERE i.plan = merge_items.plan AND i.event IS NULL)
    SELECT row_number() OVER (ORDER BY m.ordinal, g.ordinal)::int, p.code,
           (SELECT v.version FROM billing.price_version v WHERE v.price = p.code AND v.valid_from <= start_at
             ORDER BY v.valid_from DESC LIMIT 1),
           coalesce(g.quantity, m.quantity, CASE WHEN p.meter IS NULL THEN 1 END), coalesce(g.cycles, m.cycles),
           coalesce(g.metadata, '{}'), p.currency, coalesce(p.archived_at <= now(), false), p.meter IS NOT NULL
      FROM planned m FULL JOIN given g ON g.price = m.price
      JOIN billing.price p ON p.code = coalesce(m.price, g.price)
     WHERE g.price IS NOT NULL OR NOT m.optional;
    SELECT e->>'price' INTO twice FROM jsonb_array_elements(items) e GROUP BY 1 HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" is named twice', twice));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.merge_items(text, jsonb, timestamptz) IS
    'the items of a new subscription: the plan''s with the caller''s merged over them by price';

CREATE FUNCTION billing_internal.after_cycles(anchor timestamptz, every interval, time_zone text, billing_day int,
    start_at timestamptz, first_period text, cycles int) RETURNS timestamptz
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN $7 IS NOT NULL THEN upper(billing.nth_period($1, $2,
        billing_internal.period_at($1, $2, $3, $4, $5) + $7 - 1
            + CASE WHEN $6 = 'free' AND lower(billing.nth_period($1, $2, billing_internal.period_at($1, $2, $3, $4, $5), $3, $4)) < $5
                   THEN 1 ELSE 0 END, $3, $4)) END
$$;
COMMENT ON FUNCTION billing_internal.after_cycles(timestamptz, interval, text, int, timestamptz, text, int) IS
    'instant at which so many cycles from a start are over; a stub is a cycle unless it is free';

CREATE FUNCTION billing.create_subscription(account_id bigint, plan text, start_at timestamptz DEFAULT NULL, items jsonb DEFAULT NULL,
    end_at timestamptz DEFAULT NULL, cycles int DEFAULT NULL, billing_day int DEFAULT NULL, time_zone text DEFAULT NULL,
    first_period text DEFAULT 'prorate', external_id text DEFAULT NULL, purchase_order text DEFAULT NULL,
    metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.create_subscription(bigint, text, timestamptz, jsonb, timestamptz, int, int, text, text, text, text, jsonb, text) IS
    'subscribes an account to a plan from an instant (default now) on; items [{"price", "quantity", "cycles", "metadata"}, ...] are merged by price over the plan''s; returns its id';
CREATE FUNCTION billing_internal.create_subscription(account_id bigint, plan text, start_at timestamptz, items jsonb,
    end_at timestamptz, cycles int, billing_day int, time_zone text,
    first_period text, external_id text, purchase_order text, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a billing.account;
    p billing.plan;
    i record;
    ordinals int[] := '{}';
    prices text[] := '{}';
    versions int[] := '{}';
    quantities numeric[] := '{}';
    item_cycles int[] := '{}';
    item_metadata jsonb[] := '{}';
    every interval;
    anchor timestamptz;
    result bigint;
BEGIN
    PERFORM billing_internal.lock_account(account_id);
    SELECT * INTO a FROM billing.account x WHERE x.account_id = create_subscription.account_id;
    SELECT * INTO p FROM billing.plan x WHERE x.code = create_subscription.plan;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_plan', format('plan "%s" does not exist', plan));
    ELSIF p.archived_at <= now() THEN
        PERFORM billing_internal.fail('archived_object', format('plan "%s" is archived', plan));
    END IF;
    start_at := coalesce(start_at, now());
    time_zone := coalesce(time_zone, a.time_zone);
    billing_day := coalesce(billing_day, p.billing_day);
    cycles := coalesce(cycles, p.cycles);
    first_period := billing_internal.check_one_of(coalesce(first_period, 'prorate'), 'first period', 'prorate', 'free', 'full');
    PERFORM billing_internal.check_instant(start_at, 'start_at'), billing_internal.check_instant(coalesce(end_at, start_at), 'end_at'),
            billing_internal.check_time_zone(time_zone);
    PERFORM billing_internal.check_between(cycles, 'cycles', 1, 100000), billing_internal.check_not_empty(external_id, 'external_id');
    IF end_at < start_at THEN
        PERFORM billing_internal.fail('invalid_argument', 'end_at lies before start_at');
    END IF;
    -- Marked as used before they are looked at, so that they change no more; in the same order in all sessions.
    FOR i IN SELECT * FROM billing_internal.merge_items(plan, items, start_at) m ORDER BY m.price LOOP
        prices := prices || i.price;
        UPDATE billing.price_version v SET in_use = true WHERE v.price = i.price AND v.version = i.price_version AND NOT v.in_use;
        IF FOUND THEN
            SELECT x.currency, x.meter IS NOT NULL INTO i.currency, i.metered FROM billing.price x WHERE x.code = i.price;
        END IF;
        IF i.price_version IS NULL THEN
            PERFORM billing_internal.fail('unknown_price', format('price "%s" has no scheme that is valid at %s', i.price, start_at), NULL,
                                          'Start later, or create a version with billing.create_price_version().');
        ELSIF i.archived THEN
            PERFORM billing_internal.fail('archived_object', format('price "%s" is archived', i.price));
        ELSIF i.currency <> a.currency THEN
            PERFORM billing_internal.fail('currency_mismatch', format('price "%s" is in %s, account %s pays in %s',
                                                                      i.price, i.currency, account_id, a.currency));
        ELSIF i.metered AND i.quantity IS NOT NULL THEN
            PERFORM billing_internal.fail('invalid_item', format('price "%s" is metered and takes no quantity', i.price));
        END IF;
        ordinals := ordinals || i.ordinal;
        versions := versions || i.price_version;
        quantities := quantities || i.quantity;
        item_cycles := item_cycles || i.cycles;
        item_metadata := item_metadata || i.metadata;
    END LOOP;
    IF prices = '{}' THEN
        PERFORM billing_internal.fail('invalid_item', format('a subscription of plan "%s" needs an item', plan));
    END IF;
    every := billing_internal.common_interval(prices);
    IF EXISTS (SELECT FROM billing.price x WHERE x.code = ANY (prices) AND x.every IS NULL) THEN
        PERFORM billing_internal.fail('invalid_item', 'a price of the subscription is charged once');
    END IF;
    anchor := CASE WHEN billing_day IS NULL THEN start_at ELSE billing_internal.schedule_anchor(start_at, time_zone, billing_day) END;
    PERFORM billing.nth_period(anchor, every, 0, time_zone, billing_day);
    IF cycles IS NOT NULL THEN
        end_at := least(end_at, billing_internal.after_cycles(anchor, every, time_zone, billing_day, start_at, first_period, cycles));
    END IF;
    result := billing_internal.next_id(account_id, 1 + cardinality(prices));
    INSERT INTO billing.subscription (account_id, id, plan, external_id, start_at, end_at, cycles, purchase_order, metadata)
    VALUES (account_id, result, plan, external_id, start_at, end_at, cycles, purchase_order, billing_internal.check_metadata(metadata));
    INSERT INTO billing.schedule_version (account_id, subscription_id, version, valid_from, anchor, every, time_zone, billing_day, first_period)
    VALUES (account_id, result, 1, start_at, anchor, every, time_zone, billing_day, first_period);
    INSERT INTO billing.subscription_item (account_id, id, subscription_id, start_at, end_at, cycles, metadata)
    SELECT create_subscription.account_id, result + n.ordinal, result, create_subscription.start_at,
           CASE WHEN n.cycles IS NOT NULL THEN billing_internal.after_cycles(
               anchor, every, time_zone, billing_day, create_subscription.start_at, first_period, n.cycles) END, n.cycles, n.metadata
      FROM unnest(ordinals, item_cycles, item_metadata) AS n (ordinal, cycles, metadata);
    INSERT INTO billing.item_version (account_id, item_id, version, valid_from, price, price_version, quantity)
    SELECT create_subscription.account_id, result + n.ordinal, 1, create_subscription.start_at, n.price, n.version, n.quantity
      FROM unnest(ordinals, prices, versions, quantities) AS n (ordinal, price, version, quantity);
    IF external_id IS NOT NULL THEN
        PERFORM billing_internal.claim_key('subscription', external_id, account_id, result);
    END IF;
    PERFORM billing_internal.write_states(result), billing_internal.timeline_changed(account_id, start_at, false);
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.create_subscription(bigint, text, timestamptz, jsonb, timestamptz, int, int, text, text, text, text, jsonb, text) IS
    'body of billing.create_subscription';

-- An edit makes the account due from its instant on, and to be compared again where that was billed
-- already: in arrears before it, of what exists also in advance beyond it.
CREATE FUNCTION billing_internal.timeline_changed(account_id bigint, from_at timestamptz, existing boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE billing.account_state s SET next_due = least(s.next_due, from_at),
           recompute_from = CASE WHEN from_at < s.billed_through OR existing AND s.billed_through IS NOT NULL
                                 THEN least(s.recompute_from, from_at) ELSE s.recompute_from END
     WHERE s.account_id = timeline_changed.account_id;
END $$;
COMMENT ON FUNCTION billing_internal.timeline_changed(bigint, timestamptz, boolean) IS
    'notes that an account''s timeline changed from an instant on; existing: of something that may be charged already';

CREATE FUNCTION billing.create_subscriptions(subscriptions jsonb) RETURNS SETOF bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.create_subscriptions(jsonb) IS
    'makes many subscriptions: an array of objects with the arguments of create_subscription as keys; returns their ids in order';
CREATE FUNCTION billing_internal.create_subscriptions(subscriptions jsonb) RETURNS SETOF bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s jsonb;
BEGIN
    IF jsonb_typeof(subscriptions) <> 'array' THEN
        PERFORM billing_internal.fail('invalid_argument', 'subscriptions must be an array');
    END IF;
    PERFORM billing_internal.check_bulk(subscriptions, 'create_subscription');
    -- Accounts are locked in ascending order, whatever the order of the elements.
    PERFORM billing_internal.lock_account(x.id) FROM (
        SELECT DISTINCT (e->>'account_id')::bigint AS id FROM jsonb_array_elements(subscriptions) e ORDER BY 1) x;
    FOR s IN SELECT jsonb_array_elements(subscriptions) LOOP
        IF s->>'account_id' IS NULL OR s->>'plan' IS NULL THEN
            PERFORM billing_internal.fail('null_value_not_allowed', 'every subscription must have an account_id and a plan');
        END IF;
        RETURN NEXT billing_internal.create_subscription((s->>'account_id')::bigint, s->>'plan', (s->>'start_at')::timestamptz,
            nullif(s->'items', 'null'), (s->>'end_at')::timestamptz, (s->>'cycles')::int, (s->>'billing_day')::int, s->>'time_zone',
            s->>'first_period', s->>'external_id', s->>'purchase_order', nullif(s->'metadata', 'null'), NULL);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.create_subscriptions(jsonb) IS 'body of billing.create_subscriptions';
