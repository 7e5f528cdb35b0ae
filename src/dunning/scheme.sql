-- Schemes of steps and rates of interest.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing.create_interest_rate(code text, rate numeric, valid_from date) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_interest_rate(text, numeric, date) IS
    'enters a rate of interest on arrears, in percent a year, that holds from a day until the next one; returns its code';
CREATE FUNCTION billing_internal.create_interest_rate(code text, rate numeric, valid_from date) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF code = '' OR NOT isfinite(valid_from) OR NOT (rate >= 0 AND rate <= 1000) THEN
        PERFORM billing_internal.fail('invalid_argument', format('rate of interest "%s" is %s from %s', code, rate, valid_from),
                                      'It has a code, lies between 0 and 1000 percent a year and begins on a day.');
    END IF;
    INSERT INTO billing.interest_rate (code, valid_from, rate) VALUES (code, valid_from, rate) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unique_violation', format('rate of interest "%s" from %s already exists', code, valid_from));
    END IF;
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.create_interest_rate(text, numeric, date) IS 'body of billing.create_interest_rate';

CREATE FUNCTION billing.create_dunning_scheme(code text, steps jsonb, name text DEFAULT NULL, scope text DEFAULT NULL, currency text DEFAULT NULL,
    threshold numeric DEFAULT NULL, interest text DEFAULT NULL, fixed_sum numeric DEFAULT NULL, claim_tax text DEFAULT NULL, retry_policy text DEFAULT NULL,
    step_cap int DEFAULT NULL, rounds_restart boolean DEFAULT NULL, final_invoice text DEFAULT NULL)
    RETURNS int LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_dunning_scheme(text, jsonb, text, text, text, numeric, text, numeric, text, text, int, boolean, text) IS
    'creates a dunning scheme, or its next version, which cases have that open from then on; steps: an array of objects with after, counted_from, weekdays, not_before, not_after, actions, channels, template, fee, minimum_due, agency; returns the version';

CREATE FUNCTION billing_internal.bad_scheme(step_no bigint, problem text) RETURNS void
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.fail('invalid_dunning_scheme', 'the dunning scheme is not valid', format('Step %s %s.', step_no, problem))
$$;
COMMENT ON FUNCTION billing_internal.bad_scheme(bigint, text) IS 'raises invalid_dunning_scheme';

-- The steps as rows; what is no interval, time, list or number, or an unknown key, is refused.
CREATE FUNCTION billing_internal.dunning_steps(steps jsonb, OUT step_no bigint, OUT after interval, OUT counted_from text, OUT weekdays int[], OUT not_before time,
    OUT not_after time, OUT actions text[], OUT channels text[], OUT template text, OUT fee numeric, OUT minimum_due numeric, OUT agency text)
    RETURNS SETOF record LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    step jsonb;
    stray text;
BEGIN
    IF jsonb_typeof(steps) <> 'array' OR jsonb_array_length(CASE WHEN jsonb_typeof(steps) = 'array' THEN steps ELSE '[]' END) = 0 THEN
        PERFORM billing_internal.fail('invalid_dunning_scheme', 'a dunning scheme has at least one step', 'steps is not an array with an object for each step.');
    END IF;
    FOR step, step_no IN SELECT e.value, e.ordinality FROM jsonb_array_elements(steps) WITH ORDINALITY e LOOP
        IF jsonb_typeof(step) <> 'object' THEN
            PERFORM billing_internal.bad_scheme(step_no, 'is not an object');
        END IF;
        SELECT k INTO stray FROM jsonb_object_keys(step) k
         WHERE k <> ALL ('{after,counted_from,weekdays,not_before,not_after,actions,channels,template,fee,minimum_due,agency}'::text[]) LIMIT 1;
        IF stray IS NOT NULL THEN
            PERFORM billing_internal.bad_scheme(step_no, format('has the unknown key "%s"', stray));
        END IF;
        IF step->>'after' ~ '^[-+ 0-9.]+$' THEN
            PERFORM billing_internal.bad_scheme(step_no, format('has an after without a unit: %s', step->>'after'));
        END IF;
        BEGIN
            after := (step->>'after')::interval;
            counted_from := coalesce(step->>'counted_from', 'due');
            weekdays := coalesce(billing_internal.json_array(step->'weekdays')::int[], '{1,2,3,4,5,6,7}');
            not_before := coalesce(step->>'not_before', '00:00')::time;
            not_after := coalesce(step->>'not_after', '24:00')::time;
            actions := billing_internal.json_array(step->'actions');
            channels := coalesce(billing_internal.json_array(step->'channels'), '{mail}');
            template := step->>'template';
            fee := (step->>'fee')::numeric;
            minimum_due := (step->>'minimum_due')::numeric;
            agency := step->>'agency';
        EXCEPTION WHEN data_exception THEN
            PERFORM billing_internal.bad_scheme(step_no, format('cannot be read: %s', SQLERRM));
        END;
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.dunning_steps(jsonb) IS 'the steps of a dunning scheme as rows';

