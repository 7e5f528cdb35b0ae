-- Claims: interest, fixed sums, fees and costs for an invoice that is paid late, as documents of their own.

-- The entity's series of claims, made when it is first used; the document is sealed in it at once.
CREATE FUNCTION billing_internal.claim_series(entity text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result text := (SELECT e.claim_series FROM billing.entity e WHERE e.code = claim_series.entity);
BEGIN
    IF result IS NULL THEN
        result := entity || '-claim';
        INSERT INTO billing.series (code, entity, format, restart_yearly) VALUES (result, entity, 'CL-{year}-{number:6}', true) ON CONFLICT (code) DO NOTHING;
        PERFORM billing_internal.check_series(entity, result);
        UPDATE billing.entity e SET claim_series = result WHERE e.code = claim_series.entity AND e.claim_series IS NULL;
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.claim_series(text) IS 'series of an entity''s claims';

-- Claims are outside the scope of tax unless the scheme by which they are made names a class with tax.
CREATE FUNCTION billing_internal.claim_tax(account_id bigint, invoice_id bigint, at timestamptz, OUT tax text, OUT category text, OUT rate numeric, OUT reason text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    issued_on date;
    seller text;
    buyer_status text;
BEGIN
    SELECT s.claim_tax INTO tax
      FROM billing.dunning_case c JOIN billing.dunning_scheme s ON s.code = c.scheme AND s.version = c.version
     WHERE c.account_id = claim_tax.account_id AND coalesce(c.invoice_id, claim_tax.invoice_id) = claim_tax.invoice_id
     ORDER BY c.invoice_id NULLS LAST LIMIT 1;
    category := 'O';
    rate := 0;
    IF tax IS NOT NULL THEN
        SELECT e.code, a.tax_status, (claim_tax.at AT TIME ZONE e.time_zone)::date INTO seller, buyer_status, issued_on
          FROM billing.account a JOIN billing.entity e ON e.code = a.entity WHERE a.account_id = claim_tax.account_id;
        SELECT r.category, r.rate, r.reason INTO category, rate, reason FROM billing.tax_rate r
         WHERE r.entity = seller AND r.tax = claim_tax.tax AND r.tax_status = buyer_status AND r.valid_from <= issued_on
         ORDER BY r.valid_from DESC LIMIT 1;
        IF NOT FOUND THEN
            PERFORM billing_internal.fail('no_tax_rate', format('no rate of tax class "%s" for tax status "%s" of entity "%s" on %s', tax, buyer_status, seller, issued_on),
                                          NULL, 'Add it with billing.create_tax_rate().');
        END IF;
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.claim_tax(bigint, bigint, timestamptz) IS 'tax of a claim that is made for an invoice; category O without a class';

-- As load.c makes them for documents of runs.
CREATE FUNCTION billing_internal.parties(account_id bigint, OUT seller jsonb, OUT buyer jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT jsonb_strip_nulls(jsonb_build_object('name', e.name, 'country', e.country, 'address', nullif(e.address, '{}'), 'tax_ids', nullif(e.tax_ids, '[]'))),
           jsonb_strip_nulls(jsonb_build_object('name', a.name, 'country', a.country, 'email', a.email, 'address', nullif(a.address, '{}'), 'tax_ids', nullif(a.tax_ids, '[]')))
      INTO seller, buyer FROM billing.account a JOIN billing.entity e ON e.code = a.entity WHERE a.account_id = parties.account_id;
END $$;
COMMENT ON FUNCTION billing_internal.parties(bigint) IS 'seller and buyer as documents copy them';

-- Lines are [{"kind", "description", "amount" without tax}, ...]; whoever calls holds no series yet.
CREATE FUNCTION billing_internal.write_claim(account_id bigint, invoice_id bigint, lines jsonb, at timestamptz, reason text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    claim CONSTANT bigint := billing_internal.next_id(account_id);
    net CONSTANT numeric := (SELECT sum((l->>'amount')::numeric) FROM jsonb_array_elements(lines) l);
    money CONSTANT text := (SELECT a.currency FROM billing.account a WHERE a.account_id = write_claim.account_id);
    t record;
    tax_total numeric;
BEGIN
    SELECT * INTO t FROM billing_internal.claim_tax(account_id, invoice_id, at);
    PERFORM billing_internal.check_amount((l->>'amount')::numeric, money, 'amount'),
            billing_internal.check_one_of(l->>'kind', 'kind of claim', 'interest', 'fixed_sum', 'fee', 'costs') FROM jsonb_array_elements(lines) l;
    tax_total := billing.round_amount(net * t.rate / 100, money);
    INSERT INTO billing.invoice_header (account_id, id, kind, status, entity, series, currency, tax_scope, billed_at, net_total, tax_total, total,
        rounding_amount, payment_terms_days, claims_invoice_id, reason, buyer_reference, seller, buyer, metadata)
    SELECT a.account_id, claim, 'claim', 'open', e.code, billing_internal.claim_series(e.code), money,
           CASE WHEN t.category = 'O' THEN 'outside' WHEN t.category IN ('S', 'Z', 'L', 'M') THEN 'taxed' ELSE coalesce(t.reason, t.category) END, at,
           billing.round_amount(net, money), tax_total, billing.round_amount(net, money) + tax_total, billing.round_amount(0, money), a.payment_terms_days,
           write_claim.invoice_id, write_claim.reason, a.buyer_reference, p.seller, p.buyer, a.metadata
      FROM billing.account a JOIN billing.entity e ON e.code = a.entity, billing_internal.parties(a.account_id) p
     WHERE a.account_id = write_claim.account_id;
    INSERT INTO billing.invoice_line (account_id, invoice_id, line_no, nature, kind, description, gross_amount, amount, net_amount, tax, tax_category, tax_rate, tax_reason)
    SELECT write_claim.account_id, claim, l.no, 'external', l.line->>'kind', l.line->>'description', x.amount, x.amount, x.amount, t.tax, t.category, t.rate, t.reason
      FROM jsonb_array_elements(lines) WITH ORDINALITY l (line, no), billing.round_amount((l.line->>'amount')::numeric, money) x (amount);
    INSERT INTO billing.invoice_tax (account_id, invoice_id, category, rate, taxable_amount, tax_amount, reason)
    VALUES (account_id, claim, t.category, t.rate, billing.round_amount(net, money), tax_total, t.reason);
    PERFORM billing_internal.seal_document(account_id, claim, at), billing_internal.emit_issued(account_id, claim, at);
    IF (SELECT s.has_credit FROM billing.account_state s WHERE s.account_id = write_claim.account_id) THEN
        PERFORM billing_internal.use_credit(account_id, at);
    END IF;
    RETURN claim;
END $$;
COMMENT ON FUNCTION billing_internal.write_claim(bigint, bigint, jsonb, timestamptz, text) IS
    'writes and seals a claim of the locked account for the delay of an invoice; returns its id';
