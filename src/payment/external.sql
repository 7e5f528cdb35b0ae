-- Invoices that were made outside: they enter the same receivables.  billing.x is the door (rights, owner),
-- billing_internal.x the body.

-- Where nothing is said of tax: the rate that the total shows, or outside the scope of tax.
CREATE FUNCTION billing_internal.external_lines(lines jsonb, number text, net numeric, tax_total numeric, currency text)
    RETURNS TABLE (line_no int, description text, amount numeric, quantity numeric, unit_code text, product text, tax_category text, tax_rate numeric)
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT l.no::int, l.line->>'description', (l.line->>'amount')::numeric, (l.line->>'quantity')::numeric, l.line->>'unit_code', l.line->>'product',
           c.category, coalesce((l.line->>'tax_rate')::numeric, CASE WHEN c.category IN ('S', 'L', 'M') AND $3 > 0 THEN round(100 * $4 / $3, 2) ELSE 0 END)
      FROM jsonb_array_elements(coalesce($1, jsonb_build_array(jsonb_build_object('description', $2, 'amount', $3)))) WITH ORDINALITY l (line, no),
           coalesce(l.line->>'tax_category', CASE WHEN $4 > 0 THEN 'S' ELSE 'O' END) c (category);
END $$;
COMMENT ON FUNCTION billing_internal.external_lines(jsonb, text, numeric, numeric, text) IS 'lines of an invoice made outside; without any: one of the net total';

CREATE FUNCTION billing_internal.check_external_lines(lines jsonb, net numeric, currency text) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known CONSTANT jsonb := '{"description":"string","amount":"number","quantity":"number","unit_code":"string","product":"string","tax_category":"string","tax_rate":"number"}';
    line jsonb;
    stray text;
    total numeric := 0;
BEGIN
    IF lines IS NULL THEN RETURN; END IF;
    IF jsonb_typeof(lines) <> 'array' OR lines = '[]' THEN
        PERFORM billing_internal.fail('invalid_argument', 'lines must be an array with elements');
    END IF;
    FOR line IN SELECT jsonb_array_elements(lines) LOOP
        IF jsonb_typeof(line) <> 'object' OR coalesce(line->>'description', '') = '' OR line->>'amount' IS NULL THEN
            PERFORM billing_internal.fail('invalid_argument', 'every line must be an object with a description and an amount');
        END IF;
        SELECT e.key INTO stray FROM jsonb_each(line) e WHERE jsonb_typeof(e.value) NOT IN ('string', coalesce(known->>e.key, '')) OR known->e.key IS NULL LIMIT 1;
        IF FOUND THEN
            PERFORM billing_internal.fail('invalid_argument', format('malformed or unknown key "%s" of a line', stray));
        ELSIF (line->>'amount')::numeric <> billing.round_amount((line->>'amount')::numeric, currency) THEN
            PERFORM billing_internal.fail('invalid_amount', format('amount of a line is %s', line->>'amount'), format('It is in whole minor units of %s.', currency));
        ELSIF coalesce((line->>'tax_rate')::numeric, 0) NOT BETWEEN 0 AND 1000 OR (line->>'quantity')::numeric IN ('NaN', 'Infinity', '-Infinity') THEN
            PERFORM billing_internal.fail('invalid_argument', 'quantity or tax_rate of a line is out of range');
        END IF;
        PERFORM billing_internal.check_one_of(line->>'tax_category', 'tax category', 'S', 'Z', 'E', 'AE', 'K', 'G', 'O', 'L', 'M');
        total := total + (line->>'amount')::numeric;
    END LOOP;
    IF total <> net THEN
        PERFORM billing_internal.fail('invalid_amount', format('the lines sum to %s', total), format('total less tax_total is %s.', net));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_external_lines(jsonb, numeric, text) IS 'refuses malformed lines, and those that do not sum to the net total';

