-- Arrangements: overdue invoices are paid in parts, and their cases wait for it.

CREATE FUNCTION billing_internal.day_after(day date, time_zone text) RETURNS timestamptz
    LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$ SELECT ($1 + 1)::timestamp AT TIME ZONE $2 $$;
COMMENT ON FUNCTION billing_internal.day_after(date, text) IS 'when the day after a day begins in a zone';

CREATE FUNCTION billing_internal.instalment_on(start_on date, every text, n int) RETURNS date
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ($1 + CASE $2 WHEN 'day' THEN interval '1 day' WHEN 'two_days' THEN interval '2 days' WHEN 'week' THEN interval '7 days' WHEN 'two_weeks' THEN interval '14 days'
                         WHEN 'month' THEN interval '1 month' WHEN 'two_months' THEN interval '2 months' WHEN 'quarter' THEN interval '3 months'
                         WHEN 'half_year' THEN interval '6 months' WHEN 'year' THEN interval '1 year' END * $3)::date
     WHERE $2 <> 'half_month'
    UNION ALL
    SELECT ($1 + interval '1 month' * ($3 / 2))::date + 15 * ($3 % 2) WHERE $2 = 'half_month'
$$;
COMMENT ON FUNCTION billing_internal.instalment_on(date, text, int) IS 'day of the n-th instalment after the first; half a month is 15 days after the month';

-- The initial amount first, then equal parts, of which the first ones take the odd minor units.
CREATE FUNCTION billing_internal.arrangement_parts(total numeric, initial_amount numeric, count int, every text, start_on date, currency text,
    OUT instalment_no int, OUT due_on date, OUT amount numeric)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 0, $5, billing.round_amount($2, $6) WHERE $2 > 0
    UNION ALL
    SELECT p.no::int, billing_internal.instalment_on($5, $4, CASE WHEN $2 > 0 THEN p.no::int ELSE p.no::int - 1 END), p.amount
      FROM unnest(billing_internal.split_amount($1 - coalesce($2, 0), array_fill(1::numeric, ARRAY[$3]), $6)) WITH ORDINALITY p (amount, no)
$$;
COMMENT ON FUNCTION billing_internal.arrangement_parts(numeric, numeric, int, text, date, text) IS 'instalments of an arrangement';

-- The invoices that it may be about: overdue, open, each once, and in no other arrangement.
CREATE FUNCTION billing_internal.check_arrangeable(account_id bigint, invoice_ids bigint[], today date) RETURNS numeric
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i record;
    total numeric := 0;
BEGIN
    IF coalesce(cardinality(invoice_ids), 0) = 0 OR array_position(invoice_ids, NULL) IS NOT NULL
       OR cardinality(invoice_ids) > (SELECT count(DISTINCT x) FROM unnest(invoice_ids) x) THEN
        PERFORM billing_internal.fail('invalid_argument', 'an arrangement is about at least one invoice, each named once');
    END IF;
    FOR i IN SELECT x.id, h.kind, h.status, h.due_on, h.amount_due, CASE WHEN c.invoice_id IS NOT NULL OR c.pause_reason IS DISTINCT FROM 'arrangement' THEN c.state END AS state,
                    EXISTS (SELECT FROM billing.arrangement_invoice v JOIN billing.arrangement a ON a.account_id = v.account_id AND a.id = v.arrangement_id
                             WHERE v.account_id = check_arrangeable.account_id AND v.invoice_id = x.id AND a.state = 'active') AS arranged
               FROM unnest(invoice_ids) x (id)
               LEFT JOIN billing.invoice h ON h.account_id = check_arrangeable.account_id AND h.id = x.id
               LEFT JOIN LATERAL (SELECT d.* FROM billing.dunning_case d WHERE d.account_id = h.account_id AND (d.invoice_id = h.id OR d.invoice_id IS NULL)
                                   ORDER BY d.invoice_id LIMIT 1) c ON true LOOP
        IF i.kind IS NULL THEN
            PERFORM billing_internal.fail('unknown_invoice', format('account %s has no document %s', account_id, i.id));
        ELSIF i.kind = 'credit_note' OR i.status <> 'open' OR i.due_on >= today THEN
            PERFORM billing_internal.fail('wrong_document_state', format('%s %s is not overdue', replace(i.kind, '_', ' '), i.id), format('It is %s and due on %s.', i.status, i.due_on));
        ELSIF i.arranged OR i.state IN ('paused', 'at_agency') THEN
            PERFORM billing_internal.fail('wrong_case_state', format('the dunning case of invoice %s is %s', i.id, coalesce(i.state, 'arranged')));
        END IF;
        total := total + i.amount_due;
    END LOOP;
    RETURN total;
END $$;
COMMENT ON FUNCTION billing_internal.check_arrangeable(bigint, bigint[], date) IS 'what is due of invoices that can be arranged, or why they cannot';

