-- No text becomes part of a statement: every text and jsonb argument of every call, taken from the catalog, gets texts
-- made to break out of quotes, formats and parameters, and others that programs trip over.  Each is kept as it is, or
-- refused with a documented SQLSTATE.
SET client_min_messages = error;
CREATE EXTENSION IF NOT EXISTS pgtap;
BEGIN;
\ir include/rights_books.psql
\ir include/rights.psql
SET timezone = 'UTC';

-- What a statement that slips in would do, as the caller or as the owner of the books.
CREATE TABLE public.victim ();
GRANT ALL ON SCHEMA public TO rights_owner, rights_administrator;
ALTER TABLE public.victim OWNER TO rights_owner;

CREATE TEMPORARY TABLE hostile (n int GENERATED ALWAYS AS IDENTITY, name text NOT NULL, text text NOT NULL);
INSERT INTO hostile (name, text) VALUES
('quotes', $h$'"`'; DROP TABLE public.victim; --$h$), ('closed call', $h$x', NULL); DROP TABLE public.victim; --$h$), ('identifier', $h$x"; DROP TABLE public.victim; --$h$),
('backslash', $h$\'; DROP TABLE public.victim; -- \$h$), ('format', '%s %I %L %1$s %n %% %'), ('parameters', '$1 $2 $$ $_$ $billing_ddl$ :x :''x'' ${x} {0} /* -- */ --'),
('pattern', '\_%(.*)+[\1]{2,}^$|?$.** ? (@ == 1) {a,b} ../..'), ('unicode', U&'\202Eetov\05D0\0627\2066 \+01F600\+01F468\200D\+01F469 a\200B\FEFF\2060b e\0301'),
('control', E'a\nb\tc\rd\x01\x1b[31m\x7f'), ('empty', ''), ('long', (SELECT string_agg(md5(i::text), '-' ORDER BY i) FROM generate_series(1, 1000) i));

-- One of everything that calls act on.
CREATE TEMPORARY TABLE thing (name text PRIMARY KEY, id bigint);
SELECT billing.create_account('Jane Ltd', entity => 'acme', external_id => 'crm-1') AS a \gset
INSERT INTO thing VALUES ('account_id', :a);
INSERT INTO thing SELECT name, billing.create_subscription(:a, 'team', start_at => '2026-01-01', external_id => 'sub-' || name,
    await_payment => name = 'activate_subscription' OR name = 'fail_subscription', trial_every => CASE name WHEN 'change_trial' THEN interval '20 years' END)
  FROM unnest('{subscription_id,activate_subscription,fail_subscription,change_trial,undo_cancellation,restart_subscription,resume_subscription,withdraw_change}'::text[]) name;
INSERT INTO thing SELECT 'item_id', i.item_id FROM billing.subscription_items_on((SELECT id FROM thing WHERE name = 'subscription_id'), '2026-01-02') i WHERE i.price = 'seat';
INSERT INTO thing SELECT 'discount_id', billing.add_discount(:a, 5, effective_at => '2026-01-02');
INSERT INTO thing SELECT 'minimum_id', billing.set_minimum((SELECT id FROM thing WHERE name = 'subscription_id'), 5, effective_at => '2026-01-02');
SELECT billing.cancel_subscription(id, effective_at => '2126-01-01') FROM thing WHERE name = 'undo_cancellation' \g /dev/null
SELECT billing.stop_subscription(id, effective_at => '2026-01-05') FROM thing WHERE name = 'restart_subscription' \g /dev/null
SELECT billing.pause_subscription(id, effective_at => '2026-01-05') FROM thing WHERE name = 'resume_subscription' \g /dev/null
SELECT billing.change_plan(id, 'solo', effective_at => '2126-01-01') FROM thing WHERE name = 'withdraw_change' \g /dev/null
INSERT INTO thing SELECT 'change_id', max(c.id) FROM billing.subscription_change c JOIN thing t ON t.id = c.subscription_id WHERE t.name = 'withdraw_change';
CALL billing.bill_run('2026-02-01');
INSERT INTO thing SELECT 'invoice_id', max(id) FROM billing.invoice;
-- What is owed, paid, collected and pursued; an invoice for each call that needs one in a state of its own.
SELECT billing.create_account('Bob', entity => 'acme') AS b \gset
INSERT INTO thing SELECT n || ' invoice_id', billing.record_external_invoice(CASE n WHEN 'agency' THEN :b ELSE :a END, n, '2026-01-01', 100, 'EUR', due_on => '2026-01-15')
  FROM unnest('{deallocate_payment,allocate_payment,deallocate_credit,collect_invoice,claimed,credited,waiting,pursued,paused,promised,arranged,agency}'::text[]) n;
CREATE FUNCTION pg_temp.invoice(what text) RETURNS bigint LANGUAGE sql AS $$ SELECT id FROM thing WHERE name = what || ' invoice_id' $$;
INSERT INTO thing SELECT 'payment_method_id', billing.add_payment_method(:a, 'card', provider => 'psp', token => 'tok');
INSERT INTO thing SELECT 'payment_id', billing.record_payment(:a, 150, 'EUR', invoice_ids => ARRAY[pg_temp.invoice('deallocate_payment')], rules => '{named}', effective_at => '2026-01-10');
INSERT INTO thing SELECT 'recurring_payment_method payment_id', billing.record_payment(:a, 100, 'EUR', method => 'ideal', invoice_ids => ARRAY[pg_temp.invoice('credited')], rules => '{named}', effective_at => '2026-01-10');
INSERT INTO thing SELECT 'credit_note_id', billing.credit_invoice(pg_temp.invoice('credited'), effective_at => '2026-01-11');
SELECT billing.allocate_credit(id, pg_temp.invoice('deallocate_credit'), 10, effective_at => '2026-01-11') FROM thing WHERE name = 'credit_note_id' \g /dev/null
INSERT INTO thing SELECT 'collection_id', billing.collect_invoice(pg_temp.invoice('claimed'), effective_at => '2026-01-11');
SELECT billing.claim_collections('worker', at => '2026-01-11') \g /dev/null
INSERT INTO thing SELECT 'cancel_collection collection_id', billing.collect_invoice(pg_temp.invoice('waiting'), effective_at => '2026-01-11');
SELECT billing.create_event_consumer('consumer'), billing.create_dunning_scheme('strict', '[{"after": "1 day", "actions": ["event"]}, {"after": "1 year", "actions": ["event"]}]'),
       billing.create_dunning_scheme('hard', '[{"after": "1 day", "actions": ["agency"], "agency": "Inkasso"}]'),
       billing.assign_dunning_scheme('strict', entity => 'acme'), billing.assign_dunning_scheme('hard', account_id => :b) \g /dev/null
CALL billing.dunning_run('2026-02-01');
CREATE FUNCTION pg_temp.pursuit(what text) RETURNS bigint LANGUAGE sql AS $$ SELECT id FROM billing.dunning_case WHERE invoice_id = pg_temp.invoice(what) $$;
INSERT INTO thing SELECT 'case_id', pg_temp.pursuit('pursued');
INSERT INTO thing SELECT 'resume_case case_id', billing.pause_case(pg_temp.pursuit('paused'), 'dispute', effective_at => '2026-02-02');
INSERT INTO thing SELECT 'promise_id', billing.promise_payment(pg_temp.pursuit('promised'), 5, '2027-01-01', effective_at => '2026-02-02');
INSERT INTO thing SELECT 'arrangement_id', billing.arrange_payments(:a, ARRAY[pg_temp.invoice('arranged')], 2, 'month', effective_at => '2026-02-02');
INSERT INTO thing SELECT 'transfer_id', id FROM billing.agency_transfer;
SELECT billing.create_template('acme', 'old', 'mail', 'en', 'text', 'subject') \g /dev/null
INSERT INTO billing.notification (account_id, id, code, channel, language, recipient, body, status, created_at, not_before)
VALUES (:a, :a << 24 | 16777215, 'old', 'mail', 'en', '{}', 'text', 'claimed', '2026-02-02', '2026-02-02');
INSERT INTO thing VALUES ('notification_id', :a << 24 | 16777215);

-- A good value of a required argument.
CREATE FUNCTION pg_temp.good(call text, name text, type text) RETURNS text LANGUAGE sql AS
$$
    SELECT coalesce(
        (SELECT id::text FROM thing t WHERE t.name = good.call || ' ' || good.name),
        (SELECT id::text FROM thing t WHERE t.name = CASE WHEN good.name = 'subscription_id' THEN good.call ELSE good.name END),
        (SELECT id::text FROM thing t WHERE t.name = good.name),
        CASE name WHEN 'external_id' THEN quote_literal(CASE call WHEN 'account_id' THEN 'crm-1' ELSE 'sub-subscription_id' END)
                  WHEN 'code' THEN quote_literal(CASE call WHEN 'archive_coupon' THEN 'ten' WHEN 'drop_template' THEN 'old' ELSE 'new' END) WHEN 'name' THEN '''Name''' WHEN 'cycles' THEN '20' WHEN 'quantity' THEN '3'
                  WHEN 'entity' THEN '''acme''' WHEN 'currency' THEN '''EUR''' WHEN 'country' THEN '''DE''' WHEN 'time_zone' THEN '''UTC''' WHEN 'tax' THEN '''vat'''
                  WHEN 'category' THEN '''S''' WHEN 'price' THEN '''fee''' WHEN 'plan' THEN '''solo''' WHEN 'coupon' THEN '''ten''' WHEN 'kind' THEN '''reader'''
                  WHEN 'meter' THEN '''minutes''' WHEN 'event_key' THEN '''call-1''' WHEN 'format' THEN '''{number}''' WHEN 'procedure' THEN '''billing.bill_run'''
                  WHEN 'scheme' THEN CASE call WHEN 'assign_dunning_scheme' THEN '''strict''' ELSE $j$'{"model":"flat","flat_amount":1}'$j$ END WHEN 'items' THEN $j$'[{"price":"seat"}]'$j$ WHEN 'accounts' THEN $j$'[{"name":"Bob","entity":"acme"}]'$j$
                  WHEN 'subscriptions' THEN format($j$'[{"account_id":%s,"plan":"solo"}]'$j$, (SELECT id FROM thing t WHERE t.name = 'account_id'))
                  WHEN 'events' THEN format($j$'[{"subscription_id":%s,"meter":"minutes","event_key":"1","at":"2026-01-05T00:00Z"}]'$j$, (SELECT id FROM thing t WHERE t.name = 'subscription_id'))
                  WHEN 'change' THEN $j$'{"verb":"change_plan","plan":"solo"}'$j$ WHEN 'at' THEN '''2026-01-05'''
                  WHEN 'trial_end_at' THEN '''2026-08-01''' WHEN 'start_at' THEN '''2026-01-01''' WHEN 'rate' THEN '19' WHEN 'billing_day' THEN '15' WHEN 'rebill' THEN 'false'
                  WHEN 'invoice_ids' THEN format('ARRAY[%s]', pg_temp.invoice('pursued')) WHEN 'pause_reason' THEN '''dispute''' WHEN 'promised_on' THEN '''2027-06-01'''
                  WHEN 'channel' THEN '''mail''' WHEN 'language' THEN '''en''' WHEN 'subject' THEN '''subject'''
                  WHEN 'outcome' THEN CASE call WHEN 'settle_collection' THEN '''succeeded''' ELSE '''sent''' END WHEN 'state' THEN '''accepted''' WHEN 'class' THEN '''dead''' WHEN 'consumer' THEN '''consumer''' WHEN 'steps' THEN $j$'[{"after":"1 day","actions":["event"]}]'$j$
                  WHEN 'iban' THEN '''DE89370400440532013000''' WHEN 'provider' THEN '''psp''' WHEN 'token' THEN '''tok''' WHEN 'delays' THEN '''{1 day}''' WHEN 'types' THEN '''{invoice.paid}'''
                  WHEN 'type' THEN '''card''' WHEN 'every' THEN CASE call WHEN 'arrange_payments' THEN '''month''' END END,
        pg_temp.argument_value(name, type, 1))
$$;

-- A call that works, but for one argument.
CREATE FUNCTION pg_temp.call_with(routine oid, argument text, value text) RETURNS text LANGUAGE sql AS
$$
    SELECT format('%s %s(%s)', CASE p.prokind WHEN 'p' THEN 'CALL' ELSE 'SELECT * FROM' END, p.oid::regproc,
           (SELECT string_agg(format('%I => %s', a.name, CASE WHEN a.name = argument THEN value ELSE pg_temp.good(p.proname, a.name, a.type) END), ', ' ORDER BY a.position)
              FROM argument a WHERE a.routine = p.oid AND (NOT a.optional OR a.name = argument OR p.proname || ' ' || a.name IN ('record_usage at', 'create_coupon value', 'alter_job every', 'change_item quantity', 'change_term cycles', 'create_account entity', 'create_tax entity', 'create_tax_rate entity', 'create_tax_rate valid_from',
                   'recurring_payment_method iban', 'add_payment_method token', 'add_payment_method provider', 'create_template subject', 'assign_dunning_scheme entity'))))
      FROM pg_proc p WHERE p.oid = routine
$$;

-- Is the text somewhere in the books, as a whole value or key?  Facts of the engine aside.
SELECT format($f$CREATE FUNCTION pg_temp.kept(text text) RETURNS boolean LANGUAGE plpgsql AS $b$
BEGIN
    RETURN EXISTS (SELECT FROM (%s) x (j) WHERE jsonb_path_exists(j, 'strict $.** ? (@ == $text)', jsonb_build_object('text', $1))
                      OR EXISTS (SELECT FROM jsonb_path_query(j, 'strict $.** ? (@.type() == "object")') o WHERE o ? $1));
END $b$$f$, string_agg(format('SELECT to_jsonb(t) FROM %s t', c.oid::regclass), ' UNION ALL '))
  FROM pg_class c WHERE c.relnamespace = 'billing'::regnamespace AND c.relkind = 'r' AND c.relname NOT IN ('currency', 'error_code', 'state_transition') \gexec

-- Tries a statement as an administrator: its SQLSTATE (done: 00000), its message, whether it kept the text, and the victim.
CREATE FUNCTION pg_temp.try(statement text, text text, OUT code text, OUT message text, OUT kept boolean, OUT victim boolean) LANGUAGE plpgsql AS
$$
BEGIN
    code := '00000';
    BEGIN
        SET LOCAL ROLE rights_administrator;
        EXECUTE statement;
        RESET ROLE;
        kept := pg_temp.kept(text);
        victim := to_regclass('public.victim') IS NOT NULL;
        RAISE EXCEPTION USING ERRCODE = 'PT000';
    EXCEPTION WHEN OTHERS THEN
        IF SQLSTATE <> 'PT000' THEN
            code := SQLSTATE;
            message := SQLERRM;
            victim := to_regclass('public.victim') IS NOT NULL;
        END IF;
    END;
END $$;

CREATE TEMPORARY TABLE base AS
SELECT p.proname::text AS call, t.code, t.message, pg_temp.call_with(p.oid, NULL, NULL) AS statement FROM pg_proc p, pg_temp.try(pg_temp.call_with(p.oid, NULL, NULL), '') t
 WHERE p.pronamespace = 'billing'::regnamespace AND p.proname <> 'setup' AND EXISTS (SELECT FROM argument a WHERE a.routine = p.oid AND a.type IN ('text', 'jsonb'));
CREATE TEMPORARY TABLE trial AS
SELECT p.proname::text AS call, a.name AS argument, a.type, h.name AS hostile, h.text, v.form, t.*
  FROM argument a JOIN pg_proc p ON p.oid = a.routine CROSS JOIN hostile h
 CROSS JOIN LATERAL (VALUES ('text', quote_literal(h.text), a.type = 'text'),
                            ('object', quote_literal(jsonb_build_object(h.text, h.text)), a.type = 'jsonb'),
                            ('array', quote_literal(jsonb_build_array(h.text, jsonb_build_object(h.text, h.text))), a.type = 'jsonb'),
                            ('known keys', quote_literal((SELECT CASE WHEN a.name IN ('items', 'accounts', 'subscriptions', 'events') THEN jsonb_build_array(jsonb_object_agg(k, h.text)) ELSE jsonb_object_agg(k, h.text) END
                                                            FROM unnest(CASE a.name WHEN 'scheme' THEN '{model}' WHEN 'change' THEN '{verb}' WHEN 'items' THEN '{price}' WHEN 'accounts' THEN '{name,entity}' WHEN 'subscriptions' THEN '{plan}'
                                                                             WHEN 'events' THEN '{meter,event_key}' WHEN 'address' THEN '{line1,city}' WHEN 'tax_ids' THEN '{type,value}' ELSE '{a}' END::text[]) k)), a.type = 'jsonb')) v (form, value, fits)
 CROSS JOIN LATERAL pg_temp.try(pg_temp.call_with(p.oid, a.name, v.value), h.text) t
 WHERE v.fits AND p.proname <> 'setup';

SELECT plan(15);

-- The calls work with good arguments, so that the hostile one is looked at; jobs do not without workers, and nothing can be acknowledged yet.
SELECT set_eq($$SELECT call, code FROM base WHERE code <> '00000'$$, $$VALUES ('schedule_job', '55000'), ('alter_job', '55000'), ('unschedule_job', '55000'), ('run_job', 'LB130'), ('revoke_access', 'LB208'), ('acknowledge_events', 'LB208')$$,
              'but for the one argument the calls work');
SELECT cmp_ok((SELECT count(*) FROM trial), '>', 2000::bigint, 'many were tried');
SELECT cmp_ok((SELECT count(*) FROM trial WHERE code = '00000'), '>', 800::bigint, 'many texts were taken');
SELECT is_empty($$SELECT call, argument, hostile, form, code, message FROM trial
                   WHERE code <> '00000' AND code NOT IN (SELECT e.code FROM billing.error_code e) AND code <> '22004'
                     AND NOT (code = '54000' AND hostile = 'long') AND NOT (code = '55000' AND call ~ '_job$')$$, 'every text is taken or refused with a documented SQLSTATE');
SELECT is_empty($$SELECT call, argument, hostile, form FROM trial WHERE NOT victim$$, 'no statement slipped in');
-- Their reasons are not kept at all, and a worker for whom there is nothing leaves no name.
SELECT is_empty($$SELECT call, argument, hostile, form FROM trial WHERE code = '00000' AND NOT kept AND (call, argument) NOT IN (('add_discount', 'reason'), ('end_discount', 'reason'), ('claim_collections', 'worker'), ('claim_notifications', 'worker'))$$,
                'what is taken is kept as it is');
-- A template's message names the field or brace that is wrong.
SELECT is_empty($$SELECT call, argument, form, code, array_agg(message) FROM trial WHERE code <> '00000' AND hostile NOT IN ('empty', 'long') AND call <> 'create_template'
                   GROUP BY 1, 2, 3, 4 HAVING count(DISTINCT replace(message, text, '*')) > 1$$, 'messages repeat a text as it is');
SELECT is_empty($$SELECT call, argument, hostile FROM trial WHERE hostile = 'empty' AND type = 'text' AND code = '00000'
                     AND call <> 'settle_collection' AND (call, argument) IN (SELECT p.proname, a.name FROM argument a JOIN pg_proc p ON p.oid = a.routine WHERE a.name IN ('code', 'external_id', 'idempotency_key', 'event_key'))$$,
                'an empty text is no key');
SELECT throws_ok($$SELECT billing.create_subscription(1, E'%s "%I" \\ $1')$$, 'LB107', E'plan "%s "%I" \\ $1" does not exist', 'a message with formats in it');
SELECT throws_ok($$SELECT billing.create_account(convert_from('\x6100', 'UTF8'), entity => 'acme')$$, '22021', NULL, 'the server takes no null character in text');
SELECT throws_ok($$SELECT billing.create_account('Bob', entity => 'acme', metadata => '"\u0000"')$$, '22P05', NULL, 'nor in jsonb');

-- Names of roles, in calls and as owner.
CREATE TEMPORARY TABLE name_of_role AS SELECT left(text, 15)::name AS name FROM hostile WHERE name NOT IN ('empty', 'long')
 UNION VALUES ('"'), (''''), ('\'), ('%s'), ('current_user'), ('Mixed Case'), ('select'), ('billing.account'), (U&'\202E\+01F600\200B');
SELECT format('CREATE ROLE %I', name) FROM name_of_role \gexec
SELECT is_empty($$SELECT n.name, o.outcome FROM name_of_role n, pg_temp.outcome('rights_administrator', format('SELECT billing.grant_access(%L::regrole, ''application'')', quote_ident(n.name))) o (outcome) WHERE o.outcome <> 'done'$$,
                'access is granted to roles of any name');
SELECT billing.grant_access(quote_ident(name)::regrole, 'operator') FROM name_of_role \g /dev/null
SELECT is_empty($$SELECT name, o FROM name_of_role, unnest(ARRAY[pg_temp.outcome(name, 'SELECT * FROM billing.invoice'), pg_temp.outcome(name, 'SELECT billing.create_account(''Bob'', entity => ''acme'')')]) o WHERE o <> 'done'$$,
                'which they have');
SELECT billing.revoke_access(quote_ident(name)::regrole, 'operator') FROM name_of_role \g /dev/null
SELECT is_empty($$SELECT name FROM name_of_role WHERE pg_temp.outcome(name, 'SELECT * FROM billing.invoice') <> '42501' OR name IN (SELECT role_name FROM billing.access)$$, 'until it is taken');
SELECT is_empty($$SELECT 1 WHERE to_regclass('public.victim') IS NULL$$, 'the victim lives');
SELECT * FROM finish();
ROLLBACK;
