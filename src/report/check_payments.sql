-- Parts of check(): payments and what they are set against.

CREATE FUNCTION billing_internal.check_payments(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'wrong use of payment', 'payment', p.account_id, p.id, format('allocated %s, refunded %s, charged back %s; rows sum to %s, %s, %s',
           p.amount_allocated, p.amount_refunded, p.amount_charged_back, a.amount, r.refunded, r.charged_back)
      FROM billing.payment p
      LEFT JOIN (SELECT a.account_id, a.payment_id, sum(a.amount) AS amount FROM billing.payment_allocation a GROUP BY 1, 2) a
        ON a.account_id = p.account_id AND a.payment_id = p.id
      LEFT JOIN (SELECT r.account_id, r.payment_id, sum(r.amount) FILTER (WHERE r.kind = 'refund') AS refunded,
                        sum(r.amount) FILTER (WHERE r.kind = 'chargeback') AS charged_back
                   FROM billing.refund r GROUP BY 1, 2) r ON r.account_id = p.account_id AND r.payment_id = p.id
     WHERE (p.amount_allocated, p.amount_refunded, p.amount_charged_back)
           IS DISTINCT FROM (coalesce(a.amount, 0), coalesce(r.refunded, 0), coalesce(r.charged_back, 0))
    UNION ALL
    SELECT 'wrong payment', 'invoice_header', h.account_id, h.id, format('amount_paid %s, payments and refunds %s', h.amount_paid, m.amount)
      FROM billing.invoice_header h
      LEFT JOIN (SELECT a.account_id, a.invoice_id, sum(a.amount) AS amount FROM billing.payment_allocation a GROUP BY 1, 2
                 UNION ALL
                 SELECT r.account_id, r.credit_note_id, sum(r.amount) FROM billing.refund r WHERE r.credit_note_id IS NOT NULL GROUP BY 1, 2) m
        ON m.account_id = h.account_id AND m.invoice_id = h.id
     WHERE h.amount_paid <> coalesce(m.amount, 0)
    UNION ALL
    SELECT 'part without payment', x.relation, x.account_id, x.payment_id, NULL
      FROM (SELECT DISTINCT 'payment_allocation' AS relation, a.account_id, a.payment_id FROM billing.payment_allocation a
            UNION ALL SELECT 'refund', r.account_id, r.payment_id FROM billing.refund r WHERE r.payment_id IS NOT NULL) x
     WHERE NOT EXISTS (SELECT FROM billing.payment p WHERE p.account_id = x.account_id AND p.id = x.payment_id)
    UNION ALL
    SELECT 'misplaced allocation', 'payment_allocation', a.account_id, a.payment_id, format('%s, allocation %s on %s %s in %s', p.currency, a.allocation_no, h.status, h.kind, h.currency)
      FROM billing.payment_allocation a
      JOIN billing.payment p ON p.account_id = a.account_id AND p.id = a.payment_id
      JOIN billing.invoice_header h ON h.account_id = a.account_id AND h.id = a.invoice_id
     WHERE h.kind = 'credit_note' OR h.status = 'draft' OR h.currency <> p.currency
    UNION ALL
    SELECT 'more taken back than allocated', 'payment_allocation', s.account_id, s.payment_id, format('document %s after allocation %s: %s', s.invoice_id, s.allocation_no, s.running)
      FROM (SELECT a.*, sum(a.amount) OVER (PARTITION BY a.account_id, a.payment_id, a.invoice_id ORDER BY a.allocation_no) AS running
              FROM billing.payment_allocation a) s WHERE s.running < 0
    UNION ALL
    SELECT 'wrong write-off', 'invoice_header', h.account_id, h.id, format('%s, given up %s', h.status, w.amount)
      FROM billing.invoice_header h
      LEFT JOIN (SELECT w.account_id, w.invoice_id, sum(w.amount) AS amount FROM billing.write_off w GROUP BY 1, 2) w
        ON w.account_id = h.account_id AND w.invoice_id = h.id
     WHERE coalesce(w.amount, 0) <> CASE WHEN h.status = 'uncollectible' THEN h.total + h.rounding_amount - h.amount_paid - h.amount_credited ELSE 0 END
    UNION ALL
    SELECT 'credit not known', 'account_state', s.account_id, NULL, NULL
      FROM billing.account_state s
     WHERE NOT s.has_credit
       AND (EXISTS (SELECT FROM billing.payment p WHERE p.account_id = s.account_id AND p.kind = 'payment'
                       AND p.amount_allocated + p.amount_refunded + p.amount_charged_back < p.amount)
            OR EXISTS (SELECT FROM billing.invoice_header h WHERE h.account_id = s.account_id AND h.kind = 'credit_note' AND h.status = 'open'))
    UNION ALL
    SELECT 'id counter too low', 'account_state', s.account_id, m.id, format('next_ordinal is %s', s.next_ordinal)
      FROM billing.account_state s
      JOIN (SELECT x.account_id, max(x.id) AS id FROM (SELECT p.account_id, p.id FROM billing.payment p UNION ALL SELECT r.account_id, r.id FROM billing.refund r) x GROUP BY 1) m
        ON m.account_id = s.account_id
     WHERE m.id >= (s.account_id << 24) + s.next_ordinal
$$;
COMMENT ON FUNCTION billing_internal.check_payments() IS 'part of check(): payments, refunds, write-offs';

-- What must be unique across accounts stands in the directory, and the other way round.
CREATE FUNCTION billing_internal.check_references(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH referred AS (
        SELECT 'payment' AS kind, 'payment' AS relation, p.account_id, p.id, billing_internal.reference_key(p.provider, p.reference) AS key FROM billing.payment p
        UNION ALL
        SELECT 'refund', 'refund', r.account_id, r.id, billing_internal.reference_key(r.provider, r.reference) FROM billing.refund r
        UNION ALL
        SELECT 'external_invoice', 'invoice_header', h.account_id, h.id, jsonb_build_array(h.entity, h.external_number)::text
          FROM billing.invoice_header h WHERE h.external_number IS NOT NULL)
    SELECT 'row without key', r.relation, r.account_id, r.id, format('%s %s', r.kind, r.key)
      FROM referred r WHERE r.key IS NOT NULL AND NOT EXISTS (
           SELECT FROM billing.key k WHERE k.kind = r.kind AND k.key = r.key AND k.account_id = r.account_id AND k.id = r.id)
    UNION ALL
    SELECT 'key without row', 'key', k.account_id, k.id, format('%s %s', k.kind, k.key)
      FROM billing.key k WHERE k.kind IN ('payment', 'refund', 'external_invoice') AND NOT EXISTS (
           SELECT FROM referred r WHERE r.kind = k.kind AND r.key = k.key AND r.account_id = k.account_id AND r.id = k.id)
$$;
COMMENT ON FUNCTION billing_internal.check_references() IS 'part of check(): references of providers and numbers of invoices made outside';
