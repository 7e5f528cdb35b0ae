-- How accounts pay: methods, and mandates for direct debits.  billing.x is the door (rights, owner), billing_internal.x
-- the body.

-- Locks the account of a payment method and returns it.
CREATE FUNCTION billing_internal.lock_payment_method(payment_method_id bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := payment_method_id >> 24;
BEGIN
    IF EXISTS (SELECT FROM billing.account_state s WHERE s.account_id = account) THEN
        PERFORM billing_internal.lock_account(account);
    END IF;
    PERFORM billing_internal.check_method(account, NULL, payment_method_id);
    RETURN account;
END $$;
COMMENT ON FUNCTION billing_internal.lock_payment_method(bigint) IS 'locks the account of a payment method and returns it';

-- A mandate that is not used for 36 months lapses.
CREATE FUNCTION billing_internal.mandate_ends_on(signed_on date, last_used_on date) RETURNS date
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT (coalesce($2, $1) + interval '36 months')::date $$;
COMMENT ON FUNCTION billing_internal.mandate_ends_on(date, date) IS 'last day on which a mandate can be used, unless it is used before';

CREATE FUNCTION billing_internal.local_day(account_id bigint, at timestamptz) RETURNS date
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT (at AT TIME ZONE e.time_zone)::date FROM billing.account a JOIN billing.entity e ON e.code = a.entity WHERE a.account_id = local_day.account_id);
END $$;
COMMENT ON FUNCTION billing_internal.local_day(bigint, timestamptz) IS 'date of an instant where an account''s seller is';

-- Can be collected with at that time: an automatic way, active, not expired; a direct debit by its account number needs
-- a mandate, one by a token may have it with the provider.
CREATE FUNCTION billing_internal.is_usable(account_id bigint, payment_method_id bigint, at timestamptz) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    today CONSTANT date := billing_internal.local_day(account_id, at);
BEGIN
    RETURN EXISTS (
        SELECT FROM billing.payment_method m
          JOIN billing.payment_method_type t ON t.type = m.type AND t.automatic
          LEFT JOIN billing.mandate d ON d.account_id = m.account_id AND d.payment_method_id = m.id
         WHERE m.account_id = is_usable.account_id AND m.id = is_usable.payment_method_id AND m.status = 'active'
           AND coalesce(m.expires_on, 'infinity') >= today
           AND CASE WHEN d.reference IS NULL THEN m.type <> 'direct_debit' OR m.token IS NOT NULL
                    ELSE d.status = 'active' AND billing_internal.mandate_ends_on(d.signed_on, d.last_used_on) >= today END);
END $$;
COMMENT ON FUNCTION billing_internal.is_usable(bigint, bigint, timestamptz) IS 'can invoices be collected with a payment method at an instant?';

