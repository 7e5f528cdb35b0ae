-- Cases that wait: paused by a person, for a promise; stopped and taken up again.

-- The case goes on where it was.
CREATE FUNCTION billing_internal.end_pause(account_id bigint, case_id bigint, at timestamptz, why text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    back CONSTANT text := (SELECT c.resume_state FROM billing.dunning_case c
                            WHERE c.account_id = end_pause.account_id AND c.id = end_pause.case_id AND c.state = 'paused');
BEGIN
    IF back IS NOT NULL THEN
        PERFORM billing_internal.change_case(account_id, case_id, back, at, why), billing_internal.refresh_cases(ARRAY[account_id], ARRAY[case_id], at);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.end_pause(bigint, bigint, timestamptz, text) IS 'lets a paused case go on';

CREATE FUNCTION billing_internal.end_promise(account_id bigint, promise_id bigint, to_state text, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ended record;
BEGIN
    UPDATE billing.promise p SET state = to_state, ended_at = greatest(at, p.made_at)
      FROM billing.dunning_case c
     WHERE p.account_id = end_promise.account_id AND p.id = end_promise.promise_id AND p.state = 'open' AND c.account_id = p.account_id AND c.id = p.case_id
    RETURNING p.case_id, c.invoice_id INTO ended;
    IF FOUND THEN
        PERFORM billing_internal.emit(account_id, 'promise.ended', at, invoice_id => ended.invoice_id, case_id => ended.case_id,
                                      payload => jsonb_build_object('promise_id', promise_id, 'state', to_state));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.end_promise(bigint, bigint, text, timestamptz) IS 'ends an open promise';

-- A pause whose time has come: the promise is broken, others simply end; arrangements end theirs themselves.
CREATE FUNCTION billing_internal.pause_is_over(account_id bigint, case_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    reason CONSTANT text := (SELECT c.pause_reason FROM billing.dunning_case c WHERE c.account_id = pause_is_over.account_id AND c.id = pause_is_over.case_id AND c.state = 'paused');
BEGIN
    IF reason = 'promise' THEN
        PERFORM billing_internal.end_promise(p.account_id, p.id, 'broken', at) FROM billing.promise p
          WHERE p.account_id = pause_is_over.account_id AND p.case_id = pause_is_over.case_id AND p.state = 'open';
        PERFORM billing_internal.end_pause(account_id, case_id, at, 'promise broken');
    ELSIF reason <> 'arrangement' THEN
        PERFORM billing_internal.end_pause(account_id, case_id, at, 'the pause is over');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.pause_is_over(bigint, bigint, timestamptz) IS 'what follows when the time of a pause has come';

CREATE FUNCTION billing.pause_case(case_id bigint, pause_reason text, until timestamptz DEFAULT NULL, note text DEFAULT NULL, effective_at timestamptz DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.pause_case(bigint, text, timestamptz, text, timestamptz) IS
    'pauses a dunning case because of a dispute, a data_error or a direct_debit, until an instant or until it is resumed; returns its id';
CREATE FUNCTION billing_internal.pause_case(case_id bigint, pause_reason text, until timestamptz, note text, effective_at timestamptz) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    c record;
BEGIN
    PERFORM billing_internal.check_one_of(pause_reason, 'reason of a pause', 'dispute', 'data_error', 'direct_debit'),
            billing_internal.check_instant(at, 'effective_at');
    IF until <= at OR until > at + interval '10 years' THEN
        PERFORM billing_internal.fail('invalid_argument', 'a pause ends after it began, within ten years', format('It begins at %s and would end at %s.', at, until));
    END IF;
    SELECT * INTO c FROM billing_internal.lock_case(case_id);
    PERFORM billing_internal.change_cases(ARRAY[c.account_id], ARRAY[case_id], 'paused', at, coalesce(note, pause_reason), pause_reason, until);
    RETURN case_id;
END $$;
COMMENT ON FUNCTION billing_internal.pause_case(bigint, text, timestamptz, text, timestamptz) IS 'body of billing.pause_case';

CREATE FUNCTION billing.resume_case(case_id bigint, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.resume_case(bigint, timestamptz, text) IS
    'lets a dunning case that is paused or was stopped go on; a promise to pay is canceled with it, an arrangement must be terminated; returns its id';
CREATE FUNCTION billing_internal.resume_case(case_id bigint, effective_at timestamptz, reason text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    c record;
    d billing.dunning_case;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at');
    SELECT * INTO c FROM billing_internal.lock_case(case_id);
    SELECT x.* INTO d FROM billing.dunning_case x WHERE x.account_id = c.account_id AND x.id = resume_case.case_id;
    IF d.pause_reason = 'arrangement' THEN
        PERFORM billing_internal.fail('wrong_case_state', format('dunning case %s waits for an arrangement', case_id), NULL, 'Call billing.terminate_arrangement().');
    ELSIF d.state NOT IN ('paused', 'stopped') OR NOT EXISTS (SELECT FROM billing_internal.case_invoices(c.account_id, case_id, at)) THEN
        PERFORM billing_internal.fail('wrong_case_state', format('dunning case %s is %s and cannot be resumed', case_id, d.state));
    ELSIF d.state = 'stopped' THEN
        PERFORM billing_internal.change_case(c.account_id, case_id, CASE WHEN d.step_no = 0 THEN 'not_started' ELSE 'running' END, at, reason),
                billing_internal.refresh_cases(ARRAY[c.account_id], ARRAY[case_id], at);
    ELSE
        PERFORM billing_internal.end_promise(p.account_id, p.id, 'canceled', at) FROM billing.promise p
          WHERE p.account_id = c.account_id AND p.case_id = resume_case.case_id AND p.state = 'open';
        PERFORM billing_internal.end_pause(c.account_id, case_id, at, reason);
    END IF;
    RETURN case_id;
END $$;
COMMENT ON FUNCTION billing_internal.resume_case(bigint, timestamptz, text) IS 'body of billing.resume_case';

CREATE FUNCTION billing.stop_case(case_id bigint, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.stop_case(bigint, timestamptz, text) IS 'ends the pursuit of an invoice, which stays open; messages that were not taken yet are canceled; returns the case''s id';
CREATE FUNCTION billing_internal.stop_case(case_id bigint, effective_at timestamptz, reason text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    c record;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at');
    SELECT * INTO c FROM billing_internal.lock_case(case_id);
    PERFORM billing_internal.change_case(c.account_id, case_id, 'stopped', at, reason), billing_internal.settle_case(c.account_id, case_id, at, false);
    RETURN case_id;
END $$;
COMMENT ON FUNCTION billing_internal.stop_case(bigint, timestamptz, text) IS 'body of billing.stop_case';

CREATE FUNCTION billing.promise_payment(case_id bigint, amount numeric, promised_on date, note text DEFAULT NULL, effective_at timestamptz DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.promise_payment(bigint, numeric, date, text, timestamptz) IS
    'notes that the customer promised an amount by a day; the case waits until it is paid, or until the day after; returns the promise''s id';
CREATE FUNCTION billing_internal.promise_payment(case_id bigint, amount numeric, promised_on date, note text, effective_at timestamptz) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    c record;
    due numeric;
    result bigint;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at');
    SELECT * INTO c FROM billing_internal.lock_case(case_id);
    PERFORM billing_internal.check_amount(amount, c.currency, 'amount');
    SELECT coalesce(sum(i.amount_due), 0) INTO due FROM billing_internal.case_invoices(c.account_id, case_id, at) i;
    IF NOT isfinite(promised_on) OR promised_on < (at AT TIME ZONE c.time_zone)::date OR promised_on > (at AT TIME ZONE c.time_zone)::date + 3650 THEN
        PERFORM billing_internal.fail('invalid_argument', format('nothing can be promised for %s', promised_on), 'A promise is for this day or one in the next ten years.');
    ELSIF amount > due THEN
        PERFORM billing_internal.fail('amount_exceeded', format('%s %s is more than what is due', amount, c.currency), format('%s is due.', due));
    END IF;
    PERFORM billing_internal.change_cases(ARRAY[c.account_id], ARRAY[case_id], 'paused', at, coalesce(note, 'promise'), 'promise',
                                          (promised_on + 1)::timestamp AT TIME ZONE c.time_zone);
    result := billing_internal.next_id(c.account_id);
    INSERT INTO billing.promise (account_id, id, case_id, currency, amount, promised_on, made_at, note, amount_due)
    VALUES (c.account_id, result, case_id, c.currency, amount, promised_on, at, note, due);
    PERFORM billing_internal.emit(c.account_id, 'promise.made', at, invoice_id => c.invoice_id, case_id => promise_payment.case_id,
        payload => jsonb_build_object('promise_id', result, 'currency', c.currency, 'amount', amount::text, 'promised_on', promised_on));
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.promise_payment(bigint, numeric, date, text, timestamptz) IS 'body of billing.promise_payment';

CREATE FUNCTION billing.cancel_promise(promise_id bigint, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.cancel_promise(bigint, timestamptz, text) IS 'withdraws a promise to pay; its case goes on; returns the promise''s id';
CREATE FUNCTION billing_internal.cancel_promise(promise_id bigint, effective_at timestamptz, reason text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    p billing.promise;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at');
    PERFORM billing_internal.lock_account(s.account_id) FROM billing.account_state s WHERE s.account_id = promise_id >> 24;
    SELECT x.* INTO p FROM billing.promise x WHERE x.account_id = promise_id >> 24 AND x.id = promise_id;
    IF p.id IS NULL THEN
        PERFORM billing_internal.fail('unknown_arrangement', format('promise %s does not exist', promise_id));
    ELSIF p.state <> 'open' THEN
        PERFORM billing_internal.fail('wrong_case_state', format('promise %s is %s and cannot be canceled', promise_id, p.state));
    END IF;
    PERFORM billing_internal.end_promise(p.account_id, p.id, 'canceled', at), billing_internal.end_pause(p.account_id, p.case_id, at, reason);
    RETURN promise_id;
END $$;
COMMENT ON FUNCTION billing_internal.cancel_promise(bigint, timestamptz, text) IS 'body of billing.cancel_promise';
