-- Messages to customers: written with their final text, then claimed by a sender and acknowledged.  billing.x is the
-- door (rights, owner), billing_internal.x the body.

-- Writes the messages of many documents or payments of locked accounts at once, each from the template for its account:
-- the first channel for which it has an address, in its language, without the region, in the seller's,
-- in any.  Fields add to what is known of account, document and payment.
CREATE FUNCTION billing_internal.write_notifications(account_ids bigint[], code text, channels text[], at timestamptz, invoice_ids bigint[], payment_ids bigint[],
    case_ids bigint[], fields jsonb[], not_befores timestamptz[]) RETURNS bigint[]
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    written record;
    none CONSTANT bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(account_ids)]);
BEGIN
    IF NOT EXISTS (SELECT FROM billing.template t WHERE t.code = write_notifications.code) THEN RETURN none; END IF;
    WITH wanted AS (
        SELECT w.no, w.account_id, w.invoice_id, w.payment_id, w.case_id, t.channel, t.language, t.subject, t.body, coalesce(w.not_before, write_notifications.at) AS not_before,
               billing_internal.make_id(w.account_id, s.next_ordinal + row_number() OVER (PARTITION BY w.account_id ORDER BY w.no) - 1) AS id,
               jsonb_build_object('name', a.name) || CASE t.channel WHEN 'mail' THEN jsonb_build_object('email', a.email)
                   WHEN 'sms' THEN jsonb_build_object('phone', a.phone) ELSE jsonb_strip_nulls(jsonb_build_object('address', a.address, 'country', a.country)) END AS recipient,
               jsonb_build_object('account_id', a.account_id, 'account_name', a.name, 'seller_name', e.name, 'buyer_reference', coalesce(i.buyer_reference, a.buyer_reference),
                   'currency', a.currency, 'kind', i.kind, 'number', i.number, 'issued_on', i.issued_on, 'due_on', i.due_on, 'total', (i.total + i.rounding_amount)::text,
                   'amount_due', abs(i.amount_due)::text, 'claimed_number', (SELECT c.number FROM billing.invoice c WHERE c.account_id = w.account_id AND c.id = i.claims_invoice_id),
                   'purchase_order', i.purchase_order, 'payment_amount', p.amount::text, 'received_on', (p.received_at AT TIME ZONE e.time_zone)::date, 'method', m.name)
                   || coalesce(w.fields, '{}') AS fields
          FROM unnest(account_ids, invoice_ids, payment_ids, case_ids, write_notifications.fields, not_befores) WITH ORDINALITY
                   w (account_id, invoice_id, payment_id, case_id, fields, not_before, no)
          JOIN billing.account_state s ON s.account_id = w.account_id
          JOIN billing.account a ON a.account_id = w.account_id
          JOIN billing.entity e ON e.code = a.entity
         CROSS JOIN LATERAL (
               SELECT x.* FROM unnest(channels) WITH ORDINALITY c (channel, no)
                 JOIN billing.template x ON x.entity = a.entity AND x.code = write_notifications.code AND x.channel = c.channel
                WHERE CASE c.channel WHEN 'mail' THEN a.email <> '' WHEN 'sms' THEN a.phone <> '' ELSE a.address <> '{}' END
                ORDER BY c.no, array_position(ARRAY[a.language, split_part(a.language, '-', 1), e.language, split_part(e.language, '-', 1)], x.language), x.language LIMIT 1) t
          LEFT JOIN billing.invoice i ON i.account_id = w.account_id AND i.id = w.invoice_id
          LEFT JOIN billing.payment p ON p.account_id = w.account_id AND p.id = w.payment_id
          LEFT JOIN billing.payment_method_type m ON m.type = p.method),
    inserted AS (
        INSERT INTO billing.notification (account_id, id, code, channel, language, recipient, subject, body, invoice_id, payment_id, case_id, created_at, not_before)
        SELECT w.account_id, w.id, write_notifications.code, w.channel, w.language, w.recipient,
               -- a line break in a name must not begin another header
               regexp_replace(billing_internal.render_template(w.subject, w.fields), '[[:cntrl:]]+', ' ', 'g'), billing_internal.render_template(w.body, w.fields),
               w.invoice_id, w.payment_id, w.case_id, at, w.not_before
          FROM wanted w)
    SELECT array_agg(w.id ORDER BY w.no) AS ids, array_agg(w.no ORDER BY w.no) AS places, array_agg(w.account_id ORDER BY w.no) AS accounts,
           array_agg(w.invoice_id ORDER BY w.no) AS invoices, array_agg(w.payment_id ORDER BY w.no) AS payments, array_agg(w.case_id ORDER BY w.no) AS cases,
           array_agg('notification.created'::text) AS types,
           array_agg(jsonb_build_object('notification_id', w.id, 'code', write_notifications.code, 'channel', w.channel) ORDER BY w.no) AS payloads
      INTO written FROM wanted w;
    IF written.ids IS NULL THEN RETURN none; END IF;
    UPDATE billing.account_state s SET next_ordinal = s.next_ordinal + w.n
      FROM (SELECT a AS account_id, count(*) AS n FROM unnest(written.accounts) a GROUP BY 1) w WHERE s.account_id = w.account_id;
    PERFORM billing_internal.emit_all(written.accounts, written.types, at, written.invoices, written.cases, written.payloads, written.payments);
    RETURN ARRAY(SELECT w.id FROM generate_series(1, cardinality(account_ids)) n LEFT JOIN unnest(written.ids, written.places) w (id, place) ON w.place = n ORDER BY n);
