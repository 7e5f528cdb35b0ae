-- Accounts.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing_internal.lock_account(account_id bigint) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'billing_lock_account';
COMMENT ON FUNCTION billing_internal.lock_account(bigint) IS 'locks an account until the transaction ends, in the order that excludes deadlocks';

CREATE FUNCTION billing_internal.make_id(account_id bigint, ordinal bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_make_id';
COMMENT ON FUNCTION billing_internal.make_id(bigint, bigint) IS 'account_id << 24 | ordinal, or id_overflow';

-- Draws ids from the account's counter; the account is locked.
CREATE FUNCTION billing_internal.next_id(account_id bigint, count int DEFAULT 1) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    first bigint;
BEGIN
    SELECT s.next_ordinal INTO STRICT first FROM billing.account_state s WHERE s.account_id = next_id.account_id;
    PERFORM billing_internal.make_id(account_id, first + count - 1);
    UPDATE billing.account_state s SET next_ordinal = first + count WHERE s.account_id = next_id.account_id;
    RETURN billing_internal.make_id(account_id, first);
END $$;
COMMENT ON FUNCTION billing_internal.next_id(bigint, int) IS 'the first of so many new ids of an account';

CREATE FUNCTION billing_internal.claim_key(kind text, key text, account_id bigint, id bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO billing.key (kind, key, account_id, id) VALUES (kind, key, account_id, id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unique_violation', format('external id "%s" is already used by another %s', key, kind));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.claim_key(text, text, bigint, bigint) IS 'enters an external id into the directory';

CREATE FUNCTION billing_internal.find_key(kind text, external_id text) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result bigint;
BEGIN
    SELECT k.id INTO result FROM billing.key k WHERE k.kind = find_key.kind AND k.key = find_key.external_id;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_external_id', format('no %s has the external id "%s"', kind, external_id));
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.find_key(text, text) IS 'id behind an external id';

CREATE FUNCTION billing.account_id(external_id text) RETURNS bigint
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.account_id(text) IS 'id of the account with an external id';
CREATE FUNCTION billing_internal.account_id(external_id text) RETURNS bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT billing_internal.find_key('account', $1) $$;
COMMENT ON FUNCTION billing_internal.account_id(text) IS 'body of billing.account_id';

CREATE FUNCTION billing.create_account(name text, external_id text DEFAULT NULL, entity text DEFAULT NULL, currency text DEFAULT NULL,
    time_zone text DEFAULT NULL, country text DEFAULT NULL, address jsonb DEFAULT NULL, tax_ids jsonb DEFAULT NULL,
    tax_status text DEFAULT 'standard', email text DEFAULT NULL, payment_terms_days int DEFAULT NULL, buyer_reference text DEFAULT NULL,
    invoice_series text DEFAULT NULL, credit_note_series text DEFAULT NULL, invoice_grouping text DEFAULT 'account',
    grace_period interval DEFAULT NULL, metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.create_account(text, text, text, text, text, text, jsonb, jsonb, text, text, int, text, text, text, text, interval, jsonb, text) IS
    'opens an account; entity may be left out where there is only one; currency, zone and terms default to the entity''s; returns its id';
CREATE FUNCTION billing_internal.create_account(name text, external_id text, entity text, currency text,
    time_zone text, country text, address jsonb, tax_ids jsonb,
    tax_status text, email text, payment_terms_days int, buyer_reference text,
    invoice_series text, credit_note_series text, invoice_grouping text, grace_period interval, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seller billing.entity;
    result bigint;
BEGIN
    SELECT * INTO seller FROM billing.entity e WHERE e.code = billing_internal.the_entity(create_account.entity);
    PERFORM billing_internal.check_currency(coalesce(currency, seller.currency)),
            billing_internal.check_time_zone(coalesce(time_zone, seller.time_zone)),
            billing_internal.check_series(seller.code, invoice_series), billing_internal.check_series(seller.code, credit_note_series),
            billing_internal.check_not_empty(name, 'name'), billing_internal.check_not_empty(external_id, 'external_id'),
            billing_internal.check_not_empty(tax_status, 'tax_status'), billing_internal.check_country(country),
            billing_internal.check_between(payment_terms_days, 'payment_terms_days', 0, 3650),
            billing_internal.check_grace_period(grace_period);
    result := nextval('billing.account_id_seq');
    IF result > 536870911 THEN
        PERFORM billing_internal.fail('id_overflow', 'all numbers of accounts are used up');
    END IF;
    INSERT INTO billing.account (account_id, entity, name, external_id, currency, time_zone, tax_status, payment_terms_days,
                                 email, country, address, tax_ids, buyer_reference, invoice_series, credit_note_series,
                                 invoice_grouping, grace_period, metadata)
    VALUES (result, seller.code, name, external_id, coalesce(currency, seller.currency), coalesce(time_zone, seller.time_zone),
            coalesce(tax_status, 'standard'), coalesce(payment_terms_days, seller.payment_terms_days), email, country,
            billing_internal.check_address(address), billing_internal.check_tax_ids(tax_ids), buyer_reference,
            invoice_series, credit_note_series,
            billing_internal.check_one_of(coalesce(invoice_grouping, 'account'), 'invoice grouping', 'account', 'subscription'),
            grace_period, billing_internal.check_metadata(metadata));
    INSERT INTO billing.account_state (account_id, entity) VALUES (result, seller.code);
    IF external_id IS NOT NULL THEN
        PERFORM billing_internal.claim_key('account', external_id, result, result);
    END IF;
    PERFORM billing_internal.emit(result, 'account.created', now(),
                payload => jsonb_strip_nulls(jsonb_build_object('entity', seller.code, 'external_id', external_id)));
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.create_account(text, text, text, text, text, text, jsonb, jsonb, text, text, int, text, text, text, text, interval, jsonb, text) IS
    'body of billing.create_account';

-- Refuses elements of a bulk call that have a key which the single call does not know, or a value
-- of another type: text would take any JSON.  All at once, since the arguments are looked up.
CREATE FUNCTION billing_internal.check_bulk(elements jsonb, call text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stray text;
    expected regtype;
BEGIN
    IF EXISTS (SELECT FROM jsonb_array_elements(elements) x WHERE jsonb_typeof(x) <> 'object') THEN
        PERFORM billing_internal.fail('invalid_argument', 'every element must be an object');
    END IF;
    SELECT e.key, a.type INTO stray, expected
      FROM jsonb_array_elements(elements) WITH ORDINALITY x (element, ordinal), jsonb_each(x.element) e
      LEFT JOIN (SELECT u.name, u.type FROM pg_proc p, unnest(p.proargnames, p.proargtypes::oid[]) u (name, type)
                  WHERE p.pronamespace = 'billing'::regnamespace AND p.proname = call AND u.name <> 'idempotency_key') a ON a.name = e.key
     WHERE a.type IS NULL
        OR jsonb_typeof(e.value) NOT IN ('null', CASE WHEN a.type::regtype::text LIKE '%[]' THEN 'array' ELSE 'string' END,
            CASE WHEN a.type IN ('int'::regtype, 'bigint'::regtype, 'numeric'::regtype) THEN 'number'
            WHEN a.type = 'boolean'::regtype THEN 'boolean' WHEN a.type::regtype::text LIKE '%[]' THEN 'array' ELSE 'string' END)
           AND a.type <> 'jsonb'::regtype
     ORDER BY x.ordinal LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('invalid_argument',
            CASE WHEN expected IS NULL THEN format('unknown key "%s"', stray) ELSE format('value of key "%s" is not of type %s', stray, expected) END,
            format('Elements have the arguments of %s() as keys.', call));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_bulk(jsonb, text) IS 'refuses elements of a bulk call with a key or a type of value that the single call does not know';

CREATE FUNCTION billing.create_accounts(accounts jsonb) RETURNS SETOF bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.create_accounts(jsonb) IS
    'opens many accounts: an array of objects with the arguments of create_account as keys; returns their ids in order';
CREATE FUNCTION billing_internal.create_accounts(accounts jsonb) RETURNS SETOF bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a jsonb;
BEGIN
    IF jsonb_typeof(accounts) <> 'array' THEN
        PERFORM billing_internal.fail('invalid_argument', 'accounts must be an array');
    END IF;
    PERFORM billing_internal.check_bulk(accounts, 'create_account');
    FOR a IN SELECT jsonb_array_elements(accounts) LOOP
        IF a->>'name' IS NULL THEN
            PERFORM billing_internal.fail('null_value_not_allowed', 'every account must have a name');
        END IF;
        RETURN NEXT billing_internal.create_account(a->>'name', a->>'external_id', a->>'entity', a->>'currency', a->>'time_zone',
            a->>'country', nullif(a->'address', 'null'), nullif(a->'tax_ids', 'null'), a->>'tax_status', a->>'email',
            (a->>'payment_terms_days')::int, a->>'buyer_reference', a->>'invoice_series', a->>'credit_note_series',
            a->>'invoice_grouping', (a->>'grace_period')::interval, nullif(a->'metadata', 'null'), NULL);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.create_accounts(jsonb) IS 'body of billing.create_accounts';

CREATE FUNCTION billing_internal.check_language(language text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF language !~ '^[a-z]{2,3}(-[A-Z]{2})?$' THEN
        PERFORM billing_internal.fail('invalid_argument', format('language is "%s"', language), 'Languages are written as in "de" or "de-AT".');
    END IF;
    RETURN language;
END $$;
COMMENT ON FUNCTION billing_internal.check_language(text) IS 'refuses what is no language of messages';

CREATE FUNCTION billing.change_contact(account_id bigint, email text DEFAULT NULL, phone text DEFAULT NULL, language text DEFAULT NULL, address jsonb DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.change_contact(bigint, text, text, text, jsonb) IS
    'changes how messages and later documents reach a customer; what is left out stays, what is empty is removed; returns the account';
CREATE FUNCTION billing_internal.change_contact(account_id bigint, email text, phone text, language text, address jsonb) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.lock_account(account_id), billing_internal.check_language(nullif(language, ''));
    UPDATE billing.account a
       SET email = nullif(coalesce(change_contact.email, a.email), ''), phone = nullif(coalesce(change_contact.phone, a.phone), ''),
           language = nullif(coalesce(change_contact.language, a.language), ''),
           address = CASE WHEN change_contact.address IS NULL THEN a.address ELSE billing_internal.check_address(change_contact.address) END
     WHERE a.account_id = change_contact.account_id;
    RETURN account_id;
END $$;
COMMENT ON FUNCTION billing_internal.change_contact(bigint, text, text, text, jsonb) IS 'body of billing.change_contact';
