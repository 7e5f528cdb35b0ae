-- Changes of running subscriptions.  A change edits the timeline; the next run writes the difference.

CREATE FUNCTION billing_internal.lock_subscription(subscription_id bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing.subscription s WHERE s.account_id = subscription_id >> 24 AND s.id = subscription_id) THEN
        PERFORM billing_internal.fail('unknown_subscription', format('subscription %s does not exist', subscription_id));
    END IF;
    PERFORM billing_internal.lock_account(subscription_id >> 24);
END $$;
COMMENT ON FUNCTION billing_internal.lock_subscription(bigint) IS 'locks the account of a subscription, or unknown_subscription';

CREATE FUNCTION billing_internal.lock_item(item_id bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result bigint := (SELECT i.subscription_id FROM billing.subscription_item i WHERE i.account_id = item_id >> 24 AND i.id = item_id);
BEGIN
    IF result IS NULL THEN
        PERFORM billing_internal.fail('unknown_item', format('item %s does not exist', item_id));
    END IF;
    PERFORM billing_internal.lock_account(item_id >> 24);
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.lock_item(bigint) IS 'locks the account of an item and returns its subscription, or unknown_item';

-- The instant that effective_at (default now) and at_period_end name, resolved from the schedule.
CREATE FUNCTION billing_internal.effective_instant(subscription_id bigint, effective_at timestamptz, at_period_end boolean)
    RETURNS timestamptz LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v billing.schedule_version;
    period tstzrange;
BEGIN
    effective_at := coalesce(effective_at, now());
    PERFORM billing_internal.check_instant(effective_at, 'effective_at');
    IF NOT coalesce(at_period_end, false) THEN RETURN effective_at; END IF;
    SELECT * INTO STRICT v FROM billing.schedule_version x
     WHERE x.account_id = effective_instant.subscription_id >> 24 AND x.subscription_id = effective_instant.subscription_id;
    period := billing.nth_period(v.anchor, v.every, billing_internal.period_at(v.anchor, v.every, v.time_zone, v.billing_day, effective_at),
                                 v.time_zone, v.billing_day);
    RETURN upper(period);
END $$;
COMMENT ON FUNCTION billing_internal.effective_instant(bigint, timestamptz, boolean) IS 'the instant that effective_at and at_period_end name';

CREATE FUNCTION billing_internal.check_live(subscription_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing.subscription s
                    WHERE s.account_id = subscription_id >> 24 AND s.id = subscription_id
                      AND at >= s.start_at AND at < coalesce(least(s.end_at, s.canceled_at), 'infinity')) THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is not live at %s', subscription_id, at));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_live(bigint, timestamptz) IS 'refuses an instant outside the life of a subscription';

-- Ends every verb: the account is due again, and billed at once where the caller wants it.
CREATE FUNCTION billing_internal.after_change(subscription_id bigint, effective_at timestamptz, moment timestamptz, invoice_now boolean)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.timeline_changed(subscription_id >> 24, effective_at, true);
    IF invoice_now THEN
        PERFORM billing_internal.bill_now(subscription_id >> 24, coalesce(moment, now()));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.after_change(bigint, timestamptz, timestamptz, boolean) IS
    'notes an edit and, where wanted, bills the account as of the moment of the call';

-- Refuses a price that an item of the subscription cannot have; returns the version for an instant.  A price that
-- is not named but stays may be archived.
CREATE FUNCTION billing_internal.check_item_price(subscription_id bigint, price text, quantity numeric, at timestamptz, named boolean) RETURNS int
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p billing.price;
    every interval;
    currency text;
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
    END IF;
    SELECT v.every, a.currency INTO STRICT every, currency FROM billing.schedule_version v JOIN billing.account a USING (account_id)
     WHERE v.account_id = check_item_price.subscription_id >> 24 AND v.subscription_id = check_item_price.subscription_id;
    IF p.currency <> currency THEN
        PERFORM billing_internal.fail('currency_mismatch', format('price "%s" is in %s, the account pays in %s', price, p.currency, currency));
    ELSIF p.meter IS NOT NULL AND quantity IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" is metered and takes no quantity', price));
    ELSIF quantity < 0 OR quantity >= 'Infinity' THEN
        PERFORM billing_internal.fail('invalid_quantity', format('quantity of price "%s" is %s', price, quantity),
                                      'A quantity is finite and not negative.');
    ELSIF NOT billing_internal.is_multiple(p.every, every) THEN
        PERFORM billing_internal.fail('invalid_interval', format('interval of price "%s" is not a multiple of %s', price, every),
                                      'The periods of all items are whole multiples of the subscription''s.');
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.check_item_price(bigint, text, numeric, timestamptz, boolean) IS
    'refuses a price that an item of the subscription cannot have; returns the version for an instant';

CREATE FUNCTION billing_internal.insert_item(subscription_id bigint, price text, quantity numeric, at timestamptz, metadata jsonb, reason text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := subscription_id >> 24;
    price_version CONSTANT int := billing_internal.check_item_price(subscription_id, price, quantity, at, true);
    result CONSTANT bigint := billing_internal.next_id(account);
BEGIN
    INSERT INTO billing.subscription_item (account_id, id, subscription_id, start_at, metadata)
    VALUES (account, result, subscription_id, at, billing_internal.check_metadata(metadata));
    INSERT INTO billing.item_version (account_id, item_id, version, valid_from, price, price_version, quantity, reason)
    SELECT account, result, 1, at, insert_item.price, price_version, coalesce(insert_item.quantity, CASE WHEN p.meter IS NULL THEN 1 END), insert_item.reason
      FROM billing.price p WHERE p.code = insert_item.price;
    UPDATE billing.price_version v SET in_use = true WHERE v.price = insert_item.price AND v.version = price_version AND NOT v.in_use;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.insert_item(bigint, text, numeric, timestamptz, jsonb, text) IS 'writes a new item of a subscription';

CREATE FUNCTION billing.add_item(subscription_id bigint, price text, quantity numeric DEFAULT NULL, effective_at timestamptz DEFAULT NULL,
    at_period_end boolean DEFAULT false, invoice_now boolean DEFAULT false, reason text DEFAULT NULL, metadata jsonb DEFAULT NULL,
    idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.add_item(bigint, text, numeric, timestamptz, boolean, boolean, text, jsonb, text) IS
    'adds a priced item to a running subscription; returns the item''s id';
CREATE FUNCTION billing_internal.add_item(subscription_id bigint, price text, quantity numeric, effective_at timestamptz,
    at_period_end boolean, invoice_now boolean, reason text, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz;
    result bigint;
BEGIN
    PERFORM billing_internal.lock_subscription(subscription_id);
    at := billing_internal.effective_instant(subscription_id, effective_at, at_period_end);
    PERFORM billing_internal.check_live(subscription_id, at);
    result := billing_internal.insert_item(subscription_id, price, quantity, at, metadata, reason);
    PERFORM billing_internal.after_change(subscription_id, at, effective_at, invoice_now);
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.add_item(bigint, text, numeric, timestamptz, boolean, boolean, text, jsonb, text) IS 'body of billing.add_item';

CREATE FUNCTION billing.end_item(item_id bigint, effective_at timestamptz DEFAULT NULL, at_period_end boolean DEFAULT false,
    invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.end_item(bigint, timestamptz, boolean, boolean, text, text) IS
    'ends an item of a subscription; what was charged beyond is given back; returns the item''s id';
CREATE FUNCTION billing_internal.end_item(item_id bigint, effective_at timestamptz, at_period_end boolean,
    invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    subscription CONSTANT bigint := billing_internal.lock_item(item_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(subscription, effective_at, at_period_end);
    i billing.subscription_item;
    s billing.subscription;
BEGIN
    SELECT * INTO STRICT i FROM billing.subscription_item x WHERE x.account_id = item_id >> 24 AND x.id = item_id;
    SELECT * INTO STRICT s FROM billing.subscription x WHERE x.account_id = item_id >> 24 AND x.id = subscription;
    IF at < i.start_at OR at > least(i.end_at, s.end_at, s.canceled_at) THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('item %s is not live at %s', item_id, at));
    END IF;
    UPDATE billing.subscription_item x SET end_at = at WHERE x.account_id = item_id >> 24 AND x.id = item_id;
    PERFORM billing_internal.after_change(subscription, at, effective_at, invoice_now);
    RETURN item_id;
END $$;
COMMENT ON FUNCTION billing_internal.end_item(bigint, timestamptz, boolean, boolean, text, text) IS 'body of billing.end_item';

-- Enters a change of an item's terms; what is null stays as it is.
CREATE FUNCTION billing_internal.insert_item_version(item_id bigint, quantity numeric, price text, at timestamptz, reason text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := item_id >> 24;
    i billing.subscription_item;
    now_price billing.price;
    new_price billing.price;
    new_version int;
BEGIN
    SELECT * INTO STRICT i FROM billing.subscription_item x WHERE x.account_id = account AND x.id = item_id;
    IF at < i.start_at OR at >= coalesce(i.end_at, 'infinity') THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('item %s is not live at %s', item_id, at));
    END IF;
    SELECT p.* INTO STRICT now_price FROM billing.item_version v JOIN billing.price p ON p.code = v.price
     WHERE v.account_id = account AND v.item_id = insert_item_version.item_id AND v.valid_from <= at
     ORDER BY v.valid_from DESC, v.version DESC LIMIT 1;
    new_version := billing_internal.check_item_price(i.subscription_id, coalesce(price, now_price.code), quantity, at, price IS NOT NULL);
    SELECT * INTO STRICT new_price FROM billing.price p WHERE p.code = coalesce(insert_item_version.price, now_price.code);
    IF (new_price.every, new_price.timing, new_price.meter) IS DISTINCT FROM (now_price.every, now_price.timing, now_price.meter) THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" cannot succeed price "%s"', new_price.code, now_price.code),
            'Interval, timing and meter of an item stay the same.', 'End the item and add another one.');
    END IF;
    INSERT INTO billing.item_version (account_id, item_id, version, valid_from, price, price_version, quantity, reason)
    SELECT account, insert_item_version.item_id, max(v.version) + 1, at, insert_item_version.price,
           CASE WHEN insert_item_version.price IS NOT NULL THEN new_version END,
           insert_item_version.quantity, insert_item_version.reason
      FROM billing.item_version v WHERE v.account_id = account AND v.item_id = insert_item_version.item_id;
    UPDATE billing.price_version v SET in_use = true
     WHERE v.price = insert_item_version.price AND v.version = new_version AND NOT v.in_use;
END $$;
COMMENT ON FUNCTION billing_internal.insert_item_version(bigint, numeric, text, timestamptz, text) IS 'enters a change of an item''s quantity or price';

CREATE FUNCTION billing.change_item(item_id bigint, quantity numeric DEFAULT NULL, price text DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, at_period_end boolean DEFAULT false, invoice_now boolean DEFAULT false,
    reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.change_item(bigint, numeric, text, timestamptz, boolean, boolean, text, text) IS
    'changes quantity, price or both of an item from an instant on; naming its own price moves it to the price''s version of that instant; returns the item''s id';
CREATE FUNCTION billing_internal.change_item(item_id bigint, quantity numeric, price text,
    effective_at timestamptz, at_period_end boolean, invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    subscription CONSTANT bigint := billing_internal.lock_item(item_id);
    at CONSTANT timestamptz := billing_internal.effective_instant(subscription, effective_at, at_period_end);
BEGIN
    IF quantity IS NULL AND price IS NULL THEN
        PERFORM billing_internal.fail('invalid_argument', 'quantity or price must be given');
    END IF;
    PERFORM billing_internal.check_live(subscription, at);
    PERFORM billing_internal.insert_item_version(item_id, quantity, price, at, reason);
    PERFORM billing_internal.after_change(subscription, at, effective_at, invoice_now);
    RETURN item_id;
END $$;
COMMENT ON FUNCTION billing_internal.change_item(bigint, numeric, text, timestamptz, boolean, boolean, text, text) IS 'body of billing.change_item';

CREATE FUNCTION billing.cancel_subscription(subscription_id bigint, effective_at timestamptz DEFAULT NULL, at_period_end boolean DEFAULT false,
    invoice_now boolean DEFAULT false, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.cancel_subscription(bigint, timestamptz, boolean, boolean, text, text) IS
    'cancels a subscription now, at an instant or at the end of the period; what was charged beyond is given back as its prices say; returns its id';
CREATE FUNCTION billing_internal.cancel_subscription(subscription_id bigint, effective_at timestamptz, at_period_end boolean,
    invoice_now boolean, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz;
    s billing.subscription;
BEGIN
    PERFORM billing_internal.lock_subscription(subscription_id);
    at := billing_internal.effective_instant(subscription_id, effective_at, at_period_end);
    SELECT * INTO STRICT s FROM billing.subscription x WHERE x.account_id = subscription_id >> 24 AND x.id = subscription_id;
    IF s.canceled_at IS NOT NULL THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is canceled already', subscription_id),
            format('It ends at %s.', s.canceled_at), 'Before that instant billing.undo_cancellation() takes it back.');
    ELSIF at < s.start_at OR at > s.end_at THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s is not live at %s', subscription_id, at));
    END IF;
    UPDATE billing.subscription x SET canceled_at = at, cancel_reason = reason WHERE x.account_id = subscription_id >> 24 AND x.id = subscription_id;
    PERFORM billing_internal.after_change(subscription_id, at, effective_at, invoice_now);
    RETURN subscription_id;
END $$;
COMMENT ON FUNCTION billing_internal.cancel_subscription(bigint, timestamptz, boolean, boolean, text, text) IS 'body of billing.cancel_subscription';

CREATE FUNCTION billing.undo_cancellation(subscription_id bigint, effective_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.undo_cancellation(bigint, timestamptz, text) IS
    'takes a cancellation back that has not taken effect at a moment (default now); returns the subscription''s id';
CREATE FUNCTION billing_internal.undo_cancellation(subscription_id bigint, effective_at timestamptz, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    canceled timestamptz;
BEGIN
    PERFORM billing_internal.check_instant(coalesce(effective_at, now()), 'effective_at');
    PERFORM billing_internal.lock_subscription(subscription_id);
    SELECT s.canceled_at INTO STRICT canceled FROM billing.subscription s
     WHERE s.account_id = subscription_id >> 24 AND s.id = undo_cancellation.subscription_id;
    IF canceled IS NULL OR canceled <= coalesce(effective_at, now()) THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s has no cancellation to come', subscription_id));
    END IF;
    UPDATE billing.subscription s SET canceled_at = NULL, cancel_reason = NULL
     WHERE s.account_id = subscription_id >> 24 AND s.id = undo_cancellation.subscription_id;
    PERFORM billing_internal.timeline_changed(subscription_id >> 24, canceled, true);
    RETURN subscription_id;
END $$;
COMMENT ON FUNCTION billing_internal.undo_cancellation(bigint, timestamptz, text) IS 'body of billing.undo_cancellation';
