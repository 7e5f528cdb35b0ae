-- Cycles: which count, and what lasts so many of them (doc/rules.md, src/subscription/cycles.sql, recount.sql).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('none', category => 'Z', rate => 0) \g /dev/null
SELECT billing.create_price(format('p%s', a), currency => 'EUR', every => '1 month', tax => 'none',
                            scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', a)) FROM unnest(ARRAY[10, 20, 30]) a \g /dev/null
SELECT billing.create_price('week', currency => 'EUR', every => '7 days', tax => 'none', scheme => '{"model":"flat","flat_amount":7}') \g /dev/null
SELECT billing.create_price('once', currency => 'EUR', tax => 'none', scheme => '{"model":"per_unit","unit_amount":100}') \g /dev/null
SELECT billing.create_price('once after', currency => 'EUR', timing => 'arrears', tax => 'none', scheme => '{"model":"per_unit","unit_amount":100}') \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"p10"}]') \g /dev/null
SELECT billing.create_plan('weekly', items => '[{"price":"week"}]') \g /dev/null

CREATE FUNCTION pg_temp.live(more jsonb, VARIADIC calls text[]) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    s bigint := billing.create_subscriptions(jsonb_build_array(jsonb_build_object('account_id', billing.create_account('x'), 'plan', 'any', 'start_at', '2026-01-10') || more));
    c text;
BEGIN
    FOREACH c IN ARRAY calls LOOP
        EXECUTE 'SELECT billing.' || c USING s, s + 1;
    END LOOP;
    RETURN s;
END $$;
-- The counted cycles from an instant on: version/number, start-end, due in advance where that is not the start.
CREATE FUNCTION pg_temp.cycles(s bigint, from_at timestamptz, wanted int DEFAULT 4, starting boolean DEFAULT false) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
    RETURN (SELECT string_agg(format('%s/%s %s-%s%s', version, period_no, to_char(start_at, 'DD.MM.'), to_char(end_at, 'DD.MM.'),
                  CASE WHEN advance_at <> start_at THEN to_char(advance_at, ' @ DD.MM.') END), ', ' ORDER BY n)
              FROM billing_internal.cycles(billing_internal.timeline(s), from_at, wanted, starting)); END $$;

