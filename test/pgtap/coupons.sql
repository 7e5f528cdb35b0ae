-- Coupons, and discounts on whole documents (doc/rules.md 5).
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
SELECT billing.record_payment(account_id, amount_due, currency) FROM billing.invoice WHERE account_id = :s >> 24 \g /dev/null
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

-- Coupons: what they bring.
SELECT billing.create_coupon('welcome', name => 'Welcome', value => 20, cycles => 2), billing.create_coupon('gift', type => 'fixed', value => 25, currency => 'EUR'),
       billing.create_coupon('loyal', scope => 'subscription', value => 10), billing.create_coupon('extra', scope => 'item', price => 'p20', type => 'fixed', value => 3, currency => 'EUR', cycles => 1),
       billing.create_coupon('summer', value => 5, valid_from => '2026-06-01', expires_at => '2026-09-01'), billing.create_coupon('few', value => 5, max_redemptions => 2, max_redemptions_per_account => 1),
       billing.create_coupon('dollar', type => 'fixed', value => 1, currency => 'USD'), billing.create_coupon('old', value => 5) \g /dev/null
SELECT billing.archive_coupon('old', '2026-03-01') \g /dev/null
SELECT pg_temp.subscribe('p10', 'p20') AS s \gset
SELECT billing.redeem_coupon(:s >> 24, 'welcome', effective_at => '2026-04-01') AS d \gset
SELECT is((SELECT format('%s %s %s %s %s %s', kind, type, value, document, coupon, description) FROM billing.discount WHERE id = :d), 'discount percentage 20 t welcome Welcome', 'a coupon brings a discount');
SELECT is(pg_temp.bill(:s, '2026-06-01'), 'invoice 10.00-2.00, 20.00-4.00 = 24.00 + 4.56; invoice 10.00-2.00, 20.00-4.00 = 24.00 + 4.56; invoice 10.00, 20.00 = 30.00 + 5.70', 'on documents, for two cycles');
SELECT pg_temp.subscribe('p10', 'p20') AS s \gset
SELECT billing.redeem_coupon(:s >> 24, 'gift', effective_at => '2026-04-01'), billing.redeem_coupon(:s >> 24, 'loyal', :s, effective_at => '2026-04-01'),
       billing.redeem_coupon(:s >> 24, 'extra', :s, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:s, '2026-04-01', '2026-05-01'), 'invoice 9.00-9.00, 15.30-15.30 = 0.00 + 0.00; invoice 9.00-0.23, 18.00-0.47 = 26.30 + 5.00', 'on documents, a subscription and an item of a price');
SELECT is((SELECT item_id FROM billing.discount WHERE account_id = :s >> 24 AND coupon = 'extra'), :s + 2::bigint, 'the item that has the price');
SELECT pg_temp.subscribe('p10', 'p20') AS t \gset
SELECT billing.create_subscription(:t >> 24, 'any', start_at => '2026-04-01', items => '[{"price":"p30"}]') AS u \gset
SELECT billing.redeem_coupon(:t >> 24, 'gift', :u, effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.bill(:t, '2026-04-01'), 'invoice 10.00, 20.00, 30.00-25.00 = 35.00 + 6.65', 'on the lines of one subscription only');

