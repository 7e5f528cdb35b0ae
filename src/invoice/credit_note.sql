-- Credit notes that people give: the document.  billing.x is the door (rights, owner), billing_internal.x the body.

-- Lines of the note: whole ones are copies, of parts only the amount stands.
CREATE FUNCTION billing_internal.write_credit_lines(account_id bigint, invoice_id bigint, note bigint, line_nos int[], amounts numeric[], discounts numeric[])
    RETURNS void LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO billing.invoice_line (account_id, invoice_id, line_no, nature, subscription_id, item_id, kind, schedule_version,
        period_no, price, price_version, product, description, quantity, unit_code, unit_amount, base_quantity, brackets, gross_amount,
        discount_amount, increment_amount, amount, document_discount, net_amount, tax_inclusive, tax, tax_category, tax_rate, tax_reason,
        period_start, period_end, corrects_invoice_id, corrects_line_no, plan, scheme)
    SELECT $1, $3, row_number() OVER (ORDER BY l.line_no), CASE l.nature WHEN 'external' THEN 'external' ELSE 'grant' END, l.subscription_id, l.item_id, l.kind,
           l.schedule_version, l.period_no, l.price, l.price_version, l.product, l.description, CASE WHEN w.whole THEN l.quantity END,
           CASE WHEN w.whole THEN l.unit_code END, CASE WHEN w.whole THEN l.unit_amount END, CASE WHEN w.whole THEN l.base_quantity END,
           CASE WHEN w.whole THEN l.brackets END, CASE WHEN w.whole THEN l.gross_amount ELSE n.amount END,
           CASE WHEN w.whole THEN l.discount_amount ELSE 0 END, CASE WHEN w.whole THEN l.increment_amount ELSE 0 END, n.amount, n.discount,
           CASE WHEN l.tax_inclusive THEN coalesce(i.net_amount, 0) ELSE n.amount - n.discount END, l.tax_inclusive, l.tax, l.tax_category, l.tax_rate, l.tax_reason,
           l.period_start, l.period_end, l.invoice_id, l.line_no, l.plan, l.scheme
      FROM unnest($4, $5, $6) n (line_no, amount, discount)
      JOIN billing.invoice_line l ON l.account_id = $1 AND l.invoice_id = $2 AND l.line_no = n.line_no
     CROSS JOIN LATERAL (SELECT n.amount = l.amount AS whole) w
      -- Of inclusive prices the group's net is spread over its lines.
      LEFT JOIN (SELECT u.line_no, u.net_amount
                   FROM (SELECT t.net_of_inclusive, h.currency, array_agg(x.line_no ORDER BY x.line_no) AS line_nos, array_agg(c.amount - c.discount ORDER BY x.line_no) AS bases
                           FROM unnest($4, $5, $6) c (line_no, amount, discount)
                           JOIN billing.invoice_line x ON x.account_id = $1 AND x.invoice_id = $2 AND x.line_no = c.line_no AND x.tax_inclusive
                           JOIN billing.invoice_header h ON h.account_id = $1 AND h.id = $2
                           JOIN billing_internal.credit_taxes($1, $2, $4, ARRAY(SELECT a - d FROM unnest($5, $6) WITH ORDINALITY v (a, d, no) ORDER BY v.no)) t
                             ON t.category = x.tax_category AND t.rate = x.tax_rate
                          GROUP BY t.category, t.rate, 1, 2) s,
                        unnest(s.line_nos, billing_internal.split_amount(s.net_of_inclusive, s.bases, s.currency)) u (line_no, net_amount)) i ON i.line_no = n.line_no
$$;
COMMENT ON FUNCTION billing_internal.write_credit_lines(bigint, bigint, bigint, int[], numeric[], numeric[]) IS 'writes the lines of a credit note that a person gives';

