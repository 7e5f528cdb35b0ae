-- Documents that correct others: late usage, credit notes and their tax, voids, drafts.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'Europe/Berlin';
SET LOCAL billing.max_future = '100000d';
SELECT plan(88);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_meter('kb'), billing.create_meter('gauge', aggregation => 'last'), billing.create_meter('level', aggregation => 'last');
-- A price per cent and unit of a gauge that may fall, one that gets cheaper, a fixed one; and plans of the same codes.
SELECT billing.create_price(code, currency => 'EUR', every => every::interval, tax => 'vat', meter => meter, scheme => scheme::jsonb, tax_inclusive => code ~ 'gross'),
       billing.create_plan(code, items => jsonb_build_array(jsonb_build_object('price', code)))
  FROM (VALUES
    ('cents', '1 year', 'gauge', '{"model":"per_unit","unit_amount":0.01}'),
    ('cents gross', '1 year', 'gauge', '{"model":"per_unit","unit_amount":0.01}'),
    ('monthly cents', '1 month', 'level', '{"model":"per_unit","unit_amount":0.01}'),
    ('volume', '1 month', 'kb', '{"model":"volume","tiers":[{"up_to":10,"unit_amount":1},{"up_to":20,"unit_amount":0.5},{"up_to":null,"unit_amount":0.1}]}'),
    ('seat', '1 month', NULL, '{"model":"flat","flat_amount":30}'),
    ('seat gross', '1 month', NULL, '{"model":"flat","flat_amount":9.99}')) p (code, every, meter, scheme);
SELECT billing.create_plan('volume and seat', items => '[{"price":"seat"},{"price":"volume"}]');

CREATE TEMP TABLE customer (name text PRIMARY KEY, account bigint NOT NULL, subscription bigint);
CREATE FUNCTION pg_temp.subscribe(customer text, plan text, start_at timestamptz, more jsonb DEFAULT '{}') RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    account bigint := (SELECT c.account FROM pg_temp.customer c WHERE c.name = customer);
BEGIN
    account := coalesce(account, billing.create_account(customer));
    INSERT INTO pg_temp.customer VALUES (customer, account, billing.create_subscriptions(jsonb_build_array(
        jsonb_build_object('account_id', account, 'plan', plan, 'start_at', start_at) || more)))
        ON CONFLICT (name) DO UPDATE SET subscription = excluded.subscription;
END $$;
CREATE FUNCTION pg_temp.account(customer text) RETURNS bigint LANGUAGE sql AS $$ SELECT account FROM pg_temp.customer WHERE name = $1 $$;
CREATE FUNCTION pg_temp.use(customer text, meter text, quantity numeric, at timestamptz) RETURNS void
    LANGUAGE sql AS $$ SELECT billing.record_usage((SELECT subscription FROM pg_temp.customer WHERE name = $1), $2, $2 || ' ' || $4, $3, $4) $$;
