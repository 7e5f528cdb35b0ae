-- Dunning cases: their states, and what the settlement of invoices does to them.  All on locked accounts.

-- The state machine.  Every change of a state goes through change_cases(), which asks here.
CREATE FUNCTION billing_internal.case_transitions(OUT from_state text, OUT to_states text[]) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('not_started', '{running,paused,at_agency,exhausted,stopped,succeeded,written_off}'::text[]),
           ('running', '{paused,at_agency,exhausted,stopped,succeeded,written_off}'),
           ('paused', '{not_started,running,exhausted,stopped,succeeded,written_off}'),
           ('at_agency', '{running,exhausted,stopped,succeeded,written_off}'),
           ('exhausted', '{not_started,paused,stopped,succeeded,written_off}'),
           ('stopped', '{not_started,running,exhausted,succeeded,written_off}'),
           ('succeeded', '{not_started}'),
           ('written_off', '{not_started,succeeded}')
$$;
COMMENT ON FUNCTION billing_internal.case_transitions() IS 'which state of a dunning case may follow which';

-- Notes and tells that cases went from a state (null: they opened) to another; a case may do so twice, in the order of the lists.
CREATE FUNCTION billing_internal.log_case_changes(account_ids bigint[], case_ids bigint[], from_states text[], to_states text[], at timestamptz, whys text[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    told record;
BEGIN
    WITH changed AS MATERIALIZED (
        SELECT u.n, c.account_id, c.id, c.invoice_id, coalesce(u.from_state, '') AS from_state, u.to_state, c.round, u.why, c.paused_until,
               row_number() OVER (PARTITION BY c.account_id, c.id ORDER BY u.n)
               + coalesce((SELECT max(x.change_no) FROM billing.dunning_case_change x WHERE x.account_id = c.account_id AND x.case_id = c.id), 0) AS change_no
          FROM unnest(account_ids, case_ids, from_states, to_states, whys) WITH ORDINALITY u (account_id, case_id, from_state, to_state, why, n)
          JOIN billing.dunning_case c ON c.account_id = u.account_id AND c.id = u.case_id),
    -- few differ, so few are made
    event AS MATERIALIZED (
        SELECT d.*, jsonb_strip_nulls(jsonb_build_object('from', nullif(d.from_state, ''), 'to', d.to_state, 'round', d.round, 'reason', d.why,
                   'until', CASE WHEN d.paused_until IS NOT NULL THEN billing_internal.payload_instant(d.paused_until) END)) AS payload
          FROM (SELECT DISTINCT x.from_state, x.to_state, x.round, x.why, x.paused_until FROM changed x) d)
    SELECT array_agg(l.account_id) AS accounts, array_agg(l.id) AS cases, array_agg(l.invoice_id) AS invoices, array_agg(l.change_no) AS numbers,
           array_agg(nullif(l.from_state, '')) AS from_states, array_agg(l.to_state) AS states, array_agg(l.round) AS rounds, array_agg(l.why) AS whys,
           array_agg(l.paused_until) AS untils, array_agg('dunning.case_changed'::text) AS types, array_agg(l.payload) AS payloads
      INTO told
      FROM (SELECT c.*, e.payload FROM changed c
              JOIN event e ON e.from_state = c.from_state AND e.to_state = c.to_state AND e.round = c.round
                          AND e.why IS NOT DISTINCT FROM c.why AND e.paused_until IS NOT DISTINCT FROM c.paused_until ORDER BY c.n) l;
    IF told.cases IS NULL THEN RETURN; END IF;
    INSERT INTO billing.dunning_case_change (account_id, case_id, change_no, changed_at, from_state, to_state, round, actor, reason, until)
    SELECT t.account_id, t.case_id, t.change_no, at, t.from_state, t.state, t.round, session_user, t.why, t.until
      FROM unnest(told.accounts, told.cases, told.numbers, told.from_states, told.states, told.rounds, told.whys, told.untils)
               t (account_id, case_id, change_no, from_state, state, round, why, until);
    PERFORM billing_internal.emit_all(told.accounts, told.types, at, told.invoices, told.cases, told.payloads);
END $$;
COMMENT ON FUNCTION billing_internal.log_case_changes(bigint[], bigint[], text[], text[], timestamptz, text[]) IS 'writes the history and the events of cases that changed';

-- The one place where cases change their state.
CREATE FUNCTION billing_internal.change_cases(account_ids bigint[], case_ids bigint[], to_state text, at timestamptz, why text,
    pause_reason text DEFAULT NULL, until timestamptz DEFAULT NULL)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    bad record;
    changed record;
BEGIN
    IF case_ids IS NULL OR case_ids = '{}' THEN RETURN; END IF;
    SELECT c.id, c.state INTO bad FROM unnest(account_ids, case_ids) u (account_id, case_id)
      JOIN billing.dunning_case c ON c.account_id = u.account_id AND c.id = u.case_id
      JOIN billing_internal.case_transitions() t ON t.from_state = c.state
     WHERE change_cases.to_state <> ALL (t.to_states) LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('wrong_case_state', format('dunning case %s is %s and cannot become %s', bad.id, bad.state, to_state));
    END IF;
    SELECT array_agg(c.account_id) AS accounts, array_agg(c.id) AS cases, array_agg(c.state) AS states INTO changed
      FROM unnest(account_ids, case_ids) u (account_id, case_id) JOIN billing.dunning_case c ON c.account_id = u.account_id AND c.id = u.case_id;
    UPDATE billing.dunning_case c
       SET state = change_cases.to_state, changed_at = at, resume_state = CASE WHEN change_cases.to_state = 'paused' THEN c.state END,
           pause_reason = change_cases.pause_reason, paused_until = until,
           next_step_at = CASE change_cases.to_state WHEN 'paused' THEN until WHEN 'running' THEN c.next_step_at WHEN 'not_started' THEN c.next_step_at END
      FROM unnest(account_ids, case_ids) u (account_id, case_id) WHERE c.account_id = u.account_id AND c.id = u.case_id;
    PERFORM billing_internal.log_case_changes(changed.accounts, changed.cases, changed.states, array_fill(to_state, ARRAY[cardinality(changed.cases)]), at,
                                              array_fill(why, ARRAY[cardinality(changed.cases)]));
    IF to_state = ANY ('{paused,stopped,succeeded,written_off}') THEN
        UPDATE billing.notification n SET status = 'canceled', finished_at = at, failure = 'the case is ' || to_state
          FROM unnest(changed.accounts, changed.cases) u (account_id, case_id)
         WHERE n.account_id = u.account_id AND n.case_id = u.case_id AND n.status = 'waiting' AND n.account_id = ANY (account_ids);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.change_cases(bigint[], bigint[], text, timestamptz, text, text, timestamptz) IS 'changes the state of cases of locked accounts, writes their history, tells it and cancels messages that nobody has taken yet';

CREATE FUNCTION billing_internal.change_case(account_id bigint, case_id bigint, to_state text, at timestamptz, why text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.change_cases(ARRAY[$1], ARRAY[$2], $3, $4, $5);
END $$;
COMMENT ON FUNCTION billing_internal.change_case(bigint, bigint, text, timestamptz, text) IS 'the same of one case';

-- Locks the account of a case and returns the case.
CREATE FUNCTION billing_internal.lock_case(case_id bigint, OUT account_id bigint, OUT state text, OUT invoice_id bigint, OUT currency text, OUT time_zone text)
    RETURNS record LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.lock_account(s.account_id) FROM billing.account_state s WHERE s.account_id = lock_case.case_id >> 24;
    SELECT c.account_id, c.state, c.invoice_id, a.currency, a.time_zone INTO account_id, state, invoice_id, currency, time_zone
      FROM billing.dunning_case c JOIN billing.account a ON a.account_id = c.account_id
     WHERE c.account_id = lock_case.case_id >> 24 AND c.id = lock_case.case_id;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_case', format('dunning case %s does not exist', case_id));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.lock_case(bigint) IS 'locks the account of a case, or unknown_case';

-- What a case is about: its invoice while it is open, or all of the account that is overdue and has no case of its own.
CREATE FUNCTION billing_internal.case_invoices(account_id bigint, case_id bigint, at timestamptz, OUT invoice_id bigint, OUT due_on date, OUT amount_due numeric, OUT currency text)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT i.id, i.due_on, i.amount_due, i.currency
      FROM billing.dunning_case c JOIN billing.account a ON a.account_id = c.account_id
      JOIN billing.invoice i ON i.account_id = c.account_id AND i.kind = 'invoice' AND i.status = 'open'
     WHERE c.account_id = $1 AND c.id = $2
       AND CASE WHEN c.invoice_id IS NOT NULL THEN i.id = c.invoice_id
                ELSE i.due_on < ($3 AT TIME ZONE a.time_zone)::date
                     AND NOT EXISTS (SELECT FROM billing.dunning_case x WHERE x.account_id = i.account_id AND x.invoice_id = i.id) END
     ORDER BY i.due_on, i.id;
END $$;
COMMENT ON FUNCTION billing_internal.case_invoices(bigint, bigint, timestamptz) IS 'open invoices that a case is about, the oldest first';

-- Gives up what a case is about, and what was claimed for its delay: nobody pursues that alone.
CREATE FUNCTION billing_internal.write_off_case(account_id bigint, case_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    invoices CONSTANT bigint[] := ARRAY(SELECT i.invoice_id FROM billing_internal.case_invoices(account_id, case_id, at) i);
BEGIN
    PERFORM billing_internal.write_off_invoice(x.id, at, 'dunning', NULL)
       FROM (SELECT h.id FROM billing.invoice_header h
              WHERE h.account_id = write_off_case.account_id AND h.status = 'open' AND (h.id = ANY (invoices) OR h.kind = 'claim' AND h.claims_invoice_id = ANY (invoices))
              ORDER BY h.kind, h.id) x;
END $$;
COMMENT ON FUNCTION billing_internal.write_off_case(bigint, bigint, timestamptz) IS 'writes off the invoices of a case and the claims for their delay';

-- When cases are looked at next; those that have no step left are exhausted.
CREATE FUNCTION billing_internal.refresh_cases(account_ids bigint[], case_ids bigint[], at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
    nexts timestamptz[];
    over record;
BEGIN
    SELECT array_agg(d.account_id) AS account_ids, array_agg(d.id) AS ids, array_agg(d.scheme) AS schemes, array_agg(d.version) AS versions, array_agg(d.round) AS rounds,
           array_agg(d.step_no) AS last_nos, array_agg(d.base_on) AS base_ons, array_agg(d.stepped_at) AS stepped_ats
      INTO c FROM unnest(account_ids, case_ids) u (account_id, case_id)
      JOIN billing.dunning_case d ON d.account_id = u.account_id AND d.id = u.case_id WHERE d.state IN ('not_started', 'running');
    IF c.ids IS NULL THEN RETURN; END IF;
    SELECT array_agg(n.step_at ORDER BY n.n) INTO nexts
      FROM billing_internal.next_steps(c.account_ids, c.ids, c.schemes, c.versions, c.rounds, c.last_nos, c.base_ons, c.stepped_ats, at) n;
    UPDATE billing.dunning_case d SET next_step_at = n.step_at
      FROM unnest(c.account_ids, c.ids, nexts) n (account_id, id, step_at)
     WHERE d.account_id = n.account_id AND d.id = n.id AND d.next_step_at IS DISTINCT FROM n.step_at;
    SELECT array_agg(n.account_id) AS accounts, array_agg(n.id) AS cases INTO over FROM unnest(c.account_ids, c.ids, nexts) n (account_id, id, step_at) WHERE n.step_at IS NULL;
    IF over.cases IS NULL THEN RETURN; END IF;
    PERFORM billing_internal.change_cases(over.accounts, over.cases, 'exhausted', at, 'no step is left');
    PERFORM billing_internal.write_off_case(u.account_id, u.case_id, at)
       FROM unnest(over.accounts, over.cases) u (account_id, case_id)
       JOIN billing.dunning_case d ON d.account_id = u.account_id AND d.id = u.case_id
       JOIN billing.dunning_scheme s ON s.code = d.scheme AND s.version = d.version AND s.final_invoice = 'write_off';
END $$;
COMMENT ON FUNCTION billing_internal.refresh_cases(bigint[], bigint[], timestamptz) IS 'computes when cases are due next and ends those without a step';

CREATE FUNCTION billing_internal.open_case(account_id bigint, invoice_id bigint, scheme text, version int, base_on date, at timestamptz, why text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result CONSTANT bigint := billing_internal.next_id(account_id);
BEGIN
    INSERT INTO billing.dunning_case (account_id, id, invoice_id, scheme, version, opened_at, changed_at, base_on)
    VALUES (account_id, result, invoice_id, scheme, version, at, at, base_on);
    PERFORM billing_internal.log_case_changes(ARRAY[account_id], ARRAY[result], ARRAY[NULL::text], '{not_started}', at, ARRAY[why]);
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.open_case(bigint, bigint, text, int, date, timestamptz, text) IS 'opens a dunning case';

-- The next round: its steps begin anew and count from a day.
CREATE FUNCTION billing_internal.reopen_case(account_id bigint, case_id bigint, base_on date, at timestamptz, why text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE billing.dunning_case c SET round = c.round + 1, step_no = 0, base_on = reopen_case.base_on
     WHERE c.account_id = reopen_case.account_id AND c.id = reopen_case.case_id;
    PERFORM billing_internal.change_case(account_id, case_id, 'not_started', at, why),
            billing_internal.refresh_cases(ARRAY[account_id], ARRAY[case_id], at);
END $$;
COMMENT ON FUNCTION billing_internal.reopen_case(bigint, bigint, date, timestamptz, text) IS 'begins the next round of a case';

-- Ends what belongs to a case that is over: promises, the agency's work.
CREATE FUNCTION billing_internal.settle_case(account_id bigint, case_id bigint, at timestamptz, paid boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.end_promise(p.account_id, p.id, CASE WHEN paid THEN 'kept' ELSE 'canceled' END, at)
       FROM billing.promise p WHERE p.account_id = settle_case.account_id AND p.case_id = settle_case.case_id AND p.state = 'open';
    PERFORM billing_internal.change_transfer(t.account_id, t.id, CASE WHEN t.state = 'pending' THEN 'recalled' ELSE 'pending_recall' END, at)
       FROM billing.agency_transfer t WHERE t.account_id = settle_case.account_id AND t.case_id = settle_case.case_id
                                        AND t.state IN ('pending', 'transferred', 'accepted', 'recall_failed');
END $$;
COMMENT ON FUNCTION billing_internal.settle_case(bigint, bigint, timestamptz, boolean) IS 'ends promises and transfers of a case that is over';

-- A promise is kept when so much less is open than when it was made, whatever the day that a payment is booked on.
CREATE FUNCTION billing_internal.promise_check(account_id bigint, case_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    promise CONSTANT bigint := (
        SELECT p.id FROM billing.promise p
         WHERE p.account_id = promise_check.account_id AND p.case_id = promise_check.case_id AND p.state = 'open'
           -- what became overdue later was not promised
           AND p.amount <= p.amount_due - (SELECT coalesce(sum(i.amount_due), 0) FROM billing_internal.case_invoices(p.account_id, p.case_id, p.made_at) i));
BEGIN
    IF promise IS NOT NULL THEN
        PERFORM billing_internal.end_promise(account_id, promise, 'kept', at), billing_internal.end_pause(account_id, case_id, at, 'promise kept');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.promise_check(bigint, bigint, timestamptz) IS 'ends an open promise of a case that has been kept';

-- Called when what is settled of a document has changed.
CREATE FUNCTION billing_internal.case_of_invoice_changed(account_id bigint, invoice_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c record;
    to_state text;
BEGIN
    SELECT d.id, d.state, d.invoice_id, i.status, i.amount_paid, greatest(i.due_on, (at AT TIME ZONE a.time_zone)::date) AS again_on,
           -- what its last step was about counts, whatever the day that a payment is booked on
           d.invoice_id IS NULL AND NOT EXISTS (SELECT FROM billing_internal.case_invoices(d.account_id, d.id, greatest(at, d.stepped_at))) AS all_settled
      INTO c FROM billing.dunning_case d JOIN billing.account a ON a.account_id = d.account_id
      JOIN billing.invoice i ON i.account_id = d.account_id AND i.id = case_of_invoice_changed.invoice_id
     WHERE d.account_id = case_of_invoice_changed.account_id AND (d.invoice_id = i.id OR d.invoice_id IS NULL) ORDER BY d.invoice_id LIMIT 1;
    IF c.id IS NOT NULL THEN
        to_state := CASE WHEN c.invoice_id IS NULL THEN CASE WHEN c.all_settled THEN CASE c.status WHEN 'uncollectible' THEN 'written_off' ELSE 'succeeded' END END
                         ELSE CASE c.status WHEN 'paid' THEN 'succeeded' WHEN 'void' THEN 'stopped' WHEN 'uncollectible' THEN 'written_off' END END;
        IF to_state <> c.state AND NOT (c.invoice_id IS NULL AND c.state = 'written_off') THEN
            PERFORM billing_internal.change_case(account_id, c.id, to_state, at, CASE WHEN c.status = 'paid' AND c.amount_paid = 0 THEN 'credited' ELSE c.status END),
                    billing_internal.settle_case(account_id, c.id, at, to_state = 'succeeded');
        ELSIF to_state IS NULL AND c.invoice_id IS NOT NULL AND c.state IN ('succeeded', 'written_off') THEN
            PERFORM billing_internal.reopen_case(account_id, c.id, c.again_on, at, 'the invoice is open again');
        ELSIF to_state IS NULL THEN
            PERFORM billing_internal.promise_check(account_id, c.id, at);
        END IF;
    END IF;
    PERFORM billing_internal.arrangement_of_invoice_changed(account_id, invoice_id, at);
END $$;
COMMENT ON FUNCTION billing_internal.case_of_invoice_changed(bigint, bigint, timestamptz) IS 'called when what is settled of a document has changed: closes its case, or opens it again';
