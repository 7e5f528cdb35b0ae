\i sql/include/fresh.psql
-- Running subscriptions change: items get another price or quantity, are added and end, subscriptions are
-- cancelled.  A change edits the timeline; the next run writes the difference to what was charged, so it does
-- not matter when the runs happen.
SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC');
SELECT billing.create_tax('none', category => 'Z', rate => 0);
SELECT billing.create_price(format('p%s', a), currency => 'EUR', every => '1 month', tax => 'none',
                            scheme => jsonb_build_object('model', 'per_unit', 'unit_amount', a))
  FROM unnest(ARRAY[0.05, 10, 20, 30, 60]) a;
SELECT billing.create_price('keep', currency => 'EUR', every => '1 month', tax => 'none', proration_credit => 'none',
                            scheme => '{"model":"flat","flat_amount":12}');
SELECT billing.create_meter('calls');
SELECT billing.create_price('call', currency => 'EUR', every => '1 month', tax => 'none', meter => 'calls', scheme => '{"model":"per_unit","unit_amount":0.10}');
SELECT billing.create_plan('any', items => '[{"price":"p10","optional":true},{"price":"p60","optional":true},{"price":"p0.05","optional":true},{"price":"keep","optional":true},{"price":"call","optional":true}]');
CREATE VIEW bill AS
SELECT h.account_id AS account, h.kind, h.billed_at::date AS billed, l.nature, l.price, l.quantity, l.amount,
       l.period_start::date AS from_day, l.period_end::date AS to_day
  FROM billing.invoice_line l JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
 ORDER BY h.account_id, h.id, l.line_no;

-- An upgrade from 10 to 20 at half of April: 5.00 comes back, 10.00 is charged, both with the next invoice.
SELECT billing.create_account('Upgrade') AS account \gset
SELECT billing.create_subscription(:account, 'any', start_at => '2026-04-01', items => '[{"price":"p10"}]') AS subscription \gset
CALL billing.bill_run(at => '2026-04-01');
SELECT billing.change_item(:subscription + 1, price => 'p20', effective_at => '2026-04-16') = :subscription + 1 AS same_item;
CALL billing.bill_run(at => '2026-04-20');
CALL billing.bill_run(at => '2026-05-01');
SELECT * FROM bill WHERE account = :account;

-- A downgrade from 60 to 30 on day 21 of 30.  The invoice was paid, so the credit stays on the next one, which is
-- 30.00 - 20.00 + 10.00; the one after it is 30.00.
SELECT billing.create_account('Downgrade') AS account \gset
SELECT billing.create_subscription(:account, 'any', start_at => '2026-04-01', items => '[{"price":"p60"}]') AS subscription \gset
CALL billing.bill_run(at => '2026-04-01');
SELECT billing.record_payment(account_id, amount_due, currency) FROM billing.invoice WHERE account_id = :account \g /dev/null
SELECT billing.change_item(:subscription + 1, price => 'p30', effective_at => '2026-04-21') = :subscription + 1 AS same_item;
CALL billing.bill_run(at => '2026-06-01');
SELECT * FROM bill WHERE account = :account;
SELECT kind, billed_at::date, total FROM billing.invoice WHERE account_id = :account ORDER BY id;

-- A credit is a remainder: of 0.05 for 30 days half is kept as 0.03, so 0.02 comes back, at once when asked for.
SELECT billing.create_account('Remainder') AS account \gset
SELECT billing.create_subscription(:account, 'any', start_at => '2026-04-01', items => '[{"price":"p0.05"}]') AS subscription \gset
CALL billing.bill_run(at => '2026-04-01');
SELECT billing.cancel_subscription(:subscription, effective_at => '2026-04-16', invoice_now => true, reason => 'moved') = :subscription AS canceled;
SELECT * FROM bill WHERE account = :account;
SELECT from_at AS canceled_at, reason FROM billing.interruption WHERE account_id = :account;

-- An item added inside a period is charged for the rest of it with the next invoice, or at once; one that ends gives
-- back unless its price says otherwise (keep: a fall is ignored until the period ends).
SELECT billing.create_account('Items') AS account \gset
SELECT billing.create_subscription(:account, 'any', start_at => '2026-04-01', items => '[{"price":"keep"}]') AS subscription \gset
CALL billing.bill_run(at => '2026-04-01');
SELECT billing.add_item(:subscription, 'p30', quantity => 2, effective_at => '2026-04-11') AS later \gset
SELECT billing.add_item(:subscription, 'p10', effective_at => '2026-04-21', invoice_now => true) AS item \gset
SELECT billing.end_item(:later, effective_at => '2026-05-16');
SELECT billing.end_item(:subscription + 1, effective_at => '2026-05-16') = :subscription + 1 AS ended;
CALL billing.bill_run(at => '2026-07-01');
SELECT * FROM bill WHERE account = :account;

-- Quantities change too, also in the past; of two changes at one instant the later entered wins.
SELECT billing.create_account('Quantity') AS account \gset
SELECT billing.create_subscription(:account, 'any', start_at => '2026-04-01', items => '[{"price":"p30","quantity":1},{"price":"call"}]') AS subscription \gset
SELECT billing.record_usage(:subscription, 'calls', 'c1', quantity => 100, at => '2026-04-20');
CALL billing.bill_run(at => '2026-06-01');
SELECT billing.change_item(id, quantity => q, effective_at => '2026-05-01') IS NOT NULL AS changed
  FROM billing.subscription_item, unnest(ARRAY[7, 3]) q WHERE account_id = :account AND id = :subscription + 2;
CALL billing.bill_run(at => '2026-06-01');
CALL billing.bill_run(at => '2026-07-01');
SELECT * FROM bill WHERE account = :account;

-- A cancellation at the end of the period gives nothing back, and can be taken back until then.
SELECT billing.create_account('Doubt') AS account \gset
SELECT billing.create_subscription(:account, 'any', start_at => '2026-04-01', items => '[{"price":"p10"}]') AS subscription \gset
SELECT billing.cancel_subscription(:subscription, effective_at => '2026-04-10', at_period_end => true) = :subscription AS canceled;
SELECT from_at AS canceled_at FROM billing.interruption WHERE account_id = :account;
SELECT billing.undo_cancellation(:subscription, effective_at => '2026-04-20') = :subscription AS undone;
SELECT billing.cancel_subscription(:subscription, effective_at => '2026-05-01') = :subscription AS canceled;
CALL billing.bill_run(at => '2026-08-01');
SELECT * FROM bill WHERE account = :account;

-- What cannot be is refused and changes nothing.
\set VERBOSITY terse
SELECT billing.undo_cancellation(:subscription, effective_at => '2026-05-02');
SELECT billing.cancel_subscription(:subscription, effective_at => '2026-04-15');
SELECT billing.add_item(:subscription, 'p20', effective_at => '2026-05-01');
SELECT billing.change_item(:subscription + 1, effective_at => '2026-04-15');
SELECT billing.change_item(:subscription + 1, quantity => -1, effective_at => '2026-04-15');
SELECT billing.change_item(:subscription + 1, price => 'call', effective_at => '2026-04-15');
SELECT billing.change_item(:subscription + 1, price => 'nothing', effective_at => '2026-04-15');
SELECT billing.end_item(:subscription + 1, effective_at => '2026-03-31');
SELECT billing.end_item(1);
SELECT billing.cancel_subscription(1);
SELECT billing.cancel_subscription(:subscription, effective_at => 'infinity');
CALL billing.bill_run(at => '2026-08-01');
SELECT * FROM billing.check(deep => true);
