-- What customers owed at a date, and how it came to that: asked of the journal, so that all of them agree.

CREATE FUNCTION billing.receivable_aging_on(day date, by text DEFAULT 'due', bands int[] DEFAULT '{0,30,60,90}', entity text DEFAULT NULL,
    OUT account_id bigint, OUT seller text, OUT currency text, OUT from_days int, OUT until_days int, OUT invoices bigint, OUT amount numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.receivable_aging_on(date, text, int[], text) IS
    'what customers owed at the end of a day, in bands of days since it was due or issued; a band ends with its last day';
CREATE FUNCTION billing_internal.receivable_aging_on(day date, by text, bands int[], entity text,
    OUT account_id bigint, OUT seller text, OUT currency text, OUT from_days int, OUT until_days int, OUT invoices bigint, OUT amount numeric)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM billing_internal.check_entity(entity);
    PERFORM billing_internal.check_one_of(by, 'by', 'due', 'issue');
    IF coalesce(array_ndims(bands), 0) <> 1 OR array_position(bands, NULL) IS NOT NULL OR bands <> ARRAY(SELECT DISTINCT b FROM unnest(bands) b ORDER BY b) THEN
        PERFORM billing_internal.fail('invalid_argument', 'bands are a list of rising days', NULL, 'Each is the last day of a band, as in {0,30,60,90}.');
    ELSIF NOT isfinite(day) THEN
        PERFORM billing_internal.fail('datetime_field_overflow', 'day is infinite');
    END IF;
    RETURN QUERY
    SELECT o.account_id, i.entity, o.currency, bands[b.no - 1] + 1, bands[b.no], count(*), sum(o.amount)
      FROM (SELECT j.account_id, j.invoice_id, j.currency, sum(j.debit - j.credit) AS amount
              FROM billing.journal j
             WHERE j.part = 'receivable' AND j.posted_on <= day AND j.entity = coalesce(receivable_aging_on.entity, j.entity)
             GROUP BY 1, 2, 3 HAVING sum(j.debit - j.credit) <> 0) o
      JOIN billing.invoice i ON i.account_id = o.account_id AND i.id = o.invoice_id
     -- the first band whose last day is not passed; behind the last one: the open one
     CROSS JOIN LATERAL (SELECT 1 + count(*)::int AS no FROM unnest(bands) x WHERE x < day - CASE by WHEN 'due' THEN i.due_on ELSE i.issued_on END) b
     GROUP BY 1, 2, 3, b.no ORDER BY 1, 2, 3, b.no;
END $$;
COMMENT ON FUNCTION billing_internal.receivable_aging_on(date, text, int[], text) IS 'body of billing.receivable_aging_on';

CREATE FUNCTION billing.account_statement(account_id bigint, from_on date DEFAULT NULL, until_on date DEFAULT NULL,
    OUT posted_on date, OUT source text, OUT invoice_id bigint, OUT payment_id bigint, OUT number text, OUT due_on date, OUT currency text, OUT amount numeric, OUT balance numeric)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.account_statement(bigint, date, date) IS
    'what an account owes by dates, both included: the balance before, then documents, payments, refunds and write-offs, each with the balance after it; positive: the customer owes';
CREATE FUNCTION billing_internal.account_statement(account_id bigint, from_on date, until_on date,
    OUT posted_on date, OUT source text, OUT invoice_id bigint, OUT payment_id bigint, OUT number text, OUT due_on date, OUT currency text, OUT amount numeric, OUT balance numeric)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
BEGIN
    IF NOT EXISTS (SELECT FROM billing.account a WHERE a.account_id = account_statement.account_id) THEN
        PERFORM billing_internal.fail('unknown_account', format('account %s does not exist', account_id));
    END IF;
    -- Allocations move between what is owed and what is left over: nothing here.
    RETURN QUERY
    WITH entry AS (
        SELECT j.posted_on, j.source, j.invoice_id, j.payment_id, j.currency, j.entry, sum(j.debit - j.credit) AS amount
          FROM billing.journal j
         WHERE j.account_id = account_statement.account_id AND j.part IN ('receivable', 'customer_credit') AND j.posted_on <= coalesce(until_on, 'infinity')
         GROUP BY 1, 2, 3, 4, 5, 6 HAVING sum(j.debit - j.credit) <> 0),
    line AS (
        SELECT NULL::date AS posted_on, 'balance' AS source, NULL::bigint AS invoice_id, NULL::bigint AS payment_id, a.currency, NULL AS entry,
               coalesce((SELECT sum(e.amount) FROM entry e WHERE e.posted_on < from_on), billing.round_amount(0, a.currency)) AS amount
          FROM billing.account a WHERE a.account_id = account_statement.account_id
        UNION ALL
        SELECT e.* FROM entry e WHERE e.posted_on >= coalesce(from_on, '-infinity'))
    SELECT l.posted_on, l.source, l.invoice_id, l.payment_id, i.number, i.due_on, l.currency, l.amount,
           sum(l.amount) OVER (ORDER BY l.posted_on NULLS FIRST, coalesce(l.invoice_id, l.payment_id), l.entry)
      FROM line l LEFT JOIN billing.invoice i ON i.account_id = account_statement.account_id AND i.id = l.invoice_id
     ORDER BY l.posted_on NULLS FIRST, coalesce(l.invoice_id, l.payment_id), l.entry;
END $$;
COMMENT ON FUNCTION billing_internal.account_statement(bigint, date, date) IS 'body of billing.account_statement';