-- What a step says of itself.
CREATE FUNCTION billing_internal.check_dunning_step(s record, scope text, currency text, claims boolean) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    problem CONSTANT text := CASE
        WHEN s.after IS NULL OR s.after NOT BETWEEN '-10 years' AND '10 years' THEN 'has no after, or one beyond ten years'
        WHEN s.counted_from NOT IN ('due', 'previous') THEN 'counts neither from due nor from previous'
        WHEN s.after < '0' AND (s.counted_from <> 'due' OR scope = 'account') THEN 'lies before what it counts from'
        WHEN cardinality(s.weekdays) = 0 OR array_position(s.weekdays, NULL) IS NOT NULL OR NOT s.weekdays <@ '{1,2,3,4,5,6,7}' THEN 'has weekdays that are not 1 (Monday) to 7'
        WHEN s.not_before >= s.not_after THEN 'has a window of time that ends before it begins'
        WHEN s.actions IS NULL OR cardinality(s.actions) = 0 OR array_position(s.actions, NULL) IS NOT NULL
             OR NOT s.actions <@ '{remind,retry_collection,fee,interest,suspend,stop,cancel,agency,write_off,event}'
             OR cardinality(s.actions) > (SELECT count(DISTINCT a) FROM unnest(s.actions) a) THEN 'has no actions, or others than known ones once each'
        WHEN cardinality(s.channels) = 0 OR array_position(s.channels, NULL) IS NOT NULL OR NOT s.channels <@ '{mail,sms,letter}' THEN 'has channels other than mail, sms and letter'
        WHEN ('remind' = ANY (s.actions)) <> (coalesce(s.template, '') <> '') THEN 'has either remind or a template, but not both'
        WHEN ('agency' = ANY (s.actions)) <> (coalesce(s.agency, '') <> '') THEN 'has either the action agency or the name of one, but not both'
        WHEN ('fee' = ANY (s.actions)) <> (s.fee IS NOT NULL) THEN 'has either the action fee or an amount, but not both'
        WHEN 'interest' = ANY (s.actions) AND NOT claims THEN 'charges interest, but the scheme has neither a rate nor a fixed sum'
        WHEN num_nonnulls(s.fee, s.minimum_due) > 0 AND currency IS NULL THEN 'has an amount, but the scheme has no currency'
        WHEN s.after < '0' AND s.actions && '{fee,interest,stop,cancel,suspend,agency,write_off}' THEN 'punishes before the due date'
        WHEN s.actions @> '{agency,write_off}' THEN 'hands over what it writes off'
        WHEN 'remind' = ANY (s.actions)
             AND NOT EXISTS (SELECT FROM billing.template t WHERE t.code = s.template AND t.channel = ANY (s.channels))
             THEN format('has template "%s", which does not exist for its channels', s.template)
        END;
BEGIN
    IF problem IS NOT NULL THEN
        PERFORM billing_internal.bad_scheme(s.step_no, problem);
    END IF;
    IF currency IS NOT NULL THEN
        PERFORM billing_internal.check_amount(s.fee, currency, 'fee'), billing_internal.check_amount(nullif(s.minimum_due, 0), currency, 'minimum_due');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_dunning_step(record, text, text, boolean) IS 'refuses a step that contradicts itself or its scheme';

-- Steps before the due date first; those that count from it in rising order.
CREATE FUNCTION billing_internal.check_dunning_steps(steps jsonb, scope text, currency text, claims boolean) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s record;
    last_due interval;
    last_after interval;
    over boolean := false;