-- What billing an account at instants wrote: kind, status, net + tax = total, line by line what it is for.
CREATE FUNCTION pg_temp.billed(customer text, VARIADIC at timestamptz[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[] := '{}';
    t timestamptz;
BEGIN
    FOREACH t IN ARRAY at LOOP
        ids := ids || ARRAY(SELECT billing.bill_account(pg_temp.account(customer), t));
    END LOOP;
    RETURN (SELECT string_agg(format('%s %s %s + %s: %s', i.kind, i.status, i.net_total, i.tax_total,
                (SELECT string_agg(format('%s %s %s', l.price, l.nature, l.amount), ', ' ORDER BY l.line_no)
                   FROM billing.invoice_line l WHERE l.account_id = i.account_id AND l.invoice_id = i.id)), '; ' ORDER BY i.id)
              FROM billing.invoice i WHERE i.id = ANY (ids));
END $$;
-- The nth document of an account.
CREATE FUNCTION pg_temp.document(customer text, n int) RETURNS billing.invoice LANGUAGE sql AS $$
    SELECT i FROM billing.invoice i WHERE i.account_id = pg_temp.account($1) ORDER BY i.id OFFSET $2 - 1 LIMIT 1 $$;
CREATE FUNCTION pg_temp.pay(customer text, n int) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.record_payment(d.account_id, d.amount_due, d.currency, invoice_ids => ARRAY[d.id]) FROM pg_temp.document($1, $2) d $$;

-- --- More usage that costs less ------------------------------------------------------------------

SELECT pg_temp.subscribe('cheaper', 'volume and seat', '2025-01-01');
SELECT pg_temp.use('cheaper', 'kb', 10, '2025-01-10');
SELECT is(pg_temp.billed('cheaper', '2025-02-01'), 'invoice open 30.00 + 5.70: seat charge 30.00; invoice open 40.00 + 7.60: seat charge 30.00, volume charge 10.00', '10 units at 1.00');
SELECT pg_temp.use('cheaper', 'kb', 2, '2025-01-11');
SELECT is(pg_temp.billed('cheaper', '2025-02-15'), NULL, 'a correction waits for the next regular invoice');
SELECT is(pg_temp.billed('cheaper', '2025-03-01'), 'invoice open 30.00 + 5.70: seat charge 30.00, volume charge 0.00; credit_note paid 4.00 + 0.76: volume correction 4.00',
          '12 at 0.50: since the corrected invoice is open, what is given back becomes a credit note');
SELECT is(row(i.number, i.issued_on, i.due_on, i.amount_due, i.reason, i.credits_invoice_id)::text,
          row('CN-2025-000001', '2025-03-01'::date, NULL::date, 0.00, 'recalculated', (pg_temp.document('cheaper', 2)).id)::text, 'in its own series, naming the invoice')
  FROM pg_temp.document('cheaper', 4) i;
SELECT is(row(status, amount_credited, amount_due)::text, '(open,4.76,42.84)', 'which is that much less due') FROM pg_temp.document('cheaper', 2);
SELECT is(array_agg(row(credit_note_id, invoice_id, amount)::text), ARRAY[row((pg_temp.document('cheaper', 4)).id, (pg_temp.document('cheaper', 2)).id, 4.76)::text], 'by an allocation')
  FROM billing.credit_allocation WHERE account_id = pg_temp.account('cheaper');
SELECT is(row(l.corrects_invoice_id, l.corrects_line_no, l.unit_amount)::text, row((pg_temp.document('cheaper', 2)).id, 2, NULL::int)::text, 'line by line')
  FROM billing.invoice_line l WHERE l.invoice_id = (pg_temp.document('cheaper', 4)).id;
SELECT is(array_agg(row(revision, amount, quantity)::text ORDER BY revision), '{"(0,10.00,10)","(1,6.00,12)"}', 'the charge has a second revision')
  FROM billing.charge WHERE account_id = pg_temp.account('cheaper') AND kind = 'usage' AND period_no = 0;
SELECT is(pg_temp.billed('cheaper', '2025-03-01'), NULL, 'and that was all');

SELECT pg_temp.subscribe('settled', 'volume and seat', '2025-01-01');
SELECT pg_temp.use('settled', 'kb', 10, '2025-01-10');
SELECT pg_temp.billed('settled', '2025-02-01');
SELECT pg_temp.pay('settled', 2);
SELECT pg_temp.use('settled', 'kb', 2, '2025-01-11');
SELECT is(pg_temp.billed('settled', '2025-03-01'), 'invoice open 26.00 + 4.94: seat charge 30.00, volume correction -4.00, volume charge 0.00', 'of a settled invoice it goes on the next invoice');
SELECT is(row(quantity, unit_amount)::text, '(2,)', 'with the difference in quantity and no price') FROM billing.invoice_line
 WHERE account_id = pg_temp.account('settled') AND nature = 'correction';

SELECT pg_temp.subscribe('negative', 'volume', '2025-01-01');
SELECT pg_temp.use('negative', 'kb', 10, '2025-01-10');
SELECT pg_temp.billed('negative', '2025-02-01');
SELECT pg_temp.pay('negative', 1);
SELECT pg_temp.use('negative', 'kb', 2, '2025-01-11'), pg_temp.use('negative', 'kb', 3, '2025-02-11');
SELECT is(pg_temp.billed('negative', '2025-03-01'), 'invoice paid 3.00 + 0.57: volume charge 3.00; credit_note open 4.00 + 0.76: volume correction 4.00',
          'no invoice is negative: the charges stay, what is given back becomes a credit note, which pays them');
SELECT is(row(amount_credited, amount_due)::text, '(3.57,-1.19)', 'the rest is the customer''s credit') FROM pg_temp.document('negative', 3);

-- The rest of a credit note that is larger than what is due of the invoice.
SELECT pg_temp.subscribe('partly', 'volume', '2025-01-01');
SELECT pg_temp.use('partly', 'kb', 10, '2025-01-10');
SELECT pg_temp.billed('partly', '2025-02-01');
SELECT billing.record_payment(pg_temp.account('partly'), 10, 'EUR');
SELECT pg_temp.use('partly', 'kb', 2, '2025-01-11');
SELECT pg_temp.billed('partly', '2025-03-01');
SELECT is(row(status, amount_due)::text, '(paid,0.00)', 'a credit note closes an invoice of which 1.90 was due') FROM pg_temp.document('partly', 1);
SELECT is(row(status, total, amount_credited, amount_due)::text, '(open,4.76,1.90,-2.86)', 'the rest stays as credit') FROM pg_temp.document('partly', 3);

-- --- Tax of credit notes -----------------------------------------------------------------------------

SELECT pg_temp.subscribe('thirds', 'cents', '2024-01-01');
SELECT pg_temp.use('thirds', 'gauge', 50, '2024-05-01');
SELECT is(pg_temp.billed('thirds', '2025-01-01'), 'invoice open 0.50 + 0.10: cents charge 0.50', 'tax on 0.50 is 0.095');
SELECT pg_temp.use('thirds', 'gauge', 37, '2024-05-02');
SELECT is(pg_temp.billed('thirds', '2025-01-02'), 'credit_note paid 0.13 + 0.02: cents correction 0.13', '0.0247 on 0.13');
SELECT pg_temp.use('thirds', 'gauge', 24, '2024-05-03');
SELECT is(pg_temp.billed('thirds', '2025-01-03'), 'credit_note paid 0.13 + 0.03: cents correction 0.13', '0.0494 on 0.26, less 0.02');
SELECT pg_temp.use('thirds', 'gauge', 0, '2024-05-04');
SELECT is(pg_temp.billed('thirds', '2025-01-04'), 'credit_note paid 0.24 + 0.05: cents correction 0.24', 'the last note takes the rest');
SELECT is(row(status, amount_credited, amount_due)::text, '(paid,0.60,0.00)', 'never more than the invoice') FROM pg_temp.document('thirds', 1);

SELECT pg_temp.subscribe('gross', 'cents gross', '2024-01-01');
SELECT pg_temp.use('gross', 'gauge', 999, '2024-05-01');
SELECT pg_temp.billed('gross', '2025-01-01');
SELECT pg_temp.use('gross', 'gauge', 500, '2024-05-02');
SELECT pg_temp.billed('gross', '2025-01-02');
SELECT pg_temp.use('gross', 'gauge', 0, '2024-05-03');
SELECT pg_temp.billed('gross', '2025-01-03');
SELECT is(row(sum(net_total), sum(tax_total), sum(rounding_amount), sum(total + rounding_amount))::text, '(8.39,1.59,0.01,9.99)',
          'inclusive prices: net, tax and rounding amount of the notes sum to the invoice''s')
  FROM billing.invoice WHERE account_id = pg_temp.account('gross') AND kind = 'credit_note';

-- Two notes of one run that correct the same invoice, due at different instants.
SELECT pg_temp.subscribe('same run', 'cents', '2024-01-01');
SELECT pg_temp.use('same run', 'gauge', 50, '2024-05-01');
CREATE TEMP TABLE first_subscription AS SELECT subscription FROM customer WHERE name = 'same run';
SELECT pg_temp.subscribe('same run', 'monthly cents', '2024-12-01');
SELECT pg_temp.use('same run', 'level', 50, '2024-12-02');
SELECT is(pg_temp.billed('same run', '2025-01-01'), 'invoice open 1.00 + 0.19: cents charge 0.50, monthly cents charge 0.50', 'two subscriptions on one invoice');
SELECT pg_temp.use('same run', 'level', 37, '2024-12-03');
SELECT billing.record_usage(subscription, 'gauge', 'late', 37, '2024-05-02') FROM first_subscription;
SELECT is(pg_temp.billed('same run', '2025-02-03'), 'invoice paid 0.00 + 0.00: monthly cents charge 0.00; credit_note paid 0.13 + 0.02: monthly cents correction 0.13; '
          'credit_note paid 0.13 + 0.03: cents correction 0.13', 'the second note of a run knows the first');

-- A tax that changed does not make a correction, nor change its rate.
SELECT pg_temp.subscribe('rate', 'cents', '2024-01-01');
SELECT pg_temp.use('rate', 'gauge', 5000, '2024-05-01');
SELECT pg_temp.billed('rate', '2025-01-01');
SELECT billing.create_tax_rate('vat', category => 'S', rate => 21, valid_from => '2024-06-01');
SELECT is(pg_temp.billed('rate', '2025-01-02'), NULL, 'a rate entered later corrects nothing');
SELECT pg_temp.use('rate', 'gauge', 4000, '2024-05-02');
SELECT is(pg_temp.billed('rate', '2025-01-02'), 'credit_note paid 10.00 + 1.90: cents correction 10.00', 'a correction has the rate of its line');
SELECT pg_temp.use('rate', 'gauge', 6000, '2024-05-03');
SELECT is(pg_temp.billed('rate', '2025-01-03'), 'invoice open 20.00 + 3.80: cents correction 20.00', 'also one that adds');
DELETE FROM billing.tax_rate WHERE rate = 21;

-- --- Voids ----------------------------------------------------------------------------------------------

SELECT pg_temp.subscribe('void', 'seat gross', '2025-01-01', '{"cycles":2}');
SELECT pg_temp.billed('void', '2025-01-01');
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('void', 1)).id, NULL) $$, '22004', NULL, 'rebill has no default, not even null');
SELECT throws_ok($$ SELECT billing.void_invoice(pg_temp.account('void') << 24 | 99, true) $$, 'LB110', NULL, 'an invoice that does not exist');
SELECT lives_ok($$ SELECT billing.void_invoice((pg_temp.document('void', 1)).id, true, effective_at => '2025-01-05') $$, 'an open invoice is voided');
SELECT is(row(i.kind, i.status, i.net_total, i.tax_total, i.rounding_amount, i.credits_invoice_id)::text,
          row('credit_note', 'paid', 8.39, 1.59, 0.01, (pg_temp.document('void', 1)).id)::text, 'by a credit note of the same amounts')
  FROM pg_temp.document('void', 2) i;
