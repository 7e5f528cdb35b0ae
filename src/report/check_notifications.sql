-- Parts of check(): templates and messages.

CREATE FUNCTION billing_internal.check_notifications(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'wrong state', 'notification', n.account_id, n.id, format('%s, lease until %s, finished at %s', n.status, n.lease_until, n.finished_at)
      FROM billing.notification n
     WHERE (n.status = 'claimed') <> (n.lease_until IS NOT NULL) OR (n.status IN ('sent', 'failed', 'canceled')) <> (n.finished_at IS NOT NULL)
        OR n.status IN ('claimed', 'sent', 'failed') AND (n.attempts = 0 OR n.claimed_by IS NULL)
    UNION ALL
    SELECT 'message about nothing', 'notification', n.account_id, n.id, format('document %s, payment %s, case %s', n.invoice_id, n.payment_id, n.case_id)
      FROM billing.notification n
     WHERE NOT EXISTS (SELECT FROM billing.account a WHERE a.account_id = n.account_id)
        OR n.invoice_id IS NOT NULL AND NOT EXISTS (SELECT FROM billing.invoice_header h WHERE h.account_id = n.account_id AND h.id = n.invoice_id AND h.status <> 'draft')
        OR n.payment_id IS NOT NULL AND NOT EXISTS (SELECT FROM billing.payment p WHERE p.account_id = n.account_id AND p.id = n.payment_id)
        OR n.case_id IS NOT NULL AND NOT EXISTS (SELECT FROM billing.dunning_case c WHERE c.account_id = n.account_id AND c.id = n.case_id)
    UNION ALL
    SELECT 'wrong field', 'template', NULL, NULL, format('template "%s" for %s in "%s" of entity "%s": %s', t.code, t.channel, t.language, t.entity, p.part)
      FROM billing.template t CROSS JOIN LATERAL billing_internal.template_parts(concat(t.subject, ' ', t.body)) p
     WHERE p.part IN ('{', '}') OR p.part ~ '^\{[a-z_]+\}$' AND btrim(p.part, '{}') <> ALL (billing_internal.template_fields())
    UNION ALL
    SELECT 'id counter too low', 'account_state', s.account_id, n.id, format('next_ordinal is %s', s.next_ordinal)
      FROM billing.account_state s JOIN (SELECT x.account_id, max(x.id) AS id FROM billing.notification x GROUP BY 1) n ON n.account_id = s.account_id
     WHERE n.id >= (s.account_id << 24) + s.next_ordinal
$$;
COMMENT ON FUNCTION billing_internal.check_notifications() IS 'part of check(): templates and messages';