SELECT is(pg_temp.cycles(pg_temp.live(more, VARIADIC calls), from_at, wanted, starting), cycles, what) FROM (VALUES
    ('plain', '{}'::jsonb, '{}'::text[], '2026-01-01'::timestamptz, 3, false, '1/0 10.01.-10.02., 1/1 10.02.-10.03., 1/2 10.03.-10.04.'),
    ('from within one', '{}', '{}', '2026-02-20', 2, false, '1/1 10.02.-10.03., 1/2 10.03.-10.04.'),
    ('from the next that starts', '{}', '{}', '2026-02-20', 2, true, '1/2 10.03.-10.04., 1/3 10.04.-10.05.'),
    ('from the one that starts there', '{}', '{}', '2026-02-10', 2, true, '1/1 10.02.-10.03., 1/2 10.03.-10.04.'),
    ('a stub is one', '{"billing_day":1}', '{}', '2026-01-01', 2, false, '1/0 10.01.-01.02., 1/1 01.02.-01.03.'),
    ('a free stub is none', '{"billing_day":1,"first_period":"free"}', '{}', '2026-01-01', 2, false, '1/1 01.02.-01.03., 1/2 01.03.-01.04.'),
    ('no stub, nothing free', '{"billing_day":10,"first_period":"free"}', '{}', '2026-01-01', 1, false, '1/0 10.01.-10.02.'),
    ('a joined stub belongs to the next', '{"billing_day":1,"first_period":"join"}', '{}', '2026-01-01', 2, false, '1/1 10.01.-01.03. @ 01.02., 1/2 01.03.-01.04.'),
    ('a trial is none', '{"trial_every":"1 month"}', '{}', '2026-01-01', 2, false, '1/0 10.02.-10.03., 1/1 10.03.-10.04.'),
    ('a trial that ends within a period', '{"billing_day":1,"trial_end_at":"2026-02-15"}', '{}', '2026-01-01', 2, false, '1/0 15.02.-01.03., 1/1 01.03.-01.04.'),
    ('skipped', '{}', '{"skip_cycles($1, 2, effective_at => ''2026-01-11'')"}', '2026-01-01', 2, false, '1/0 10.01.-10.02., 1/3 10.04.-10.05.'),
    ('skipped twice', '{}', '{"skip_cycles($1, effective_at => ''2026-01-11'')","skip_cycles($1, effective_at => ''2026-01-11'')"}', '2026-01-01', 2, false, '1/0 10.01.-10.02., 1/3 10.04.-10.05.'),
    ('a joined one skipped', '{"billing_day":1,"first_period":"join"}', '{"skip_cycles($1, effective_at => ''2026-01-10'')"}', '2026-01-01', 1, false, '1/2 01.03.-01.04.'),
    ('wholly paused', '{}', '{"pause_subscription($1, until => ''2026-04-10'', effective_at => ''2026-02-10'')"}', '2026-01-01', 2, false, '1/0 10.01.-10.02., 1/3 10.04.-10.05.'),
    ('partly paused', '{}', '{"pause_subscription($1, until => ''2026-04-09'', effective_at => ''2026-02-11'')"}', '2026-01-01', 3, false, '1/0 10.01.-10.02., 1/1 10.02.-10.03., 1/2 10.03.-10.04.'),
    ('paused and canceled next to it', '{}', '{"pause_subscription($1, effective_at => ''2026-02-10'')","cancel_subscription($1, effective_at => ''2026-02-20'')","restart_subscription($1, effective_at => ''2026-03-10'')"}',
     '2026-01-01', 2, false, '1/0 10.01.-10.02., 1/2 10.03.-10.04.'),
    ('stopped for good', '{}', '{"stop_subscription($1, effective_at => ''2026-02-10'')"}', '2026-01-01', 3, false, '1/0 10.01.-10.02.'),
    ('another billing day', '{}', '{"move_billing_day($1, 20, effective_at => ''2026-02-01'')"}', '2026-01-01', 4, false, '1/0 10.01.-10.02., 2/0 10.02.-20.02., 2/1 20.02.-20.03., 2/2 20.03.-20.04.'),
    ('another billing day at once', '{}', '{"move_billing_day($1, 20, effective_at => ''2026-02-01'', at_period_end => false)"}', '2026-01-01', 3, false, '1/0 10.01.-01.02., 2/0 01.02.-20.02., 2/1 20.02.-20.03.'),
    ('moved twice at one instant', '{}', '{"move_billing_day($1, 20, effective_at => ''2026-02-01'')","move_billing_day($1, 15, effective_at => ''2026-02-02'')"}', '2026-01-01', 3, false, '1/0 10.01.-10.02., 2/0 10.02.-15.02., 2/1 15.02.-15.03.'),
    ('another interval', '{}', '{"change_plan($1, ''weekly'', effective_at => ''2026-02-10'')"}', '2026-01-01', 3, false, '1/0 10.01.-10.02., 2/0 10.02.-17.02., 2/1 17.02.-24.02.'),
    ('a resume with a calendar of its own', '{}', '{"pause_subscription($1, until => ''2026-03-25'', anchor => ''resume'', effective_at => ''2026-02-10'')"}', '2026-01-01', 3, false, '1/0 10.01.-10.02., 2/0 25.03.-25.04., 2/1 25.04.-25.05.'),
    ('a resume before that', '{}', '{"pause_subscription($1, until => ''2026-03-25'', anchor => ''resume'', effective_at => ''2026-02-10'')","resume_subscription($1, effective_at => ''2026-03-10'')"}',
     '2026-01-01', 3, false, '1/0 10.01.-10.02., 1/2 10.03.-10.04., 1/3 10.04.-10.05.'),
    ('a resume in the same period keeps its calendar', '{}', '{"pause_subscription($1, until => ''2026-01-25'', anchor => ''resume'', effective_at => ''2026-01-20'')"}', '2026-01-01', 2, false, '1/0 10.01.-10.02., 1/1 10.02.-10.03.'),
    ('a resume with a billing day keeps it', '{"billing_day":10}', '{"pause_subscription($1, until => ''2026-03-25'', anchor => ''resume'', effective_at => ''2026-02-10'')"}', '2026-01-01', 2, false, '1/0 10.01.-10.02., 1/2 10.03.-10.04.'),
    ('a restart with a calendar of its own', '{}', '{"stop_subscription($1, effective_at => ''2026-02-10'')","restart_subscription($1, ''restart'', effective_at => ''2026-03-25'')"}', '2026-01-01', 2, false, '1/0 10.01.-10.02., 2/0 25.03.-25.04.')
) t (what, more, calls, from_at, wanted, starting, cycles);
SELECT is((SELECT array_agg(c.n) FROM billing_internal.cycles(billing_internal.timeline(s.id), '-infinity', 3000) c), (SELECT array_agg(n) FROM generate_series(1, 3000) n), 'many')
  FROM billing.subscription s ORDER BY id LIMIT 1;

