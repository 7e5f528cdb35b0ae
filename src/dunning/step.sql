-- What one step does.  The account is locked.

-- Interest on an invoice from one day to another, both included, by days of 365.  Money of a day counts from the next.
CREATE FUNCTION billing_internal.interest_on(account_id bigint, invoice_id bigint, code text, from_on date, through_on date, OUT amount numeric)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH invoice AS (SELECT i.total + i.rounding_amount AS total, i.currency, a.time_zone FROM billing.invoice i JOIN billing.account a ON a.account_id = i.account_id
                      WHERE i.account_id = $1 AND i.id = $2),
    settled AS (
        SELECT (p.allocated_at AT TIME ZONE i.time_zone)::date + 1 AS on_day, p.amount FROM billing.payment_allocation p, invoice i WHERE p.account_id = $1 AND p.invoice_id = $2
        UNION ALL
        SELECT coalesce((c.allocated_at AT TIME ZONE i.time_zone)::date, s.issued_on) + 1, c.amount FROM invoice i, billing.credit_allocation c
          LEFT JOIN billing.seal s ON s.account_id = c.account_id AND s.invoice_id = c.credit_note_id WHERE c.account_id = $1 AND c.invoice_id = $2),
    day AS (
        SELECT $4 AS on_day WHERE $4 <= $5
        UNION SELECT s.on_day FROM settled s WHERE s.on_day > $4 AND s.on_day <= $5
        UNION SELECT r.valid_from FROM billing.interest_rate r WHERE r.code = $3 AND r.valid_from > $4 AND r.valid_from <= $5),
    part AS (
        SELECT d.on_day, lead(d.on_day, 1, $5 + 1) OVER (ORDER BY d.on_day) - d.on_day AS days FROM day d)
    SELECT billing.round_amount(coalesce(sum((i.total - coalesce((SELECT sum(s.amount) FROM settled s WHERE s.on_day <= p.on_day), 0))
               * coalesce((SELECT r.rate FROM billing.interest_rate r WHERE r.code = $3 AND r.valid_from <= p.on_day ORDER BY r.valid_from DESC LIMIT 1), 0)
               * p.days), 0) / 36500, min(i.currency))
      FROM invoice i LEFT JOIN part p ON true
$$;
COMMENT ON FUNCTION billing_internal.interest_on(bigint, bigint, text, date, date) IS 'interest on what was open of an invoice in a range of days';

-- The claim of one step on one invoice: fee, interest since the last claim, and once the lump sum.
CREATE FUNCTION billing_internal.claim_step(account_id bigint, case_id bigint, invoice_id bigint, due_on date, fee numeric, with_interest boolean, at timestamptz,
    OUT claim_id bigint, OUT interest numeric, OUT fixed_sum numeric)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s record;
    today date;
    claimed_through date;
    lines jsonb;
BEGIN
    SELECT m.*, a.time_zone INTO s FROM billing.dunning_case c JOIN billing.account a ON a.account_id = c.account_id
      JOIN billing.dunning_scheme m ON m.code = c.scheme AND m.version = c.version
     WHERE c.account_id = claim_step.account_id AND c.id = claim_step.case_id;
    today := (at AT TIME ZONE s.time_zone)::date;
    interest := 0;
    fixed_sum := 0;
    IF with_interest THEN
        SELECT max((x.done_at AT TIME ZONE s.time_zone)::date) INTO claimed_through FROM billing.dunning_action x
         WHERE x.account_id = claim_step.account_id AND x.case_id = claim_step.case_id AND 'interest' = ANY (x.done);
        IF s.interest IS NOT NULL THEN
            interest := billing_internal.interest_on(account_id, invoice_id, s.interest, greatest(due_on, claimed_through) + 1, today);
        END IF;
        fixed_sum := CASE WHEN EXISTS (
            SELECT FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id
             WHERE h.account_id = claim_step.account_id AND h.claims_invoice_id = claim_step.invoice_id AND h.status <> 'void' AND l.kind = 'fixed_sum') THEN 0
            ELSE coalesce(s.fixed_sum, 0) END;
    END IF;
    SELECT jsonb_agg(jsonb_build_object('kind', k, 'description', d, 'amount', m)) INTO lines
      FROM (VALUES ('fee', 'Reminder costs', fee), ('interest', 'Interest on arrears', interest), ('fixed_sum', 'Compensation for recovery costs', fixed_sum)) v (k, d, m) WHERE m > 0;
    IF lines IS NOT NULL THEN
        claim_id := billing_internal.write_claim(account_id, invoice_id, lines, at, 'dunning');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.claim_step(bigint, bigint, bigint, date, numeric, boolean, timestamptz) IS 'claims what a step charges for the delay of an invoice';

