-- Runs.

CREATE PROCEDURE billing.bill_run(at timestamptz DEFAULT NULL, workers int DEFAULT 1, batch_size int DEFAULT 1000,
    entity text DEFAULT NULL, finalize boolean DEFAULT true, spread interval DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_bill_run';
COMMENT ON PROCEDURE billing.bill_run(timestamptz, int, int, text, boolean, interval) IS
    'bills everything that is due at a moment (default now), batch by batch, each committed, with so many processes; spread: of what fell due within such a window only its share by now; in a transaction block all in the caller''s transaction; may be killed, repeated and run twice at once';

CREATE FUNCTION billing.bill_account(account_id bigint, at timestamptz DEFAULT NULL) RETURNS SETOF bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_bill_account';
COMMENT ON FUNCTION billing.bill_account(bigint, timestamptz) IS
    'bills one account as of a moment (default now) in the caller''s transaction; returns the ids of the documents it made';

CREATE FUNCTION billing.invoice_account(account_id bigint, at timestamptz DEFAULT NULL, include_usage boolean DEFAULT false) RETURNS SETOF bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_invoice_account';
COMMENT ON FUNCTION billing.invoice_account(bigint, timestamptz, boolean) IS
    'invoices one account on demand as of a moment (default now): what is due, all that waits for a later invoice and, if wanted, usage so far; drafts are finished; returns the ids of the documents';

CREATE FUNCTION billing.finalize_invoice(invoice_id bigint, effective_at timestamptz DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_finalize_invoice';
COMMENT ON FUNCTION billing.finalize_invoice(bigint, timestamptz) IS
    'computes a draft once more and finishes it: it gets number, date and seal as of a moment (default now); returns its id';

CREATE FUNCTION billing.preview(account_id bigint, at timestamptz DEFAULT NULL, OUT document int, OUT kind text,
    OUT billed_at timestamptz, OUT currency text, OUT line_no int, OUT nature text, OUT subscription_id bigint, OUT item_id bigint,
    OUT price text, OUT description text, OUT quantity numeric, OUT unit_amount numeric, OUT amount numeric, OUT net_amount numeric,
    OUT tax_category text, OUT tax_rate numeric, OUT period_start timestamptz, OUT period_end timestamptz,
    OUT net_total numeric, OUT tax_total numeric, OUT total numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_preview';
COMMENT ON FUNCTION billing.preview(bigint, timestamptz) IS
    'the lines and totals that billing an account at a moment (default now) would write; writes and locks nothing';

-- The subscription's id is an argument and, since lines of others may be shown too, a column.
CREATE FUNCTION billing.preview_change(INOUT subscription_id bigint, change jsonb, at timestamptz DEFAULT NULL, OUT document int, OUT kind text,
    OUT billed_at timestamptz, OUT currency text, OUT line_no int, OUT nature text, OUT item_id bigint,
    OUT price text, OUT description text, OUT quantity numeric, OUT unit_amount numeric, OUT amount numeric, OUT net_amount numeric,
    OUT tax_category text, OUT tax_rate numeric, OUT period_start timestamptz, OUT period_end timestamptz,
    OUT net_total numeric, OUT tax_total numeric, OUT total numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_preview_change';
COMMENT ON FUNCTION billing.preview_change(bigint, jsonb, timestamptz) IS
    'the lines and totals that billing the account at a moment would write if a change were made, given as {"verb", and its arguments}; default: with invoice_now at its effective_at, else with the next regular invoice from then on; writes and locks nothing';

CREATE FUNCTION billing.preview_change_cost(subscription_id bigint, change jsonb, INOUT at timestamptz DEFAULT NULL, OUT currency text,
    OUT net_total numeric, OUT tax_total numeric, OUT total numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_preview_change_cost';
COMMENT ON FUNCTION billing.preview_change_cost(bigint, jsonb, timestamptz) IS
    'what billing the account at the moment of preview_change would ask for with a change, less what it would ask for without; negative: the change gives back';

CREATE FUNCTION billing.preview_invoices(INOUT subscription_id bigint, count int DEFAULT 1, OUT document int, OUT kind text,
    OUT billed_at timestamptz, OUT currency text, OUT line_no int, OUT nature text, OUT item_id bigint,
    OUT price text, OUT description text, OUT quantity numeric, OUT unit_amount numeric, OUT amount numeric, OUT net_amount numeric,
    OUT tax_category text, OUT tax_rate numeric, OUT period_start timestamptz, OUT period_end timestamptz,
    OUT net_total numeric, OUT tax_total numeric, OUT total numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_preview_invoices';
COMMENT ON FUNCTION billing.preview_invoices(bigint, int) IS
    'the next documents that hold lines of a subscription, as far as its timeline is known now; writes and locks nothing';

CREATE FUNCTION billing.first_payment(subscription_id bigint, at timestamptz DEFAULT NULL, OUT currency text, OUT amount numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.first_payment(bigint, timestamptz) IS
    'what is to be paid so that a subscription that waits for its first payment comes to life at a moment (default now); zero where nothing is due then';
CREATE FUNCTION billing_internal.first_payment(subscription_id bigint, at timestamptz, OUT currency text, OUT amount numeric)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.timeline(subscription_id); -- or unknown_subscription
    RETURN QUERY
    SELECT a.currency, coalesce(p.total, 0) FROM billing.account a
      LEFT JOIN billing.preview_change_cost(subscription_id, jsonb_build_object('verb', 'activate_subscription', 'effective_at', coalesce(at, now()),
                                                                                'invoice_now', true)) p ON true
     WHERE a.account_id = subscription_id >> 24;
END $$;
COMMENT ON FUNCTION billing_internal.first_payment(bigint, timestamptz) IS 'body of billing.first_payment';

CREATE FUNCTION billing.unbilled_on(at timestamptz DEFAULT NULL, OUT account_id bigint, OUT subscription_id bigint, OUT item_id bigint,
    OUT price text, OUT nature text, OUT quantity numeric, OUT currency text, OUT amount numeric, OUT tax_inclusive boolean,
    OUT period_start timestamptz, OUT period_end timestamptz)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_unbilled_on';
COMMENT ON FUNCTION billing.unbilled_on(timestamptz) IS
    'what all accounts owe at a moment (default now) that no document holds yet: due charges, corrections, and arrears in progress so far';

CREATE FUNCTION billing_internal.recompute(OUT account_id bigint, OUT item_id bigint, OUT period_start timestamptz,
    OUT charged numeric, OUT desired numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_recompute';
COMMENT ON FUNCTION billing_internal.recompute() IS 'charges that are not what the timeline wants although nothing was edited';

CREATE FUNCTION billing_internal.bill_now(account_id bigint, at timestamptz) RETURNS void
    LANGUAGE c STRICT AS 'MODULE_PATHNAME', 'billing_bill_now';
COMMENT ON FUNCTION billing_internal.bill_now(bigint, timestamptz) IS 'bills a locked account, corrections and prorated charges at once';

CREATE FUNCTION billing_internal.next_dues(OUT account_id bigint, OUT next_due timestamptz)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_next_dues';
COMMENT ON FUNCTION billing_internal.next_dues() IS 'when accounts become due after what was billed, by their timelines; those that never do are left out';
