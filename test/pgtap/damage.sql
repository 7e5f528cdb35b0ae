-- Finished documents cannot be changed; what is changed by force is named by check() and verify_chain().
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'Europe/Berlin';
SET LOCAL billing.max_future = '100000d';
SELECT no_plan();

-- --- Books with a bit of everything ----------------------------------------------------------------

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'Europe/Berlin');
SELECT billing.create_tax('vat', category => 'S', rate => 19);
SELECT billing.create_meter('kb');
SELECT billing.create_price('volume', currency => 'EUR', every => '1 month', tax => 'vat', meter => 'kb', unit_code => 'AD', product => billing.create_product('traffic', 'Traffic'),
                            scheme => '{"model":"volume","tiers":[{"up_to":10,"unit_amount":1},{"up_to":null,"unit_amount":0.5}]}'),
       billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', scheme => '{"model":"per_unit","unit_amount":10}');
SELECT billing.create_plan('plan', items => '[{"price":"seat","quantity":3},{"price":"volume"}]');
SELECT billing.create_account('Ann', external_id => 'ann', buyer_reference => 'dept 7') AS ann \gset
SELECT billing.create_account('Bob') AS bob \gset
SELECT billing.create_account('Dan') AS dan \gset
SELECT billing.create_subscription(:ann, 'plan', start_at => '2025-01-01', purchase_order => 'PO 1') AS sub \gset
SELECT billing.create_subscription(:bob, 'plan', start_at => '2025-01-01') AS sub_bob \gset
SELECT billing.record_usage(:sub, 'kb', 'early', 10, '2025-01-10');
CALL billing.bill_run(at => '2025-01-01');
CALL billing.bill_run(at => '2025-02-01');
SELECT billing.record_usage(:sub, 'kb', 'late', 2, '2025-01-11');
CALL billing.bill_run(at => '2025-03-01');
SELECT billing.create_subscription(:dan, 'plan', start_at => '2025-03-05');
CALL billing.bill_run(at => '2025-03-05', finalize => false);

-- Ann's and Bob's documents by name: A1 A2 A3 and a credit note A4 on A2; Dan's draft.
CREATE TEMP TABLE document AS
SELECT chr(64 + account_id::int - :ann + 1) || row_number() OVER (PARTITION BY account_id ORDER BY id) AS name, id, account_id
  FROM billing.invoice_header;
CREATE FUNCTION pg_temp.document(name text) RETURNS bigint LANGUAGE sql AS $$ SELECT id FROM pg_temp.document WHERE name = $1 $$;
SELECT is(array_agg(d.name || ' ' || i.kind || ' ' || i.status ORDER BY d.name),
          '{"A1 invoice open","A2 invoice open","A3 invoice open","A4 credit_note paid","B1 invoice open","B2 invoice open","B3 invoice open","C1 invoice draft"}', 'the books')
  FROM document d JOIN billing.invoice i USING (id);
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'are sound');

-- --- Nothing finished can be changed, not even by the owner of the books ---------------------------------

-- A value that differs from the present one of a column.
CREATE FUNCTION pg_temp.other(attname name, type regtype) RETURNS text LANGUAGE sql AS $$
    SELECT CASE type WHEN 'text'::regtype THEN format('coalesce(%I, '''') || ''x''', attname)
                     WHEN 'jsonb'::regtype THEN format('coalesce(%I, ''{}'') || ''{"x":1}''', attname)
                     WHEN 'boolean'::regtype THEN format('NOT %I', attname)
                     WHEN 'bytea'::regtype THEN format('%I || ''\x00''', attname)
                     WHEN 'timestamptz'::regtype THEN format('coalesce(%I, ''2025-01-01'') + interval ''1 second''', attname)
                     WHEN 'date'::regtype THEN format('coalesce(%I, ''2025-01-01'') + 1', attname)
                     ELSE format('coalesce(%I, 0) + 1', attname) END $$;
