-- A batch of a dunning run.

-- Opens the cases of a plan; returns their ids in the order of the accounts and invoices given.
CREATE FUNCTION billing_internal.open_cases(account_ids bigint[], invoice_ids bigint[], schemes text[], versions int[], base_ons date[], at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    made record;
BEGIN
    IF account_ids IS NULL THEN RETURN; END IF;
    WITH wanted AS (
        SELECT u.*, row_number() OVER (PARTITION BY u.account_id ORDER BY u.base_on, u.invoice_id) AS k
          FROM unnest(account_ids, invoice_ids, schemes, versions, base_ons) u (account_id, invoice_id, scheme, version, base_on)),
    counter AS (
        UPDATE billing.account_state s SET next_ordinal = s.next_ordinal + w.count
          FROM (SELECT x.account_id, count(*) FROM wanted x GROUP BY 1) w WHERE s.account_id = w.account_id
        RETURNING s.account_id, s.next_ordinal - w.count - 1 AS base),
    opened AS (
        INSERT INTO billing.dunning_case (account_id, id, invoice_id, scheme, version, opened_at, changed_at, base_on, next_step_at)
        SELECT w.account_id, billing_internal.make_id(w.account_id, c.base + w.k), w.invoice_id, w.scheme, w.version, at, at, w.base_on, at
          FROM wanted w JOIN counter c ON c.account_id = w.account_id
        RETURNING account_id, id)
    SELECT array_agg(o.account_id) AS accounts, array_agg(o.id) AS cases, array_agg(NULL::text) AS states INTO made FROM opened o;
    PERFORM billing_internal.log_case_changes(made.accounts, made.cases, made.states, at, 'its first step is due');
END $$;
COMMENT ON FUNCTION billing_internal.open_cases(bigint[], bigint[], text[], int[], date[], timestamptz) IS 'opens dunning cases of locked accounts';

-- Arrangements and pauses that are over, then cases that are to open or to begin another round.
CREATE FUNCTION billing_internal.prepare_cases(account_ids bigint[], at timestamptz) RETURNS void
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
    IF NOT EXISTS (SELECT FROM billing_internal.dunning_openings(account_ids, at)) THEN RETURN; END IF;
    SELECT array_agg(x.account_id) FILTER (WHERE x.case_id IS NULL) AS accounts, array_agg(x.invoice_id) FILTER (WHERE x.case_id IS NULL) AS invoices,
           array_agg(x.scheme) FILTER (WHERE x.case_id IS NULL) AS schemes, array_agg(x.version) FILTER (WHERE x.case_id IS NULL) AS versions,
           array_agg(x.base_on) FILTER (WHERE x.case_id IS NULL) AS base_ons,
           array_agg(x.account_id) FILTER (WHERE x.case_id IS NOT NULL) AS again_accounts, array_agg(x.case_id) FILTER (WHERE x.case_id IS NOT NULL) AS again,
           array_agg(x.base_on) FILTER (WHERE x.case_id IS NOT NULL) AS again_on
      INTO p FROM billing_internal.dunning_plan(account_ids, at) x WHERE x.opens AND x.step_at <= at;
    PERFORM billing_internal.open_cases(p.accounts, p.invoices, p.schemes, p.versions, p.base_ons, at);
    PERFORM billing_internal.reopen_case(u.account_id, u.case_id, u.due_on, at, 'more is overdue') FROM unnest(p.again_accounts, p.again, p.again_on) u (account_id, case_id, due_on);
END $$;
COMMENT ON FUNCTION billing_internal.prepare_cases(bigint[], timestamptz) IS 'ends arrangements and pauses and opens cases of locked accounts';

-- The steps that are due, then what follows for the cases.  Where rows are joined by account and id the accounts are
-- named once more, so that a batch reads its own rows and not the table.
CREATE FUNCTION billing_internal.do_steps(account_ids bigint[], at timestamptz) RETURNS int
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    acted record;
    told record;
BEGIN
    WITH plan AS MATERIALIZED (
        SELECT p.* FROM billing_internal.dunning_plan(account_ids, at) p
         WHERE NOT p.opens AND (p.verdict <> 'wait' OR p.step_no IS NULL OR p.step_at > at)),
    -- The row that proves a step comes before the step, so that none is done twice whatever happens in it.
    noted AS (
        INSERT INTO billing.dunning_action (account_id, case_id, round, step_no, due_at, done_at, currency, amount_due, done, passed_over)
        SELECT p.account_id, p.case_id, p.round, p.step_no, p.step_at, at, p.currency, p.amount_due, '{}', p.why
          FROM plan p WHERE p.verdict <> 'wait' ORDER BY p.account_id, p.case_id)
    SELECT array_agg(p.account_id) AS accounts, array_agg(p.case_id) AS cases, array_agg(p.round) AS rounds, array_agg(p.step_no) AS steps,
           array_agg(p.amount_due) AS dues, array_agg(p.verdict = 'do') AS wanted,
           array_agg(p.account_id) FILTER (WHERE p.state = 'not_started' AND p.verdict = 'do') AS starting_accounts,
           array_agg(p.case_id) FILTER (WHERE p.state = 'not_started' AND p.verdict = 'do') AS starting,
           (SELECT array_agg(w.account_id) FROM plan w WHERE w.verdict = 'wait') AS waiting_accounts, (SELECT array_agg(w.case_id) FROM plan w WHERE w.verdict = 'wait') AS waiting
      INTO acted FROM (SELECT * FROM plan x WHERE x.verdict <> 'wait' ORDER BY x.account_id, x.case_id) p;
    -- What was due by its last look and is not any more waits for its new time.
    PERFORM billing_internal.refresh_cases(acted.waiting_accounts, acted.waiting, at);
    IF acted.cases IS NULL THEN RETURN 0; END IF;
    -- A step that is passed over takes its place: the next one comes no sooner than if it had been done.
    UPDATE billing.dunning_case c SET step_no = u.step_no, stepped_at = at
      FROM unnest(acted.accounts, acted.cases, acted.steps) u (account_id, case_id, step_no)
     WHERE c.account_id = u.account_id AND c.id = u.case_id AND c.account_id = ANY (acted.accounts);
    PERFORM billing_internal.change_cases(acted.starting_accounts, acted.starting, 'running', at, NULL);
    WITH done AS MATERIALIZED (
        SELECT u.*, d.* FROM unnest(acted.accounts, acted.cases, acted.rounds, acted.steps, acted.dues, acted.wanted) WITH ORDINALITY
               u (account_id, case_id, round, step_no, amount_due, wanted, n),
               LATERAL billing_internal.do_step(u.account_id, u.case_id, u.step_no, u.amount_due, at) d WHERE u.wanted),
    written AS (
        UPDATE billing.dunning_action x
           SET done = d.done, passed_over = d.passed_over, notification_id = d.notification_id, claim_id = d.claim_id, collection_id = d.collection_id,
               fee = coalesce(d.fee, 0), interest = coalesce(d.interest, 0), fixed_sum = coalesce(d.fixed_sum, 0)
          FROM done d WHERE x.account_id = d.account_id AND x.case_id = d.case_id AND x.round = d.round AND x.step_no = d.step_no
           AND x.account_id = ANY (acted.accounts))
    SELECT array_agg(d.account_id ORDER BY d.n) AS accounts, array_agg(c.invoice_id ORDER BY d.n) AS invoices, array_agg(d.case_id ORDER BY d.n) AS cases,
           array_agg(jsonb_build_object('round', d.round, 'step_no', d.step_no, 'done', d.done) ORDER BY d.n) AS payloads
      INTO told FROM done d JOIN billing.dunning_case c ON c.account_id = d.account_id AND c.id = d.case_id AND c.account_id = ANY (acted.accounts);
    PERFORM billing_internal.emit_all(told.accounts, 'dunning.step_done', at, told.invoices, told.cases, told.payloads),
            billing_internal.refresh_cases(acted.accounts, acted.cases, at);
    RETURN coalesce(cardinality(told.cases), 0);
END $$;
COMMENT ON FUNCTION billing_internal.do_steps(bigint[], timestamptz) IS 'does the steps that are due of locked accounts; returns how many';

-- Accounts that others hold are left out, unless they were locked before.
CREATE FUNCTION billing_internal.dun_accounts(account_ids bigint[], at timestamptz, locked boolean, OUT steps int, OUT left_out bigint[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    mine bigint[] := account_ids;
BEGIN
    IF NOT locked THEN
        mine := ARRAY(SELECT s.account_id FROM billing.account_state s WHERE s.account_id = ANY (account_ids) ORDER BY 1 FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    left_out := ARRAY(SELECT a FROM unnest(account_ids) a WHERE a <> ALL (mine) ORDER BY 1);
    PERFORM billing_internal.prepare_cases(mine, at);
    steps := billing_internal.do_steps(mine, at);
END $$;
COMMENT ON FUNCTION billing_internal.dun_accounts(bigint[], timestamptz, boolean) IS 'does what is due in the dunning of accounts; returns the steps done and the accounts left out';

CREATE PROCEDURE billing.dunning_run(at timestamptz DEFAULT NULL, batch_size int DEFAULT 1000, entity text DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_dunning_run';
COMMENT ON PROCEDURE billing.dunning_run(timestamptz, int, text) IS
    'does the dunning steps that are due at a moment (default now), batch by batch, each committed; in a transaction block all in the caller''s transaction; may be killed, repeated and run twice at once';
