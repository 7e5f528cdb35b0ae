-- A scheme of one customer instead of the price's (doc/rules.md 2 and 4).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_meter('calls') \g /dev/null
SELECT billing.create_price(code, currency => 'EUR', every => '1 month', tax => 'vat', meter => meter, timing => timing, scheme => scheme::jsonb)
  FROM (VALUES ('seat', NULL, 'advance', '{"model":"per_unit","unit_amount":10}'),
               ('desk', NULL, 'advance', '{"model":"per_unit","unit_amount":20}'),
               ('call', 'calls', 'arrears', '{"model":"per_unit","unit_amount":1}'),
               (repeat('long', 60), NULL, 'advance', '{"model":"per_unit","unit_amount":30}')) p (code, meter, timing, scheme) \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"seat","optional":true}]') \g /dev/null

CREATE FUNCTION pg_temp.subscribe(price text, start_at timestamptz) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.create_subscription(billing.create_account('x'), 'any', start_at => start_at,
        items => jsonb_build_array(jsonb_build_object('price', price))) $$;
-- Terms of the first item of a subscription from an instant on.
CREATE FUNCTION pg_temp.terms(subscription bigint, at timestamptz, scheme jsonb DEFAULT NULL, price text DEFAULT NULL, quantity numeric DEFAULT NULL)
    RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.change_item(subscription + 1, quantity => terms.quantity, price => terms.price, scheme => terms.scheme, effective_at => terms.at) $$;
CREATE FUNCTION pg_temp.bill(subscription bigint, VARIADIC at timestamptz[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := '{}';
    t timestamptz;
BEGIN
    FOREACH t IN ARRAY at LOOP
        ids := ids || ARRAY(SELECT billing.bill_account(subscription >> 24, t));
    END LOOP;
    RETURN (SELECT string_agg(format('%s %s %s%s', CASE WHEN h.kind = 'credit_note' THEN 'CREDIT' ELSE l.nature END, to_char(l.period_start, 'DD.MM'),
                                     l.amount, CASE WHEN l.scheme IS NOT NULL THEN ' own' END), ', ' ORDER BY h.id, l.line_no)
              FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id
             WHERE h.id = ANY (ids));
END $$;

SELECT pg_temp.subscribe('seat', '2026-04-01') AS s \gset
SELECT pg_temp.terms(:s, '2026-04-01', '{"model":"per_unit","unit_amount":7}') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'charge 01.04 7.00 own', 'a scheme of this customer is charged, and stands on the line');
SELECT is((SELECT scheme FROM billing.charge WHERE item_id = :s + 1), '{"model":"per_unit","unit_amount":7}', 'and is remembered with the charge');
SELECT is((SELECT unit_amount FROM billing.invoice_line WHERE item_id = :s + 1), 7::numeric, 'the unit amount on the line is this scheme''s');
SELECT pg_temp.terms(:s, '2026-05-01', quantity => 2) \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), 'charge 01.05 14.00 own', 'another quantity leaves the scheme in force');
SELECT pg_temp.terms(:s, '2026-06-01', price => 'desk') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-06-01'), 'charge 01.06 40.00', 'another price ends it');
SELECT pg_temp.terms(:s, '2026-06-16', '{"model":"per_unit","unit_amount":10}') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-07-01'), 'charge 16.06 10.00 own, charge 01.07 20.00 own, CREDIT 16.06 20.00', 'a scheme of the customer inside a period is a change as others');
SELECT pg_temp.terms(:s, '2026-07-01', '{"model":"per_unit","unit_amount":10.0}') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-07-01'), NULL, 'the same scheme again changes nothing');
SELECT pg_temp.terms(:s, '2026-07-16', price => 'desk') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-08-01'), 'charge 16.07 20.65, charge 01.08 40.00, CREDIT 16.07 10.32 own',
          'naming the price again without a scheme ends it; what is kept is rated by the scheme on the charge');
SELECT is((SELECT count(*) FROM billing.check(true)), 0::bigint, 'the books are sound');

SELECT pg_temp.subscribe('seat', '2026-04-01') AS s \gset
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'charge 01.04 10.00', 'charged without a scheme of its own');
SELECT pg_temp.terms(:s, '2026-04-01', '{"model":"per_unit","unit_amount":7}') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), 'charge 01.04 7.00 own, charge 01.05 7.00 own, CREDIT 01.04 10.00', 'a scheme entered later for the start heals what was charged');

SELECT billing.create_subscription(billing.create_account('x'), 'any', start_at => '2026-04-01', items => '[{"price":"call"}]') AS s \gset
SELECT billing.record_usage(:s, 'calls', 'a', 100, '2026-04-10'), billing.record_usage(:s, 'calls', 'b', 50, '2026-04-20') \g /dev/null
SELECT pg_temp.terms(:s, '2026-04-16', '{"model":"percentage","rate":"10","fixed_amount":"1"}') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), 'charge 01.04 100.00, charge 16.04 6.00 own', 'a metered price may take a scheme that prices every event');
SELECT is((SELECT count(*) FROM billing.check(true)), 0::bigint, 'the books are sound');

SELECT pg_temp.subscribe(repeat('long', 60), '2026-04-01') AS s \gset
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'charge 01.04 30.00', 'a price with a long code');
SELECT billing.change_item(:s + 1, quantity => 2, effective_at => '2026-04-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), 'charge 16.04 30.00, charge 01.05 60.00, CREDIT 16.04 15.00', 'is the same price in the next run');

SELECT subscription.id AS s, invoice.id AS invoice FROM billing.subscription JOIN billing.invoice USING (account_id) ORDER BY 1, 2 LIMIT 1 \gset
SELECT billing.void_invoice(:invoice, rebill => true, effective_at => '2026-08-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-08-01'), 'charge 01.04 7.00 own', 'a voided charge is billed again by the scheme of the customer');
SELECT is((SELECT count(*) FROM billing.check(true)), 0::bigint, 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
