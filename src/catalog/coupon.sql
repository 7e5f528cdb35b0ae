-- Coupons: codes that customers redeem for a discount.

-- Checks what a percentage or a fixed amount of money may be.
CREATE FUNCTION billing_internal.check_value(value numeric, type text, currency text) RETURNS numeric
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NULL THEN
        PERFORM billing_internal.fail('invalid_argument', 'value must be given');
    ELSIF value < 0 OR value >= 'Infinity' THEN
        PERFORM billing_internal.fail('invalid_argument', format('value is %s', value), 'It is finite and not negative.');
    ELSIF type = 'fixed' AND billing.round_amount(value, currency) <> value THEN
        PERFORM billing_internal.fail('invalid_argument', format('value %s is not an amount of %s', value, currency), 'It has more decimals than the currency.');
    END IF;
    RETURN value;
END $$;
COMMENT ON FUNCTION billing_internal.check_value(numeric, text, text) IS 'a percentage, or an amount that its currency can pay';

CREATE FUNCTION billing.create_coupon(code text, name text DEFAULT NULL, scope text DEFAULT 'document', type text DEFAULT 'percentage',
    value numeric DEFAULT NULL, currency text DEFAULT NULL, price text DEFAULT NULL, cycles int DEFAULT NULL, valid_from timestamptz DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL, max_redemptions int DEFAULT NULL, max_redemptions_per_account int DEFAULT NULL, metadata jsonb DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_coupon(text, text, text, text, numeric, text, text, int, timestamptz, timestamptz, int, int, jsonb) IS
    'creates a coupon for a discount on whole documents, on a subscription, or on an item of a price; a percentage, or a fixed amount of a currency; returns its code';
CREATE FUNCTION billing_internal.create_coupon(code text, name text, scope text, type text, value numeric, currency text, price text, cycles int,
    valid_from timestamptz, expires_at timestamptz, max_redemptions int, max_redemptions_per_account int, metadata jsonb)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    scope := billing_internal.check_one_of(coalesce(scope, 'document'), 'scope', 'document', 'subscription', 'item');
    type := billing_internal.check_one_of(coalesce(type, 'percentage'), 'type', 'percentage', 'fixed');
    PERFORM billing_internal.check_not_empty(code, 'code'), billing_internal.check_between(cycles, 'cycles', 1, 100000),
            billing_internal.check_between(max_redemptions, 'max_redemptions', 1, 2147483647),
            billing_internal.check_between(max_redemptions_per_account, 'max_redemptions_per_account', 1, 2147483647),
            billing_internal.check_instant(coalesce(valid_from, now()), 'valid_from'),
            billing_internal.check_instant(coalesce(expires_at, now()), 'expires_at');
    IF (type = 'fixed') <> (currency IS NOT NULL) THEN
        PERFORM billing_internal.fail('invalid_argument', 'currency is named for fixed amounts, and only for these');
    ELSIF (scope = 'item') <> (price IS NOT NULL) THEN
        PERFORM billing_internal.fail('invalid_argument', 'price is named for scope item, and only for that');
    ELSIF expires_at <= valid_from THEN
        PERFORM billing_internal.fail('invalid_argument', 'expires_at must lie after valid_from');
    ELSIF type = 'percentage' AND value > 100 THEN
        PERFORM billing_internal.fail('invalid_argument', format('value is %s', value), 'A discount is at most 100 percent.');
    ELSIF price IS NOT NULL AND NOT EXISTS (SELECT FROM billing.price p WHERE p.code = create_coupon.price) THEN
        PERFORM billing_internal.fail('unknown_price', format('price "%s" does not exist', price));
    END IF;
    IF currency IS NOT NULL THEN
        PERFORM billing_internal.check_currency(currency);
    END IF;
    INSERT INTO billing.coupon (code, name, scope, price, type, value, currency, cycles, valid_from, expires_at, max_redemptions,
                                max_redemptions_per_account, metadata)
    VALUES (code, coalesce(name, code), scope, price, type, billing_internal.check_value(value, type, currency), currency, cycles, valid_from,
            expires_at, max_redemptions, max_redemptions_per_account, billing_internal.check_metadata(metadata));
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.create_coupon(text, text, text, text, numeric, text, text, int, timestamptz, timestamptz, int, int, jsonb) IS
    'body of billing.create_coupon';

CREATE FUNCTION billing.archive_coupon(code text, effective_at timestamptz DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.archive_coupon(text, timestamptz) IS
    'lets a coupon be redeemed no more from an instant on (default now); discounts that it brought stay; returns its code';
CREATE FUNCTION billing_internal.archive_coupon(code text, effective_at timestamptz)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_instant(coalesce(effective_at, now()), 'effective_at');
    UPDATE billing.coupon c SET archived_at = coalesce(effective_at, now()) WHERE c.code = archive_coupon.code;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_coupon', format('coupon "%s" does not exist', code));
    END IF;
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.archive_coupon(text, timestamptz) IS 'body of billing.archive_coupon';