SELECT is(row(status, amount_due)::text, '(void,0.00)', 'nothing of it is due') FROM pg_temp.document('void', 1);
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('void', 1)).id, true) $$, 'LB403', NULL, 'once');
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('void', 2)).id, true) $$, 'LB403', NULL, 'a credit note cannot be voided');
SELECT is(pg_temp.billed('void', '2025-01-10'), 'invoice open 8.39 + 1.59: seat gross charge 9.99', 'with rebill the next run charges it again');
SELECT lives_ok($$ SELECT billing.void_invoice((pg_temp.document('void', 3)).id, false, effective_at => '2025-01-11') $$, 'voided for ever');
SELECT is(pg_temp.billed('void', '2025-03-01'), 'invoice open 8.39 + 1.59: seat gross charge 9.99', 'without rebill it is charged no more; the next cycle is');
SELECT is(array_agg(nature ORDER BY l.invoice_id), '{charge,correction,charge,grant,charge}', 'reversed as a correction, or granted')
  FROM billing.invoice_line l WHERE account_id = pg_temp.account('void');
SELECT billing.write_off_invoice((pg_temp.document('void', 5)).id);
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('void', 5)).id, false) $$, 'LB403',
                 format('invoice %s is uncollectible and cannot be voided', (pg_temp.document('void', 5)).id), 'an uncollectible invoice is not voided');