-- A fee is charged once per step of an invoice, in each round only if the scheme says so.
CREATE FUNCTION billing_internal.step_fee(account_id bigint, case_id bigint, step_no int, fee numeric) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN EXISTS (SELECT FROM billing.dunning_action x WHERE x.account_id = $1 AND x.case_id = $2 AND x.step_no = $3 AND x.fee > 0
                                AND (x.round = c.round OR NOT m.rounds_restart)) THEN 0 ELSE $4 END
      FROM billing.dunning_case c JOIN billing.dunning_scheme m ON m.code = c.scheme AND m.version = c.version WHERE c.account_id = $1 AND c.id = $2
$$;
COMMENT ON FUNCTION billing_internal.step_fee(bigint, bigint, int, numeric) IS 'the fee of a step, or nothing where it was charged before';

-- Ends the subscriptions of the invoices of a case that are still served.
CREATE FUNCTION billing_internal.end_service(account_id bigint, case_id bigint, verb text, at timestamptz) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    subscription bigint;
    ended boolean := false;
BEGIN
    FOR subscription IN
        SELECT DISTINCT l.subscription_id FROM billing_internal.case_invoices(account_id, case_id, at) i
          JOIN billing.invoice_line l ON l.account_id = end_service.account_id AND l.invoice_id = i.invoice_id
         WHERE (SELECT s.state FROM billing.subscription_state s WHERE s.account_id = l.account_id AND s.subscription_id = l.subscription_id
                   AND s.valid_from <= at ORDER BY s.valid_from DESC LIMIT 1) IN ('pending', 'future', 'trialing', 'active', 'non_renewing', 'paused') ORDER BY 1 LOOP
        IF verb = 'stop' THEN
            PERFORM billing_internal.stop_subscription(subscription, at, false, false, 'dunning', NULL);
        ELSE
            PERFORM billing_internal.cancel_subscription(subscription, at, false, false, 'dunning', NULL);
        END IF;
        ended := true;
    END LOOP;
    RETURN ended;
END $$;
COMMENT ON FUNCTION billing_internal.end_service(bigint, bigint, text, timestamptz) IS 'stops or cancels the subscriptions of a case''s invoices; false: none is served';

-- A message waits until its window of time opens.
CREATE FUNCTION billing_internal.message_time(weekdays int[], not_before time, not_after time, at timestamptz, time_zone text) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN l.at::time < $2 THEN (l.at::date + $2) AT TIME ZONE $5
                WHEN l.at::time > $3 THEN (SELECT l.at::date + k + $2 FROM generate_series(1, 7) k
                                            WHERE extract(isodow FROM l.at::date + k) = ANY ($1) ORDER BY k LIMIT 1) AT TIME ZONE $5
                ELSE $4 END
      FROM (SELECT $4 AT TIME ZONE $5 AS at) l
$$;
COMMENT ON FUNCTION billing_internal.message_time(int[], time, time, timestamptz, text) IS 'when a message that is written at a moment may go';

-- Fees and interest of a step: each invoice of the case gets the claim of its delay, the fee goes with the oldest.
CREATE FUNCTION billing_internal.claim_delay(account_id bigint, case_id bigint, step_no int, fee numeric, with_interest boolean, at timestamptz,
    OUT claim_id bigint, OUT charged numeric, OUT interest numeric, OUT fixed_sum numeric)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i record;
    c record;
BEGIN
    charged := coalesce(billing_internal.step_fee(account_id, case_id, step_no, fee), 0);
    interest := 0;
    fixed_sum := 0;
    FOR i IN SELECT x.*, row_number() OVER () AS n FROM billing_internal.case_invoices(account_id, case_id, at) x LOOP
        CONTINUE WHEN i.n > 1 AND NOT with_interest;
        SELECT * INTO c FROM billing_internal.claim_step(account_id, case_id, i.invoice_id, i.due_on, CASE WHEN i.n = 1 THEN charged ELSE 0 END, with_interest, at);
        claim_id := coalesce(claim_id, c.claim_id);
        interest := interest + c.interest;
        fixed_sum := fixed_sum + c.fixed_sum;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.claim_delay(bigint, bigint, int, numeric, boolean, timestamptz) IS 'claims fees and interest of a step; returns the first claim and the sums';