CREATE TEMP TABLE guarded (relation text, condition text);
INSERT INTO guarded VALUES ('invoice_header', 'id'), ('invoice_line', 'invoice_id'), ('invoice_tax', 'invoice_id'), ('charge', 'invoice_id'), ('seal', 'invoice_id');
CREATE TEMP TABLE forbidden AS
SELECT relation, format('UPDATE billing.%I SET %I = %s WHERE %I = %s', relation, a.attname, pg_temp.other(a.attname, a.atttypid::regtype), condition, pg_temp.document('A2')) AS command
  FROM guarded JOIN pg_attribute a ON a.attrelid = ('billing.' || relation)::regclass AND a.attnum > 0
 WHERE (relation, a.attname) NOT IN (('invoice_header', 'status'), ('invoice_header', 'amount_paid'), ('invoice_header', 'amount_credited'))
UNION ALL SELECT relation, format('DELETE FROM billing.%I WHERE %I = %s', relation, condition, pg_temp.document('A2')) FROM guarded
UNION ALL SELECT relation, format('TRUNCATE billing.%I CASCADE', relation) FROM guarded;
SELECT throws_ok(command, 'LB402', NULL, command) FROM forbidden ORDER BY relation, command;
SET LOCAL session_replication_role = replica;
SELECT throws_ok(command, 'LB402', NULL, 'as replica: ' || command) FROM forbidden WHERE command ~ 'amount =|number|revision|DELETE|TRUNCATE' ORDER BY relation, command;
SET LOCAL session_replication_role = origin;
SELECT throws_ok(format('UPDATE billing.invoice_header SET status = %L WHERE id = %s', s, pg_temp.document('A2')), 'LB403', NULL, 'no way from open to ' || s)
  FROM unnest(ARRAY['draft', 'nonsense']) s;
SELECT throws_ok(format('UPDATE billing.invoice_line SET invoice_id = %s WHERE invoice_id = %s', pg_temp.document('A2'), pg_temp.document('C1')), 'LB402', NULL,
                 'a line of a draft cannot move to a finished document');
SELECT throws_ok(format('UPDATE billing.invoice_header SET amount_paid = total + 1 WHERE id = %s', pg_temp.document('A2')), '23514', NULL, 'no more can be settled than is due');
SELECT throws_ok(format('UPDATE billing.invoice_header SET status = ''paid'' WHERE id = %s', pg_temp.document('A2')), '23514', NULL, 'paid is what nothing is due of');
SELECT lives_ok(format('UPDATE billing.invoice_line SET description = description WHERE invoice_id = %s', pg_temp.document('C1')), 'a draft may change');

-- --- What is changed by force is named ---------------------------------------------------------------------

-- What check() finds after a damage, which is undone again: "finding: relation row", distinct and in order.
CREATE FUNCTION pg_temp.findings(damage text, deep boolean DEFAULT true) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    result text[];
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['invoice_header', 'invoice_line', 'invoice_tax', 'charge', 'seal', 'price_version', 'price'] LOOP
        EXECUTE format('ALTER TABLE billing.%I DISABLE TRIGGER USER', t);
    END LOOP;
    EXECUTE damage;
    SELECT array_agg(DISTINCT format('%s: %s %s', c.finding, c.relation,
                                     coalesce((SELECT d.name FROM pg_temp.document d WHERE d.id = c.id),
                                              (SELECT v.price FROM billing.item_version v WHERE v.item_id = c.id), c.id::text, '-')))
      INTO result FROM billing.check(deep) c
     -- what follows in the journal is left out
     WHERE c.finding NOT IN ('journal differs', 'unbalanced entry', 'posting without ledger account');
    RAISE EXCEPTION 'undo' USING ERRCODE = 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    RETURN coalesce(result, '{}');
