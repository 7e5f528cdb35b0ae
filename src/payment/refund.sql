-- Money given back, and taken back by the payer's bank.  billing.x is the door (rights, owner), billing_internal.x the body.

-- Frees so much of a payment that an amount can leave it: what is not allocated first, then allocations, the latest
-- first; those invoices are open again, unless their credit notes took its place.
CREATE FUNCTION billing_internal.free_payment(account_id bigint, payment_id bigint, amount numeric, at timestamptz, reason text,
    OUT latest bigint, OUT reopened boolean)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    missing numeric := amount - billing_internal.unallocated(account_id, payment_id);
    part record;
BEGIN
    reopened := false;
    FOR part IN SELECT * FROM billing_internal.allocated_of(account_id, payment_id) LOOP
        EXIT WHEN missing <= 0;
        PERFORM billing_internal.take_back(account_id, payment_id, part.invoice_id, least(missing, part.amount), at, reason);
        missing := missing - part.amount;
        latest := coalesce(latest, part.invoice_id);
        reopened := reopened OR EXISTS (SELECT FROM billing.invoice_header h WHERE h.account_id = free_payment.account_id AND h.id = part.invoice_id AND h.status = 'open');
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.free_payment(bigint, bigint, numeric, timestamptz, text) IS
    'takes a payment back from invoices, the latest first, until so much of it is free; returns the latest, and whether one is open again';

