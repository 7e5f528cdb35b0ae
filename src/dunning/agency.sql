-- Collection agencies: what is handed over to them, and what they report.

CREATE FUNCTION billing_internal.transfer_transitions(OUT from_state text, OUT to_states text[]) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('pending', '{transferred,accepted,refused,paid,paid_in_part,recalled,pending_recall}'::text[]),
           ('transferred', '{accepted,refused,paid,paid_in_part,pending_recall}'),
           ('accepted', '{paid,paid_in_part,refused,pending_recall}'),
           ('pending_recall', '{pending,recalled,recall_failed,paid,paid_in_part}'),
           ('recall_failed', '{pending,paid,paid_in_part,refused,pending_recall,recalled}')
$$;
COMMENT ON FUNCTION billing_internal.transfer_transitions() IS 'which state of a transfer to an agency may follow which; from others none follows';

-- What was to be recalled, because it had been paid, is handed over once more.
CREATE FUNCTION billing_internal.hand_over(account_id bigint, case_id bigint, agency text, currency text, amount numeric, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    transfer bigint := (SELECT t.id FROM billing.agency_transfer t WHERE t.account_id = hand_over.account_id AND t.case_id = hand_over.case_id
                           AND t.state IN ('pending_recall', 'recall_failed'));
BEGIN
    IF transfer IS NOT NULL THEN
        PERFORM billing_internal.change_transfer(account_id, transfer, 'pending', at);
        UPDATE billing.agency_transfer t SET agency = hand_over.agency, amount = hand_over.amount WHERE t.account_id = hand_over.account_id AND t.id = transfer;
    ELSE
        transfer := billing_internal.next_id(account_id);
        INSERT INTO billing.agency_transfer (account_id, id, case_id, agency, currency, amount, created_at, changed_at)
        VALUES (account_id, transfer, case_id, agency, currency, amount, at, at);
        PERFORM billing_internal.emit(account_id, 'agency.changed', at, case_id => hand_over.case_id,
                                      payload => jsonb_build_object('transfer_id', transfer, 'agency', agency, 'state', 'pending'));
    END IF;
    PERFORM billing_internal.change_case(account_id, case_id, 'at_agency', at, agency);
END $$;
COMMENT ON FUNCTION billing_internal.hand_over(bigint, bigint, text, text, numeric, timestamptz) IS 'hands a case over to an agency';

-- A transfer that ends without all the money gives the case back: it goes on, or is exhausted.
CREATE FUNCTION billing_internal.change_transfer(account_id bigint, transfer_id bigint, to_state text, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t record;
BEGIN
    SELECT x.state, x.agency, x.case_id, c.state AS case_state, n.to_states INTO t
      FROM billing.agency_transfer x JOIN billing.dunning_case c ON c.account_id = x.account_id AND c.id = x.case_id
      LEFT JOIN billing_internal.transfer_transitions() n ON n.from_state = x.state
     WHERE x.account_id = change_transfer.account_id AND x.id = change_transfer.transfer_id;
    IF t.state = to_state THEN RETURN; END IF;
    IF t.to_states IS NULL OR to_state <> ALL (t.to_states) THEN
        PERFORM billing_internal.fail('wrong_case_state', format('transfer %s is %s and cannot become %s', transfer_id, t.state, to_state));
    END IF;
    UPDATE billing.agency_transfer x SET state = to_state, changed_at = at WHERE x.account_id = change_transfer.account_id AND x.id = change_transfer.transfer_id;
    PERFORM billing_internal.emit(account_id, 'agency.changed', at, case_id => t.case_id,
                                  payload => jsonb_build_object('transfer_id', transfer_id, 'agency', t.agency, 'state', to_state));
    IF to_state IN ('refused', 'recalled', 'paid_in_part') AND t.case_state = 'at_agency' THEN
        PERFORM billing_internal.change_case(account_id, t.case_id, 'running', at, format('%s %s', t.agency, to_state)),
                billing_internal.refresh_cases(ARRAY[account_id], ARRAY[t.case_id], at);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.change_transfer(bigint, bigint, text, timestamptz) IS 'changes the state of a transfer to an agency; the same state again is no change';

-- Locks the account of a transfer and returns it.
CREATE FUNCTION billing_internal.lock_transfer(transfer_id bigint, OUT account_id bigint, OUT currency text) RETURNS record
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.lock_account(s.account_id) FROM billing.account_state s WHERE s.account_id = transfer_id >> 24;
    SELECT t.account_id, t.currency INTO account_id, currency FROM billing.agency_transfer t
     WHERE t.account_id = lock_transfer.transfer_id >> 24 AND t.id = lock_transfer.transfer_id;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_arrangement', format('transfer %s does not exist', transfer_id));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.lock_transfer(bigint) IS 'locks the account of a transfer to an agency, or unknown_arrangement';

CREATE FUNCTION billing.report_transfer(transfer_id bigint, state text, reference text DEFAULT NULL, amount_recovered numeric DEFAULT NULL, report jsonb DEFAULT NULL,
    effective_at timestamptz DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.report_transfer(bigint, text, text, numeric, jsonb, timestamptz) IS
    'notes what a collection agency says: transferred, accepted, paid, paid_in_part, refused, recalled or recall_failed; amount_recovered is what it has paid so far in all, the money itself is a payment; returns the transfer''s id';
CREATE FUNCTION billing_internal.report_transfer(transfer_id bigint, state text, reference text, amount_recovered numeric, report jsonb, effective_at timestamptz)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    t record;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at'),
            billing_internal.check_one_of(state, 'state of a transfer', 'transferred', 'accepted', 'paid', 'paid_in_part', 'refused', 'recalled', 'recall_failed');
    SELECT * INTO t FROM billing_internal.lock_transfer(transfer_id);
    PERFORM billing_internal.check_amount(nullif(amount_recovered, 0), t.currency, 'amount_recovered');
    PERFORM billing_internal.change_transfer(t.account_id, transfer_id, state, at);
    UPDATE billing.agency_transfer x
       SET reference = coalesce(report_transfer.reference, x.reference), amount_recovered = coalesce(report_transfer.amount_recovered, x.amount_recovered),
           report = coalesce(report_transfer.report, x.report), changed_at = at
     WHERE x.account_id = t.account_id AND x.id = report_transfer.transfer_id;
    RETURN transfer_id;
END $$;
COMMENT ON FUNCTION billing_internal.report_transfer(bigint, text, text, numeric, jsonb, timestamptz) IS 'body of billing.report_transfer';

CREATE FUNCTION billing.recall_transfer(transfer_id bigint, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL) RETURNS bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_operator';
COMMENT ON FUNCTION billing.recall_transfer(bigint, timestamptz, text) IS
    'takes a case back from a collection agency: at once while the agency does not know of it, else when it reports recalled; returns the transfer''s id';
CREATE FUNCTION billing_internal.recall_transfer(transfer_id bigint, effective_at timestamptz, reason text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    at CONSTANT timestamptz := coalesce(effective_at, now());
    t record;
BEGIN
    PERFORM billing_internal.check_instant(at, 'effective_at');
    SELECT * INTO t FROM billing_internal.lock_transfer(transfer_id);
    PERFORM billing_internal.change_transfer(t.account_id, transfer_id, CASE WHEN x.state = 'pending' THEN 'recalled' ELSE 'pending_recall' END, at)
       FROM billing.agency_transfer x WHERE x.account_id = t.account_id AND x.id = recall_transfer.transfer_id;
    UPDATE billing.agency_transfer x SET recall_reason = reason WHERE x.account_id = t.account_id AND x.id = recall_transfer.transfer_id;
    RETURN transfer_id;
END $$;
COMMENT ON FUNCTION billing_internal.recall_transfer(bigint, timestamptz, text) IS 'body of billing.recall_transfer';
