-- Credit notes that people give: of a whole invoice, of lines, of an amount.  billing.x is the door (rights, owner),
-- billing_internal.x the body.
--
-- A line is credited in its own terms, before its share of the document's discounts, which follows in proportion.  Tax
-- is that of all credited so far less that of before (doc/rules.md 6), so the last note takes the rest.

-- What is charged of the keys of an invoice's lines and not granted (doc/rules.md P3): what the engine charged anew of a
-- range stands on another line of the same key, and what was granted of the one before counts there.
CREATE FUNCTION billing_internal.grantable_keys(account_id bigint, invoice_id bigint, OUT line_no int, OUT key text, OUT amount_left numeric)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT k.line_no, k.key, (SELECT sum(x.amount - x.granted)
                                FROM (SELECT DISTINCT ON (c.period_start) c.amount, c.granted FROM billing.charge c
                                       WHERE c.account_id = $1 AND c.item_id = k.item_id AND c.kind = k.kind AND c.ordinal = k.ordinal
                                         AND c.schedule_version = k.schedule_version AND c.period_no = k.period_no
                                       ORDER BY c.period_start, c.revision DESC) x)
      FROM (SELECT DISTINCT ON (c.line_no) c.line_no, c.item_id, c.kind, c.ordinal, c.schedule_version, c.period_no,
                   concat_ws('/', c.item_id, c.kind, c.ordinal, c.schedule_version, c.period_no) AS key
              FROM billing.charge c WHERE c.account_id = $1 AND c.invoice_id = $2 ORDER BY c.line_no) k
$$;
COMMENT ON FUNCTION billing_internal.grantable_keys(bigint, bigint) IS 'keys of an invoice''s lines, and what of them can be granted';

-- What of an invoice's lines is not given back yet, lines of one key one after the other; base is what of a line is taxed.
CREATE FUNCTION billing_internal.creditable_lines(account_id bigint, invoice_id bigint, OUT line_no int, OUT category text, OUT rate numeric,
    OUT inclusive boolean, OUT amount_left numeric, OUT discount_left numeric, OUT granted numeric, OUT granted_discount numeric,
    OUT base_given numeric, OUT base_left numeric, OUT capped boolean)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT p.line_no, p.category, p.rate, p.inclusive, p.amount_left, d.discount_left, p.granted, p.granted_discount, p.amount - p.discount,
           p.amount_left - d.discount_left, p.amount_left <> p.line_left
      FROM (SELECT q.*, CASE WHEN q.line_left <= 0 AND q.line_amount < 0 THEN q.line_left
                             ELSE greatest(least(q.line_left, q.key_left - sum(greatest(q.line_left, 0)) OVER k + greatest(q.line_left, 0)), 0) END AS amount_left
              FROM (SELECT l.line_no, l.tax_category AS category, l.tax_rate AS rate, l.tax_inclusive AS inclusive, l.amount AS line_amount, l.document_discount,
                           l.amount - g.amount AS line_left, g.*, coalesce(k.key, 'line ' || l.line_no) AS key, coalesce(k.amount_left, l.amount - g.amount) AS key_left
                      FROM billing.invoice_line l
                      LEFT JOIN billing_internal.grantable_keys($1, $2) k ON k.line_no = l.line_no
                     CROSS JOIN LATERAL (
                           SELECT coalesce(sum(abs(c.amount)), 0) AS amount, coalesce(sum(abs(c.document_discount)), 0) AS discount,
                                  coalesce(sum(c.amount) FILTER (WHERE c.nature = 'grant'), 0) AS granted,
                                  coalesce(sum(c.document_discount) FILTER (WHERE c.nature = 'grant'), 0) AS granted_discount
                             FROM billing.invoice_line c
                             JOIN billing.invoice_header h ON h.account_id = c.account_id AND h.id = c.invoice_id
                            WHERE c.account_id = $1 AND c.corrects_invoice_id = $2 AND c.corrects_line_no = l.line_no
                              AND h.status NOT IN ('draft', 'void') AND (h.kind = 'credit_note' OR c.amount < 0)) g
                     WHERE l.account_id = $1 AND l.invoice_id = $2) q
            WINDOW k AS (PARTITION BY q.key ORDER BY q.line_no)) p
      JOIN billing.invoice_header h ON h.account_id = $1 AND h.id = $2
     CROSS JOIN LATERAL (SELECT CASE WHEN p.amount_left = p.line_left THEN p.document_discount - p.discount
                                     ELSE billing.round_amount((p.document_discount - p.discount) * p.amount_left / nullif(p.line_left, 0), h.currency) END AS discount_left) d
