-- Credit notes set against invoices by hand, and taken back.  billing.x is the door (rights, owner), billing_internal.x the body.

-- Locks the account of a finished credit note and returns what is left of it.
CREATE FUNCTION billing_internal.lock_credit_note(credit_note_id bigint, OUT account_id bigint, OUT currency text, OUT amount_left numeric)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    h billing.invoice_header;
BEGIN
    account_id := billing_internal.lock_invoice(credit_note_id);
    SELECT * INTO h FROM billing.invoice_header x WHERE x.account_id = lock_credit_note.account_id AND x.id = lock_credit_note.credit_note_id;
    IF h.kind <> 'credit_note' OR h.status NOT IN ('open', 'paid') THEN
        PERFORM billing_internal.fail('wrong_document_state', format('%s %s is %s and is no credit', replace(h.kind, '_', ' '), h.id, h.status));
    END IF;
    currency := h.currency;
    amount_left := h.total + h.rounding_amount - h.amount_paid - h.amount_credited;
END $$;
COMMENT ON FUNCTION billing_internal.lock_credit_note(bigint) IS 'locks the account of a credit note; what is left of the note';

CREATE FUNCTION billing.allocate_credit(credit_note_id bigint, invoice_id bigint, amount numeric DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.allocate_credit(bigint, bigint, numeric, timestamptz, text) IS
    'sets what is left of a credit note, or a part of it, against an invoice; by default as much as goes; returns the credit note''s id';
CREATE FUNCTION billing_internal.allocate_credit(credit_note_id bigint, invoice_id bigint, amount numeric, effective_at timestamptz, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    note record;
    due record;
BEGIN
    PERFORM billing_internal.check_billable(at);
    note := billing_internal.lock_credit_note(credit_note_id);
    PERFORM billing_internal.check_named_invoices(note.account_id, ARRAY[invoice_id], '{named}');
    SELECT i.amount_due AS amount, i.currency INTO due FROM billing.invoice i WHERE i.account_id = note.account_id AND i.id = allocate_credit.invoice_id;
    IF due.currency <> note.currency THEN
        PERFORM billing_internal.fail('currency_mismatch', format('invoice %s has the currency %s, not %s', invoice_id, due.currency, note.currency));
    END IF;
    amount := billing_internal.check_left(amount, least(due.amount, note.amount_left), note.currency,
                                          format('of credit note %s or due of invoice %s', credit_note_id, invoice_id));
    PERFORM billing_internal.set_off_credit(note.account_id, credit_note_id, invoice_id, amount, at, 'by hand');
    PERFORM billing_internal.mark_credit(note.account_id);
    RETURN credit_note_id;
END $$;
COMMENT ON FUNCTION billing_internal.allocate_credit(bigint, bigint, numeric, timestamptz, text) IS 'body of billing.allocate_credit';

CREATE FUNCTION billing.deallocate_credit(credit_note_id bigint, invoice_id bigint, amount numeric DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.deallocate_credit(bigint, bigint, numeric, timestamptz, text, text) IS
    'takes a credit note, or a part of it, back from an invoice, which is open again; it is customer credit; returns the credit note''s id';
CREATE FUNCTION billing_internal.deallocate_credit(credit_note_id bigint, invoice_id bigint, amount numeric, effective_at timestamptz, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    note record;
BEGIN
    PERFORM billing_internal.check_billable(at);
    note := billing_internal.lock_credit_note(credit_note_id);
    PERFORM billing_internal.check_named_invoices(note.account_id, ARRAY[invoice_id], '{named}');
    amount := billing_internal.check_left(amount,
        (SELECT coalesce(sum(c.amount), 0) FROM billing.credit_allocation c
          WHERE c.account_id = note.account_id AND c.credit_note_id = deallocate_credit.credit_note_id AND c.invoice_id = deallocate_credit.invoice_id),
        note.currency, format('of credit note %s on invoice %s', credit_note_id, invoice_id));
    PERFORM billing_internal.set_off_credit(note.account_id, credit_note_id, invoice_id, - amount, at, coalesce(reason, 'by hand'));
    PERFORM billing_internal.mark_credit(note.account_id);
    RETURN credit_note_id;
END $$;
COMMENT ON FUNCTION billing_internal.deallocate_credit(bigint, bigint, numeric, timestamptz, text, text) IS 'body of billing.deallocate_credit';
