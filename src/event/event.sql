-- Events: written by the verbs, read by consumers (consumers.sql).

-- "states" of a subscription are [{"from", "state"}, ...], those to come included: the first is the one in
-- force when the first difference begins, and all that was known from its instant on is replaced.

CREATE FUNCTION billing_internal.event_types(OUT type text, OUT meaning text, OUT ids text[], OUT payload_keys text[]) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('account.created', 'an account was opened', '{}'::text[], '{entity,external_id}'::text[]),
           ('account.changed', 'a row of table account was changed, or a discount of the whole account entered or ended', '{}', '{columns,verb,discount_id,reason}'),
           ('subscription.created', 'a subscription was made, to start at occurred_at', '{subscription_id}', '{plan,external_id,states}'),
           ('subscription.changed', 'a verb changed a subscription from occurred_at on; states where they changed', '{subscription_id}', '{verb,change_id,states}'),
           ('subscription.change_withdrawn', 'a change that had not taken effect was withdrawn; states where they changed', '{subscription_id}', '{verb,change_id,states}'),
           ('invoice.finalized', 'an invoice was finished, or one made outside was entered', '{subscription_id,invoice_id}', '{number,currency,total,due_on,external}'),
           ('credit_note.issued', 'a credit note was issued', '{invoice_id}', '{number,currency,total}'),
           ('claim.issued', 'a claim of interest, fees or costs was issued', '{invoice_id}', '{number,currency,total,due_on}'),
           ('invoice.voided', 'an invoice was voided', '{invoice_id}', '{credit_note_id,rebill}'),
           ('invoice.paid', 'nothing of an invoice is open any more', '{invoice_id}', '{}'),
           ('invoice.part_settled', 'part of an invoice was paid, credited or taken back, and its status is as it was', '{invoice_id}', '{currency,amount_due,reason}'),
           ('invoice.reopened', 'a paid invoice is open again', '{invoice_id}', '{amount_due,reason}'),
           ('invoice.written_off', 'an invoice was given up', '{invoice_id}', '{currency,amount,reason}'),
           ('payment.received', 'a payment was recorded', '{payment_id}', '{currency,amount,provider,reference}'),
           ('payment.refunded', 'money was given back, of a payment or for a credit note', '{invoice_id,payment_id}', '{refund_id,currency,amount}'),
           ('payment.charged_back', 'the payer''s bank took a payment back', '{payment_id}', '{refund_id,currency,amount,fee}'),
           ('payment_method.added', 'an account got a payment method', '{}', '{payment_method_id,type}'),
           ('payment_method.changed', 'a payment method got another status, or became that of a subscription', '{subscription_id}', '{payment_method_id,status}'),
           ('collection.requested', 'an invoice is to be collected', '{invoice_id}', '{collection_id,currency,amount}'),
           ('collection.declined', 'an attempt to collect failed', '{invoice_id}', '{collection_id,attempt_no,code,class,next_attempt_at}'),
           ('collection.succeeded', 'an invoice was collected', '{invoice_id,payment_id}', '{collection_id}'),
           ('collection.failed', 'an invoice is not collected any more', '{invoice_id}', '{collection_id,failure}'),
           ('collection.canceled', 'a collection was canceled by a person, or because its invoice is not open any more', '{invoice_id}', '{collection_id,failure}'),
           ('dunning.case_changed', 'a dunning case went to another state', '{invoice_id,case_id}', '{from,to,round,reason,until}'),
           ('dunning.step_done', 'a step of a dunning case was done', '{invoice_id,case_id}', '{round,step_no,done}'),
           ('dunning.step_event', 'a step whose action is event', '{invoice_id,case_id}', '{round,step_no,scheme}'),
           ('dunning.service_suspended', 'a step asks to suspend the service', '{invoice_id,case_id}', '{round,step_no}'),
           ('promise.made', 'a promise to pay was recorded', '{invoice_id,case_id}', '{promise_id,currency,amount,promised_on}'),
           ('promise.ended', 'a promise was kept, broken or canceled', '{invoice_id,case_id}', '{promise_id,state}'),
           ('arrangement.made', 'payment in parts was agreed', '{}', '{arrangement_id,currency,total}'),
           ('arrangement.ended', 'an arrangement was completed, broken or terminated', '{}', '{arrangement_id,state}'),
           ('agency.changed', 'a transfer to an agency got another state', '{case_id}', '{transfer_id,agency,state}'),
           ('notification.created', 'a message to the customer was written', '{invoice_id,payment_id,case_id}', '{notification_id,code,channel}')
