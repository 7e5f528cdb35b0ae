-- Which lines a correction gives back: never more of one than it still holds (doc/rules.md 4, P5).
--
-- Settings: test.lives how many random lives, test.seed which.
\set ON_ERROR_STOP on
SET billing.max_future = '100000d';
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT no_plan();
\ir include/life_catalog.psql
\set ON_ERROR_STOP off
\ir include/life_plans.psql
\set ON_ERROR_STOP on
\ir include/life_verbs.psql
\ir include/life_play.psql
\ir include/life_draw.psql
\ir include/life_compare.psql
\ir include/life_loop.psql

-- Lines that more was given back of than they charged, and invoices that more was given back of than they asked for;
-- but for those that a person gave back for ever.
CREATE VIEW given_back AS
SELECT l.account_id, l.corrects_invoice_id AS invoice_id, l.corrects_line_no AS line_no, sum(CASE h.kind WHEN 'credit_note' THEN l.amount ELSE -l.amount END) AS amount
  FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
 WHERE l.corrects_invoice_id IS NOT NULL AND (h.kind = 'credit_note' OR l.amount < 0) GROUP BY 1, 2, 3 HAVING bool_and(l.nature = 'correction');
CREATE VIEW overdrawn AS
SELECT l.account_id, l.invoice_id, l.line_no, l.amount, g.amount AS given_back
  FROM given_back g JOIN billing.invoice_line l USING (account_id, invoice_id, line_no) WHERE g.amount > l.amount
UNION ALL
SELECT h.account_id, h.id, NULL, h.total + h.rounding_amount, sum(n.total + n.rounding_amount)
  FROM billing.invoice_header h JOIN billing.invoice_header n ON n.account_id = h.account_id AND n.credits_invoice_id = h.id
 WHERE NOT EXISTS (SELECT FROM billing.invoice_line l WHERE l.account_id = n.account_id AND l.invoice_id = n.id AND l.nature = 'grant')
 GROUP BY 1, 2, 4 HAVING sum(n.total + n.rounding_amount) > h.total + h.rounding_amount;

SELECT billing.create_meter('peak') \g /dev/null
SELECT billing.create_price('peak', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'peak',
                            scheme => '{"model":"volume","tiers":[{"up_to":10,"unit_amount":10},{"up_to":null,"unit_amount":1}]}'),
       billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":31}') \g /dev/null
SELECT billing.create_plan('peaks', items => '[{"price":"peak"}]'), billing.create_plan('seats', items => '[{"price":"seat"}]') \g /dev/null
CREATE FUNCTION corrections(subscription bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s %s of %s/%s', h.kind, l.amount, to_char(o.billed_at, 'DD.MM'), l.corrects_line_no), ', ' ORDER BY h.id, l.line_no)
      FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
      JOIN billing.invoice_header o ON o.account_id = l.account_id AND o.id = l.corrects_invoice_id
     WHERE l.account_id = subscription >> 24 AND (h.kind = 'credit_note' OR l.amount < 0) $$;
CREATE FUNCTION due(subscription bigint) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT string_agg(format('%s %s', to_char(i.billed_at, 'DD.MM'), i.amount_due), ', ' ORDER BY i.id) FROM billing.invoice i
     WHERE i.account_id = subscription >> 24 AND i.kind = 'invoice' AND i.total > 0 $$;

-- Usage that came late was charged by a later invoice; then a cheaper bracket is reached.
SELECT billing.create_subscription(billing.create_account('x'), 'peaks', start_at => '2026-01-01', time_zone => 'UTC') AS s \gset
SELECT billing.record_usage(:s, 'peak', 'a', 5, '2026-01-10'), billing.bill_account(:s >> 24, '2026-02-01') \g /dev/null
SELECT billing.record_usage(:s, 'peak', 'b', 4, '2026-01-11'), billing.bill_account(:s >> 24, '2026-03-01') \g /dev/null
SELECT billing.record_usage(:s, 'peak', 'c', 20, '2026-01-12'), billing.bill_account(:s >> 24, '2026-04-01') \g /dev/null
SELECT is(corrections(:s), 'credit_note 40.00 of 01.03/1, credit_note 21.00 of 01.02/1', 'the later line first, what it held; the rest of the first');
SELECT is(due(:s), '01.02 34.51, 01.03 0.00', 'each invoice is credited what it asked for');
SELECT billing.record_usage(:s, 'peak', 'd', 1, '2026-01-12'), billing.bill_account(:s >> 24, '2026-05-01') \g /dev/null
SELECT billing.create_subscription(:s >> 24, 'seats', start_at => '2026-05-01', time_zone => 'UTC') \g /dev/null
SELECT is((SELECT sum(CASE h.kind WHEN 'credit_note' THEN -l.amount ELSE l.amount END) FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
            WHERE l.account_id = :s >> 24 AND l.kind = 'usage'), 30.00, 'the key comes to what it should');

-- A range given back, regained and given back again: the invoice that brought it back is the one that is credited.
SELECT billing.create_subscription(billing.create_account('x'), 'seats', start_at => '2026-01-01', time_zone => 'UTC') AS s \gset
SELECT billing.bill_account(:s >> 24, '2026-01-01') \g /dev/null
SELECT billing.end_item(:s + 1, effective_at => '2026-01-11', invoice_now => true) \g /dev/null
UPDATE billing.subscription_item SET end_at = NULL WHERE account_id = :s >> 24;
SELECT billing_internal.timeline_changed(:s >> 24, '2026-01-11', true), billing.invoice_account(:s >> 24, '2026-01-12') \g /dev/null
SELECT billing.end_item(:s + 1, effective_at => '2026-01-16', invoice_now => true) \g /dev/null
SELECT is(corrections(:s), 'credit_note 21.00 of 01.01/1, credit_note 16.00 of 12.01/1', 'given back of the invoice that charged it last');
SELECT billing.end_item(:s + 1, effective_at => '2026-01-06', invoice_now => true) \g /dev/null
SELECT is(corrections(:s), 'credit_note 21.00 of 01.01/1, credit_note 16.00 of 12.01/1, credit_note 5.00 of 12.01/1, credit_note 5.00 of 01.01/1', 'until nothing of that is left');
SELECT is_empty('SELECT * FROM overdrawn', 'no line is given back beyond what it charged');

-- The same in random lives.
DELETE FROM verb v WHERE NOT EXISTS (SELECT FROM pg_proc p WHERE p.proname = v.call AND p.pronamespace = 'billing'::regnamespace);
UPDATE verb SET weight = 3 * weight WHERE name IN ('cancel', 'undo', 'quantity', 'usage', 'end at', 'endless');
DO $$
BEGIN
    FOR i IN 1 .. coalesce(nullif(current_setting('test.lives', true), ''), '60')::int LOOP
        PERFORM live_through(i, coalesce(nullif(current_setting('test.seed', true), ''), '7')::int);
    END LOOP;
END $$;
SELECT is_empty('SELECT * FROM overdrawn', 'nor is one in random lives');
SELECT is((SELECT count(*) FROM failure), 0::bigint, 'which end as if billed once');
SELECT diag(format('life %s: %s: %s', life, what, left(detail, 300))) FROM failure ORDER BY life LIMIT 5;
SELECT cmp_ok((SELECT count(DISTINCT l.account_id) FROM billing.invoice_line l JOIN billing.invoice_line o ON o.account_id = l.account_id AND o.invoice_id = l.corrects_invoice_id
                  AND o.line_no = l.corrects_line_no AND o.nature = 'correction'), '>', 0::bigint, 'the lives had ranges charged further and given back');
SELECT * FROM finish();
