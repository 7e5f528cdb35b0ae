-- A batch of a collection run: methods that ended are noted, then all that is due is asked for by few statements.  All that
-- it calls for each batch is planned anew with it, so no plan outlives the size that the tables had.

-- Without those who agreed on parts and the like: who has a case or an arrangement is looked at one by one.  Methods have the
-- status of usable ones; whether they are is dear to tell, and is asked when the account is locked.
CREATE FUNCTION billing_internal.collections_due(at timestamptz, entity text, first bigint, last bigint, OUT account_id bigint, OUT invoice_id bigint,
    OUT payment_method_id bigint, OUT currency text, OUT amount numeric, OUT policy text) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.account_id, x.id, m.id, x.currency, x.amount_due, e.retry_policy
      FROM billing.invoice x
      JOIN billing.entity e ON e.code = x.entity
      JOIN billing.account a ON a.account_id = x.account_id
     CROSS JOIN LATERAL (
           SELECT CASE WHEN EXISTS (SELECT FROM billing.subscription u WHERE u.account_id = x.account_id AND u.payment_method_id IS NOT NULL)
                       THEN billing_internal.collection_method(x.account_id, x.id) ELSE a.payment_method_id END AS id OFFSET 0) c
      JOIN billing.payment_method m ON m.account_id = x.account_id AND m.id = c.id AND m.status = 'active'
      JOIN billing.payment_method_type t ON t.type = m.type AND t.automatic
     WHERE x.status = 'open' AND x.kind <> 'credit_note' AND ($2 IS NULL OR x.entity = $2) AND x.account_id BETWEEN $3 AND $4
       AND CASE e.collect WHEN 'issue' THEN x.issued_on WHEN 'due' THEN x.due_on END <= ($1 AT TIME ZONE e.time_zone)::date
       AND NOT EXISTS (SELECT FROM billing.collection k WHERE k.account_id = x.account_id AND k.invoice_id = x.id
                          AND (k.status IN ('waiting', 'claimed', 'submitted')
                               -- Paid before it was tried, with money that was taken back since.
                               OR k.payment_method_id = m.id AND (k.attempts > 0 OR k.failure IS DISTINCT FROM 'invoice is paid')))
       AND CASE WHEN EXISTS (SELECT FROM billing.arrangement r WHERE r.account_id = x.account_id)
                  OR EXISTS (SELECT FROM billing.dunning_case d WHERE d.account_id = x.account_id)
                THEN billing_internal.why_not_collected(x.account_id, x.id) IS NULL ELSE true END
$$;
COMMENT ON FUNCTION billing_internal.collections_due(timestamptz, text, bigint, bigint) IS
    'open invoices of a range of accounts that a run at a moment has to ask for, and the method that collects each';

-- Cheap comparisons come first: where a seller is, it is at most a day later than in UTC, and a mandate of less than 35 months
-- holds.
CREATE FUNCTION billing_internal.methods_ended(at timestamptz, entity text, first bigint, last bigint, OUT account_id bigint, OUT payment_method_id bigint) RETURNS SETOF record
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT x.account_id, x.id
      FROM (SELECT m.account_id, m.id, least(m.expires_on, CASE
                   WHEN coalesce(d.last_used_on, d.signed_on) < $1 - interval '35 months' THEN billing_internal.mandate_ends_on(d.signed_on, d.last_used_on) END) AS ends_on
              FROM billing.payment_method m
              LEFT JOIN billing.mandate d ON d.account_id = m.account_id AND d.payment_method_id = m.id AND d.status = 'active'
             WHERE m.status = 'active' AND m.account_id BETWEEN $3 AND $4) x
      JOIN billing.account_state s ON s.account_id = x.account_id AND ($2 IS NULL OR s.entity = $2)
     WHERE CASE WHEN x.ends_on <= ($1 AT TIME ZONE 'UTC')::date THEN x.ends_on < billing_internal.local_day(x.account_id, $1) END
$$;
COMMENT ON FUNCTION billing_internal.methods_ended(timestamptz, text, bigint, bigint) IS
    'active methods of a range of accounts that expired before a moment, or whose mandate lapsed';

CREATE FUNCTION billing_internal.collection_accounts(at timestamptz, entity text, first bigint, last bigint) RETURNS SETOF bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.account_id FROM billing_internal.collections_due($1, $2, $3, $4) d
    UNION
    SELECT m.account_id FROM billing_internal.methods_ended($1, $2, $3, $4) m
$$;
COMMENT ON FUNCTION billing_internal.collection_accounts(timestamptz, text, bigint, bigint) IS 'accounts of a range for which a collection run at a moment has something to do';

-- Accounts that others hold are left out, unless they were locked before.
CREATE FUNCTION billing_internal.collect_accounts(account_ids bigint[], at timestamptz, locked boolean, OUT requests int, OUT left_out bigint[])
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    mine bigint[] := account_ids;
    due record;
BEGIN
    IF NOT locked THEN
        mine := ARRAY(SELECT s.account_id FROM billing.account_state s WHERE s.account_id = ANY (account_ids) ORDER BY 1 FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    left_out := ARRAY(SELECT a FROM unnest(account_ids) a EXCEPT SELECT a FROM unnest(mine) a ORDER BY 1);
    PERFORM billing_internal.move_method(m.account_id, m.payment_method_id, 'expired', at)
       FROM (SELECT x.* FROM billing_internal.methods_ended(at, NULL, mine[1], mine[cardinality(mine)]) x
               JOIN unnest(mine) a ON a = x.account_id ORDER BY 1, 2) m;
    SELECT array_agg(d.account_id) AS accounts, array_agg(d.invoice_id) AS invoices, array_agg(d.payment_method_id) AS methods,
           array_agg(d.currency) AS currencies, array_agg(d.amount) AS amounts, array_agg(d.policy) AS policies, count(*) INTO due
      FROM (SELECT x.* FROM billing_internal.collections_due(at, NULL, mine[1], mine[cardinality(mine)]) x
              JOIN unnest(mine) a ON a = x.account_id
             WHERE billing_internal.is_usable(x.account_id, x.payment_method_id, at) ORDER BY 1, 2) d;
    requests := due.count;
    IF requests > 0 THEN
        PERFORM billing_internal.write_collections(due.accounts, due.invoices, due.methods, due.currencies, due.amounts, due.policies, at);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.collect_accounts(bigint[], timestamptz, boolean) IS
    'notes methods that ended and asks for what is due of accounts; returns the requests made and the accounts left out';

CREATE PROCEDURE billing.collection_run(at timestamptz DEFAULT NULL, batch_size int DEFAULT 1000, entity text DEFAULT NULL)
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_collection_run';
COMMENT ON PROCEDURE billing.collection_run(timestamptz, int, text) IS
    'asks for the collection of every open invoice for which it is time at a moment (default now), by the entity''s rules, that a payment method collects and that was not tried with it before, batch by batch, each committed; in a transaction block all in the caller''s transaction; may be killed, repeated and run twice at once';
