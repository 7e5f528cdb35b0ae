-- What is settled of documents.  settle_invoice() is the one place where that of an invoice moves: payments, credit
-- notes, what is taken back.

-- Locks the account of a document; the document may have changed until then, so it is read afterwards.
CREATE FUNCTION billing_internal.lock_invoice(invoice_id bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := invoice_id >> 24;
BEGIN
    IF EXISTS (SELECT FROM billing.account_state s WHERE s.account_id = account) THEN
        PERFORM billing_internal.lock_account(account);
    END IF;
    IF NOT EXISTS (SELECT FROM billing.invoice_header h WHERE h.account_id = account AND h.id = lock_invoice.invoice_id) THEN
        PERFORM billing_internal.fail('unknown_invoice', format('document %s does not exist', invoice_id));
    END IF;
    RETURN account;
END $$;
COMMENT ON FUNCTION billing_internal.lock_invoice(bigint) IS 'locks the account of a document and returns it';

CREATE FUNCTION billing_internal.issued_at(account_id bigint, document_id bigint) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT i.issued_on::timestamp AT TIME ZONE e.time_zone FROM billing.invoice i JOIN billing.entity e ON e.code = i.entity
             WHERE i.account_id = issued_at.account_id AND i.id = issued_at.document_id);
END $$;
COMMENT ON FUNCTION billing_internal.issued_at(bigint, bigint) IS 'when the day of issue of a finished document begins where its seller is; null: a draft';

-- What comes in of an invoice that was given up is recovered: its write-offs sum to what is still open, and count
-- from no earlier instant than what was settled before, as allocations do.
CREATE FUNCTION billing_internal.write_write_off(account_id bigint, invoice_id bigint, amount numeric, at timestamptz, reason text) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO billing.write_off (account_id, invoice_id, write_off_no, currency, amount, written_off_at, reason)
    SELECT h.account_id, h.id, 1 + (SELECT count(*) FROM billing.write_off w WHERE w.account_id = $1 AND w.invoice_id = $2), h.currency, $3,
           greatest($4, billing_internal.settled_until($1, NULL, $2)), $5
      FROM billing.invoice_header h WHERE h.account_id = $1 AND h.id = $2 AND $3 <> 0
$$;
COMMENT ON FUNCTION billing_internal.write_write_off(bigint, bigint, numeric, timestamptz, text) IS
    'notes what was given up of an invoice; negative: recovered';

-- Moves what is paid and credited of an invoice by differences, and its status with it.
CREATE FUNCTION billing_internal.settle_invoice(account_id bigint, invoice_id bigint, paid numeric, credited numeric, at timestamptz, reason text)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    h billing.invoice_header;
    due numeric;
    status_after text;
BEGIN
    SELECT * INTO h FROM billing.invoice_header x WHERE x.account_id = settle_invoice.account_id AND x.id = settle_invoice.invoice_id;
    IF h.id IS NULL THEN
        PERFORM billing_internal.fail('unknown_invoice', format('document %s does not exist', invoice_id));
    ELSIF h.kind = 'credit_note' OR h.status IN ('draft', 'void') THEN
        PERFORM billing_internal.fail('wrong_document_state', format('%s %s is %s and cannot be settled', replace(h.kind, '_', ' '), h.id, h.status));
    END IF;
    due := h.total + h.rounding_amount - h.amount_paid - h.amount_credited;
    IF paid + credited > due THEN
        PERFORM billing_internal.fail('amount_exceeded', format('%s %s is more than what is due of invoice %s', paid + credited, h.currency, h.id),
                                      format('%s is due.', due));
    END IF;
    due := due - paid - credited;
    status_after := CASE WHEN due = 0 THEN 'paid' WHEN h.status = 'paid' THEN 'open' ELSE h.status END;
    UPDATE billing.invoice_header x
       SET amount_paid = x.amount_paid + paid, amount_credited = x.amount_credited + credited, status = status_after
     WHERE x.account_id = h.account_id AND x.id = h.id;
    IF h.status = 'uncollectible' THEN
        PERFORM billing_internal.write_write_off(h.account_id, h.id, - (paid + credited), at, reason);
    END IF;
    IF status_after = 'paid' AND h.status <> 'paid' THEN
        PERFORM billing_internal.emit(h.account_id, 'invoice.paid', at, invoice_id => h.id);
    ELSIF status_after <> h.status THEN
        PERFORM billing_internal.emit(h.account_id, 'invoice.reopened', at, invoice_id => h.id,
                                      payload => jsonb_build_object('amount_due', due::text, 'reason', reason));
    ELSIF paid + credited <> 0 THEN
        PERFORM billing_internal.emit(h.account_id, 'invoice.part_settled', at, invoice_id => h.id,
                                      payload => jsonb_build_object('currency', h.currency, 'amount_due', due::text, 'reason', reason));
    END IF;
    PERFORM billing_internal.case_of_invoice_changed(h.account_id, h.id, at), billing_internal.collection_of_invoice_changed(h.account_id, h.id, at);
