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
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT CASE WHEN EXISTS (SELECT FROM billing.dunning_action x WHERE x.account_id = $1 AND x.case_id = $2 AND x.step_no = $3 AND x.fee > 0
                                    AND (x.round = c.round OR NOT m.rounds_restart)) THEN 0 ELSE $4 END
          FROM billing.dunning_case c JOIN billing.dunning_scheme m ON m.code = c.scheme AND m.version = c.version WHERE c.account_id = $1 AND c.id = $2);
END $$;
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
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
    SELECT CASE WHEN l.at::time < $2 THEN (l.at::date + $2) AT TIME ZONE $5
                WHEN l.at::time > $3 THEN (SELECT l.at::date + k + $2 FROM generate_series(1, 7) k
                                            WHERE extract(isodow FROM l.at::date + k) = ANY ($1) ORDER BY k LIMIT 1) AT TIME ZONE $5
                ELSE $4 END
      FROM (SELECT $4 AT TIME ZONE $5 AS at) l);
END $$;
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

-- Reminds of many cases; null where a customer cannot be reached.
CREATE FUNCTION billing_internal.remind_cases(scheme text, version int, step_no int, account_ids bigint[], case_ids bigint[], invoice_ids bigint[], rounds int[],
    dues numeric[], fees numeric[], interests numeric[], at timestamptz) RETURNS bigint[]
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s CONSTANT billing.dunning_step := (SELECT x FROM billing.dunning_step x WHERE x.scheme = remind_cases.scheme AND x.version = remind_cases.version AND x.step_no = remind_cases.step_no);
    told record;
BEGIN
    WITH zone AS MATERIALIZED (
        SELECT a.time_zone, billing_internal.message_time(s.weekdays, s.not_before, s.not_after, remind_cases.at, a.time_zone) AS message_at
          FROM (SELECT DISTINCT x.time_zone FROM billing.account x WHERE x.account_id = ANY (account_ids)) a)
    SELECT array_agg(jsonb_build_object('step_no', s.step_no, 'round', u.round, 'amount_due', u.amount_due::text, 'total_due', (u.amount_due + k.amount)::text,
                                        'fee', (coalesce(u.fee, 0) + 0 * u.amount_due)::text, 'interest', (coalesce(u.interest, 0) + 0 * u.amount_due)::text) ||
                         -- the case of an account is about several
                         CASE WHEN u.invoice_id IS NULL THEN (
                              SELECT jsonb_build_object('number', string_agg(i.number, ', ' ORDER BY i.due_on, i.id), 'due_on', min(i.due_on))
                                FROM billing_internal.case_invoices(u.account_id, u.case_id, at) x JOIN billing.invoice i ON i.account_id = u.account_id AND i.id = x.invoice_id)
                              ELSE '{}' END ORDER BY u.n) AS fields,
           array_agg(z.message_at ORDER BY u.n) AS times INTO told
      FROM unnest(account_ids, case_ids, invoice_ids, rounds, dues, fees, interests) WITH ORDINALITY u (account_id, case_id, invoice_id, round, amount_due, fee, interest, n)
      JOIN billing.account a ON a.account_id = u.account_id
      JOIN zone z ON z.time_zone = a.time_zone
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(h.total + h.rounding_amount - h.amount_paid - h.amount_credited), 0) AS amount FROM billing.invoice_header h
            WHERE h.account_id = u.account_id AND h.kind = 'claim' AND h.status = 'open' AND (u.invoice_id IS NULL OR h.claims_invoice_id = u.invoice_id)) k;
    RETURN billing_internal.write_notifications(account_ids, s.template, s.channels, at, invoice_ids, NULL, case_ids, told.fields, told.times);
END $$;
COMMENT ON FUNCTION billing_internal.remind_cases(text, int, int, bigint[], bigint[], bigint[], int[], numeric[], numeric[], numeric[], timestamptz) IS
    'writes the reminders of a step of many cases; returns their ids by position, null where there is none';

