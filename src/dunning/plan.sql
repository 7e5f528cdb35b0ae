-- What is to be done at a moment: one plan, which a preview shows and a run carries out.

-- The next step of cases, and when it is due.  Due is the later of what the scheme says and of the distance that
-- the scheme puts between two steps, counted from when the last one was done: after a time without runs letters do
-- not come in a burst.  A step before the due date is passed by when that date is over, and in later rounds.  What is past is due now if
-- the day of the week allows it.  Cases that stand alike are computed once, each alone only where a cap counts its steps.
-- OFFSET 0 keeps each expression apart, or it would be computed anew at every place that names it.
CREATE FUNCTION billing_internal.next_steps(account_ids bigint[], case_ids bigint[], schemes text[], versions int[], rounds int[], last_nos int[],
    base_ons date[], stepped_ats timestamptz[], at timestamptz, OUT n bigint, OUT step_no int, OUT step_at timestamptz)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
    capped CONSTANT boolean := EXISTS (SELECT FROM billing.dunning_scheme m WHERE m.code = ANY (schemes) AND m.step_cap IS NOT NULL);
BEGIN
    RETURN QUERY
    SELECT n.n, s.step_no, t.at
      FROM (SELECT u.scheme, u.version, u.round, u.last_no, u.base_on, u.stepped_at, a.time_zone, CASE WHEN capped THEN u.account_id END AS account_id,
                   CASE WHEN capped THEN u.case_id END AS case_id, array_agg(u.n) AS places
              FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) WITH ORDINALITY u (account_id, case_id, scheme, version, round, last_no, base_on, stepped_at, n)
              JOIN billing.account a ON a.account_id = u.account_id GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9) c
      JOIN billing.dunning_scheme m ON m.code = c.scheme AND m.version = c.version
     CROSS JOIN LATERAL (SELECT $9 AT TIME ZONE c.time_zone AS at, c.stepped_at AT TIME ZONE c.time_zone AS stepped_at OFFSET 0) l
      LEFT JOIN LATERAL (
           SELECT s.* FROM billing.dunning_step s
            WHERE s.scheme = c.scheme AND s.version = c.version AND s.step_no > c.last_no AND NOT (s.after < '0' AND (c.round > 1 OR l.at::date > c.base_on))
              AND (m.step_cap IS NULL OR c.case_id IS NULL OR m.step_cap > (
                   SELECT count(*) FROM billing.dunning_action x
                    WHERE x.account_id = c.account_id AND x.case_id = c.case_id AND x.done <> '{}' AND (x.round = c.round OR NOT m.rounds_restart)))
            ORDER BY s.step_no LIMIT 1) s ON true
      LEFT JOIN billing.dunning_step p ON p.scheme = c.scheme AND p.version = c.version AND p.step_no = c.last_no
     CROSS JOIN LATERAL (
           SELECT greatest(CASE WHEN s.counted_from = 'due' OR c.last_no = 0 OR l.stepped_at IS NULL THEN c.base_on + s.after
                                WHEN date_trunc('day', s.after) = s.after THEN l.stepped_at::date + s.after
                                ELSE l.stepped_at + s.after END,
                           l.stepped_at::date + greatest(interval '1 day', CASE WHEN s.counted_from = 'due' AND p.counted_from = 'due' THEN s.after - p.after END)) AS at OFFSET 0) r
     CROSS JOIN LATERAL (SELECT CASE WHEN r.at::time > s.not_after THEN r.at::date + 1 + s.not_before ELSE greatest(r.at, r.at::date + s.not_before) END AS at OFFSET 0) w
     CROSS JOIN LATERAL (SELECT CASE WHEN cardinality(s.weekdays) = 7 OR extract(isodow FROM w.at) = ANY (s.weekdays) THEN w.at
                                     ELSE (SELECT min(w.at::date + k) FROM generate_series(1, 6) k WHERE extract(isodow FROM w.at::date + k) = ANY (s.weekdays)) + s.not_before END AS at OFFSET 0) f
     CROSS JOIN LATERAL (SELECT CASE WHEN cardinality(s.weekdays) = 7 OR f.at >= l.at THEN 0
                                     ELSE (SELECT min(k) FROM generate_series(0, 6) k WHERE extract(isodow FROM l.at::date + k) = ANY (s.weekdays)) END AS days OFFSET 0) k
     CROSS JOIN LATERAL (SELECT (CASE WHEN k.days = 0 THEN f.at ELSE l.at::date + k.days + s.not_before END) AT TIME ZONE c.time_zone AS at OFFSET 0) t
     CROSS JOIN LATERAL unnest(c.places) n (n);
