\i sql/include/fresh.psql
-- How subscriptions begin: trials, set-up fees, charges for what happens, and a first payment that brings them to life.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET billing.max_future = '36500d';
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price('tv', name => 'Television', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"flat","flat_amount":20}'),
       billing.create_price('fibre', name => 'Fibre', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat', scheme => '{"model":"flat","flat_amount":40}'),
       billing.create_price('setup', name => 'Connection', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":60}'),
       billing.create_price('box', name => 'Set-top box', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":99}'),
       billing.create_price('leave', name => 'Disconnection', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":15}') \g /dev/null

-- A set-top box is charged at activation, for the first use only; leaving costs something every time.
SELECT billing.create_plan('tv', name => 'Television', trial_every => '14 days',
    items => '[{"price":"tv"},{"price":"box","event":"subscription_activation","charge_once":true},{"price":"leave","event":"contract_termination"}]');
CREATE TEMPORARY VIEW lines AS
SELECT h.account_id, (h.billed_at AT TIME ZONE 'Europe/Berlin')::date AS invoice, l.description, l.amount
  FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id ORDER BY h.id, l.line_no;

-- Two weeks for nothing; activation is not the start of the trial.
SELECT billing.create_account('Ann') AS ann \gset
SELECT billing.create_subscription(:ann, 'tv', start_at => '2026-01-01 00:00+01') AS s \gset
SELECT billing.subscription_state_on(:s, '2026-01-10') AS in_january, billing.subscription_state_on(:s, '2026-02-10') AS in_february;
SELECT count(*) AS invoices FROM billing.bill_account(:ann, '2026-02-20');
SELECT invoice, description, amount FROM lines WHERE account_id = :ann;

-- She leaves and comes back: the box was charged once, for ever.
SELECT billing.cancel_subscription(:s, effective_at => '2026-03-15 00:00+01') \g /dev/null
SELECT count(*) AS invoices FROM billing.bill_account(:ann, '2026-04-01');
SELECT billing.restart_subscription(:s, effective_at => '2026-05-15 00:00+02') \g /dev/null
SELECT count(*) AS invoices FROM billing.bill_account(:ann, '2026-06-01');
SELECT invoice, description, amount FROM lines WHERE account_id = :ann AND invoice > '2026-02-20';

-- A trial that nobody wants to go on ends by itself; until an instant; and none at all although the plan has one.
SELECT billing.create_account('Bob') AS bob \gset
SELECT billing.create_subscription(:bob, 'tv', start_at => '2026-01-01 00:00+01', trial_end_action => 'cancel') AS s \gset
SELECT billing.create_subscription(:bob, 'tv', start_at => '2026-01-01 00:00+01', trial_end_at => '2026-01-08 00:00+01', end_at => '2026-02-08 00:00+01') AS s \gset
SELECT billing.create_subscription(:bob, 'tv', start_at => '2026-01-01 00:00+01', trial_end_at => '2026-01-01 00:00+01', cycles => 1) AS s \gset
SELECT count(*) AS invoices FROM billing.bill_account(:bob, '2026-12-01');
SELECT invoice, description, amount FROM lines WHERE account_id = :bob;

-- Set-up fees of what is paid in arrears: at once on an invoice of its own, or with the first invoice.
SELECT billing.create_plan('fibre', name => 'Fibre', items => '[{"price":"fibre"},{"price":"setup"}]') \g /dev/null
SELECT billing.create_account('Cem') AS cem, billing.create_account('Dan') AS dan \gset
SELECT billing.create_subscription(:cem, 'fibre', start_at => '2026-01-01 00:00+01', items => '[{"price":"setup","own_invoice":true}]') AS c,
       billing.create_subscription(:dan, 'fibre', start_at => '2026-01-01 00:00+01') AS d \gset
SELECT count(*) AS invoices FROM unnest(ARRAY[:cem, :dan]) a, billing.bill_account(a, '2026-02-10');
SELECT a.name, l.invoice, l.description, l.amount FROM lines l JOIN billing.account a USING (account_id) WHERE account_id IN (:cem, :dan) ORDER BY a.name, l.invoice, l.amount;

-- A subscription that waits for its first payment: how much, and then everything at once; or nothing, for good.
SELECT billing.create_account('Eve') AS eve \gset
SELECT billing.create_subscription(:eve, 'tv', start_at => '2026-01-01 00:00+01', trial_end_at => '2026-01-01 00:00+01', items => '[{"price":"setup"}]', await_payment => true) AS s,
       billing.create_subscription(:eve, 'fibre', start_at => '2026-01-01 00:00+01', await_payment => true) AS never \gset
SELECT count(*) AS invoices FROM billing.bill_account(:eve, '2026-01-02');
SELECT * FROM billing.first_payment(:s, '2026-01-03 12:00+01');
SELECT billing.fail_subscription(:never, effective_at => '2026-01-03 12:00+01') \g /dev/null
SELECT billing.activate_subscription(:s, effective_at => '2026-01-03 12:00+01') \g /dev/null
SELECT billing.subscription_state_on(:s, '2026-01-04') AS paid, billing.subscription_state_on(:never, '2026-01-04') AS not_paid;
SELECT number, total FROM billing.invoice WHERE account_id = :eve;
SELECT invoice, description, amount FROM lines WHERE account_id = :eve;
SELECT * FROM billing.check(deep => true);