BEGIN
    FOR s IN SELECT * FROM billing_internal.dunning_steps(steps) LOOP
        PERFORM billing_internal.check_dunning_step(s, scope, currency, claims);
        IF over THEN
            PERFORM billing_internal.bad_scheme(s.step_no, 'follows one that hands over or writes off');
        ELSIF s.counted_from = 'due' AND s.after <= last_due OR s.after < '0' AND last_after >= '0' THEN
            PERFORM billing_internal.bad_scheme(s.step_no, 'comes before the one that it follows');
        END IF;
        last_due := CASE WHEN s.counted_from = 'due' THEN s.after ELSE last_due END;
        last_after := s.after;
        over := 'write_off' = ANY (s.actions);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.check_dunning_steps(jsonb, text, text, boolean) IS 'refuses steps that contradict themselves or each other';

CREATE FUNCTION billing_internal.create_dunning_scheme(code text, steps jsonb, name text, scope text, currency text, threshold numeric, interest text,
    fixed_sum numeric, claim_tax text, retry_policy text, step_cap int, rounds_restart boolean, final_invoice text)
    RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    v int;
BEGIN
    PERFORM billing_internal.check_one_of(scope, 'scope', 'invoice', 'account'),
            billing_internal.check_one_of(final_invoice, 'end of the invoice', 'keep', 'write_off');
    IF code = '' THEN
        PERFORM billing_internal.fail('invalid_argument', 'a dunning scheme has a code');
    ELSIF num_nonnulls(threshold, fixed_sum) > 0 AND currency IS NULL THEN
        PERFORM billing_internal.fail('invalid_dunning_scheme', 'amounts of a dunning scheme have a currency', 'threshold or fixed_sum is given, currency is not.');
    ELSIF interest IS NOT NULL AND NOT EXISTS (SELECT FROM billing.interest_rate r WHERE r.code = create_dunning_scheme.interest) THEN
        PERFORM billing_internal.fail('unknown_retry_policy', format('rate of interest "%s" does not exist', interest));
    ELSIF retry_policy IS NOT NULL AND NOT EXISTS (SELECT FROM billing.retry_policy p WHERE p.code = create_dunning_scheme.retry_policy) THEN
        PERFORM billing_internal.fail('unknown_retry_policy', format('retry policy "%s" does not exist', retry_policy));
    ELSIF claim_tax IS NOT NULL AND NOT EXISTS (SELECT FROM billing.tax_rate t WHERE t.tax = create_dunning_scheme.claim_tax) THEN
        PERFORM billing_internal.fail('no_tax_rate', format('tax "%s" does not exist', claim_tax));
    ELSIF step_cap < 1 THEN
        PERFORM billing_internal.fail('invalid_argument', format('step_cap is %s', step_cap), 'It is positive.');
    END IF;
    IF currency IS NOT NULL THEN
        PERFORM billing_internal.check_amount(nullif(threshold, 0), currency, 'threshold'), billing_internal.check_amount(fixed_sum, currency, 'fixed_sum');
    END IF;
    PERFORM billing_internal.check_dunning_steps(steps, coalesce(scope, 'invoice'), currency, num_nonnulls(interest, fixed_sum) > 0);
    -- Two sessions that make the next version meet at its key.
    SELECT coalesce(max(s.version), 0) + 1 INTO v FROM billing.dunning_scheme s WHERE s.code = create_dunning_scheme.code;
    INSERT INTO billing.dunning_scheme (code, version, name, scope, currency, threshold, interest, fixed_sum, claim_tax, retry_policy, step_cap,
        rounds_restart, final_invoice, created_at)
    VALUES (code, v, coalesce(name, code), coalesce(scope, 'invoice'), currency, billing.round_amount(threshold, currency), interest,
        billing.round_amount(fixed_sum, currency), claim_tax, retry_policy, step_cap,
        coalesce(rounds_restart, scope = 'account', false), coalesce(final_invoice, 'keep'), now());
    INSERT INTO billing.dunning_step (scheme, version, step_no, after, counted_from, weekdays, not_before, not_after, actions, channels, template, fee, minimum_due, agency)
    SELECT code, v, s.step_no, s.after, s.counted_from, s.weekdays, s.not_before, s.not_after, s.actions, s.channels, s.template,
           billing.round_amount(s.fee, currency), billing.round_amount(s.minimum_due, currency), s.agency FROM billing_internal.dunning_steps(steps) s;
    RETURN v;
