-- Allocation by hand: set against an invoice, taken back.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing_internal.lock_payment(payment_id bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := payment_id >> 24;
BEGIN
    IF EXISTS (SELECT FROM billing.account_state s WHERE s.account_id = account) THEN
        PERFORM billing_internal.lock_account(account);
    END IF;
    IF NOT EXISTS (SELECT FROM billing.payment p WHERE p.account_id = account AND p.id = lock_payment.payment_id AND p.kind = 'payment') THEN
        PERFORM billing_internal.fail('unknown_payment', format('payment %s does not exist', payment_id));
    END IF;
    RETURN account;
END $$;
COMMENT ON FUNCTION billing_internal.lock_payment(bigint) IS 'locks the account of a payment and returns it';

CREATE FUNCTION billing_internal.check_left(amount numeric, amount_left numeric, currency text, what text) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result CONSTANT numeric := coalesce(billing_internal.check_amount(amount, currency, 'amount'), amount_left);
BEGIN
    IF amount_left = 0 THEN
        PERFORM billing_internal.fail('amount_exceeded', format('nothing is left %s', what));
    ELSIF result > amount_left THEN
        PERFORM billing_internal.fail('amount_exceeded', format('%s %s is more than what is left %s', result, currency, what), format('%s is left.', amount_left));
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.check_left(numeric, numeric, text, text) IS 'an amount, by default all that is left; refused where it is more';

CREATE FUNCTION billing.allocate_payment(payment_id bigint, invoice_id bigint, amount numeric DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.allocate_payment(bigint, bigint, numeric, timestamptz, text) IS
    'sets what is left of a payment, or a part of it, against an invoice; by default as much as goes; returns the payment''s id';
CREATE FUNCTION billing_internal.allocate_payment(payment_id bigint, invoice_id bigint, amount numeric, effective_at timestamptz, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    account bigint;
    money text;
    due record;
BEGIN
    PERFORM billing_internal.check_billable(at);
    account := billing_internal.lock_payment(payment_id);
    SELECT p.currency INTO money FROM billing.payment p WHERE p.account_id = account AND p.id = allocate_payment.payment_id;
    PERFORM billing_internal.check_named_invoices(account, ARRAY[invoice_id], '{named}');
    SELECT i.amount_due AS amount, i.currency INTO due FROM billing.invoice i WHERE i.account_id = account AND i.id = allocate_payment.invoice_id;
    IF due.currency <> money THEN
        PERFORM billing_internal.fail('currency_mismatch', format('invoice %s has the currency %s, not %s', invoice_id, due.currency, money));
    END IF;
    amount := billing_internal.check_left(amount, least(due.amount, billing_internal.unallocated(account, payment_id)), money,
                                          format('of payment %s or due of invoice %s', payment_id, invoice_id));
    PERFORM billing_internal.set_against(account, payment_id, invoice_id, amount, at, 'by hand');
    PERFORM billing_internal.forgive_rest(account, payment_id, invoice_id, at);
    PERFORM billing_internal.mark_credit(account);
    RETURN payment_id;
END $$;
COMMENT ON FUNCTION billing_internal.allocate_payment(bigint, bigint, numeric, timestamptz, text) IS 'body of billing.allocate_payment';

-- Credit notes of an invoice that are not used up take the place of money that is taken back from it, so that what was
-- credited before it was refunded does not open again.
CREATE FUNCTION billing_internal.replace_by_credit(account_id bigint, invoice_id bigint, amount numeric, at timestamptz) RETURNS numeric
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    note record;
    part numeric;
    replaced numeric := 0;
BEGIN
    FOR note IN SELECT h.id, h.total + h.rounding_amount - h.amount_paid - h.amount_credited AS rest
                  FROM billing.invoice_header h
                 WHERE h.account_id = replace_by_credit.account_id AND h.credits_invoice_id = replace_by_credit.invoice_id
                   AND h.kind = 'credit_note' AND h.status = 'open' ORDER BY h.id LOOP
        part := least(note.rest, amount - replaced);
        EXIT WHEN part = 0;
        PERFORM billing_internal.move_credit(account_id, note.id, invoice_id, part, at, 'instead of money');
        replaced := replaced + part;
    END LOOP;
    RETURN replaced;
END $$;
COMMENT ON FUNCTION billing_internal.replace_by_credit(bigint, bigint, numeric, timestamptz) IS
    'sets what is left of an invoice''s credit notes against it and returns how much; the caller settles the invoice';

-- Takes part of a payment back from an invoice, and with it what was given up for its sake.
CREATE FUNCTION billing_internal.take_back(account_id bigint, payment_id bigint, invoice_id bigint, amount numeric, at timestamptz, reason text)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    forgiven record;
    total numeric := amount;
BEGIN
    PERFORM billing_internal.move_payment(account_id, payment_id, invoice_id, - amount, at, reason);
    FOR forgiven IN SELECT p.id, sum(a.amount) AS amount
                      FROM billing.payment_allocation a JOIN billing.payment p ON p.account_id = a.account_id AND p.id = a.payment_id
                     WHERE a.account_id = take_back.account_id AND a.invoice_id = take_back.invoice_id AND p.kind = 'write_off'
                     GROUP BY p.id HAVING sum(a.amount) > 0 ORDER BY p.id LOOP
        PERFORM billing_internal.move_payment(account_id, forgiven.id, invoice_id, - forgiven.amount, at, reason);
        total := total + forgiven.amount;
    END LOOP;
    PERFORM billing_internal.settle_invoice(account_id, invoice_id, - total, billing_internal.replace_by_credit(account_id, invoice_id, total, at), at, reason);
END $$;
COMMENT ON FUNCTION billing_internal.take_back(bigint, bigint, bigint, numeric, timestamptz, text) IS 'takes part of a payment back from an invoice';

CREATE FUNCTION billing_internal.allocated_of(account_id bigint, payment_id bigint, OUT invoice_id bigint, OUT amount numeric) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT a.invoice_id, sum(a.amount) FROM billing.payment_allocation a WHERE a.account_id = $1 AND a.payment_id = $2
     GROUP BY 1 HAVING sum(a.amount) > 0 ORDER BY max(a.allocation_no) FILTER (WHERE a.amount > 0) DESC
$$;
COMMENT ON FUNCTION billing_internal.allocated_of(bigint, bigint) IS 'invoices against which a payment is set, the latest first';

CREATE FUNCTION billing.deallocate_payment(payment_id bigint, invoice_id bigint, amount numeric DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.deallocate_payment(bigint, bigint, numeric, timestamptz, text, text) IS
    'takes a payment, or a part of it, back from an invoice, which is open again; the money is customer credit; returns the payment''s id';
CREATE FUNCTION billing_internal.deallocate_payment(payment_id bigint, invoice_id bigint, amount numeric, effective_at timestamptz, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    account bigint;
BEGIN
    PERFORM billing_internal.check_billable(at);
    account := billing_internal.lock_payment(payment_id);
    PERFORM billing_internal.check_named_invoices(account, ARRAY[invoice_id], '{named}');
    amount := billing_internal.check_left(amount,
        coalesce((SELECT a.amount FROM billing_internal.allocated_of(account, payment_id) a WHERE a.invoice_id = deallocate_payment.invoice_id), 0),
        (SELECT p.currency FROM billing.payment p WHERE p.account_id = account AND p.id = deallocate_payment.payment_id),
        format('of payment %s on invoice %s', payment_id, invoice_id));
    PERFORM billing_internal.take_back(account, payment_id, invoice_id, amount, at, coalesce(reason, 'by hand'));
    PERFORM billing_internal.mark_credit(account);
    RETURN payment_id;
END $$;
COMMENT ON FUNCTION billing_internal.deallocate_payment(bigint, bigint, numeric, timestamptz, text, text) IS 'body of billing.deallocate_payment';