END $$;
COMMENT ON FUNCTION billing_internal.next_steps(bigint[], bigint[], text[], int[], int[], int[], date[], timestamptz[], timestamptz) IS
    'the next step of each case and when it is due, by position; null: none is left';

-- Open invoices whose scheme's first step may be due and that no case is about; and accounts whose overdue
-- invoices are pursued together.
CREATE FUNCTION billing_internal.dunning_openings(account_ids bigint[], at timestamptz, OUT account_id bigint, OUT case_id bigint, OUT invoice_id bigint,
    OUT scheme text, OUT version int, OUT round int, OUT base_on date, OUT stepped_at timestamptz)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH open AS MATERIALIZED (
        SELECT h.account_id, h.id, coalesce(s.issued_on, h.external_issued_on) + h.payment_terms_days AS due_on,
               -- a call for each row costs more than all the rest
               CASE WHEN EXISTS (SELECT FROM billing.subscription n WHERE n.account_id = h.account_id AND n.dunning_scheme IS NOT NULL)
                    THEN billing_internal.scheme_of(h.account_id, h.id) ELSE coalesce(a.dunning_scheme, e.dunning_scheme) END AS scheme,
               ($2 AT TIME ZONE a.time_zone) AS local, a.time_zone, h.currency
          FROM billing.invoice_header h
          JOIN billing.account a ON a.account_id = h.account_id
          JOIN billing.entity e ON e.code = a.entity
          LEFT JOIN billing.seal s ON s.account_id = h.account_id AND s.invoice_id = h.id
         WHERE h.account_id = ANY ($1) AND h.status = 'open' AND h.kind = 'invoice'
           AND NOT EXISTS (SELECT FROM billing.dunning_case c WHERE c.account_id = h.account_id AND c.invoice_id = h.id)
           -- who had no scheme when it was arranged
           AND NOT EXISTS (SELECT FROM billing.arrangement_invoice v JOIN billing.arrangement r ON r.account_id = v.account_id AND r.id = v.arrangement_id
                            WHERE v.account_id = h.account_id AND v.invoice_id = h.id AND r.next_check_at > $2)),
    due AS (
        SELECT o.*, m.version, m.scope FROM open o
         CROSS JOIN LATERAL (SELECT x.version, x.scope, x.currency FROM billing.dunning_scheme x WHERE x.code = o.scheme ORDER BY x.version DESC LIMIT 1) m
          JOIN billing.dunning_step f ON f.scheme = o.scheme AND f.version = m.version AND f.step_no = 1
         -- amounts of a scheme say nothing in another currency
         WHERE o.due_on + f.after <= o.local AND coalesce(m.currency, o.currency) = o.currency)
    SELECT d.account_id, NULL::bigint, d.id, d.scheme, d.version, 1, d.due_on, NULL::timestamptz FROM due d WHERE d.scope = 'invoice'
    UNION ALL
    SELECT * FROM (
        SELECT DISTINCT ON (d.account_id) d.account_id, c.id, NULL::bigint, coalesce(c.scheme, d.scheme), coalesce(c.version, d.version), coalesce(c.round, 0) + 1,
               greatest(d.due_on, (c.changed_at AT TIME ZONE d.time_zone)::date), c.stepped_at
          FROM due d LEFT JOIN billing.dunning_case c ON c.account_id = d.account_id AND c.invoice_id IS NULL
         WHERE d.scope = 'account' AND d.due_on < d.local::date
           AND (c.id IS NULL OR c.state IN ('succeeded', 'written_off') OR c.state = 'exhausted' AND d.due_on >= (c.changed_at AT TIME ZONE d.time_zone)::date)
         ORDER BY d.account_id, d.due_on, d.id) a;
END $$;
COMMENT ON FUNCTION billing_internal.dunning_openings(bigint[], timestamptz) IS 'cases that are to open, or to begin their next round, at a moment';

