\i sql/include/fresh.psql
-- Dunning: from an overdue invoice to money, or to the agency.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_interest_rate('statutory', 10.15, '2024-07-01'), billing.create_interest_rate('statutory', 10.40, '2025-02-16');
SELECT billing.create_dunning_scheme('usual', name => 'Usual', currency => 'EUR', threshold => 10, interest => 'statutory', steps => '[
    {"after": "-3 days", "actions": ["event"]},
    {"after": "7 days", "actions": ["event", "fee"], "fee": 5, "weekdays": [1, 2, 3, 4, 5], "not_before": "08:00", "not_after": "20:00"},
    {"after": "14 days", "counted_from": "previous", "actions": ["suspend"]},
    {"after": "60 days", "actions": ["interest"]},
    {"after": "14 days", "counted_from": "previous", "actions": ["agency"], "agency": "Inkasso AG"}]');
SELECT billing.assign_dunning_scheme('usual', entity => 'acme');
SELECT billing.create_account('Jane Ltd') AS jane \gset
SELECT billing.record_external_invoice(:jane, 'X-1', '2025-01-02', 1000, 'EUR', due_on => '2025-02-01') AS invoice \gset
CREATE TEMP VIEW pursuit AS SELECT state, round, step_no, next_step_at AT TIME ZONE 'Europe/Berlin' AS next_step_at, pause_reason FROM billing.dunning_case ORDER BY id;
CREATE TEMP VIEW done AS SELECT round, step_no, due_at AT TIME ZONE 'Europe/Berlin' AS due_at, done_at AT TIME ZONE 'Europe/Berlin' AS done_at, amount_due, fee, interest, done, passed_over
    FROM billing.dunning_action ORDER BY account_id, case_id, round, step_no;

-- --- Three days before the invoice is due, and again after ----------------------------------------
CALL billing.dunning_run(at => '2025-01-28 22:59+00');
SELECT * FROM pursuit;
SELECT account_id, case_id, step_no, due_at, actions, amount_due FROM billing.dunning_preview(at => '2025-01-28 23:00+00');
CALL billing.dunning_run(at => '2025-01-28 23:00+00');
SELECT * FROM pursuit;
-- Seven days after the due date is a Saturday: on Monday at eight.
CALL billing.dunning_run(at => '2025-02-08 12:00+01');
CALL billing.dunning_run(at => '2025-02-10 09:00+01');
CALL billing.dunning_run(at => '2025-02-10 10:00+01');
SELECT * FROM done;
SELECT * FROM pursuit;
SELECT kind, number, total, amount_due FROM billing.invoice ORDER BY id;

-- --- She promises, and does not keep it ------------------------------------------------------------
SELECT id AS "case" FROM billing.dunning_case \gset
SELECT billing.promise_payment(:case, 400, '2025-02-20', note => 'by phone', effective_at => '2025-02-12 12:00+01') AS promise \gset
CALL billing.dunning_run(at => '2025-02-20 23:00+01');
SELECT * FROM pursuit;
CALL billing.dunning_run(at => '2025-02-21 09:00+01');
SELECT amount, promised_on, state FROM billing.promise;
SELECT * FROM pursuit;

-- --- Then there were no runs for months: one step a day, at the scheme's distance ------------------
CALL billing.dunning_run(at => '2025-04-02 09:00+02');
CALL billing.dunning_run(at => '2025-04-02 18:00+02');
CALL billing.dunning_run(at => '2025-04-03 09:00+02');
CALL billing.dunning_run(at => '2025-04-16 09:00+02');
CALL billing.dunning_run(at => '2025-04-17 09:00+02');
SELECT * FROM done;
SELECT agency, amount, state FROM billing.agency_transfer;
SELECT billing.report_transfer(id, 'accepted', reference => 'A-77', report => '{"note":"letter sent"}', effective_at => '2025-04-20') AS transfer FROM billing.agency_transfer \gset

-- --- Paid, and taken back: the next round ----------------------------------------------------------
SELECT billing.record_payment(:jane, 1000, 'EUR', invoice_ids => ARRAY[:invoice]::bigint[], effective_at => '2025-05-02 12:00+02') AS payment \gset
SELECT agency, state, reference FROM billing.agency_transfer;
SELECT billing.charge_back_payment(:payment, effective_at => '2025-07-01 12:00+02') AS back \gset
SELECT * FROM pursuit;
CALL billing.dunning_run(at => '2025-07-08 09:00+02');
SELECT round, step_no, due_at, fee, done, passed_over FROM done WHERE round = 2;

