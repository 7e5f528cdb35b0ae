-- What customers owe: open items, aging now and at a date, statements, credit, outcome of collections; the journal.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(55);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.set_payment_rules('acme', payment_tolerance => 0.50) \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"flat","flat_amount":100}') \g /dev/null
SELECT billing.create_price('gross', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', tax_inclusive => true, scheme => '{"model":"flat","flat_amount":9.99}') \g /dev/null
SELECT billing.create_plan('team', items => '[{"price":"seat"},{"price":"gross"}]') \g /dev/null

CREATE FUNCTION pg_temp.doc(account bigint, n int) RETURNS bigint LANGUAGE sql AS $$
    SELECT id FROM billing.invoice WHERE account_id = $1 ORDER BY id OFFSET $2 - 1 LIMIT 1 $$;
-- Entries of an account from a date on: source: account side amount, ...
CREATE FUNCTION pg_temp.posted(account bigint, day date) RETURNS SETOF text LANGUAGE sql AS $$
    SELECT j.source || ': ' || string_agg(concat(j.ledger_account, CASE WHEN j.debit > 0 THEN ' D ' ELSE ' C ' END, j.debit + j.credit), ', ' ORDER BY j.ledger_account, j.line_no, j.part)
      FROM billing.journal j WHERE j.account_id = $1 AND j.posted_on = $2 GROUP BY j.entry, j.source ORDER BY j.source, j.entry $$;

-- --- Aging ------------------------------------------------------------------------------------------
SELECT billing.create_account('Late') AS late \gset
SELECT billing.record_external_invoice(:late, 'L/' || d, date '2025-01-01', 10 + d, 'EUR', due_on => date '2025-06-01' - d) FROM unnest('{-5,0,1,30,31,60,61,90,91}'::int[]) d \g /dev/null
CREATE FUNCTION pg_temp.aging(day date, by text DEFAULT 'due', bands int[] DEFAULT '{0,30,60,90}') RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s..%s: %s in %s', a.from_days, a.until_days, trim_scale(a.amount), a.invoices), '; ' ORDER BY a.until_days NULLS LAST)
      FROM billing.receivable_aging_on($1, $2, $3) a WHERE a.account_id = (SELECT min(account_id) FROM billing.account) $$;
SELECT is(pg_temp.aging('2025-06-01'), '..0: 15 in 2; 1..30: 51 in 2; 31..60: 111 in 2; 61..90: 171 in 2; 91..: 101 in 1', 'bands include their last day');
SELECT is(pg_temp.aging('2025-06-02'), '..0: 5 in 1; 1..30: 21 in 2; 31..60: 81 in 2; 61..90: 141 in 2; 91..: 201 in 2', 'a day later each may be in the next');
SELECT is(pg_temp.aging('2025-06-01', bands => '{30}'), '..30: 66 in 4; 31..: 383 in 5', 'bands of the caller');
SELECT is(pg_temp.aging('2025-01-31', 'issue'), '1..30: 449 in 9', 'by date of issue');
SELECT is(pg_temp.aging('2025-01-01', 'issue'), '..0: 449 in 9', 'on the day of issue');
SELECT is(pg_temp.aging('2024-12-31'), NULL, 'nothing was owed the day before');
-- The payment is received at 00:30 in Berlin, 1 February there and 31 January in UTC.
SELECT billing.record_payment(:late, 100, 'EUR', effective_at => '2025-01-31 23:30+00', rules => '{oldest}') AS payment \gset
SELECT is(pg_temp.aging('2025-01-31', 'issue'), '1..30: 449 in 9', 'the day before a payment');
SELECT is(pg_temp.aging('2025-02-01', 'issue'), '31..60: 349 in 9', 'on its day, in the seller''s zone');
SELECT billing.charge_back_payment(:payment, fee => 7.50, effective_at => '2025-04-02 12:00+00') \g /dev/null
SELECT is(pg_temp.aging('2025-04-01', 'issue'), '61..90: 349 in 9', 'the day before it came back');
SELECT is(pg_temp.aging('2025-04-02', 'issue'), '91..: 449 in 9', 'on the day it came back');
SELECT is((SELECT (invoices, not_due, days_1_to_30, days_31_to_60, days_61_to_90, days_over_90, amount_due)::text FROM billing.receivable_aging WHERE account_id = :late),
          '(9,0.00,0.00,0.00,0.00,449.00,449.00)', 'now all are long overdue');
SELECT is((SELECT array_agg((number, days_overdue = (now() AT TIME ZONE 'Europe/Berlin')::date - due_on, total, amount_paid, amount_due)::text ORDER BY invoice_id) FROM billing.open_item WHERE account_id = :late AND total < 12),
          '{"(L/-5,t,5.00,0,5.00)","(L/0,t,10.00,0,10.00)","(L/1,t,11.00,0,11.00)"}', 'open items');
SELECT ok('chargeback: 1000 C 107.50, 2000 D 100.00, 6200 D 7.50' IN (SELECT pg_temp.posted(:late, '2025-04-02')), 'the bank takes its fee too');

-- --- Bad questions ----------------------------------------------------------------------------------
SELECT throws_ok(format('SELECT billing.receivable_aging_on(%s)', a), c::char(5), NULL, w) FROM (VALUES
    ('NULL', '22004', 'a day is needed'), ($$'infinity'$$, '22008', 'a finite one'), ($$'2025-01-01', 'age'$$, 'LB208', 'by due or issue'),
    ($$'2025-01-01', 'due', '{30,0}'$$, 'LB208', 'bands rise'), ($$'2025-01-01', 'due', '{30,30}'$$, 'LB208', 'strictly'),
    ($$'2025-01-01', 'due', '{0,NULL}'$$, 'LB208', 'without null'), ($$'2025-01-01', 'due', '{}'$$, 'LB208', 'there is one')) x (a, c, w);
SELECT throws_ok('SELECT billing.account_statement(4711)', NULL::char(5), NULL, 'a statement of an account that does not exist');

-- --- The journal, entry by entry ---------------------------------------------------------------------
SELECT billing.create_account('Shop', payment_terms_days => 14) AS shop \gset
SELECT billing.create_subscription(:shop, 'team', start_at => '2026-01-01 00:00+01') AS subscription \gset
SELECT billing.bill_account(:shop, '2026-01-01 00:00+01') \g /dev/null
-- 100 + 19.00 tax; 9.99 = 8.39 + 1.59 + 0.01; tax is one row of the rate
SELECT is(pg_temp.posted(:shop, '2026-01-01'), 'invoice: 1200 D 128.99, 2200 C 20.59, 4000 C 100.00, 4000 C 8.39, 4900 C 0.01', 'an invoice: receivable, revenue by line, tax, rounding');
SELECT billing.record_payment(:shop, 128.60, 'EUR', method => 'transfer', effective_at => '2026-01-10 12:00+00') \g /dev/null
SELECT set_eq(format($$SELECT pg_temp.posted(%s, '2026-01-10')$$, :shop), ARRAY['payment: 1000 D 128.60, 2000 C 128.60', 'allocation: 1200 C 128.60, 2000 D 128.60',
    'under_payment: 1200 C 0.39, 6100 D 0.39'], 'a payment goes through customer credit; the rest is given up');
SELECT billing.record_payment(:shop, 50, 'EUR', effective_at => '2026-01-11 12:00+00') AS early \gset
SELECT is((SELECT (payment_id = :early, since, amount)::text FROM billing.customer_credit WHERE account_id = :shop), '(t,2026-01-11,50.00)', 'what is too much is credit');
SELECT billing.bill_account(:shop, '2026-02-01 00:00+01') \g /dev/null
SELECT set_eq(format($$SELECT pg_temp.posted(%s, '2026-02-01')$$, :shop), ARRAY['invoice: 1200 D 128.99, 2200 C 20.59, 4000 C 100.00, 4000 C 8.39, 4900 C 0.01',
    'allocation: 1200 C 50.00, 2000 D 50.00'], 'the next invoice takes it');
SELECT billing.credit_invoice(pg_temp.doc(:shop, 1), lines => '[{"line_no":1,"amount":10}]', effective_at => '2026-02-03 12:00+00') AS note \gset
SELECT set_eq(format($$SELECT pg_temp.posted(%s, '2026-02-03')$$, :shop), ARRAY['credit_note: 2000 C 11.90, 2200 D 1.90, 4000 D 10.00'], 'a credit note of a paid invoice is credit');
SELECT billing.refund_credit(:note, 1.90, effective_at => '2026-02-04 12:00+00') \g /dev/null
SELECT set_eq(format($$SELECT pg_temp.posted(%s, '2026-02-04')$$, :shop), ARRAY['refund: 1000 C 1.90, 2000 D 1.90'], 'part of it is paid out');
SELECT is((SELECT (credit_note_id = :note, since, amount)::text FROM billing.customer_credit WHERE account_id = :shop), '(t,2026-02-03,10.00)', 'the rest of it is left');
SELECT billing.write_off_invoice(pg_temp.doc(:shop, 2), effective_at => '2026-02-05 12:00+00') \g /dev/null
SELECT set_eq(format($$SELECT pg_temp.posted(%s, '2026-02-05')$$, :shop), ARRAY['write_off: 1200 C 78.99, 6000 D 78.99'], 'an invoice given up');
SELECT is((SELECT count(*) FROM billing.open_item WHERE account_id = :shop), 0::bigint, 'is no open item');
-- The money is told late, for a day before the invoice was given up.
SELECT billing.record_payment(:shop, 20, 'EUR', invoice_ids => ARRAY[pg_temp.doc(:shop, 2)], effective_at => '2026-02-02 12:00+00') \g /dev/null
SELECT set_eq(format($$SELECT pg_temp.posted(%s, '2026-02-05')$$, :shop), ARRAY['write_off: 1200 C 78.99, 6000 D 78.99', 'recovery: 1200 D 20.00, 6000 C 20.00', 'allocation: 1200 C 20.00, 2000 D 20.00'],
              'what comes in after all is recovered, not before it was given up');
SELECT billing.record_external_invoice(:shop, 'X-1', '2026-02-10', 119, 'EUR', tax_total => 19) AS outside \gset
SELECT set_eq(format($$SELECT pg_temp.posted(%s, '2026-02-10')$$, :shop), ARRAY['external_invoice: 1200 D 119.00, 2200 C 19.00, 4100 C 100.00', 'credit_allocation: 1200 C 10.00, 2000 D 10.00'],
              'an invoice made outside, which takes the credit note');
SELECT billing.credit_invoice(:outside, effective_at => '2026-02-12 12:00+00') \g /dev/null
SELECT ok('credit_note: 2000 C 119.00, 2200 D 19.00, 4100 D 100.00' IN (SELECT pg_temp.posted(:shop, '2026-02-12')), 'its credit note gives back where it was posted');
SELECT billing_internal.lock_account(:shop), billing_internal.write_claim(:shop, :outside, '[{"kind":"interest","description":"Interest","amount":3.00},{"kind":"fee","description":"Fee","amount":5.00}]', '2026-02-15 12:00+00', NULL) \g /dev/null
SELECT ok('claim: 1200 D 8.00, 4200 C 3.00, 4200 C 5.00' IN (SELECT pg_temp.posted(:shop, '2026-02-15')), 'a claim');

-- --- Chart and rules are data -------------------------------------------------------------------------
INSERT INTO billing.ledger_account VALUES ('1360', 'Card settlement', 'asset'), ('4210', 'Interest', 'revenue');
INSERT INTO billing.posting_rule VALUES ('payment', 'cash', 'card', '1360'), ('claim', 'revenue', 'interest', '4210');
UPDATE billing.ledger_account SET code = '8400' WHERE code = '4000';
SELECT ok('claim: 1200 D 8.00, 4200 C 5.00, 4210 C 3.00' IN (SELECT pg_temp.posted(:shop, '2026-02-15')), 'a rule for one kind of line');
SELECT billing.record_payment(:shop, 30, 'EUR', method => 'card', effective_at => '2026-02-16 12:00+00') AS card \gset
SELECT ok('payment: 1360 D 30.00, 2000 C 30.00' IN (SELECT pg_temp.posted(:shop, '2026-02-16')), 'a rule for one way of payment');
SELECT is((SELECT DISTINCT ledger_account FROM billing.journal WHERE source = 'invoice' AND part = 'revenue'), '8400', 'an account gets another code');
SELECT throws_ok($$DELETE FROM billing.ledger_account WHERE code = '1200'$$, '23503', NULL, 'an account that rules use stays');

-- A seller has rules of its own, which go first.
SAVEPOINT before_rules;
SELECT billing.create_entity('other', name => 'Other GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
INSERT INTO billing.ledger_account VALUES ('1800', 'Bank', 'asset'), ('1890', 'Card clearing', 'asset');
INSERT INTO billing.posting_rule (source, part, detail, ledger_account, entity) VALUES ('payment', 'cash', '', '1800', 'other');
SELECT billing.create_account('Theirs', entity => 'other') AS theirs \gset
SELECT billing.record_payment(a, 5, 'EUR', method => 'card', effective_at => '2026-02-16 12:00+00') FROM unnest(ARRAY[:shop, :theirs]) a \g /dev/null
SELECT ok('payment: 1800 D 5.00, 2000 C 5.00' IN (SELECT pg_temp.posted(:theirs, '2026-02-16')) AND 'payment: 1360 D 5.00, 2000 C 5.00' IN (SELECT pg_temp.posted(:shop, '2026-02-16')),
          'before those of all sellers, also where these are closer');
INSERT INTO billing.posting_rule VALUES ('payment', 'cash', 'card', '1890', 'other');
SELECT ok('payment: 1890 D 5.00, 2000 C 5.00' IN (SELECT pg_temp.posted(:theirs, '2026-02-16')), 'but not before a closer one of its own');
SELECT throws_ok($$INSERT INTO billing.posting_rule VALUES ('payment', 'cash', 'card', '1890', 'other')$$, '23505', NULL, 'one rule for each');
SELECT is_empty($$SELECT * FROM billing.check()$$, 'the books are sound');
INSERT INTO billing.posting_rule VALUES ('payment', 'cash', '', '1890', 'nobody');
SELECT is((SELECT array_agg(finding) FROM billing.check()), '{posting rule without seller}', 'a rule for nobody is found');
ROLLBACK TO before_rules;

-- The tax of what is given up, where there is a rule for it: 10.00 + 1.90 and 20.00 + 1.40, of which a part comes in later.
SAVEPOINT before_rules;
INSERT INTO billing.ledger_account VALUES ('2210', 'Tax on bad debts', 'liability'), ('2211', 'Reduced tax on bad debts', 'liability');
INSERT INTO billing.posting_rule VALUES ('write_off', 'tax', '', '2210', 'acme');
SELECT billing.create_account('Poor') AS poor \gset
SELECT billing.record_external_invoice(:poor, 'X-bad', '2026-04-01', 33.30, 'EUR', tax_total => 3.30,
    lines => '[{"description":"a","amount":10,"tax_category":"S","tax_rate":19},{"description":"b","amount":20,"tax_category":"S","tax_rate":7}]') AS bad \gset
SELECT billing.write_off_invoice(:bad, effective_at => now()) \g /dev/null
SELECT billing.record_payment(:poor, m, 'EUR', invoice_ids => ARRAY[:bad], rules => '{named}') FROM unnest('{0.07,11.11,3.33,18.79}'::numeric[]) m \g /dev/null
SELECT results_eq(format($$SELECT source, part, ledger_account, debit, credit FROM billing.journal WHERE invoice_id = %s AND source = 'write_off' ORDER BY 4, 5 $$, :bad),
    $$VALUES ('write_off', 'receivable', '1200', 0.00, 33.30), ('write_off', 'tax', '2210', 1.40, 0.00), ('write_off', 'tax', '2210', 1.90, 0.00), ('write_off', 'write_off', '6000', 30.00, 0.00)$$,
    'is posted apart');
SELECT is((SELECT array_agg(x.net ORDER BY x.part) FROM (SELECT part, sum(debit - credit) AS net FROM billing.journal WHERE invoice_id = :bad AND source IN ('write_off', 'recovery') GROUP BY 1) x),
          '{0.00,0.00,0.00}', 'and comes back to the last cent with what is recovered');
SELECT is((SELECT status FROM billing.invoice WHERE id = :bad), 'paid', 'of all of it');
SELECT is_empty($$SELECT * FROM billing.check()$$, 'the books are sound');
ROLLBACK TO before_rules;

-- --- Statement ----------------------------------------------------------------------------------------
SELECT results_eq(format($$SELECT posted_on, source, number, amount, balance FROM billing.account_statement(%s, until_on => '2026-02-04')$$, :shop),
    $$VALUES (NULL::date, 'balance', NULL, 0.00, 0.00), ('2026-01-01', 'invoice', 'INV-2026-000001', 128.99, 128.99), ('2026-01-10', 'under_payment', 'INV-2026-000001', -0.39, 128.60),
             ('2026-01-10', 'payment', NULL, -128.60, 0.00), ('2026-01-11', 'payment', NULL, -50.00, -50.00), ('2026-02-01', 'invoice', 'INV-2026-000002', 128.99, 78.99),
             ('2026-02-02', 'payment', NULL, -20.00, 58.99), ('2026-02-03', 'credit_note', 'CN-2026-000001', -11.90, 47.09), ('2026-02-04', 'refund', 'CN-2026-000001', 1.90, 48.99)$$, 'a statement');
SELECT results_eq(format($$SELECT source, balance FROM billing.account_statement(%s, '2026-02-04', '2026-02-04')$$, :shop),
    $$VALUES ('balance', 47.09), ('refund', 48.99)$$, 'of a day, with the balance before it');
SELECT is((SELECT balance FROM billing.account_statement(:shop) WITH ORDINALITY s ORDER BY s.ordinality DESC LIMIT 1),
          coalesce((SELECT sum(amount_due) FROM billing.open_item WHERE account_id = :shop), 0) - coalesce((SELECT sum(amount) FROM billing.customer_credit WHERE account_id = :shop), 0),
          'it ends with open items less credit');
SELECT is_empty($$SELECT * FROM billing.check()$$, 'the books are sound');

-- --- What the check finds -----------------------------------------------------------------------------
SAVEPOINT before_damage;
DELETE FROM billing.posting_rule WHERE part = 'fee';
SELECT is((SELECT array_agg(finding) FROM billing.check()), '{posting without ledger account}', 'a part that goes nowhere');
ROLLBACK TO before_damage;
SET LOCAL session_replication_role = replica;
UPDATE billing.payment SET amount = amount + 1 WHERE id = :card;
SELECT is((SELECT count(*) FROM billing_internal.check_journal()), 0::bigint, 'more credit on both sides is nothing that the journal knows');
DELETE FROM billing.payment_allocation WHERE payment_id = :early;
SELECT results_eq($$SELECT finding, relation FROM billing_internal.check_journal() ORDER BY 2$$,
                  $$VALUES ('journal differs', 'customer_credit'), ('journal differs', 'open_item')$$, 'an allocation that is gone');
ROLLBACK TO before_damage;

-- --- Outcome of collections ---------------------------------------------------------------------------
SELECT billing.create_account('Card') AS payer \gset
SELECT billing.add_payment_method(:payer, 'card', provider => 'psp', token => 't') \g /dev/null
SELECT billing.record_external_invoice(:payer, 'C-' || n, '2026-03-01', 10 * n, 'EUR') FROM generate_series(1, 3) n \g /dev/null
SELECT billing_internal.lock_account(:payer), billing_internal.request_collection(:payer, pg_temp.doc(:payer, n), '2026-03-02', NULL) FROM generate_series(1, 3) n \g /dev/null
SELECT billing.settle_collection(c.collection_id, CASE WHEN c.amount = 10 THEN 'submitted' ELSE 'succeeded' END, effective_at => '2026-03-02')
  FROM billing.claim_collections('w', 2, at => '2026-03-02') c \g /dev/null
SELECT is((SELECT (month, type, provider, requested, under_way, succeeded, succeeded_at_first, failed, canceled, attempts, declined, requested_amount, collected_amount, reversed_amount)::text FROM billing.collection_outcome),
          '(2026-03-01,card,psp,3,2,1,1,0,0,2,0,60.00,20.00,0.00)', 'outcome of collections');
SELECT * FROM finish();
ROLLBACK;