-- The tax is what the document says; it is spread over its categories and rates in proportion to what each would make.
CREATE FUNCTION billing_internal.write_external_parts(account_id bigint, invoice_id bigint, subscription_id bigint, lines jsonb, number text,
    net numeric, tax_total numeric, currency text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO billing.invoice_line (account_id, invoice_id, line_no, nature, subscription_id, product, description, quantity, unit_code,
                                      gross_amount, amount, net_amount, tax_category, tax_rate)
    SELECT write_external_parts.account_id, write_external_parts.invoice_id, l.line_no, 'external', write_external_parts.subscription_id, l.product, l.description,
           l.quantity, l.unit_code, r.amount, r.amount, r.amount, l.tax_category, l.tax_rate
      FROM billing_internal.external_lines(lines, number, net, tax_total, currency) l, billing.round_amount(l.amount, currency) r (amount);
    INSERT INTO billing.invoice_tax (account_id, invoice_id, category, rate, taxable_amount, tax_amount)
    SELECT write_external_parts.account_id, write_external_parts.invoice_id, s.category, s.rate, s.taxable_amount, s.tax_amount
      FROM (SELECT array_agg(t.category ORDER BY t.weight DESC, t.category, t.rate) AS categories, array_agg(t.rate ORDER BY t.weight DESC, t.category, t.rate) AS rates,
                   array_agg(t.net ORDER BY t.weight DESC, t.category, t.rate) AS nets, array_agg(t.weight ORDER BY t.weight DESC, t.category, t.rate) AS weights
              FROM (SELECT l.tax_category AS category, l.tax_rate AS rate, sum(l.net_amount) AS net,
                           greatest(billing.round_amount(sum(l.net_amount) * l.tax_rate / 100, write_external_parts.currency), 0) AS weight
                      FROM billing.invoice_line l WHERE l.account_id = write_external_parts.account_id AND l.invoice_id = write_external_parts.invoice_id
                     GROUP BY 1, 2) t) a,
           unnest(a.categories, a.rates, a.nets, billing_internal.split_amount(write_external_parts.tax_total, a.weights, write_external_parts.currency))
               s (category, rate, taxable_amount, tax_amount);
END $$;
COMMENT ON FUNCTION billing_internal.write_external_parts(bigint, bigint, bigint, jsonb, text, numeric, numeric, text) IS
    'writes lines and taxes of an invoice made outside';

CREATE FUNCTION billing_internal.claim_external_number(entity text, number text, account_id bigint, id bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO billing.key (kind, key, account_id, id) VALUES ('external_invoice', jsonb_build_array(entity, number)::text, account_id, id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unique_violation', format('entity "%s" already has an invoice made outside with the number "%s"', entity, number));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.claim_external_number(text, text, bigint, bigint) IS 'enters the number of an invoice made outside into the directory';

CREATE FUNCTION billing.record_external_invoice(account_id bigint, number text, issued_on date, total numeric, currency text,
    due_on date DEFAULT NULL, tax_total numeric DEFAULT 0, lines jsonb DEFAULT NULL, subscription_id bigint DEFAULT NULL,
    metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.record_external_invoice(bigint, text, date, numeric, text, date, numeric, jsonb, bigint, jsonb, text) IS
    'enters an invoice that was made outside, so that it is paid, reminded of and reported like others; lines: [{"description", "amount" without tax, "quantity", "unit_code", "product", "tax_category", "tax_rate"}, ...]; it gets no number or seal here; returns its id';
CREATE FUNCTION billing_internal.record_external_invoice(account_id bigint, number text, issued_on date, total numeric, currency text,
    due_on date, tax_total numeric, lines jsonb, subscription_id bigint, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a record;
    at timestamptz;
    result bigint;
BEGIN
    PERFORM billing_internal.lock_account(account_id), billing_internal.check_not_empty(number, 'number');
    SELECT x.currency, x.payment_terms_days, x.metadata, x.buyer_reference, e.code AS entity, e.time_zone, p.seller, p.buyer
      INTO a FROM billing.account x JOIN billing.entity e ON e.code = x.entity, billing_internal.parties(x.account_id) p
     WHERE x.account_id = record_external_invoice.account_id;
    at := issued_on::timestamp AT TIME ZONE a.time_zone;
    PERFORM billing_internal.check_billable(at);
    total := billing_internal.check_amount(total, currency, 'total');
    tax_total := coalesce(billing_internal.check_amount(nullif(tax_total, 0), currency, 'tax_total'), billing.round_amount(0, currency));
    due_on := coalesce(due_on, issued_on + a.payment_terms_days);
    IF currency <> a.currency THEN
        PERFORM billing_internal.fail('currency_mismatch', format('account %s has the currency %s, not %s', account_id, a.currency, currency));
    ELSIF tax_total > total THEN
        PERFORM billing_internal.fail('invalid_amount', format('tax_total is %s', tax_total), format('It is part of the total, %s.', total));
    ELSIF due_on NOT BETWEEN issued_on AND issued_on + 3650 THEN
        PERFORM billing_internal.fail('invalid_argument', format('due_on is %s', due_on), format('It lies between issued_on, %s, and ten years later.', issued_on));
    ELSIF subscription_id IS NOT NULL AND NOT EXISTS (
        SELECT FROM billing.subscription s WHERE s.account_id = record_external_invoice.account_id AND s.id = record_external_invoice.subscription_id) THEN
        PERFORM billing_internal.fail('unknown_subscription', format('account %s has no subscription %s', account_id, subscription_id));
    END IF;
    PERFORM billing_internal.check_external_lines(lines, total - tax_total, currency);
    result := billing_internal.next_id(account_id);
    PERFORM billing_internal.claim_external_number(a.entity, number, account_id, result);
    INSERT INTO billing.invoice_header (account_id, id, kind, status, entity, series, currency, tax_scope, billed_at, net_total, tax_total, total,
        payment_terms_days, buyer_reference, seller, buyer, metadata, external_number, external_issued_on)
    VALUES (account_id, result, 'invoice', 'open', a.entity, '', currency, CASE WHEN tax_total > 0 THEN 'taxed' ELSE 'outside' END, at, total - tax_total, tax_total, total,
        due_on - issued_on, a.buyer_reference, a.seller, a.buyer, a.metadata || billing_internal.check_metadata(metadata), number, issued_on);
    PERFORM billing_internal.write_external_parts(account_id, result, subscription_id, lines, number, total - tax_total, tax_total, currency);
    PERFORM billing_internal.emit(account_id, 'invoice.finalized', at, subscription_id => subscription_id, invoice_id => result,
        payload => jsonb_build_object('number', number, 'currency', currency, 'total', total::text, 'due_on', due_on, 'external', true));
    IF (SELECT s.has_credit FROM billing.account_state s WHERE s.account_id = record_external_invoice.account_id) THEN
        PERFORM billing_internal.use_credit(account_id, at);
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.record_external_invoice(bigint, text, date, numeric, text, date, numeric, jsonb, bigint, jsonb, text) IS
    'body of billing.record_external_invoice';

CREATE FUNCTION billing.record_external_invoices(invoices jsonb) RETURNS SETOF bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.record_external_invoices(jsonb) IS
    'enters many invoices that were made outside: an array of objects with the arguments of record_external_invoice as keys; returns their ids in order';
-- By key: a plan that is made while a table is small must not read all of it for each row later on.
CREATE FUNCTION billing_internal.record_external_invoices(invoices jsonb) RETURNS SETOF bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    i jsonb;
BEGIN
    IF jsonb_typeof(invoices) <> 'array' THEN
        PERFORM billing_internal.fail('invalid_argument', 'invoices must be an array');
    END IF;
    PERFORM billing_internal.check_bulk(invoices, 'record_external_invoice');
    IF EXISTS (SELECT FROM jsonb_array_elements(invoices) x, unnest(ARRAY['account_id', 'number', 'issued_on', 'total', 'currency']) k WHERE x->>k IS NULL) THEN
        PERFORM billing_internal.fail('null_value_not_allowed', 'every invoice must have an account_id, a number, issued_on, a total and a currency');
    END IF;
    PERFORM billing_internal.lock_accounts(ARRAY(SELECT (x->>'account_id')::bigint FROM jsonb_array_elements(invoices) x));
    FOR i IN SELECT jsonb_array_elements(invoices) LOOP
        RETURN NEXT billing_internal.record_external_invoice((i->>'account_id')::bigint, i->>'number', (i->>'issued_on')::date, (i->>'total')::numeric,
            i->>'currency', (i->>'due_on')::date, (i->>'tax_total')::numeric, nullif(i->'lines', 'null'), (i->>'subscription_id')::bigint,
            nullif(i->'metadata', 'null'), NULL);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.record_external_invoices(jsonb) IS 'body of billing.record_external_invoices';
