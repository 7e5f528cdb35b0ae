-- What comes in the next days.  billing.x is the door (rights), billing_internal.x the body.

-- Cases as the view tells them, and of those that are still to open the first step, as next_steps() computes it.
CREATE FUNCTION billing.dunning_forecast(until timestamptz, at timestamptz DEFAULT NULL, OUT account_id bigint, OUT case_id bigint, OUT invoice_id bigint,
    OUT scheme text, OUT round int, OUT step_no int, OUT due_at timestamptz, OUT actions text[], OUT currency text, OUT amount_due numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.dunning_forecast(timestamptz, timestamptz) IS
    'the next step of each case, and the first of each that is to open, which come until an instant if nothing is paid, seen from a moment (default now); writes and locks nothing';
CREATE FUNCTION billing_internal.dunning_forecast(until timestamptz, at timestamptz, OUT account_id bigint, OUT case_id bigint, OUT invoice_id bigint,
    OUT scheme text, OUT round int, OUT step_no int, OUT due_at timestamptz, OUT actions text[], OUT currency text, OUT amount_due numeric)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH opening AS (
        SELECT o.*, row_number() OVER () AS n
          FROM billing_internal.dunning_openings(ARRAY(SELECT billing_internal.dunning_accounts($1, NULL, 0, 9223372036854775807)), $1) o),
    lists AS (
        SELECT array_agg(o.account_id ORDER BY o.n) AS accounts, array_agg(o.case_id ORDER BY o.n) AS cases, array_agg(o.scheme ORDER BY o.n) AS schemes,
               array_agg(o.version ORDER BY o.n) AS versions, array_agg(o.round ORDER BY o.n) AS rounds, array_agg(0 ORDER BY o.n) AS last_nos,
               array_agg(o.base_on ORDER BY o.n) AS base_ons, array_agg(c.stepped_at ORDER BY o.n) AS stepped_ats
          FROM opening o LEFT JOIN billing.dunning_case c ON c.account_id = o.account_id AND c.id = o.case_id)
    SELECT v.account_id, v.case_id, v.invoice_id, v.scheme, v.round, v.step_no, v.next_step_at, v.actions, v.currency, v.amount_due
      FROM billing.next_dunning_step v WHERE v.next_step_at <= $1 AND v.step_no IS NOT NULL
    UNION ALL
    SELECT o.account_id, o.case_id, o.invoice_id, o.scheme, o.round, x.step_no, x.step_at, s.actions, a.currency, i.amount_due
      FROM lists l, LATERAL billing_internal.next_steps(l.accounts, l.cases, l.schemes, l.versions, l.rounds, l.last_nos, l.base_ons, l.stepped_ats, coalesce($2, now())) x
      JOIN opening o ON o.n = x.n
      JOIN billing.dunning_step s ON s.scheme = o.scheme AND s.version = o.version AND s.step_no = x.step_no
      JOIN billing.account a ON a.account_id = o.account_id
      LEFT JOIN billing.invoice i ON i.account_id = o.account_id AND i.id = o.invoice_id
     WHERE x.step_at <= $1
     ORDER BY 7, 1, 3
$$;
COMMENT ON FUNCTION billing_internal.dunning_forecast(timestamptz, timestamptz) IS 'body of billing.dunning_forecast';
