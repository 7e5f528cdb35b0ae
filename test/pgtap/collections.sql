-- Payment methods, mandates and collections: attempts, retries, limits, what ends them, bad input.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS billing;
BEGIN;
SET LOCAL TimeZone = 'UTC';
SET LOCAL billing.max_future = '100000d';
SELECT plan(271);

SELECT billing.create_entity('acme', name => 'Acme GmbH', country => 'DE', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_retry_policy('ten days', '{1 day,4 days,7 days,8 days,9 days}'), billing.create_retry_policy('hours', '{12 hours,12 hours}', 'previous'),
       billing.create_retry_policy('network', '{1 day,2 days,3 days,4 days}', window_length => '30 days', window_attempts => 2),
       billing.create_retry_policy('patient', '{1 day}', actions => '{"refused":"retry","temporary":"stop","data":"retry"}') \g /dev/null
SELECT billing.set_payment_rules('acme', retry_policy => 'ten days') \g /dev/null
-- An account that owes 50.00 since a day, with a card; and its collection.
CREATE FUNCTION pg_temp.debtor(due_on date DEFAULT '2025-01-10', with_card boolean DEFAULT true) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    a bigint := billing.create_account('Debtor');
BEGIN
    PERFORM billing.record_external_invoice(a, format('%s/1', a), '2025-01-01', 50, 'EUR', due_on => due_on);
    PERFORM billing.add_payment_method(a, 'card', provider => 'psp', token => 'tok-' || a) WHERE with_card;
    RETURN a;
END $$;
CREATE FUNCTION pg_temp.collection(account bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT max(id) FROM billing.collection WHERE account_id = $1 $$;
CREATE FUNCTION pg_temp.newest() RETURNS bigint LANGUAGE sql AS $$ SELECT max(account_id) FROM billing.account $$;
CREATE FUNCTION pg_temp.invoice(account bigint) RETURNS bigint LANGUAGE sql AS $$ SELECT min(id) FROM billing.invoice WHERE account_id = $1 $$;
CREATE FUNCTION pg_temp.claim(at timestamptz, lease interval DEFAULT '5 minutes', max int DEFAULT 100) RETURNS bigint LANGUAGE sql AS $$ SELECT count(*) FROM billing.claim_collections('w', $3, $2, $1) $$;
CREATE FUNCTION pg_temp.settle(account bigint, outcome text, at timestamptz, code text DEFAULT NULL, reference text DEFAULT NULL) RETURNS bigint LANGUAGE sql AS $$
    SELECT billing.settle_collection(pg_temp.collection($1), $2, code => $4, reference => $5, effective_at => $3) $$;
-- Requests that a run made.
CREATE FUNCTION pg_temp.run(at timestamptz, entity text DEFAULT NULL) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
    CALL billing.collection_run(at, entity => entity);
    RETURN (SELECT r.documents FROM billing.run r ORDER BY r.id DESC LIMIT 1);
END $$;
-- How it stands: status, attempts, day of the next, why it ended.
CREATE FUNCTION pg_temp.stands(account bigint) RETURNS text LANGUAGE sql AS $$
    SELECT concat_ws(' ', c.status, c.attempts, to_char(c.next_attempt_at, 'MM-DD HH24:MI'), c.failure) FROM billing.collection c WHERE c.id = pg_temp.collection($1) $$;
-- Days on which a collection that is always declined is tried.
CREATE FUNCTION pg_temp.days(policy text, code text DEFAULT '51') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    a bigint := pg_temp.debtor();
    days text;
    at timestamptz;
BEGIN
    PERFORM billing_internal.lock_account(a), billing_internal.request_collection(a, pg_temp.invoice(a), '2025-01-10 08:00', policy);
    FOR at IN SELECT generate_series(timestamptz '2025-01-10 08:00', '2025-03-20', '12 hours') LOOP
        IF EXISTS (SELECT FROM billing.claim_collections('w', 100, at => at) x WHERE x.account_id = a) THEN
            days := concat_ws(' ', days, trim_scale(extract(epoch FROM at - '2025-01-10 08:00') / 86400));
            PERFORM pg_temp.settle(a, 'declined', at + '1 minute', code);
        END IF;
    END LOOP;
    RETURN concat_ws(', ', days, pg_temp.stands(a));
END $$;
CREATE FUNCTION pg_temp.written() RETURNS text LANGUAGE sql AS $$
    SELECT md5(concat((SELECT string_agg(c::text, ',' ORDER BY c.id) FROM billing.collection c), (SELECT string_agg(t::text, ',' ORDER BY t.collection_id, t.attempt_no) FROM billing.collection_attempt t),
               (SELECT string_agg(m::text, ',' ORDER BY m.id) FROM billing.payment_method m), (SELECT string_agg(m::text, ',' ORDER BY m.payment_method_id) FROM billing.mandate m),
               (SELECT count(*) FROM billing.key), (SELECT count(*) FROM billing.event), (SELECT count(*) FROM billing.payment), (SELECT count(*) FROM billing.retry_policy),
               (SELECT count(*) FROM billing.decline_code), (SELECT string_agg(a::text, ',' ORDER BY a.account_id) FROM billing.account a))) $$;
CREATE FUNCTION pg_temp.fails(command text, code text, what text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
    before text := pg_temp.written();
BEGIN
    RETURN NEXT throws_ok(command, code::char(5), NULL, what);
    RETURN NEXT is(pg_temp.written(), before, what || ': nothing is written');
END $$;

-- --- Account numbers, and numbers of cards ---------------------------------------------------------------
SELECT ok(billing_internal.is_iban(i), i) FROM unnest('{DE89370400440532013000,GB82WEST12345698765432,NL91ABNA0417164300,FR1420041010050500013M02606,BE68539007547034,NO9386011117947,MT84MALT011000012345MTLCAST001S,BR1800360305000010009795493C1,SA0380000000608010167519,LC55HEMM000100010012001200023015,CH9300762011623852957,PL61109010140000071219812874}'::text[]) i;
SELECT ok(NOT billing_internal.is_iban(i), format('no account number: "%s"', i)) FROM unnest('{DE88370400440532013000,DE8937040044053201300,DE893704004405320130000,XX89370400440532013000,de89370400440532013000,DE8937040044053201300O,GB82WEST1234569876543,"DE89 3704 0044 0532 0130 00","",DE,"NL91ABNA0417164300\n",US64SVBKUS6S3300958879}'::text[]) i;
SELECT is((SELECT count(*) FROM generate_series(2, 98) n WHERE billing_internal.is_iban('DE' || lpad(n::text, 2, '0') || '370400440532013000')), 1::bigint, 'one pair of check digits is right');
SELECT ok(NOT billing_internal.is_iban(overlay('DE89370400440532013000' PLACING d::text FROM p)), format('digit %s at %s', d, p))
  FROM (VALUES (5, 4), (12, 1), (22, 9)) v (p, d);
SELECT ok(billing_internal.holds_card_number(c), format('a card: %s', c)) FROM unnest('{4111111111111111,"4111 1111 1111 1111",4111-1111-1111-1111,"card 5500005555555559!",378282246310005,6304000000000000000,4222222222222,x4111111111111111y}'::text[]) c;
SELECT ok(NOT billing_internal.holds_card_number(c), format('no card: %s', c)) FROM unnest('{4111111111111112,411111111111,tok_1a2b3c,41111111111111111111,"4111 1111 1111","**** 1111","",pm-4111x1111x1111x1111}'::text[]) c;

-- --- Methods and mandates -------------------------------------------------------------------------------
SELECT billing.create_account('Ann') AS ann \gset
SELECT billing.add_payment_method(:ann, 'direct_debit', iban => 'DE89 3704 0044 0532 0130 00') AS debit \gset
SELECT is((SELECT (status, iban)::text FROM billing.payment_method WHERE id = :debit), '(pending,DE89370400440532013000)', 'a direct debit waits for its mandate');
SELECT is((SELECT payment_method_id FROM billing.account WHERE account_id = :ann), :debit::bigint, 'it is the account''s');
SELECT ok(NOT billing_internal.is_usable(:ann, :debit::bigint, '2025-01-01'), 'and not yet usable');
SELECT is(billing.change_payment_method(:debit, mandate_reference => 'M-1', mandate_signed_on => '2025-01-01', mandate_scheme => 'b2b'), :debit::bigint, 'the mandate comes');
SELECT is((SELECT (m.status, d.sequence, d.scheme, d.status)::text FROM billing.payment_method m JOIN billing.mandate d ON d.payment_method_id = m.id WHERE m.id = :debit), '(active,first,b2b,active)', 'then it is active');
SELECT ok(billing_internal.is_usable(:ann, :debit::bigint, '2025-01-01'), 'and usable');
SELECT ok(billing_internal.is_usable(:ann, :debit::bigint, '2028-01-01') AND NOT billing_internal.is_usable(:ann, :debit::bigint, '2028-01-02'), 'for 36 months unless it is used');
SELECT billing.add_payment_method(:ann, 'card', provider => 'psp', token => 't', expires_on => '2025-06-30', make_default => false) AS card \gset
SELECT ok(billing_internal.is_usable(:ann, :card::bigint, '2025-06-30 23:59') AND NOT billing_internal.is_usable(:ann, :card::bigint, '2025-07-01'), 'a card until the day on which it expires');
SELECT billing.change_payment_method(:card, 'dead', effective_at => '2025-02-01') \g /dev/null
SELECT ok(NOT billing_internal.is_usable(:ann, :card::bigint, '2025-02-01'), 'not when it is dead');
SELECT billing.change_payment_method(:card, 'active', '2027-06-30', token => 't2', effective_at => '2025-02-02') \g /dev/null
SELECT ok(billing_internal.is_usable(:ann, :card::bigint, '2026-02-01'), 'again when the provider renews it');
SELECT billing.add_payment_method(:ann, 'transfer', make_default => false) AS transfer \gset
SELECT ok(NOT billing_internal.is_usable(:ann, :transfer, '2025-02-01'), 'nobody collects a transfer');
SELECT is((SELECT array_agg(DISTINCT type) FROM billing.event WHERE account_id = :ann AND type ~ 'payment_method'), '{payment_method.added,payment_method.changed}', 'events tell of it');

-- --- Which method recurs after a first payment ------------------------------------------------------------
SELECT is(billing.recurring_payment_method(billing.record_payment(:ann, 1, 'EUR', payment_method_id => :card, effective_at => '2025-02-03')), :card::bigint, 'a card: the same');
SELECT is((SELECT payment_method_id FROM billing.account WHERE account_id = :ann), :card::bigint, 'which is the account''s then');
SELECT billing.recurring_payment_method(billing.record_payment(:ann, 1, 'EUR', method => 'ideal', effective_at => '2025-02-03'), iban => 'NL91ABNA0417164300', mandate_reference => 'M-2', mandate_signed_on => '2025-02-03') AS second \gset
SELECT is((SELECT (type, iban, status)::text FROM billing.payment_method WHERE id = :second), '(direct_debit,NL91ABNA0417164300,active)', 'a payment that cannot come back: a direct debit on the account it came from');
SELECT is(billing.recurring_payment_method(billing.record_payment(:ann, 1, 'EUR', method => 'sofort', effective_at => '2025-02-04'), iban => 'NL91 ABNA 0417 1643 00'), :second::bigint, 'the same account again: the same direct debit');
SELECT is(billing.recurring_payment_method(billing.record_payment(:ann, 1, 'EUR', method => 'transfer', effective_at => '2025-02-04')), NULL, 'nothing recurs after a transfer');
SELECT pg_temp.fails(format('SELECT billing.recurring_payment_method(%s)', billing.record_payment(:ann, 1, 'EUR', method => 'ideal', effective_at => '2025-02-05')), 'LB503', 'no account number is known');

-- --- When it is time, and for whom ----------------------------------------------------------------------
SELECT pg_temp.debtor() AS d1 \gset
SELECT pg_temp.debtor(with_card => false) AS d2 \gset
SELECT is(pg_temp.run('2025-01-09 23:59'), 0::bigint, 'nothing before the due date');
SELECT is(pg_temp.run('2025-01-10'), 1::bigint, 'what is due, where a method collects it');
SELECT is(pg_temp.run('2025-01-10'), 0::bigint, 'once');
SELECT is((SELECT (invoice_id = pg_temp.invoice(:d1), amount, policy)::text FROM billing.collection), '(t,50.00,"ten days")', 'by the entity''s policy');
SELECT is((SELECT (amount, type, provider, token, attempt_no, attempt_key = collection_id || '-1')::text FROM billing.claim_collections('w', at => '2025-01-10')), format('(50.00,card,psp,tok-%s,1,t)', :d1), 'a worker gets all it needs');
SELECT is(pg_temp.claim('2025-01-10 00:04:59'), 0::bigint, 'nobody else, while its lease lasts');
SELECT is(pg_temp.settle(:d1, 'succeeded', '2025-01-10 00:02', reference => 'p-1'), pg_temp.collection(:d1), 'it came in');
SELECT is((SELECT (p.amount, p.method, p.provider, p.reference, i.status, c.payment_id = p.id, p.reversible_until)::text FROM billing.payment p, billing.collection c, billing.invoice i WHERE p.account_id = :d1 AND c.account_id = :d1 AND i.account_id = :d1),
          '(50.00,card,psp,p-1,paid,t,"2025-05-10 00:02:00+00")', 'as a payment that pays the invoice and may come back');
SELECT is(pg_temp.settle(:d1, 'succeeded', '2025-01-10 00:03', reference => 'p-1'), pg_temp.collection(:d1), 'told again: nothing');
SELECT is((SELECT count(*) FROM billing.payment WHERE account_id = :d1), 1::bigint, 'one payment');
SELECT pg_temp.fails(format('SELECT pg_temp.settle(%s, %L, ''2025-01-10 00:04'', reference => %L)', :d1, o, r), 'LB508', 'then ' || o || ' ' || r)
  FROM (VALUES ('declined', 'p-1'), ('succeeded', 'p-2'), ('submitted', 'p-1')) v (o, r);
-- It comes back: the invoice is open, and no run collects it again.
SELECT billing.charge_back_payment(id, effective_at => '2025-03-01') FROM billing.payment WHERE account_id = :d1 \g /dev/null
SELECT is((SELECT status FROM billing.invoice WHERE account_id = :d1), 'open', 'charged back: open');
SELECT is(pg_temp.run('2025-03-02'), 0::bigint, 'a run does not try the same method again');
SELECT billing.add_payment_method(:d1, 'card', provider => 'psp', token => 'other') \g /dev/null
SELECT is(pg_temp.run('2025-03-02'), 1::bigint, 'but another one');
SELECT billing.cancel_collection(pg_temp.collection(:d1), effective_at => '2025-03-02', reason => 'asked for') \g /dev/null
SELECT is(pg_temp.stands(:d1), 'canceled 0 asked for', 'canceled by hand');
SELECT is(billing.cancel_collection(pg_temp.collection(:d1)), pg_temp.collection(:d1), 'twice is once');
SELECT is(pg_temp.run('2025-03-03'), 0::bigint, 'a run does not ask for it again');
SELECT ok(billing.collect_invoice(pg_temp.invoice(:d1), effective_at => '2025-03-03') > 0, 'a person can');
SELECT is(billing.collect_invoice(pg_temp.invoice(:d1), 'hours', effective_at => '2025-03-03'), pg_temp.collection(:d1), 'it is under way then');
SELECT billing.cancel_collection(pg_temp.collection(:d1), effective_at => '2025-03-03', reason => 'asked for') \g /dev/null
SELECT pg_temp.fails(format('SELECT billing.collect_invoice(%s)', pg_temp.invoice(:d2)), 'LB507', 'without a method');
SELECT pg_temp.fails(format('SELECT billing.collect_invoice(%s, ''?'')', pg_temp.invoice(:d1)), 'LB149', 'an unknown policy');

-- --- Declined: by class -----------------------------------------------------------------------------------
SELECT is(pg_temp.days('ten days'), '0 1 4 7 8 9, failed 6 no attempt is left', 'retries on days 1, 4, 7, 8, 9');
SELECT is(pg_temp.days('hours'), '0 0.5 1, failed 3 no attempt is left', 'delays from the attempt before');
SELECT is(pg_temp.days('network'), '0 1 30 31 60, failed 5 no attempt is left', 'at most two attempts in any 30 days');
SELECT is(pg_temp.days('ten days', '54'), '0, failed 1 another payment method is needed', 'an expired card: another method is needed');
SELECT is((SELECT status FROM billing.payment_method ORDER BY id DESC LIMIT 1), 'dead', 'and it is dead');
SELECT is(pg_temp.days('ten days', '14'), '0, failed 1 another payment method is needed', 'wrong data');
SELECT is(pg_temp.days('ten days', 'R1'), '0, failed 1 refused', 'refused by the customer: stop');
SELECT is(pg_temp.days('ten days', 'what?'), '0 1 4 7 8 9, failed 6 no attempt is left', 'an unknown code is temporary');
SELECT is(pg_temp.days('patient', '51'), '0, failed 1 refused', 'unless the policy says otherwise');
SELECT is(pg_temp.days('patient', 'R1'), '0 1, failed 2 no attempt is left', 'here too');
SELECT is(pg_temp.days('none'), '0, failed 1 no attempt is left', 'without a policy once');
SELECT billing.create_decline_code('psp', '51', 'refused', 'here it means something else') \g /dev/null
SELECT is(pg_temp.days('ten days', '51'), '0, failed 1 refused', 'a provider''s own code goes before the general one');

-- A card that is entered once more is the same card for its network, another one is not.
SELECT pg_temp.debtor('2027-01-10') AS d11 \gset
SELECT billing_internal.lock_account(:d11), billing_internal.request_collection(:d11, pg_temp.invoice(:d11), '2027-01-10', 'network') \g /dev/null
SELECT pg_temp.claim(t), pg_temp.settle(:d11, 'declined', t, '96') FROM generate_series(timestamptz '2027-01-10', '2027-01-11', '1 day') t \g /dev/null
SELECT billing.add_payment_method(:d11, 'card', provider => 'psp', token => 'tok-' || :d11) \g /dev/null
SELECT is((SELECT count(*) FROM billing.claim_collections('w', 100, at => '2027-01-13') x WHERE x.account_id = :d11), 0::bigint, 'the limit counts by card');
SELECT is(pg_temp.stands(:d11), 'waiting 2 02-09 00:00', 'until its window allows');
SELECT billing.add_payment_method(:d11, 'card', provider => 'psp', token => 'another') \g /dev/null
SELECT is((SELECT count(*) FROM billing.claim_collections('w', 100, at => '2027-02-09') x WHERE x.account_id = :d11), 1::bigint, 'another card is not limited by it');
SELECT pg_temp.settle(:d11, 'succeeded', '2027-02-09') \g /dev/null

-- --- Decided later ------------------------------------------------------------------------------------
SELECT billing.create_account('Debit') AS d3 \gset
SELECT billing.record_external_invoice(:d3, 'D-' || n, '2025-01-01', 10 * n, 'EUR', due_on => date '2025-01-09' + n) FROM generate_series(1, 3) n \g /dev/null
SELECT billing.add_payment_method(:d3, 'direct_debit', iban => 'BE68539007547034', mandate_reference => 'M-3', mandate_signed_on => '2024-12-01') AS m3 \gset
CALL billing.collection_run('2025-01-10');
SELECT is((SELECT (sequence, mandate_reference, mandate_signed_on, mandate_scheme)::text FROM billing.claim_collections('w', 5, at => '2025-01-10')), '(first,M-3,2024-12-01,core)', 'the first direct debit of a mandate');
SELECT pg_temp.settle(:d3, 'submitted', '2025-01-10 00:01', reference => 'file-1') \g /dev/null
SELECT is(pg_temp.stands(:d3), 'submitted 1', 'submitted: the bank decides');
SELECT is(pg_temp.claim('2025-01-11'), 0::bigint, 'nobody tries it meanwhile');
SELECT pg_temp.fails(format('SELECT billing.cancel_collection(%s)', pg_temp.collection(:d3)), 'LB508', 'what the bank has cannot be canceled');
SELECT pg_temp.settle(:d3, 'succeeded', '2025-01-15') \g /dev/null
SELECT is((SELECT (c.status, p.reference, p.amount)::text FROM billing.collection c JOIN billing.payment p ON p.id = c.payment_id WHERE c.account_id = :d3), '(succeeded,file-1,10.00)', 'later it came in');
SELECT is((SELECT (sequence, last_used_on, status)::text FROM billing.mandate WHERE payment_method_id = :m3), '(recurring,2025-01-15,active)', 'the next ones are recurring');
CALL billing.collection_run('2025-01-11');
SELECT is((SELECT sequence FROM billing.claim_collections('w', 5, at => '2025-01-15')), 'recurring', 'so says the next claim');
SELECT pg_temp.settle(:d3, 'submitted', '2025-01-15 00:01', reference => 'file-2') \g /dev/null
-- Paid by transfer while the bank has it: customer credit, which the next invoice takes.
SELECT billing.record_payment(:d3, 20, 'EUR', effective_at => '2025-01-16') \g /dev/null
SELECT is(pg_temp.stands(:d3), 'submitted 1', 'paid meanwhile: the bank still has it');
SELECT pg_temp.settle(:d3, 'succeeded', '2025-01-17') \g /dev/null
SELECT is((SELECT array_agg((total, amount_paid)::text ORDER BY id) FROM billing.invoice WHERE account_id = :d3), '{"(10.00,10.00)","(20.00,20.00)","(30.00,20.00)"}', 'what comes in twice pays the next invoice');
SELECT is(pg_temp.run('2028-01-15'), 1::bigint, 'within 36 months of the last use a mandate holds ...');
SELECT billing.cancel_collection(pg_temp.collection(:d3), effective_at => '2028-01-18') \g /dev/null

-- --- Leases ------------------------------------------------------------------------------------------------
SELECT pg_temp.debtor('2029-01-01') AS d4 \gset
SELECT billing_internal.lock_account(:d4), billing_internal.request_collection(:d4, pg_temp.invoice(:d4), '2029-01-01', 'ten days') \g /dev/null
SELECT is(pg_temp.claim('2029-01-01', '10 minutes'), 1::bigint, 'claimed for ten minutes');
SELECT is((SELECT attempt_no FROM billing.claim_collections('w2', at => '2029-01-01 00:10')), 2, 'then free again');
SELECT is((SELECT array_agg(coalesce(outcome, '-') ORDER BY attempt_no) FROM billing.collection_attempt WHERE account_id = :d4), '{lost,-}', 'the first attempt is lost');
SELECT pg_temp.settle(:d4, 'declined', '2029-01-01 00:12', '05') \g /dev/null
SELECT is(pg_temp.stands(:d4), 'waiting 2 01-02 00:00', 'and does not count for the policy');
SELECT pg_temp.fails(format('SELECT pg_temp.settle(%s, ''succeeded'', ''2029-01-01 01:00'')', :d4), 'LB508', 'what was declined does not succeed');

-- What a worker tells after its lease: the provider collects once by the key, which the next worker has too.
CREATE FUNCTION pg_temp.taken_over(OUT account bigint, OUT keys text, OUT numbers text) LANGUAGE plpgsql AS $$
BEGIN
    account := pg_temp.debtor('2029-02-01');
    PERFORM billing_internal.lock_account(account), billing_internal.request_collection(account, pg_temp.invoice(account), '2029-02-01', 'ten days');
    SELECT x.attempt_key, x.attempt_no INTO keys, numbers FROM billing.claim_collections('one', 100, at => '2029-02-01 00:00') x WHERE x.account_id = account;
    PERFORM billing.record_payment(account, 20, 'EUR', effective_at => '2029-02-01 00:01');
    SELECT keys || '=' || x.attempt_key, concat_ws(' ', numbers, x.attempt_no, x.amount) INTO keys, numbers
      FROM billing.claim_collections('two', 100, at => '2029-02-01 00:10') x WHERE x.account_id = account;
    keys := replace(keys, pg_temp.collection(account)::text, 'c');
END $$;
CREATE FUNCTION pg_temp.tells(account bigint, attempt_no int, outcome text, reference text DEFAULT NULL, at timestamptz DEFAULT '2029-02-01 00:12') RETURNS text LANGUAGE sql AS $$
    SELECT billing.settle_collection(pg_temp.collection($1), $3, reference => $4, attempt_no => $2, effective_at => $5);
    SELECT concat_ws(' ', c.status, c.amount, (SELECT string_agg(coalesce(t.outcome, '-'), ',' ORDER BY t.attempt_no) FROM billing.collection_attempt t WHERE t.collection_id = c.id),
                     (SELECT string_agg(concat_ws('/', p.amount, p.reference), ',' ORDER BY p.id) FROM billing.payment p WHERE p.account_id = $1 AND p.provider IS NOT NULL))
      FROM billing.collection c WHERE c.id = pg_temp.collection($1) $$;
SELECT account AS t1, keys, numbers FROM pg_temp.taken_over() \gset
SELECT is(:'keys'::text, 'c-1=c-1', 'the key stays the same after an attempt that was lost');
SELECT is(:'numbers'::text, '1 2 30.00', 'the amount is what is due then');
SELECT is(pg_temp.tells(:t1, 1, o, 'r1'), 'claimed 30.00 lost,-', format('the first worker is late, with %s: the second one has it', o)) FROM unnest('{declined,submitted}'::text[]) o;
SELECT is(pg_temp.tells(:t1, 2, 'declined'), 'waiting 30.00 lost,declined', 'whose word counts');
SELECT is((SELECT attempt_key FROM billing.claim_collections('w', 100, at => '2029-02-02') x WHERE x.account_id = :t1), pg_temp.collection(:t1) || '-2', 'the next request is another one');
SELECT account AS t2 FROM pg_temp.taken_over() \gset
SELECT is(pg_temp.tells(:t2, 1, 'succeeded', 'r2'), 'succeeded 50.00 succeeded,lost 50.00/r2', 'what the first worker collected is recorded as it was then');
SELECT is(pg_temp.tells(:t2, 2, o, r), 'succeeded 50.00 succeeded,lost 50.00/r2', format('the second one: %s', o)) FROM (VALUES ('declined', NULL), ('submitted', 'r2')) v (o, r);
SELECT pg_temp.fails(format('SELECT pg_temp.tells(%s, 2, ''succeeded'')', :t2), 'LB508', 'what it collected without a reference may be the same');
SELECT is(pg_temp.tells(:t2, 2, 'succeeded', 'r3'), 'succeeded 50.00 succeeded,succeeded 50.00/r2,30.00/r3', 'what it collected too is there');
SELECT pg_temp.fails(format('SELECT pg_temp.tells(%s, %s, ''declined'')', :t2, n), 'LB508', format('attempt %s', n)) FROM unnest('{0,3,-1}'::int[]) n;
SELECT account AS t3 FROM pg_temp.taken_over() \gset
SELECT is(pg_temp.tells(:t3, 2, 'submitted', 'r4'), 'submitted 30.00 lost,submitted', 'the second worker submits it');
SELECT is(pg_temp.tells(:t3, 1, 'succeeded', 'r4'), 'succeeded 50.00 succeeded,lost 50.00/r4', 'the first one knows better');
SELECT is(pg_temp.tells(:t3, 1, 'succeeded', 'r4'), 'succeeded 50.00 succeeded,lost 50.00/r4', 'twice is once');
-- Its lease is over, the window is full: nobody has it, and the outcome counts.
SELECT billing.create_retry_policy('once a month', '{1 day}', window_length => '30 days', window_attempts => 1), pg_temp.debtor('2029-03-01') AS t4 \gset
SELECT billing_internal.lock_account(:t4), billing_internal.request_collection(:t4, pg_temp.invoice(:t4), '2029-03-01', 'once a month'), pg_temp.claim('2029-03-01'), pg_temp.claim('2029-03-01 00:10') \g /dev/null
SELECT is(pg_temp.stands(:t4), 'waiting 1 03-31 00:00', 'a lost attempt counts for the window');
SELECT is(pg_temp.tells(:t4, 1, 'submitted', 'r5', '2029-03-01 00:11'), 'submitted 50.00 submitted', 'the bank has it');
SELECT is(pg_temp.tells(:t4, 1, 'declined', NULL, '2029-03-05'), 'waiting 50.00 declined', 'and declines');
-- Canceled while a worker has it, asked for again and submitted: the first worker submits it all the same.
SELECT pg_temp.debtor('2029-05-01') AS t5 \gset
SELECT billing_internal.lock_account(:t5), billing_internal.request_collection(:t5, pg_temp.invoice(:t5), '2029-05-01', 'ten days') AS c5, pg_temp.claim('2029-05-01') \gset
SELECT billing.cancel_collection(:c5, effective_at => '2029-05-01'), billing.collect_invoice(pg_temp.invoice(:t5), effective_at => '2029-05-01'), pg_temp.claim('2029-05-01') \g /dev/null
SELECT is(pg_temp.tells(:t5, 1, 'submitted', 'r6', '2029-05-01'), 'submitted 50.00 submitted', 'the second request is submitted');
SELECT billing.settle_collection(:c5, 'submitted', reference => 'r7', effective_at => '2029-05-01') \g /dev/null
SELECT billing.settle_collection(:c5, 'succeeded', effective_at => '2029-05-02'), billing.settle_collection(pg_temp.collection(:t5), 'succeeded', effective_at => '2029-05-02') \g /dev/null
SELECT is((SELECT array_agg((amount, reference)::text ORDER BY id) FROM billing.payment WHERE account_id = :t5), '{"(50.00,r7)","(50.00,r6)"}', 'both are recorded when they come in');

-- --- What ends it from outside ----------------------------------------------------------------------------
CREATE FUNCTION pg_temp.ended_by(command text, claimed boolean) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    a bigint := pg_temp.debtor('2030-01-01');
BEGIN
    PERFORM billing_internal.lock_account(a), billing_internal.request_collection(a, pg_temp.invoice(a), '2030-01-01', 'ten days');
    PERFORM pg_temp.claim('2030-01-01') WHERE claimed;
    EXECUTE format(command, a, pg_temp.invoice(a));
    RETURN pg_temp.stands(a);
END $$;
SELECT is(pg_temp.ended_by('SELECT billing.record_payment(%s, 50, ''EUR'', effective_at => ''2030-01-01 01:00'')', c), format('canceled %s invoice is paid', c::int), 'paid') FROM unnest('{f,t}'::boolean[]) c;
SELECT pg_temp.fails(format('SELECT billing.collect_invoice(%s)', max(invoice_id)), 'LB403', 'a paid invoice') FROM billing.collection WHERE failure = 'invoice is paid';
SELECT is(pg_temp.ended_by('SELECT billing.record_payment(%s, 49, ''EUR'', effective_at => ''2030-01-01 01:00'')', false), 'waiting 0 01-01 00:00', 'not when it is paid in part');
SELECT is((SELECT count(*) FROM billing.claim_collections('w', 100, at => '2030-01-01 02:00') x WHERE x.account_id = pg_temp.newest()), 1::bigint, 'which is claimed');
SELECT is((SELECT amount FROM billing.collection ORDER BY id DESC LIMIT 1), 1.00, 'with what is due then');
SELECT is(pg_temp.ended_by('SELECT billing.credit_invoice(%2$s, effective_at => ''2030-01-01 01:00'')', false), 'canceled 0 invoice is paid', 'credited');
SELECT is(pg_temp.ended_by('SELECT billing.write_off_invoice(%2$s, effective_at => ''2030-01-01 01:00'')', true), 'canceled 1 invoice is uncollectible', 'written off');
SELECT is(pg_temp.ended_by('SELECT billing.change_payment_method(a.payment_method_id, ''revoked'') FROM billing.account a WHERE a.account_id = %s', false), 'waiting 0 01-01 00:00', 'a method that was revoked');
SELECT is((SELECT count(*) FROM billing.claim_collections('w', 100, at => '2030-01-01 03:00') x WHERE x.account_id = pg_temp.newest()), 0::bigint, 'is not used');
SELECT is((SELECT concat_ws(' ', status, failure) FROM billing.collection ORDER BY id DESC LIMIT 1), 'failed payment method cannot be used', 'and its collection fails');
SELECT is(pg_temp.ended_by('SELECT billing.add_payment_method(%s, ''card'', provider => ''psp'', token => ''new'')', false), 'waiting 0 01-01 00:00', 'another method');
SELECT is((SELECT token FROM billing.claim_collections('w', 100, at => '2030-01-01 04:00') x WHERE x.account_id = pg_temp.newest()), 'new', 'takes over what waits');
-- Paid by another's money, which is set right: it is asked for as if it had not been.
SELECT pg_temp.debtor('2030-01-02') AS d10 \gset
CALL billing.collection_run('2030-01-03');
SELECT billing.record_payment(:d10, 50, 'EUR', effective_at => '2030-01-03') AS p10 \gset
SELECT billing.deallocate_payment(:p10, pg_temp.invoice(:d10), effective_at => '2030-01-04') \g /dev/null
CALL billing.collection_run('2030-01-04');
SELECT is((SELECT array_agg(status ORDER BY id) FROM billing.collection WHERE account_id = :d10), '{canceled,waiting}', 'what was paid before it was tried is asked for when it is open again');
SELECT billing.cancel_collection(pg_temp.collection(:d10), effective_at => '2030-01-04', reason => 'no') \g /dev/null
CALL billing.collection_run('2030-01-05');
SELECT is((SELECT count(*) FROM billing.collection WHERE account_id = :d10), 2::bigint, 'unless a person canceled it');
-- Paid while a worker has it, and the worker collects all the same.
SELECT pg_temp.debtor('2030-01-01') AS d5 \gset
SELECT billing_internal.lock_account(:d5), billing_internal.request_collection(:d5, pg_temp.invoice(:d5), '2030-01-05', 'ten days') \g /dev/null
SELECT pg_temp.claim('2030-01-05'), billing.record_payment(:d5, 50, 'EUR', effective_at => '2030-01-05 00:01') \g /dev/null
SELECT pg_temp.settle(:d5, 'succeeded', '2030-01-05 00:02', reference => 'late') \g /dev/null
SELECT is((SELECT (c.status, p.amount, p.amount_allocated)::text FROM billing.collection c JOIN billing.payment p ON p.id = c.payment_id WHERE c.account_id = :d5), '(succeeded,50.00,0)', 'its money is credit');
SELECT is((SELECT array_agg(type ORDER BY event_no) FROM billing.event WHERE account_id = :d5 AND type ~ 'collection'), '{collection.requested,collection.canceled,collection.succeeded}', 'events tell of it');
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

-- --- What pays a reminder, mandates that lapse, sellers apart -------------------------------------------------
SELECT billing.create_tax('vat', entity => 'acme', category => 'S', rate => 25), billing.create_price('seat', currency => 'EUR', every => '1 month', tax => 'vat', timing => 'advance', scheme => '{"model":"flat","flat_amount":80}'),
       billing.create_plan('team', items => '[{"price":"seat"}]'), billing.create_dunning_scheme('soft', '[{"after":"1 day","actions":["event"]}]') \g /dev/null
-- Of a whole account: who pays a reminder with the account's method stays free to change it there, who pays in time changes nothing.
SELECT billing.create_dunning_scheme('all', '[{"after":"1 day","actions":["event"]}]', scope => 'account'), billing.create_account('Both') AS d9 \gset
SELECT billing.create_subscription(:d9, 'team', start_at => '2030-10-01') AS s9, billing.add_payment_method(:d9, 'card', provider => 'psp', token => 'a') AS m10,
       billing.add_payment_method(:d9, 'card', provider => 'psp', token => 'b', make_default => false) AS m11, billing.assign_dunning_scheme('all', account_id => :d9) \gset
SELECT billing.bill_account(:d9, '2030-10-01') \g /dev/null
CALL billing.dunning_run('2030-10-17');
SELECT billing.record_payment(:d9, 100, 'EUR', payment_method_id => :m10, effective_at => '2030-10-18') \g /dev/null
SELECT is((SELECT (c.state, c.step_no, s.payment_method_id)::text FROM billing.dunning_case c, billing.subscription s WHERE c.account_id = :d9 AND s.id = :s9), '(succeeded,1,)', 'paid with the account''s method: still the account''s');
SELECT billing.bill_account(:d9, '2030-11-01') \g /dev/null
SELECT billing.record_payment(:d9, 50, 'EUR', payment_method_id => :m11, effective_at => '2030-11-10') \g /dev/null
SELECT is((SELECT payment_method_id FROM billing.subscription WHERE id = :s9), NULL, 'another one paid in time, after an old reminder: no change');
CALL billing.dunning_run('2030-11-17');
SELECT billing.record_payment(:d9, 50, 'EUR', payment_method_id => :m11, effective_at => '2030-11-18') \g /dev/null
SELECT is((SELECT payment_method_id FROM billing.subscription WHERE id = :s9), :m11::bigint, 'what pays the new reminder becomes the subscription''s');
SELECT billing.create_account('Late') AS d6 \gset
SELECT billing.create_subscription(:d6, 'team', start_at => '2031-01-01') AS s6, billing.add_payment_method(:d6, 'card', provider => 'psp', token => 'a') AS m6,
       billing.add_payment_method(:d6, 'card', provider => 'psp', token => 'b', make_default => false) AS m7 \gset
SELECT billing.assign_dunning_scheme('soft', account_id => :d6), billing.bill_account(:d6, '2031-01-01') AS first \gset
SELECT billing.record_payment(:d6, 50, 'EUR', payment_method_id => :m7, effective_at => '2031-01-10') \g /dev/null
SELECT is((SELECT payment_method_id FROM billing.subscription WHERE id = :s6), NULL, 'who pays in time changes nothing');
CALL billing.dunning_run('2031-01-17');
SELECT is((SELECT step_no FROM billing.dunning_case WHERE account_id = :d6), 1, 'a reminder');
SELECT billing.record_payment(:d6, 50, 'EUR', payment_method_id => :m7, effective_at => '2031-01-18') \g /dev/null
SELECT is((SELECT payment_method_id FROM billing.subscription WHERE id = :s6), :m7::bigint, 'what pays a reminder becomes the subscription''s');
SELECT billing.bill_account(:d6, '2031-02-01') AS second \gset
SELECT is(billing_internal.collection_method(:d6, :second), :m7::bigint, 'and collects its next invoice');
SELECT billing.create_account('Old') AS d7 \gset
SELECT billing.add_payment_method(:d7, 'direct_debit', iban => 'BE68539007547034', mandate_reference => 'M-7', mandate_signed_on => '2028-02-29') AS m8 \gset
SELECT billing.record_external_invoice(:d7, 'O-1', '2031-02-01', 10, 'EUR', due_on => '2031-02-28') \g /dev/null
SELECT ok(billing_internal.is_usable(:d7, :m8, '2031-02-28'), 'a mandate of 29 February holds until 28 February');
CALL billing.collection_run('2031-03-01');
SELECT is((SELECT count(*) FROM billing.collection WHERE account_id = :d7), 0::bigint, 'and collects nothing afterwards');
SELECT is((SELECT (m.status, d.status)::text FROM billing.payment_method m JOIN billing.mandate d ON d.payment_method_id = m.id WHERE m.id = :m8), '(expired,expired)', 'which the run notes');
SELECT is((SELECT payload->>'status' FROM billing.event WHERE account_id = :d7 ORDER BY event_no DESC LIMIT 1), 'expired', 'and tells');
SELECT billing.create_entity('other', name => 'Other', country => 'NL', currency => 'EUR', time_zone => 'UTC') \g /dev/null
SELECT billing.create_account('Theirs', entity => 'other') AS d8 \gset
SELECT billing.add_payment_method(:d8, 'direct_debit', iban => 'BE68539007547034', mandate_reference => 'M-7', mandate_signed_on => '2031-01-01') AS m9 \gset
SELECT ok(:m9 > 0, 'another seller has references of its own');
SELECT billing.record_external_invoice(:d8, 'O-1', '2031-03-01', 10, 'EUR', due_on => '2031-03-01') \g /dev/null
SELECT is(pg_temp.run('2031-03-01', entity => 'other'), 1::bigint, 'a run for one seller');
SELECT is((SELECT count(*) FROM billing.claim_collections('w', 100, at => '2031-03-01', entity => 'acme') x WHERE x.account_id = :d8), 0::bigint, 'workers of one seller');
SELECT is((SELECT array_agg(x.account_id) FROM billing.claim_collections('w', 100, at => '2031-03-01', entity => 'other') x), ARRAY[:d8]::bigint[], 'get what is theirs');
CREATE ROLE billing_test_worker;
SELECT billing.grant_access('billing_test_worker', 'operator', 'other') \g /dev/null
SET LOCAL ROLE billing_test_worker;
SELECT throws_ok($$SELECT billing.claim_collections('w', at => '2031-03-01')$$, '42501', NULL, 'who may see one seller only must name it');
SELECT lives_ok($$SELECT billing.claim_collections('w', at => '2031-03-01', entity => 'other')$$, 'and may then');
RESET ROLE;
SELECT throws_ok(format('SET LOCAL ROLE billing_test_worker; SELECT billing.settle_collection(%s, ''declined'')', pg_temp.collection(:d5)), '42501', NULL, 'nobody settles another seller''s');
RESET ROLE;
SELECT is_empty('SELECT * FROM billing.check(deep => true)', 'the books are sound');

-- Nobody is debited who disputes, promised a day, pays in parts, or owes it to an agency by now; afterwards it goes on.
SELECT billing.create_dunning_scheme('away', '[{"after":"1 day","actions":["event"]},{"after":"30 days","actions":["agency"],"agency":"inkasso"}]') \g /dev/null
CREATE FUNCTION pg_temp.left_alone(command text, again text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    seller CONSTANT text := billing.create_entity(format('seller %s', (SELECT count(*) FROM billing.entity)), name => 'Alone', country => 'DE', currency => 'EUR', time_zone => 'UTC');
    a CONSTANT bigint := billing.create_account('Alone', entity => seller);
    i CONSTANT bigint := billing.record_external_invoice(a, 'alone/' || a, '2030-12-01', 50, 'EUR', due_on => '2030-12-10');
    c bigint;
    result text;
BEGIN
    PERFORM billing.add_payment_method(a, 'card', provider => 'psp', token => 't'), billing.assign_dunning_scheme('away', account_id => a);
    CALL billing.dunning_run('2030-12-12 12:00');
    SELECT id INTO c FROM billing.dunning_case WHERE invoice_id = i;
    PERFORM billing.collect_invoice(i, 'ten days', effective_at => '2030-12-12');
    EXECUTE format(command, c, a, i);
    -- The other one is due later, and is claimed in its place.
    PERFORM billing.record_external_invoice(a, 'other/' || a, '2030-12-01', 7, 'EUR', due_on => '2030-12-10');
    PERFORM billing.collect_invoice(max(x.id), effective_at => '2030-12-12 01:00') FROM billing.invoice x WHERE x.account_id = a;
    SELECT string_agg(x.amount::text, ' ') INTO result FROM billing.claim_collections('w', 1, at => '2031-01-12 13:00', entity => seller) x;
    BEGIN
        PERFORM billing.cancel_collection(x.id, effective_at => '2031-01-12') FROM billing.collection x WHERE x.invoice_id = i;
        PERFORM billing.collect_invoice(i, effective_at => '2031-01-12');
        RAISE 'collected';
    EXCEPTION WHEN SQLSTATE 'LB506' OR raise_exception THEN
        result := concat_ws(', ', result, regexp_replace(SQLERRM, '^.* is (.*) and .*$', '\1'));
    END;
    EXECUTE format(again, c, a, i);
    RETURN concat_ws(', ', result, (SELECT string_agg(x.amount::text, ' ') FROM billing.claim_collections('w', 2, at => '2031-01-13 13:00', entity => seller) x));
END $$;
SELECT is(pg_temp.left_alone(d.command, d.again), d.expected, d.what)
  FROM (VALUES ('SELECT billing.pause_case(%s, ''dispute'', effective_at => ''2030-12-12'')', 'SELECT billing.resume_case(%s, effective_at => ''2031-01-13'')', '7.00, paused (dispute), 7.00 50.00', 'a dispute'),
               ('SELECT billing.promise_payment(%s, 50, ''2031-02-01'', effective_at => ''2030-12-12'')', 'SELECT billing.resume_case(%s, effective_at => ''2031-01-13'')', '7.00, paused (promise), 7.00 50.00', 'a promise'),
               ('SELECT billing.arrange_payments(%2$s, ARRAY[%3$s], 5, ''month'', start_on => ''2031-02-01'', effective_at => ''2030-12-12'')', 'SELECT billing.terminate_arrangement(id, effective_at => ''2031-01-13'') FROM billing.arrangement WHERE account_id = %2$s', '7.00, paid in parts, 7.00 50.00', 'parts'),
               ('CALL billing.dunning_run(''2031-01-12 12:00'')', 'SELECT 1', '7.00, with an agency, 7.00', 'an agency'),
               ('SELECT billing.pause_case(%s, ''direct_debit'', effective_at => ''2030-12-12'')', 'SELECT 1', '50.00, collected, 50.00 7.00', 'not while a direct debit is on its way')) d (command, again, expected, what);

-- --- Refused ----------------------------------------------------------------------------------------------
SELECT pg_temp.fails(format('SELECT billing.%s', d.call), d.code, d.what)
  FROM (VALUES (format('add_payment_method(%s, ''card'')', :ann), 'LB208', 'a card without a token'),
               (format('add_payment_method(%s, ''card'', token => ''4111111111111111'')', :ann), 'LB208', 'a number of a card'),
               (format('add_payment_method(%s, ''card'', token => ''t'', display => ''4111 1111 1111 1111'')', :ann), 'LB208', 'one to be shown'),
               (format('add_payment_method(%s, ''card'', token => ''t'', metadata => ''{"pan":"4111-1111-1111-1111"}'')', :ann), 'LB208', 'one in metadata'),
               (format('add_payment_method(%s, ''gold'')', :ann), 'LB141', 'an unknown type'),
               (format('add_payment_method(%s, ''direct_debit'')', :ann), 'LB208', 'a direct debit on nothing'),
               (format('add_payment_method(%s, ''direct_debit'', iban => ''DE00'')', :ann), 'LB503', 'no account number'),
               (format('add_payment_method(%s, ''direct_debit'', iban => ''DE89370400440532013000'', mandate_reference => ''M-9'')', :ann), 'LB208', 'a mandate that was not signed'),
               (format('add_payment_method(%s, ''direct_debit'', iban => ''DE89370400440532013000'', mandate_reference => ''M-9'', mandate_signed_on => ''5874897-12-31'')', :ann), '22008', 'a mandate signed beyond all dates'),
               (format('add_payment_method(%s, ''direct_debit'', iban => ''DE89370400440532013000'', mandate_reference => ''M-9'', mandate_signed_on => ''infinity'')', :ann), '22008', 'one signed never'),
               (format('add_payment_method(%s, ''direct_debit'', iban => ''DE89370400440532013000'', mandate_reference => ''M-1'', mandate_signed_on => ''2025-01-01'')', :ann), '23505', 'a reference of another mandate'),
               (format('add_payment_method(%s, ''card'', token => ''t'', mandate_reference => ''M-9'', mandate_signed_on => ''2025-01-01'')', :ann), 'LB208', 'a mandate for a card'),
               ('add_payment_method(99999, ''cash'')', 'LB108', 'an unknown account'),
               (format('change_payment_method(%s, ''pending'')', :card), 'LB507', 'back to pending'),
               (format('change_payment_method(%s, ''gone'')', :card), 'LB208', 'an unknown status'),
               (format('change_payment_method(%s, ''dead'')', :card + 1000), 'LB141', 'an unknown method'),
               (format('set_payment_method(%s, %s)', :d1, :card), 'LB141', 'a method of another account'),
               (format('set_payment_method(%s, %s, 1)', :ann, :card), 'LB109', 'an unknown subscription'),
               ('claim_collections('''')', 'LB208', 'a worker without a name'),
               ('claim_collections(''w'', 0)', 'LB208', 'no collections'),
               ('claim_collections(''w'', lease => ''0'')', 'LB208', 'no lease'),
               ('claim_collections(''w'', lease => ''-1 day'')', 'LB208', 'a negative lease'),
               ('claim_collections(''w'', at => ''infinity'')', '22008', 'an infinite instant'),
               (format('settle_collection(%s, ''won'')', pg_temp.collection(:d1)), 'LB208', 'an unknown outcome'),
               (format('settle_collection(%s, ''declined'')', pg_temp.collection(:d1)), 'LB508', 'what was never claimed'),
               ('settle_collection(5, ''declined'')', 'LB142', 'an unknown collection'),
               (format('cancel_collection(%s)', pg_temp.collection(:d5)), 'LB508', 'what came in'),
               ('create_retry_policy(''x'', ''{2 days,1 day}'')', 'LB208', 'delays that go back'),
               ('create_retry_policy(''x'', ''{-1 day}'')', 'LB208', 'a negative delay'),
               ('create_retry_policy(''x'', ARRAY[NULL::interval])', 'LB208', 'no delay'),
               ('create_retry_policy(''x'', ''{1 day}'', window_attempts => 3)', 'LB208', 'a window without a length'),
               ('create_retry_policy(''x'', ''{1 day}'', actions => ''{"lost":"retry"}'')', 'LB208', 'an unknown class'),
               ('create_retry_policy(''x'', ''{1 day}'', actions => ''{"dead":"cry"}'')', 'LB208', 'an unknown action'),
               ('create_retry_policy(''x'', ''{1 day}'', ''last'')', 'LB208', 'an unknown beginning'),
               ('create_retry_policy(''hours'', ''{1 day}'')', '23505', 'a policy again'),
               ('create_decline_code(''psp'', ''99'', ''odd'', ''x'')', 'LB208', 'an unknown class of decline')) d (call, code, what);

-- --- check() sees it ----------------------------------------------------------------------------------------
CREATE FUNCTION pg_temp.finds(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
BEGIN
    BEGIN
        EXECUTE command;
        SELECT string_agg(DISTINCT c.finding, ', ' ORDER BY c.finding) INTO result FROM billing.check() c;
        RAISE EXCEPTION SQLSTATE 'TT000';
    EXCEPTION WHEN SQLSTATE 'TT000' THEN
        RETURN result;
    END;
END $$;
SELECT is(pg_temp.finds(d.command), d.finding, d.finding)
  FROM (VALUES ('UPDATE billing.collection SET attempts = attempts + 1', 'wrong attempts'),
               ('UPDATE billing.collection SET payment_id = NULL', 'collection without payment'),
               (format('UPDATE billing.collection SET status = ''waiting'', failure = NULL WHERE id = (SELECT min(id) FROM billing.collection WHERE failure = ''invoice is paid'' AND attempts = 0)'), 'collection of what is not open'),
               ('DELETE FROM billing.key WHERE kind = ''mandate''', 'row without key'),
               ('UPDATE billing.key SET id = id + 1 WHERE kind = ''mandate''', 'key without row, row without key'),
               ('UPDATE billing.payment_method SET iban = ''DE88370400440532013000'' WHERE iban IS NOT NULL', 'wrong account number'),
               ('UPDATE billing.account SET payment_method_id = 7', 'unknown payment method')) d (command, finding);

SELECT * FROM finish();
ROLLBACK;
