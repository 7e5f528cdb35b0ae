\i sql/include/fresh.psql
-- The catalogue: sellers and their number series, taxes, products, meters, prices, plans.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET billing.max_future = '36500d';

-- A seller gets a series for invoices and one for credit notes, which start again each year.
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin',
    payment_terms_days => 30, address => '{"line1":"Hauptstr. 1","postal_code":"10115","city":"Berlin"}',
    tax_ids => '[{"type":"vat","value":"DE123456789"}]', metadata => '{"cost_centre":7}');
SELECT code, name, country, currency, time_zone, payment_terms_days, address, tax_ids, invoice_series, credit_note_series, metadata, grace_period
  FROM billing.entity;
SELECT code, entity, format, restart_yearly FROM billing.series ORDER BY code;

-- More of them, in formats of their own; one for two kinds of documents is one chain.
SELECT billing.create_series('acme-web', 'acme', 'W{yy}-{number:4}', restart_yearly => true);
SELECT billing.create_series('acme-all', 'acme', 'A{number}');
UPDATE billing.entity SET invoice_series = 'acme-all', credit_note_series = 'acme-all' WHERE code = 'acme';

-- A series belongs to one seller, also when a new one would be given it by its name.
SELECT billing.create_series('bolt-invoice', 'acme', 'B{number}');
SELECT billing.create_entity('bolt', name => 'Bolt Ltd', country => 'GB', currency => 'GBP', time_zone => 'Europe/London');
\echo :SQLSTATE
DELETE FROM billing.series WHERE code = 'bolt-invoice';
SELECT billing.create_entity('bolt', name => 'Bolt Ltd', country => 'GB', currency => 'GBP', time_zone => 'Europe/London');
UPDATE billing.entity SET credit_note_series = 'acme-all' WHERE code = 'bolt';
\echo :SQLSTATE
UPDATE billing.entity SET credit_note_series = 'none' WHERE code = 'bolt';
\echo :SQLSTATE

-- Tax classes: what a class means depends on seller, kind of buyer and date.  With two sellers one must be named.
SELECT billing.create_tax('vat', category => 'S', rate => 19);
\echo :SQLSTATE
SELECT billing.create_tax('vat', entity => 'acme', category => 'S', rate => 16, name => 'Value added tax');
SELECT billing.create_tax_rate('vat', entity => 'acme', category => 'S', rate => 19, valid_from => '2021-01-01');
SELECT billing.create_tax_rate('vat', entity => 'acme', tax_status => 'reverse_charge', category => 'AE', rate => 0, reason => 'Reverse charge');
SELECT billing.create_tax_rate('vat', entity => 'bolt', category => 'S', rate => 20);
SELECT * FROM billing.tax_rate ORDER BY entity, tax_status, valid_from;
SELECT * FROM billing.tax_class;

-- Products, and meters with their four aggregations.
SELECT billing.create_product('phone', 'Telephone', metadata => '{"shelf":3}');
SELECT billing.create_meter('minutes', name => 'Minutes called', unit_code => 'MIN'),
       billing.create_meter('calls', aggregation => 'count'), billing.create_meter('lines', aggregation => 'max'),
       billing.create_meter('disk', aggregation => 'last', unit_code => 'AD');
SELECT * FROM billing.meter ORDER BY code;

-- Prices.  A plain one is charged in advance by the day; a metered one always in arrears.
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":12.50}');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'minutes', scheme => '{"model":"per_unit","unit_amount":0.10}');
SELECT billing.create_price('support', currency => 'EUR', every => '3 months', tax => 'vat', timing => 'arrears', name => 'Support by phone',
    product => 'phone', tax_inclusive => true, proration_charge => 'full', proration_credit => 'none', unit_code => 'HUR',
    metadata => '{"tier":"gold"}', scheme => '{"model":"flat","flat_amount":"99.00"}');