END $$;
CREATE TEMP TABLE damage (n serial, name text, command text, expected text[]);
INSERT INTO damage (name, command, expected) VALUES
    ('no damage', 'SELECT', '{}'),
    ('header: total', 'UPDATE billing.invoice_header SET net_total = net_total + 1, total = total + 1 WHERE id = $A2', '{"broken chain: seal A2","wrong total: invoice_header A2"}'),
    ('header: total moved from net to tax', 'UPDATE billing.invoice_header SET net_total = net_total + 1, tax_total = tax_total - 1 WHERE id = $A2', '{"broken chain: seal A2","wrong total: invoice_header A2"}'),
    ('header: rounding amount', 'UPDATE billing.invoice_header SET rounding_amount = 0.01 WHERE id = $A2', '{"broken chain: seal A2"}'),
    ('header: buyer', 'UPDATE billing.invoice_header SET buyer = ''{"name":"Eve"}'' WHERE id = $A2', '{"broken chain: seal A2"}'),
    ('header: terms', 'UPDATE billing.invoice_header SET payment_terms_days = 15 WHERE id = $A2', '{"broken chain: seal A2"}'),
    ('header: back to draft', 'UPDATE billing.invoice_header SET status = ''draft'' WHERE id = $A2', '{"sealed draft: invoice_header A2","wrong charge: charge seat"}'),
    ('header: void without a note', 'UPDATE billing.invoice_header SET status = ''void'' WHERE id = $A2', '{"wrong status: invoice_header A2"}'),
    ('header: deleted', 'DELETE FROM billing.credit_allocation; DELETE FROM billing.invoice_header WHERE id = $A2',
     '{"broken chain: seal A2","part without document: charge A2","part without document: invoice_line A2","part without document: invoice_tax A2","part without document: seal A2","wrong allocation: invoice_header A4"}'),
    ('line: amount', 'UPDATE billing.invoice_line SET gross_amount = gross_amount + 1, amount = amount + 1, net_amount = net_amount + 1 WHERE invoice_id = $A1',
     '{"broken chain: seal A1","charge without line: charge seat","tax without lines: invoice_tax A1","wrong total: invoice_header A1"}'),
    ('line: text', 'UPDATE billing.invoice_line SET description = ''seats'' WHERE invoice_id = $A1', '{"broken chain: seal A1"}'),
    ('line: quantity', 'UPDATE billing.invoice_line SET quantity = 4 WHERE invoice_id = $A1', '{"broken chain: seal A1"}'),
    ('line: deleted', 'DELETE FROM billing.invoice_line WHERE invoice_id = $A2 AND price = ''seat''',
     '{"broken chain: seal A2","charge without line: charge seat","tax without lines: invoice_tax A2","wrong charge: charge seat","wrong total: invoice_header A2"}'),
    ('line: inserted', 'INSERT INTO billing.invoice_line SELECT (jsonb_populate_record(l, ''{"line_no":9,"gross_amount":0,"amount":0,"net_amount":0}'')).* FROM billing.invoice_line l WHERE invoice_id = $B1',
     '{"broken chain: seal B1","line without charge: invoice_line B1"}'),
    ('line: moved to another document', 'UPDATE billing.invoice_line SET invoice_id = $B2, line_no = 9 WHERE invoice_id = $B1',
     '{"broken chain: seal B1","charge without line: charge seat","line without charge: invoice_line B2","tax without lines: invoice_tax B1","tax without lines: invoice_tax B2","wrong charge: charge seat","wrong total: invoice_header B1","wrong total: invoice_header B2"}'),
    ('tax: amount', 'UPDATE billing.invoice_tax SET tax_amount = tax_amount - 0.01 WHERE invoice_id = $A2', '{"broken chain: seal A2","wrong tax: invoice_tax A2","wrong total: invoice_header A2"}'),
    ('tax: rate', 'UPDATE billing.invoice_tax SET rate = 20 WHERE invoice_id = $A2', '{"broken chain: seal A2","tax without lines: invoice_tax A2","wrong tax: invoice_tax A2"}'),
    ('tax: deleted', 'DELETE FROM billing.invoice_tax WHERE invoice_id = $A2', '{"broken chain: seal A2","wrong total: invoice_header A2"}'),
    ('seal: number', 'UPDATE billing.seal SET number = ''INV-2025-000099'' WHERE invoice_id = $A2', '{"broken chain: seal A2"}'),
    ('seal: position', 'UPDATE billing.seal SET position = 99 WHERE invoice_id = $A2', '{"broken chain: seal B2"}'),
    ('seal: date', 'UPDATE billing.seal SET issued_on = issued_on + 1 WHERE invoice_id = $A2', '{"broken chain: seal A2"}'),
    ('seal: date before the one before it', 'UPDATE billing.seal SET issued_on = ''2024-12-31'' WHERE invoice_id = $A2', '{"broken chain: seal A2"}'),
    ('seal: document', 'UPDATE billing.seal SET invoice_id = $C1, account_id = $C1 >> 24 WHERE invoice_id = $A2',
     '{"broken chain: seal C1","finished document without seal: invoice_header A2","sealed draft: invoice_header C1"}'),
    ('seal: payload hash', 'UPDATE billing.seal SET payload_hash = chain_hash WHERE invoice_id = $A2', '{"broken chain: seal A2"}'),
    ('seal: chain hash', 'UPDATE billing.seal SET chain_hash = payload_hash WHERE invoice_id = $A2', '{"broken chain: seal A2"}'),
    ('seal: deleted in the middle', 'DELETE FROM billing.seal WHERE invoice_id = $A2', '{"broken chain: seal B2","finished document without seal: invoice_header A2"}'),
    ('seal: deleted at the end', 'DELETE FROM billing.seal WHERE invoice_id = $B3', '{"broken chain: seal -","finished document without seal: invoice_header B3"}'),
    ('seal: two exchange their places', 'UPDATE billing.seal SET position = CASE position WHEN 3 THEN 103 ELSE 104 END WHERE position IN (3, 4);'
     ' UPDATE billing.seal SET position = CASE position WHEN 103 THEN 4 ELSE 3 END WHERE position > 100', '{"broken chain: seal B2"}'),
    ('a whole document, every trace of it', 'DELETE FROM billing.seal WHERE invoice_id = $B3; DELETE FROM billing.charge WHERE invoice_id = $B3; DELETE FROM billing.invoice_tax WHERE invoice_id = $B3;'
     ' DELETE FROM billing.invoice_line WHERE invoice_id = $B3; DELETE FROM billing.invoice_header WHERE id = $B3', '{"broken chain: seal -","wrong charge: charge seat","wrong charge: charge volume"}'),
    ('charge: amount', 'UPDATE billing.charge SET amount = amount + 1 WHERE invoice_id = $A1', '{"charge without line: charge seat","wrong charge: charge seat"}'),
    ('charge: range', 'UPDATE billing.charge SET period_end = period_end - interval ''1 day'' WHERE invoice_id = $A1', '{"wrong charge: charge seat"}'),
    ('charge: granted', 'UPDATE billing.charge SET granted = 1 WHERE invoice_id = $A1', '{"charge without line: charge seat"}'),
    ('charge: deleted', 'DELETE FROM billing.charge WHERE invoice_id = $A1', '{"line without charge: invoice_line A1","wrong charge: charge seat"}'),
    ('charge: last revision deleted', 'DELETE FROM billing.charge WHERE invoice_id = $A4', '{"line without charge: invoice_line A4","wrong charge: charge volume"}'),
    ('charge: first revision deleted', 'DELETE FROM billing.charge WHERE invoice_id = $A2 AND kind = ''usage''',
     '{"charge without line: charge volume","line without charge: invoice_line A2","missing revision: charge volume"}'),
    ('charge: overlapping', 'INSERT INTO billing.charge SELECT (jsonb_populate_record(c, ''{"period_start":"2025-01-15"}'')).* FROM billing.charge c WHERE invoice_id = $A1',
     '{"charge without line: charge seat","overlapping charges: charge seat","wrong charge: charge seat"}'),
    ('settlement: credited', 'UPDATE billing.invoice_header SET amount_credited = amount_credited + 1 WHERE id = $A2', '{"wrong allocation: invoice_header A2"}'),
    ('settlement: allocation', 'UPDATE billing.credit_allocation SET amount = amount + 1', '{"wrong allocation: invoice_header A2","wrong allocation: invoice_header A4"}'),
    ('settlement: allocation deleted', 'DELETE FROM billing.credit_allocation', '{"wrong allocation: invoice_header A2","wrong allocation: invoice_header A4"}'),
    ('account state: counter of ids', 'UPDATE billing.account_state SET next_ordinal = 4 WHERE account_id = $A1 >> 24', '{"id counter too low: account_state A4"}'),
    ('account state: deleted', 'DELETE FROM billing.account_state WHERE account_id = $A1 >> 24', '{"account without state: account -","wrong event numbers: event -"}'),
    ('account state: billed further than true', 'UPDATE billing.account_state SET billed_through = ''2025-04-15'' WHERE account_id = $A1 >> 24',
     '{"wrong charge: charge seat","wrong charge: charge volume"}'),
    ('account state: billed less far than true', 'UPDATE billing.account_state SET billed_through = ''2025-02-15'' WHERE account_id = $B1 >> 24',
     '{"due too late: account_state -","wrong charge: charge seat"}'),
    ('account state: due later than true', 'UPDATE billing.account_state SET next_due = ''2026-01-01'' WHERE account_id = $B1 >> 24', '{"due too late: account_state -"}'),
    ('account state: never due', 'UPDATE billing.account_state SET next_due = NULL WHERE account_id = $B1 >> 24', '{"due too late: account_state -"}'),
    ('series: position', 'UPDATE billing.series SET position = position + 1 WHERE code = ''acme-invoice''', '{"broken chain: seal -"}'),
    ('series: chain hash', 'UPDATE billing.series SET chain_hash = ''\x00'' WHERE code = ''acme-invoice''', '{"broken chain: seal -"}'),
    ('series: counter', 'UPDATE billing.series SET counter = 100 WHERE code = ''acme-invoice''', '{"wrong counter: series -"}'),
    ('series: year', 'UPDATE billing.series SET counter_year = 2024 WHERE code = ''acme-invoice''', '{"wrong counter: series -"}'),
    ('series: last date', 'UPDATE billing.series SET last_issued_on = ''2025-02-01'' WHERE code = ''acme-invoice''', '{"wrong counter: series -"}'),
    ('series: a new format is none', 'UPDATE billing.series SET format = ''R/{yy}/{number}'' WHERE code = ''acme-invoice''', '{}'),
    ('series: a format with other braces', 'UPDATE billing.series SET restart_yearly = false, format = ''A{x}(*\{{number}'' WHERE code = ''acme-invoice''', '{}'),
    ('series: deleted', 'DELETE FROM billing.series WHERE code = ''acme-invoice''', '{"seal without series: seal -"}'),
    ('price: scheme', 'UPDATE billing.price_version SET scheme = ''{"model":"per_unit","unit_amount":11}'' WHERE price = ''seat''', '{"wrong charge: charge seat"}'),
    ('price: proration', 'UPDATE billing.price SET every = ''2 months'' WHERE code = ''seat''', '{"wrong charge: charge seat"}'),
    ('price: no longer in use', 'UPDATE billing.price_version SET in_use = false WHERE price = ''seat''', '{"price version in use is not marked: price_version -"}'),
    ('item: quantity', 'UPDATE billing.item_version SET quantity = 4 WHERE quantity = 3 AND account_id = $A1 >> 24', '{"wrong charge: charge seat"}'),
    ('subscription: end', 'UPDATE billing.subscription SET end_at = ''2025-02-15'' WHERE account_id = $A1 >> 24', '{"wrong charge: charge seat","wrong charge: charge volume"}'),
    ('usage: quantity', 'UPDATE billing.usage_event SET quantity = 5 WHERE event_key = ''late''', '{"wrong charge: charge volume"}'),
    ('usage: deleted', 'DELETE FROM billing.usage_event', '{"wrong charge: charge volume"}'),
    ('usage: of nobody', 'UPDATE billing.usage_event SET subscription_id = 1 WHERE event_key = ''late''', '{"usage without subscription: usage_event 1","wrong charge: charge volume"}'),
    ('directory: key', 'UPDATE billing.key SET key = ''eve'' WHERE key = ''ann''', '{"key without row: key 1","row without key: account 1"}'),
    ('directory: key deleted', 'DELETE FROM billing.key WHERE key = ''ann''', '{"row without key: account 1"}');