SELECT pg_temp.pay('void', 5);
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('void', 5)).id, false) $$, 'LB404', NULL, 'an invoice that money is allocated to cannot be voided');
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('cheaper', 2)).id, false) $$, 'LB404', NULL, 'nor one that a credit note corrects');
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('settled', 2)).id, false) $$, 'LB404', NULL, 'nor one that an invoice corrects');

-- An invoice that carries a correction of an earlier one, voided: the correction is undone too.
SELECT pg_temp.subscribe('chain', 'cents', '2024-01-01');
SELECT pg_temp.use('chain', 'gauge', 1000, '2024-05-01');
SELECT pg_temp.billed('chain', '2025-01-01');
SELECT pg_temp.use('chain', 'gauge', 1500, '2024-05-02');
SELECT is(pg_temp.billed('chain', '2025-01-02'), 'invoice open 5.00 + 0.95: cents correction 5.00', 'a second invoice corrects the first');
SELECT billing.void_invoice((pg_temp.document('chain', 2)).id, true, effective_at => '2025-01-03');
SELECT is(row(revision, amount, quantity)::text, '(2,10.00,1000)', 'voided, the charge is what it was before')
  FROM billing.charge WHERE account_id = pg_temp.account('chain') ORDER BY revision DESC LIMIT 1;