SELECT billing.create_price('line', currency => 'EUR', every => '1 month', tax => 'vat', product => 'phone', proration_charge => '30/360', proration_credit => '30/360',
    scheme => '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":null,"unit_amount":0.80}]}');
SELECT billing.create_price('pass', currency => 'EUR', every => '7 days', tax => 'vat', proration_charge => 'second', proration_credit => 'second', scheme => '{"model":"flat","flat_amount":3}');

-- Without an interval a price is charged once.
SELECT billing.create_price('router', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":100}'),
       billing.create_price('visit', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":30}');
SELECT code, name, product, every, timing, tax_inclusive AS incl, meter, proration_charge AS charge, proration_credit AS credit, unit_code, metadata
  FROM billing.price ORDER BY code;

-- Until something uses it a price may be changed; then never again.
UPDATE billing.price_version SET scheme = '{"model":"per_unit","unit_amount":"12.00"}' WHERE price = 'seat';
UPDATE billing.price SET proration_credit = 'none' WHERE code = 'seat';
SELECT billing.create_plan('team', name => 'Team', items => '[{"price":"seat","quantity":5},{"price":"call"},{"price":"support","optional":true,"cycles":12}]',
    billing_day => 1, cycles => 24, metadata => '{"page":2}');
SELECT billing.create_account('Jane Ltd', entity => 'acme') AS account_id \gset
SELECT billing.create_subscription(:account_id, 'team', start_at => '2026-01-01 00:00+01') IS NOT NULL AS subscribed;
UPDATE billing.price_version SET scheme = '{"model":"per_unit","unit_amount":"12.50"}' WHERE price = 'seat';
\echo :SQLSTATE
UPDATE billing.price SET currency = 'USD' WHERE code = 'seat';
UPDATE billing.price SET every = '30 days' WHERE code = 'seat';
UPDATE billing.price SET tax_inclusive = true WHERE code = 'seat';
UPDATE billing.price SET proration_credit = 'day' WHERE code = 'seat';
UPDATE billing.price SET code = 'chair' WHERE code = 'seat';
DELETE FROM billing.price_version WHERE price = 'seat';
DELETE FROM billing.price WHERE code = 'seat';
SET session_replication_role = replica;
UPDATE billing.price SET timing = 'arrears' WHERE code = 'seat';
RESET session_replication_role;
UPDATE billing.price SET name = 'Seat', metadata = '{"colour":"blue"}' WHERE code = 'seat';
SELECT price, version, in_use, scheme FROM billing.price_version WHERE price IN ('seat', 'call', 'support') ORDER BY price;

-- A new version supersedes it for what starts from a day on; what runs keeps its own.
SELECT billing.create_price_version('seat', '{"model":"per_unit","unit_amount":15}', from_at => '2026-06-01 00:00+02');
SELECT billing.create_price_version('seat', '{"model":"per_unit","unit_amount":14}', from_at => '2026-03-01 00:00+01');
SELECT billing.create_price_version('seat', '{"model":"per_unit","unit_amount":13}', from_at => '2026-03-01 00:00+01');
\echo :SQLSTATE
SELECT billing.create_subscription(:account_id, 'team', start_at => start_at) IS NOT NULL AS subscribed
  FROM unnest(ARRAY['2026-02-28 23:59+01', '2026-03-01 00:00+01', '2026-06-01 00:00+02']::timestamptz[]) start_at;
SELECT i.valid_from, i.price_version, v.scheme->'unit_amount' AS unit_amount
  FROM billing.item_version i JOIN billing.price_version v ON v.price = i.price AND v.version = i.price_version
 WHERE i.price = 'seat' ORDER BY i.valid_from;
UPDATE billing.price_version SET scheme = '{"model":"per_unit","unit_amount":1}' WHERE price = 'seat' AND version = 2;

-- Plans.
SELECT * FROM billing.plan;
SELECT * FROM billing.plan_item WHERE plan = 'team' ORDER BY ordinal;
SELECT billing.create_plan('odd', items => '[{"price":"seat"},{"price":"pass"}]');
\echo :SQLSTATE
SELECT billing.create_plan('quarterly', items => '[{"price":"support"}]', name => 'Support only');

-- What is charged once: with the subscription, in instalments, or when something happens.  Trials are the plan's, too.
SELECT billing.create_plan('home', name => 'Home', trial_every => '14 days', trial_end_action => 'cancel', resume_anchor => 'resume',
    items => '[{"price":"line"},{"price":"router","instalments":12},{"price":"visit","optional":true,"own_invoice":true},
               {"price":"visit","event":"subscription_activation","charge_once":true},{"price":"visit","event":"contract_termination"}]');
SELECT trial_every, trial_end_action, resume_anchor FROM billing.plan WHERE code = 'home';
SELECT ordinal, price, quantity, optional, event, charge_once, own_invoice, instalments FROM billing.plan_item WHERE plan = 'home' ORDER BY ordinal;
-- Not so what is charged every month.
SELECT billing.create_plan('odd', items => '[{"price":"seat","event":"trial_start"}]');
\echo :SQLSTATE

-- Off sale: nothing new, what runs goes on.
SELECT billing.archive_price('support');
SELECT billing.create_subscription(:account_id, 'quarterly');
\echo :SQLSTATE
SELECT billing.create_subscription(:account_id, 'team') IS NOT NULL AS an_optional_price_hinders_nobody;
SELECT billing.archive_plan('team', effective_at => now() + interval '1 hour');
SELECT billing.create_subscription(:account_id, 'team') IS NOT NULL AS not_yet;
SELECT billing.archive_plan('team');
SELECT billing.create_subscription(:account_id, 'team');
\echo :SQLSTATE
SELECT count(*) FROM billing.bill_account(:account_id, '2026-01-01 00:00+01');
SELECT description, quantity, unit_amount, amount, tax_category, tax_rate FROM billing.invoice_line ORDER BY invoice_id, line_no;

-- An old date takes the rate of its day; a buyer of another kind his own.
SELECT billing.create_plan('seats', items => '[{"price":"line","quantity":3}]');
SELECT billing.create_account('Old AG', entity => 'acme', invoice_series => 'acme-web') AS old \gset
SELECT billing.create_account('Foreign SA', entity => 'acme', country => 'FR', tax_status => 'reverse_charge', tax_ids => '[{"type":"vat","value":"FR1"}]') AS french \gset
SELECT billing.create_account('Charity', entity => 'acme', tax_status => 'exempt') AS charity \gset
SELECT count(billing.create_subscription(account, 'seats', start_at => '2020-12-01 00:00+01', cycles => 2)) FROM unnest(ARRAY[:old, :french, :charity]) account;
SELECT count(*) FROM unnest(ARRAY[:old, :french]) account, billing.bill_account(account, '2021-01-01 00:00+01');
SELECT i.account_id, i.series, i.net_total, t.category, t.rate, t.tax_amount, t.reason, l.period_start AT TIME ZONE 'Europe/Berlin' AS period_start
  FROM billing.invoice i JOIN billing.invoice_tax t ON t.invoice_id = i.id JOIN billing.invoice_line l ON l.invoice_id = i.id
 WHERE i.account_id IN (:old, :french) ORDER BY i.account_id, l.period_start;
-- No rate is no bill.
SELECT billing.bill_account(:charity, '2021-01-01 00:00+01');
\echo :SQLSTATE

-- Numbers without gaps, each series by its format; this one begins again each year.
SELECT billing.create_subscription(:old, 'seats', start_at => '2021-12-01 00:00+01', cycles => 2) IS NOT NULL AS subscribed;
SELECT count(*) FROM unnest(ARRAY['2021-12-01 00:00+01', '2022-01-01 00:00+01']::timestamptz[]) at, billing.bill_account(:old, at);
SELECT series, position, number, issued_on FROM billing.invoice ORDER BY series, position;
SELECT code, position, counter, counter_year, last_issued_on FROM billing.series ORDER BY code;
