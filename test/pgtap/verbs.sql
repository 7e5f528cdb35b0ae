-- What the verbs of running subscriptions cost, to the cent (doc/rules.md 4).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('none', category => 'Z', rate => 0) \g /dev/null
CREATE FUNCTION pg_temp.price(code text, amount numeric, every interval DEFAULT '1 month', charge text DEFAULT 'day', credit text DEFAULT 'day', timing text DEFAULT 'advance')
    RETURNS text LANGUAGE sql AS $$
    SELECT billing.create_price(code, currency => 'EUR', every => every, timing => timing, tax => 'none', proration_charge => charge, proration_credit => credit,
        scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', amount)) $$;
SELECT pg_temp.price('p10', 10), pg_temp.price('p20', 20), pg_temp.price('p30', 30), pg_temp.price('p60', 60), pg_temp.price('year', 365, '1 year'), pg_temp.price('week', 7, '7 days'),
       pg_temp.price('keep', 30, charge => 'day', credit => 'none'), pg_temp.price('whole', 30, charge => 'full', credit => 'none'), pg_temp.price('gone', 30, charge => 'none', credit => 'full'),
       pg_temp.price('after', 30, timing => 'arrears'), pg_temp.price('fall', 10, '3 months', credit => 'full'), pg_temp.price('support', 5), pg_temp.price('bronze', 31), pg_temp.price('silver', 62) \g /dev/null
SELECT billing.create_price('once', currency => 'EUR', tax => 'none', scheme => '{"model":"per_unit","unit_amount":100}') \g /dev/null
SELECT billing.create_plan('p10', items => '[{"price":"p10"}]'), billing.create_plan('p20', items => '[{"price":"p20"}]'), billing.create_plan('p60', items => '[{"price":"p60"}]'),
       billing.create_plan('p30', items => '[{"price":"p30"}]'), billing.create_plan('year', items => '[{"price":"year"}]'), billing.create_plan('week', items => '[{"price":"week"}]'),
       billing.create_plan('keep', items => '[{"price":"keep"}]'), billing.create_plan('whole', items => '[{"price":"whole"}]'), billing.create_plan('gone', items => '[{"price":"gone"}]'),
       billing.create_plan('after', items => '[{"price":"after"}]'), billing.create_plan('fall', items => '[{"price":"fall","quantity":5}]'),
       billing.create_plan('bronze', items => '[{"price":"bronze"},{"price":"support"},{"price":"once"}]'),
       billing.create_plan('silver', items => '[{"price":"silver"},{"price":"support"},{"price":"p20"},{"price":"once"}]') \g /dev/null

-- Plays a life: '@ date' is a run, all else a call, in which $1 is the subscription and $2 its first item; returns the lines:
-- day due, price, amount, service period; a credit note's are marked.
CREATE FUNCTION pg_temp.play(plan text, start_at timestamptz, VARIADIC acts text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    account bigint := billing.create_account('x');
    s bigint := billing.create_subscription(account, plan, start_at => start_at);
    act text;
BEGIN
    FOREACH act IN ARRAY acts LOOP
        IF act LIKE '@%' THEN
            PERFORM billing.bill_account(account, substr(act, 2)::timestamptz);
        ELSE
            EXECUTE 'SELECT billing.' || act USING s, s + 1;
        END IF;
    END LOOP;
    RETURN (SELECT string_agg(format('%s %s%s %s %s-%s', to_char(h.billed_at, 'DD.MM'), CASE h.kind WHEN 'credit_note' THEN 'CREDIT ' END,
                                     l.price, l.amount, to_char(l.period_start, 'DD.MM'), to_char(l.period_end, 'DD.MM')), ', ' ORDER BY h.id, l.line_no)
              FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id WHERE h.account_id = account);
END $$;
CREATE TEMP TABLE life (what text, plan text, start_at timestamptz, acts text[], lines text);
INSERT INTO life VALUES
    ('an upgrade at half period', 'p10', '2026-04-01', '{@2026-04-01,"change_plan($1, ''p20'', effective_at => ''2026-04-16'')",@2026-05-01}',
     '01.04 p10 10.00 01.04-01.05, 01.05 p20 10.00 16.04-01.05, 01.05 p20 20.00 01.05-01.06, 01.05 CREDIT p10 5.00 16.04-01.05'),
    ('an upgrade at half period, at once', 'p10', '2026-04-01', '{@2026-04-01,"change_plan($1, ''p20'', effective_at => ''2026-04-16'', invoice_now => true)",@2026-05-01}',
     '01.04 p10 10.00 01.04-01.05, 16.04 p20 10.00 16.04-01.05, 16.04 CREDIT p10 5.00 16.04-01.05, 01.05 p20 20.00 01.05-01.06'),
    ('an upgrade at the end of the period', 'p10', '2026-04-01', '{@2026-04-01,"change_plan($1, ''p20'', effective_at => ''2026-04-16'', at_period_end => true)",@2026-05-01}',
     '01.04 p10 10.00 01.04-01.05, 01.05 p20 20.00 01.05-01.06'),
    ('a plan of several items: one succeeds, one stays, one is new, the set-up fee is not charged again', 'bronze', '2026-04-01', '{@2026-04-01,"change_plan($1, ''silver'', effective_at => ''2026-05-01'')",@2026-05-01}',
     '01.04 bronze 31.00 01.04-01.05, 01.04 support 5.00 01.04-01.05, 01.04 once 100.00 01.04-02.04, 01.05 silver 62.00 01.05-01.06, 01.05 support 5.00 01.05-01.06, 01.05 p20 20.00 01.05-01.06'),
    ('from months to a year', 'p30', '2026-04-01', '{@2026-04-01,"change_plan($1, ''year'', effective_at => ''2026-04-16'')",@2026-05-20}',
     '01.04 p30 30.00 01.04-01.05, 16.04 year 365.00 16.04-16.04, 16.04 CREDIT p30 15.00 16.04-01.05'),
    ('from a year to weeks', 'year', '2026-04-01', '{@2026-04-01,"change_plan($1, ''week'', effective_at => ''2026-04-11'')",@2026-04-18}',
     '01.04 year 365.00 01.04-01.04, 11.04 week 7.00 11.04-18.04, 11.04 CREDIT year 355.00 11.04-01.04, 18.04 week 7.00 18.04-25.04'),
    ('what waits for a regular charge gets it, also where a later fall counts from that charge''s period on', 'fall', '2026-04-01',
     '{"change_item($2, quantity => 3, effective_at => ''2026-06-20'')",@2026-06-25,"change_item($2, quantity => 2, effective_at => ''2026-08-28'')",@2026-10-01}',
     '01.07 fall 30.00 01.04-01.07, 28.08 fall 20.00 01.07-01.10, 01.10 fall 20.00 01.10-01.01'),
    ('a pause within the period', 'p30', '2026-04-01', '{@2026-04-01,"pause_subscription($1, until => ''2026-04-21'', effective_at => ''2026-04-11'')",@2026-05-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 30.00 01.05-01.06, 01.05 CREDIT p30 10.00 11.04-21.04'),
    ('a resume inside the term costs nothing where a pause gives nothing back', 'keep', '2026-04-01',
     '{@2026-04-01,"pause_subscription($1, effective_at => ''2026-04-11'')",@2026-04-12,"resume_subscription($1, effective_at => ''2026-04-21'')",@2026-04-22,@2026-05-01}',
     '01.04 keep 30.00 01.04-01.05, 01.05 keep 30.00 01.05-01.06'),
    ('a pause over a month, by the old calendar', 'p30', '2026-04-01', '{@2026-04-01,"pause_subscription($1, effective_at => ''2026-04-16'')","resume_subscription($1, effective_at => ''2026-06-16'')",@2026-07-01}',
     '01.04 p30 30.00 01.04-01.05, 01.07 p30 15.00 16.06-01.07, 01.07 p30 30.00 01.07-01.08, 01.07 CREDIT p30 15.00 16.04-01.05'),
    ('a pause over a month, billed from the resume on', 'p30', '2026-04-01', '{@2026-04-01,"pause_subscription($1, effective_at => ''2026-04-16'')","resume_subscription($1, ''resume'', effective_at => ''2026-06-16'')",@2026-07-20}',
     '01.04 p30 30.00 01.04-01.05, 16.06 p30 30.00 16.06-16.07, 16.06 CREDIT p30 15.00 16.04-01.05, 16.07 p30 30.00 16.07-16.08'),
    ('an annual plan keeps its anniversary over a pause', 'year', '2026-04-01', '{@2026-04-01,"pause_subscription($1, effective_at => ''2026-05-01'')","resume_subscription($1, effective_at => ''2026-06-01'')",@2027-04-01}',
     '01.04 year 365.00 01.04-01.04, 01.04 year 365.00 01.04-01.04, 01.04 CREDIT year 31.00 01.05-01.06'),
    ('a cancellation and a restart inside the term charge and credit once', 'p30', '2026-04-01',
     '{@2026-04-01,"cancel_subscription($1, effective_at => ''2026-04-11'')",@2026-04-11,"restart_subscription($1, effective_at => ''2026-04-11'')",@2026-04-20,@2026-05-01}',
     '01.04 p30 30.00 01.04-01.05, 11.04 CREDIT p30 20.00 11.04-01.05, 01.05 p30 20.00 11.04-01.05, 01.05 p30 30.00 01.05-01.06'),
    ('without a run between: nothing', 'p30', '2026-04-01',
     '{@2026-04-01,"cancel_subscription($1, effective_at => ''2026-04-11'')","restart_subscription($1, effective_at => ''2026-04-11'')",@2026-05-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 30.00 01.05-01.06'),
    ('a restart inside the term of what was kept', 'keep', '2026-04-01',
     '{@2026-04-01,"cancel_subscription($1, effective_at => ''2026-04-11'')",@2026-04-11,"restart_subscription($1, effective_at => ''2026-04-21'')",@2026-05-01}',
     '01.04 keep 30.00 01.04-01.05, 01.05 keep 30.00 01.05-01.06'),
    ('a stopped subscription comes back with another item alone', 'p30', '2026-04-01',
     '{@2026-04-01,"stop_subscription($1, effective_at => ''2026-05-01'')",@2026-05-01,"add_item($1, ''p10'', effective_at => ''2026-06-16'')",@2026-07-01}',
     '01.04 p30 30.00 01.04-01.05, 01.07 p10 5.00 16.06-01.07, 01.07 p10 10.00 01.07-01.08'),
    ('a skipped cycle', 'p30', '2026-04-01', '{@2026-04-01,"skip_cycles($1, effective_at => ''2026-04-02'')",@2026-06-01}',
     '01.04 p30 30.00 01.04-01.05, 01.06 p30 30.00 01.06-01.07'),
    ('a cycle that is skipped after it was charged', 'p30', '2026-04-01', '{@2026-05-01,"skip_cycles($1, effective_at => ''2026-05-01'')",@2026-06-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 30.00 01.05-01.06, 01.06 p30 30.00 01.06-01.07, 01.06 CREDIT p30 30.00 01.05-01.06'),
    ('another billing day at the end of the period', 'p30', '2026-04-01', '{@2026-04-01,"move_billing_day($1, 16, effective_at => ''2026-04-10'')",@2026-05-16}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 15.00 01.05-16.05, 16.05 p30 30.00 16.05-16.06'),
    ('another billing day at once', 'p30', '2026-04-01', '{@2026-04-01,"move_billing_day($1, 16, effective_at => ''2026-04-11'', at_period_end => false)",@2026-05-16}',
     '01.04 p30 30.00 01.04-01.05, 11.04 p30 4.84 11.04-16.04, 11.04 CREDIT p30 20.00 11.04-01.05, 16.04 p30 30.00 16.04-16.05, 16.05 p30 30.00 16.05-16.06'),
    ('a start that moved back', 'p30', '2026-04-01', '{@2026-04-01,"move_start($1, ''2026-03-22'')",@2026-05-01}',
     '01.04 p30 30.00 01.04-01.05, 22.03 p30 9.68 22.03-01.04, 01.05 p30 30.00 01.05-01.06'),
    ('a start that moved forth', 'p30', '2026-04-01', '{@2026-04-01,"move_start($1, ''2026-04-11'')",@2026-05-01}',
     '01.04 p30 30.00 01.04-01.05, 11.04 CREDIT p30 10.00 01.04-11.04, 01.05 p30 30.00 01.05-01.06'),
    ('a term that was shortened', 'p30', '2026-04-01', '{@2026-04-01,"change_term($1, end_at => ''2026-04-16'')",@2026-05-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 CREDIT p30 15.00 16.04-01.05'),
    ('a scheme of the customer''s own, until the price changes', 'p30', '2026-04-01',
     '{"change_item($2, scheme => ''{\"model\":\"flat\",\"flat_amount\":7}'', effective_at => ''2026-05-01'')","change_item($2, quantity => 2, effective_at => ''2026-06-01'')","change_item($2, price => ''p20'', effective_at => ''2026-07-01'')",@2026-07-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 7.00 01.05-01.06, 01.06 p30 7.00 01.06-01.07, 01.07 p20 40.00 01.07-01.08'),
    ('an item for a while, at a price of its own', 'p30', '2026-04-01', '{"add_item($1, ''p20'', 2, scheme => ''{\"model\":\"flat\",\"flat_amount\":7}'', cycles => 2, effective_at => ''2026-05-01'')",@2026-08-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 30.00 01.05-01.06, 01.05 p20 7.00 01.05-01.06, 01.06 p30 30.00 01.06-01.07, 01.06 p20 7.00 01.06-01.07, 01.07 p30 30.00 01.07-01.08, 01.08 p30 30.00 01.08-01.09'),
    ('an item within dates', 'p30', '2026-04-01', '{"add_item($1, ''p20'', charge_from => ''2026-05-02'', charge_until => ''2026-06-01'', effective_at => ''2026-04-01'')",@2026-07-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 30.00 01.05-01.06, 01.06 p30 30.00 01.06-01.07, 01.06 p20 20.00 01.06-01.07, 01.07 p30 30.00 01.07-01.08'),
    ('once, with the next invoice', 'p30', '2026-04-01', '{@2026-04-01,"add_item($1, ''once'', effective_at => ''2026-04-11'', description => ''a visit'')",@2026-04-11,@2026-05-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 30.00 01.05-01.06, 01.05 once 100.00 11.04-12.04'),
    ('once, at once', 'p30', '2026-04-01', '{@2026-04-01,"add_item($1, ''once'', own_invoice => true, effective_at => ''2026-04-11'')",@2026-04-11,@2026-05-01}',
     '01.04 p30 30.00 01.04-01.05, 11.04 once 100.00 11.04-12.04, 01.05 p30 30.00 01.05-01.06'),
    ('once, taken back before it was charged', 'p30', '2026-04-01', '{@2026-04-01,"add_item($1, ''once'', effective_at => ''2026-04-11'')","end_item((SELECT max(id) FROM billing.subscription_item WHERE subscription_id = $1), effective_at => ''2026-04-20'')",@2026-05-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 30.00 01.05-01.06'),
    ('once, taken back with a cancellation before it', 'p30', '2026-04-01', '{@2026-04-01,"add_item($1, ''once'', effective_at => ''2026-05-11'')","cancel_subscription($1, effective_at => ''2026-05-01'')",@2026-06-01}',
     '01.04 p30 30.00 01.04-01.05'),
    ('and with that undone', 'p30', '2026-04-01', '{@2026-04-01,"add_item($1, ''once'', effective_at => ''2026-05-11'')","cancel_subscription($1, effective_at => ''2026-05-01'')","undo_cancellation($1, effective_at => ''2026-04-20'')",@2026-06-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 30.00 01.05-01.06, 01.06 p30 30.00 01.06-01.07, 01.06 once 100.00 11.05-12.05'),
    ('in instalments', 'p30', '2026-04-01', '{"add_item($1, ''once'', instalments => 3, effective_at => ''2026-04-11'')",@2026-08-01}',
     '01.04 p30 30.00 01.04-01.05, 01.05 p30 30.00 01.05-01.06, 01.05 once 33.33 01.05-01.06, 01.06 p30 30.00 01.06-01.07, 01.06 once 33.33 01.06-01.07, 01.07 p30 30.00 01.07-01.08, 01.07 once 33.34 01.07-01.08, 01.08 p30 30.00 01.08-01.09');
SELECT is(pg_temp.play(plan, start_at, VARIADIC acts), lines, what) FROM life;

-- A downgrade from 60 to 30 on day 21 of 30; the invoice was paid, so the credit stays on the next one.
SELECT billing.create_subscription(billing.create_account('Downgrade'), 'p60', start_at => '2026-04-01') AS s \gset
SELECT billing.bill_account(:s >> 24, '2026-04-01') \g /dev/null
SELECT billing.record_payment(account_id, amount_due, currency) FROM billing.invoice WHERE account_id = :s >> 24 \g /dev/null
SELECT billing.change_plan(:s, 'p30', effective_at => '2026-04-21') \g /dev/null
SELECT billing.bill_account(:s >> 24, '2026-06-01') \g /dev/null
SELECT is((SELECT array_agg(total ORDER BY id) FROM billing.invoice WHERE account_id = :s >> 24), ARRAY[60.00, 20.00, 30.00], 'the next invoice is 30.00 - 20.00 + 10.00, the one after it 30.00');
SELECT is((SELECT array_agg(DISTINCT subscription_id) FROM billing.invoice_line WHERE account_id = :s >> 24), ARRAY[:s::bigint], 'it is the same subscription');

-- Items that go to another plan: what is named, what is kept, what is added by hand.
SELECT billing.create_subscription(billing.create_account('Items'), 'bronze', start_at => '2026-04-01', items => '[{"price":"bronze","quantity":3},{"price":"p10"}]') AS s \gset
SELECT billing.change_plan(:s, 'silver', '[{"price":"p20","replaces":"bronze","quantity":5},{"price":"support","quantity":2},{"price":"p60"}]', effective_at => '2026-05-01') \g /dev/null
SELECT is((SELECT string_agg(format('%s: %s x %s', item_id - :s, price, trim_scale(quantity)), ', ' ORDER BY item_id) FROM billing.subscription_items_on(:s, '2026-05-01')),
          '1: p20 x 5, 2: support x 2, 4: p10 x 1, 5: silver x 1, 6: p60 x 1', 'successors by name, others by place');
SELECT is((SELECT string_agg(format('%s %s', id - :s, from_plan), ', ' ORDER BY id) FROM billing.subscription_item WHERE subscription_id = :s AND kind = 'recurring'),
          '1 t, 2 t, 4 f, 5 t, 6 f', 'what came with the plan goes with it');
SELECT billing.change_plan(:s, 'p60', effective_at => '2026-06-01') \g /dev/null
SELECT is((SELECT string_agg(format('%s: %s x %s', item_id - :s, price, trim_scale(quantity)), ', ' ORDER BY item_id) FROM billing.subscription_items_on(:s, '2026-06-01')),
          '1: p60 x 5, 4: p10 x 1, 6: p60 x 1', 'the rest of the plan ends, quantities stay');
SELECT is((SELECT array_agg(plan ORDER BY at) FROM unnest(ARRAY['2026-04-30', '2026-05-01', '2026-06-01']::timestamptz[]) at, billing.subscription_status_on(at) x WHERE x.subscription_id = :s),
          ARRAY['bronze', 'silver', 'p60'], 'the plan of any date');
SELECT billing.withdraw_change(change_id, effective_at => '2026-04-01') FROM (SELECT * FROM billing.pending_changes(:s, '2026-04-01') ORDER BY change_id DESC) c \g /dev/null
SELECT is((SELECT string_agg(format('%s: %s x %s', item_id - :s, price, trim_scale(quantity)), ', ' ORDER BY item_id) FROM billing.subscription_items_on(:s, '2026-06-01')),
          '1: bronze x 3, 2: support x 1, 4: p10 x 1', 'both moves withdrawn: as it was');

-- The first payment makes the first invoice, at once.
SELECT billing.create_subscription(billing.create_account('Pending'), 'bronze', start_at => '2026-04-01', await_payment => true) AS s \gset
SELECT is((SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-04-02')), 0::bigint, 'nothing before the first payment');
SELECT billing.activate_subscription(:s, effective_at => '2026-04-03') \g /dev/null
SELECT is((SELECT string_agg(format('%s %s %s', price, amount, period_start::date), ', ' ORDER BY line_no) FROM billing.invoice_line WHERE account_id = :s >> 24),
          'bronze 31.00 2026-04-03, support 5.00 2026-04-03, once 100.00 2026-04-03', 'all its products with it');
SELECT billing.create_subscription(billing.create_account('Failed'), 'bronze', start_at => '2026-04-01', await_payment => true) AS s \gset
SELECT billing.fail_subscription(:s, effective_at => '2026-04-03', reason => 'card declined') \g /dev/null
SELECT is((SELECT count(*) FROM billing.bill_account(:s >> 24, '2026-06-02')), 0::bigint, 'nothing of what failed');

-- Usage is of no time without service.
SELECT billing.create_meter('calls') \g /dev/null
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'none', meter => 'calls', scheme => '{"model":"per_unit","unit_amount":1}') \g /dev/null
SELECT billing.create_plan('call', items => '[{"price":"call"}]') \g /dev/null
SELECT billing.create_subscription(billing.create_account('Usage'), 'call', start_at => '2026-04-01') AS s \gset
SELECT billing.pause_subscription(:s, until => '2026-04-21', effective_at => '2026-04-11') \g /dev/null
SELECT throws_ok(format('SELECT billing.record_usage(%s, ''calls'', ''k'', at => %L)', :s, at), 'LB302', NULL, at) FROM unnest(ARRAY['2026-04-11', '2026-04-20 23:59:59']) at;
SELECT throws_ok(format('INSERT INTO billing.usage_event VALUES (%s, ''k'', %s, ''calls'', ''2026-04-11'', 1)', :s >> 24, :s), 'LB302', NULL, 'by INSERT, too');
SELECT lives_ok(format('SELECT billing.record_usage(%s, ''calls'', %L, at => %L)', :s, at, at), at) FROM unnest(ARRAY['2026-04-10 23:59:59', '2026-04-21']) at;
SELECT billing.bill_account(:s >> 24, '2026-05-01') \g /dev/null
SELECT is((SELECT array_agg(amount) FROM billing.invoice_line WHERE account_id = :s >> 24), ARRAY[2.00], 'one line for the uses before and after');

-- Every life once more, the calls first, billed once at its end: the same by item and period.
CREATE FUNCTION pg_temp.sums(lines_of bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s %s/%s: %s', price, schedule_version, period_no, amount), ', ' ORDER BY price, schedule_version, period_no)
      FROM (SELECT price, schedule_version, period_no, sum(CASE h.kind WHEN 'credit_note' THEN -l.amount ELSE l.amount END) AS amount
              FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
             WHERE l.account_id = lines_of GROUP BY 1, 2, 3) x WHERE amount <> 0 $$;
CREATE FUNCTION pg_temp.once(plan text, start_at timestamptz, acts text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    runs text[] := ARRAY(SELECT a FROM unnest(acts) WITH ORDINALITY a (a, n) WHERE a LIKE '@%' ORDER BY n DESC LIMIT 1);
BEGIN
    PERFORM pg_temp.play(plan, start_at, VARIADIC ARRAY(SELECT a FROM unnest(acts) WITH ORDINALITY a (a, n) WHERE a NOT LIKE '@%' ORDER BY n) || runs);
    RETURN (SELECT max(account_id) FROM billing.account);
END $$;
CREATE FUNCTION pg_temp.often(plan text, start_at timestamptz, acts text[]) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_temp.play(plan, start_at, VARIADIC acts);
    RETURN (SELECT max(account_id) FROM billing.account);
END $$;
CREATE TEMP TABLE pair AS SELECT what, pg_temp.often(plan, start_at, acts) AS often, pg_temp.once(plan, start_at, acts) AS once FROM life;
SELECT is(pg_temp.sums(often), pg_temp.sums(once), what || ': as if billed once') FROM pair;
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