-- The cases of what is arranged wait; where there is none yet, or the last one is over, one is opened, so that no run begins meanwhile.
CREATE FUNCTION billing_internal.pause_for_arrangement(account_id bigint, arrangement_id bigint, invoice_ids bigint[], at timestamptz, until timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    o record;
    waiting record;
BEGIN
    FOR o IN
        SELECT DISTINCT ON (w.invoice_id) w.invoice_id, m.code, m.version, i.due_on, c.id AS over
          FROM unnest(invoice_ids) x
          JOIN billing.invoice i ON i.account_id = pause_for_arrangement.account_id AND i.id = x AND i.kind = 'invoice'
          JOIN billing.dunning_scheme m ON m.code = billing_internal.scheme_of(i.account_id, i.id)
           AND m.version = (SELECT max(y.version) FROM billing.dunning_scheme y WHERE y.code = m.code) AND coalesce(m.currency, i.currency) = i.currency
         CROSS JOIN LATERAL (SELECT CASE m.scope WHEN 'invoice' THEN i.id END AS invoice_id) w
          LEFT JOIN billing.dunning_case c ON c.account_id = i.account_id AND c.invoice_id IS NULL AND w.invoice_id IS NULL
         WHERE NOT EXISTS (SELECT FROM billing.dunning_case d WHERE d.account_id = i.account_id AND d.invoice_id = i.id)
           AND (c.id IS NULL OR c.state IN ('succeeded', 'written_off'))
         ORDER BY w.invoice_id, i.due_on LOOP
        IF o.over IS NULL THEN
            PERFORM billing_internal.open_case(account_id, o.invoice_id, o.code, o.version, o.due_on, at, 'arrangement');
        ELSE
            PERFORM billing_internal.reopen_case(account_id, o.over, o.due_on, at, 'arrangement');
        END IF;
    END LOOP;
    SELECT array_agg(c.account_id) AS accounts, array_agg(c.id) AS cases INTO waiting FROM billing.dunning_case c
     WHERE c.account_id = pause_for_arrangement.account_id AND (c.invoice_id = ANY (invoice_ids) OR c.invoice_id IS NULL)
       AND c.state IN ('not_started', 'running', 'exhausted');
    PERFORM billing_internal.change_cases(waiting.accounts, waiting.cases, 'paused', at, format('arrangement %s', arrangement_id), 'arrangement', until);
END $$;
COMMENT ON FUNCTION billing_internal.pause_for_arrangement(bigint, bigint, bigint[], timestamptz, timestamptz) IS 'pauses the cases of the invoices of an arrangement';

CREATE FUNCTION billing.arrange_payments(account_id bigint, invoice_ids bigint[], count int, every text, initial_amount numeric DEFAULT NULL, costs numeric DEFAULT NULL,
    start_on date DEFAULT NULL, effective_at timestamptz DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.arrange_payments(bigint, bigint[], int, text, numeric, numeric, date, timestamptz) IS
    'agrees that overdue invoices are paid in so many parts, after an initial amount; costs become a claim and are among the parts; dunning waits until a part is missed; returns the arrangement''s id';
CREATE FUNCTION billing_internal.arrange_payments(account_id bigint, invoice_ids bigint[], count int, every text, initial_amount numeric, costs numeric,
    start_on date, effective_at timestamptz)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    a record;
    total numeric;
    claim bigint;
    result bigint;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at'), billing_internal.check_billable(at), billing_internal.lock_account(account_id),
            billing_internal.check_one_of(every, 'interval', 'day', 'two_days', 'week', 'two_weeks', 'half_month', 'month', 'two_months', 'quarter', 'half_year', 'year');
    SELECT x.currency, x.time_zone, (at AT TIME ZONE x.time_zone)::date AS today INTO a FROM billing.account x WHERE x.account_id = arrange_payments.account_id;
    PERFORM billing_internal.check_amount(initial_amount, a.currency, 'initial_amount'), billing_internal.check_amount(nullif(costs, 0), a.currency, 'costs');
    total := billing_internal.check_arrangeable(account_id, invoice_ids, a.today);
    start_on := coalesce(start_on, a.today);
    IF count NOT BETWEEN 1 AND 240 OR start_on NOT BETWEEN a.today AND a.today + 366 THEN
        PERFORM billing_internal.fail('invalid_argument', format('%s instalments from %s cannot be arranged', count, start_on), 'There are 1 to 240, from this day or one in the next year on.');
    ELSIF initial_amount >= total + coalesce(costs, 0) OR (total + coalesce(costs, 0) - coalesce(initial_amount, 0)) < billing_internal.minor_unit(a.currency) * count THEN
        PERFORM billing_internal.fail('amount_exceeded', 'not so much is due that it can be paid in these parts', format('%s is due.', total + coalesce(costs, 0)));
    END IF;
    result := billing_internal.next_id(account_id);
    IF costs > 0 THEN
        claim := billing_internal.write_claim(account_id, invoice_ids[1], jsonb_build_array(jsonb_build_object('kind', 'costs', 'description', 'Costs of payment in parts', 'amount', costs)),
                                              at, 'arrangement');
        total := total + (SELECT i.amount_due FROM billing.invoice i WHERE i.account_id = arrange_payments.account_id AND i.id = claim);
    END IF;
    INSERT INTO billing.arrangement (account_id, id, currency, total, costs, claim_id, made_at, next_check_at)
    VALUES (account_id, result, a.currency, total, billing.round_amount(coalesce(costs, 0), a.currency), claim, at, billing_internal.day_after(start_on, a.time_zone));
    INSERT INTO billing.arrangement_invoice (account_id, arrangement_id, invoice_id) SELECT account_id, result, x FROM unnest(invoice_ids || claim) x WHERE x IS NOT NULL;
    INSERT INTO billing.arrangement_instalment (account_id, arrangement_id, instalment_no, due_on, currency, amount)
    SELECT account_id, result, p.instalment_no, p.due_on, a.currency, p.amount FROM billing_internal.arrangement_parts(total, initial_amount, count, every, start_on, a.currency) p;
    PERFORM billing_internal.pause_for_arrangement(account_id, result, invoice_ids, at, billing_internal.day_after(start_on, a.time_zone)),
            billing_internal.emit(account_id, 'arrangement.made', at, payload => jsonb_build_object('arrangement_id', result, 'currency', a.currency, 'total', total::text));
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.arrange_payments(bigint, bigint[], int, text, numeric, numeric, date, timestamptz) IS 'body of billing.arrange_payments';

CREATE FUNCTION billing_internal.minor_unit(currency text) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT 10::numeric ^ (- c.minor_units) FROM billing.currency c WHERE c.code = $1 $$;
COMMENT ON FUNCTION billing_internal.minor_unit(text) IS 'smallest amount of a currency';

-- How an arrangement stands.  Paid is what is not open any more, whatever the day that a payment is booked on.
CREATE FUNCTION billing_internal.arrangement_standing(account_id bigint, arrangement_id bigint, OUT amount_open numeric, OUT next_on date)
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    WITH rest AS (
        SELECT coalesce(sum(i.amount_due) FILTER (WHERE i.status = 'open'), 0) AS amount
          FROM billing.arrangement_invoice v JOIN billing.invoice i ON i.account_id = v.account_id AND i.id = v.invoice_id WHERE v.account_id = $1 AND v.arrangement_id = $2),
    part AS (
        SELECT p.due_on, sum(p.amount) OVER (ORDER BY p.instalment_no DESC) - p.amount AS rest_after FROM billing.arrangement_instalment p WHERE p.account_id = $1 AND p.arrangement_id = $2)
    SELECT r.amount, (SELECT min(p.due_on) FROM part p WHERE p.rest_after < r.amount) FROM rest r
$$;
COMMENT ON FUNCTION billing_internal.arrangement_standing(bigint, bigint) IS 'what is still open of an arrangement, and the day of the first part that is not paid';

CREATE FUNCTION billing_internal.arranged_cases(account_id bigint, arrangement_id bigint) RETURNS SETOF bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.id FROM billing.dunning_case c
     WHERE c.account_id = $1 AND c.pause_reason = 'arrangement'
       AND (c.invoice_id IS NULL OR EXISTS (SELECT FROM billing.arrangement_invoice v WHERE v.account_id = $1 AND v.arrangement_id = $2 AND v.invoice_id = c.invoice_id))
$$;
COMMENT ON FUNCTION billing_internal.arranged_cases(bigint, bigint) IS 'cases that wait for an arrangement';

-- Ends an arrangement; the cases that waited for it go on.  That of an account waits as long as another holds, unless this one is broken.
CREATE FUNCTION billing_internal.end_arrangement(account_id bigint, arrangement_id bigint, to_state text, at timestamptz, why text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE billing.arrangement a SET state = to_state, ended_at = at, reason = why, next_check_at = NULL
     WHERE a.account_id = end_arrangement.account_id AND a.id = end_arrangement.arrangement_id;
    PERFORM billing_internal.emit(account_id, 'arrangement.ended', at, payload => jsonb_build_object('arrangement_id', arrangement_id, 'state', to_state));
    PERFORM billing_internal.end_pause(c.account_id, c.id, at, 'arrangement ' || to_state)
       FROM billing_internal.arranged_cases(end_arrangement.account_id, end_arrangement.arrangement_id) x JOIN billing.dunning_case c ON c.account_id = end_arrangement.account_id AND c.id = x
      WHERE c.invoice_id IS NOT NULL OR to_state = 'broken'
         OR NOT EXISTS (SELECT FROM billing.arrangement a WHERE a.account_id = end_arrangement.account_id AND a.state = 'active');
END $$;
COMMENT ON FUNCTION billing_internal.end_arrangement(bigint, bigint, text, timestamptz, text) IS 'ends an arrangement';

-- The day after a part was due: on to the next part, or the arrangement is broken.
CREATE FUNCTION billing_internal.arrangement_due(account_id bigint, arrangement_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    zone CONSTANT text := (SELECT a.time_zone FROM billing.account a WHERE a.account_id = arrangement_due.account_id);
    next_on CONSTANT date := (SELECT s.next_on FROM billing_internal.arrangement_standing(account_id, arrangement_id) s);
    next_at CONSTANT timestamptz := billing_internal.day_after(next_on, zone);
BEGIN
    IF next_at <= at THEN
        PERFORM billing_internal.end_arrangement(account_id, arrangement_id, 'broken', at, format('the part due on %s was missed', next_on));
    ELSIF next_on IS NULL THEN
        PERFORM billing_internal.end_arrangement(account_id, arrangement_id, 'completed', at, 'all parts are paid');
    ELSE
        UPDATE billing.arrangement a SET next_check_at = next_at WHERE a.account_id = arrangement_due.account_id AND a.id = arrangement_due.arrangement_id;
        UPDATE billing.dunning_case c SET paused_until = next_at, next_step_at = next_at
          FROM billing_internal.arranged_cases(arrangement_due.account_id, arrangement_due.arrangement_id) x WHERE c.account_id = arrangement_due.account_id AND c.id = x;
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.arrangement_due(bigint, bigint, timestamptz) IS 'looks at an arrangement on the day after a part was due';

CREATE FUNCTION billing_internal.arrangement_missed(account_id bigint, case_id bigint, at timestamptz) RETURNS boolean
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM billing.dunning_case c
          JOIN billing.account z ON z.account_id = c.account_id
          JOIN billing.arrangement a ON a.account_id = c.account_id AND a.next_check_at <= $3
         WHERE c.account_id = $1 AND c.id = $2
           AND (c.invoice_id IS NULL OR EXISTS (SELECT FROM billing.arrangement_invoice v WHERE v.account_id = $1 AND v.arrangement_id = a.id AND v.invoice_id = c.invoice_id))
           AND billing_internal.day_after((SELECT s.next_on FROM billing_internal.arrangement_standing($1, a.id) s), z.time_zone) <= $3)
$$;
COMMENT ON FUNCTION billing_internal.arrangement_missed(bigint, bigint, timestamptz) IS 'would a run at a moment find that a part was missed of an arrangement for which a case waits?';

CREATE FUNCTION billing_internal.arrangement_of_invoice_changed(account_id bigint, invoice_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    arranged bigint;
BEGIN
    SELECT a.id INTO arranged FROM billing.arrangement_invoice v JOIN billing.arrangement a ON a.account_id = v.account_id AND a.id = v.arrangement_id AND a.state = 'active'
     WHERE v.account_id = arrangement_of_invoice_changed.account_id AND v.invoice_id = arrangement_of_invoice_changed.invoice_id;
    IF arranged IS NOT NULL AND (SELECT s.amount_open FROM billing_internal.arrangement_standing(account_id, arranged) s) = 0 THEN
        PERFORM billing_internal.end_arrangement(account_id, arranged, 'completed', at, 'all is settled');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.arrangement_of_invoice_changed(bigint, bigint, timestamptz) IS 'completes the arrangement of an invoice when nothing of it is open any more';

CREATE FUNCTION billing.terminate_arrangement(arrangement_id bigint, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.terminate_arrangement(bigint, timestamptz, text) IS 'ends an agreement to pay in parts; dunning goes on; returns its id';
CREATE FUNCTION billing_internal.terminate_arrangement(arrangement_id bigint, effective_at timestamptz, reason text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    account CONSTANT bigint := arrangement_id >> 24;
    state text;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at');
    PERFORM billing_internal.lock_account(s.account_id) FROM billing.account_state s WHERE s.account_id = account;
    SELECT a.state INTO state FROM billing.arrangement a WHERE a.account_id = account AND a.id = arrangement_id;
    IF state IS NULL THEN
        PERFORM billing_internal.fail('unknown_arrangement', format('arrangement %s does not exist', arrangement_id));
    ELSIF state <> 'active' THEN
        PERFORM billing_internal.fail('wrong_case_state', format('arrangement %s is %s', arrangement_id, state));
    END IF;
    PERFORM billing_internal.end_arrangement(account, arrangement_id, 'terminated', at, reason);
    RETURN arrangement_id;
END $$;
COMMENT ON FUNCTION billing_internal.terminate_arrangement(bigint, timestamptz, text) IS 'body of billing.terminate_arrangement';
