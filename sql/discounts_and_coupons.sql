-- Discounts, surcharges, coupons and minimums of a gym and its members.
\i sql/include/fresh.psql
SET billing.max_future = '100000d';
SET TimeZone = 'Europe/Berlin';
\set SHOW_CONTEXT never

SELECT billing.create_entity('gym', name => 'Gym GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_meter('drinks');
SELECT billing.create_price('training', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":40}'),
       billing.create_price('sauna', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":15}'),
       billing.create_price('drink', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'drinks', scheme => '{"model":"per_unit","unit_amount":2}');
SELECT billing.create_plan('member', items => '[{"price":"training"},{"price":"sauna","optional":true},{"price":"drink"}]');
CREATE VIEW bill AS
SELECT a.name, h.billed_at::date AS due, h.kind, coalesce(l.price, l.kind) AS line, l.gross_amount, l.discount_amount, l.increment_amount, l.amount, l.document_discount, l.net_amount
  FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id JOIN billing.account a ON a.account_id = h.account_id
 ORDER BY h.account_id, h.id, l.line_no;

-- Ten percent off for Ada for three months, and a surcharge of 5.00 on her sauna while the old one is repaired.
SELECT billing.create_account('Ada') AS ada \gset
SELECT billing.create_subscription(:ada, 'member', start_at => '2026-01-01 00:00+01', items => '[{"price":"sauna"}]') AS s \gset
SELECT billing.add_discount(:ada, 10, subscription_id => :s, cycles => 3, description => 'new member', effective_at => '2026-01-01 00:00+01') IS NOT NULL AS entered;
SELECT billing.add_discount(:ada, 5, type => 'fixed', kind => 'increment', item_id => :s + 2, until => '2026-02-01 00:00+01', effective_at => '2026-01-01 00:00+01') IS NOT NULL AS entered;
CALL billing.bill_run('2026-04-01 00:00+02');
SELECT due, line, gross_amount, discount_amount, increment_amount, amount FROM bill WHERE name = 'Ada';
SELECT kind, type, value, from_at::date, to_at::date, description FROM billing.discount ORDER BY id;

-- A fixed amount goes to what is due first; what April's training no longer takes is there for its drinks.
SELECT billing.create_account('Bob') AS bob \gset
SELECT billing.create_subscription(:bob, 'member', start_at => '2026-04-01 00:00+02') AS s \gset
SELECT billing.add_discount(:bob, 30, type => 'fixed', subscription_id => :s, effective_at => '2026-04-01 00:00+02') IS NOT NULL AS entered;
SELECT billing.record_usage(:s, 'drinks', 'd1', 8, '2026-04-05 12:00+02');
SELECT count(*) FROM billing.bill_account(:bob, '2026-04-01 00:00+02');
SELECT billing.end_item(:s + 1, effective_at => '2026-04-16 00:00+02') IS NOT NULL AS ended;
SELECT count(*) FROM billing.bill_account(:bob, '2026-05-01 00:00+02');
SELECT due, kind, line, gross_amount, discount_amount, amount FROM bill WHERE name = 'Bob';

-- A coupon that two people may redeem, once each.
SELECT billing.create_coupon('SPRING', name => 'Spring 2026', type => 'fixed', value => 60, currency => 'EUR', expires_at => '2026-06-01 00:00+02', max_redemptions => 2, max_redemptions_per_account => 1);
SELECT billing.create_account('Cyd') AS cyd, billing.create_account('Dan') AS dan, billing.create_account('Eve') AS eve \gset
SELECT billing.create_subscription(:cyd, 'member', start_at => '2026-05-01 00:00+02', items => '[{"price":"sauna"}]', coupon => 'SPRING') AS s \gset
SELECT billing.redeem_coupon(:dan, 'SPRING', effective_at => '2026-05-02 00:00+02') IS NOT NULL AS redeemed;
SELECT billing.redeem_coupon(:eve, 'SPRING', effective_at => '2026-05-03 00:00+02');
SELECT billing.redeem_coupon(:eve, 'AUTUMN');
SELECT code, redemptions, max_redemptions FROM billing.coupon;
SELECT count(*) FROM billing.bill_account(:cyd, '2026-06-01 00:00+02');
-- She gives the sauna back in June: the share of what comes back is left for July.
SELECT billing.end_item(:s + 2, effective_at => '2026-06-16 00:00+02') IS NOT NULL AS ended;
SELECT count(*) FROM billing.bill_account(:cyd, '2026-07-01 00:00+02');
SELECT due, kind, line, amount, document_discount, net_amount FROM bill WHERE name = 'Cyd';
SELECT sum(amount) AS used, 60.00 - sum(amount) AS left FROM billing.discount_use WHERE account_id = :cyd;

-- Firms commit to 100.00 a month, and are told what they are short of.
SELECT billing.create_account('Firm') AS firm \gset
SELECT billing.create_subscription(:firm, 'member', start_at => '2026-05-01 00:00+02', items => '[{"price":"training","quantity":2}]') AS s \gset
SELECT billing.set_minimum(:s, 100, effective_at => '2026-05-01 00:00+02') IS NOT NULL AS entered;
SELECT count(*) FROM billing.bill_account(:firm, '2026-06-01 00:00+02');
SELECT billing.record_usage(:s, 'drinks', 'late', 4, '2026-05-20 12:00+02');
SELECT count(*) FROM billing.bill_account(:firm, '2026-07-01 00:00+02');
SELECT due, kind, line, amount FROM bill WHERE name = 'Firm';
SELECT * FROM billing.check(deep => true);
