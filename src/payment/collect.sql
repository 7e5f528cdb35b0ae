-- Collections: requests to collect invoices, made by runs, by dunning or by people, and claimed by workers.  billing.x is the door
-- (rights, owner), billing_internal.x the body.

-- The subscription's method where all lines of the invoice have the same one, else the account's.
CREATE FUNCTION billing_internal.collection_method(account_id bigint, invoice_id bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce((SELECT min(s.payment_method_id)
                       FROM billing.invoice_line l LEFT JOIN billing.subscription s ON s.account_id = l.account_id AND s.id = l.subscription_id
                      WHERE l.account_id = collection_method.account_id AND l.invoice_id = collection_method.invoice_id
                     HAVING count(*) = count(s.payment_method_id) AND count(DISTINCT s.payment_method_id) = 1),
                    (SELECT a.payment_method_id FROM billing.account a WHERE a.account_id = collection_method.account_id));
END $$;
COMMENT ON FUNCTION billing_internal.collection_method(bigint, bigint) IS 'method that collects an invoice, or null';

-- Whoever agreed on parts or promised a day, disputes the invoice, or owes it to an agency by now, is not debited meanwhile.
CREATE FUNCTION billing_internal.why_not_collected(account_id bigint, invoice_id bigint) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(
        (SELECT 'paid in parts' FROM billing.arrangement a
           JOIN billing.arrangement_invoice i ON i.account_id = a.account_id AND i.arrangement_id = a.id AND i.invoice_id = why_not_collected.invoice_id
          WHERE a.account_id = why_not_collected.account_id AND a.state = 'active' LIMIT 1),
        (SELECT CASE c.state WHEN 'at_agency' THEN 'with an agency' ELSE format('paused (%s)', c.pause_reason) END FROM billing.dunning_case c
          WHERE c.account_id = why_not_collected.account_id AND coalesce(c.invoice_id, why_not_collected.invoice_id) = why_not_collected.invoice_id
            AND (c.state = 'at_agency' OR c.state = 'paused' AND c.pause_reason <> 'direct_debit') LIMIT 1));
END $$;
COMMENT ON FUNCTION billing_internal.why_not_collected(bigint, bigint) IS 'why an open invoice is not collected for now; null: it may be';

-- The accounts are locked, so their counters can be read before they are moved.
CREATE FUNCTION billing_internal.write_collections(account_ids bigint[], invoice_ids bigint[], method_ids bigint[], currencies text[], amounts numeric[], policies text[], at timestamptz)
    RETURNS bigint[] LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made record;
BEGIN
    SELECT array_agg(w.id ORDER BY w.n) AS ids, array_agg('collection.requested'::text) AS types, array_agg(NULL::bigint) AS cases,
           array_agg(jsonb_build_object('collection_id', w.id, 'currency', w.currency, 'amount', w.amount::text) ORDER BY w.n) AS payloads INTO made
      FROM (SELECT u.*, billing_internal.make_id(u.account_id, s.next_ordinal - 1 + row_number() OVER (PARTITION BY u.account_id ORDER BY u.n)) AS id
              FROM unnest(account_ids, currencies, amounts) WITH ORDINALITY u (account_id, currency, amount, n)
              JOIN billing.account_state s ON s.account_id = u.account_id) w;
    UPDATE billing.account_state s SET next_ordinal = s.next_ordinal + w.count
      FROM (SELECT a AS account_id, count(*) FROM unnest(account_ids) a GROUP BY 1) w WHERE s.account_id = w.account_id;
    INSERT INTO billing.collection (account_id, id, invoice_id, payment_method_id, currency, amount, policy, next_attempt_at, requested_at)
    SELECT u.account_id, u.id, u.invoice_id, u.method_id, u.currency, u.amount, u.policy, at, at
      FROM unnest(account_ids, made.ids, invoice_ids, method_ids, currencies, amounts, policies) u (account_id, id, invoice_id, method_id, currency, amount, policy);
    PERFORM billing_internal.emit_all(account_ids, made.types, at, invoice_ids, made.cases, made.payloads);
    RETURN made.ids;
END $$;
COMMENT ON FUNCTION billing_internal.write_collections(bigint[], bigint[], bigint[], text[], numeric[], text[], timestamptz) IS
    'enters requests to collect invoices of locked accounts; returns their ids';

CREATE FUNCTION billing_internal.request_collection(account_id bigint, invoice_id bigint, at timestamptz, policy text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i record;
    method bigint;
BEGIN
    SELECT x.amount_due, x.currency, x.kind, x.status, e.retry_policy INTO i
      FROM billing.invoice x JOIN billing.entity e ON e.code = x.entity
     WHERE x.account_id = request_collection.account_id AND x.id = request_collection.invoice_id;
    IF i.status IS DISTINCT FROM 'open' OR i.kind = 'credit_note' THEN RETURN NULL; END IF;
    method := billing_internal.collection_method(account_id, invoice_id);
    IF method IS NULL OR NOT billing_internal.is_usable(account_id, method, at) OR billing_internal.why_not_collected(account_id, invoice_id) IS NOT NULL
       OR EXISTS (SELECT FROM billing.collection c WHERE c.account_id = request_collection.account_id AND c.invoice_id = request_collection.invoice_id
                     AND c.status IN ('waiting', 'claimed', 'submitted')) THEN
        RETURN NULL;
    END IF;
    RETURN (billing_internal.write_collections(ARRAY[account_id], ARRAY[invoice_id], ARRAY[method], ARRAY[i.currency], ARRAY[i.amount_due],
                                               ARRAY[coalesce(policy, i.retry_policy)], at))[1];
END $$;
COMMENT ON FUNCTION billing_internal.request_collection(bigint, bigint, timestamptz, text) IS
    'asks for the collection of an open invoice of the locked account; null where no usable method collects it or one is under way';

CREATE FUNCTION billing.collect_invoice(invoice_id bigint, policy text DEFAULT NULL, effective_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.collect_invoice(bigint, text, timestamptz, text) IS
    'asks for the collection of an open invoice now, also where runs would not try again, by a retry policy (default the entity''s); returns the collection''s id, that of the one under way where there is one';
CREATE FUNCTION billing_internal.collect_invoice(invoice_id bigint, policy text, effective_at timestamptz, idempotency_key text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    h billing.invoice_header;
    held text;
    result bigint;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.lock_invoice(invoice_id);
    held := billing_internal.why_not_collected(invoice_id >> 24, invoice_id);
    SELECT * INTO h FROM billing.invoice_header x WHERE x.account_id = collect_invoice.invoice_id >> 24 AND x.id = collect_invoice.invoice_id;
    IF h.kind = 'credit_note' OR h.status <> 'open' THEN
        PERFORM billing_internal.fail('wrong_document_state', format('%s %s is %s and cannot be collected', replace(h.kind, '_', ' '), h.id, h.status));
    ELSIF NOT EXISTS (SELECT FROM billing.retry_policy p WHERE p.code = policy) AND policy IS NOT NULL THEN
        PERFORM billing_internal.fail('unknown_retry_policy', format('retry policy "%s" does not exist', policy));
    ELSIF held IS NOT NULL THEN
        PERFORM billing_internal.fail('wrong_case_state', format('%s %s is %s and is not collected', replace(h.kind, '_', ' '), h.id, held));
    END IF;
    SELECT c.id INTO result FROM billing.collection c
     WHERE c.account_id = h.account_id AND c.invoice_id = h.id AND c.status IN ('waiting', 'claimed', 'submitted');
    result := coalesce(result, billing_internal.request_collection(h.account_id, h.id, at, policy));
    IF result IS NULL THEN
        PERFORM billing_internal.fail('payment_method_unusable', format('no usable payment method collects invoice %s', h.id), NULL, 'Add one with billing.add_payment_method().');
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.collect_invoice(bigint, text, timestamptz, text) IS 'body of billing.collect_invoice';

-- Ends a collection that is not collected (any more).
CREATE FUNCTION billing_internal.end_collection(account_id bigint, collection_id bigint, status text, failure text, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE billing.collection c SET status = end_collection.status, failure = end_collection.failure, settled_at = at, next_attempt_at = NULL, lease_until = NULL
     WHERE c.account_id = end_collection.account_id AND c.id = collection_id;
    PERFORM billing_internal.emit(c.account_id, 'collection.' || c.status, at, invoice_id => c.invoice_id,
                                  payload => jsonb_build_object('collection_id', c.id, 'failure', c.failure))
       FROM billing.collection c WHERE c.account_id = end_collection.account_id AND c.id = collection_id;
END $$;
COMMENT ON FUNCTION billing_internal.end_collection(bigint, bigint, text, text, timestamptz) IS 'ends a collection as failed or canceled';

-- Called when what is settled of an invoice has changed: what is not open is not collected.  What the provider decides
-- already stays; should it come in, it is customer credit.
CREATE FUNCTION billing_internal.collection_of_invoice_changed(account_id bigint, invoice_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.end_collection(c.account_id, c.id, 'canceled', 'invoice is ' || h.status, at)
       FROM billing.collection c JOIN billing.invoice_header h ON h.account_id = c.account_id AND h.id = c.invoice_id AND h.status <> 'open'
      WHERE c.account_id = collection_of_invoice_changed.account_id AND c.invoice_id = collection_of_invoice_changed.invoice_id
        AND c.status IN ('waiting', 'claimed');
END $$;
COMMENT ON FUNCTION billing_internal.collection_of_invoice_changed(bigint, bigint, timestamptz) IS 'cancels the collection of an invoice that is not open any more';

CREATE FUNCTION billing.claim_collections(worker text, max int DEFAULT 1, lease interval DEFAULT '5 minutes', at timestamptz DEFAULT NULL, entity text DEFAULT NULL,
    OUT collection_id bigint, OUT account_id bigint, OUT invoice_id bigint, OUT number text, OUT attempt_no int, OUT currency text, OUT amount numeric,
    OUT payment_method_id bigint, OUT type text, OUT provider text, OUT token text, OUT iban text, OUT mandate_reference text, OUT mandate_signed_on date,
    OUT mandate_scheme text, OUT sequence text, OUT attempt_key text, OUT lease_until timestamptz)
    RETURNS SETOF record LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.claim_collections(text, int, interval, timestamptz, text) IS
    'gives a worker the next collections to carry out, at most so many, each to nobody else until its lease ends; attempt_key stays the same after an attempt that was lost, so that a provider who had it does not collect twice; tell the outcome with billing.settle_collection()';
CREATE FUNCTION billing_internal.claim_collections(worker text, max int, lease interval, at timestamptz, entity text,
    OUT collection_id bigint, OUT account_id bigint, OUT invoice_id bigint, OUT number text, OUT attempt_no int, OUT currency text, OUT amount numeric,
    OUT payment_method_id bigint, OUT type text, OUT provider text, OUT token text, OUT iban text, OUT mandate_reference text, OUT mandate_signed_on date,
    OUT mandate_scheme text, OUT sequence text, OUT attempt_key text, OUT lease_until timestamptz)
    RETURNS SETOF record LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    wanted int := coalesce(max, 1);
    looked boolean := true;
    c record;
BEGIN
    at := coalesce(at, now());
    lease := coalesce(lease, interval '5 minutes');
    PERFORM billing_internal.check_claim(worker, max, lease, at, entity);
    -- Those that cannot be tried now are put off, and others take their place.
    WHILE looked AND wanted > 0 LOOP
        looked := false;
        FOR c IN SELECT x.account_id, x.id
                   FROM billing.collection x JOIN billing.account_state s ON s.account_id = x.account_id AND s.entity = coalesce(claim_collections.entity, s.entity)
                  WHERE x.status IN ('waiting', 'claimed') AND x.next_attempt_at <= at AND coalesce(x.lease_until <= at, true)
                  ORDER BY x.next_attempt_at, x.account_id, x.id LIMIT wanted FOR NO KEY UPDATE OF s SKIP LOCKED LOOP
            PERFORM billing_internal.lock_account(c.account_id);
            looked := true;
            CONTINUE WHEN NOT billing_internal.claim_collection(c.account_id, c.id, worker, lease, at);
            wanted := wanted - 1;
            RETURN QUERY
            SELECT k.id, k.account_id, k.invoice_id, i.number, k.attempts, k.currency, k.amount, k.payment_method_id, m.type, m.provider, m.token, m.iban,
                   d.reference, d.signed_on, d.scheme, d.sequence,
                   concat_ws('-', k.id, (SELECT 1 + count(*) FROM billing.collection_attempt t WHERE t.account_id = k.account_id AND t.collection_id = k.id AND t.outcome <> 'lost')),
                   k.lease_until
              FROM billing.collection k
              JOIN billing.invoice i ON i.account_id = k.account_id AND i.id = k.invoice_id
              JOIN billing.payment_method m ON m.account_id = k.account_id AND m.id = k.payment_method_id
              LEFT JOIN billing.mandate d ON d.account_id = m.account_id AND d.payment_method_id = m.id
             WHERE k.account_id = c.account_id AND k.id = c.id;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.claim_collections(text, int, interval, timestamptz, text) IS 'body of billing.claim_collections';

-- Read again under the lock: another worker may have been here.  A lease that ran out is an attempt that was lost.
CREATE FUNCTION billing_internal.claim_collection(account_id bigint, collection_id bigint, worker text, lease interval, at timestamptz) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c billing.collection;
    opens_at timestamptz;
    due numeric;
BEGIN
    SELECT * INTO c FROM billing.collection x WHERE x.account_id = claim_collection.account_id AND x.id = collection_id
       AND x.status IN ('waiting', 'claimed') AND x.next_attempt_at <= at AND coalesce(x.lease_until <= at, true);
    IF NOT FOUND THEN RETURN false; END IF;
    UPDATE billing.collection_attempt t SET outcome = 'lost', settled_at = at
     WHERE t.account_id = c.account_id AND t.collection_id = c.id AND t.attempt_no = c.attempts AND t.outcome IS NULL;
    opens_at := CASE WHEN billing_internal.why_not_collected(c.account_id, c.invoice_id) IS NOT NULL THEN at + interval '1 day'
                     ELSE billing_internal.window_opens_at(c.account_id, c.payment_method_id, c.policy, at) END;
    IF NOT billing_internal.is_usable(c.account_id, c.payment_method_id, at) THEN
        PERFORM billing_internal.end_collection(c.account_id, c.id, 'failed', 'payment method cannot be used', at);
        RETURN false;
    ELSIF opens_at IS NOT NULL THEN
        UPDATE billing.collection x SET status = 'waiting', claimed_by = NULL, lease_until = NULL, next_attempt_at = opens_at WHERE x.account_id = c.account_id AND x.id = c.id;
        RETURN false;
    END IF;
    SELECT i.amount_due INTO due FROM billing.invoice i WHERE i.account_id = c.account_id AND i.id = c.invoice_id;
    UPDATE billing.collection x
       SET status = 'claimed', amount = due, attempts = c.attempts + 1, first_attempt_at = coalesce(c.first_attempt_at, at), claimed_by = worker, lease_until = at + lease
     WHERE x.account_id = c.account_id AND x.id = c.id;
    INSERT INTO billing.collection_attempt (account_id, collection_id, attempt_no, payment_method_id, currency, amount, claimed_at)
    VALUES (c.account_id, c.id, c.attempts + 1, c.payment_method_id, c.currency, due, at);
    RETURN true;
END $$;
COMMENT ON FUNCTION billing_internal.claim_collection(bigint, bigint, text, interval, timestamptz) IS 'gives a collection of the locked account to a worker; false: not now';
