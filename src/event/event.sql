-- Events: written by the verbs, read by consumers.

CREATE FUNCTION billing_internal.event_types(OUT type text, OUT meaning text) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('account.created', 'an account was opened'),
           ('subscription.created', 'a subscription was made; payload: plan, state'),
           ('subscription.changed', 'a verb changed a subscription; payload: verb, change_id, effective_at'),
           ('subscription.change_withdrawn', 'a change that had not taken effect was withdrawn; payload: change_id, verb'),
           ('invoice.finalized', 'an invoice was finished; payload: number, currency, total, due_on'),
           ('credit_note.issued', 'a credit note was issued; payload: number, currency, total'),
           ('claim.issued', 'a claim of interest or fees was issued; payload: number, currency, total'),
           ('invoice.voided', 'an invoice was voided; payload: credit_note_id'),
           ('invoice.paid', 'nothing of an invoice is open any more'),
           ('invoice.reopened', 'a paid invoice is open again; payload: amount_due, reason'),
           ('invoice.written_off', 'an invoice was given up; payload: currency, amount, reason'),
           ('payment.received', 'a payment was recorded; payload: currency, amount, provider, reference'),
           ('payment.refunded', 'money was given back; payload: refund_id, currency, amount'),
           ('payment.charged_back', 'the payer''s bank took a payment back; payload: refund_id, currency, amount, fee'),
           ('payment_method.added', 'an account got a payment method; payload: payment_method_id, type'),
           ('payment_method.changed', 'a payment method got another status; payload: payment_method_id, status'),
           ('collection.requested', 'an invoice is to be collected; payload: collection_id, currency, amount'),
           ('collection.declined', 'an attempt to collect failed; payload: collection_id, attempt_no, code, class, next_attempt_at'),
           ('collection.succeeded', 'an invoice was collected; payload: collection_id'),
           ('collection.failed', 'an invoice is not collected any more; payload: collection_id, failure'),
           ('dunning.case_changed', 'a dunning case went to another state; payload: from, to, round, reason, until'),
           ('dunning.step_done', 'a step of a dunning case was done; payload: round, step_no, done'),
           ('dunning.step_event', 'a step whose action is event; payload: round, step_no, scheme'),
           ('dunning.service_suspended', 'a step asks to suspend the service; payload: round, step_no'),
           ('promise.made', 'a promise to pay was recorded; payload: promise_id, currency, amount, promised_on'),
           ('promise.ended', 'a promise was kept, broken or canceled; payload: promise_id, state'),
           ('arrangement.made', 'payment in parts was agreed; payload: arrangement_id, currency, total'),
           ('arrangement.ended', 'an arrangement was completed, broken or terminated; payload: arrangement_id, state'),
           ('agency.changed', 'a transfer to an agency got another state; payload: transfer_id, agency, state'),
           ('notification.created', 'a message to the customer was written; payload: notification_id, code, channel')
$$;
COMMENT ON FUNCTION billing_internal.event_types() IS 'the kinds of events that this version writes';

-- Writes an event of an account that the transaction has locked, unless its type is not kept.  Consumers are
-- woken at commit, once however many events there are.
CREATE FUNCTION billing_internal.emit(account_id bigint, type text, occurred_at timestamptz, subscription_id bigint DEFAULT NULL,
    invoice_id bigint DEFAULT NULL, payment_id bigint DEFAULT NULL, case_id bigint DEFAULT NULL, payload jsonb DEFAULT '{}')
    RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    number bigint;
BEGIN
    IF NOT (SELECT t.kept FROM billing.event_type t WHERE t.type = emit.type) THEN
        RETURN;
    END IF;
    UPDATE billing.account_state s SET event_no = s.event_no + 1 WHERE s.account_id = emit.account_id RETURNING s.event_no INTO STRICT number;
    INSERT INTO billing.event (account_id, adoption_number, xid, event_no, type, occurred_at, recorded_at,
                               subscription_id, invoice_id, payment_id, case_id, payload)
    VALUES (account_id, (SELECT b.adoption_number FROM billing.book b), pg_current_xact_id(), number, type, occurred_at, now(),
            subscription_id, invoice_id, payment_id, case_id, payload);
    IF EXISTS (SELECT FROM billing.event_consumer) THEN
        PERFORM pg_notify('billing_event', '');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.emit(bigint, text, timestamptz, bigint, bigint, bigint, bigint, jsonb) IS
    'writes an event of an account that is locked; nothing for types that are not kept';