SELECT is(pg_temp.billed('chain', '2025-01-04'), 'invoice open 5.00 + 0.95: cents correction 5.00', 'and the next run corrects again');
SELECT is(l.corrects_invoice_id, (pg_temp.document('chain', 1)).id, 'the line that was charged first, not the one that was voided')
  FROM billing.invoice_line l WHERE l.invoice_id = (pg_temp.document('chain', 4)).id;
SELECT pg_temp.use('chain', 'gauge', 1700, '2024-05-03');
SELECT pg_temp.billed('chain', '2025-01-05');
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('chain', 4)).id, true) $$, 'LB404', NULL, 'no correction is voided under a later one');
SELECT lives_ok($$ SELECT billing.void_invoice((pg_temp.document('chain', 5)).id, true, effective_at => '2025-01-06') $$, 'only the last');
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('chain', 1)).id, true) $$, 'LB404', NULL, 'nor is the first while corrections of it live');
SELECT is(pg_temp.billed('chain', '2025-01-07'), 'invoice open 2.00 + 0.38: cents correction 2.00', 'the same again');
SELECT is(sum(CASE i.kind WHEN 'invoice' THEN l.amount ELSE -l.amount END), 17.00, 'in the end 1700 cents are charged')
  FROM billing.invoice i JOIN billing.invoice_line l ON l.invoice_id = i.id WHERE i.account_id = pg_temp.account('chain');

-- From the last to the first all can be voided, and be charged again.
SELECT billing.void_invoice((pg_temp.document('chain', n)).id, n <> 4, effective_at => '2025-01-08') FROM unnest(ARRAY[7, 4, 1]) n;
SELECT is(array_agg(status || ' ' || total ORDER BY id), '{"void 11.90","void 5.95","void 5.95","void 2.38","void 2.38"}', 'voided one after the other, the second without rebill')
  FROM billing.invoice WHERE account_id = pg_temp.account('chain') AND kind = 'invoice';
SELECT is(row(amount, granted, period_end > period_start)::text, '(5.00,5.00,t)', 'charged is what was granted')
  FROM billing.charge WHERE account_id = pg_temp.account('chain') ORDER BY revision DESC LIMIT 1;
SELECT is(pg_temp.billed('chain', '2025-01-09'), 'invoice open 12.00 + 2.28: cents correction 12.00', 'the rest is charged again');
SELECT is(sum(CASE i.kind WHEN 'invoice' THEN l.amount ELSE -l.amount END), 12.00, 'without what was granted')
  FROM billing.invoice i JOIN billing.invoice_line l ON l.invoice_id = i.id WHERE i.account_id = pg_temp.account('chain');

-- A zero invoice can be voided as well.
SELECT pg_temp.subscribe('zero', 'cents', '2024-01-01');
SELECT is(pg_temp.billed('zero', '2025-01-01'), 'invoice paid 0.00 + 0.00: cents charge 0.00', 'an invoice of nothing');
SELECT billing.void_invoice((pg_temp.document('zero', 1)).id, true, effective_at => '2025-01-02');
SELECT is(row(status, amount_due)::text, '(void,0.00)', 'is void') FROM pg_temp.document('zero', 1);
SELECT pg_temp.use('zero', 'gauge', 100, '2024-05-01');
SELECT is(pg_temp.billed('zero', '2025-01-03'), 'invoice open 1.00 + 0.19: cents charge 1.00', 'and charged again as a first charge');

