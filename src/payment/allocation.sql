-- Payments set against invoices: by rules, by hand, and taken back.  All on a locked account.  Written in plpgsql
-- where SQL would do: it keeps its statements prepared, and a run may use the credit of many accounts.

-- What of a payment is not used; of an amount given up: nothing, whatever was taken back of it.
CREATE FUNCTION billing_internal.unallocated(account_id bigint, payment_id bigint) RETURNS numeric
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT CASE WHEN p.kind = 'payment' THEN p.amount - p.amount_allocated - p.amount_refunded - p.amount_charged_back ELSE p.amount - p.amount END
              FROM billing.payment p WHERE p.account_id = unallocated.account_id AND p.id = unallocated.payment_id);
END $$;
COMMENT ON FUNCTION billing_internal.unallocated(bigint, bigint) IS 'what of a payment is customer credit';

-- Notes whether the account has credit, which the next invoice takes.
CREATE FUNCTION billing_internal.mark_credit(account_id bigint) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    credit CONSTANT boolean :=
        EXISTS (SELECT FROM billing.payment p WHERE p.account_id = mark_credit.account_id AND p.kind = 'payment'
                   AND p.amount_allocated + p.amount_refunded + p.amount_charged_back < p.amount)
        OR EXISTS (SELECT FROM billing.invoice_header h WHERE h.account_id = mark_credit.account_id AND h.kind = 'credit_note' AND h.status = 'open');
BEGIN
    UPDATE billing.account_state s SET has_credit = credit WHERE s.account_id = mark_credit.account_id AND s.has_credit <> credit;
    RETURN credit;
END $$;
COMMENT ON FUNCTION billing_internal.mark_credit(bigint) IS 'notes in the account''s state whether it has credit, and returns it';

CREATE FUNCTION billing_internal.check_rules(rules text[]) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_one_of(r, 'rule', 'named', 'exact', 'oldest', 'pro_rata') FROM unnest(rules) r;
    IF array_ndims(rules) > 1 OR array_position(rules, NULL) IS NOT NULL
       OR cardinality(rules) > (SELECT count(DISTINCT r) FROM unnest(rules) r) THEN
        PERFORM billing_internal.fail('invalid_argument', 'rules are a list of different rules');
    END IF;
    RETURN rules;
END $$;
COMMENT ON FUNCTION billing_internal.check_rules(text[]) IS 'a chain of rules of allocation, or null';

-- The open invoices in the order of "oldest", then those that were given up, which only "named" and "exact" reach.
CREATE FUNCTION billing_internal.payable_invoices(account_id bigint, currency text, OUT ids bigint[], OUT dues numeric[], OUT open_count int)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    SELECT coalesce(array_agg(i.id ORDER BY i.status, i.due_on, i.issued_on, i.id), '{}'),
           coalesce(array_agg(i.amount_due ORDER BY i.status, i.due_on, i.issued_on, i.id), '{}'), count(*) FILTER (WHERE i.status = 'open')
      INTO ids, dues, open_count
      FROM billing.invoice i
     WHERE i.account_id = payable_invoices.account_id AND i.currency = payable_invoices.currency
       AND i.kind <> 'credit_note' AND i.status IN ('open', 'uncollectible');
END $$;
COMMENT ON FUNCTION billing_internal.payable_invoices(bigint, text) IS
    'invoices that can be paid: open ones by due date, date of issue and id, then those given up';

-- What one rule takes of an amount, by position in the list of dues.
CREATE FUNCTION billing_internal.apply_rule(rule text, amount numeric, named int[], dues numeric[], open_count int, currency text) RETURNS numeric[]
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    shares numeric[] := array_fill(0::numeric, ARRAY[cardinality(dues)]);
    open_sum CONSTANT numeric := (SELECT sum(d) FROM unnest(dues[:open_count]) d);
    rest numeric := amount;
    i int;
