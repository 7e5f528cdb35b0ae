-- Invoices given up.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing.write_off_invoice(invoice_id bigint, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.write_off_invoice(bigint, timestamptz, text, text) IS
    'gives up what is open of an invoice, which is uncollectible from then on; it can still be paid; returns its id';
CREATE FUNCTION billing_internal.write_off_invoice(invoice_id bigint, effective_at timestamptz, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    h billing.invoice_header;
    due numeric;
BEGIN
    PERFORM billing_internal.check_billable(at), billing_internal.lock_invoice(invoice_id);
    SELECT * INTO h FROM billing.invoice_header x WHERE x.account_id = write_off_invoice.invoice_id >> 24 AND x.id = write_off_invoice.invoice_id;
    IF h.kind = 'credit_note' OR h.status <> 'open' THEN
        PERFORM billing_internal.fail('wrong_document_state', format('%s %s is %s and cannot be written off', replace(h.kind, '_', ' '), h.id, h.status));
    END IF;
    due := h.total + h.rounding_amount - h.amount_paid - h.amount_credited;
    PERFORM billing_internal.write_write_off(h.account_id, h.id, due, at, reason);
    UPDATE billing.invoice_header x SET status = 'uncollectible' WHERE x.account_id = h.account_id AND x.id = h.id;
    PERFORM billing_internal.emit(h.account_id, 'invoice.written_off', at, invoice_id => h.id,
        payload => jsonb_strip_nulls(jsonb_build_object('currency', h.currency, 'amount', due::text, 'reason', reason)));
    PERFORM billing_internal.case_of_invoice_changed(h.account_id, h.id, at), billing_internal.collection_of_invoice_changed(h.account_id, h.id, at);
    RETURN h.id;
END $$;
COMMENT ON FUNCTION billing_internal.write_off_invoice(bigint, timestamptz, text, text) IS 'body of billing.write_off_invoice';