-- What lasts so many cycles ends with them, whatever happens to the cycles.
CREATE FUNCTION pg_temp.ends(s bigint) RETURNS text LANGUAGE sql AS $$
    SELECT coalesce((SELECT to_char(end_at, 'DD.MM.YY') FROM billing.subscription WHERE id = s), '-') || ' ' ||
           (SELECT string_agg(coalesce(to_char(end_at, 'DD.MM.YY'), '-'), ' ' ORDER BY id) FROM billing.subscription_item WHERE subscription_id = s) $$;
SELECT is(pg_temp.ends(pg_temp.live('{"cycles":6,"items":[{"price":"p10","cycles":2},{"price":"p20"}]}', VARIADIC calls)), ends, array_to_string(calls, '; ')) FROM (VALUES
    ('{}'::text[], '10.07.26 10.03.26 -'),
    ('{"skip_cycles($1, 1, effective_at => ''2026-02-10'')"}', '10.08.26 10.04.26 -'),
    ('{"skip_cycles($1, 1, effective_at => ''2026-03-10'')"}', '10.08.26 10.03.26 -'),
    ('{"pause_subscription($1, until => ''2026-04-10'', effective_at => ''2026-02-10'')"}', '10.09.26 10.05.26 -'),
    ('{"pause_subscription($1, effective_at => ''2026-02-10'')"}', '- - -'),
    ('{"pause_subscription($1, effective_at => ''2026-02-10'')","resume_subscription($1, effective_at => ''2026-03-10'')"}', '10.08.26 10.04.26 -'),
    ('{"pause_subscription($1, until => ''2026-04-10'', effective_at => ''2026-02-10'')","resume_subscription($1, effective_at => ''2026-02-10'')"}', '10.07.26 10.03.26 -'),
    ('{"cancel_subscription($1, effective_at => ''2026-04-10'')"}', '- 10.03.26 -'),
    ('{"pause_subscription($1, until => ''2026-03-25'', anchor => ''resume'', effective_at => ''2026-02-10'')"}', '25.08.26 25.04.26 -'),
    ('{"pause_subscription($1, until => ''2026-03-25'', anchor => ''resume'', effective_at => ''2026-02-10'')","resume_subscription($1, effective_at => ''2026-03-10'')"}', '10.08.26 10.04.26 -'),
    ('{"pause_subscription($1, until => ''2026-03-25'', anchor => ''resume'', effective_at => ''2026-02-10'')","pause_subscription($1, effective_at => ''2026-02-20'')"}', '- - -'),
    ('{"cancel_subscription($1, effective_at => ''2026-04-10'')","undo_cancellation($1, effective_at => ''2026-04-01'')"}', '10.07.26 10.03.26 -'),
    ('{"move_billing_day($1, 20, effective_at => ''2026-02-01'')"}', '20.06.26 20.02.26 -'),
    ('{"move_start($1, ''2026-01-05'')"}', '10.06.26 10.02.26 -'),
    ('{"move_start($1, ''2026-02-15'')"}', '10.08.26 10.04.26 -'),
    ('{"change_trial($1, ''2026-02-20'')"}', '20.08.26 20.04.26 -'),
    ('{"end_item($2, effective_at => ''2026-02-20'')","skip_cycles($1, 1, effective_at => ''2026-03-10'')"}', '10.08.26 20.02.26 -'),
    ('{"end_item($2, effective_at => ''2026-02-20'')","pause_subscription($1, until => ''2026-04-10'', effective_at => ''2026-03-10'')"}', '10.08.26 20.02.26 -'),
    ('{"change_term($1, cycles => 3)"}', '10.04.26 10.03.26 -'),
    ('{"change_term($1, cycles => 3)","skip_cycles($1, 1, effective_at => ''2026-02-10'')"}', '10.05.26 10.04.26 -'),
    ('{"change_term($1, cycles => 2, effective_at => ''2026-04-01'')"}', '10.05.26 10.03.26 -'),
    ('{"change_term($1, end_at => ''2026-04-01'')","skip_cycles($1, 1, effective_at => ''2026-02-10'')"}', '01.04.26 10.04.26 -'),
    ('{"change_term($1, end_at => ''infinity'')"}', '- 10.03.26 -'),
    ('{"add_item($1, ''p30'', cycles => 2, effective_at => ''2026-03-20'')"}', '10.07.26 10.03.26 - 10.05.26'),
    ('{"add_item($1, ''p30'', cycles => 2, effective_at => ''2026-03-20'')","skip_cycles($1, 1, effective_at => ''2026-04-01'')"}', '10.08.26 10.03.26 - 10.06.26')
) t (calls, ends);
SELECT is(pg_temp.ends(pg_temp.live('{"cycles":6,"end_at":"2026-05-05"}', 'skip_cycles($1, 1, effective_at => ''2026-02-10'')')), '05.05.26 -', 'a last day that was named is not put off');
-- A change that moved ends is taken back with them, also when another one moved them since.
SELECT pg_temp.live('{"cycles":6}', 'skip_cycles($1, 1, effective_at => ''2026-02-10'')', 'skip_cycles($1, 1, effective_at => ''2026-04-10'')') AS s \gset
SELECT billing.withdraw_change(min(change_id), effective_at => '2026-02-01') FROM billing.pending_changes(:s, '2026-02-01') \g /dev/null
SELECT is(pg_temp.ends(:s), '10.08.26 -', 'one of two skips was taken back');
SELECT billing.withdraw_change(min(change_id), effective_at => '2026-02-01') FROM billing.pending_changes(:s, '2026-02-01') \g /dev/null
SELECT is(pg_temp.ends(:s), '10.07.26 -', 'and the other');