END $$;
COMMENT ON FUNCTION billing_internal.create_dunning_scheme(text, jsonb, text, text, text, numeric, text, numeric, text, text, int, boolean, text) IS
    'body of billing.create_dunning_scheme';

-- What is assigned to an account or a seller: amounts in the account's currency, and a text for each reminder.
CREATE FUNCTION billing_internal.check_scheme_fits(scheme text, entity text, account_id bigint) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    a CONSTANT billing.account := (SELECT x FROM billing.account x WHERE x.account_id = check_scheme_fits.account_id);
    m billing.dunning_scheme;
    bare record;
BEGIN
    IF coalesce(scheme, '') = '' THEN RETURN; END IF;
    SELECT * INTO m FROM billing.dunning_scheme s WHERE s.code = scheme ORDER BY s.version DESC LIMIT 1;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_dunning_scheme', format('dunning scheme "%s" does not exist', scheme));
    ELSIF m.currency <> a.currency THEN
        PERFORM billing_internal.fail('currency_mismatch', format('account %s has the currency %s, dunning scheme "%s" %s', account_id, a.currency, scheme, m.currency));
    END IF;
    SELECT s.step_no, s.template INTO bare FROM billing.dunning_step s
     WHERE s.scheme = m.code AND s.version = m.version AND s.template IS NOT NULL
       AND NOT EXISTS (SELECT FROM billing.template t WHERE t.entity = coalesce(a.entity, check_scheme_fits.entity) AND t.code = s.template AND t.channel = ANY (s.channels)) LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('unknown_template', format('entity "%s" has no template "%s" for a channel of step %s of dunning scheme "%s"',
                                                                 coalesce(a.entity, entity), bare.template, bare.step_no, scheme));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_scheme_fits(text, text, bigint) IS 'refuses a dunning scheme that is not there, has another currency than an account, or reminds by texts that the seller does not have';

CREATE FUNCTION billing.assign_dunning_scheme(scheme text, entity text DEFAULT NULL, account_id bigint DEFAULT NULL, subscription_id bigint DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.assign_dunning_scheme(text, text, bigint, bigint) IS
    'sets the dunning scheme of an entity, an account or a subscription, for cases that open from then on; one with a currency pursues accounts in that currency; an empty scheme: none of its own; returns the scheme';
CREATE FUNCTION billing_internal.assign_dunning_scheme(scheme text, entity text, account_id bigint, subscription_id bigint) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF num_nonnulls(entity, account_id, subscription_id) <> 1 THEN
        PERFORM billing_internal.fail('invalid_argument', 'a dunning scheme is assigned to an entity, an account or a subscription', NULL, 'Pass exactly one of them.');
    END IF;
    IF entity IS NOT NULL THEN
        PERFORM billing_internal.the_entity(entity), billing_internal.check_scheme_fits(scheme, entity, NULL);
        UPDATE billing.entity e SET dunning_scheme = nullif(scheme, '') WHERE e.code = assign_dunning_scheme.entity;
    ELSIF account_id IS NOT NULL THEN
        PERFORM billing_internal.lock_account(account_id), billing_internal.check_scheme_fits(scheme, NULL, account_id);
        UPDATE billing.account a SET dunning_scheme = nullif(scheme, '') WHERE a.account_id = assign_dunning_scheme.account_id;
    ELSE
        PERFORM billing_internal.lock_subscription(subscription_id), billing_internal.check_scheme_fits(scheme, NULL, subscription_id >> 24);
        UPDATE billing.subscription s SET dunning_scheme = nullif(scheme, '')
         WHERE s.account_id = assign_dunning_scheme.subscription_id >> 24 AND s.id = assign_dunning_scheme.subscription_id;
    END IF;
    RETURN scheme;
END $$;
COMMENT ON FUNCTION billing_internal.assign_dunning_scheme(text, text, bigint, bigint) IS 'body of billing.assign_dunning_scheme';