-- An action that changes more than the case; false: there was nothing to do.
CREATE FUNCTION billing_internal.do_action(action text, account_id bigint, case_id bigint, agency text, currency text, amount_due numeric, at timestamptz) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF action = 'agency' THEN
        PERFORM billing_internal.hand_over(account_id, case_id, agency, currency, amount_due + (
            SELECT coalesce(sum(k.amount_due), 0) FROM billing.invoice k
             WHERE k.account_id = do_action.account_id AND k.kind = 'claim' AND k.status = 'open'
               AND k.claims_invoice_id IN (SELECT i.invoice_id FROM billing_internal.case_invoices(do_action.account_id, do_action.case_id, at) i)), at);
        RETURN true;
    ELSIF action = 'write_off' THEN
        PERFORM billing_internal.write_off_case(account_id, case_id, at);
        RETURN true;
    END IF;
    RETURN billing_internal.end_service(account_id, case_id, action, at);
END $$;
COMMENT ON FUNCTION billing_internal.do_action(text, bigint, bigint, text, text, numeric, timestamptz) IS 'hands a case over, writes it off, or ends its service';

-- Tells a step of many cases: its events, then that it was done, but for what could not be done.
CREATE FUNCTION billing_internal.tell_step(scheme text, version int, step_no int, account_ids bigint[], case_ids bigint[], invoice_ids bigint[], rounds int[], missed text[], at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s CONSTANT billing.dunning_step := (SELECT x FROM billing.dunning_step x WHERE x.scheme = tell_step.scheme AND x.version = tell_step.version AND x.step_no = tell_step.step_no);
    told record;
BEGIN
    -- few differ, so few are made
    WITH event AS MATERIALIZED (
        SELECT u.round, u.missed, x.no, t.type,
               CASE t.type WHEN 'dunning.step_done' THEN jsonb_build_object('round', u.round, 'step_no', s.step_no, 'done', CASE WHEN u.missed IS NULL THEN s.actions ELSE billing_internal.done_actions(s.actions, u.missed) END)
                           WHEN 'dunning.step_event' THEN jsonb_build_object('round', u.round, 'step_no', s.step_no, 'scheme', s.scheme)
                           ELSE jsonb_build_object('round', u.round, 'step_no', s.step_no) END AS payload
          FROM (SELECT DISTINCT d.round, d.missed FROM unnest(rounds, tell_step.missed) d (round, missed)) u
         CROSS JOIN unnest(s.actions || 'done'::text) WITH ORDINALITY x (action, no)
         CROSS JOIN LATERAL (SELECT CASE x.action WHEN 'event' THEN 'dunning.step_event' WHEN 'suspend' THEN 'dunning.service_suspended'
                                                  WHEN 'done' THEN 'dunning.step_done' END AS type) t
         WHERE t.type IS NOT NULL)
    SELECT array_agg(u.account_id) AS accounts, array_agg(u.type) AS types, array_agg(u.invoice_id) AS invoices, array_agg(u.case_id) AS cases, array_agg(u.payload) AS payloads
      INTO told
      FROM (SELECT c.account_id, c.case_id, c.invoice_id, e.type, e.payload
              FROM unnest(account_ids, case_ids, invoice_ids, rounds, tell_step.missed) WITH ORDINALITY c (account_id, case_id, invoice_id, round, missed, n)
              JOIN event e ON e.round = c.round AND e.missed IS NOT DISTINCT FROM c.missed ORDER BY c.n, e.no) u;
    PERFORM billing_internal.emit_all(told.accounts, told.types, at, told.invoices, told.cases, told.payloads);
END $$;
COMMENT ON FUNCTION billing_internal.tell_step(text, int, int, bigint[], bigint[], bigint[], int[], text[], timestamptz) IS 'tells a step of many cases';

CREATE FUNCTION billing_internal.done_actions(actions text[], missed text) RETURNS text[]
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY(SELECT a FROM unnest($1) WITH ORDINALITY u (a, n) WHERE a <> ALL (string_to_array($2, ', ')) ORDER BY n)
$$;
COMMENT ON FUNCTION billing_internal.done_actions(text[], text) IS 'actions of a step but those that could not be done';

-- Does a step of many cases, one action after the other.  Fees and interest are claimed first, as reminders tell them;
-- events follow all actions.  The row of dunning_action is written in the same transaction, and its key forbids a second time.
CREATE FUNCTION billing_internal.do_step(scheme text, version int, step_no int, account_ids bigint[], case_ids bigint[], invoice_ids bigint[], rounds int[],
    due_ats timestamptz[], currencies text[], dues numeric[], at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s CONSTANT billing.dunning_step := (SELECT x FROM billing.dunning_step x WHERE x.scheme = do_step.scheme AND x.version = do_step.version AND x.step_no = do_step.step_no);
    policy CONSTANT text := (SELECT m.retry_policy FROM billing.dunning_scheme m WHERE m.code = do_step.scheme AND m.version = do_step.version);
    none CONSTANT bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(case_ids)]);
    notification_ids bigint[] := none;
    claim_ids bigint[] := none;
    collection_ids bigint[] := none;
    fees numeric[] := none;
    interests numeric[] := none;
    fixed_sums numeric[] := none;
    missed text[] := none;
    action text;
    worked boolean;
    c record;
