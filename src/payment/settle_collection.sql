-- Outcomes of collections.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing_internal.lock_collection(collection_id bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := collection_id >> 24;
BEGIN
    IF EXISTS (SELECT FROM billing.account_state s WHERE s.account_id = account) THEN
        PERFORM billing_internal.lock_account(account);
    END IF;
    IF NOT EXISTS (SELECT FROM billing.collection c WHERE c.account_id = account AND c.id = lock_collection.collection_id) THEN
        PERFORM billing_internal.fail('unknown_collection', format('collection %s does not exist', collection_id));
    END IF;
    RETURN account;
END $$;
COMMENT ON FUNCTION billing_internal.lock_collection(bigint) IS 'locks the account of a collection and returns it';

-- The first collection is followed by recurring ones; a final or single one is the last.
CREATE FUNCTION billing_internal.use_mandate(account_id bigint, payment_method_id bigint, at timestamptz) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    UPDATE billing.mandate d
       SET last_used_on = greatest(d.last_used_on, billing_internal.local_day($1, $3)),
           sequence = CASE d.sequence WHEN 'first' THEN 'recurring' ELSE d.sequence END,
           status = CASE WHEN d.sequence IN ('final', 'one_off') THEN 'expired' ELSE d.status END
     WHERE d.account_id = $1 AND d.payment_method_id = $2
$$;
COMMENT ON FUNCTION billing_internal.use_mandate(bigint, bigint, timestamptz) IS 'notes that a direct debit was collected by its mandate';

-- Money came in: a payment, set against the invoice first.  It is recorded also where the invoice was paid or voided
-- meanwhile: then it is for other invoices, or customer credit.
CREATE FUNCTION billing_internal.collection_succeeded(account_id bigint, collection_id bigint, attempt_no int, reference text, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
    payment bigint;
BEGIN
    UPDATE billing.collection x SET status = 'succeeded', settled_at = at, next_attempt_at = NULL, lease_until = NULL, failure = NULL
     WHERE x.account_id = collection_succeeded.account_id AND x.id = collection_id;
    SELECT x.invoice_id, x.payment_id, t.amount, t.currency, t.payment_method_id, m.type, m.provider, h.status IN ('open', 'paid', 'uncollectible') AS payable,
           array_prepend('named', array_remove(e.allocation_rules, 'named')) AS rules INTO c
      FROM billing.collection x
      JOIN billing.collection_attempt t ON t.account_id = x.account_id AND t.collection_id = x.id AND t.attempt_no = collection_succeeded.attempt_no
      JOIN billing.payment_method m ON m.account_id = t.account_id AND m.id = t.payment_method_id
      JOIN billing.invoice_header h ON h.account_id = x.account_id AND h.id = x.invoice_id
      JOIN billing.entity e ON e.code = h.entity
     WHERE x.account_id = collection_succeeded.account_id AND x.id = collection_succeeded.collection_id;
    -- Another worker may have this collection: whatever it is told, the provider collected once by the attempt_key.
    UPDATE billing.collection_attempt t SET outcome = 'lost', settled_at = at
     WHERE t.account_id = collection_succeeded.account_id AND t.collection_id = collection_succeeded.collection_id
       AND (t.outcome IS NULL OR t.outcome = 'submitted');
    PERFORM billing_internal.use_mandate(account_id, c.payment_method_id, at);
    payment := billing_internal.record_payment(account_id, c.amount, c.currency, c.type, c.payment_method_id, c.provider, reference,
        CASE WHEN c.payable THEN ARRAY[c.invoice_id] END, c.rules, NULL, NULL, at, jsonb_build_object('collection_id', collection_id), NULL);
    IF payment IS DISTINCT FROM c.payment_id THEN
        UPDATE billing.collection x SET payment_id = payment, amount = c.amount
         WHERE x.account_id = collection_succeeded.account_id AND x.id = collection_id AND x.payment_id IS NULL;
        PERFORM billing_internal.emit(account_id, 'collection.succeeded', at, invoice_id => c.invoice_id, payment_id => payment,
                                      payload => jsonb_build_object('collection_id', collection_id));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.collection_succeeded(bigint, bigint, int, text, timestamptz) IS
    'records the payment of an attempt that came in; where another one came in before, and by the same reference, it is that one';

CREATE FUNCTION billing_internal.collection_declined(account_id bigint, collection_id bigint, code text, class text, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c billing.collection;
    action text;
    next_at timestamptz;
    ended text;
BEGIN
    SELECT * INTO c FROM billing.collection x WHERE x.account_id = collection_declined.account_id AND x.id = collection_id;
    -- Canceled while the worker or the provider had it: it is not tried again.
    SELECT coalesce(c.failure, CASE WHEN h.status <> 'open' THEN 'invoice is ' || h.status END) INTO ended
      FROM billing.invoice_header h WHERE h.account_id = c.account_id AND h.id = c.invoice_id;
    action := billing_internal.decline_action(c.policy, class);
    IF ended IS NULL AND action = 'retry' THEN
        next_at := billing_internal.next_attempt(account_id, collection_id, at);
    END IF;
    UPDATE billing.collection x SET status = CASE WHEN next_at IS NULL THEN x.status ELSE 'waiting' END, next_attempt_at = next_at, lease_until = NULL, claimed_by = NULL
     WHERE x.account_id = c.account_id AND x.id = c.id;
    PERFORM billing_internal.emit(account_id, 'collection.declined', at, invoice_id => c.invoice_id, payload => jsonb_strip_nulls(jsonb_build_object(
        'collection_id', c.id, 'attempt_no', c.attempts, 'code', code, 'class', class, 'next_attempt_at', billing_internal.payload_instant(next_at))));
    IF class = 'dead' THEN
        PERFORM billing_internal.move_method(m.account_id, m.id, 'dead', at)
           FROM billing.payment_method m
          WHERE m.account_id = c.account_id AND m.id = c.payment_method_id AND m.status IN ('pending', 'active', 'expired');
    END IF;
    IF ended IS NOT NULL AND c.status NOT IN ('canceled', 'failed') THEN
        PERFORM billing_internal.end_collection(account_id, collection_id, 'canceled', ended, at);
    ELSIF ended IS NULL AND next_at IS NULL THEN
        PERFORM billing_internal.end_collection(account_id, collection_id, 'failed',
            CASE action WHEN 'retry' THEN 'no attempt is left' WHEN 'ask' THEN 'another payment method is needed' ELSE 'refused' END, at);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.collection_declined(bigint, bigint, text, text, timestamptz) IS
    'tries a declined collection again by its policy, or ends it: another method is needed, or it was refused';

CREATE FUNCTION billing.settle_collection(collection_id bigint, outcome text, code text DEFAULT NULL, reference text DEFAULT NULL, attempt_no int DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.settle_collection(bigint, text, text, text, int, timestamptz, text) IS
    'tells the outcome of an attempt of a collection, by default the last: succeeded (records the payment, with the provider''s reference), declined (with the provider''s code: tried again, another method asked for, or stopped) or submitted (the provider decides later: then succeeded or declined); repeating it does nothing; returns its id';
CREATE FUNCTION billing_internal.settle_collection(collection_id bigint, outcome text, code text, reference text, attempt_no int, effective_at timestamptz, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    c billing.collection;
    t billing.collection_attempt;
    new_class text;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.check_one_of(outcome, 'outcome', 'succeeded', 'declined', 'submitted'),
            billing_internal.check_not_empty(reference, 'reference'), billing_internal.lock_collection(collection_id);
    SELECT * INTO c FROM billing.collection x WHERE x.account_id = settle_collection.collection_id >> 24 AND x.id = settle_collection.collection_id;
    SELECT * INTO t FROM billing.collection_attempt x
     WHERE x.account_id = c.account_id AND x.collection_id = c.id AND x.attempt_no = coalesce(settle_collection.attempt_no, c.attempts);
    IF t.outcome = outcome AND t.code IS NOT DISTINCT FROM settle_collection.code AND (t.reference IS NOT DISTINCT FROM settle_collection.reference OR settle_collection.reference IS NULL)
       -- Another worker repeats what was lost, by the same attempt_key, and is told the same.
       OR t.outcome = 'lost' AND outcome <> 'succeeded' AND (t.attempt_no < c.attempts OR c.status = 'succeeded') THEN
        RETURN c.id;
    ELSIF t.attempt_no IS NULL OR coalesce(t.outcome, 'lost') NOT IN ('submitted', 'lost') OR t.outcome = outcome OR c.status = 'succeeded' AND reference IS NULL THEN
        PERFORM billing_internal.fail('not_claimed', format('collection %s is %s and was not settled as %s', c.id, c.status, outcome),
            CASE WHEN t.outcome IS NOT NULL THEN format('Attempt %s was %s.', t.attempt_no, t.outcome) END,
            CASE WHEN outcome = 'succeeded' OR t.outcome = 'succeeded' THEN 'Record money that came a second time with billing.record_payment(), and money that came back with billing.charge_back_payment().' END);
    END IF;
    IF outcome = 'declined' THEN
        new_class := billing_internal.decline_class((SELECT m.provider FROM billing.payment_method m WHERE m.account_id = c.account_id AND m.id = t.payment_method_id), code);
    END IF;
    UPDATE billing.collection_attempt x
       SET outcome = settle_collection.outcome, code = settle_collection.code, class = new_class, reference = coalesce(settle_collection.reference, x.reference), settled_at = at
     WHERE x.account_id = c.account_id AND x.collection_id = c.id AND x.attempt_no = t.attempt_no;
    IF outcome = 'succeeded' THEN
        PERFORM billing_internal.collection_succeeded(c.account_id, c.id, t.attempt_no, coalesce(reference, t.reference), at);
    ELSIF outcome = 'declined' THEN
        PERFORM billing_internal.collection_declined(c.account_id, c.id, code, new_class, at);
    ELSE
        PERFORM billing_internal.use_mandate(c.account_id, t.payment_method_id, at);
        -- Also where it was canceled meanwhile: the provider has it.
        PERFORM billing_internal.end_collection(x.account_id, x.id, 'canceled', format('collection %s is under way', c.id), at)
           FROM billing.collection x WHERE x.account_id = c.account_id AND x.invoice_id = c.invoice_id AND x.id <> c.id AND x.status IN ('waiting', 'claimed');
        UPDATE billing.collection x SET status = 'submitted', next_attempt_at = NULL, lease_until = NULL, settled_at = NULL
         WHERE x.account_id = c.account_id AND x.id = c.id AND NOT EXISTS (
               SELECT FROM billing.collection o WHERE o.account_id = c.account_id AND o.invoice_id = c.invoice_id AND o.id <> c.id AND o.status = 'submitted');
    END IF;
    RETURN c.id;
END $$;
COMMENT ON FUNCTION billing_internal.settle_collection(bigint, text, text, text, int, timestamptz, text) IS 'body of billing.settle_collection';

CREATE FUNCTION billing.cancel_collection(collection_id bigint, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.cancel_collection(bigint, timestamptz, text, text) IS
    'cancels a collection that waits or that a worker has; what the worker collected all the same is recorded when it says so; returns its id';
CREATE FUNCTION billing_internal.cancel_collection(collection_id bigint, effective_at timestamptz, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    state text;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.lock_collection(collection_id);
    SELECT c.status INTO state FROM billing.collection c WHERE c.account_id = cancel_collection.collection_id >> 24 AND c.id = cancel_collection.collection_id;
    IF state IN ('submitted', 'succeeded', 'failed') THEN
        PERFORM billing_internal.fail('not_claimed', format('collection %s is %s and cannot be canceled', collection_id, state));
    ELSIF state <> 'canceled' THEN
        PERFORM billing_internal.end_collection(cancel_collection.collection_id >> 24, collection_id, 'canceled', coalesce(reason, 'by hand'), at);
    END IF;
    RETURN collection_id;
END $$;
COMMENT ON FUNCTION billing_internal.cancel_collection(bigint, timestamptz, text, text) IS 'body of billing.cancel_collection';