-- --- Payment in parts ------------------------------------------------------------------------------
SELECT billing.arrange_payments(:jane, ARRAY[:invoice]::bigint[], 3, 'month', initial_amount => 100, costs => 20, effective_at => '2025-07-09 12:00+02') AS arrangement \gset
SELECT instalment_no, due_on, amount FROM billing.arrangement_instalment ORDER BY 1;
SELECT billing.resume_case(:case);
SELECT billing.record_payment(:jane, 100, 'EUR', invoice_ids => ARRAY[:invoice]::bigint[], effective_at => '2025-07-09 14:00+02') > 0 AS paid;
CALL billing.dunning_run(at => '2025-07-10 09:00+02');
SELECT * FROM pursuit;
SELECT billing.record_payment(:jane, 1000, 'EUR', rules => '{oldest}', effective_at => '2025-08-09 14:00+02') > 0 AS paid;
SELECT state, reason FROM billing.arrangement;
SELECT from_state, to_state, round, changed_at AT TIME ZONE 'Europe/Berlin' AS changed_at, reason FROM billing.dunning_case_change ORDER BY change_no;
SELECT occurred_at::date, type, payload FROM billing.event WHERE type ~ '^(dunning.s|promise|arrangement|agency)' ORDER BY event_no;
SELECT kind, number, total, status FROM billing.invoice ORDER BY id;

-- --- Disputes, and what a person stops --------------------------------------------------------------
SELECT billing.create_account('Ben') AS ben \gset
SELECT billing.record_external_invoice(:ben, 'X-2', '2025-09-01', 50, 'EUR', due_on => '2025-09-15') AS second \gset
CALL billing.dunning_run(at => '2025-09-12 09:00+02');
SELECT id AS "case" FROM billing.dunning_case WHERE invoice_id = :second \gset
SELECT billing.pause_case(:case, 'dispute', until => '2025-10-01', note => 'wrong quantity', effective_at => '2025-09-13') = :case AS paused;
CALL billing.dunning_run(at => '2025-09-30 09:00+02');
SELECT billing.resume_case(:case, effective_at => '2025-09-30 10:00+02') = :case AS resumed;
SELECT * FROM pursuit;
SELECT billing.stop_case(:case, effective_at => '2025-09-30 11:00+02', reason => 'goodwill') = :case AS stopped;
CALL billing.dunning_run(at => '2025-12-01 09:00+01');
SELECT * FROM pursuit;

-- --- What is refused --------------------------------------------------------------------------------
\set VERBOSITY default
\set SHOW_CONTEXT never
SELECT billing.create_dunning_scheme('empty', '[]');
SELECT billing.create_dunning_scheme('none', '{"after":"1 day"}');
SELECT billing.create_dunning_scheme('back', '[{"after":"9 days","actions":["event"]},{"after":"5 days","actions":["event"]}]');
SELECT billing.create_dunning_scheme('early', '[{"after":"1 day","actions":["event"]},{"after":"-5 days","actions":["event"]}]');
SELECT billing.create_dunning_scheme('mute', '[{"after":"1 day","actions":["remind"],"template":"none"}]');
SELECT billing.create_dunning_scheme('free', '[{"after":"1 day","actions":["fee"],"fee":5}]');
SELECT billing.create_dunning_scheme('cut', '[{"after":"1 day","actions":["fee"],"fee":0.001}]', currency => 'EUR');
SELECT billing.create_dunning_scheme('odd', '[{"after":"tomorrow","actions":["event"]}]');
SELECT billing.create_dunning_scheme('key', '[{"after":"1 day","actions":["event"],"wait":1}]');
SELECT billing.create_dunning_scheme('rate', '[{"after":"1 day","actions":["event"]}]', interest => 'none');
SELECT billing.assign_dunning_scheme('none', entity => 'acme');
SELECT billing.assign_dunning_scheme('usual');
SELECT billing.promise_payment(:case, 50, '2026-01-01', effective_at => '2025-12-02');
SELECT billing.promise_payment(999, 50, '2026-01-01');
SELECT billing.arrange_payments(:jane, ARRAY[:invoice]::bigint[], 3, 'month', effective_at => '2025-12-02');
SELECT billing.arrange_payments(:ben, ARRAY[:second]::bigint[], 3, 'fortnight', effective_at => '2025-12-02');
SELECT billing.report_transfer(:transfer, 'accepted', effective_at => '2025-12-02') IS NOT NULL;
SELECT billing.report_transfer(1, 'accepted');
SELECT billing.terminate_arrangement(:arrangement);
SELECT billing.cancel_promise(:promise);
SELECT count(*) AS schemes FROM billing.dunning_scheme;
SELECT * FROM billing.check(deep => true);
