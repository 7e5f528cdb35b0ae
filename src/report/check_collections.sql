-- Parts of check(): payment methods, mandates and collections.

CREATE FUNCTION billing_internal.check_collections(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH attempts AS (
        SELECT t.account_id, t.collection_id, count(*) AS number, max(t.attempt_no) AS last_no,
               count(*) FILTER (WHERE t.outcome = 'succeeded') AS succeeded, count(*) FILTER (WHERE t.outcome IS NULL) AS pending,
               (array_agg(t.outcome ORDER BY t.attempt_no DESC))[1] AS last_outcome
          FROM billing.collection_attempt t GROUP BY 1, 2)
    SELECT 'wrong attempts', 'collection', c.account_id, c.id, format('%s, %s attempts; rows: %s, the last %s', c.status, c.attempts, coalesce(a.number, 0), coalesce(a.last_outcome, 'pending'))
      FROM billing.collection c LEFT JOIN attempts a ON a.account_id = c.account_id AND a.collection_id = c.id
     WHERE (c.attempts, c.attempts) <> (coalesce(a.number, 0), coalesce(a.last_no, 0))
        OR CASE c.status WHEN 'claimed' THEN a.last_outcome IS NOT NULL OR a.number IS NULL
                         WHEN 'submitted' THEN a.last_outcome IS DISTINCT FROM 'submitted'
                         WHEN 'succeeded' THEN a.pending > 0
                         WHEN 'canceled' THEN false
                         ELSE a.number > 0 AND coalesce(a.last_outcome, '') NOT IN ('declined', 'lost') END
        OR (coalesce(a.succeeded, 0) > 0) <> (c.status = 'succeeded')
    UNION ALL
    SELECT 'collection without payment', 'collection', c.account_id, c.id, format('%s, payment %s', c.status, c.payment_id)
      FROM billing.collection c LEFT JOIN billing.payment p ON p.account_id = c.account_id AND p.id = c.payment_id AND p.currency = c.currency AND p.amount = c.amount
     WHERE (c.status = 'succeeded') <> (p.id IS NOT NULL) OR c.status <> 'succeeded' AND c.payment_id IS NOT NULL
    UNION ALL
    SELECT 'collection of what is not open', 'collection', c.account_id, c.id, format('%s, document %s is %s', c.status, h.id, h.status)
      FROM billing.collection c JOIN billing.invoice_header h ON h.account_id = c.account_id AND h.id = c.invoice_id
     WHERE c.status IN ('waiting', 'claimed') AND (h.status <> 'open' OR h.kind = 'credit_note')
    UNION ALL
    SELECT 'attempt without collection', 'collection_attempt', a.account_id, a.collection_id, NULL
      FROM attempts a WHERE NOT EXISTS (SELECT FROM billing.collection c WHERE c.account_id = a.account_id AND c.id = a.collection_id)
    UNION ALL
    SELECT 'wrong account number', 'payment_method', m.account_id, m.id, NULL
      FROM billing.payment_method m WHERE NOT billing_internal.is_iban(m.iban)
    UNION ALL
    SELECT 'unknown payment method', x.relation, x.account_id, x.id, format('payment method %s', x.payment_method_id)
      FROM (SELECT 'account' AS relation, a.account_id, NULL::bigint AS id, a.payment_method_id FROM billing.account a
            UNION ALL SELECT 'subscription', s.account_id, s.id, s.payment_method_id FROM billing.subscription s) x
     WHERE x.payment_method_id IS NOT NULL
       AND NOT EXISTS (SELECT FROM billing.payment_method m WHERE m.account_id = x.account_id AND m.id = x.payment_method_id)
    UNION ALL
    SELECT 'row without key', 'mandate', d.account_id, d.payment_method_id, format('mandate %s', d.reference)
      FROM billing.mandate d JOIN billing.account a ON a.account_id = d.account_id
     WHERE NOT EXISTS (SELECT FROM billing.key k WHERE k.kind = 'mandate' AND k.key = jsonb_build_array(a.entity, d.reference)::text
                          AND k.account_id = d.account_id AND k.id = d.payment_method_id)
    UNION ALL
    SELECT 'key without row', 'key', k.account_id, k.id, format('mandate %s', k.key)
      FROM billing.key k
     WHERE k.kind = 'mandate' AND NOT EXISTS (
           SELECT FROM billing.mandate d WHERE d.account_id = k.account_id AND d.payment_method_id = k.id AND d.reference = k.key::jsonb->>1)
    UNION ALL
    SELECT 'id counter too low', 'account_state', s.account_id, m.id, format('next_ordinal is %s', s.next_ordinal)
      FROM billing.account_state s
      JOIN (SELECT x.account_id, max(x.id) AS id
              FROM (SELECT c.account_id, c.id FROM billing.collection c UNION ALL SELECT p.account_id, p.id FROM billing.payment_method p) x GROUP BY 1) m ON m.account_id = s.account_id
     WHERE m.id >= (s.account_id << 24) + s.next_ordinal
$$;
COMMENT ON FUNCTION billing_internal.check_collections() IS 'part of check(): payment methods, mandates, collections';