-- What a line charged is granted from now on: a further revision of each of its charges, in proportion to what the line
-- charged of them.  Runs never charge it again (doc/rules.md P4).
CREATE FUNCTION billing_internal.grant_charges(account_id bigint, note bigint, currency text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO billing.charge (account_id, item_id, kind, period_start, ordinal, revision, period_end, subscription_id,
        schedule_version, period_no, amount, granted, quantity, price, price_version, invoice_id, line_no,
        gross_amount, discount_amount, increment_amount, document_discount, scheme)
    SELECT live.account_id, live.item_id, live.kind, live.period_start, live.ordinal, live.revision + row_number() OVER further, live.period_end, live.subscription_id,
           live.schedule_version, live.period_no, live.amount, live.granted + sum(g.part) OVER further, live.quantity, live.price, live.price_version, $2, g.line_no,
           live.gross_amount, live.discount_amount, live.increment_amount, live.document_discount, live.scheme
      FROM (SELECT s.line_no, p.item_id, p.kind, p.period_start, p.ordinal, p.part
              FROM (SELECT n.line_no, n.amount, array_agg(c.item_id ORDER BY c.period_start, c.item_id, c.ordinal) AS items, array_agg(c.kind ORDER BY c.period_start, c.item_id, c.ordinal) AS kinds,
                           array_agg(c.period_start ORDER BY c.period_start, c.item_id, c.ordinal) AS starts, array_agg(c.ordinal ORDER BY c.period_start, c.item_id, c.ordinal) AS ordinals,
                           array_agg(greatest(c.amount - coalesce(b.amount, 0), 0) ORDER BY c.period_start, c.item_id, c.ordinal) AS weights
                      FROM billing.invoice_line n
                      JOIN billing.charge c ON c.account_id = n.account_id AND c.invoice_id = n.corrects_invoice_id AND c.line_no = n.corrects_line_no
                      LEFT JOIN billing.charge b ON b.account_id = c.account_id AND b.item_id = c.item_id AND b.kind = c.kind
                           AND b.period_start = c.period_start AND b.ordinal = c.ordinal AND b.revision = c.revision - 1
                     WHERE n.account_id = $1 AND n.invoice_id = $2 AND n.nature = 'grant'
                     GROUP BY n.line_no, n.amount) s,
                   unnest(s.items, s.kinds, s.starts, s.ordinals, billing_internal.split_amount(s.amount, s.weights, $3)) p (item_id, kind, period_start, ordinal, part)
             WHERE p.part > 0) g
     CROSS JOIN LATERAL (
           SELECT x.* FROM billing.charge x
            WHERE x.account_id = $1 AND x.item_id = g.item_id AND x.kind = g.kind AND x.period_start = g.period_start
              AND x.ordinal = g.ordinal ORDER BY x.revision DESC LIMIT 1) live
    WINDOW further AS (PARTITION BY live.item_id, live.kind, live.period_start, live.ordinal ORDER BY g.line_no)
$$;
COMMENT ON FUNCTION billing_internal.grant_charges(bigint, bigint, text) IS 'notes on the charges that a credit note of a person gives back what they are granted';

-- The share of the document's discounts follows in proportion, as when the engine corrects the line.
CREATE FUNCTION billing_internal.credit_discounts(account_id bigint, invoice_id bigint, line_nos int[], amounts numeric[]) RETURNS numeric[]
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT array_agg(CASE WHEN n.amount = c.amount_left THEN c.discount_left
                          ELSE billing.round_amount((c.discount_left + c.granted_discount) * (c.granted + n.amount) / (c.amount_left + c.granted), h.currency) - c.granted_discount END ORDER BY n.no)
      FROM unnest($3, $4) WITH ORDINALITY n (line_no, amount, no)
      JOIN billing_internal.creditable_lines($1, $2) c ON c.line_no = n.line_no
      JOIN billing.invoice_header h ON h.account_id = $1 AND h.id = $2
$$;
COMMENT ON FUNCTION billing_internal.credit_discounts(bigint, bigint, int[], numeric[]) IS 'shares of document discounts of parts of lines';

-- Writes the note, with amount as its total where that is given; what rounding misses is its rounding amount.
CREATE FUNCTION billing_internal.write_credit_note(account_id bigint, invoice_id bigint, line_nos int[], amounts numeric[], amount numeric,
    reason text, metadata jsonb) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    h billing.invoice_header;
    note CONSTANT bigint := billing_internal.next_id(account_id);
    discounts CONSTANT numeric[] := billing_internal.credit_discounts(account_id, invoice_id, line_nos, amounts);
    bases CONSTANT numeric[] := ARRAY(SELECT a - d FROM unnest(amounts, discounts) WITH ORDINALITY u (a, d, no) ORDER BY u.no);
    total CONSTANT numeric := billing_internal.creditable_total(account_id, invoice_id);
    rest_follows CONSTANT boolean := NOT EXISTS (SELECT FROM billing_internal.creditable_lines(account_id, invoice_id) c
                                                   LEFT JOIN unnest(line_nos, bases) n (line_no, base) ON n.line_no = c.line_no
                                                  WHERE c.base_left <> coalesce(n.base, 0));
    t record;
BEGIN
    SELECT * INTO h FROM billing.invoice_header x WHERE x.account_id = write_credit_note.account_id AND x.id = write_credit_note.invoice_id;
    SELECT sum(x.net) AS net, sum(x.tax) AS tax, sum(x.rounding) AS rounding INTO t
      FROM billing_internal.credit_taxes(h.account_id, h.id, line_nos, bases) x;
    amount := coalesce(amount, CASE WHEN rest_follows THEN total ELSE t.net + t.tax + t.rounding END);
    IF amount > total OR amount = 0 OR amount IS NULL THEN
        PERFORM billing_internal.fail('amount_exceeded', format('%s %s is more than what can still be credited of %s %s', coalesce(amount, 0), h.currency, h.kind, h.id),
                                      format('%s can be credited.', total));
    ELSIF rest_follows AND amount < total THEN
        PERFORM billing_internal.fail('invalid_amount', format('what is left of %s %s cannot be divided so', h.kind, h.id), format('%s %s is left.', total, h.currency));
    END IF;
    INSERT INTO billing.invoice_header (account_id, id, kind, status, entity, series, currency, tax_scope, billing_group, billed_at,
        period_start, period_end, net_total, tax_total, total, rounding_amount, payment_terms_days,
        credits_invoice_id, reason, purchase_order, buyer_reference, seller, buyer, metadata)
    SELECT h.account_id, note, 'credit_note', 'open', h.entity, coalesce(a.credit_note_series, e.credit_note_series), h.currency,
        h.tax_scope, h.billing_group, h.billed_at, p.period_start, p.period_end, t.net, t.tax, t.net + t.tax,
        billing.round_amount(write_credit_note.amount - t.net - t.tax, h.currency), h.payment_terms_days, h.id, coalesce(write_credit_note.reason, 'credited'),
        h.purchase_order, h.buyer_reference, h.seller, h.buyer, h.metadata || billing_internal.check_metadata(write_credit_note.metadata)
      FROM billing.account a JOIN billing.entity e ON e.code = a.entity,
           (SELECT min(l.period_start) AS period_start, max(l.period_end) AS period_end FROM billing.invoice_line l
             WHERE l.account_id = h.account_id AND l.invoice_id = h.id AND l.line_no = ANY (line_nos)) p
     WHERE a.account_id = h.account_id;
    INSERT INTO billing.invoice_tax (account_id, invoice_id, category, rate, taxable_amount, tax_amount, reason)
    SELECT h.account_id, note, x.category, x.rate, x.net, x.tax, x.reason FROM billing_internal.credit_taxes(h.account_id, h.id, line_nos, bases) x;
    PERFORM billing_internal.write_credit_lines(h.account_id, h.id, note, line_nos, amounts, discounts),
            billing_internal.grant_charges(h.account_id, note, h.currency);
    RETURN note;
END $$;
COMMENT ON FUNCTION billing_internal.write_credit_note(bigint, bigint, int[], numeric[], numeric, text, jsonb) IS
    'writes a credit note that a person gives; the caller sets it off and seals it';

CREATE FUNCTION billing.credit_invoice(invoice_id bigint, lines jsonb DEFAULT NULL, amount numeric DEFAULT NULL, effective_at timestamptz DEFAULT NULL,
    reason text DEFAULT NULL, metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.credit_invoice(bigint, jsonb, numeric, timestamptz, text, jsonb, text) IS
    'gives an invoice back by a credit note: an amount with tax, lines [{"line_no", "amount" as on the line}, ...], or by default all that is left; it is set off against what is open of the invoice, the rest is customer credit; runs never bill it again; returns the credit note''s id';
CREATE FUNCTION billing_internal.credit_invoice(invoice_id bigint, lines jsonb, amount numeric, effective_at timestamptz, reason text, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz := coalesce(effective_at, now());
    h billing.invoice_header;
    line_nos int[];
    amounts numeric[];
    note bigint;
    due numeric;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.lock_invoice(invoice_id);
    -- What corrects a document is not older than it, though it has a series of its own.
    at := greatest(at, billing_internal.issued_at(invoice_id >> 24, invoice_id));
    SELECT * INTO h FROM billing.invoice_header x WHERE x.account_id = credit_invoice.invoice_id >> 24 AND x.id = credit_invoice.invoice_id;
    IF h.kind = 'credit_note' OR h.status NOT IN ('open', 'paid', 'uncollectible') THEN
        PERFORM billing_internal.fail('wrong_document_state', format('%s %s is %s and cannot be credited', replace(h.kind, '_', ' '), h.id, h.status),
                                      NULL, CASE WHEN h.status = 'draft' THEN 'A draft is made anew by every run; correct what it bills.' END);
    ELSIF lines IS NOT NULL AND amount IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_argument', 'lines and amount are both given', NULL, 'Credit by line or by amount.');
    END IF;
    PERFORM billing_internal.drop_drafts(h.account_id);
    IF lines IS NOT NULL THEN
        SELECT array_agg(c.line_no), array_agg(c.amount_credited) INTO line_nos, amounts FROM billing_internal.credit_by_line(h.account_id, h.id, lines, h.currency) c;
    ELSE
        amount := billing_internal.check_left(amount, billing_internal.creditable_total(h.account_id, h.id), h.currency, format('of %s %s', h.kind, h.id));
        SELECT array_agg(c.line_no), array_agg(c.amount_credited) INTO line_nos, amounts FROM billing_internal.credit_by_amount(h.account_id, h.id, amount, h.currency) c;
    END IF;
    note := billing_internal.write_credit_note(h.account_id, h.id, line_nos, amounts, amount, reason, metadata);
    SELECT least(n.total + n.rounding_amount, h.total + h.rounding_amount - h.amount_paid - h.amount_credited) INTO due
      FROM billing.invoice_header n WHERE n.account_id = h.account_id AND n.id = note;
    IF due > 0 THEN
        PERFORM billing_internal.set_off_credit(h.account_id, note, h.id, due, at, 'credited');
    END IF;
    PERFORM billing_internal.mark_credit(h.account_id);
    PERFORM billing_internal.seal_document(h.account_id, note, at), billing_internal.emit_issued(h.account_id, note, at);
    RETURN note;
END $$;
COMMENT ON FUNCTION billing_internal.credit_invoice(bigint, jsonb, numeric, timestamptz, text, jsonb, text) IS 'body of billing.credit_invoice';
