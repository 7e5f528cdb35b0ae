-- Payment plans of what a subscription holds: every period, at once, in instalments; billing dates; what is lost; what is paid.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price('line', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":30}'),
       billing.create_price('post', currency => 'EUR', every => '1 month', timing => 'arrears', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":30}'),
       billing.create_price('tv', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":10}'),
       billing.create_price('box', currency => 'EUR', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":100}'),
       billing.create_price('boxlate', currency => 'EUR', timing => 'arrears', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":100}'),
       billing.create_price('cents', currency => 'EUR', tax => 'vat', scheme => '{"model":"flat","flat_amount":0.05}') \g /dev/null
SELECT billing.create_plan('line', items => '[{"price":"line"}]'), billing.create_plan('post', items => '[{"price":"post"}]') \g /dev/null

-- A subscription from 15 April 2026 in Berlin with one more item; that item.
CREATE FUNCTION pg_temp.make(item jsonb, plan text DEFAULT 'line', arguments jsonb DEFAULT '{}') RETURNS bigint LANGUAGE sql AS $$
    SELECT x + 2 FROM billing.create_subscriptions(jsonb_build_array(jsonb_build_object('account_id', billing.create_account('x'), 'plan', plan,
        'start_at', '2026-04-15 00:00+02', 'items', jsonb_build_array(item)) || arguments)) x $$;
CREATE FUNCTION pg_temp.bill(item bigint, VARIADIC at timestamptz[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    t timestamptz;
BEGIN
    FOREACH t IN ARRAY at LOOP PERFORM billing.bill_account(item >> 24, t); END LOOP;
END $$;
-- The item's lines: day of the invoice, amount, C for a credit note.
CREATE FUNCTION pg_temp.lines(item bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(to_char(h.billed_at AT TIME ZONE 'Europe/Berlin', 'DD.MM ') || CASE h.kind WHEN 'credit_note' THEN 'C ' ELSE '' END || l.amount, ', ' ORDER BY h.id, l.line_no)
      FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
     WHERE l.account_id = item >> 24 AND l.item_id = item $$;
-- Its payment plan: plan, state, total, parts billed and paid, amounts billed and paid, what is lost.
CREATE FUNCTION pg_temp.plan(item bigint) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', payment_plan, state, total, instalments_billed || '/' || instalments_paid || '/' || instalments, amount_billed, amount_paid, unbilled_remainder)
      FROM billing.payment_plan WHERE account_id = item >> 24 AND item_id = item $$;
-- Money for the invoices of an account that are open, all or the first so many.
CREATE FUNCTION pg_temp.pay(item bigint, count int DEFAULT NULL) RETURNS SETOF bigint LANGUAGE sql AS $$
    SELECT billing.record_payment(i.account_id, i.amount_due, i.currency, invoice_ids => ARRAY[i.id])
      FROM (SELECT * FROM billing.invoice x WHERE x.account_id = item >> 24 AND x.kind = 'invoice' AND x.status = 'open' ORDER BY x.id LIMIT pay.count) i $$;

-- Every period.
SELECT pg_temp.make('{"price":"tv"}') AS i \gset
SELECT pg_temp.bill(:i, '2026-07-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.04 10.00, 15.05 10.00, 15.06 10.00, 15.07 10.00', 'without a plan on every invoice');
SELECT is(pg_temp.plan(:i), 'recurring active', 'and active for ever');

-- One payment: on the next invoice, once.
SELECT pg_temp.make('{"price":"box","instalments":1}') AS i \gset
SELECT is(pg_temp.plan(:i), 'one_payment to_collect 100.00 0/0/1 0 0 0.00', 'one payment, not invoiced yet');
SELECT pg_temp.bill(:i, '2026-07-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.04 100.00', 'on the next invoice, once');
SELECT is(pg_temp.plan(:i), 'one_payment to_collect 100.00 1/0/1 100.00 0 0.00', 'to collect until it is paid');
SELECT pg_temp.pay(:i) \g /dev/null
SELECT is(pg_temp.plan(:i), 'one_payment paid 100.00 1/1/1 100.00 100.00 0.00', 'paid');

-- Instalments: the total divided, the rest on the last; paid when all of them are.
SELECT pg_temp.make('{"price":"box","instalments":3}') AS i \gset
SELECT pg_temp.bill(:i, '2026-05-20') \g /dev/null
SELECT is(pg_temp.plan(:i), 'instalments to_collect 100.00 2/0/3 66.66 0 0.00', 'two of three are out');
SELECT pg_temp.bill(:i, '2026-09-20'), pg_temp.pay(:i, 2) \g /dev/null
SELECT is(pg_temp.lines(:i), '15.04 33.33, 15.05 33.33, 15.06 33.34', 'the last takes the rest');
SELECT is(pg_temp.plan(:i), 'instalments to_collect 100.00 3/2/3 100.00 66.66 0.00', 'all are out, two are paid');
SELECT pg_temp.pay(:i) \g /dev/null
SELECT is(pg_temp.plan(:i), 'instalments paid 100.00 3/3/3 100.00 100.00 0.00', 'paid');
SELECT pg_temp.make('{"price":"cents","instalments":10}') AS i \gset
SELECT is((SELECT array_agg(amount ORDER BY ordinal) FROM billing.instalment WHERE item_id = :i), ARRAY[0, 0, 0, 0, 0, 0, 0, 0, 0, 0.05], 'of little the last takes all, none is negative');
SELECT pg_temp.make('{"price":"box","instalments":2,"quantity":3,"scheme":{"model":"per_unit","unit_amount":15.55}}') AS i \gset
SELECT pg_temp.bill(:i, '2026-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i) || '; ' || pg_temp.plan(:i), '15.04 23.32, 15.05 23.33; instalments to_collect 46.65 2/0/2 46.65 0 0.00', 'of terms of this customer');

-- In arrears it is the end of the cycle.
SELECT pg_temp.make('{"price":"boxlate","instalments":3}', 'post') AS i \gset
SELECT pg_temp.bill(:i, '2026-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.05 33.33, 15.06 33.33, 15.07 33.34', 'in arrears: with the invoice at the cycle''s end');

-- Dates win over the plan: a window of three invoices takes three of four instalments, and the fourth is lost for ever.
SELECT pg_temp.make('{"price":"box","instalments":4,"charge_from":"2026-04-01","charge_until":"2026-06-30"}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20'), pg_temp.pay(:i) \g /dev/null
SELECT is(pg_temp.lines(:i), '15.04 25.00, 15.05 25.00, 15.06 25.00', 'four instalments, three invoices in the window');
SELECT is(pg_temp.plan(:i), 'instalments to_collect 100.00 3/3/4 75.00 75.00 25.00', 'to collect for ever, 25.00 lost');
SELECT results_eq(format('SELECT state, unbilled_remainder FROM billing.payment_plan WHERE unbilled_remainder > 0 AND item_id = %s', :i), $$VALUES ('to_collect', 25.00)$$,
                  'and found by a report');
-- Both ends belong to the window; what counts is the day on which the invoice is due to be made, in the subscription's zone.
SELECT pg_temp.make('{"price":"box","instalments":4,"charge_from":"2026-05-15","charge_until":"2026-07-15"}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.05 25.00, 15.06 25.00, 15.07 25.00', 'from the 15th to the 15th: three');
SELECT pg_temp.make('{"price":"box","instalments":4,"charge_from":"2026-05-16","charge_until":"2026-07-14"}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.06 25.00', 'from the 16th to the 14th: one');
SELECT pg_temp.make('{"price":"box","instalments":2,"charge_from":"2026-08-01"}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.08 50.00, 15.09 50.00', 'invoices before the window take none');
SELECT pg_temp.make('{"price":"box","instalments":2,"charge_until":"2026-04-14"}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), NULL, 'a window before the first invoice');
SELECT is(pg_temp.plan(:i), 'instalments to_collect 100.00 0/0/2 0 0 100.00', 'loses everything');
SELECT pg_temp.make('{"price":"tv","charge_from":"2026-05-15","charge_until":"2026-06-15"}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.05 10.00, 15.06 10.00', 'what recurs is charged inside the window only');
SELECT pg_temp.make('{"price":"post","charge_from":"2026-05-15","charge_until":"2026-06-15"}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.05 30.00, 15.06 30.00', 'in arrears by the day of its own invoice');
-- A run that comes late loses nothing.
SELECT pg_temp.make('{"price":"box","instalments":4,"charge_from":"2026-04-15","charge_until":"2026-06-15"}') AS i \gset
SELECT pg_temp.bill(:i, '2026-04-20', '2029-01-01') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.04 25.00, 15.05 25.00, 15.06 25.00', 'whenever the run comes');

-- What ends takes no more instalments.
SELECT pg_temp.make('{"price":"box","instalments":4}', 'line', '{"cycles":3}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i) || '; ' || pg_temp.plan(:i), '15.04 25.00, 15.05 25.00, 15.06 25.00; instalments to_collect 100.00 3/0/4 75.00 0 25.00', 'a term of three cycles');
SELECT pg_temp.make('{"price":"box","instalments":4}') AS i \gset
SELECT pg_temp.bill(:i, '2026-05-20') \g /dev/null
SELECT billing.cancel_subscription((SELECT subscription_id FROM billing.subscription_item WHERE id = :i), effective_at => '2026-06-01') \g /dev/null
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.plan(:i), 'instalments to_collect 100.00 2/0/4 50.00 0 50.00', 'canceled after two');

-- A trial takes none; a stub that is a cycle takes one, one that is joined to the next does not.
SELECT pg_temp.make('{"price":"box","instalments":2}', 'line', '{"trial_every":"1 month"}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.05 50.00, 15.06 50.00', 'after the trial');
SELECT pg_temp.make('{"price":"box","instalments":2}', 'line', '{"billing_day":1}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '15.04 50.00, 01.05 50.00', 'a stub is a cycle');
SELECT pg_temp.make('{"price":"box","instalments":2}', 'line', '{"billing_day":1,"first_period":"join"}') AS i \gset
SELECT pg_temp.bill(:i, '2027-09-20') \g /dev/null
SELECT is(pg_temp.lines(:i), '01.05 50.00, 01.06 50.00', 'one that is joined belongs to the next');

-- An invoice that is voided and billed again gives its instalment back; one that is not is never paid.
SELECT pg_temp.make('{"price":"box","instalments":2}') AS i \gset
SELECT pg_temp.bill(:i, '2026-05-20') \g /dev/null
SELECT billing.void_invoice((SELECT min(id) FROM billing.invoice_header WHERE account_id = :i >> 24), true, effective_at => '2026-05-21') \g /dev/null
SELECT is(pg_temp.plan(:i), 'instalments to_collect 100.00 1/0/2 50.00 0 0.00', 'given back');
SELECT pg_temp.bill(:i, '2026-06-20'), pg_temp.pay(:i) \g /dev/null
SELECT is(pg_temp.plan(:i), 'instalments paid 100.00 2/2/2 100.00 100.00 0.00', 'billed again and paid');
SELECT pg_temp.make('{"price":"box","instalments":2}') AS i \gset
SELECT pg_temp.bill(:i, '2026-05-20') \g /dev/null
SELECT billing.void_invoice((SELECT min(id) FROM billing.invoice_header WHERE account_id = :i >> 24), false, effective_at => '2026-05-21') \g /dev/null
SELECT pg_temp.bill(:i, '2026-09-20'), pg_temp.pay(:i) \g /dev/null
SELECT is(pg_temp.plan(:i), 'instalments to_collect 100.00 1/1/2 50.00 50.00 0.00', 'voided for good it is never collected');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
