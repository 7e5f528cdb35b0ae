-- For people and reporting tools: documents as JSON, and the proof that the books are right.

CREATE FUNCTION billing.invoice_document(invoice_id bigint) RETURNS jsonb
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.invoice_document(bigint) IS
    'a whole document as JSON: parties, lines with brackets, taxes, totals; amounts are strings';
CREATE FUNCTION billing_internal.invoice_document(invoice_id bigint) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := invoice_id >> 24;
    document jsonb;
BEGIN
    SELECT jsonb_strip_nulls(jsonb_build_object('id', i.id, 'number', i.number, 'kind', i.kind, 'status', i.status,
        'issued_on', i.issued_on, 'due_on', i.due_on, 'currency', i.currency, 'account_id', i.account_id,
        'period_start', i.period_start, 'period_end', i.period_end, 'credits_invoice_id', i.credits_invoice_id, 'claims_invoice_id', i.claims_invoice_id, 'reason', i.reason,
        'purchase_order', i.purchase_order, 'buyer_reference', i.buyer_reference, 'seller', h.seller, 'buyer', h.buyer,
        'net_total', i.net_total::text, 'tax_total', i.tax_total::text, 'total', i.total::text,
        'rounding_amount', i.rounding_amount::text, 'amount_paid', i.amount_paid::text,
        'amount_credited', i.amount_credited::text, 'amount_due', i.amount_due::text, 'metadata', i.metadata)) INTO document
      FROM billing.invoice i JOIN billing.invoice_header h ON h.account_id = i.account_id AND h.id = i.id
     WHERE i.account_id = account AND i.id = invoice_document.invoice_id;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_invoice', format('document %s does not exist', invoice_id));
    END IF;
    RETURN document || jsonb_build_object(
        'lines', (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('line_no', l.line_no, 'nature', l.nature,
                'description', l.description, 'product', l.product, 'price', l.price, 'plan', l.plan, 'scheme', l.scheme, 'subscription_id', l.subscription_id,
                'item_id', l.item_id, 'quantity', l.quantity::text, 'unit_code', l.unit_code, 'unit_amount', l.unit_amount::text,
                'base_quantity', l.base_quantity::text, 'brackets', l.brackets, 'gross_amount', l.gross_amount::text,
                'discount_amount', l.discount_amount::text, 'increment_amount', l.increment_amount::text, 'amount', l.amount::text,
                'document_discount', nullif(l.document_discount, 0)::text,
                'net_amount', l.net_amount::text, 'tax_inclusive', l.tax_inclusive, 'tax_category', l.tax_category,
                'tax_rate', l.tax_rate::text, 'tax_reason', l.tax_reason, 'period_start', l.period_start, 'period_end', l.period_end,
                'corrects_invoice_id', l.corrects_invoice_id, 'corrects_line_no', l.corrects_line_no)) ORDER BY l.line_no), '[]')
            FROM billing.invoice_line l WHERE l.account_id = account AND l.invoice_id = invoice_document.invoice_id),
        'taxes', (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('category', t.category, 'rate', t.rate::text,
                'taxable_amount', t.taxable_amount::text, 'tax_amount', t.tax_amount::text, 'reason', t.reason))
                ORDER BY t.category, t.rate), '[]')
            FROM billing.invoice_tax t WHERE t.account_id = account AND t.invoice_id = invoice_document.invoice_id));
END $$;
COMMENT ON FUNCTION billing_internal.invoice_document(bigint) IS 'body of billing.invoice_document';