BEGIN
    FOR i IN 1 .. CASE WHEN s.actions && '{fee,interest}' THEN cardinality(case_ids) ELSE 0 END LOOP
        SELECT * INTO c FROM billing_internal.claim_delay(account_ids[i], case_ids[i], step_no, s.fee, 'interest' = ANY (s.actions), at);
        claim_ids[i] := c.claim_id;
        fees[i] := c.charged;
        interests[i] := c.interest;
        fixed_sums[i] := c.fixed_sum;
    END LOOP;
    FOREACH action IN ARRAY s.actions LOOP
        -- interest is done even where it comes to nothing: the next claim begins after it
        CONTINUE WHEN action IN ('event', 'suspend', 'interest');
        IF action = 'remind' THEN
            notification_ids := billing_internal.remind_cases(scheme, version, step_no, account_ids, case_ids, invoice_ids, rounds, dues, fees, interests, at);
        END IF;
        FOR i IN 1 .. cardinality(case_ids) LOOP
            IF action = 'remind' THEN
                worked := notification_ids[i] IS NOT NULL;
            ELSIF action = 'fee' THEN
                worked := fees[i] > 0;
            ELSIF action = 'retry_collection' THEN
                collection_ids[i] := (SELECT max(billing_internal.request_collection(account_ids[i], x.invoice_id, at, policy))
                                        FROM billing_internal.case_invoices(account_ids[i], case_ids[i], at) x);
                worked := collection_ids[i] IS NOT NULL;
            ELSE
                worked := billing_internal.do_action(action, account_ids[i], case_ids[i], s.agency, currencies[i], dues[i], at);
            END IF;
            CONTINUE WHEN worked;
            missed[i] := concat_ws(', ', missed[i], action);
        END LOOP;
    END LOOP;
    INSERT INTO billing.dunning_action (account_id, case_id, round, step_no, due_at, done_at, currency, amount_due, fee, interest, fixed_sum, done, passed_over,
                                        notification_id, claim_id, collection_id)
    SELECT u.account_id, u.case_id, u.round, s.step_no, u.due_at, at, u.currency, u.amount_due, coalesce(u.fee, 0), coalesce(u.interest, 0), coalesce(u.fixed_sum, 0),
           CASE WHEN u.missed IS NULL THEN s.actions ELSE billing_internal.done_actions(s.actions, u.missed) END, 'not done: ' || u.missed, u.notification_id, u.claim_id, u.collection_id
      FROM unnest(account_ids, case_ids, rounds, due_ats, currencies, dues, fees, interests, fixed_sums, missed, notification_ids, claim_ids, collection_ids)
               u (account_id, case_id, round, due_at, currency, amount_due, fee, interest, fixed_sum, missed, notification_id, claim_id, collection_id);
    PERFORM billing_internal.tell_step(scheme, version, step_no, account_ids, case_ids, invoice_ids, rounds, missed, at);
END $$;
COMMENT ON FUNCTION billing_internal.do_step(text, int, int, bigint[], bigint[], bigint[], int[], timestamptz[], text[], numeric[], timestamptz) IS 'does a step of many cases and notes it';