$$;
COMMENT ON FUNCTION billing_internal.event_types() IS 'the kinds of events that this version writes, and what they carry';

CREATE FUNCTION billing_internal.event_adoption() RETURNS int
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_event_adoption';
COMMENT ON FUNCTION billing_internal.event_adoption() IS
    'adoption number of events that are written here; in a copy of the books it is raised first';

CREATE FUNCTION billing_internal.emit(account_id bigint, type text, occurred_at timestamptz, subscription_id bigint DEFAULT NULL,
    invoice_id bigint DEFAULT NULL, payment_id bigint DEFAULT NULL, case_id bigint DEFAULT NULL, payload jsonb DEFAULT '{}')
    RETURNS void LANGUAGE c AS 'MODULE_PATHNAME', 'billing_emit';
COMMENT ON FUNCTION billing_internal.emit(bigint, text, timestamptz, bigint, bigint, bigint, bigint, jsonb) IS
    'writes an event of an account that is locked, and wakes consumers at commit; nothing for types that are not kept';

-- Many at once; the accounts are locked, so their counters can be read before they are moved.
CREATE FUNCTION billing_internal.emit_all(account_ids bigint[], types text[], at timestamptz, invoice_ids bigint[], case_ids bigint[], payloads jsonb[],
    payment_ids bigint[] DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kept CONSTANT text[] := ARRAY(SELECT t.type FROM billing.event_type t WHERE t.kept);
BEGIN
    WITH told AS MATERIALIZED (
        SELECT u.*, row_number() OVER (PARTITION BY u.account_id ORDER BY u.n) AS k
          FROM unnest(account_ids, types, invoice_ids, payment_ids, case_ids, payloads) WITH ORDINALITY u (account_id, type, invoice_id, payment_id, case_id, payload, n)
         WHERE u.type = ANY (kept)),
    counter AS (
        UPDATE billing.account_state s SET event_no = s.event_no + c.n
          FROM (SELECT t.account_id, count(*) AS n FROM told t GROUP BY 1) c WHERE s.account_id = c.account_id
        RETURNING s.account_id, s.event_no - c.n AS last_no)
    INSERT INTO billing.event (account_id, adoption_number, xid, event_no, type, occurred_at, recorded_at, invoice_id, payment_id, case_id, payload)
    SELECT t.account_id, (SELECT billing_internal.event_adoption()), (SELECT pg_current_xact_id()), c.last_no + t.k, t.type, at, now(),
           t.invoice_id, t.payment_id, t.case_id, coalesce(t.payload, '{}')
      FROM told t JOIN counter c ON c.account_id = t.account_id;
    IF NOT FOUND THEN RETURN; END IF;
    PERFORM pg_notify('billing_event', '') WHERE EXISTS (SELECT FROM billing.event_consumer);
END $$;
COMMENT ON FUNCTION billing_internal.emit_all(bigint[], text[], timestamptz, bigint[], bigint[], jsonb[], bigint[]) IS
    'writes events of accounts that are locked, one per place of the arrays; nothing of types that are not kept';

-- An account is changed by whoever owns the books, with UPDATE.
CREATE FUNCTION billing_internal.account_changed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    columns CONSTANT text[] := ARRAY(SELECT n.key FROM jsonb_each(to_jsonb(NEW)) n WHERE to_jsonb(OLD)->n.key IS DISTINCT FROM n.value ORDER BY 1);
BEGIN
    IF columns <> '{}' THEN
        PERFORM billing_internal.lock_account(NEW.account_id),
                billing_internal.emit(NEW.account_id, 'account.changed', now(), payload => jsonb_build_object('columns', columns));
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION billing_internal.account_changed() IS 'writes an event for every change of an account';

-- In UTC, whatever the session's zone.
CREATE FUNCTION billing_internal.payload_instant(at timestamptz) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$ SELECT (to_jsonb($1 AT TIME ZONE 'UTC') #>> '{}') || 'Z' $$;
COMMENT ON FUNCTION billing_internal.payload_instant(timestamptz) IS 'an instant as events tell it';

CREATE FUNCTION billing_internal.states_payload(instants timestamptz[], states text[]) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT jsonb_agg(jsonb_build_object('from', billing_internal.payload_instant(u.at), 'state', u.state))
              FROM unnest(instants, states) u (at, state));
END $$;
COMMENT ON FUNCTION billing_internal.states_payload(timestamptz[], text[]) IS 'states of a subscription as events tell them';