UPDATE damage SET command = replace(command, '$' || d.name, d.id::text) FROM document d WHERE command LIKE '%$' || d.name || '%';
DO $$ BEGIN
    WHILE EXISTS (SELECT FROM damage WHERE command LIKE '%$%') LOOP
        UPDATE damage SET command = replace(command, '$' || d.name, d.id::text) FROM pg_temp.document d WHERE command LIKE '%$' || d.name || '%';
    END LOOP;
END $$;
SELECT is(pg_temp.findings(command), expected, name) FROM damage ORDER BY n;

SELECT is(billing_internal.number_fits(number, format, counter), fits, format('%s of %s as %s', counter, format, number))
  FROM (VALUES ('A{x}(*\{12', 'A{x}(*\{{number}', 12, true), ('A{x}(*\{12', 'A{x}(*\{{number}', 13, false),
               ('S25/0012', 'S{yy}/{number:4}', 12, true), ('2025120012', '{year}12{number:4}', 12, true)) v (number, format, counter, fits);

-- Where a chain breaks is told once, with the reason.
CREATE FUNCTION pg_temp.broken(damage text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    ALTER TABLE billing.invoice_header DISABLE TRIGGER USER;
    ALTER TABLE billing.invoice_line DISABLE TRIGGER USER;
    ALTER TABLE billing.seal DISABLE TRIGGER USER;
    EXECUTE damage;
    SELECT string_agg(format('%s %s %s %s', series_code, position, number, problem), '; ') INTO result FROM billing.verify_chain();
    RAISE EXCEPTION 'undo' USING ERRCODE = 'UNDO1';
EXCEPTION WHEN SQLSTATE 'UNDO1' THEN
    RETURN result;
END $$;
SELECT is(pg_temp.broken(command), reason, name || ': ' || reason)
  FROM (VALUES ('line: text', 'acme-invoice 1 INV-2025-000001 the document was changed after it was sealed'),
               ('seal: number', 'acme-invoice 3 INV-2025-000099 the seal or one before it was changed'),
               ('seal: date before the one before it', 'acme-invoice 3 INV-2025-000003 the date of issue lies before the one of the previous document'),
               ('seal: deleted in the middle', 'acme-invoice 3 INV-2025-000004 position 3 is missing'),
               ('seal: deleted at the end', 'acme-invoice 5  the last documents of the series are missing'),
               ('header: deleted', 'acme-invoice 3 INV-2025-000003 the document is missing'),
               ('series: position', 'acme-invoice 6  the last documents of the series are missing'),
               ('series: chain hash', 'acme-invoice 6  the counter of the series does not fit its last seal')) v (name, reason) JOIN damage USING (name) ORDER BY n;
SELECT is(pg_temp.broken($$ UPDATE billing.seal SET number = number || 'x' $$),
          'acme-credit-note 1 CN-2025-000001x the seal or one before it was changed; acme-invoice 1 INV-2025-000001x the seal or one before it was changed', 'one row per broken series');
SELECT throws_ok($$ SELECT * FROM billing.verify_chain('nonsense') $$, 'LB112', NULL, 'a series that does not exist');

SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'afterwards all is sound');
SELECT is_empty('SELECT * FROM billing.verify_chain()', 'and proven');

SELECT * FROM finish();
ROLLBACK;
