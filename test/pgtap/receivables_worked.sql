-- Four cases worked out by hand, from the invoice to its end, each by the runs and calls that a seller uses.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(21);
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC', payment_terms_days => 14) \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"flat","flat_amount":100}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"}]') \g /dev/null
SELECT billing.create_template('acme', 'reminder', 'mail', 'en', '{number}: {amount_due}', 'Reminder {step_no}') \g /dev/null
CREATE FUNCTION pg_temp.invoice(account bigint, n int DEFAULT 1) RETURNS bigint LANGUAGE sql STABLE AS $$ SELECT id FROM billing.invoice WHERE account_id = $1 AND kind = 'invoice' ORDER BY id OFFSET $2 - 1 LIMIT 1 $$;

-- --- Retries on days 1, 4, 7, 8 and 9 of ten days -----------------------------------------------------------
-- The card has no money; a worker asks every six hours.  After the tenth day it is the dunning's.
SELECT billing.create_retry_policy('ten days', '{1 day,4 days,7 days,8 days,9 days}') \g /dev/null
SELECT billing.create_dunning_scheme('after ten days', '[{"after":"10 days","actions":["remind"],"template":"reminder"}]') \g /dev/null
SELECT billing.set_payment_rules('acme', collect => 'due', retry_policy => 'ten days') \g /dev/null
SELECT billing.create_account('Card', email => 'card@example.com') AS card \gset
SELECT billing.assign_dunning_scheme('after ten days', account_id => :card), billing.add_payment_method(:card, 'card', provider => 'psp', token => 'tok'), billing.create_subscription(:card, 'team', start_at => '2026-01-01') \g /dev/null
CALL billing.bill_run('2026-01-01');
CREATE FUNCTION pg_temp.work(from_at timestamptz, until_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t timestamptz;
BEGIN
    FOR t IN SELECT generate_series(from_at, until_at, '6 hours') LOOP
        CALL billing.collection_run(t);
        PERFORM billing.settle_collection(c.collection_id, 'declined', code => '51', effective_at => t + interval '1 minute') FROM billing.claim_collections('w', 10, at => t) c;
        CALL billing.dunning_run(t);
    END LOOP;
END $$;
SELECT pg_temp.work('2026-01-13', '2026-01-27') \g /dev/null
SELECT is((SELECT array_agg(t.claimed_at::date - i.due_on ORDER BY t.attempt_no) FROM billing.collection_attempt t JOIN billing.collection c ON c.id = t.collection_id JOIN billing.invoice i ON i.id = c.invoice_id WHERE t.account_id = :card),
          '{0,1,4,7,8,9}', 'collected when due and on days 1, 4, 7, 8 and 9');
SELECT is((SELECT status || ', ' || failure FROM billing.collection WHERE account_id = :card), 'failed, no attempt is left', 'then no attempt is left');
SELECT is((SELECT array_agg(n.created_at ORDER BY n.id) FROM billing.notification n WHERE n.account_id = :card), '{2026-01-25 00:00:00+00}', 'and on the tenth day the reminder comes');

-- --- Interest on 1,000.00: 15 days at 10.15 %, then 45 days at 10.40 %, a year having 365 days ----------------
SELECT billing.create_interest_rate('legal', 10.15, '2024-07-01'), billing.create_interest_rate('legal', 10.40, '2025-02-16') \g /dev/null
SELECT billing.create_dunning_scheme('interest', currency => 'EUR', interest => 'legal', final_invoice => 'keep', steps => '[{"after":"60 days","actions":["interest"]}]') \g /dev/null
SELECT billing.create_account('Late') AS late \gset
SELECT billing.assign_dunning_scheme('interest', account_id => :late), billing.record_external_invoice(:late, 'L-1', '2025-01-01', 1000, 'EUR', due_on => '2025-01-31') \g /dev/null
CALL billing.dunning_run('2025-03-31 23:59');
SELECT is((SELECT count(*) FROM billing.dunning_action WHERE account_id = :late), 0::bigint, 'a minute before there is none');
CALL billing.dunning_run('2025-04-01');
SELECT is((SELECT total FROM billing.invoice WHERE account_id = :late AND kind = 'claim'), round(1000 * (15 * 10.15 + 45 * 10.40) / 36500, 2), '1,000.00 x (15 x 10.15 + 45 x 10.40) / 36,500');
SELECT is((SELECT total FROM billing.invoice WHERE account_id = :late AND kind = 'claim'), 16.99, '= 16.99');
SELECT is((SELECT (kind, status, claims_invoice_id = pg_temp.invoice(:late))::text FROM billing.invoice WHERE account_id = :late AND kind = 'claim'), '(claim,open,t)', 'a claim for the invoice');
SELECT billing.record_payment(:late, 1016.99, 'EUR', effective_at => '2025-04-02') \g /dev/null
SELECT is((SELECT array_agg(status ORDER BY id) FROM billing.invoice WHERE account_id = :late), '{paid,paid}', 'one payment settles both');

-- --- A partial payment over several invoices -------------------------------------------------------------------
-- 100, 50 and 70 are due, the last first; 190 comes.
CREATE FUNCTION pg_temp.three(name text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    account CONSTANT bigint := billing.create_account(name);
BEGIN
    PERFORM billing.record_external_invoice(account, name || x.n, '2026-01-01', x.amount, 'EUR', due_on => date '2026-02-01' - x.n) FROM (VALUES (1, 100), (2, 50), (3, 70)) x (n, amount);
    RETURN account;
END $$;
CREATE FUNCTION pg_temp.due(account bigint) RETURNS text LANGUAGE sql STABLE AS $$ SELECT string_agg(trim_scale(amount_due)::text, ' ' ORDER BY number) FROM billing.invoice WHERE account_id = $1 $$;
SELECT pg_temp.three('Oldest') AS a, pg_temp.three('Share') AS b, pg_temp.three('Named') AS c \gset
SELECT billing.record_payment(:a, 190, 'EUR', effective_at => '2026-02-10') AS payment, billing.record_payment(:b, 190, 'EUR', rules => '{pro_rata}', effective_at => '2026-02-10') AS share,
       billing.record_payment(:c, 190, 'EUR', invoice_ids => ARRAY[pg_temp.invoice(:c)], effective_at => '2026-02-10') AS named \gset
SELECT is(pg_temp.due(:a), '30 0 0', 'the oldest first: 70, 50, and 70 of 100');
SELECT is((SELECT array_agg(a.amount ORDER BY i.number) FROM billing.payment_allocation a JOIN billing.invoice i ON i.id = a.invoice_id WHERE a.payment_id = :share), '{86.36,43.18,60.46}', 'in proportion: 190 x 100, 50 and 70 / 220');
SELECT is(pg_temp.due(:c), '0 30 0', 'the named one, then the oldest');
SELECT billing.refund_payment(:payment, 90, effective_at => '2026-02-11') \g /dev/null
SELECT is(pg_temp.due(:a), '100 20 0', 'what is given back comes from the latest allocations');
SELECT is((SELECT sum(amount) FROM billing.customer_credit WHERE account_id IN (:a, :b, :c)), NULL, 'nobody has credit');

-- --- A chargeback after sixty days -------------------------------------------------------------------------------
SELECT billing.create_dunning_scheme('usual', currency => 'EUR', steps => '[{"after":"-3 days","actions":["remind"],"template":"reminder"},{"after":"3 days","actions":["remind","fee"],"template":"reminder","fee":5},{"after":"10 days","actions":["remind"],"template":"reminder"}]') \g /dev/null
SELECT billing.create_account('Debit', email => 'debit@example.com') AS debit \gset
SELECT billing.assign_dunning_scheme('usual', account_id => :debit), billing.add_payment_method(:debit, 'direct_debit', iban => 'DE89370400440532013000', mandate_reference => 'M-1', mandate_signed_on => '2026-01-01'),
       billing.create_subscription(:debit, 'team', start_at => '2026-03-01', cycles => 1) \g /dev/null
CALL billing.bill_run('2026-03-01');
CREATE FUNCTION pg_temp.reminders(account bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(to_char(n.created_at, 'MM-DD ') || n.subject, ', ' ORDER BY n.id) FROM billing.notification n WHERE n.account_id = $1 AND n.code = 'reminder' $$;
CREATE FUNCTION pg_temp.days(from_on date, until_on date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    d timestamptz;
BEGIN
    FOR d IN SELECT generate_series(from_on::timestamptz, until_on, '1 day') LOOP CALL billing.dunning_run(d + interval '9 hours'); END LOOP;
END $$;
SELECT pg_temp.days('2026-03-01', '2026-03-14') \g /dev/null
SELECT is(pg_temp.reminders(:debit), '03-12 Reminder 1', 'three days before it is due: a notice');
CALL billing.collection_run('2026-03-15');
SELECT (SELECT billing.settle_collection(c.collection_id, 'succeeded', reference => 'sepa-1', effective_at => '2026-03-15 12:00') FROM billing.claim_collections('w', 10, at => '2026-03-15') c WHERE c.account_id = :debit) \g /dev/null
SELECT is((SELECT (i.status, p.received_at::date, p.reversible_until::date)::text FROM billing.invoice i JOIN billing.payment p ON p.account_id = i.account_id WHERE i.account_id = :debit), '(paid,2026-03-15,2027-04-15)', 'collected; it can come back for 13 months');
SELECT pg_temp.days('2026-03-15', '2026-05-13') \g /dev/null
SELECT is((SELECT c.state || ' ' || c.round FROM billing.dunning_case c WHERE c.account_id = :debit), 'succeeded 1', 'for sixty days nothing happens');
SELECT billing.charge_back_payment(p.id, fee => 7.50, pass_on => true, reference => 'back-1', provider => 'bank', effective_at => '2026-05-14 08:00') FROM billing.payment p WHERE p.account_id = :debit \g /dev/null
SELECT is((SELECT string_agg(i.kind || ' ' || i.status || ' ' || trim_scale(i.amount_due), ', ' ORDER BY i.id) FROM billing.invoice i WHERE i.account_id = :debit), 'invoice open 119, claim open 7.5', 'the invoice is open again, the bank''s fee a claim');
SELECT pg_temp.days('2026-05-14', '2026-06-10') \g /dev/null
SELECT is(pg_temp.reminders(:debit), '03-12 Reminder 1, 05-17 Reminder 2, 05-24 Reminder 3', 'reminders begin again, counted from that day, without the notice');
SELECT is((SELECT string_agg(format('%s.%s', x.round, x.step_no), ' ' ORDER BY x.done_at) FROM billing.dunning_action x WHERE x.account_id = :debit), '1.1 2.2 2.3', 'in the second round');

SELECT is_empty('SELECT * FROM billing.run_error', 'no run failed for anybody');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
