-- A batch of a dunning run.

-- Opens the cases of a plan, to be told by the caller.  The accounts are locked, so their counters can be read before they are moved.
CREATE FUNCTION billing_internal.open_cases(account_ids bigint[], invoice_ids bigint[], schemes text[], versions int[], base_ons date[], at timestamptz) RETURNS bigint[]
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ids bigint[];
BEGIN
    IF account_ids IS NULL THEN RETURN NULL; END IF;
    SELECT array_agg(billing_internal.make_id(w.account_id, s.next_ordinal + w.k - 1) ORDER BY w.n) INTO ids
      FROM (SELECT u.*, row_number() OVER (PARTITION BY u.account_id ORDER BY u.base_on, u.invoice_id) AS k
              FROM unnest(account_ids, invoice_ids, base_ons) WITH ORDINALITY u (account_id, invoice_id, base_on, n)) w
      JOIN billing.account_state s ON s.account_id = w.account_id;
    UPDATE billing.account_state s SET next_ordinal = s.next_ordinal + w.count
      FROM (SELECT a AS account_id, count(*) FROM unnest(account_ids) a GROUP BY 1) w WHERE s.account_id = w.account_id;
    INSERT INTO billing.dunning_case (account_id, id, invoice_id, scheme, version, opened_at, changed_at, base_on, next_step_at)
    SELECT u.account_id, u.id, u.invoice_id, u.scheme, u.version, at, at, u.base_on, at
      FROM unnest(account_ids, ids, invoice_ids, schemes, versions, base_ons) u (account_id, id, invoice_id, scheme, version, base_on);
    RETURN ids;
END $$;
COMMENT ON FUNCTION billing_internal.open_cases(bigint[], bigint[], text[], int[], date[], timestamptz) IS 'opens dunning cases of locked accounts; returns their ids by position';

