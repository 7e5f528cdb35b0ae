-- The seller, its taxes, and what it sells: one price for each way of charging.

SELECT billing.create_entity('sundglas', name => 'Sundglas Internet GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin',
    address => '{"line1": "Leuchtturmweg 3", "postal_code": "24999", "city": "Wees"}', tax_ids => '[{"type": "VAT", "value": "DE999999999"}]');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_tax('vat-print', category => 'S', rate => 7);

SELECT billing.create_meter('minutes', name => 'Calls abroad', aggregation => 'sum', unit_code => 'MIN');
SELECT billing.create_meter('messages', name => 'Text messages', aggregation => 'sum', unit_code => 'C62');
SELECT billing.create_meter('storage', name => 'Highest use of the day', aggregation => 'max', unit_code => 'E34');

-- flat: so much a month
SELECT billing.create_price(code, name => name, currency => 'EUR', every => '1 month', tax => tax,
                            scheme => jsonb_build_object('model', 'flat', 'flat_amount', amount))
  FROM (VALUES ('dsl',      'DSL 50',                 'vat',       29.90),
               ('fibre',    'Fibre 250',              'vat',       44.90),
               ('giga',     'Fibre 1000',             'vat',       64.90),
               ('line',     'Office line 1000',       'vat',      119.00),
               ('router',   'Router, rented',         'vat',        4.50),
               ('magazine', 'Programme guide, print', 'vat-print',  3.90)) AS flat (code, name, tax, amount);

-- per unit: quantity × amount
SELECT billing.create_price('mailbox', name => 'Mailbox', currency => 'EUR', every => '1 month', tax => 'vat',
    scheme => '{"model": "per_unit", "unit_amount": 1.25}');

-- package: whole begun packages, the first 20 messages are free
SELECT billing.create_price('message', name => 'Text messages', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'messages',
    scheme => '{"model": "package", "unit_amount": 2.50, "package_size": 100, "free_quantity": 20}');

-- stairstep: one amount for the step that the quantity reaches
SELECT billing.create_price('storage', name => 'Backup storage, GB', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'storage',
    scheme => '{"model": "stairstep", "tiers": [{"up_to": 100, "flat_amount": 9}, {"up_to": 500, "flat_amount": 29},
                                                {"up_to": 2000, "flat_amount": 79}], "overage_unit_amount": 0.05}');

-- volume: the bracket reached prices every unit
SELECT billing.create_price('extension', name => 'Telephone extension', currency => 'EUR', every => '1 month', tax => 'vat',
    scheme => '{"model": "volume", "tiers": [{"up_to": 10, "unit_amount": 6.90}, {"up_to": 25, "unit_amount": 5.90},
                                             {"up_to": null, "unit_amount": 4.90}]}');

-- graduated: each bracket prices its own part
SELECT billing.create_price('abroad', name => 'Calls abroad, minutes', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'minutes',
    scheme => '{"model": "graduated", "tiers": [{"up_to": 60, "unit_amount": 0.19}, {"up_to": 300, "unit_amount": 0.15},
                                                {"up_to": null, "unit_amount": 0.09}]}');

-- Households pay from the day on which they start, offices on the first of the month.
SELECT billing.create_plan(code, name => name, items => jsonb_build_array(
           jsonb_build_object('price', line), '{"price": "message"}'::jsonb, '{"price": "abroad"}'::jsonb,
           '{"price": "router", "optional": true}'::jsonb, '{"price": "magazine", "optional": true}'::jsonb))
  FROM (VALUES ('home-dsl', 'Home DSL', 'dsl'), ('home-fibre', 'Home Fibre', 'fibre'), ('home-giga', 'Home Giga', 'giga')) AS home (code, name, line);
SELECT billing.create_plan('office', name => 'Office', billing_day => 1, items => '[{"price": "line"}, {"price": "extension"},
    {"price": "mailbox"}, {"price": "storage"}, {"price": "abroad"}, {"price": "magazine", "optional": true}]');

-- 20 % off two months, for the first hundred who ask before April.
SELECT billing.create_coupon('SPRING', name => 'Spring', scope => 'subscription', type => 'percentage', value => 20, cycles => 2,
    expires_at => '2026-04-01 00:00+02', max_redemptions => 100);