BEGIN
    IF rule = 'exact' THEN
        i := array_position(dues, amount);
        IF i IS NOT NULL THEN
            shares[i] := amount;
        END IF;
    ELSIF rule = 'pro_rata' THEN
        IF open_sum > 0 THEN
            shares := billing_internal.split_amount(least(amount, open_sum), dues[:open_count], currency) || shares[open_count + 1:];
        END IF;
    ELSE
        FOREACH i IN ARRAY CASE WHEN rule = 'named' THEN named ELSE ARRAY(SELECT generate_series(1, open_count)) END LOOP
            shares[i] := least(rest, dues[i]);
            rest := rest - shares[i];
        END LOOP;
    END IF;
    RETURN shares;
END $$;
COMMENT ON FUNCTION billing_internal.apply_rule(text, numeric, int[], numeric[], int, text) IS
    'what a rule sets of an amount against each of the dues: named ones in their order, the first equal one, the oldest, or all in proportion';

-- How a chain of rules spreads an amount: each takes of what those before it left.
CREATE FUNCTION billing_internal.distribute(account_id bigint, currency text, amount numeric, invoice_ids bigint[], rules text[],
    OUT invoice_id bigint, OUT share numeric, OUT rule text)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    payable record;
    named int[];
    shares numeric[];
    rest numeric := amount;
BEGIN
    SELECT * INTO payable FROM billing_internal.payable_invoices(account_id, currency);
    named := ARRAY(SELECT p FROM unnest(invoice_ids) WITH ORDINALITY n (id, no), LATERAL array_position(payable.ids, n.id) p
                    WHERE p IS NOT NULL GROUP BY p ORDER BY min(n.no));
    FOREACH rule IN ARRAY rules LOOP
        CONTINUE WHEN rest = 0 OR payable.ids = '{}';
        shares := billing_internal.apply_rule(rule, rest, named, payable.dues, payable.open_count, currency);
        FOR i IN 1 .. cardinality(shares) LOOP
            CONTINUE WHEN shares[i] = 0;
            invoice_id := payable.ids[i];
            share := shares[i];
            rest := rest - share;
            payable.dues[i] := payable.dues[i] - share;
            RETURN NEXT;
        END LOOP;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.distribute(bigint, text, numeric, bigint[], text[]) IS
    'how a chain of rules spreads an amount over the invoices of an account';

-- The payment's side of an allocation; negative: taken back.  It counts from no earlier instant than the payment and what
-- was set against the invoice or with the payment before: so no date shows more than there was.
CREATE FUNCTION billing_internal.move_payment(account_id bigint, payment_id bigint, invoice_id bigint, amount numeric, at timestamptz, reason text)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    INSERT INTO billing.payment_allocation (account_id, payment_id, allocation_no, invoice_id, amount, allocated_at, reason)
    SELECT p.account_id, p.id, 1 + (SELECT count(*) FROM billing.payment_allocation a WHERE a.account_id = p.account_id AND a.payment_id = p.id),
           move_payment.invoice_id, move_payment.amount, greatest(at, p.received_at, billing_internal.settled_until(p.account_id, p.id, move_payment.invoice_id)), move_payment.reason
      FROM billing.payment p WHERE p.account_id = move_payment.account_id AND p.id = move_payment.payment_id;
    UPDATE billing.payment p SET amount_allocated = p.amount_allocated + move_payment.amount
     WHERE p.account_id = move_payment.account_id AND p.id = move_payment.payment_id;
END $$;
COMMENT ON FUNCTION billing_internal.move_payment(bigint, bigint, bigint, numeric, timestamptz, text) IS
    'notes on the side of the payment what is set against an invoice; the caller settles the invoice';

CREATE FUNCTION billing_internal.set_against(account_id bigint, payment_id bigint, invoice_id bigint, amount numeric, at timestamptz, reason text)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.move_payment(account_id, payment_id, invoice_id, amount, at, reason);
    PERFORM billing_internal.settle_invoice(account_id, invoice_id, amount, 0, at, reason);
END $$;
COMMENT ON FUNCTION billing_internal.set_against(bigint, bigint, bigint, numeric, timestamptz, text) IS 'sets part of a payment against an invoice';

