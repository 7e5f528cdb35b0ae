-- Events: an account's numbers follow one another up to its counter, but for the first, which may be pruned; and
-- nothing is under an adoption that has not come.  An event carries no more than its type says.
CREATE FUNCTION billing_internal.check_events(OUT finding text, OUT relation text, OUT account_id bigint, OUT id bigint, OUT detail text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'wrong event numbers', 'event', e.account_id, NULL::bigint,
           format('%s from %s to %s, the counter is %s', e.numbers, e.first, e.last, coalesce(s.event_no::text, 'missing'))
      FROM (SELECT e.account_id, min(e.event_no) AS first, max(e.event_no) AS last, count(*) AS events, count(DISTINCT e.event_no) AS numbers
              FROM billing.event e GROUP BY 1) e
      LEFT JOIN billing.account_state s ON s.account_id = e.account_id
     WHERE e.events <> e.last - e.first + 1 OR e.numbers <> e.events OR e.last IS DISTINCT FROM s.event_no
    UNION ALL
    SELECT 'wrong event', 'event', e.account_id, NULL, format('number %s: type %s, adoption number %s, payload %s', e.event_no, e.type, e.adoption_number, e.payload)
      FROM billing.event e LEFT JOIN billing.event_type t ON t.type = e.type
     WHERE t.type IS NULL OR e.payload - t.payload_keys <> '{}'
        OR NOT array_remove(ARRAY[CASE WHEN e.subscription_id IS NOT NULL THEN 'subscription_id' END, CASE WHEN e.invoice_id IS NOT NULL THEN 'invoice_id' END,
                                  CASE WHEN e.payment_id IS NOT NULL THEN 'payment_id' END, CASE WHEN e.case_id IS NOT NULL THEN 'case_id' END], NULL) <@ t.ids
        OR e.adoption_number > (SELECT b.event_adoption_number FROM billing.book b)
    UNION ALL
    SELECT 'consumer ahead of the events', 'event_consumer', NULL, NULL, format('consumer %s', c.name)
      FROM billing.event_consumer c, billing.book b, billing_internal.identity() i
     WHERE c.last_adoption_number > b.event_adoption_number
        OR c.last_adoption_number = b.event_adoption_number AND c.last_xid > pg_snapshot_xmax(pg_current_snapshot())
           AND (b.event_system_identifier, b.event_database_oid) = (i.system_identifier, i.database_oid)
$$;
COMMENT ON FUNCTION billing_internal.check_events() IS 'part of check(): events and their consumers';
