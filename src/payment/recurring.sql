-- Which method recurs after a first payment.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing.recurring_payment_method(payment_id bigint, iban text DEFAULT NULL, mandate_reference text DEFAULT NULL,
    mandate_signed_on date DEFAULT NULL, subscription_id bigint DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.recurring_payment_method(bigint, text, text, date, bigint, text) IS
    'makes what recurs after a first payment the method of its account or subscription: the same one for cards and wallets, a direct debit on the account number received for one-time bank payments; returns its id, null where nothing recurs';
CREATE FUNCTION billing_internal.recurring_payment_method(payment_id bigint, iban text, mandate_reference text, mandate_signed_on date, subscription_id bigint,
    idempotency_key text) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := billing_internal.lock_payment(payment_id);
    p billing.payment;
    recurs text;
    method bigint;
BEGIN
    SELECT * INTO p FROM billing.payment x WHERE x.account_id = account AND x.id = recurring_payment_method.payment_id;
    SELECT t.recurring INTO recurs FROM billing.payment_method_type t WHERE t.type = p.method;
    method := p.payment_method_id;
    IF coalesce(recurs, 'none') = 'none' OR recurs = 'same' AND method IS NULL THEN
        RETURN NULL;
    ELSIF recurs = 'direct_debit' THEN
        iban := coalesce(billing_internal.check_iban(iban), (SELECT m.iban FROM billing.payment_method m WHERE m.account_id = account AND m.id = p.payment_method_id));
        IF iban IS NULL THEN
            PERFORM billing_internal.fail('invalid_iban', format('payment %s came with no account number', payment_id), NULL, 'Pass iban => the account that it came from.');
        END IF;
        SELECT m.id INTO method FROM billing.payment_method m
         WHERE m.account_id = account AND m.type = 'direct_debit' AND m.iban = recurring_payment_method.iban AND m.status IN ('pending', 'active') ORDER BY m.id LIMIT 1;
        IF method IS NULL THEN
            method := billing_internal.add_payment_method(account, 'direct_debit', NULL, NULL, NULL, iban, mandate_reference, mandate_signed_on, NULL, NULL, false, NULL, NULL);
        ELSIF mandate_reference IS NOT NULL THEN
            method := billing_internal.change_payment_method(method, NULL, NULL, NULL, NULL, mandate_reference, mandate_signed_on, NULL, NULL, NULL, NULL);
        END IF;
    END IF;
    RETURN billing_internal.set_payment_method(account, method, subscription_id);
END $$;
COMMENT ON FUNCTION billing_internal.recurring_payment_method(bigint, text, text, date, bigint, text) IS 'body of billing.recurring_payment_method';

-- The method that pays a reminder becomes that of the subscriptions reminded of, unless they are collected with it
-- anyway.  The case of a whole account reminds of what was due when a step was done.
CREATE FUNCTION billing_internal.adopt_method(account_id bigint, payment_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    method CONSTANT bigint := (SELECT p.payment_method_id FROM billing.payment p WHERE p.account_id = adopt_method.account_id AND p.id = adopt_method.payment_id);
BEGIN
    -- Most payments end here, and cost no more than this.
    IF method IS NULL OR NOT EXISTS (SELECT FROM billing.dunning_case c WHERE c.account_id = adopt_method.account_id AND c.step_no > 0)
       OR NOT billing_internal.is_usable(account_id, method, at) THEN
        RETURN;
    END IF;
    PERFORM billing_internal.set_payment_method(x.account_id, method, x.subscription_id)
       FROM (SELECT DISTINCT l.account_id, l.subscription_id
               FROM billing.account o
               JOIN billing.payment_allocation a ON a.account_id = o.account_id AND a.payment_id = adopt_method.payment_id
               JOIN billing.invoice i ON i.account_id = a.account_id AND i.id = a.invoice_id
               JOIN billing.dunning_case c ON c.account_id = o.account_id AND c.step_no > 0
                AND (c.invoice_id = a.invoice_id OR c.invoice_id IS NULL AND i.due_on < billing_internal.local_day(c.account_id, c.stepped_at))
               JOIN billing.invoice_line l ON l.account_id = o.account_id AND l.invoice_id = a.invoice_id
               JOIN billing.subscription s ON s.account_id = o.account_id AND s.id = l.subscription_id
                AND coalesce(s.payment_method_id, o.payment_method_id) IS DISTINCT FROM method
              WHERE o.account_id = adopt_method.account_id) x;
END $$;
COMMENT ON FUNCTION billing_internal.adopt_method(bigint, bigint, timestamptz) IS
    'makes the method of a payment that paid a reminder that of its subscriptions';