-- An invoice that a payment which is used up leaves open by no more than the seller's tolerance is closed: the rest
-- is given up.  Only in the seller's currency, which the tolerance is in.
CREATE FUNCTION billing_internal.forgive_rest(account_id bigint, payment_id bigint, invoice_id bigint, at timestamptz)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    due numeric;
    money text;
    write_off_id bigint;
BEGIN
    SELECT i.amount_due, i.currency INTO due, money
      FROM billing.invoice i JOIN billing.entity e ON e.code = i.entity
     WHERE i.account_id = forgive_rest.account_id AND i.id = forgive_rest.invoice_id AND i.currency = e.currency
       AND i.amount_due > 0 AND i.amount_due <= e.payment_tolerance;
    IF due IS NULL OR billing_internal.unallocated(account_id, payment_id) > 0 THEN RETURN; END IF;
    write_off_id := billing_internal.next_id(account_id);
    INSERT INTO billing.payment (account_id, id, kind, currency, amount, received_at)
    VALUES (account_id, write_off_id, 'write_off', money, due, at);
    PERFORM billing_internal.set_against(account_id, write_off_id, invoice_id, due, at, 'tolerance');
END $$;
COMMENT ON FUNCTION billing_internal.forgive_rest(bigint, bigint, bigint, timestamptz) IS 'gives up what a payment leaves open within the seller''s tolerance';

CREATE FUNCTION billing_internal.allocate_by_rules(account_id bigint, payment_id bigint, invoice_ids bigint[], rules text[], at timestamptz)
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    part record;
    touched bigint[] := '{}';
BEGIN
    FOR part IN SELECT d.* FROM billing.payment p,
                       billing_internal.distribute(p.account_id, p.currency, billing_internal.unallocated(p.account_id, p.id), invoice_ids, rules) d
                 WHERE p.account_id = allocate_by_rules.account_id AND p.id = allocate_by_rules.payment_id LOOP
        PERFORM billing_internal.set_against(account_id, payment_id, part.invoice_id, part.share, at, part.rule);
        touched := touched || part.invoice_id;
    END LOOP;
    PERFORM billing_internal.forgive_rest(account_id, payment_id, t, at) FROM unnest(touched) t;
END $$;
COMMENT ON FUNCTION billing_internal.allocate_by_rules(bigint, bigint, bigint[], text[], timestamptz) IS
    'sets what is left of a payment against invoices by a chain of rules';

-- Customer credit, the oldest first: payments, then credit notes.  Only for the invoices that are named, if any.
CREATE FUNCTION billing_internal.use_credit(account_id bigint, at timestamptz, invoice_ids bigint[] DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rules CONSTANT text[] := (SELECT CASE WHEN invoice_ids IS NULL THEN e.allocation_rules ELSE '{named}' END FROM billing.account a JOIN billing.entity e ON e.code = a.entity
                               WHERE a.account_id = use_credit.account_id);
    credit record;
    part record;
BEGIN
    FOR credit IN SELECT p.id FROM billing.payment p
                   WHERE p.account_id = use_credit.account_id AND p.kind = 'payment'
                     AND p.amount_allocated + p.amount_refunded + p.amount_charged_back < p.amount ORDER BY p.received_at, p.id LOOP
        PERFORM billing_internal.allocate_by_rules(account_id, credit.id, invoice_ids, rules, at);
    END LOOP;
    FOR credit IN SELECT h.id, h.currency, h.total + h.rounding_amount - h.amount_paid - h.amount_credited AS rest
                    FROM billing.invoice_header h
                   WHERE h.account_id = use_credit.account_id AND h.kind = 'credit_note' AND h.status = 'open' ORDER BY h.id LOOP
        FOR part IN SELECT * FROM billing_internal.distribute(account_id, credit.currency, credit.rest, invoice_ids, rules) LOOP
            PERFORM billing_internal.set_off_credit(account_id, credit.id, part.invoice_id, part.share, at, part.rule);
        END LOOP;
    END LOOP;
    PERFORM billing_internal.mark_credit(account_id);
END $$;
COMMENT ON FUNCTION billing_internal.use_credit(bigint, timestamptz, bigint[]) IS
    'sets payments and credit notes that are not used up against the open invoices of the locked account, or those that are named';