$$;
COMMENT ON FUNCTION billing_internal.creditable_lines(bigint, bigint) IS
    'lines of an invoice and what of them can still be given back; capped: less than the line itself would allow';

-- As totals.c divides a group; of an invoice made outside the tax is in proportion to what that invoice says.
CREATE FUNCTION billing_internal.divide_tax(exclusive numeric, inclusive numeric, rate numeric, said_net numeric, said_tax numeric, currency text,
    OUT net numeric, OUT tax numeric, OUT rounding numeric, OUT net_of_inclusive numeric)
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT n.net, t.tax, CASE WHEN $2 = 0 THEN 0 ELSE $1 + $2 + billing.round_amount($1 * $3 / 100, $6) - n.net - t.tax END, i.net
      FROM billing.round_amount($2 * 100 / (100 + $3), $6) i (net),
           LATERAL (SELECT $1 + i.net AS net) n,
           LATERAL (SELECT billing.round_amount(CASE WHEN $4 <> 0 THEN $5 * n.net / $4 ELSE n.net * $3 / 100 END, $6) AS tax) t
$$;
COMMENT ON FUNCTION billing_internal.divide_tax(numeric, numeric, numeric, numeric, numeric, text) IS
    'net and tax of the amounts of a category and rate, without and with tax; said_net and said_tax where the document itself says the tax';

-- What crediting bases of lines makes of each category and rate.
CREATE FUNCTION billing_internal.credit_taxes(account_id bigint, invoice_id bigint, line_nos int[], bases numeric[],
    OUT category text, OUT rate numeric, OUT net numeric, OUT tax numeric, OUT rounding numeric, OUT net_of_inclusive numeric, OUT reason text)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT g.category, g.rate, a.net - b.net, a.tax - b.tax, a.rounding - b.rounding, a.net_of_inclusive - b.net_of_inclusive, g.reason
      FROM (SELECT c.category, c.rate, h.currency, t.reason, CASE WHEN h.external_number IS NOT NULL THEN t.taxable_amount END AS said_net, t.tax_amount AS said_tax,
                   coalesce(sum(c.base_given) FILTER (WHERE NOT c.inclusive), 0) AS exclusive,
                   coalesce(sum(c.base_given) FILTER (WHERE c.inclusive), 0) AS inclusive,
                   coalesce(sum(n.base) FILTER (WHERE NOT c.inclusive), 0) AS exclusive_now, coalesce(sum(n.base) FILTER (WHERE c.inclusive), 0) AS inclusive_now
              FROM billing_internal.creditable_lines($1, $2) c
              LEFT JOIN unnest($3, $4) n (line_no, base) ON n.line_no = c.line_no
              JOIN billing.invoice_header h ON h.account_id = $1 AND h.id = $2
              JOIN billing.invoice_tax t ON t.account_id = $1 AND t.invoice_id = $2 AND t.category = c.category AND t.rate = c.rate
             GROUP BY 1, 2, 3, 4, 5, 6 HAVING count(n.base) > 0) g,
           billing_internal.divide_tax(g.exclusive, g.inclusive, g.rate, g.said_net, g.said_tax, g.currency) b,
           billing_internal.divide_tax(g.exclusive + g.exclusive_now, g.inclusive + g.inclusive_now, g.rate, g.said_net, g.said_tax, g.currency) a
     ORDER BY g.category COLLATE "C", g.rate
$$;
COMMENT ON FUNCTION billing_internal.credit_taxes(bigint, bigint, int[], numeric[]) IS
    'net, tax and rounding by category and rate of crediting bases of lines: all credited then less all credited so far';

-- All that is left, by category, rate and kind of price.  Lines that give back do so on the invoice itself: they lower
-- what the others can be credited.
CREATE FUNCTION billing_internal.creditable_groups(account_id bigint, invoice_id bigint, OUT category text, OUT rate numeric, OUT inclusive boolean,
    OUT base numeric, OUT gross numeric)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT c.category, c.rate, c.inclusive, s.base,
           s.base + CASE WHEN c.inclusive THEN 0 ELSE billing.round_amount(s.base * c.rate / 100, h.currency) END
      FROM billing.invoice_header h,
           (SELECT l.category, l.rate, l.inclusive, sum(l.base_left) AS signed, sum(greatest(l.base_left, 0)) AS positive
              FROM billing_internal.creditable_lines($1, $2) l GROUP BY 1, 2, 3) c,
           LATERAL (SELECT greatest(least(c.signed, c.positive), 0) AS base) s
     WHERE h.account_id = $1 AND h.id = $2 AND s.base > 0
     ORDER BY 1, 2, 3
