-- Redeeming coupons.

-- Why a coupon cannot be redeemed by an account; null: it can.
CREATE FUNCTION billing_internal.coupon_refusal(coupon jsonb, account_id bigint, subscription_id bigint, at timestamptz) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c CONSTANT billing.coupon := jsonb_populate_record(NULL::billing.coupon, coupon);
BEGIN
    RETURN CASE
        WHEN c.archived_at <= at THEN 'It is archived.'
        WHEN c.valid_from > at THEN format('It is valid from %s on.', c.valid_from)
        WHEN c.expires_at <= at THEN format('It expired at %s.', c.expires_at)
        WHEN c.currency <> billing_internal.account_currency(account_id)
            THEN format('It is in %s, the account pays in %s.', c.currency, billing_internal.account_currency(account_id))
        WHEN c.redemptions >= c.max_redemptions THEN format('It was redeemed %s times.', c.redemptions)
        WHEN (SELECT count(*) FROM billing.discount d WHERE d.account_id = coupon_refusal.account_id AND d.coupon = c.code
                 AND d.to_at IS DISTINCT FROM d.from_at) >= c.max_redemptions_per_account
            THEN format('The account redeemed it %s times.', c.max_redemptions_per_account)
        WHEN c.scope <> 'document' AND subscription_id IS NULL THEN 'It needs a subscription.'
        WHEN c.scope = 'item' AND billing_internal.coupon_item(coupon, subscription_id, at) IS NULL
            THEN format('The subscription has no item of price "%s".', c.price)
    END;
END $$;
COMMENT ON FUNCTION billing_internal.coupon_refusal(jsonb, bigint, bigint, timestamptz) IS 'why a coupon cannot be redeemed at an instant; null: it can';

-- The item that a coupon for a price is for: the first that has the price and is not over.
CREATE FUNCTION billing_internal.coupon_item(coupon jsonb, subscription_id bigint, at timestamptz) RETURNS bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT min(i.id) FROM billing.subscription_item i
     WHERE i.account_id = $2 >> 24 AND i.subscription_id = $2 AND coalesce(i.end_at, 'infinity') > $3
       AND (SELECT v.price FROM billing.item_version v WHERE v.account_id = i.account_id AND v.item_id = i.id AND v.price IS NOT NULL
               AND v.valid_from <= greatest($3, i.start_at) ORDER BY v.valid_from DESC, v.version DESC LIMIT 1) = $1->>'price'
$$;
COMMENT ON FUNCTION billing_internal.coupon_item(jsonb, bigint, timestamptz) IS 'the item of a subscription that a coupon is for; or null';

CREATE FUNCTION billing_internal.coupon_row(code text) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c billing.coupon;
BEGIN
    SELECT * INTO c FROM billing.coupon x WHERE x.code = coupon_row.code;
    IF c.code IS NULL THEN
        PERFORM billing_internal.fail('unknown_coupon', format('coupon "%s" does not exist', code));
    END IF;
    RETURN to_jsonb(c);
END $$;
COMMENT ON FUNCTION billing_internal.coupon_row(text) IS 'a coupon, or unknown_coupon';

-- What redeeming a coupon enters, as arguments of add_discount.
CREATE FUNCTION billing_internal.coupon_discount(coupon jsonb, account_id bigint, subscription_id bigint, at timestamptz) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c CONSTANT billing.coupon := jsonb_populate_record(NULL::billing.coupon, coupon);
    refusal CONSTANT text := billing_internal.coupon_refusal(coupon, account_id, subscription_id, at);
BEGIN
    IF refusal IS NOT NULL THEN
        PERFORM billing_internal.fail('coupon_not_redeemable', format('coupon "%s" cannot be redeemed', c.code), refusal);
    END IF;
    RETURN jsonb_build_object('coupon', c.code, 'description', c.name, 'type', c.type, 'value', c.value, 'cycles', c.cycles,
        'document', c.scope = 'document', 'subscription_id', subscription_id,
        'item_id', CASE c.scope WHEN 'item' THEN billing_internal.coupon_item(coupon, subscription_id, at) END);
END $$;
COMMENT ON FUNCTION billing_internal.coupon_discount(jsonb, bigint, bigint, timestamptz) IS
    'the discount that a coupon brings, as arguments of add_discount; or coupon_not_redeemable';

CREATE FUNCTION billing_internal.plan_redeem_coupon(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce((change->>'effective_at')::timestamptz, now());
    coupon CONSTANT jsonb := billing_internal.coupon_row(change->>'coupon');
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at');
    RETURN billing_internal.plan_add_discount(subscription_id, jsonb_build_object('effective_at', at)
               || billing_internal.coupon_discount(coupon, subscription_id >> 24, subscription_id, at));
END $$;
COMMENT ON FUNCTION billing_internal.plan_redeem_coupon(bigint, jsonb) IS 'plan of billing.redeem_coupon for a subscription';

-- Counts a redemption.  The coupon stays locked until the transaction ends, so that its limits hold; the account is locked before it.
CREATE FUNCTION billing_internal.count_redemption(code text, number int) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE billing.coupon c SET redemptions = c.redemptions + $2 WHERE c.code = $1
$$;
COMMENT ON FUNCTION billing_internal.count_redemption(text, int) IS 'counts a redemption of a coupon, or with -1 takes one back';

CREATE FUNCTION billing.redeem_coupon(account_id bigint, coupon text, subscription_id bigint DEFAULT NULL, effective_at timestamptz DEFAULT NULL,
    idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.redeem_coupon(bigint, text, bigint, timestamptz, text) IS
    'gives an account or a subscription the discount of a coupon from an instant on (default now); returns the discount''s id';
CREATE FUNCTION billing_internal.redeem_coupon(account_id bigint, coupon text, subscription_id bigint, effective_at timestamptz, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    subscription CONSTANT bigint := billing_internal.discounted_subscription(account_id, subscription_id, NULL);
    at CONSTANT timestamptz := coalesce(effective_at, now());
    c jsonb;
    result bigint;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at'), billing_internal.lock_account(account_id);
    PERFORM FROM billing.coupon x WHERE x.code = redeem_coupon.coupon FOR NO KEY UPDATE;
    c := billing_internal.coupon_row(coupon);
    IF subscription IS NULL THEN
        result := billing_internal.write_account_discount(account_id, jsonb_build_object('effective_at', at)
                      || billing_internal.coupon_discount(c, account_id, NULL, at), false);
    ELSE
        result := billing_internal.change_subscription(subscription, jsonb_build_object('verb', 'redeem_coupon', 'account_id', account_id,
                      'coupon', coupon, 'subscription_id', subscription, 'effective_at', at), false);
    END IF;
    PERFORM billing_internal.count_redemption(coupon, 1);
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.redeem_coupon(bigint, text, bigint, timestamptz, text) IS 'body of billing.redeem_coupon';
