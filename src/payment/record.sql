-- Payments received.  billing.x is the door (rights, owner), billing_internal.x the body.

-- What a provider refers to is recorded once.  Null: without a provider a reference is only text.
CREATE FUNCTION billing_internal.reference_key(provider text, reference text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_not_empty(provider, 'provider'), billing_internal.check_not_empty(reference, 'reference');
    RETURN CASE WHEN provider IS NOT NULL AND reference IS NOT NULL THEN jsonb_build_array(provider, reference)::text END;
END $$;
COMMENT ON FUNCTION billing_internal.reference_key(text, text) IS 'key in the directory of a provider''s reference; null where one of the two is missing';

CREATE FUNCTION billing_internal.known_reference(kind text, provider text, reference text) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT k.id FROM billing.key k WHERE k.kind = known_reference.kind AND k.key = billing_internal.reference_key(provider, reference));
END $$;
COMMENT ON FUNCTION billing_internal.known_reference(text, text, text) IS 'the payment or refund that was recorded with a provider''s reference';

CREATE FUNCTION billing_internal.claim_reference(kind text, provider text, reference text, account_id bigint, id bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    new_key CONSTANT text := billing_internal.reference_key(provider, reference);
BEGIN
    IF new_key IS NULL THEN RETURN; END IF;
    INSERT INTO billing.key (kind, key, account_id, id) VALUES (kind, new_key, account_id, id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM billing_internal.refuse_reference(kind, provider, reference);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.claim_reference(text, text, text, bigint, bigint) IS 'enters a provider''s reference into the directory';

CREATE FUNCTION billing_internal.refuse_reference(kind text, provider text, reference text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.fail('idempotency_conflict', format('reference "%s" of provider "%s" was recorded before with another %s', $3, $2, $1))
$$;
COMMENT ON FUNCTION billing_internal.refuse_reference(text, text, text) IS 'raises idempotency_conflict';

-- The way of payment: that of the account's method, where it names one.
CREATE FUNCTION billing_internal.check_method(account_id bigint, method text, payment_method_id bigint) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known text;
BEGIN
    IF payment_method_id IS NOT NULL THEN
        SELECT m.type INTO known FROM billing.payment_method m
         WHERE m.account_id = check_method.account_id AND m.id = check_method.payment_method_id;
        IF NOT FOUND THEN
            PERFORM billing_internal.fail('unknown_payment_method', format('account %s has no payment method %s', account_id, payment_method_id));
        END IF;
    END IF;
    IF method IS NOT NULL AND NOT EXISTS (SELECT FROM billing.payment_method_type t WHERE t.type = method) THEN
        PERFORM billing_internal.fail('unknown_payment_method', format('method of payment "%s" does not exist', method));
    END IF;
    RETURN coalesce(method, known);
END $$;
COMMENT ON FUNCTION billing_internal.check_method(bigint, text, bigint) IS 'the way of payment, named or of a method of the account; or null';

-- Documents that a payment names must be able to take money now or to have taken it.
CREATE FUNCTION billing_internal.check_named_invoices(account_id bigint, invoice_ids bigint[], rules text[]) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named bigint;
    h billing.invoice_header;
BEGIN
    IF invoice_ids IS NOT NULL AND 'named' <> ALL (rules) THEN
        PERFORM billing_internal.fail('invalid_argument', 'invoices are named, but no rule is "named"', NULL, 'Put "named" among the rules.');
    END IF;
    FOR named IN SELECT unnest(invoice_ids) LOOP
        SELECT * INTO h FROM billing.invoice_header x WHERE x.account_id = check_named_invoices.account_id AND x.id = named;
        IF NOT FOUND THEN
            PERFORM billing_internal.fail('unknown_invoice', format('account %s has no document %s', account_id, coalesce(named::text, 'null')));
        ELSIF h.kind = 'credit_note' OR h.status IN ('draft', 'void') THEN
            PERFORM billing_internal.fail('wrong_document_state', format('%s %s is %s and cannot be paid', replace(h.kind, '_', ' '), named, h.status));
        END IF;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.check_named_invoices(bigint, bigint[], text[]) IS 'refuses documents that cannot take money';

CREATE FUNCTION billing.record_payment(account_id bigint, amount numeric, currency text, method text DEFAULT NULL,
    payment_method_id bigint DEFAULT NULL, provider text DEFAULT NULL, reference text DEFAULT NULL, invoice_ids bigint[] DEFAULT NULL,
    rules text[] DEFAULT NULL, reversible_until timestamptz DEFAULT NULL, subscription_id bigint DEFAULT NULL, effective_at timestamptz DEFAULT NULL,
    metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.record_payment(bigint, numeric, text, text, bigint, text, text, bigint[], text[], timestamptz, bigint, timestamptz, jsonb, text) IS
    'records money received and sets it against invoices by rules, the entity''s unless others are named; what is left is customer credit; with a subscription its invoices come first, and one that waits for its first payment comes to life when credit covers it; one payment per provider and reference; returns its id';
CREATE FUNCTION billing_internal.record_payment(account_id bigint, amount numeric, currency text, method text, payment_method_id bigint,
    provider text, reference text, invoice_ids bigint[], rules text[], reversible_until timestamptz, subscription_id bigint, effective_at timestamptz,
    metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    account_currency text;
    way text;
    result bigint;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.check_instant(coalesce(reversible_until, at), 'reversible_until');
    PERFORM billing_internal.lock_account(account_id);
    amount := billing_internal.check_amount(amount, currency, 'amount');
    SELECT a.currency, coalesce(billing_internal.check_rules(rules), e.allocation_rules) INTO account_currency, rules
      FROM billing.account a JOIN billing.entity e ON e.code = a.entity WHERE a.account_id = record_payment.account_id;
    IF currency <> account_currency THEN
        PERFORM billing_internal.fail('currency_mismatch', format('account %s has the currency %s, not %s', account_id, account_currency, currency));
    END IF;
    result := billing_internal.known_reference('payment', provider, reference);
    IF result IS NOT NULL THEN
        IF NOT EXISTS (SELECT FROM billing.payment p WHERE p.account_id = record_payment.account_id AND p.id = result AND p.amount = record_payment.amount) THEN
            PERFORM billing_internal.refuse_reference('payment', provider, reference);
        END IF;
        RETURN result;
    END IF;
    way := billing_internal.check_method(account_id, method, payment_method_id);
    PERFORM billing_internal.check_named_invoices(account_id, invoice_ids, rules), billing_internal.discounted_subscription(account_id, subscription_id, NULL);
    result := billing_internal.next_id(account_id);
    PERFORM billing_internal.claim_reference('payment', provider, reference, account_id, result);
    INSERT INTO billing.payment (account_id, id, currency, amount, received_at, reversible_until, method, payment_method_id, provider, reference, metadata)
    VALUES (account_id, result, currency, amount, at,
            coalesce(reversible_until, at + (SELECT t.reversible_for FROM billing.payment_method_type t WHERE t.type = way)),
            way, payment_method_id, provider, reference, billing_internal.check_metadata(metadata));
    PERFORM billing_internal.emit(account_id, 'payment.received', at, payment_id => result, payload => jsonb_strip_nulls(
        jsonb_build_object('currency', currency, 'amount', amount::text, 'provider', provider, 'reference', reference)));
    IF billing_internal.awaits_payment(account_id, subscription_id) THEN
        PERFORM billing_internal.activate_paid(account_id, result, subscription_id, at);
    END IF;
    -- What does not suffice waits for the rest.
    IF NOT billing_internal.awaits_payment(account_id, subscription_id) THEN
        PERFORM billing_internal.allocate_by_rules(account_id, result, billing_internal.open_invoices_of(account_id, subscription_id), '{named}', at)
          WHERE subscription_id IS NOT NULL;
        PERFORM billing_internal.allocate_by_rules(account_id, result, invoice_ids, rules, at);
    END IF;
    PERFORM billing_internal.mark_credit(account_id), billing_internal.adopt_method(account_id, result, at),
            billing_internal.notify_paid(account_id, result, at);
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.record_payment(bigint, numeric, text, text, bigint, text, text, bigint[], text[], timestamptz, bigint, timestamptz, jsonb, text) IS
    'body of billing.record_payment';

-- Locks the accounts of a bulk call in the order that excludes deadlocks.
CREATE FUNCTION billing_internal.lock_accounts(account_ids bigint[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account bigint;
BEGIN
    FOR account IN SELECT DISTINCT a FROM unnest(account_ids) a WHERE a IS NOT NULL ORDER BY 1 LOOP
        PERFORM billing_internal.lock_account(account);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.lock_accounts(bigint[]) IS 'locks accounts in ascending order';

CREATE FUNCTION billing_internal.json_array(value jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN jsonb_typeof($1) = 'array' THEN ARRAY(SELECT jsonb_array_elements_text($1)) END
$$;
COMMENT ON FUNCTION billing_internal.json_array(jsonb) IS 'the elements of a JSON array as texts; null where there is none';

CREATE FUNCTION billing.record_payments(payments jsonb) RETURNS SETOF bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.record_payments(jsonb) IS
    'records many payments: an array of objects with the arguments of record_payment as keys; returns their ids in order';
-- By key: a plan that is made while a table is small must not read all of it for each row later on.
CREATE FUNCTION billing_internal.record_payments(payments jsonb) RETURNS SETOF bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    p jsonb;
BEGIN
    IF jsonb_typeof(payments) <> 'array' THEN
        PERFORM billing_internal.fail('invalid_argument', 'payments must be an array');
    END IF;
    PERFORM billing_internal.check_bulk(payments, 'record_payment');
    IF EXISTS (SELECT FROM jsonb_array_elements(payments) x WHERE x->>'account_id' IS NULL OR x->>'amount' IS NULL OR x->>'currency' IS NULL) THEN
        PERFORM billing_internal.fail('null_value_not_allowed', 'every payment must have an account_id, an amount and a currency');
    END IF;
    PERFORM billing_internal.lock_accounts(ARRAY(SELECT (x->>'account_id')::bigint FROM jsonb_array_elements(payments) x));
    FOR p IN SELECT jsonb_array_elements(payments) LOOP
        RETURN NEXT billing_internal.record_payment((p->>'account_id')::bigint, (p->>'amount')::numeric, p->>'currency', p->>'method',
            (p->>'payment_method_id')::bigint, p->>'provider', p->>'reference', billing_internal.json_array(p->'invoice_ids')::bigint[],
            billing_internal.json_array(p->'rules'), (p->>'reversible_until')::timestamptz,
            (p->>'subscription_id')::bigint, (p->>'effective_at')::timestamptz,
            nullif(p->'metadata', 'null'), NULL);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.record_payments(jsonb) IS 'body of billing.record_payments';