CREATE FUNCTION billing_internal.scheme_of(account_id bigint, invoice_id bigint) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT coalesce((SELECT s.dunning_scheme FROM billing.invoice_line l
                           JOIN billing.subscription s ON s.account_id = l.account_id AND s.id = l.subscription_id
                          WHERE l.account_id = $1 AND l.invoice_id = $2 AND s.dunning_scheme IS NOT NULL ORDER BY l.line_no LIMIT 1),
                        a.dunning_scheme, e.dunning_scheme)
          FROM billing.account a JOIN billing.entity e ON e.code = a.entity WHERE a.account_id = $1);
END $$;
COMMENT ON FUNCTION billing_internal.scheme_of(bigint, bigint) IS 'dunning scheme of an invoice: that of the first line whose subscription has one, else the account''s, else the entity''s';

-- One row per case that is to be looked at: do; pass_over: the step is noted and nothing done; wait: not now.  As in the
-- other functions of a run plpgsql is used where SQL would do, since it keeps its plan from batch to batch.
CREATE FUNCTION billing_internal.dunning_plan(account_ids bigint[], at timestamptz, openings boolean, OUT account_id bigint, OUT case_id bigint,
    OUT invoice_id bigint, OUT scheme text, OUT version int, OUT round int, OUT state text, OUT step_no int, OUT step_at timestamptz, OUT currency text,
    OUT amount_due numeric, OUT base_on date, OUT opens boolean, OUT verdict text, OUT why text)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH looked_at AS (
        SELECT c.account_id, c.id AS case_id, c.invoice_id, c.scheme, c.version, c.round, CASE WHEN c.state = 'paused' THEN c.resume_state ELSE c.state END AS state,
               c.step_no AS last_no, c.base_on, c.stepped_at, false AS opens
          FROM billing.dunning_case c
         WHERE $3 IS NOT true AND c.account_id = ANY ($1) AND c.next_step_at <= $2
           AND (c.state IN ('not_started', 'running') OR $3 IS NULL AND c.state = 'paused' AND c.resume_state IN ('not_started', 'running')
                AND (c.pause_reason <> 'arrangement' OR billing_internal.arrangement_missed(c.account_id, c.id, $2)))
        UNION ALL
        SELECT o.account_id, o.case_id, o.invoice_id, o.scheme, o.version, o.round, 'not_started', 0, o.base_on, o.stepped_at, true
          FROM billing_internal.dunning_openings($1, $2) o WHERE $3 IS NOT false),
    numbered AS (SELECT l.*, row_number() OVER () AS n FROM looked_at l),
    lists AS (
        SELECT array_agg(l.account_id) AS accounts, array_agg(l.case_id) AS cases, array_agg(l.scheme) AS schemes,
               array_agg(l.version) AS versions, array_agg(l.round) AS rounds, array_agg(l.last_no) AS last_nos,
               array_agg(l.base_on) AS base_ons, array_agg(l.stepped_at) AS stepped_ats FROM (SELECT * FROM numbered x ORDER BY x.n) l),
    stepping AS (
        SELECT l.*, x.step_no, x.step_at FROM lists s,
               LATERAL billing_internal.next_steps(s.accounts, s.cases, s.schemes, s.versions, s.rounds, s.last_nos, s.base_ons, s.stepped_ats, $2) x
          JOIN numbered l ON l.n = x.n)
    SELECT l.account_id, l.case_id, l.invoice_id, l.scheme, l.version, l.round, l.state, l.step_no, l.step_at, a.currency, d.amount_due, l.base_on, l.opens,
           CASE WHEN l.step_no IS NULL OR l.step_at > $2 OR w.why IS NOT NULL THEN 'wait' WHEN d.amount_due < t.minimum_due THEN 'pass_over' ELSE 'do' END,
           CASE WHEN l.step_no IS NULL THEN 'no step is left' WHEN l.step_at > $2 THEN 'not yet' WHEN w.why IS NOT NULL THEN w.why
                WHEN d.amount_due < t.minimum_due THEN 'less than minimum_due is open' END
      FROM stepping l
      JOIN billing.account a ON a.account_id = l.account_id
      JOIN billing.dunning_scheme m ON m.code = l.scheme AND m.version = l.version
      LEFT JOIN billing.dunning_step t ON t.scheme = l.scheme AND t.version = l.version AND t.step_no = l.step_no
      LEFT JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id
     CROSS JOIN LATERAL (
           SELECT CASE WHEN l.invoice_id IS NOT NULL THEN h.total + h.rounding_amount - h.amount_paid - h.amount_credited
                       ELSE (SELECT sum(i.amount_due) FROM billing.invoice i
                              WHERE i.account_id = l.account_id AND i.kind = 'invoice' AND i.status = 'open' AND i.due_on < ($2 AT TIME ZONE a.time_zone)::date
                                AND NOT EXISTS (SELECT FROM billing.dunning_case x WHERE x.account_id = i.account_id AND x.invoice_id = i.id)) END AS amount_due OFFSET 0) d
     CROSS JOIN LATERAL (
           SELECT CASE WHEN coalesce(d.amount_due, 0) = 0 OR h.status <> 'open' THEN 'nothing is open'
                       WHEN d.amount_due < m.threshold THEN 'less than the threshold is open'
                       WHEN EXISTS (SELECT FROM billing.collection x WHERE x.account_id = l.account_id AND x.status IN ('claimed', 'submitted')
                                       AND (x.invoice_id = l.invoice_id OR l.invoice_id IS NULL)) THEN 'a collection is under way' END AS why OFFSET 0) w;