-- --- Drafts ---------------------------------------------------------------------------------------------

SELECT pg_temp.subscribe('draft', 'volume and seat', '2025-01-01');
SELECT pg_temp.use('draft', 'kb', 10, '2025-01-10');
CALL billing.bill_run(at => '2025-02-10', finalize => false);
SELECT is(array_agg(row(status, number, issued_on, due_on, total)::text ORDER BY id), '{"(draft,,,,35.70)","(draft,,,,47.60)"}', 'drafts have no number and no dates')
  FROM billing.invoice WHERE account_id = pg_temp.account('draft');
CREATE TEMP TABLE made AS SELECT array_agg(id ORDER BY id) AS ids FROM billing.invoice WHERE account_id = pg_temp.account('draft');
CALL billing.bill_run(at => '2025-02-10', finalize => false);
SELECT is(array_agg(id ORDER BY id), (SELECT ids FROM made), 'made anew they keep their ids') FROM billing.invoice WHERE account_id = pg_temp.account('draft');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'drafts are sound');
SELECT throws_ok($$ SELECT billing.void_invoice((pg_temp.document('draft', 1)).id, true) $$, 'LB403', NULL, 'a draft is not voided');
SELECT pg_temp.use('draft', 'kb', 2, '2025-01-11');
CALL billing.bill_run(at => '2025-02-10', finalize => false);
SELECT is(array_agg(total ORDER BY id), '{35.70,42.84}', 'late usage changes a draft') FROM billing.invoice WHERE account_id = pg_temp.account('draft');
SELECT is(array_agg(row(revision, amount)::text), '{"(0,6.00)"}', 'whose charge is replaced, not revised')
  FROM billing.charge WHERE account_id = pg_temp.account('draft') AND kind = 'usage';
SELECT is(billing.finalize_invoice((pg_temp.document('draft', 2)).id, '2025-02-11'), (SELECT ids[2] FROM made), 'the second is finished first');
SELECT is(array_agg(row(status, issued_on)::text ORDER BY id), '{"(draft,)","(open,2025-03-01)"}', 'its number follows the series')
  FROM billing.invoice WHERE account_id = pg_temp.account('draft');
SELECT throws_ok($$ SELECT billing.finalize_invoice((pg_temp.document('draft', 2)).id) $$, 'LB403', NULL, 'once');
SELECT pg_temp.use('draft', 'kb', 9, '2025-01-12');
SELECT is(pg_temp.billed('draft', '2025-03-02'), 'invoice open 30.00 + 5.70: seat charge 30.00; credit_note paid 3.90 + 0.74: volume correction 3.90; '
          'invoice open 30.00 + 5.70: seat charge 30.00, volume charge 0.00', 'a later run finishes the rest; what was finished is corrected');
SELECT is(array_agg(kind || ' ' || status ORDER BY id), '{"invoice open","invoice open","credit_note paid","invoice open"}', 'no draft is left')
  FROM billing.invoice WHERE account_id = pg_temp.account('draft');

-- A credit note as a draft, finished by hand.
SELECT pg_temp.subscribe('draft note', 'cents', '2024-01-01');
SELECT pg_temp.use('draft note', 'gauge', 100, '2024-05-01');
SELECT pg_temp.billed('draft note', '2025-03-02');
SELECT pg_temp.use('draft note', 'gauge', 60, '2024-05-02');
CALL billing.bill_run(at => '2025-03-03', finalize => false);
SELECT is(row(kind, status, total, amount_credited)::text, '(credit_note,draft,0.48,0.00)', 'a draft of a credit note sets nothing off') FROM pg_temp.document('draft note', 2);
SELECT is(amount_due, 1.19, 'and the invoice is due in full') FROM pg_temp.document('draft note', 1);
SELECT lives_ok($$ SELECT billing.finalize_invoice((pg_temp.document('draft note', 2)).id, '2025-03-04') $$, 'finished');
SELECT is(amount_due, 0.71, 'it is set off') FROM pg_temp.document('draft note', 1);

