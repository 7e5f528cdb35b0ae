-- What of an account stands on one document (doc/rules.md 5): all, one subscription, one order number.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_tax('vat', category => 'S', rate => 19) \g /dev/null
SELECT billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":10}') \g /dev/null
SELECT billing.create_plan('any', items => '[{"price":"seat"}]') \g /dev/null

-- An account with three subscriptions of 1, 2 and 3 seats, the last two under one order number.
CREATE FUNCTION pg_temp.customer(together text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    a CONSTANT bigint := billing.create_account('x');
BEGIN
    UPDATE billing.account SET invoice_grouping = together WHERE account_id = a;
    FOR n IN 1 .. 3 LOOP
        PERFORM billing.create_subscription(a, 'any', start_at => '2026-01-01', purchase_order => CASE WHEN n > 1 THEN 'PO 7' END,
                                            items => jsonb_build_array(jsonb_build_object('price', 'seat', 'quantity', n)));
    END LOOP;
    RETURN a;
END $$;
-- The documents of an account: due day, status, order number, total, and of which subscriptions, by their place.
CREATE FUNCTION pg_temp.documents(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(concat_ws(' ', to_char(h.billed_at, 'DD.MM'), CASE h.kind WHEN 'credit_note' THEN 'credit' END, h.status, h.purchase_order, h.net_total::text, l.subscriptions), ', ' ORDER BY h.billed_at, h.id)
      FROM billing.invoice_header h
      JOIN LATERAL (SELECT array_agg(DISTINCT s.n)::text AS subscriptions FROM billing.invoice_line l
                      JOIN (SELECT id, row_number() OVER (ORDER BY id) AS n FROM billing.subscription WHERE account_id = account) s ON s.id = l.subscription_id
                     WHERE l.account_id = account AND l.invoice_id = h.id) l ON true
     WHERE h.account_id = account $$;

CREATE FUNCTION pg_temp.second(account bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT id FROM billing.subscription WHERE account_id = account ORDER BY id OFFSET 1 LIMIT 1 $$;

SELECT pg_temp.customer('account') AS a, pg_temp.customer('subscription') AS b \gset
SELECT billing.bill_account(x, '2026-01-01') FROM unnest(ARRAY[:a, :b]) x \g /dev/null
SELECT is(pg_temp.documents(:a), '01.01 open 10.00 {1}, 01.01 open PO 7 50.00 {2,3}', 'together, but for the order number');
SELECT is(pg_temp.documents(:b), '01.01 open 10.00 {1}, 01.01 open PO 7 20.00 {2}, 01.01 open PO 7 30.00 {3}', 'a document for each subscription');
SELECT is((SELECT array_agg(billing_group ORDER BY id) FROM billing.invoice_header WHERE account_id = :b),
          (SELECT array_agg('subscription:' || id ORDER BY id) FROM billing.subscription WHERE account_id = :b), 'their groups name it');
SELECT is((SELECT array_agg(billing_group ORDER BY id) FROM billing.invoice_header WHERE account_id = :a), '{"","PO 7"}', 'those of the others the order number');

-- A correction stays with its subscription.
SELECT billing.change_item(id + 1, quantity => 1, effective_at => '2026-01-17') FROM pg_temp.second(:b) id \g /dev/null
SELECT billing.bill_account(:b, '2026-02-01') \g /dev/null
SELECT alike(pg_temp.documents(:b), '%01.02 open 10.00 {1}, 01.02 open PO 7 14.84 {2}, 01.02 credit paid PO 7 9.68 {2}, 01.02 open PO 7 30.00 {3}', 'what one gives back stands on its own documents');

-- Drafts are made again under their ids, group by group.
SELECT billing.bill_account(:b, '2026-02-01') \g /dev/null
DO $$ BEGIN CALL billing.bill_run('2026-03-01', finalize => false); END $$;
CREATE TEMP TABLE draft AS SELECT id, billing_group FROM billing.invoice_header WHERE account_id = :b AND status = 'draft';
SELECT is((SELECT count(*) FROM draft), 3::bigint, 'three drafts');
SELECT billing.add_item(id, 'seat', effective_at => '2026-03-01') FROM pg_temp.second(:b) id \g /dev/null
DO $$ BEGIN CALL billing.bill_run('2026-03-01', finalize => false); END $$;
SELECT set_eq(format('SELECT id, billing_group FROM billing.invoice_header WHERE account_id = %s AND status = %L', :b, 'draft'), 'SELECT * FROM draft', 'each keeps its id');
SELECT billing.finalize_invoice(id, '2026-03-02') FROM draft WHERE billing_group = (SELECT max(billing_group) FROM draft) \g /dev/null
SELECT is((SELECT array_agg(h.status ORDER BY d.billing_group) FROM draft d JOIN billing.invoice_header h USING (id)), '{draft,draft,open}', 'one of them is finished alone');
DO $$ BEGIN CALL billing.bill_run('2026-03-03'); END $$;
SELECT is((SELECT array_agg(h.status ORDER BY d.billing_group) FROM draft d JOIN billing.invoice_header h USING (id)), '{open,open,open}', 'then the others');

-- The setting holds from the next document on.
UPDATE billing.account SET invoice_grouping = 'account' WHERE account_id = :b;
SELECT billing.bill_account(:b, '2026-04-01') \g /dev/null
SELECT alike(pg_temp.documents(:b), '%01.04 open 10.00 {1}, 01.04 open PO 7 50.00 {2,3}', 'together again');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');
SELECT * FROM finish();
ROLLBACK;
