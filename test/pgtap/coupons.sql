-- Discounts on whole documents (doc/rules.md 5).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price(code, currency => 'EUR', every => '1 month', tax => 'vat', tax_inclusive => inclusive,
    scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', amount))
  FROM (VALUES ('p10', 10, false), ('p20', 20, false), ('p30', 30, false), ('gross', 11.90, true)) p (code, amount, inclusive) \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"p10","optional":true}]') \g /dev/null

CREATE FUNCTION pg_temp.subscribe(VARIADIC prices text[]) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.create_subscription(billing.create_account('x'), 'any', start_at => '2026-04-01',
        items => (SELECT jsonb_agg(jsonb_build_object('price', p)) FROM unnest(prices) p)) $$;
CREATE FUNCTION pg_temp.bill(subscription bigint, VARIADIC at timestamptz[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := '{}';
    t timestamptz;
BEGIN
    FOREACH t IN ARRAY at LOOP
        ids := ids || ARRAY(SELECT billing.bill_account(subscription >> 24, t));
    END LOOP;
    RETURN (SELECT string_agg(d.text, '; ' ORDER BY d.id)
              FROM (SELECT h.id, format('%s %s = %s + %s', CASE h.kind WHEN 'credit_note' THEN 'note' ELSE 'invoice' END,
                           string_agg(format('%s%s', l.amount, CASE WHEN l.document_discount <> 0 THEN to_char(-l.document_discount, 'SFM990.00') END), ', ' ORDER BY l.line_no),
                           h.net_total, h.tax_total) AS text
                      FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id
                     WHERE h.id = ANY (ids) GROUP BY h.account_id, h.id) d);
END $$;
CREATE FUNCTION pg_temp.discount(subscription bigint, type text, value numeric, from_at timestamptz DEFAULT '2026-04-01', to_at timestamptz DEFAULT NULL)
    RETURNS bigint LANGUAGE sql AS $$
    INSERT INTO billing.discount (account_id, id, kind, type, value, currency, document, from_at, to_at)
    VALUES ($1 >> 24, billing_internal.next_id($1 >> 24), 'discount', $2, $3, CASE $2 WHEN 'fixed' THEN 'EUR' END, true, $4, $5) RETURNING id $$;

SELECT pg_temp.subscribe('p10', 'p20') AS s \gset
SELECT pg_temp.discount(:s, 'fixed', 25) AS d \gset
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'invoice 10.00-8.33, 20.00-16.67 = 5.00 + 0.95', 'a fixed amount is split to the lines by largest remainder, before tax');
SELECT is((SELECT amount FROM billing.discount_use WHERE discount_id = :d), 25.00, 'what it took is taken down');
SELECT is(pg_temp.bill(:s, '2026-05-01'), 'invoice 10.00, 20.00 = 30.00 + 5.70', 'and used up');

SELECT pg_temp.subscribe('p10', 'p20') AS s \gset
SELECT pg_temp.discount(:s, 'fixed', 45) AS d \gset
SELECT is(pg_temp.bill(:s, '2026-04-01', '2026-05-01', '2026-06-01'),
          'invoice 10.00-10.00, 20.00-20.00 = 0.00 + 0.00; invoice 10.00-5.00, 20.00-10.00 = 15.00 + 2.85; invoice 10.00, 20.00 = 30.00 + 5.70',
          'what one document does not take is left for the next');
SELECT is((SELECT status FROM billing.invoice WHERE account_id = :s >> 24 ORDER BY id LIMIT 1), 'paid', 'a document that is free is paid');

SELECT pg_temp.subscribe('p10', 'p20') AS s \gset
SELECT pg_temp.discount(:s, 'percentage', 10), pg_temp.discount(:s, 'percentage', 50, to_at => '2026-05-01'), pg_temp.discount(:s, 'fixed', 5) \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01', '2026-05-01'), 'invoice 10.00-7.67, 20.00-15.33 = 7.00 + 1.33; invoice 10.00-1.00, 20.00-2.00 = 27.00 + 5.13',
          'percentages of the same subtotal, then fixed amounts; while they last');

SELECT pg_temp.subscribe('gross') AS s \gset
SELECT pg_temp.discount(:s, 'percentage', 50) \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'invoice 11.90-5.95 = 5.00 + 0.95', 'of a price with tax the tax goes down too');

