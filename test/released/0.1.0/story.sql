-- What the books in books.sql.gz hold: a bit of everything that this version can do.  All instants are
-- given, so that any version that runs it makes the same documents.  Needs roles bookkeeper, clerk,
-- auditor and application, and empty books of bookkeeper.

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', entity => 'acme', category => 'S', rate => 19);
SELECT billing.create_tax('low', entity => 'acme', category => 'S', rate => 7);
SELECT billing.create_meter('minutes', aggregation => 'sum');
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', timing => 'advance', tax => 'vat',
    scheme => '{"model":"per_unit","unit_amount":12.50}');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat', meter => 'minutes',
    scheme => '{"model":"graduated","tiers":[{"up_to":10,"unit_amount":1.00},{"up_to":20,"unit_amount":0.90},{"up_to":null,"unit_amount":0.80}]}');
SELECT billing.create_price('paper', currency => 'EUR', every => '3 months', timing => 'advance', tax => 'low', tax_inclusive => true,
    scheme => '{"model":"flat","flat_amount":9.99}');
SELECT billing.create_price('care', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat',
    scheme => '{"model":"flat","flat_amount":7.77}');
SELECT billing.create_price('set-up', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":60.00}');
SELECT billing.create_plan('team', items => '[{"price":"seat"},{"price":"call"}]');
SELECT billing.create_plan('home', items => '[{"price":"care"},{"price":"paper","optional":true}]', billing_day => 15);
SELECT billing.create_coupon('TEN', type => 'percentage', value => 10, cycles => 3, valid_from => '2026-01-01 00:00+01');
SELECT billing.grant_access('clerk', 'operator'), billing.grant_access('auditor', 'reader'), billing.grant_access('application', 'application', 'acme');

SELECT count(*) FROM billing.create_accounts((SELECT jsonb_agg(jsonb_build_object('name', 'Customer ' || i, 'external_id', 'crm-' || i)) FROM generate_series(1, 20) i));
SELECT count(*) FROM billing.create_subscriptions((SELECT jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
           'account_id', i, 'plan', CASE WHEN i % 3 = 0 THEN 'home' ELSE 'team' END,
           'start_at', timestamptz '2026-01-01 00:00+01' + i * interval '1 day',
           'end_at', CASE WHEN i % 7 = 0 THEN timestamptz '2026-03-10 00:00+01' END,
           'items', CASE WHEN i % 6 = 0 THEN jsonb '[{"price":"paper"}]'
                         WHEN i % 3 > 0 THEN jsonb_build_array(jsonb_build_object('price', 'seat', 'quantity', i)) END)))
       FROM generate_series(1, 20) i));
SELECT count(*) FROM billing.record_usages((SELECT jsonb_agg(jsonb_build_object('subscription_id', id, 'meter', 'minutes',
           'event_key', 'call ' || account_id, 'quantity', 3.5 * account_id, 'at', start_at + interval '10 days'))
       FROM billing.subscription WHERE plan = 'team' AND account_id % 2 = 0));
SELECT billing.set_minimum((SELECT min(id) FROM billing.subscription WHERE account_id = 2), 40, tax => 'vat', effective_at => '2026-01-03 00:00+01');
SELECT billing.redeem_coupon(4, 'TEN', effective_at => '2026-01-05 00:00+01');
SELECT billing.add_discount(5, 3.33, type => 'fixed', effective_at => '2026-01-06 00:00+01');

CALL billing.bill_run('2026-02-20 00:00+01');

SELECT billing.record_usage((SELECT min(id) FROM billing.subscription WHERE account_id = 10), 'minutes', 'late', 7, '2026-01-25 00:00+01');
SELECT billing.void_invoice((SELECT min(id) FROM billing.invoice WHERE account_id = 4), rebill => true, effective_at => '2026-02-21 00:00+01');
SELECT billing.change_item((SELECT min(id) FROM billing.subscription_item WHERE account_id = 5 AND kind = 'recurring'), quantity => 7,
    effective_at => '2026-02-10 00:00+01', idempotency_key => 'more seats');
SELECT billing.add_item((SELECT min(id) FROM billing.subscription WHERE account_id = 8), 'set-up', instalments => 3, effective_at => '2026-02-09 00:00+01');
SELECT billing.pause_subscription((SELECT min(id) FROM billing.subscription WHERE account_id = 11), until => '2026-04-20 00:00+02', effective_at => '2026-02-25 00:00+01');
SELECT billing.cancel_subscription((SELECT min(id) FROM billing.subscription WHERE account_id = 13), effective_at => '2026-03-01 00:00+01', reason => 'moved');
SELECT billing.change_plan((SELECT min(id) FROM billing.subscription WHERE account_id = 16), 'home', effective_at => '2026-05-01 00:00+02');
SELECT billing.skip_cycles((SELECT min(id) FROM billing.subscription WHERE account_id = 17), 1, effective_at => '2026-03-01 00:00+01');
SELECT billing.create_price_version('care', '{"model":"flat","flat_amount":8.88}', from_at => '2026-04-01 00:00+02');

CALL billing.bill_run('2026-03-20 00:00+01');
-- the last ones are drafts, and a correction is not billed yet
CALL billing.bill_run('2026-04-20 00:00+02', finalize => false);
SELECT billing.record_usage((SELECT min(id) FROM billing.subscription WHERE account_id = 14), 'minutes', 'later', 11, '2026-02-01 00:00+01');