END $$;
COMMENT ON FUNCTION billing_internal.dunning_plan(bigint[], timestamptz, boolean) IS
    'what is to be done at a moment for the cases of accounts (openings false), for invoices that are to have one (true), or for both, paused cases included, as they would be (null)';

-- Accounts that a run at a moment has to look at.
CREATE FUNCTION billing_internal.dunning_accounts(at timestamptz, entity text, first bigint, last bigint) RETURNS SETOF bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.account_id FROM billing.dunning_case c
     WHERE c.state IN ('not_started', 'running', 'paused') AND c.next_step_at <= $1 AND c.account_id BETWEEN $3 AND $4
       AND ($2 IS NULL OR EXISTS (SELECT FROM billing.account_state s WHERE s.account_id = c.account_id AND s.entity = $2))
    UNION
    SELECT a.account_id FROM billing.arrangement a
     WHERE a.state = 'active' AND a.next_check_at <= $1 AND a.account_id BETWEEN $3 AND $4
       AND ($2 IS NULL OR EXISTS (SELECT FROM billing.account_state s WHERE s.account_id = a.account_id AND s.entity = $2))
    UNION
    SELECT h.account_id FROM billing.invoice_header h
     WHERE h.status = 'open' AND h.kind = 'invoice' AND h.account_id BETWEEN $3 AND $4 AND ($2 IS NULL OR h.entity = $2) AND EXISTS (SELECT FROM billing.dunning_scheme)
       AND NOT EXISTS (SELECT FROM billing.dunning_case c WHERE c.account_id = h.account_id
                          AND (c.invoice_id = h.id OR c.invoice_id IS NULL AND c.state NOT IN ('succeeded', 'written_off', 'exhausted')))
$$;
COMMENT ON FUNCTION billing_internal.dunning_accounts(timestamptz, text, bigint, bigint) IS 'accounts of a range with cases or arrangements that are due, or with open invoices that no case is about';

CREATE FUNCTION billing.dunning_preview(at timestamptz DEFAULT NULL, OUT account_id bigint, OUT case_id bigint, OUT invoice_id bigint, OUT scheme text,
    OUT round int, OUT step_no int, OUT due_at timestamptz, OUT actions text[], OUT currency text, OUT amount_due numeric, OUT passed_over text)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.dunning_preview(timestamptz) IS 'the steps that dunning_run would do at a moment (default now); writes and locks nothing';
CREATE FUNCTION billing_internal.dunning_preview(at timestamptz, OUT account_id bigint, OUT case_id bigint, OUT invoice_id bigint, OUT scheme text,
    OUT round int, OUT step_no int, OUT due_at timestamptz, OUT actions text[], OUT currency text, OUT amount_due numeric, OUT passed_over text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.account_id, p.case_id, p.invoice_id, p.scheme, p.round, p.step_no, p.step_at, s.actions, p.currency, p.amount_due, p.why
      FROM (SELECT coalesce($1, now()) AS at) m,
           LATERAL billing_internal.dunning_plan(ARRAY(SELECT billing_internal.dunning_accounts(m.at, NULL, 0, 9223372036854775807)), m.at, NULL) p
      JOIN billing.dunning_step s ON s.scheme = p.scheme AND s.version = p.version AND s.step_no = p.step_no
     WHERE p.verdict <> 'wait'
     ORDER BY p.account_id, p.invoice_id
$$;
COMMENT ON FUNCTION billing_internal.dunning_preview(timestamptz) IS 'body of billing.dunning_preview';
