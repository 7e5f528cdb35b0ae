-- Items of running subscriptions: they come, change and go.

-- The instant that effective_at (default now) and at_period_end name.
CREATE FUNCTION billing_internal.effective_instant(timeline jsonb, change jsonb) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result CONSTANT timestamptz := coalesce((change->>'effective_at')::timestamptz, now());
BEGIN
    PERFORM billing_internal.check_instant(result, 'effective_at');
    IF coalesce((change->>'at_period_end')::boolean, false) THEN
        RETURN (SELECT c.end_at FROM billing_internal.cycle_at(timeline, result) c);
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.effective_instant(jsonb, jsonb) IS 'the instant that effective_at and at_period_end of a change name';

CREATE FUNCTION billing_internal.check_live(timeline jsonb, at timestamptz) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s billing.subscription;
BEGIN
    SELECT * INTO STRICT s FROM jsonb_populate_recordset(NULL::billing.subscription, timeline->'subscription');
    IF s.activation <> 'immediate' OR at < s.start_at OR at >= s.end_at OR billing_internal.interrupted(timeline) @> at THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is not live at %s', s.id, at));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_live(jsonb, timestamptz) IS 'refuses an instant outside the life of a subscription';

CREATE FUNCTION billing_internal.interrupted(timeline jsonb) RETURNS tstzmultirange
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT coalesce(range_agg(tstzrange(x.from_at, x.to_at)), '{}'::tstzmultirange)
      FROM jsonb_populate_recordset(NULL::billing.interruption, timeline->'interruption') x);
END $$;
COMMENT ON FUNCTION billing_internal.interrupted(jsonb) IS 'times without service inside a subscription''s life';

-- Refuses a price that an item of the subscription cannot have; returns the version for an instant.  A price that
-- is not named but stays may be archived.
CREATE FUNCTION billing_internal.check_item_price(subscription_id bigint, every interval, price text, quantity numeric, at timestamptz, named boolean)
    RETURNS int LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p billing.price;
    currency CONSTANT text := (SELECT a.currency FROM billing.account a WHERE a.account_id = subscription_id >> 24);
    result CONSTANT int := (SELECT v.version FROM billing.price_version v WHERE v.price = check_item_price.price AND v.valid_from <= at
                             ORDER BY v.valid_from DESC LIMIT 1);
BEGIN
    SELECT * INTO p FROM billing.price x WHERE x.code = check_item_price.price;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_price', format('price "%s" does not exist', price));
    ELSIF named AND p.archived_at <= now() THEN
        PERFORM billing_internal.fail('archived_object', format('price "%s" is archived', price));
    ELSIF named AND result IS NULL THEN
        PERFORM billing_internal.fail('unknown_price', format('price "%s" has no scheme that is valid at %s', price, at), NULL,
                                      'Name a later instant, or create a version with billing.create_price_version().');
    ELSIF p.currency <> currency THEN
        PERFORM billing_internal.fail('currency_mismatch', format('price "%s" is in %s, the account pays in %s', price, p.currency, currency));
    ELSIF p.meter IS NOT NULL AND quantity IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" is metered and takes no quantity', price));
    ELSIF quantity < 0 OR quantity >= 'Infinity' THEN
        PERFORM billing_internal.fail('invalid_quantity', format('quantity of price "%s" is %s', price, quantity),
                                      'A quantity is finite and not negative.');
    ELSIF p.every IS NOT NULL AND every IS NOT NULL AND NOT billing_internal.is_multiple(p.every, every) THEN
        PERFORM billing_internal.fail('invalid_interval', format('interval of price "%s" is not a multiple of %s', price, every),
                                      'The periods of all items are whole multiples of the subscription''s.');
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.check_item_price(bigint, interval, text, numeric, timestamptz, boolean) IS
    'refuses a price that an item of the subscription cannot have; returns the version for an instant';