-- A draft with nothing left to say goes away.
SELECT pg_temp.use('draft note', 'gauge', 80, '2024-05-03');
CALL billing.bill_run(at => '2025-03-05', finalize => false);
SELECT is(row(kind, status, net_total)::text, '(invoice,draft,0.20)', 'a draft of a correction') FROM pg_temp.document('draft note', 3);
SELECT pg_temp.use('draft note', 'gauge', 60, '2024-05-04');
SELECT throws_ok($$ SELECT billing.finalize_invoice((pg_temp.document('draft note', 3)).id, '2025-03-06') $$, 'LB403', NULL, 'nothing to finish');
CALL billing.bill_run(at => '2025-03-06', finalize => false);
SELECT is(count(*), 2::bigint, 'the run removes it') FROM billing.invoice WHERE account_id = pg_temp.account('draft note');

-- A draft that corrects an invoice does not keep it from being voided: it is only a plan, and made anew.
SELECT pg_temp.subscribe('planned', 'volume', '2024-01-01', '{"cycles":1}');
SELECT pg_temp.use('planned', 'kb', 5, '2024-01-10');
SELECT pg_temp.billed('planned', '2024-02-01');
SELECT pg_temp.use('planned', 'kb', 3, '2024-01-20');
CALL billing.bill_run(at => '2025-03-07', finalize => false);
SELECT lives_ok($$ SELECT billing.void_invoice((pg_temp.document('planned', 1)).id, true, '2025-03-07') $$, 'voided under a draft');
SELECT is(pg_temp.billed('planned', '2025-03-08'), 'invoice open 8.00 + 1.52: volume charge 8.00', 'and all of it billed again');

-- --- Numbers ---------------------------------------------------------------------------------------------

SELECT pg_temp.subscribe('early bird', 'seat', '2024-06-01', '{"cycles":1}');
SELECT pg_temp.billed('early bird', '2024-06-01');
SELECT is(issued_on, (SELECT last_issued_on FROM billing.series WHERE code = 'acme-invoice'), 'dates of a series never go back') FROM pg_temp.document('early bird', 1);
-- Tax at the date of issue goes by the date that the document gets.
SELECT billing.create_tax('issue', category => 'S', rate => 19, tax_point => 'issue_date');
SELECT billing.create_tax_rate('issue', category => 'S', rate => 21, valid_from => '2025-03-01');
SELECT billing.create_price('by issue', currency => 'EUR', every => '1 month', tax => 'issue', scheme => '{"model":"flat","flat_amount":10}'),
       billing.create_plan('by issue', items => '[{"price":"by issue"}]');
SELECT pg_temp.subscribe('by issue', 'by issue', '2024-06-01', '{"cycles":1}');
SELECT is(pg_temp.billed('by issue', '2024-06-01'), 'invoice open 10.00 + 2.10: by issue charge 10.00', 'and the rate is that of this date');
SELECT is(array_agg(position ORDER BY position), array_agg(n ORDER BY n), format('positions of series %s have no gap', series))
  FROM (SELECT series, position, row_number() OVER (PARTITION BY series ORDER BY position) AS n FROM billing.seal) s GROUP BY series ORDER BY series;
SELECT is(right(number, 6)::int, position::int, format('number %s stands at its position', number)) FROM billing.seal WHERE position = (SELECT max(s.position) FROM billing.seal s WHERE s.series = seal.series) ORDER BY series;
SELECT throws_ok($$ SELECT billing.bill_account(pg_temp.account('early bird'), 'infinity') $$, '22008', NULL, 'no run at infinity');
SET LOCAL billing.max_future = '1d';
SELECT throws_ok($$ SELECT billing.bill_account(pg_temp.account('early bird'), now() + interval '25 hours') $$, 'LB405', NULL, 'nor further ahead than billing.max_future');
SELECT lives_ok($$ SELECT billing.preview(pg_temp.account('early bird'), now() + interval '25 hours') $$, 'but a preview');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'all of it is sound');
SELECT is_empty('SELECT * FROM billing.verify_chain()', 'and proven');

SELECT * FROM finish();
ROLLBACK;