END $$;
COMMENT ON FUNCTION billing_internal.write_notifications(bigint[], text, text[], timestamptz, bigint[], bigint[], bigint[], jsonb[], timestamptz[]) IS
    'writes messages of locked accounts from a template; returns their ids by position, null where there is no template or no address';

CREATE FUNCTION billing_internal.notify_paid(account_id bigint, payment_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.write_notifications(ARRAY[account_id], 'receipt', '{mail,letter}', at, NULL, ARRAY[payment_id], NULL, NULL, NULL);
END $$;
COMMENT ON FUNCTION billing_internal.notify_paid(bigint, bigint, timestamptz) IS 'writes the receipt of a payment of the locked account';

-- Costs one look at the table where nobody has templates.
CREATE FUNCTION billing_internal.notify_issued(invoice_ids bigint[], at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    k text;
BEGIN
    FOREACH k IN ARRAY ARRAY['invoice', 'credit_note', 'claim'] LOOP
        CONTINUE WHEN NOT EXISTS (SELECT FROM billing.template t WHERE t.code = k);
        PERFORM billing_internal.write_notifications(array_agg(h.account_id ORDER BY h.id), k, '{mail,letter}', at, array_agg(h.id ORDER BY h.id), NULL, NULL, NULL, NULL)
           FROM unnest(invoice_ids) i (id) JOIN billing.invoice_header h ON h.account_id = i.id >> 24 AND h.id = i.id
          WHERE h.kind = k AND h.status <> 'draft' HAVING count(*) > 0;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.notify_issued(bigint[], timestamptz) IS 'writes the messages of documents of locked accounts that were just finished';

CREATE FUNCTION billing.claim_notifications(worker text, max int DEFAULT 1, lease interval DEFAULT '5 minutes', at timestamptz DEFAULT NULL, entity text DEFAULT NULL,
    OUT notification_id bigint, OUT account_id bigint, OUT code text, OUT channel text, OUT language text, OUT recipient jsonb, OUT subject text, OUT body text,
    OUT invoice_id bigint, OUT payment_id bigint, OUT case_id bigint, OUT attempt_no int, OUT lease_until timestamptz)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.claim_notifications(text, int, interval, timestamptz, text) IS
    'gives a sender the next messages, at most so many, each to nobody else until its lease ends; tell the outcome with billing.acknowledge_notification()';
CREATE FUNCTION billing_internal.claim_notifications(worker text, max int, lease interval, at timestamptz, entity text,
    OUT notification_id bigint, OUT account_id bigint, OUT code text, OUT channel text, OUT language text, OUT recipient jsonb, OUT subject text, OUT body text,
    OUT invoice_id bigint, OUT payment_id bigint, OUT case_id bigint, OUT attempt_no int, OUT lease_until timestamptz)
    RETURNS SETOF record LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    at := coalesce(at, now());
    lease := coalesce(lease, interval '5 minutes');
    PERFORM billing_internal.check_claim(worker, max, lease, at, entity);
    RETURN QUERY
    WITH next AS (
        SELECT n.account_id, n.id FROM billing.notification n
         WHERE n.status IN ('waiting', 'claimed') AND n.not_before <= at AND coalesce(n.lease_until <= at, true)
           AND (claim_notifications.entity IS NULL OR EXISTS (SELECT FROM billing.account a WHERE a.account_id = n.account_id AND a.entity = claim_notifications.entity))
         ORDER BY n.not_before, n.account_id, n.id LIMIT coalesce(max, 1) FOR NO KEY UPDATE OF n SKIP LOCKED),
    -- who held it did not say that it went, and meanwhile there is nothing to remind of
    judged AS (
        SELECT x.account_id, x.id, EXISTS (SELECT FROM billing.dunning_case c WHERE c.account_id = n.account_id AND c.id = n.case_id
                                              AND c.state IN ('paused', 'stopped', 'succeeded', 'written_off')) AS idle
          FROM next x JOIN billing.notification n ON n.account_id = x.account_id AND n.id = x.id),
    dropped AS (
        UPDATE billing.notification n SET status = 'canceled', lease_until = NULL, finished_at = at, failure = 'the case waits or is over'
          FROM judged x WHERE x.idle AND n.account_id = x.account_id AND n.id = x.id),
    claimed AS (
        UPDATE billing.notification n SET status = 'claimed', attempts = n.attempts + 1, claimed_by = worker, lease_until = at + lease
          FROM judged x WHERE NOT x.idle AND n.account_id = x.account_id AND n.id = x.id RETURNING n.*)
    SELECT c.id, c.account_id, c.code, c.channel, c.language, c.recipient, c.subject, c.body, c.invoice_id, c.payment_id, c.case_id, c.attempts, c.lease_until
      FROM claimed c ORDER BY c.not_before, c.account_id, c.id;
END $$;
COMMENT ON FUNCTION billing_internal.claim_notifications(text, int, interval, timestamptz, text) IS 'body of billing.claim_notifications';

CREATE FUNCTION billing.acknowledge_notification(notification_id bigint, outcome text, failure text DEFAULT NULL, effective_at timestamptz DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.acknowledge_notification(bigint, text, text, timestamptz) IS
    'tells what became of a message that was claimed: sent, or failed for good; again with the same outcome it changes nothing; one that shall be tried again is left to its lease; returns its id';
CREATE FUNCTION billing_internal.acknowledge_notification(notification_id bigint, outcome text, failure text, effective_at timestamptz) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    n billing.notification;
BEGIN
    PERFORM billing_internal.check_one_of(outcome, 'outcome', 'sent', 'failed'), billing_internal.check_instant(coalesce(effective_at, now()), 'effective_at');
    IF outcome = 'sent' AND failure IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_argument', 'a message that was sent has no failure');
    END IF;
    SELECT * INTO n FROM billing.notification x
     WHERE x.account_id = acknowledge_notification.notification_id >> 24 AND x.id = acknowledge_notification.notification_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_notification', format('notification %s does not exist', notification_id));
    ELSIF n.status = 'claimed' THEN
        UPDATE billing.notification x SET status = outcome, finished_at = coalesce(effective_at, now()), failure = acknowledge_notification.failure, lease_until = NULL
         WHERE x.account_id = n.account_id AND x.id = n.id;
    ELSIF n.status <> outcome THEN
        PERFORM billing_internal.fail('not_claimed', format('notification %s is %s and cannot be %s', n.id, n.status, outcome));
    END IF;
    RETURN n.id;
END $$;
COMMENT ON FUNCTION billing_internal.acknowledge_notification(bigint, text, text, timestamptz) IS 'body of billing.acknowledge_notification';
