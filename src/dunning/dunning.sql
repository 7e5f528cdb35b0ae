-- Dunning cases.

CREATE FUNCTION billing_internal.case_of_invoice_changed(account_id bigint, invoice_id bigint, at timestamptz) RETURNS void
    LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$ SELECT $$;
COMMENT ON FUNCTION billing_internal.case_of_invoice_changed(bigint, bigint, timestamptz) IS 'called when what is settled of an invoice has changed';