$$;
COMMENT ON FUNCTION billing_internal.creditable_groups(bigint, bigint) IS 'what can still be credited of an invoice, by category, rate and kind of price';

-- Spreads bases of groups over their lines, as amounts of the lines.
CREATE FUNCTION billing_internal.spread_credit(account_id bigint, invoice_id bigint, categories text[], rates numeric[], inclusives boolean[], bases numeric[],
    OUT line_no int, OUT amount numeric)
    RETURNS SETOF record LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT u.line_no, CASE WHEN u.part = u.base_left THEN u.amount_left ELSE least(billing.round_amount(u.part * u.amount_left / u.base_left, u.currency), u.amount_left) END
      FROM (SELECT g.base, h.currency, array_agg(c.line_no ORDER BY c.line_no) AS line_nos, array_agg(c.base_left ORDER BY c.line_no) AS lefts,
                   array_agg(c.amount_left ORDER BY c.line_no) AS amounts
              FROM unnest($3, $4, $5, $6) g (category, rate, inclusive, base)
              JOIN billing_internal.creditable_lines($1, $2) c ON c.category = g.category AND c.rate = g.rate AND c.inclusive = g.inclusive AND c.base_left > 0
              JOIN billing.invoice_header h ON h.account_id = $1 AND h.id = $2
             WHERE g.base > 0 GROUP BY g.category, g.rate, g.inclusive, 1, 2) s,
           LATERAL unnest(s.line_nos, s.lefts, s.amounts, billing_internal.split_amount(s.base, s.lefts, s.currency)) p (line_no, base_left, amount_left, part),
           LATERAL (SELECT p.*, s.currency) u
     WHERE u.part > 0
$$;
COMMENT ON FUNCTION billing_internal.spread_credit(bigint, bigint, text[], numeric[], boolean[], numeric[]) IS
    'spreads bases of groups over their lines in proportion to what is left of them';

-- What an invoice can still be credited in all.  Where only notes of this invoice alone gave back, that is its total
-- less theirs to the last minor unit, which may be one more than the lines make.
CREATE FUNCTION billing_internal.creditable_total(account_id bigint, invoice_id bigint) RETURNS numeric
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT greatest(CASE WHEN NOT EXISTS (SELECT FROM billing_internal.creditable_groups($1, $2)) THEN 0
           WHEN EXISTS (SELECT FROM billing_internal.creditable_lines($1, $2) c WHERE c.capped) OR EXISTS (
               SELECT FROM billing.invoice_line c JOIN billing.invoice_header o ON o.account_id = c.account_id AND o.id = c.invoice_id
                WHERE c.account_id = $1 AND c.corrects_invoice_id = $2 AND o.status NOT IN ('draft', 'void')
                  AND (o.kind = 'invoice' AND c.amount < 0 OR o.kind = 'credit_note' AND o.credits_invoice_id IS DISTINCT FROM $2))
           THEN least(r.rest, (SELECT coalesce(sum(t.net + t.tax + t.rounding), 0)
                                 FROM (SELECT array_agg(c.line_no) AS line_nos, array_agg(c.base_left) AS bases FROM billing_internal.creditable_lines($1, $2) c WHERE c.base_left <> 0) l,
                                      billing_internal.credit_taxes($1, $2, l.line_nos, l.bases) t))
           ELSE r.rest END, 0)
      FROM billing.invoice_header h,
           LATERAL (SELECT h.total + h.rounding_amount - coalesce(sum(n.total + n.rounding_amount), 0) AS rest FROM billing.invoice_header n
                     WHERE n.account_id = $1 AND n.credits_invoice_id = $2 AND n.kind = 'credit_note' AND n.status <> 'draft') r
     WHERE h.account_id = $1 AND h.id = $2
$$;
COMMENT ON FUNCTION billing_internal.creditable_total(bigint, bigint) IS 'what an invoice can still be credited, with tax';

