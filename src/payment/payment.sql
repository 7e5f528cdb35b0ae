-- Payments.

CREATE FUNCTION billing_internal.payment_method_types(OUT type text, OUT automatic boolean, OUT recurring text, OUT reversible_for interval, OUT name text)
    RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('card', true, 'same', interval '120 days', 'Card'),
           ('paypal', true, 'same', interval '180 days', 'PayPal'),
           ('direct_debit', true, 'same', interval '13 months', 'Direct debit'),
           ('digital_mandate', true, 'direct_debit', interval '56 days', 'Digital mandate'),
           ('ideal', false, 'direct_debit', NULL, 'iDEAL'),
           ('bancontact', false, 'direct_debit', NULL, 'Bancontact'),
           ('sofort', false, 'direct_debit', NULL, 'Sofort'),
           ('transfer', false, 'none', NULL, 'Transfer'),
           ('cash', false, 'none', NULL, 'Cash'),
           ('wallet', true, 'same', NULL, 'Wallet')
$$;
COMMENT ON FUNCTION billing_internal.payment_method_types() IS 'the ways to pay that new books know; rows of billing.payment_method_type may be added and changed';
