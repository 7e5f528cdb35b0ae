-- Runs.

CREATE PROCEDURE billing.bill_run(at timestamptz DEFAULT NULL, workers int DEFAULT 1, batch_size int DEFAULT 1000,
    entity text DEFAULT NULL, finalize boolean DEFAULT true)
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_bill_run';
COMMENT ON PROCEDURE billing.bill_run(timestamptz, int, int, text, boolean) IS
    'bills everything that is due at a moment (default now), batch by batch, each committed; in a transaction block all in the caller''s transaction; may be killed, repeated and run twice at once';

CREATE FUNCTION billing.bill_account(account_id bigint, at timestamptz DEFAULT NULL) RETURNS SETOF bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_bill_account';
COMMENT ON FUNCTION billing.bill_account(bigint, timestamptz) IS
    'bills one account as of a moment (default now) in the caller''s transaction; returns the ids of the documents it made';