-- What a version does not name is as before; the price's own scheme comes back where a price is named.
CREATE FUNCTION billing_internal.terms_at(timeline jsonb, item_id bigint, at timestamptz, OUT price text, OUT price_version int,
    OUT quantity numeric, OUT own_scheme jsonb, OUT scheme jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    x billing.item_version;
BEGIN
    FOR x IN SELECT v.* FROM jsonb_populate_recordset(NULL::billing.item_version, timeline->'item_version') v
              WHERE v.item_id = terms_at.item_id AND v.valid_from <= at ORDER BY v.valid_from, v.version LOOP
        own_scheme := CASE WHEN x.price IS NOT NULL THEN x.scheme ELSE coalesce(x.scheme, own_scheme) END;
        price := coalesce(x.price, price);
        price_version := coalesce(x.price_version, price_version);
        quantity := coalesce(x.quantity, quantity);
    END LOOP;
    scheme := coalesce(own_scheme, (SELECT p.scheme FROM billing.price_version p WHERE p.price = terms_at.price AND p.version = terms_at.price_version));
END $$;
COMMENT ON FUNCTION billing_internal.terms_at(jsonb, bigint, timestamptz) IS 'an item''s terms at an instant: price and version, quantity, the scheme that holds';

-- The first row of an item's terms, and the item.
CREATE FUNCTION billing_internal.with_item(edits jsonb, subscription_id bigint, every interval, item jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := subscription_id >> 24;
    id CONSTANT bigint := billing_internal.new_id(account, edits);
    start_at CONSTANT timestamptz := item->>'start_at';
    price CONSTANT text := item->>'price';
    quantity CONSTANT numeric := item->>'quantity';
    price_version CONSTANT int := billing_internal.check_item_price(subscription_id, every, price, quantity, start_at, true);
    kind CONSTANT text := billing_internal.item_kind(price, 'one_off', (item->>'cycles')::int, (item->>'instalments')::int,
        (item->>'charge_from')::date, (item->>'charge_until')::date, (item->>'own_invoice')::boolean);
    columns CONSTANT jsonb := jsonb_build_object('account_id', account, 'id', id, 'subscription_id', subscription_id, 'kind', kind,
        'metadata', billing_internal.check_metadata(nullif(item->'metadata', 'null')), 'own_invoice', coalesce((item->>'own_invoice')::boolean, false),
        'from_plan', kind = 'recurring' AND coalesce((item->>'from_plan')::boolean, false));
    terms CONSTANT jsonb := jsonb_build_object('account_id', account, 'item_id', id, 'version', 1, 'valid_from', start_at, 'price', price,
        'price_version', price_version, 'reason', item->'reason',
        'quantity', coalesce(quantity, (SELECT 1 FROM billing.price p WHERE p.code = with_item.item->>'price' AND p.meter IS NULL)),
        'scheme', billing_internal.check_price_scheme(nullif(item->'scheme', 'null'), (SELECT p.meter FROM billing.price p WHERE p.code = with_item.item->>'price')));
    new_item billing.subscription_item;
BEGIN
    new_item := jsonb_populate_record(NULL::billing.subscription_item, item || columns);
    RETURN billing_internal.with_row(billing_internal.with_new_row(edits, 'subscription_item', to_jsonb(new_item)), 'item_version', terms)
           || jsonb_build_object('result', id);
END $$;
COMMENT ON FUNCTION billing_internal.with_item(jsonb, bigint, interval, jsonb) IS
    'a plan with one more item, given by price, quantity, start_at, reason and columns of the item; the item''s id is its result';

-- On a stopped subscription: it lives again with this item alone; those that lived before end when it left.
CREATE FUNCTION billing_internal.with_only_item(edits jsonb, timeline jsonb, subscription_id bigint, item jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := item->>'start_at';
    left_at CONSTANT timestamptz := edits->>'left_at';
    i billing.subscription_item;
BEGIN
    FOR i IN SELECT * FROM jsonb_populate_recordset(NULL::billing.subscription_item, timeline->'subscription_item') x
              WHERE x.kind IN ('recurring', 'instalment') AND x.start_at <= at AND coalesce(x.end_at, 'infinity') > left_at LOOP
        i.end_at := greatest(left_at, i.start_at);
        edits := billing_internal.with_row(edits, 'subscription_item', to_jsonb(i));
    END LOOP;
    edits := billing_internal.with_item(edits - 'left_at', subscription_id, NULL, item);
    RETURN billing_internal.with_interval(edits, timeline, at, billing_internal.interval_after(billing_internal.overlay_rows(timeline, edits), at))
           || jsonb_build_object('changed_from', left_at);
END $$;
COMMENT ON FUNCTION billing_internal.with_only_item(jsonb, jsonb, bigint, jsonb) IS 'a plan in which a subscription comes back with a new item in place of those it had';

CREATE FUNCTION billing_internal.plan_add_item(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
    item CONSTANT jsonb := (change - 'verb') || jsonb_build_object('start_at', at);
    edits jsonb;
BEGIN
    PERFORM billing_internal.check_between((change->>'cycles')::int, 'cycles', 1, 100000), billing_internal.check_between((change->>'instalments')::int, 'instalments', 1, 1000);
    IF billing_internal.state_at(timeline, at, NULL) = 'stopped' AND EXISTS (
        SELECT FROM billing.price p WHERE p.code = change->>'price' AND p.every IS NOT NULL) THEN
        edits := billing_internal.with_restart(billing_internal.new_edits(NULL, at), timeline, at);
    END IF;
    IF edits IS NOT NULL THEN
        RETURN billing_internal.with_only_item(edits, timeline, subscription_id, item);
    END IF;
    PERFORM billing_internal.check_live(timeline, at);
    RETURN billing_internal.with_item(billing_internal.new_edits(NULL, at), subscription_id, (SELECT c.every FROM billing_internal.cycle_at(timeline, at) c), item);
END $$;
COMMENT ON FUNCTION billing_internal.plan_add_item(bigint, jsonb) IS 'plan of billing.add_item';

CREATE FUNCTION billing.add_item(subscription_id bigint, price text, quantity numeric DEFAULT NULL, scheme jsonb DEFAULT NULL,
    cycles int DEFAULT NULL, instalments int DEFAULT NULL, charge_from date DEFAULT NULL, charge_until date DEFAULT NULL,
    own_invoice boolean DEFAULT false, description text DEFAULT NULL, effective_at timestamptz DEFAULT NULL,
    at_period_end boolean DEFAULT false, invoice_now boolean DEFAULT false, reason text DEFAULT NULL, metadata jsonb DEFAULT NULL,
    idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.add_item(bigint, text, numeric, jsonb, int, int, date, date, boolean, text, timestamptz, boolean, boolean, text, jsonb, text) IS
    'adds a priced item to a running subscription, or brings a stopped one back with it: for so many cycles, in instalments, once, within dates; returns the item''s id';
CREATE FUNCTION billing_internal.add_item(subscription_id bigint, price text, quantity numeric, scheme jsonb,
    cycles int, instalments int, charge_from date, charge_until date, own_invoice boolean, description text, effective_at timestamptz,
    at_period_end boolean, invoice_now boolean, reason text, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription($1, jsonb_build_object('verb', 'add_item', 'price', $2, 'quantity', $3, 'scheme', $4,
        'cycles', $5, 'instalments', $6, 'charge_from', $7, 'charge_until', $8, 'own_invoice', $9, 'description', $10,
        'effective_at', $11, 'at_period_end', $12, 'reason', $14, 'metadata', $15), $13)
$$;
COMMENT ON FUNCTION billing_internal.add_item(bigint, text, numeric, jsonb, int, int, date, date, boolean, text, timestamptz, boolean, boolean, text, jsonb, text) IS 'body of billing.add_item';

-- The named item as it is in a timeline.
CREATE FUNCTION billing_internal.item_of(timeline jsonb, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result CONSTANT jsonb := (SELECT i FROM jsonb_array_elements(timeline->'subscription_item') i WHERE i->>'id' = change->>'item_id');
BEGIN
    IF result IS NULL THEN
        PERFORM billing_internal.fail('unknown_item', format('subscription %s has no item %s', timeline->'subscription'->0->>'id', change->>'item_id'));
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.item_of(jsonb, jsonb) IS 'the item that a change names, or unknown_item';

-- What is charged once is taken back, whenever that was to be.
CREATE FUNCTION billing_internal.plan_end_item(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
    interrupted CONSTANT tstzmultirange := billing_internal.interrupted(timeline);
    i billing.subscription_item;
BEGIN
    i := jsonb_populate_record(NULL::billing.subscription_item, billing_internal.item_of(timeline, change));
    IF i.kind IN ('one_off', 'setup', 'event') AND i.end_at IS NULL THEN
        i.end_at := i.start_at;
        RETURN billing_internal.with_row(billing_internal.new_edits(i.id, i.start_at), 'subscription_item', to_jsonb(i));
    ELSIF at < i.start_at OR at > least(i.end_at, (timeline->'subscription'->0->>'end_at')::timestamptz)
       OR interrupted @> at AND interrupted @> (at - interval '1 microsecond') THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('item %s is not live at %s', i.id, at));
    END IF;
    i.end_at := at;
    RETURN billing_internal.with_row(billing_internal.new_edits(i.id, at), 'subscription_item', to_jsonb(i));
END $$;
COMMENT ON FUNCTION billing_internal.plan_end_item(bigint, jsonb) IS 'plan of billing.end_item';

CREATE FUNCTION billing.end_item(item_id bigint, effective_at timestamptz DEFAULT NULL, at_period_end boolean DEFAULT false,
    invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.end_item(bigint, timestamptz, boolean, boolean, text, text) IS
    'ends an item of a subscription, or takes back one that is charged once; what was charged beyond is given back; returns the item''s id';
CREATE FUNCTION billing_internal.end_item(item_id bigint, effective_at timestamptz, at_period_end boolean,
    invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription(billing_internal.subscription_of($1), jsonb_build_object('verb', 'end_item', 'item_id', $1,
        'effective_at', $2, 'at_period_end', $3, 'reason', $5), $4)
$$;
COMMENT ON FUNCTION billing_internal.end_item(bigint, timestamptz, boolean, boolean, text, text) IS 'body of billing.end_item';

-- Enters a change of an item's terms; what is null stays as it is.
CREATE FUNCTION billing_internal.with_terms(edits jsonb, timeline jsonb, every interval, item_id bigint, quantity numeric, price text, scheme jsonb,
    at timestamptz, reason text)
    RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    subscription_id CONSTANT bigint := timeline->'subscription'->0->>'id';
    i billing.subscription_item;
    v billing.item_version;
    now_terms CONSTANT record := billing_internal.terms_at(timeline, item_id, at);
    now_price billing.price;
    new_price billing.price;
    new_version int;
BEGIN
    i := jsonb_populate_record(NULL::billing.subscription_item, billing_internal.item_of(timeline, jsonb_build_object('item_id', item_id)));
    IF at < i.start_at OR at >= coalesce(i.end_at, 'infinity') THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('item %s is not live at %s', item_id, at));
    ELSIF i.kind <> 'recurring' THEN
        PERFORM billing_internal.fail('invalid_item', format('item %s is charged once and does not change', item_id), NULL, 'End the item and add another one.');
    END IF;
    SELECT p.* INTO STRICT now_price FROM billing.price p WHERE p.code = now_terms.price;
    new_version := billing_internal.check_item_price(subscription_id, every, coalesce(price, now_price.code), quantity, at, price IS NOT NULL);
    SELECT * INTO STRICT new_price FROM billing.price p WHERE p.code = coalesce(with_terms.price, now_price.code);
    IF (new_price.every, new_price.timing, new_price.meter) IS DISTINCT FROM (now_price.every, now_price.timing, now_price.meter) THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" cannot succeed price "%s"', new_price.code, now_price.code),
            'Interval, timing and meter of an item stay the same.', 'End the item and add another one.');
    END IF;
    SELECT i.account_id, i.id, max(x.version) + 1, at, with_terms.price, CASE WHEN with_terms.price IS NOT NULL THEN new_version END,
           with_terms.quantity, with_terms.reason, billing_internal.check_price_scheme(with_terms.scheme, now_price.meter) INTO v
      FROM jsonb_populate_recordset(NULL::billing.item_version, timeline->'item_version') x WHERE x.item_id = with_terms.item_id;
    RETURN billing_internal.with_row(edits, 'item_version', to_jsonb(v));
END $$;
COMMENT ON FUNCTION billing_internal.with_terms(jsonb, jsonb, interval, bigint, numeric, text, jsonb, timestamptz, text) IS
    'a plan with a change of an item''s quantity, price or scheme';

CREATE FUNCTION billing_internal.plan_change_item(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    timeline CONSTANT jsonb := billing_internal.timeline(subscription_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(timeline, change);
BEGIN
    IF change->>'quantity' IS NULL AND change->>'price' IS NULL AND change->>'scheme' IS NULL THEN
        PERFORM billing_internal.fail('invalid_argument', 'quantity, price or scheme must be given');
    END IF;
    PERFORM billing_internal.check_live(timeline, at);
    RETURN billing_internal.with_terms(billing_internal.new_edits((change->>'item_id')::bigint, at), timeline,
        (SELECT c.every FROM billing_internal.cycle_at(timeline, at) c), (change->>'item_id')::bigint,
        (change->>'quantity')::numeric, change->>'price', nullif(change->'scheme', 'null'), at, change->>'reason');
END $$;
COMMENT ON FUNCTION billing_internal.plan_change_item(bigint, jsonb) IS 'plan of billing.change_item';

CREATE FUNCTION billing.change_item(item_id bigint, quantity numeric DEFAULT NULL, price text DEFAULT NULL, scheme jsonb DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, at_period_end boolean DEFAULT false, invoice_now boolean DEFAULT false,
    reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.change_item(bigint, numeric, text, jsonb, timestamptz, boolean, boolean, text, text) IS
    'changes quantity, price or scheme of an item from an instant on; a scheme holds until the price changes; naming its own price moves it to the price''s version of that instant; returns the item''s id';
CREATE FUNCTION billing_internal.change_item(item_id bigint, quantity numeric, price text, scheme jsonb,
    effective_at timestamptz, at_period_end boolean, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.change_subscription(billing_internal.subscription_of($1), jsonb_build_object('verb', 'change_item', 'item_id', $1,
        'quantity', $2, 'price', $3, 'scheme', $4, 'effective_at', $5, 'at_period_end', $6, 'reason', $8), $7)
$$;
COMMENT ON FUNCTION billing_internal.change_item(bigint, numeric, text, jsonb, timestamptz, boolean, boolean, text, text) IS 'body of billing.change_item';
