-- A run may be spread.
DROP PROCEDURE billing.bill_run(timestamptz, int, int, text, boolean);