-- Arrangements and pauses that are over, then cases that are to open or to begin another round.  Those that opened are told with their first step.
CREATE FUNCTION billing_internal.prepare_cases(account_ids bigint[], at timestamptz, OUT opened_accounts bigint[], OUT opened bigint[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p record;
BEGIN
    PERFORM billing_internal.arrangement_due(r.account_id, r.id, at)
       FROM (SELECT a.account_id, a.id FROM billing.arrangement a
              WHERE a.account_id = ANY (account_ids) AND a.state = 'active' AND a.next_check_at <= at ORDER BY 1, 2) r;
    PERFORM billing_internal.pause_is_over(c.account_id, c.id, at)
       FROM (SELECT x.account_id, x.id FROM billing.dunning_case x
              WHERE x.account_id = ANY (account_ids) AND x.state = 'paused' AND x.next_step_at <= at ORDER BY 1, 2) c;
    SELECT array_agg(x.account_id) FILTER (WHERE x.case_id IS NULL) AS accounts, array_agg(x.invoice_id) FILTER (WHERE x.case_id IS NULL) AS invoices,
           array_agg(x.scheme) FILTER (WHERE x.case_id IS NULL) AS schemes, array_agg(x.version) FILTER (WHERE x.case_id IS NULL) AS versions,
           array_agg(x.base_on) FILTER (WHERE x.case_id IS NULL) AS base_ons,
           array_agg(x.account_id) FILTER (WHERE x.case_id IS NOT NULL) AS again_accounts, array_agg(x.case_id) FILTER (WHERE x.case_id IS NOT NULL) AS again,
           array_agg(x.base_on) FILTER (WHERE x.case_id IS NOT NULL) AS again_on
      INTO p FROM billing_internal.dunning_plan(account_ids, at, true) x WHERE x.step_at <= at;
    opened_accounts := p.accounts;
    opened := billing_internal.open_cases(p.accounts, p.invoices, p.schemes, p.versions, p.base_ons, at);
    PERFORM billing_internal.reopen_case(u.account_id, u.case_id, u.due_on, at, 'more is overdue') FROM unnest(p.again_accounts, p.again, p.again_on) u (account_id, case_id, due_on);
END $$;
COMMENT ON FUNCTION billing_internal.prepare_cases(bigint[], timestamptz) IS 'ends arrangements and pauses and opens cases of locked accounts; returns those that opened';

-- The steps that are due, of cases that just opened too: one list tells that they opened and that they run.  Each case moves
-- on by one update, before its step is done: when it is looked at next does not depend on what the step does, but under a
-- cap of steps.
CREATE FUNCTION billing_internal.do_steps(account_ids bigint[], opened_accounts bigint[], opened bigint[], at timestamptz) RETURNS int
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p record;
    told record;
    nexts timestamptz[];
    step record;
    again record;
BEGIN
    WITH plan AS MATERIALIZED (SELECT x.* FROM billing_internal.dunning_plan(account_ids, at, false) x WHERE x.verdict <> 'wait' OR x.step_no IS NULL OR x.step_at > at)
    SELECT array_agg(x.account_id) AS accounts, array_agg(x.case_id) AS cases, array_agg(x.invoice_id) AS invoices, array_agg(x.scheme) AS schemes, array_agg(x.version) AS versions,
           array_agg(x.round) AS rounds, array_agg(x.step_no) AS steps, array_agg(x.step_at) AS due_ats, array_agg(x.currency) AS currencies, array_agg(x.amount_due) AS dues,
           array_agg(x.base_on) AS base_ons, array_agg(at) AS stepped_ats, array_agg(x.why) AS whys, count(*) FILTER (WHERE x.verdict = 'do') AS done,
           array_agg(x.account_id) FILTER (WHERE x.state = 'not_started' AND x.verdict = 'do') AS starting_accounts,
           array_agg(x.case_id) FILTER (WHERE x.state = 'not_started' AND x.verdict = 'do') AS starting,
           (SELECT array_agg(w.account_id) FROM plan w WHERE w.verdict = 'wait') AS waiting_accounts, (SELECT array_agg(w.case_id) FROM plan w WHERE w.verdict = 'wait') AS waiting
      INTO p FROM (SELECT * FROM plan y WHERE y.verdict <> 'wait' ORDER BY y.account_id, y.case_id) x;
    SELECT array_agg(u.account_id) AS accounts, array_agg(u.case_id) AS cases, array_agg(u.from_state) AS from_states, array_agg(u.to_state) AS to_states, array_agg(u.why) AS whys INTO told
      FROM (SELECT o.account_id, o.case_id, NULL::text AS from_state, 'not_started' AS to_state, 'its first step is due' AS why
              FROM unnest(opened_accounts, opened) o (account_id, case_id)
             UNION ALL
            SELECT s.account_id, s.case_id, 'not_started', 'running', NULL FROM unnest(p.starting_accounts, p.starting) s (account_id, case_id)) u;
    PERFORM billing_internal.log_case_changes(told.accounts, told.cases, told.from_states, told.to_states, at, told.whys);
    -- What was due by its last look and is not any more waits for its new time.
    PERFORM billing_internal.refresh_cases(p.waiting_accounts, p.waiting, at);
    IF p.cases IS NULL THEN RETURN 0; END IF;
    SELECT array_agg(n.step_at ORDER BY n.n) INTO nexts
      FROM billing_internal.next_steps(p.accounts, p.cases, p.schemes, p.versions, p.rounds, p.steps, p.base_ons, p.stepped_ats, at) n;
    -- A step that is passed over takes its place: the next one comes no sooner than if it had been done.
    UPDATE billing.dunning_case c
       SET step_no = u.step_no, stepped_at = at, next_step_at = u.next_at,
           state = CASE WHEN u.why IS NULL THEN 'running' ELSE c.state END, changed_at = CASE WHEN u.why IS NULL AND c.state = 'not_started' THEN at ELSE c.changed_at END
      FROM unnest(p.accounts, p.cases, p.steps, nexts, p.whys) u (account_id, case_id, step_no, next_at, why)
     WHERE c.account_id = u.account_id AND c.id = u.case_id;
    INSERT INTO billing.dunning_action (account_id, case_id, round, step_no, due_at, done_at, currency, amount_due, done, passed_over)
    SELECT u.account_id, u.case_id, u.round, u.step_no, u.due_at, at, u.currency, u.amount_due, '{}', u.why
      FROM unnest(p.accounts, p.cases, p.rounds, p.steps, p.due_ats, p.currencies, p.dues, p.whys) u (account_id, case_id, round, step_no, due_at, currency, amount_due, why)
     WHERE u.why IS NOT NULL;
    FOR step IN SELECT u.scheme, u.version, u.step_no, array_agg(u.account_id) AS accounts, array_agg(u.case_id) AS cases, array_agg(u.invoice_id) AS invoices,
                       array_agg(u.round) AS rounds, array_agg(u.due_at) AS due_ats, array_agg(u.currency) AS currencies, array_agg(u.amount_due) AS dues
                  FROM unnest(p.schemes, p.versions, p.steps, p.accounts, p.cases, p.invoices, p.rounds, p.due_ats, p.currencies, p.dues, p.whys)
                           u (scheme, version, step_no, account_id, case_id, invoice_id, round, due_at, currency, amount_due, why)
                 WHERE u.why IS NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 LOOP
        PERFORM billing_internal.do_step(step.scheme, step.version, step.step_no, step.accounts, step.cases, step.invoices, step.rounds, step.due_ats,
                                         step.currencies, step.dues, at);
    END LOOP;
    SELECT array_agg(u.account_id) AS accounts, array_agg(u.case_id) AS cases INTO again
      FROM unnest(p.accounts, p.cases, p.schemes, p.versions, nexts) u (account_id, case_id, scheme, version, next_at)
      JOIN billing.dunning_scheme m ON m.code = u.scheme AND m.version = u.version WHERE u.next_at IS NULL OR m.step_cap IS NOT NULL;
    PERFORM billing_internal.refresh_cases(again.accounts, again.cases, at);
    RETURN p.done;
END $$;
COMMENT ON FUNCTION billing_internal.do_steps(bigint[], bigint[], bigint[], timestamptz) IS 'does the steps that are due of locked accounts; returns how many';

-- Accounts that others hold are left out, unless they were locked before.  All is looked up by key: a plan that was made
-- while a table was small must not read all of it for each row later in the run; and
-- no plan is made anew for each batch.
CREATE FUNCTION billing_internal.dun_accounts(account_ids bigint[], at timestamptz, locked boolean, OUT steps int, OUT left_out bigint[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    mine bigint[] := account_ids;
    new record;
BEGIN
    IF NOT locked THEN
        mine := ARRAY(SELECT s.account_id FROM billing.account_state s WHERE s.account_id = ANY (account_ids) ORDER BY 1 FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    left_out := ARRAY(SELECT a FROM unnest(account_ids) a EXCEPT SELECT a FROM unnest(mine) a ORDER BY 1);
    SELECT * INTO new FROM billing_internal.prepare_cases(mine, at);
    steps := billing_internal.do_steps(mine, new.opened_accounts, new.opened, at);
END $$;
COMMENT ON FUNCTION billing_internal.dun_accounts(bigint[], timestamptz, boolean) IS 'does what is due in the dunning of accounts; returns the steps done and the accounts left out';

CREATE PROCEDURE billing.dunning_run(at timestamptz DEFAULT NULL, batch_size int DEFAULT 1000, entity text DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_dunning_run';
COMMENT ON PROCEDURE billing.dunning_run(timestamptz, int, text) IS
    'does the dunning steps that are due at a moment (default now), batch by batch, each committed; in a transaction block all in the caller''s transaction; may be killed, repeated and run twice at once';
