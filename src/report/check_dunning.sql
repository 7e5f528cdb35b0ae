-- Part of check(): dunning cases and what belongs to them.

CREATE FUNCTION billing_internal.check_dunning(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    -- A case of an invoice says what the invoice says.
    SELECT 'wrong case', 'dunning_case', c.account_id, c.id, format('%s, invoice %s is %s', c.state, h.id, coalesce(h.status, 'not there'))
      FROM billing.dunning_case c LEFT JOIN billing.invoice_header h ON h.account_id = c.account_id AND h.id = c.invoice_id
     WHERE c.invoice_id IS NOT NULL
       AND NOT CASE h.status WHEN 'paid' THEN c.state = 'succeeded' WHEN 'uncollectible' THEN c.state = 'written_off' WHEN 'void' THEN c.state = 'stopped'
                             WHEN 'open' THEN c.state NOT IN ('succeeded', 'written_off') ELSE false END
    UNION ALL
    SELECT 'wrong history of case', 'dunning_case', c.account_id, c.id, format('%s in round %s, history ends with %s in round %s', c.state, c.round, l.to_state, l.round)
      FROM billing.dunning_case c
      LEFT JOIN LATERAL (SELECT v.to_state, v.round FROM billing.dunning_case_change v
                          WHERE v.account_id = c.account_id AND v.case_id = c.id ORDER BY v.change_no DESC LIMIT 1) l ON true
     WHERE (c.state, c.round) IS DISTINCT FROM (l.to_state, l.round)
    UNION ALL
    SELECT 'broken history of case', 'dunning_case_change', v.account_id, v.case_id, format('change %s from %s follows one to %s', v.change_no, v.from_state, v.before)
      FROM (SELECT x.*, lag(x.to_state) OVER w AS before, row_number() OVER w AS n FROM billing.dunning_case_change x
            WINDOW w AS (PARTITION BY x.account_id, x.case_id ORDER BY x.change_no)) v
     WHERE v.from_state IS DISTINCT FROM v.before OR v.change_no <> v.n
        OR v.from_state IS NOT NULL AND NOT EXISTS (SELECT FROM billing_internal.case_transitions() t WHERE t.from_state = v.from_state AND v.to_state = ANY (t.to_states))
    UNION ALL
    SELECT 'case without a next step', 'dunning_case', c.account_id, c.id, c.state
      FROM billing.dunning_case c WHERE c.state IN ('not_started', 'running') AND c.next_step_at IS NULL
    UNION ALL
    SELECT 'step that the scheme does not have', 'dunning_action', x.account_id, x.case_id, format('round %s, step %s', x.round, x.step_no)
      FROM billing.dunning_action x JOIN billing.dunning_case c ON c.account_id = x.account_id AND c.id = x.case_id
     WHERE NOT EXISTS (SELECT FROM billing.dunning_step s WHERE s.scheme = c.scheme AND s.version = c.version AND s.step_no = x.step_no)
        OR x.round > c.round OR x.round = c.round AND x.step_no > c.step_no
    UNION ALL
    SELECT 'claim of a step is not there', 'dunning_action', x.account_id, x.case_id, format('round %s, step %s, claim %s', x.round, x.step_no, x.claim_id)
      FROM billing.dunning_action x WHERE x.claim_id IS NOT NULL
       AND NOT EXISTS (SELECT FROM billing.invoice_header h WHERE h.account_id = x.account_id AND h.id = x.claim_id AND h.kind = 'claim')
    UNION ALL
    SELECT 'open promise of a case that does not wait for it', 'promise', p.account_id, p.id, c.state
      FROM billing.promise p JOIN billing.dunning_case c ON c.account_id = p.account_id AND c.id = p.case_id
     WHERE (p.state = 'open') AND c.pause_reason IS DISTINCT FROM 'promise'
    UNION ALL
    SELECT 'wrong arrangement', 'arrangement', a.account_id, a.id, format('total is %s, its parts sum to %s', a.total, s.amount)
      FROM billing.arrangement a LEFT JOIN (SELECT p.account_id, p.arrangement_id, sum(p.amount) AS amount FROM billing.arrangement_instalment p GROUP BY 1, 2) s
        ON s.account_id = a.account_id AND s.arrangement_id = a.id WHERE a.total IS DISTINCT FROM s.amount
    UNION ALL
    SELECT 'case waits for no arrangement', 'dunning_case', c.account_id, c.id, NULL
      FROM billing.dunning_case c WHERE c.pause_reason = 'arrangement'
       AND NOT EXISTS (SELECT FROM billing.arrangement a JOIN billing.arrangement_invoice v ON v.account_id = a.account_id AND v.arrangement_id = a.id
                        WHERE a.account_id = c.account_id AND a.state = 'active' AND (c.invoice_id IS NULL OR v.invoice_id = c.invoice_id))
    UNION ALL
    SELECT 'case at no agency', 'dunning_case', c.account_id, c.id, NULL
      FROM billing.dunning_case c WHERE c.state = 'at_agency'
       AND NOT EXISTS (SELECT FROM billing.agency_transfer t WHERE t.account_id = c.account_id AND t.case_id = c.id
                          AND t.state NOT IN ('refused', 'recalled', 'paid_in_part'))
    UNION ALL
    SELECT 'id counter too low', 'account_state', s.account_id, m.id, format('next_ordinal is %s', s.next_ordinal)
      FROM billing.account_state s
      JOIN (SELECT x.account_id, max(x.id) AS id FROM (
                SELECT c.account_id, c.id FROM billing.dunning_case c UNION ALL SELECT p.account_id, p.id FROM billing.promise p
                UNION ALL SELECT a.account_id, a.id FROM billing.arrangement a UNION ALL SELECT t.account_id, t.id FROM billing.agency_transfer t) x GROUP BY 1) m
        ON m.account_id = s.account_id
     WHERE m.id >= (s.account_id << 24) + s.next_ordinal
$$;
COMMENT ON FUNCTION billing_internal.check_dunning() IS 'part of check(): dunning cases, promises, arrangements and transfers';