-- Limits and dates.
SELECT pg_temp.subscribe('p10') AS a \gset
SELECT pg_temp.subscribe('p10') AS b \gset
SELECT pg_temp.subscribe('p10') AS c \gset
SELECT billing.redeem_coupon(:a >> 24, 'few', effective_at => '2026-04-01') \g /dev/null
CREATE FUNCTION pg_temp.refused(call text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE d text;
BEGIN
    EXECUTE call;
    RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS d = PG_EXCEPTION_DETAIL;
    RETURN SQLSTATE || ' ' || d;
END $$;
SELECT is(pg_temp.refused(format('SELECT billing.redeem_coupon(%s, ''few'', effective_at => ''2026-04-01'')', :a >> 24)), 'LB305 The account redeemed it 1 times.', 'once by an account');
SELECT billing.redeem_coupon(:b >> 24, 'few', effective_at => '2026-04-01') \g /dev/null
SELECT is(pg_temp.refused(format('SELECT billing.redeem_coupon(%s, ''few'', effective_at => ''2026-04-01'')', :c >> 24)), 'LB305 It was redeemed 2 times.', 'twice in all');
SELECT is(pg_temp.refused(format('SELECT billing.redeem_coupon(%s, ''summer'', effective_at => ''2026-05-01'')', :c >> 24)), 'LB305 It is valid from 2026-06-01 00:00:00+00 on.', 'not before it is valid');
SELECT is(pg_temp.refused(format('SELECT billing.redeem_coupon(%s, ''summer'', effective_at => ''2026-09-01'')', :c >> 24)), 'LB305 It expired at 2026-09-01 00:00:00+00.', 'not when it expired');
SELECT is(pg_temp.refused(format('SELECT billing.redeem_coupon(%s, ''dollar'')', :c >> 24)), 'LB305 It is in USD, the account pays in EUR.', 'not in another currency');
SELECT is(pg_temp.refused(format('SELECT billing.redeem_coupon(%s, ''old'')', :c >> 24)), 'LB305 It is archived.', 'not archived');
SELECT is(pg_temp.refused(format('SELECT billing.redeem_coupon(%s, ''loyal'')', :c >> 24)), 'LB305 It needs a subscription.', 'one for a subscription not without');
SELECT is(pg_temp.refused(format('SELECT billing.redeem_coupon(%s, ''extra'', %s)', :c >> 24, :c)), 'LB305 The subscription has no item of price "p20".', 'one for a price not without such an item');
SELECT is((SELECT redemptions FROM billing.coupon WHERE code = 'few'), 2, 'what is refused does not count');
SELECT is((SELECT count(*) FROM billing.discount WHERE account_id = :c >> 24), 0::bigint, 'and enters nothing');

-- A redemption that is withdrawn before it takes effect can be made again.
SELECT billing.create_coupon('one', scope => 'subscription', value => 5, max_redemptions => 1) \g /dev/null
SELECT billing.redeem_coupon(:c >> 24, 'one', :c, effective_at => '2026-07-01') \g /dev/null
SELECT billing.withdraw_change((SELECT change_id FROM billing.pending_changes(:c, '2026-06-01') WHERE verb = 'redeem_coupon'), effective_at => '2026-06-01') \g /dev/null
SELECT is((SELECT redemptions FROM billing.coupon WHERE code = 'one'), 0, 'a withdrawn redemption is given back');
SELECT is(pg_temp.refused(format('SELECT billing.redeem_coupon(%s, ''one'', %s, effective_at => ''2026-07-01'')', :b >> 24, :b)), 'accepted', 'to somebody else');

SELECT throws_ok(call, code, NULL, call) FROM (VALUES
    ('SELECT billing.create_coupon(''gift'', value => 1)', '23505'),
    ('SELECT billing.create_coupon('''', value => 1)', 'LB208'),
    ('SELECT billing.create_coupon(NULL, value => 1)', '22004'),
    ('SELECT billing.create_coupon(''x'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => -1)', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 101)', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => ''NaN'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, scope => ''world'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, type => ''free'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, type => ''fixed'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, currency => ''EUR'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, type => ''fixed'', currency => ''XXL'')', 'LB102'),
    ('SELECT billing.create_coupon(''x'', value => 1.001, type => ''fixed'', currency => ''EUR'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, scope => ''item'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, scope => ''item'', price => ''nothing'')', 'LB106'),
    ('SELECT billing.create_coupon(''x'', value => 1, price => ''p10'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, cycles => 0)', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, max_redemptions => 0)', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, expires_at => ''2026-01-01'', valid_from => ''2026-01-01'')', 'LB208'),
    ('SELECT billing.create_coupon(''x'', value => 1, expires_at => ''infinity'')', '22008'),
    ('SELECT billing.create_coupon(''x'', value => 1, metadata => ''1'')', 'LB208'),
    ('SELECT billing.archive_coupon(''x'')', 'LB116'),
    ('SELECT billing.redeem_coupon(1, ''x'')', 'LB116'),
    ('SELECT billing.redeem_coupon(99999, ''gift'')', 'LB108'),
    ('SELECT billing.redeem_coupon(1, ''gift'', 17)', 'LB109'),
    ('SELECT billing.redeem_coupon(1, NULL)', '22004')) c (call, code);
SELECT is((SELECT string_agg(finding || ' ' || detail, '; ') FROM billing.check(true)), NULL, 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