-- Invoices that are open again take other credit of the account as new ones do.  The money that went is not there any more.
CREATE FUNCTION billing_internal.cover_reopened(account_id bigint, reopened boolean, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF reopened AND (SELECT s.has_credit FROM billing.account_state s WHERE s.account_id = cover_reopened.account_id) THEN
        PERFORM billing_internal.use_credit(account_id, at);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.cover_reopened(bigint, boolean, timestamptz) IS 'sets the account''s credit against invoices that are open again';

-- The refund recorded before with the provider's reference, if it is the same.
CREATE FUNCTION billing_internal.same_refund(kind text, origin bigint, amount numeric, fee numeric, provider text, reference text) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result CONSTANT bigint := billing_internal.known_reference('refund', provider, reference);
BEGIN
    IF result IS NOT NULL AND NOT EXISTS (
        SELECT FROM billing.refund r WHERE r.account_id = origin >> 24 AND r.id = result AND r.kind = same_refund.kind
           AND coalesce(r.payment_id, r.credit_note_id) = origin AND r.amount = coalesce(same_refund.amount, r.amount)
              AND r.fee = coalesce(same_refund.fee, 0)) THEN
        PERFORM billing_internal.refuse_reference('refund', provider, reference);
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.same_refund(text, bigint, numeric, numeric, text, text) IS
    'refund or chargeback that was recorded before with a provider''s reference; idempotency_conflict where it is another';

-- Since when so much of a payment or credit note is left: no date shows more given back than there was.  A refund that is
-- told late keeps its date where it can.
CREATE FUNCTION billing_internal.left_since(account_id bigint, origin_id bigint, amount numeric) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH note AS (SELECT billing_internal.issued_at(h.account_id, h.id) AS at, h.total + h.rounding_amount AS amount
                    FROM billing.invoice_header h WHERE h.account_id = $1 AND h.id = $2),
    moved AS (SELECT timestamptz '-infinity' AS at, 0 AS amount
              UNION ALL SELECT p.received_at, p.amount FROM billing.payment p WHERE p.account_id = $1 AND p.id = $2
              UNION ALL SELECT a.allocated_at, - a.amount FROM billing.payment_allocation a WHERE a.account_id = $1 AND a.payment_id = $2
              UNION ALL SELECT n.at, n.amount FROM note n
              UNION ALL SELECT coalesce(c.allocated_at, n.at), - c.amount FROM billing.credit_allocation c, note n WHERE c.account_id = $1 AND c.credit_note_id = $2
              UNION ALL SELECT r.refunded_at, - r.amount FROM billing.refund r WHERE r.account_id = $1 AND $2 IN (r.payment_id, r.credit_note_id))
    SELECT max(x.until) FILTER (WHERE x.amount_left < $3)
      FROM (SELECT sum(sum(m.amount)) OVER (ORDER BY m.at) AS amount_left, lead(m.at) OVER (ORDER BY m.at) AS until FROM moved m GROUP BY m.at) x
$$;
COMMENT ON FUNCTION billing_internal.left_since(bigint, bigint, numeric) IS 'instant from which on so much of a payment or credit note is not used';

CREATE FUNCTION billing_internal.write_refund(account_id bigint, kind text, payment_id bigint, credit_note_id bigint, currency text, amount numeric,
    fee numeric, at timestamptz, provider text, reference text, reason text, metadata jsonb) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result CONSTANT bigint := billing_internal.next_id(account_id);
    given_at CONSTANT timestamptz := greatest(at, billing_internal.left_since(account_id, coalesce(payment_id, credit_note_id), amount));
    payload jsonb := jsonb_build_object('refund_id', result, 'currency', currency, 'amount', amount::text);
BEGIN
    PERFORM billing_internal.claim_reference('refund', provider, reference, account_id, result);
    INSERT INTO billing.refund (account_id, id, kind, payment_id, credit_note_id, currency, amount, fee, refunded_at, provider, reference, reason, metadata)
    VALUES (account_id, result, kind, payment_id, credit_note_id, currency, amount, fee, given_at, provider, reference, reason, billing_internal.check_metadata(metadata));
    IF kind = 'chargeback' THEN
        payload := payload || jsonb_build_object('fee', fee::text);
    END IF;
    PERFORM billing_internal.emit(account_id, CASE kind WHEN 'refund' THEN 'payment.refunded' ELSE 'payment.charged_back' END, given_at,
                                  invoice_id => credit_note_id, payment_id => payment_id, payload => payload);
    PERFORM billing_internal.mark_credit(account_id);
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.write_refund(bigint, text, bigint, bigint, text, numeric, numeric, timestamptz, text, text, text, jsonb) IS
    'writes a refund or chargeback of a locked account and returns its id';

CREATE FUNCTION billing.refund_payment(payment_id bigint, amount numeric DEFAULT NULL, provider text DEFAULT NULL, reference text DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL, metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.refund_payment(bigint, numeric, text, text, timestamptz, text, jsonb, text) IS
    'gives money back, by default all that is left: first what is not allocated, then from invoices, the latest first, which are open again unless they were credited; returns the refund''s id';
CREATE FUNCTION billing_internal.refund_payment(payment_id bigint, amount numeric, provider text, reference text, effective_at timestamptz,
    reason text, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    p billing.payment;
    result bigint;
    was_reopened boolean;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.lock_payment(payment_id);
    result := billing_internal.same_refund('refund', payment_id, amount, 0, provider, reference);
    IF result IS NOT NULL THEN RETURN result; END IF;
    SELECT * INTO p FROM billing.payment x WHERE x.account_id = refund_payment.payment_id >> 24 AND x.id = refund_payment.payment_id;
    amount := billing_internal.check_left(amount, p.amount - p.amount_refunded - p.amount_charged_back, p.currency, format('of payment %s', p.id));
    was_reopened := (billing_internal.free_payment(p.account_id, p.id, amount, at, coalesce(reason, 'refunded'))).reopened;
    UPDATE billing.payment x SET amount_refunded = x.amount_refunded + refund_payment.amount WHERE x.account_id = p.account_id AND x.id = p.id;
    result := billing_internal.write_refund(p.account_id, 'refund', p.id, NULL, p.currency, amount, 0, at, provider, reference, reason, metadata);
    PERFORM billing_internal.cover_reopened(p.account_id, was_reopened, at);
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.refund_payment(bigint, numeric, text, text, timestamptz, text, jsonb, text) IS 'body of billing.refund_payment';

CREATE FUNCTION billing.refund_credit(credit_note_id bigint, amount numeric DEFAULT NULL, provider text DEFAULT NULL, reference text DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL, metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.refund_credit(bigint, numeric, text, text, timestamptz, text, jsonb, text) IS
    'pays out what is left of a credit note, or a part of it; returns the refund''s id';
CREATE FUNCTION billing_internal.refund_credit(credit_note_id bigint, amount numeric, provider text, reference text, effective_at timestamptz,
    reason text, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    h billing.invoice_header;
    known bigint;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.lock_invoice(credit_note_id);
    SELECT * INTO h FROM billing.invoice_header x WHERE x.account_id = credit_note_id >> 24 AND x.id = credit_note_id;
    IF h.kind <> 'credit_note' OR h.status = 'draft' THEN
        PERFORM billing_internal.fail('wrong_document_state', format('%s %s is %s and cannot be paid out', replace(h.kind, '_', ' '), h.id, h.status));
    END IF;
    known := billing_internal.same_refund('refund', h.id, amount, 0, provider, reference);
    IF known IS NOT NULL THEN RETURN known; END IF;
    amount := billing_internal.check_left(amount, h.total + h.rounding_amount - h.amount_paid - h.amount_credited, h.currency, format('of credit note %s', h.id));
    UPDATE billing.invoice_header x
       SET amount_paid = x.amount_paid + refund_credit.amount,
           status = CASE WHEN x.amount_paid + refund_credit.amount + x.amount_credited = x.total + x.rounding_amount THEN 'paid' ELSE x.status END
     WHERE x.account_id = h.account_id AND x.id = h.id;
    RETURN billing_internal.write_refund(h.account_id, 'refund', NULL, h.id, h.currency, amount, 0, at, provider, reference, reason, metadata);
END $$;
COMMENT ON FUNCTION billing_internal.refund_credit(bigint, numeric, text, text, timestamptz, text, jsonb, text) IS 'body of billing.refund_credit';

CREATE FUNCTION billing.charge_back_payment(payment_id bigint, amount numeric DEFAULT NULL, fee numeric DEFAULT 0, pass_on boolean DEFAULT false,
    provider text DEFAULT NULL, reference text DEFAULT NULL, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL,
    metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.charge_back_payment(bigint, numeric, numeric, boolean, text, text, timestamptz, text, jsonb, text) IS
    'records that the payer''s bank took a payment back, by default all that is left; its invoices are open again; the bank''s fee may be passed on as a claim; returns the chargeback''s id';
CREATE FUNCTION billing_internal.charge_back_payment(payment_id bigint, amount numeric, fee numeric, pass_on boolean, provider text, reference text,
    effective_at timestamptz, reason text, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at timestamptz := coalesce(effective_at, now());
    why CONSTANT text := coalesce(reason, 'charged back');
    p billing.payment;
    freed record;
    result bigint;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.lock_payment(payment_id);
    result := billing_internal.same_refund('chargeback', payment_id, amount, fee, provider, reference);
    IF result IS NOT NULL THEN RETURN result; END IF;
    SELECT * INTO p FROM billing.payment x WHERE x.account_id = charge_back_payment.payment_id >> 24 AND x.id = charge_back_payment.payment_id;
    amount := billing_internal.check_left(amount, p.amount - p.amount_refunded - p.amount_charged_back, p.currency, format('of payment %s', p.id));
    fee := coalesce(billing_internal.check_amount(nullif(fee, 0), p.currency, 'fee'), 0);
    freed := billing_internal.free_payment(p.account_id, p.id, amount, at, why);
    UPDATE billing.payment x SET amount_charged_back = x.amount_charged_back + charge_back_payment.amount WHERE x.account_id = p.account_id AND x.id = p.id;
    result := billing_internal.write_refund(p.account_id, 'chargeback', p.id, NULL, p.currency, amount, fee, at, provider, reference, reason, metadata);
    SELECT r.refunded_at INTO at FROM billing.refund r WHERE r.account_id = p.account_id AND r.id = result;
    PERFORM billing_internal.cover_reopened(p.account_id, freed.reopened, at);
    IF pass_on AND fee > 0 THEN
        PERFORM billing_internal.write_claim(p.account_id, freed.latest,
            jsonb_build_array(jsonb_build_object('kind', 'fee', 'description', 'Fee for a payment that came back', 'amount', fee)), at, why);
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.charge_back_payment(bigint, numeric, numeric, boolean, text, text, timestamptz, text, jsonb, text) IS 'body of billing.charge_back_payment';
