-- What customers owe, how it came to that, and the same in double entry.
\i sql/include/fresh.psql
\set VERBOSITY terse
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_price('line', name => 'Line', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"flat","flat_amount":100}');
SELECT billing.create_plan('internet', items => '[{"price":"line"}]');
SELECT billing.create_account('Ann') AS ann \gset
SELECT billing.create_account('Ben') AS ben \gset
SELECT count(billing.create_subscription(a, 'internet', start_at => '2025-01-01 00:00+01', cycles => 2)) FROM unnest(ARRAY[:ann, :ben]) a;
CALL billing.bill_run(at => '2025-01-01 06:00+01');
CALL billing.bill_run(at => '2025-02-01 06:00+01');

-- Ann pays 119.00 at once and 50.00 of the second invoice; for a day without service she gets 23.80 back.
SELECT billing.record_payment(:ann, 119, 'EUR', method => 'card', effective_at => '2025-01-02 10:00+01') > 0 AS paid;
SELECT billing.record_payment(:ann, 50, 'EUR', method => 'transfer', effective_at => '2025-02-20 10:00+01') > 0 AS paid;
SELECT billing.credit_invoice(id, amount => 23.80, reason => 'a day without service', effective_at => '2025-02-21 10:00+01') > 0 AS credited FROM billing.invoice WHERE number = 'INV-2025-000003';
-- Ben pays nothing, and his first invoice is given up in May.
SELECT billing.write_off_invoice(id, reason => 'insolvent', effective_at => '2025-05-02 10:00+02') > 0 AS given_up FROM billing.invoice WHERE number = 'INV-2025-000002';

-- --- Aging, as of any day ---------------------------------------------------------------------------
CREATE TEMP VIEW who AS SELECT account_id, name FROM billing.account;
SELECT name, from_days, until_days, invoices, amount FROM billing.receivable_aging_on('2025-01-31') JOIN who USING (account_id);
SELECT name, from_days, until_days, invoices, amount FROM billing.receivable_aging_on('2025-03-31') JOIN who USING (account_id);
-- Since the date of issue, in bands of one's own.  A band ends with its last day.
SELECT name, from_days, until_days, invoices, amount FROM billing.receivable_aging_on('2025-03-31', by => 'issue', bands => '{58,59}') JOIN who USING (account_id);
SELECT name, from_days, until_days, invoices, amount FROM billing.receivable_aging_on('2025-12-31') JOIN who USING (account_id);
-- Now, by document.
SELECT name, number, kind, due_on, total, amount_paid, amount_credited, amount_due FROM billing.open_item ORDER BY number;

-- --- What happened on an account ----------------------------------------------------------------------
SELECT posted_on, source, number, amount, balance FROM billing.account_statement(:ann);
-- Of March and later: only what was carried over.
SELECT posted_on, source, amount, balance FROM billing.account_statement(:ann, from_on => '2025-03-01');
SELECT posted_on, source, number, amount, balance FROM billing.account_statement(:ben, from_on => '2025-02-01', until_on => '2025-12-31');

-- --- Double entry ---------------------------------------------------------------------------------------
SELECT posted_on, source, part, ledger_account, debit, credit FROM billing.journal WHERE account_id = :ann ORDER BY posted_on, entry, debit DESC, part;
CREATE TEMP VIEW trial_balance AS
    SELECT j.ledger_account, l.name, sum(j.debit) AS debit, sum(j.credit) AS credit, sum(j.debit - j.credit) AS balance
      FROM billing.journal j JOIN billing.ledger_account l ON l.code = j.ledger_account GROUP BY 1, 2 ORDER BY 1;
SELECT * FROM trial_balance;
SELECT sum(debit) AS debit, sum(credit) AS credit FROM trial_balance;
-- What customers owe by the journal is what they owe by their documents.
SELECT (SELECT balance FROM trial_balance WHERE ledger_account = '1200') = (SELECT sum(amount_due) FROM billing.open_item) AS same;
-- Money by card goes to an account of its own from now on: a row, and the whole journal follows.
INSERT INTO billing.ledger_account (code, name, type) VALUES ('1010', 'Card clearing', 'asset');
INSERT INTO billing.posting_rule (source, part, detail, ledger_account) VALUES ('payment', 'cash', 'card', '1010');
SELECT * FROM trial_balance WHERE ledger_account < '1100';
SELECT * FROM billing.check(deep => true);
