-- A run may be spread.
DROP PROCEDURE billing.bill_run(timestamptz, int, int, text, boolean);
-- It tells what it changed.
DROP FUNCTION billing_internal.write_states(bigint, timestamptz, jsonb);