END $$;
COMMENT ON FUNCTION billing_internal.settle_invoice(bigint, bigint, numeric, numeric, timestamptz, text) IS
    'moves what is paid and credited of an invoice of a locked account by differences, and its status with it';

-- When what is settled or given up of an invoice, or set off with a payment or credit note, last changed.
CREATE FUNCTION billing_internal.settled_until(account_id bigint, origin_id bigint, invoice_id bigint) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN greatest(
        (SELECT max(a.allocated_at) FROM billing.payment_allocation a WHERE a.account_id = settled_until.account_id AND a.payment_id = origin_id),
        (SELECT max(a.allocated_at) FROM billing.payment_allocation a WHERE a.account_id = settled_until.account_id AND a.invoice_id = settled_until.invoice_id),
        (SELECT max(c.allocated_at) FROM billing.credit_allocation c
          WHERE c.account_id = settled_until.account_id AND (c.credit_note_id = origin_id OR c.invoice_id = settled_until.invoice_id)),
        (SELECT max(w.written_off_at) FROM billing.write_off w WHERE w.account_id = settled_until.account_id AND w.invoice_id = settled_until.invoice_id));
END $$;
COMMENT ON FUNCTION billing_internal.settled_until(bigint, bigint, bigint) IS
    'instant of the last allocation of a payment or credit note, or of the last allocation or write-off on an invoice; null: none';

-- The credit note's side of what is set off against an invoice; negative: taken back.  Rows are only added.
CREATE FUNCTION billing_internal.move_credit(account_id bigint, credit_note_id bigint, invoice_id bigint, amount numeric, at timestamptz, reason text)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO billing.credit_allocation (account_id, credit_note_id, invoice_id, amount, allocation_no, allocated_at, reason)
    SELECT move_credit.account_id, move_credit.credit_note_id, move_credit.invoice_id, move_credit.amount, count(*) + 1,
           greatest(at, billing_internal.settled_until(move_credit.account_id, move_credit.credit_note_id, move_credit.invoice_id)), move_credit.reason
      FROM billing.credit_allocation c
     WHERE c.account_id = move_credit.account_id AND c.credit_note_id = move_credit.credit_note_id AND c.invoice_id = move_credit.invoice_id;
    UPDATE billing.invoice_header h
       SET amount_credited = h.amount_credited + amount,
           status = CASE WHEN h.amount_paid + h.amount_credited + amount = h.total + h.rounding_amount THEN 'paid' ELSE 'open' END
     WHERE h.account_id = move_credit.account_id AND h.id = move_credit.credit_note_id;
END $$;
COMMENT ON FUNCTION billing_internal.move_credit(bigint, bigint, bigint, numeric, timestamptz, text) IS
    'notes on the side of the credit note what is set off against an invoice; the caller settles the invoice';
CREATE FUNCTION billing_internal.set_off_credit(account_id bigint, credit_note_id bigint, invoice_id bigint, amount numeric, at timestamptz, reason text)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.move_credit(account_id, credit_note_id, invoice_id, amount, at, reason);
    PERFORM billing_internal.settle_invoice(account_id, invoice_id, 0, amount, at, reason);
END $$;
COMMENT ON FUNCTION billing_internal.set_off_credit(bigint, bigint, bigint, numeric, timestamptz, text) IS
    'sets part of a credit note off against an invoice of the locked account; negative: takes it back';