-- Instalments: total by number, the last takes the rest; which cycle takes which, and which none.
CREATE FUNCTION pg_temp.instalments(s bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(format('%s:%s %s', ordinal, amount, to_char(due_at, 'DD.MM.')), ', ' ORDER BY item_id, ordinal)
      FROM billing.instalment n JOIN billing.subscription_item i ON i.id = n.item_id WHERE i.subscription_id = s AND n.active $$;
SELECT is(pg_temp.instalments(pg_temp.live('{}', VARIADIC calls)), instalments, array_to_string(calls, '; ')) FROM (VALUES
    ('{"add_item($1, ''once'', instalments => 3, effective_at => ''2026-02-10'')"}'::text[], '1:33.33 10.02., 2:33.33 10.03., 3:33.34 10.04.'),
    ('{"add_item($1, ''once'', instalments => 3, effective_at => ''2026-02-11'')"}', '1:33.33 10.03., 2:33.33 10.04., 3:33.34 10.05.'),
    ('{"add_item($1, ''once after'', instalments => 3, effective_at => ''2026-02-11'')"}', '1:33.33 10.03., 2:33.33 10.04., 3:33.34 10.05.'),
    ('{"add_item($1, ''once'', instalments => 1, effective_at => ''2026-02-11'')"}', '1:100.00 10.03.'),
    ('{"add_item($1, ''once'', 2.5, instalments => 2, effective_at => ''2026-02-11'')"}', '1:125.00 10.03., 2:125.00 10.04.'),
    ('{"add_item($1, ''once'', scheme => ''{\"model\":\"flat\",\"flat_amount\":0.05}'', instalments => 3, effective_at => ''2026-02-10'')"}', '1:0.01 10.02., 2:0.01 10.03., 3:0.03 10.04.'),
    ('{"add_item($1, ''once'', instalments => 4, charge_from => ''2026-04-01'', charge_until => ''2026-06-30'', effective_at => ''2026-02-10'')"}', '1:25.00 10.04., 2:25.00 10.05., 3:25.00 10.06.'),
    ('{"add_item($1, ''once'', instalments => 2, charge_from => ''2026-04-10'', effective_at => ''2026-02-10'')"}', '1:50.00 10.04., 2:50.00 10.05.'),
    ('{"add_item($1, ''once'', instalments => 2, charge_from => ''2026-04-11'', effective_at => ''2026-02-10'')"}', '1:50.00 10.05., 2:50.00 10.06.'),
    ('{"add_item($1, ''once'', instalments => 2, charge_until => ''2026-02-10'', effective_at => ''2026-02-10'')"}', '1:50.00 10.02.'),
    ('{"add_item($1, ''once'', instalments => 2, charge_until => ''2026-02-09'', effective_at => ''2026-02-10'')"}', NULL),
    ('{"add_item($1, ''once after'', instalments => 2, charge_from => ''2026-04-10'', charge_until => ''2026-04-10'', effective_at => ''2026-02-10'')"}', '1:50.00 10.04.'),
    ('{"add_item($1, ''once'', instalments => 3, effective_at => ''2026-02-10'')","skip_cycles($1, effective_at => ''2026-03-10'')"}', '1:33.33 10.02., 2:33.33 10.04., 3:33.34 10.05.'),
    ('{"add_item($1, ''once'', instalments => 3, effective_at => ''2026-02-10'')","pause_subscription($1, effective_at => ''2026-03-10'')"}', '1:33.33 10.02.'),
    ('{"add_item($1, ''once'', instalments => 3, effective_at => ''2026-02-10'')","pause_subscription($1, effective_at => ''2026-03-10'')","resume_subscription($1, effective_at => ''2026-05-10'')"}',
     '1:33.33 10.02., 2:33.33 10.05., 3:33.34 10.06.'),
    ('{"add_item($1, ''once'', instalments => 3, effective_at => ''2026-02-10'')","cancel_subscription($1, effective_at => ''2026-04-10'')"}', '1:33.33 10.02., 2:33.33 10.03.'),
    ('{"add_item($1, ''once'', instalments => 3, effective_at => ''2026-02-10'')","end_item($1 + 2, effective_at => ''2026-03-10'')"}', '1:33.33 10.02.'),
    ('{"add_item($1, ''once'', instalments => 3, effective_at => ''2026-02-10'')","move_billing_day($1, 20, effective_at => ''2026-02-10'')"}', '1:33.33 10.02., 2:33.33 10.03., 3:33.34 20.03.')
) t (calls, instalments);
SELECT is((SELECT count(*) FROM billing.instalment WHERE NOT active), 5::bigint, 'those that no cycle takes any more are kept, but do not hold');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

SELECT * FROM finish();
ROLLBACK;