-- A correction carries its share back.
SELECT pg_temp.subscribe('p10', 'p20') AS s \gset
SELECT pg_temp.discount(:s, 'fixed', 6) AS d \gset
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'invoice 10.00-2.00, 20.00-4.00 = 24.00 + 4.56', 'two shares');
SELECT billing.end_item(:s + 2, effective_at => '2026-04-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), 'invoice 10.00 = 10.00 + 1.90; note 10.00-2.00 = 8.00 + 1.52', 'half of a charge takes half of its share back');
SELECT is((SELECT sum(amount) FROM billing.discount_use WHERE discount_id = :d), 4.00, 'which is left again');
SELECT is((SELECT document_discount FROM billing.charge WHERE item_id = :s + 2 AND revision = 1), 2.00, 'the charge remembers what it still holds');
SELECT is(pg_temp.bill(:s, '2026-06-01'), 'invoice 10.00-2.00 = 8.00 + 1.52', 'and the next document takes it');
SELECT is((SELECT string_agg(finding || ' ' || detail, '; ') FROM billing.check(true)), NULL, 'the books are sound');

-- On one document: what comes back may be taken again by what is charged instead.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT pg_temp.discount(:s, 'fixed', 3) AS d \gset
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'invoice 10.00-3.00 = 7.00 + 1.33', 'a share');
UPDATE billing.invoice_header SET status = 'paid', amount_paid = total WHERE account_id = :s >> 24;
SELECT billing.change_item(:s + 1, price => 'p20', effective_at => '2026-04-16') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-05-01'), 'invoice -5.00+1.50, 10.00-0.50, 20.00-1.00 = 25.00 + 4.75', 'comes back with a correction and is taken by the charges beside it');
SELECT is((SELECT sum(amount) FROM billing.discount_use WHERE discount_id = :d), 3.00, 'so that nothing is left');

-- Odd cents: shares of parts sum to the share.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT pg_temp.discount(:s, 'percentage', 33.33, to_at => '2026-04-02') AS d \gset
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'invoice 10.00-3.33 = 6.67 + 1.27', 'a share with odd cents');
SELECT billing.end_item(:s + 1, effective_at => '2026-04-11') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-11'), 'note 6.67-2.22 = 4.45 + 0.85', 'one third is kept with 1.11 of the share');
SELECT billing.end_item(:s + 1, effective_at => '2026-04-06') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-11'), 'note 1.66-0.55 = 1.11 + 0.21', 'a sixth with 0.56');
SELECT billing.cancel_subscription(:s, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-11'), 'note 1.67-0.56 = 1.11 + 0.21', 'nothing with nothing');
SELECT is((SELECT sum(amount) FROM billing.discount_use WHERE discount_id = :d), 0.00, 'everything came back');

-- Voided invoices: with rebill the discount comes back, without it stays used.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT pg_temp.discount(:s, 'fixed', 4) AS d \gset
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'invoice 10.00-4.00 = 6.00 + 1.14', 'a share');
SELECT billing.void_invoice((SELECT min(id) FROM billing.invoice WHERE account_id = :s >> 24), rebill => true, effective_at => '2026-04-02') \g /dev/null
SELECT is((SELECT sum(amount) FROM billing.discount_use WHERE discount_id = :d), 0.00, 'voided with rebill it comes back');
SELECT is(pg_temp.bill(:s, '2026-04-02'), 'invoice 10.00-4.00 = 6.00 + 1.14', 'and is taken again');
SELECT billing.void_invoice((SELECT max(id) FROM billing.invoice WHERE account_id = :s >> 24 AND kind = 'invoice'), rebill => false, effective_at => '2026-04-02') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-02', '2026-05-01'), 'invoice 10.00 = 10.00 + 1.90', 'voided without it is gone');

-- Drafts take nothing for good.
SELECT pg_temp.subscribe('p10') AS s \gset
SELECT pg_temp.discount(:s, 'fixed', 4) AS d \gset
CALL billing.bill_run('2026-04-01', finalize => false);
CALL billing.bill_run('2026-04-01', finalize => false);
SELECT is((SELECT count(*) FROM billing.discount_use u WHERE discount_id = :d), 1::bigint, 'a draft is made anew with its share');
SELECT is(pg_temp.bill(:s, '2026-04-01'), 'invoice 10.00-4.00 = 6.00 + 1.14', 'and finished with it');
SELECT throws_ok(format('UPDATE billing.discount_use SET amount = 1 WHERE discount_id = %s', :d), 'LB402', NULL, 'what a finished document took cannot be changed');
SELECT is((SELECT string_agg(finding || ' ' || detail, '; ') FROM billing.check(true)), NULL, 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