-- Does the actions of a step, in their order; what could not be done is told in passed_over.
CREATE FUNCTION billing_internal.do_step(account_id bigint, case_id bigint, step_no int, amount_due numeric, at timestamptz, OUT done text[], OUT passed_over text,
    OUT notification_id bigint, OUT claim_id bigint, OUT collection_id bigint, OUT fee numeric, OUT interest numeric, OUT fixed_sum numeric)
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
    s billing.dunning_step;
    action text;
    worked boolean;
BEGIN
    SELECT d.invoice_id, d.round, d.scheme, d.version, a.time_zone, a.currency, m.retry_policy INTO c
      FROM billing.dunning_case d JOIN billing.account a ON a.account_id = d.account_id JOIN billing.dunning_scheme m ON m.code = d.scheme AND m.version = d.version
     WHERE d.account_id = do_step.account_id AND d.id = do_step.case_id;
    SELECT x.* INTO s FROM billing.dunning_step x WHERE x.scheme = c.scheme AND x.version = c.version AND x.step_no = do_step.step_no;
    done := '{}';
    SELECT d.claim_id, d.charged, d.interest, d.fixed_sum INTO claim_id, fee, interest, fixed_sum
      FROM billing_internal.claim_delay(account_id, case_id, step_no, s.fee, 'interest' = ANY (s.actions), at) d WHERE s.actions && '{fee,interest}';
    FOREACH action IN ARRAY s.actions LOOP
        worked := true;
        CASE action
        WHEN 'remind' THEN
            notification_id := billing_internal.notify_customer(account_id, s.template, s.channels, at, c.invoice_id, NULL, case_id,
                jsonb_build_object('step_no', step_no, 'round', c.round, 'amount_due', amount_due::text, 'fee', coalesce(fee, 0)::text, 'interest', coalesce(interest, 0)::text),
                billing_internal.message_time(s.weekdays, s.not_before, s.not_after, at, c.time_zone));
            worked := notification_id IS NOT NULL;
        WHEN 'retry_collection' THEN
            SELECT max(billing_internal.request_collection(i.account_id, i.invoice_id, at, c.retry_policy)) INTO collection_id
              FROM (SELECT do_step.account_id, x.invoice_id FROM billing_internal.case_invoices(do_step.account_id, do_step.case_id, at) x) i;
            worked := collection_id IS NOT NULL;
        WHEN 'fee' THEN worked := fee > 0;
        WHEN 'interest' THEN NULL; -- done even where it comes to nothing: the next claim begins after it
        WHEN 'suspend' THEN
            PERFORM billing_internal.emit(account_id, 'dunning.service_suspended', at, invoice_id => c.invoice_id, case_id => do_step.case_id,
                                          payload => jsonb_build_object('round', c.round, 'step_no', step_no));
        WHEN 'event' THEN
            PERFORM billing_internal.emit(account_id, 'dunning.step_event', at, invoice_id => c.invoice_id, case_id => do_step.case_id,
                                          payload => jsonb_build_object('round', c.round, 'step_no', step_no, 'scheme', c.scheme));
        WHEN 'agency' THEN PERFORM billing_internal.hand_over(account_id, case_id, s.agency, c.currency, amount_due + (
                SELECT coalesce(sum(k.amount_due), 0) FROM billing.invoice k
                 WHERE k.account_id = do_step.account_id AND k.kind = 'claim' AND k.status = 'open'
                   AND k.claims_invoice_id IN (SELECT i.invoice_id FROM billing_internal.case_invoices(do_step.account_id, do_step.case_id, at) i)), at);
        WHEN 'write_off' THEN PERFORM billing_internal.write_off_case(account_id, case_id, at);
        ELSE worked := billing_internal.end_service(account_id, case_id, action, at);
        END CASE;
        IF worked THEN
            done := done || action;
        ELSE
            passed_over := concat_ws(', ', passed_over, action);
        END IF;
    END LOOP;
    passed_over := 'not done: ' || passed_over;
END $$;
COMMENT ON FUNCTION billing_internal.do_step(bigint, bigint, int, numeric, timestamptz) IS 'does a step of a case';