CREATE FUNCTION billing_internal.write_mandate(account_id bigint, payment_method_id bigint, reference text, signed_on date, scheme text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    creditor CONSTANT text := (SELECT a.entity FROM billing.account a WHERE a.account_id = write_mandate.account_id);
BEGIN
    IF num_nulls(reference, signed_on) = 2 AND scheme IS NULL THEN RETURN; END IF;
    PERFORM billing_internal.check_not_empty(reference, 'mandate_reference'), billing_internal.check_one_of(scheme, 'mandate scheme', 'core', 'b2b');
    PERFORM billing_internal.check_instant(signed_on::timestamp AT TIME ZONE 'UTC', 'mandate_signed_on') WHERE signed_on IS NOT NULL;
    IF num_nulls(reference, signed_on) > 0 THEN
        PERFORM billing_internal.fail('invalid_argument', 'a mandate needs mandate_reference and mandate_signed_on');
    ELSIF (SELECT m.type NOT IN ('direct_debit', 'digital_mandate') FROM billing.payment_method m WHERE m.account_id = write_mandate.account_id AND m.id = payment_method_id) THEN
        PERFORM billing_internal.fail('invalid_argument', 'only direct debits have a mandate');
    ELSIF EXISTS (SELECT FROM billing.mandate d WHERE d.account_id = write_mandate.account_id AND d.payment_method_id = write_mandate.payment_method_id) THEN
        PERFORM billing_internal.fail('invalid_argument', format('payment method %s has a mandate', payment_method_id), NULL, 'Add a payment method for the new one.');
    END IF;
    INSERT INTO billing.key (kind, key, account_id, id) VALUES ('mandate', jsonb_build_array(creditor, reference)::text, account_id, payment_method_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unique_violation', format('mandate reference "%s" of entity "%s" is already used', reference, creditor));
    END IF;
    INSERT INTO billing.mandate (account_id, payment_method_id, reference, signed_on, scheme)
    VALUES (account_id, payment_method_id, reference, signed_on, coalesce(scheme, 'core'));
END $$;
COMMENT ON FUNCTION billing_internal.write_mandate(bigint, bigint, text, date, text) IS 'enters a mandate, whose reference is unique for the seller; nothing where none is given';

CREATE FUNCTION billing.add_payment_method(account_id bigint, type text, provider text DEFAULT NULL, token text DEFAULT NULL, display text DEFAULT NULL,
    iban text DEFAULT NULL, mandate_reference text DEFAULT NULL, mandate_signed_on date DEFAULT NULL, mandate_scheme text DEFAULT NULL,
    expires_on date DEFAULT NULL, make_default boolean DEFAULT true, metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.add_payment_method(bigint, text, text, text, text, text, text, date, text, date, boolean, jsonb, text) IS
    'adds a way to pay to an account: the token of a payment provider, never the number of a card, or the account number (IBAN) and mandate of a direct debit; by default its invoices are collected with it from now on; returns its id';
CREATE FUNCTION billing_internal.add_payment_method(account_id bigint, type text, provider text, token text, display text, iban text, mandate_reference text,
    mandate_signed_on date, mandate_scheme text, expires_on date, make_default boolean, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result bigint;
BEGIN
    PERFORM billing_internal.lock_account(account_id), billing_internal.check_method(account_id, type, NULL),
            billing_internal.check_no_card_number(provider, token, display, mandate_reference, metadata::text),
            billing_internal.check_not_empty(provider, 'provider'), billing_internal.check_not_empty(token, 'token');
    iban := billing_internal.check_iban(iban);
    IF type = 'direct_debit' AND num_nulls(iban, token) = 2 OR type IN ('card', 'paypal') AND token IS NULL THEN
        PERFORM billing_internal.fail('invalid_argument', format('payment method of type "%s" needs %s', type, CASE type WHEN 'direct_debit' THEN 'an iban or a token' ELSE 'a token' END));
    END IF;
    result := billing_internal.next_id(account_id);
    INSERT INTO billing.payment_method (account_id, id, type, provider, token, display, iban, expires_on, metadata, created_at)
    VALUES (account_id, result, type, provider, token, display, iban, expires_on, billing_internal.check_metadata(metadata), now());
    PERFORM billing_internal.write_mandate(account_id, result, mandate_reference, mandate_signed_on, mandate_scheme);
    -- A direct debit waits for its mandate.
    UPDATE billing.payment_method m SET status = 'pending'
     WHERE m.account_id = add_payment_method.account_id AND m.id = result AND m.type = 'direct_debit' AND m.token IS NULL AND mandate_reference IS NULL;
    PERFORM billing_internal.emit(account_id, 'payment_method.added', now(), payload => jsonb_build_object('payment_method_id', result, 'type', type));
    IF make_default THEN
        PERFORM billing_internal.set_payment_method(account_id, result, NULL);
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.add_payment_method(bigint, text, text, text, text, text, text, date, text, date, boolean, jsonb, text) IS
    'body of billing.add_payment_method';

-- What a payment method may become.
CREATE FUNCTION billing_internal.move_method(account_id bigint, payment_method_id bigint, status text, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    allowed CONSTANT jsonb := '{"pending": ["active", "dead", "revoked"], "active": ["expired", "dead", "revoked"], "expired": ["active", "dead", "revoked"],
                                "dead": ["active", "revoked"], "revoked": []}';
    before text;
BEGIN
    SELECT m.status INTO before FROM billing.payment_method m WHERE m.account_id = move_method.account_id AND m.id = payment_method_id;
    IF status = before THEN RETURN; END IF;
    IF NOT allowed->before ? status THEN
        PERFORM billing_internal.fail('payment_method_unusable', format('payment method %s is %s and cannot become %s', payment_method_id, before, status));
    END IF;
    UPDATE billing.payment_method m SET status = move_method.status WHERE m.account_id = move_method.account_id AND m.id = payment_method_id;
    UPDATE billing.mandate d SET status = move_method.status
     WHERE d.account_id = move_method.account_id AND d.payment_method_id = move_method.payment_method_id
       AND (move_method.status IN ('revoked', 'expired') OR move_method.status = 'active' AND d.status = 'expired');
    PERFORM billing_internal.emit(account_id, 'payment_method.changed', at, payload => jsonb_build_object('payment_method_id', payment_method_id, 'status', status));
END $$;
COMMENT ON FUNCTION billing_internal.move_method(bigint, bigint, text, timestamptz) IS 'gives a payment method and its mandate another status';

CREATE FUNCTION billing.change_payment_method(payment_method_id bigint, status text DEFAULT NULL, expires_on date DEFAULT NULL, token text DEFAULT NULL,
    display text DEFAULT NULL, mandate_reference text DEFAULT NULL, mandate_signed_on date DEFAULT NULL, mandate_scheme text DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.change_payment_method(bigint, text, date, text, text, text, date, text, timestamptz, jsonb, text) IS
    'changes a payment method: its status (active, expired, dead, revoked), when it expires, its token, or the mandate that a direct debit waits for; null leaves as it is; returns its id';
CREATE FUNCTION billing_internal.change_payment_method(payment_method_id bigint, status text, expires_on date, token text, display text, mandate_reference text,
    mandate_signed_on date, mandate_scheme text, effective_at timestamptz, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    account bigint;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at'), billing_internal.check_no_card_number(token, display, mandate_reference, metadata::text),
            billing_internal.check_one_of(status, 'status', 'pending', 'active', 'expired', 'dead', 'revoked'), billing_internal.check_not_empty(token, 'token');
    account := billing_internal.lock_payment_method(payment_method_id);
    UPDATE billing.payment_method m
       SET expires_on = coalesce(change_payment_method.expires_on, m.expires_on), token = coalesce(change_payment_method.token, m.token),
           display = coalesce(change_payment_method.display, m.display),
           metadata = CASE WHEN change_payment_method.metadata IS NULL THEN m.metadata ELSE billing_internal.check_metadata(change_payment_method.metadata) END
     WHERE m.account_id = account AND m.id = payment_method_id;
    PERFORM billing_internal.write_mandate(account, payment_method_id, mandate_reference, mandate_signed_on, mandate_scheme);
    IF status IS NULL AND mandate_reference IS NOT NULL
       AND (SELECT m.status = 'pending' FROM billing.payment_method m WHERE m.account_id = account AND m.id = payment_method_id) THEN
        status := 'active';
    END IF;
    PERFORM billing_internal.move_method(account, payment_method_id, status, at) WHERE status IS NOT NULL;
    RETURN payment_method_id;
END $$;
COMMENT ON FUNCTION billing_internal.change_payment_method(bigint, text, date, text, text, text, date, text, timestamptz, jsonb, text) IS
    'body of billing.change_payment_method';

CREATE FUNCTION billing.set_payment_method(account_id bigint, payment_method_id bigint, subscription_id bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.set_payment_method(bigint, bigint, bigint) IS
    'collects an account''s invoices, or those of one subscription, with a payment method from now on, also those that wait for another attempt; returns its id';
CREATE FUNCTION billing_internal.set_payment_method(account_id bigint, payment_method_id bigint, subscription_id bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.lock_account(account_id), billing_internal.check_method(account_id, NULL, payment_method_id);
    IF EXISTS (SELECT FROM billing.payment_method m WHERE m.account_id = set_payment_method.account_id AND m.id = payment_method_id AND m.status IN ('dead', 'revoked')) THEN
        PERFORM billing_internal.fail('payment_method_unusable', format('payment method %s cannot be used any more', payment_method_id));
    ELSIF subscription_id IS NULL THEN
        UPDATE billing.account a SET payment_method_id = set_payment_method.payment_method_id
         WHERE a.account_id = set_payment_method.account_id AND a.payment_method_id IS DISTINCT FROM set_payment_method.payment_method_id;
    ELSE
        UPDATE billing.subscription s SET payment_method_id = set_payment_method.payment_method_id
         WHERE s.account_id = set_payment_method.account_id AND s.id = subscription_id;
        IF NOT FOUND THEN
            PERFORM billing_internal.fail('unknown_subscription', format('account %s has no subscription %s', account_id, subscription_id));
        END IF;
        PERFORM billing_internal.emit(account_id, 'payment_method.changed', now(), subscription_id => set_payment_method.subscription_id, payload =>
            (SELECT jsonb_build_object('payment_method_id', m.id, 'status', m.status) FROM billing.payment_method m
              WHERE m.account_id = set_payment_method.account_id AND m.id = set_payment_method.payment_method_id));
    END IF;
    UPDATE billing.collection c SET payment_method_id = billing_internal.collection_method(c.account_id, c.invoice_id)
     WHERE c.account_id = set_payment_method.account_id AND c.status = 'waiting'
       AND billing_internal.collection_method(c.account_id, c.invoice_id) <> c.payment_method_id;
    RETURN payment_method_id;
END $$;
COMMENT ON FUNCTION billing_internal.set_payment_method(bigint, bigint, bigint) IS 'body of billing.set_payment_method';