CREATE FUNCTION billing.check(deep boolean DEFAULT false, OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_check';
COMMENT ON FUNCTION billing.check(boolean) IS
    'looks for rows that contradict each other; no row: the books are sound; deep also computes every charge again';
CREATE FUNCTION billing_internal.check(deep boolean, OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY SELECT * FROM billing_internal.check_documents();
    RETURN QUERY SELECT * FROM billing_internal.check_parts();
    RETURN QUERY SELECT * FROM billing_internal.check_charges();
    RETURN QUERY SELECT * FROM billing_internal.check_discounts();
    RETURN QUERY SELECT * FROM billing_internal.check_settlement();
    RETURN QUERY SELECT * FROM billing_internal.check_payments();
    RETURN QUERY SELECT * FROM billing_internal.check_references();
    RETURN QUERY SELECT * FROM billing_internal.check_dunning();
    RETURN QUERY SELECT * FROM billing_internal.check_collections();
    RETURN QUERY SELECT * FROM billing_internal.check_journal();
    RETURN QUERY SELECT * FROM billing_internal.check_notifications();
    RETURN QUERY SELECT * FROM billing_internal.check_timeline();
    RETURN QUERY SELECT * FROM billing_internal.check_events();
    RETURN QUERY SELECT 'broken chain', 'seal', v.invoice_id >> 24, v.invoice_id, format('series %s, position %s: %s', v.series_code, v.position, v.problem)
                   FROM billing_internal.verify_chain() v;
    IF deep THEN
        RETURN QUERY SELECT 'wrong charge', 'charge', r.account_id, r.item_id,
                            format('from %s: %s is charged, should be %s', r.period_start, r.charged, r.desired)
                       FROM billing_internal.recompute() r;
        RETURN QUERY SELECT 'due too late', 'account_state', s.account_id, NULL::bigint, format('next_due is %s, should be %s', s.next_due, d.next_due)
                       FROM billing_internal.next_dues() d JOIN billing.account_state s ON s.account_id = d.account_id
                      WHERE coalesce(s.next_due, 'infinity') > d.next_due;
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check(boolean) IS 'body of billing.check';

-- Totals of headers, lines and taxes agree.
CREATE FUNCTION billing_internal.check_documents(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH line AS (SELECT l.account_id, l.invoice_id, sum(l.net_amount) AS net FROM billing.invoice_line l GROUP BY 1, 2),
         tax AS (SELECT t.account_id, t.invoice_id, sum(t.taxable_amount) AS net, sum(t.tax_amount) AS tax FROM billing.invoice_tax t GROUP BY 1, 2)
    SELECT 'wrong total', 'invoice_header', h.account_id, h.id,
           format('net %s, tax %s; lines sum to %s, taxes to %s on %s', h.net_total, h.tax_total, line.net, tax.tax, tax.net)
      FROM billing.invoice_header h
      LEFT JOIN line ON line.account_id = h.account_id AND line.invoice_id = h.id
      LEFT JOIN tax ON tax.account_id = h.account_id AND tax.invoice_id = h.id
     WHERE (h.net_total, h.net_total, h.tax_total) IS DISTINCT FROM (line.net, tax.net, tax.tax)
    UNION ALL
    SELECT 'wrong tax', 'invoice_tax', t.account_id, t.invoice_id,
           format('%s %s %%: %s on %s', t.category, t.rate, t.tax_amount, t.taxable_amount)
      FROM billing.invoice_tax t JOIN billing.invoice_header h ON h.account_id = t.account_id AND h.id = t.invoice_id
     WHERE h.kind = 'invoice' AND h.external_number IS NULL AND t.tax_amount <> round(t.taxable_amount * t.rate / 100,
               (SELECT c.minor_units FROM billing.currency c WHERE c.code = h.currency))
    UNION ALL
    SELECT 'tax without lines', 'invoice_tax', t.account_id, t.invoice_id, format('%s %s %%: %s; lines have %s', t.category, t.rate, t.taxable_amount, s.net)
      FROM billing.invoice_tax t LEFT JOIN LATERAL (
           SELECT sum(l.net_amount) AS net FROM billing.invoice_line l
            WHERE l.account_id = t.account_id AND l.invoice_id = t.invoice_id AND l.tax_category = t.category AND l.tax_rate = t.rate) s ON true
     WHERE s.net IS DISTINCT FROM t.taxable_amount
$$;
COMMENT ON FUNCTION billing_internal.check_documents() IS 'part of check(): totals';

-- A number made by another format than the present one says nothing about the counter.
CREATE FUNCTION billing_internal.number_fits(number text, format text, counter bigint) RETURNS boolean
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((regexp_match($1, '^' || regexp_replace(replace(replace(regexp_replace($2, '([][(){}.*+?^$|\\])', '\\\1', 'g'),
        '\{year\}', '[0-9]{4}'), '\{yy\}', '[0-9]{2}'), '\\\{number(:[0-9]+)?\\\}', '([0-9]+)', 'g') || '$'))[1]::numeric = $3, true)
$$;
COMMENT ON FUNCTION billing_internal.number_fits(text, text, bigint) IS 'is a number what a series'' format makes of its counter?';

-- Every part has its document, every finished document its seal.
CREATE FUNCTION billing_internal.check_parts(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT DISTINCT 'part without document', p.relation, p.account_id, p.invoice_id, format('invoice_header has no row %s', p.invoice_id)
      FROM (SELECT 'invoice_line' AS relation, l.account_id, l.invoice_id FROM billing.invoice_line l
            UNION ALL SELECT 'invoice_tax', t.account_id, t.invoice_id FROM billing.invoice_tax t
            UNION ALL SELECT 'charge', c.account_id, c.invoice_id FROM billing.charge c
            UNION ALL SELECT 'discount_use', u.account_id, u.invoice_id FROM billing.discount_use u
            UNION ALL SELECT 'seal', s.account_id, s.invoice_id FROM billing.seal s) p
     WHERE NOT EXISTS (SELECT FROM billing.invoice_header h WHERE h.account_id = p.account_id AND h.id = p.invoice_id)
    UNION ALL
    SELECT CASE WHEN s.invoice_id IS NULL THEN 'finished document without seal' WHEN h.status = 'draft' THEN 'sealed draft' ELSE 'sealed, but made outside' END, 'invoice_header',
           h.account_id, h.id, format('status %s', h.status)
      FROM billing.invoice_header h LEFT JOIN billing.seal s ON s.account_id = h.account_id AND s.invoice_id = h.id
     WHERE (h.status = 'draft' OR h.external_number IS NOT NULL) = (s.invoice_id IS NOT NULL)
    UNION ALL
    SELECT 'document without account', 'invoice_header', h.account_id, h.id, NULL
      FROM billing.invoice_header h WHERE NOT EXISTS (SELECT FROM billing.account a WHERE a.account_id = h.account_id)
    UNION ALL
    SELECT 'number given twice', 'series', NULL, NULL, format('series %s, number %s', s.series, s.number)
      FROM billing.seal s GROUP BY s.series, s.number HAVING count(*) > 1
    UNION ALL
    SELECT DISTINCT 'seal without series', 'seal', NULL::bigint, NULL::bigint, format('series %s', s.series)
      FROM billing.seal s WHERE NOT EXISTS (SELECT FROM billing.series x WHERE x.code = s.series)
    UNION ALL
    SELECT 'wrong counter', 'series', NULL, NULL, format('series %s: %s of %s, last on %s; last number %s of %s', s.code, s.counter, s.counter_year, s.last_issued_on,
           l.number, l.issued_on)
      FROM billing.series s JOIN billing.seal l ON l.series = s.code AND l.position = s.position
     WHERE (s.last_issued_on, s.counter_year) IS DISTINCT FROM (l.issued_on, extract(year FROM l.issued_on)::int)
        OR NOT billing_internal.number_fits(l.number, s.format, s.counter)
$$;
COMMENT ON FUNCTION billing_internal.check_parts() IS 'part of check(): documents and their parts';

-- Revisions, their lines and their ranges.
CREATE FUNCTION billing_internal.check_charges(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH revision AS (
        SELECT c.*, lag(c.revision) OVER k AS before, coalesce(lag(c.amount) OVER k, 0) AS amount_before,
               coalesce(lag(c.granted) OVER k, 0) AS granted_before, lead(c.revision) OVER k AS after,
               coalesce(c.discount_amount, 0) - coalesce(lag(c.discount_amount) OVER k, 0) AS discount_moved,
               coalesce(c.increment_amount, 0) - coalesce(lag(c.increment_amount) OVER k, 0) AS increment_moved,
               coalesce(c.document_discount, 0) - coalesce(lag(c.document_discount) OVER k, 0) AS share_moved
          FROM billing.charge c
        WINDOW k AS (PARTITION BY c.account_id, c.item_id, c.kind, c.period_start, c.ordinal ORDER BY c.revision)),
    live AS (
        SELECT r.*, lead(r.period_start) OVER (PARTITION BY r.account_id, r.item_id, r.kind, r.ordinal ORDER BY r.period_start) AS next_start
          FROM revision r WHERE r.after IS NULL AND r.period_end > r.period_start
           -- What was granted for ever may lie where something else is charged.
           AND NOT (r.granted > 0 AND r.amount <= r.granted))
    SELECT 'wrong parts', 'charge', r.account_id, r.item_id, format('from %s: %s - %s + %s is not %s', r.period_start, r.gross_amount,
           r.discount_amount, r.increment_amount, r.amount)
      FROM revision r
     WHERE coalesce(r.gross_amount, r.amount) - coalesce(r.discount_amount, 0) + coalesce(r.increment_amount, 0) <> r.amount
    UNION ALL
    SELECT 'missing revision', 'charge', r.account_id, r.item_id, format('from %s: revision %s follows %s', r.period_start, r.revision, r.before)
      FROM revision r WHERE r.revision <> coalesce(r.before + 1, 0)
    UNION ALL
    SELECT 'overlapping charges', 'charge', l.account_id, l.item_id, format('%s to %s, next from %s', l.period_start, l.period_end, l.next_start)
      FROM live l WHERE l.next_start < l.period_end
    UNION ALL
    SELECT 'charge without line', 'charge', r.account_id, r.item_id, format('document %s, line %s: charges move by %s, the line says %s',
           r.invoice_id, r.line_no, r.moved, r.amount)
      FROM (SELECT r.account_id, r.item_id, r.invoice_id, r.line_no, l.nature, l.amount, l.discount_amount, l.increment_amount, l.document_discount,
                   sum(CASE WHEN h.kind = 'credit_note' THEN -r.share_moved ELSE r.share_moved END) AS share_moved,
                   sum(CASE WHEN h.kind = 'credit_note' THEN -r.discount_moved ELSE r.discount_moved END) AS discount_moved,
                   sum(CASE WHEN h.kind = 'credit_note' THEN -r.increment_moved ELSE r.increment_moved END) AS increment_moved,
                   sum(CASE WHEN l.nature = 'grant' THEN r.granted - r.granted_before
                            WHEN h.kind = 'credit_note' THEN r.amount_before - r.amount
                            ELSE r.amount - r.amount_before END) AS moved,
                   bool_or(CASE WHEN l.nature = 'grant' THEN r.amount - r.amount_before ELSE r.granted - r.granted_before END <> 0) AS astray
              FROM revision r
              LEFT JOIN billing.invoice_line l ON l.account_id = r.account_id AND l.invoice_id = r.invoice_id AND l.line_no = r.line_no
                   AND coalesce(l.item_id, 0) = r.item_id
              LEFT JOIN billing.invoice_header h ON h.account_id = r.account_id AND h.id = r.invoice_id
             GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9) r
     WHERE r.moved IS DISTINCT FROM r.amount OR r.astray
        OR r.nature <> 'grant' AND (r.discount_moved, r.increment_moved, r.share_moved)
           IS DISTINCT FROM (r.discount_amount, r.increment_amount, r.document_discount)
    UNION ALL
    SELECT 'more given back than charged', 'invoice_line', l.account_id, l.invoice_id, format('line %s: %s of %s', l.line_no, g.amount, l.amount)
      FROM (SELECT c.account_id, c.corrects_invoice_id, c.corrects_line_no, sum(c.amount) AS amount
              FROM billing.invoice_line c JOIN billing.invoice_header h ON h.account_id = c.account_id AND h.id = c.invoice_id
             WHERE h.kind = 'credit_note' AND h.status <> 'draft' AND c.corrects_invoice_id IS NOT NULL GROUP BY 1, 2, 3) g
      JOIN billing.invoice_line l ON l.account_id = g.account_id AND l.invoice_id = g.corrects_invoice_id AND l.line_no = g.corrects_line_no
     WHERE g.amount > greatest(l.amount, 0)
    UNION ALL
    SELECT 'line without charge', 'invoice_line', l.account_id, l.invoice_id, format('line %s', l.line_no)
      FROM billing.invoice_line l
     WHERE l.nature <> 'external' AND NOT EXISTS (
           SELECT FROM billing.charge c WHERE c.account_id = l.account_id AND c.item_id = coalesce(l.item_id, 0) AND c.invoice_id = l.invoice_id AND c.line_no = l.line_no)
$$;
COMMENT ON FUNCTION billing_internal.check_charges() IS 'part of check(): charges and lines';

-- Discounts on documents: granted is used and left, and what is used stands on the lines.  What a person gave
-- back for ever stays used.
CREATE FUNCTION billing_internal.check_discounts(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'wrong discount', 'invoice_header', h.account_id, h.id, format('lines %s, used %s', l.share, u.amount)
      FROM billing.invoice_header h
      JOIN (SELECT l.account_id, l.invoice_id, sum(l.document_discount) AS share
              FROM billing.invoice_line l WHERE l.nature <> 'grant' GROUP BY 1, 2) l ON l.account_id = h.account_id AND l.invoice_id = h.id
      LEFT JOIN (SELECT u.account_id, u.invoice_id, sum(u.amount) AS amount FROM billing.discount_use u GROUP BY 1, 2) u
        ON u.account_id = h.account_id AND u.invoice_id = h.id
     WHERE coalesce(u.amount, 0) <> CASE h.kind WHEN 'credit_note' THEN -l.share ELSE l.share END
    UNION ALL
    SELECT 'discount used up twice', 'discount', u.account_id, u.discount_id, format('%s used of %s', u.amount, d.value)
      FROM (SELECT u.account_id, u.discount_id, sum(u.amount) AS amount FROM billing.discount_use u GROUP BY 1, 2) u
      LEFT JOIN billing.discount d ON d.account_id = u.account_id AND d.id = u.discount_id
     WHERE d.id IS NULL OR u.amount < 0 OR d.type = 'fixed' AND u.amount > d.value
    UNION ALL
    SELECT 'discount brought back twice', 'discount_use', u.account_id, u.origin_invoice_id, format('discount %s: %s', u.discount_id, sum(u.amount))
      FROM billing.discount_use u GROUP BY u.account_id, u.origin_invoice_id, u.discount_id HAVING sum(u.amount) < 0
$$;
COMMENT ON FUNCTION billing_internal.check_discounts() IS 'part of check(): discounts on documents';

-- What is settled, and what the status says.
CREATE FUNCTION billing_internal.check_settlement(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH allocated AS (
        SELECT c.account_id, d.id, sum(c.amount) AS amount FROM billing.credit_allocation c
         CROSS JOIN LATERAL (VALUES (c.credit_note_id), (c.invoice_id)) d (id) GROUP BY 1, 2)
    SELECT 'wrong allocation', 'invoice_header', h.account_id, h.id, format('amount_credited %s, allocations %s', h.amount_credited, a.amount)
      FROM billing.invoice_header h LEFT JOIN allocated a ON a.account_id = h.account_id AND a.id = h.id
     WHERE h.amount_credited <> coalesce(a.amount, 0)
    UNION ALL
    SELECT 'wrong status', 'invoice_header', h.account_id, h.id, format('%s, but %s of %s is settled', h.status, h.amount_paid + h.amount_credited,
           h.total + h.rounding_amount)
      FROM billing.invoice_header h
     WHERE h.status IN ('open', 'paid', 'void')
       AND (h.status = 'open') = (h.amount_paid + h.amount_credited = h.total + h.rounding_amount)
$$;
COMMENT ON FUNCTION billing_internal.check_settlement() IS 'part of check(): settlement';

-- Accounts, their state, subscriptions, usage and directory.
CREATE FUNCTION billing_internal.check_timeline(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'account without state', 'account', a.account_id, NULL::bigint, NULL::text
      FROM billing.account a WHERE NOT EXISTS (SELECT FROM billing.account_state s WHERE s.account_id = a.account_id AND s.entity = a.entity)
    UNION ALL
    SELECT 'state without account', 'account_state', s.account_id, NULL, NULL
      FROM billing.account_state s WHERE NOT EXISTS (SELECT FROM billing.account a WHERE a.account_id = s.account_id)
    UNION ALL
    SELECT 'id counter too low', 'account_state', s.account_id, u.id, format('next_ordinal is %s', s.next_ordinal)
      FROM billing.account_state s JOIN LATERAL (
           SELECT greatest((SELECT max(h.id) FROM billing.invoice_header h WHERE h.account_id = s.account_id),
                           (SELECT max(i.id) FROM billing.subscription_item i WHERE i.account_id = s.account_id)) AS id) u
        ON u.id >= (s.account_id << 24) + s.next_ordinal
    UNION ALL
    SELECT 'subscription without item or schedule', 'subscription', s.account_id, s.id, NULL
      FROM billing.subscription s
     WHERE NOT EXISTS (SELECT FROM billing.subscription_item i WHERE i.account_id = s.account_id AND i.subscription_id = s.id)
        OR NOT EXISTS (SELECT FROM billing.schedule_version v WHERE v.account_id = s.account_id AND v.subscription_id = s.id)
    UNION ALL
    SELECT 'item without terms', 'subscription_item', i.account_id, i.id, NULL
      FROM billing.subscription_item i
     WHERE NOT EXISTS (SELECT FROM billing.item_version v WHERE v.account_id = i.account_id AND v.item_id = i.id)
    UNION ALL
    SELECT 'usage without subscription', 'usage_event', u.account_id, u.subscription_id, format('event %s', u.event_key)
      FROM billing.usage_event u
     WHERE NOT EXISTS (SELECT FROM billing.subscription s WHERE s.account_id = u.account_id AND s.id = u.subscription_id)
    UNION ALL
    SELECT 'price version in use is not marked', 'price_version', NULL, NULL, format('price %s, version %s', p.price, p.version)
      FROM billing.price_version p
     WHERE NOT p.in_use AND EXISTS (SELECT FROM billing.item_version v WHERE v.price = p.price AND v.price_version = p.version)
    UNION ALL
    SELECT 'key without row', 'key', k.account_id, k.id, format('%s %s', k.kind, k.key)
      FROM billing.key k
     WHERE k.kind = 'account' AND NOT EXISTS (SELECT FROM billing.account a WHERE a.account_id = k.id AND a.external_id = k.key)
        OR k.kind = 'subscription' AND NOT EXISTS (
           SELECT FROM billing.subscription s WHERE s.account_id = k.account_id AND s.id = k.id AND s.external_id = k.key)
    UNION ALL
    SELECT 'row without key', x.kind, x.account_id, x.id, format('external id %s', x.external_id)
      FROM (SELECT 'account' AS kind, a.account_id, a.account_id AS id, a.external_id FROM billing.account a
            UNION ALL SELECT 'subscription', s.account_id, s.id, s.external_id FROM billing.subscription s) x
     WHERE x.external_id IS NOT NULL AND NOT EXISTS (
           SELECT FROM billing.key k WHERE k.kind = x.kind AND k.key = x.external_id AND k.account_id = x.account_id AND k.id = x.id)
$$;
COMMENT ON FUNCTION billing_internal.check_timeline() IS 'part of check(): accounts, subscriptions, usage, directory';