-- The net amount that makes a gross amount; the next one where none makes it, so that notes never sum to more than the
-- invoice.  A unit stays for the last note, which takes what rounding misses.
CREATE FUNCTION billing_internal.base_of_gross(gross numeric, limit_base numeric, rate numeric, currency text) RETURNS numeric
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT least(greatest($2 - u.unit, u.unit), $2, b.base + CASE WHEN b.base + billing.round_amount(b.base * $3 / 100, $4) < $1 THEN u.unit ELSE 0 END)
      FROM billing.round_amount($1 * 100 / (100 + $3), $4) b (base), LATERAL (SELECT power(10::numeric, - scale(b.base)) AS unit) u
$$;
COMMENT ON FUNCTION billing_internal.base_of_gross(numeric, numeric, numeric, text) IS 'the least net amount that with its tax makes at least a gross amount, but not all';

CREATE FUNCTION billing_internal.credit_by_amount(account_id bigint, invoice_id bigint, amount numeric, currency text)
    RETURNS TABLE (line_no int, amount_credited numeric) LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s.line_no, s.amount
      FROM (SELECT array_agg(g.category) AS categories, array_agg(g.rate) AS rates, array_agg(g.inclusive) AS inclusives,
                   array_agg(g.base) AS bases, array_agg(g.gross) AS grosses FROM billing_internal.creditable_groups($1, $2) g) a,
           LATERAL (SELECT sum(g) AS gross, $3 >= billing_internal.creditable_total($1, $2) AND NOT EXISTS (
                           SELECT FROM billing_internal.creditable_lines($1, $2) c GROUP BY c.category, c.rate, c.inclusive HAVING sum(c.base_left) < 0) AS whole
                      FROM unnest(a.grosses) g) t,
           LATERAL (SELECT array_agg(CASE WHEN t.whole THEN u.base WHEN u.inclusive THEN u.part
                                          ELSE billing_internal.base_of_gross(u.part, u.base, u.rate, $4) END ORDER BY u.n) AS bases
                      FROM unnest(a.rates, a.inclusives, a.bases, billing_internal.split_amount(least($3, t.gross), a.grosses, $4)) WITH ORDINALITY u (rate, inclusive, base, part, n)) b,
           billing_internal.spread_credit($1, $2, a.categories, a.rates, a.inclusives, b.bases) s
$$;
COMMENT ON FUNCTION billing_internal.credit_by_amount(bigint, bigint, numeric, text) IS
    'amounts of lines that together make a gross amount: in proportion to what is left of them';

CREATE FUNCTION billing_internal.credit_by_line(account_id bigint, invoice_id bigint, lines jsonb, currency text)
    RETURNS TABLE (line_no int, amount_credited numeric) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    line jsonb;
    rest numeric;
    seen int[] := '{}';
BEGIN
    IF jsonb_typeof(lines) <> 'array' OR lines = '[]' THEN
        PERFORM billing_internal.fail('invalid_argument', 'lines must be an array with elements');
    END IF;
    FOR line IN SELECT jsonb_array_elements(lines) LOOP
        IF jsonb_typeof(line) <> 'object' OR coalesce(line->>'line_no', '') !~ '^[0-9]{1,9}$' OR line - 'line_no' - 'amount' <> '{}'
           OR coalesce(jsonb_typeof(line->'amount'), 'null') NOT IN ('null', 'number', 'string')
           OR line->>'amount' !~ '^-?[0-9]{1,30}([.][0-9]{1,30})?$' THEN
            PERFORM billing_internal.fail('invalid_argument', 'malformed element of lines', 'Elements are {"line_no": 1, "amount": 5.00}; without an amount all that is left of the line.');
        END IF;
        line_no := (line->>'line_no')::int;
        SELECT c.amount_left INTO rest FROM billing_internal.creditable_lines(account_id, invoice_id) c WHERE c.line_no = credit_by_line.line_no;
        IF rest IS NULL OR line_no = ANY (seen) THEN
            PERFORM billing_internal.fail('invalid_argument', format(CASE WHEN rest IS NULL THEN 'document %s has no line %s' ELSE 'document %s: line %s is named twice' END, invoice_id, line_no));
        END IF;
        seen := seen || line_no;
        amount_credited := billing_internal.check_left((line->>'amount')::numeric, greatest(rest, 0), currency, format('of line %s of document %s', line_no, invoice_id));
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.credit_by_line(bigint, bigint, jsonb, text) IS 'amounts of named lines';
