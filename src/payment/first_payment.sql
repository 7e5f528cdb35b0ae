-- Payments for a subscription, which may be the first one that it waits for.

CREATE FUNCTION billing_internal.awaits_payment(account_id bigint, subscription_id bigint) RETURNS boolean
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM billing.subscription s
                    WHERE s.account_id = awaits_payment.account_id AND s.id = awaits_payment.subscription_id AND s.activation = 'pending');
END $$;
COMMENT ON FUNCTION billing_internal.awaits_payment(bigint, bigint) IS 'does a subscription wait for its first payment?';

CREATE FUNCTION billing_internal.open_invoices_of(account_id bigint, subscription_id bigint) RETURNS bigint[]
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN ARRAY(SELECT i.id FROM billing.invoice i
                  WHERE i.account_id = open_invoices_of.account_id AND i.kind = 'invoice' AND i.status = 'open' AND EXISTS (
                        SELECT FROM billing.invoice_line l WHERE l.account_id = i.account_id AND l.invoice_id = i.id AND l.subscription_id = open_invoices_of.subscription_id)
                  ORDER BY i.due_on, i.id);
END $$;
COMMENT ON FUNCTION billing_internal.open_invoices_of(bigint, bigint) IS 'open invoices on which a subscription has lines, by due date';

-- Brings it to life when what the account has left covers what is to be paid for that: its first invoice is made, and
-- paid by that before anything else is.  What recurs by the same method is collected with it from then on.
CREATE FUNCTION billing_internal.activate_paid(account_id bigint, payment_id bigint, subscription_id bigint, at timestamptz) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    credit CONSTANT numeric := (SELECT sum(c.amount) FROM billing.customer_credit c WHERE c.account_id = activate_paid.account_id);
    method CONSTANT bigint := (SELECT p.payment_method_id FROM billing.payment p JOIN billing.payment_method_type t ON t.type = p.method
                                WHERE p.account_id = activate_paid.account_id AND p.id = activate_paid.payment_id AND t.recurring = 'same');
BEGIN
    IF credit < (SELECT f.amount FROM billing_internal.first_payment(subscription_id, at) f) THEN RETURN; END IF;
    UPDATE billing.account_state s SET has_credit = false WHERE s.account_id = activate_paid.account_id;
    PERFORM billing_internal.activate_subscription(subscription_id, at, true, 'first payment', NULL);
    PERFORM billing_internal.use_credit(account_id, at, billing_internal.open_invoices_of(account_id, subscription_id));
    IF billing_internal.is_usable(account_id, method, at) THEN
        PERFORM billing_internal.set_payment_method(account_id, method, subscription_id);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.activate_paid(bigint, bigint, bigint, timestamptz) IS
    'brings a subscription to life that waits for its first payment, if the account''s credit covers it';
