-- Documents.

CREATE FUNCTION billing_internal.header_immutable() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_header_immutable';
COMMENT ON FUNCTION billing_internal.header_immutable() IS 'keeps finished documents; only status and settled amounts move';

CREATE FUNCTION billing_internal.part_immutable() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_part_immutable';
COMMENT ON FUNCTION billing_internal.part_immutable() IS 'keeps lines, taxes and charges of finished documents';

CREATE FUNCTION billing_internal.always_immutable() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_always_immutable';
COMMENT ON FUNCTION billing_internal.always_immutable() IS 'refuses every change';

CREATE FUNCTION billing_internal.seal_document(account_id bigint, invoice_id bigint, at timestamptz) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'billing_seal_document';
COMMENT ON FUNCTION billing_internal.seal_document(bigint, bigint, timestamptz) IS 'gives a document that was just written its number and seal';

-- Documents that are made in bulk are announced by announce.c.
CREATE FUNCTION billing_internal.emit_issued(account_id bigint, invoice_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.emit(i.account_id, CASE i.kind WHEN 'credit_note' THEN 'credit_note.issued' WHEN 'claim' THEN 'claim.issued' ELSE 'invoice.finalized' END,
                at, invoice_id => i.id, payload => jsonb_strip_nulls(
                jsonb_build_object('number', i.number, 'currency', i.currency, 'total', i.total::text, 'due_on', i.due_on)))
       FROM billing.invoice i WHERE i.account_id = emit_issued.account_id AND i.id = emit_issued.invoice_id;
    PERFORM billing_internal.notify_issued(ARRAY[invoice_id], at);
END $$;
COMMENT ON FUNCTION billing_internal.emit_issued(bigint, bigint, timestamptz) IS
    'writes the event of a document that was just sealed, and the message to the customer';

CREATE FUNCTION billing.verify_chain(series text DEFAULT NULL, OUT series_code text, OUT "position" bigint, OUT number text,
    OUT invoice_id bigint, OUT problem text)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_verify_chain';
COMMENT ON FUNCTION billing.verify_chain(text) IS
    'recomputes the hashes of a series (default all); returns the first broken position of each and why; no row: sound';
CREATE FUNCTION billing_internal.verify_chain(series text DEFAULT NULL, OUT series_code text, OUT "position" bigint, OUT number text,
    OUT invoice_id bigint, OUT problem text)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_verify_chain_any_version';
COMMENT ON FUNCTION billing_internal.verify_chain(text) IS 'the same for books of any version';

CREATE FUNCTION billing.void_invoice(invoice_id bigint, rebill boolean, effective_at timestamptz DEFAULT NULL,
    reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.void_invoice(bigint, boolean, timestamptz, text, text) IS
    'reverses an invoice by a credit note; rebill true: the next run bills what the timeline then wants; false: never billed again; returns the credit note''s id';
CREATE FUNCTION billing_internal.void_invoice(invoice_id bigint, rebill boolean, effective_at timestamptz, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := invoice_id >> 24;
    at timestamptz := coalesce(effective_at, now());
    h billing.invoice_header;
    note bigint;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.lock_invoice(invoice_id);
    -- What corrects a document is not older than it, though it has a series of its own.
    at := greatest(at, billing_internal.issued_at(account, invoice_id));
    SELECT * INTO h FROM billing.invoice_header x WHERE x.account_id = account AND x.id = void_invoice.invoice_id;
    IF h.status <> 'draft' THEN
        PERFORM billing_internal.drop_drafts(account);
    END IF;
    IF h.external_number IS NOT NULL THEN
        PERFORM billing_internal.fail('wrong_document_state', format('invoice %s was made outside and cannot be voided', invoice_id));
    ELSIF h.kind <> 'invoice' OR h.status NOT IN ('open', 'paid') THEN
        PERFORM billing_internal.fail('wrong_document_state', format('%s %s is %s and cannot be voided', replace(h.kind, '_', ' '), invoice_id, h.status),
            NULL, CASE WHEN h.status = 'draft' THEN 'A draft is made anew by every run; correct what it bills.' END);
    ELSIF h.amount_paid > 0 OR h.amount_credited > 0 OR billing_internal.is_corrected(account, invoice_id) THEN
        PERFORM billing_internal.fail('document_corrected', format('invoice %s is corrected by a later document or paid', invoice_id), NULL,
                                      'Reverse that first.');
    END IF;
    note := billing_internal.write_counter_document(account, invoice_id, rebill, reason);
    INSERT INTO billing.credit_allocation (account_id, credit_note_id, invoice_id, amount, allocated_at)
    SELECT account, note, h.id, h.total + h.rounding_amount, at WHERE h.total + h.rounding_amount > 0;
    IF rebill THEN
        UPDATE billing.account_state s
           SET recompute_from = least(s.recompute_from, (SELECT min(l.period_start) FROM billing.invoice_line l
                WHERE l.account_id = account AND l.invoice_id = void_invoice.invoice_id))
         WHERE s.account_id = account;
    END IF;
    PERFORM billing_internal.seal_document(account, note, at),
            billing_internal.emit_issued(account, note, at),
            billing_internal.emit(account, 'invoice.voided', at, invoice_id => void_invoice.invoice_id,
                                  payload => jsonb_build_object('credit_note_id', note, 'rebill', rebill)),
            billing_internal.collection_of_invoice_changed(account, void_invoice.invoice_id, at),
            billing_internal.case_of_invoice_changed(account, void_invoice.invoice_id, at);
    RETURN note;
END $$;
COMMENT ON FUNCTION billing_internal.void_invoice(bigint, boolean, timestamptz, text, text) IS 'body of billing.void_invoice';

-- Takes an account's drafts away; the next run makes them anew, from what is then left to charge.
CREATE FUNCTION billing_internal.drop_drafts(account_id bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    drafts CONSTANT bigint[] := ARRAY(SELECT h.id FROM billing.invoice_header h
                                       WHERE h.account_id = drop_drafts.account_id AND h.status = 'draft');
BEGIN
    IF drafts = '{}' THEN RETURN; END IF;
    UPDATE billing.account_state s
       SET recompute_from = least(s.recompute_from, (SELECT min(c.period_start) FROM billing.charge c
                                                      WHERE c.account_id = drop_drafts.account_id AND c.invoice_id = ANY (drafts)))
     WHERE s.account_id = drop_drafts.account_id;
    DELETE FROM billing.charge c WHERE c.account_id = drop_drafts.account_id AND c.invoice_id = ANY (drafts);
    DELETE FROM billing.discount_use u WHERE u.account_id = drop_drafts.account_id AND u.invoice_id = ANY (drafts);
    DELETE FROM billing.invoice_tax t WHERE t.account_id = drop_drafts.account_id AND t.invoice_id = ANY (drafts);
    DELETE FROM billing.invoice_line l WHERE l.account_id = drop_drafts.account_id AND l.invoice_id = ANY (drafts);
    DELETE FROM billing.invoice_header h WHERE h.account_id = drop_drafts.account_id AND h.id = ANY (drafts);
END $$;
COMMENT ON FUNCTION billing_internal.drop_drafts(bigint) IS 'takes an account''s drafts away; the next run makes them anew';

-- The credit note that reverses a whole invoice: amounts are copied, nothing is computed again.
CREATE FUNCTION billing_internal.write_counter_document(account_id bigint, invoice_id bigint, rebill boolean, reason text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    h billing.invoice_header;
    note CONSTANT bigint := billing_internal.next_id(account_id);
    payable numeric;
BEGIN
    SELECT * INTO STRICT h FROM billing.invoice_header x
     WHERE x.account_id = write_counter_document.account_id AND x.id = write_counter_document.invoice_id;
    payable := h.total + h.rounding_amount;
    INSERT INTO billing.invoice_header (account_id, id, kind, status, entity, series, currency, tax_scope, billing_group, billed_at,
        period_start, period_end, net_total, tax_total, total, rounding_amount, amount_credited, payment_terms_days,
        credits_invoice_id, reason, purchase_order, buyer_reference, seller, buyer, metadata)
    SELECT h.account_id, note, 'credit_note', 'paid', h.entity, coalesce(a.credit_note_series, e.credit_note_series), h.currency,
        h.tax_scope, h.billing_group, h.billed_at, h.period_start, h.period_end, h.net_total, h.tax_total, h.total, h.rounding_amount,
        payable, h.payment_terms_days, h.id, coalesce(write_counter_document.reason, 'voided'), h.purchase_order, h.buyer_reference,
        h.seller, h.buyer, h.metadata
      FROM billing.account a JOIN billing.entity e ON e.code = a.entity WHERE a.account_id = h.account_id;
    INSERT INTO billing.invoice_line (account_id, invoice_id, line_no, nature, subscription_id, item_id, kind, schedule_version,
        period_no, price, price_version, product, description, quantity, unit_code, unit_amount, base_quantity, brackets, gross_amount,
        discount_amount, increment_amount, amount, document_discount, net_amount, tax_inclusive, tax, tax_category, tax_rate, tax_reason,
        period_start, period_end, corrects_invoice_id, corrects_line_no, plan, scheme)
    SELECT l.account_id, note, l.line_no, CASE WHEN rebill THEN 'correction' ELSE 'grant' END, l.subscription_id, l.item_id, l.kind,
        l.schedule_version, l.period_no, l.price, l.price_version, l.product, l.description, l.quantity, l.unit_code, l.unit_amount,
        l.base_quantity, l.brackets, l.gross_amount, l.discount_amount, l.increment_amount, l.amount, l.document_discount, l.net_amount,
        l.tax_inclusive, l.tax, l.tax_category, l.tax_rate, l.tax_reason, l.period_start, l.period_end, l.invoice_id, l.line_no, l.plan, l.scheme
      FROM billing.invoice_line l WHERE l.account_id = h.account_id AND l.invoice_id = h.id;
    INSERT INTO billing.invoice_tax (account_id, invoice_id, category, rate, taxable_amount, tax_amount, reason)
    SELECT t.account_id, note, t.category, t.rate, t.taxable_amount, t.tax_amount, t.reason
      FROM billing.invoice_tax t WHERE t.account_id = h.account_id AND t.invoice_id = h.id;
    PERFORM billing_internal.reverse_charges(h.account_id, h.id, note, rebill);
    IF rebill THEN
        INSERT INTO billing.discount_use (account_id, discount_id, invoice_id, origin_invoice_id, currency, amount)
        SELECT u.account_id, u.discount_id, note, u.origin_invoice_id, u.currency, -u.amount
          FROM billing.discount_use u WHERE u.account_id = h.account_id AND u.invoice_id = h.id;
    END IF;
    UPDATE billing.invoice_header x SET status = 'void', amount_credited = payable WHERE x.account_id = h.account_id AND x.id = h.id;
    RETURN note;
END $$;
COMMENT ON FUNCTION billing_internal.write_counter_document(bigint, bigint, boolean, text) IS 'writes the credit note that reverses an invoice; the caller sets it off';

-- A document that was voided, and the note that voided it, correct no longer.
CREATE FUNCTION billing_internal.is_corrected(account_id bigint, invoice_id bigint) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM billing.charge c JOIN billing.charge later USING (account_id, item_id, kind, period_start, ordinal)
          JOIN billing.invoice_header h ON h.account_id = $1 AND h.id = later.invoice_id
          LEFT JOIN billing.invoice_header v ON v.account_id = $1 AND v.id = h.credits_invoice_id
         WHERE c.account_id = $1 AND c.invoice_id = $2 AND later.revision > c.revision AND later.invoice_id <> $2
           AND h.status <> 'void' AND v.status IS DISTINCT FROM 'void')
$$;
COMMENT ON FUNCTION billing_internal.is_corrected(bigint, bigint) IS 'does a later document change a charge that this one carries?';

-- Each charge that the invoice carried gets a further revision, the latest first: less what the line charged of
-- it, or that granted for ever.
CREATE FUNCTION billing_internal.reverse_charges(account_id bigint, invoice_id bigint, note bigint, rebill boolean) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    WITH moved AS (
        SELECT c.*, b.period_end AS end_before, b.quantity AS quantity_before,
               coalesce(b.price, c.price) AS price_before, coalesce(b.price_version, c.price_version) AS version_before,
               CASE WHEN b.price IS NULL THEN c.scheme ELSE b.scheme END AS scheme_before,
               sum(c.amount - coalesce(b.amount, 0)) OVER back AS given,
               sum(coalesce(c.gross_amount, c.amount) - coalesce(b.gross_amount, b.amount, 0)) OVER back AS given_gross,
               sum(coalesce(c.discount_amount, 0) - coalesce(b.discount_amount, 0)) OVER back AS given_discount,
               sum(coalesce(c.increment_amount, 0) - coalesce(b.increment_amount, 0)) OVER back AS given_increment,
               sum(coalesce(c.document_discount, 0) - coalesce(b.document_discount, 0)) OVER back AS given_share,
               row_number() OVER back AS further
          FROM billing.charge c
          LEFT JOIN billing.charge b ON b.account_id = c.account_id AND b.item_id = c.item_id AND b.kind = c.kind
               AND b.period_start = c.period_start AND b.ordinal = c.ordinal AND b.revision = c.revision - 1
         WHERE c.account_id = $1 AND c.invoice_id = $2
        WINDOW back AS (PARTITION BY c.item_id, c.kind, c.period_start, c.ordinal ORDER BY c.revision DESC))
    INSERT INTO billing.charge (account_id, item_id, kind, period_start, ordinal, revision, period_end, subscription_id,
        schedule_version, period_no, amount, granted, quantity, price, price_version, invoice_id, line_no,
        gross_amount, discount_amount, increment_amount, document_discount, scheme)
    SELECT m.account_id, m.item_id, m.kind, m.period_start, m.ordinal, live.revision + m.further,
        CASE WHEN $4 THEN coalesce(m.end_before, CASE WHEN live.amount = m.given THEN m.period_start ELSE live.period_end END)
             ELSE live.period_end END,
        m.subscription_id, m.schedule_version, m.period_no,
        CASE WHEN $4 THEN live.amount - m.given ELSE live.amount END,
        CASE WHEN $4 THEN live.granted ELSE live.granted + m.given END,
        CASE WHEN $4 THEN m.quantity_before ELSE live.quantity END, CASE WHEN $4 THEN m.price_before ELSE live.price END,
        CASE WHEN $4 THEN m.version_before ELSE live.price_version END, $3, m.line_no,
        CASE WHEN NOT $4 THEN live.gross_amount
             ELSE nullif(coalesce(live.gross_amount, live.amount) - m.given_gross, live.amount - m.given) END,
        CASE WHEN $4 THEN nullif(coalesce(live.discount_amount, 0) - m.given_discount, 0) ELSE live.discount_amount END,
        CASE WHEN $4 THEN nullif(coalesce(live.increment_amount, 0) - m.given_increment, 0) ELSE live.increment_amount END,
        CASE WHEN $4 THEN nullif(coalesce(live.document_discount, 0) - m.given_share, 0) ELSE live.document_discount END,
        CASE WHEN $4 THEN m.scheme_before ELSE live.scheme END
      FROM moved m
     CROSS JOIN LATERAL (
           SELECT x.* FROM billing.charge x
            WHERE x.account_id = m.account_id AND x.item_id = m.item_id AND x.kind = m.kind AND x.period_start = m.period_start
              AND x.ordinal = m.ordinal ORDER BY x.revision DESC LIMIT 1) live
$$;
COMMENT ON FUNCTION billing_internal.reverse_charges(bigint, bigint, bigint, boolean) IS 'revises the charges of an invoice that is voided';
