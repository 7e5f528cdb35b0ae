-- What an entity wants done with its receivables.

CREATE FUNCTION billing.set_payment_rules(entity text, payment_tolerance numeric DEFAULT NULL, allocation_rules text[] DEFAULT NULL,
    collect text DEFAULT NULL, retry_policy text DEFAULT NULL, dunning_scheme text DEFAULT NULL, language text DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.set_payment_rules(text, numeric, text[], text, text, text, text) IS
    'sets how an entity''s payments are allocated and its invoices collected and reminded of; null leaves as it is, an empty retry_policy or dunning_scheme means none; returns its code';
CREATE FUNCTION billing_internal.set_payment_rules(entity text, payment_tolerance numeric, allocation_rules text[], collect text,
    retry_policy text, dunning_scheme text, language text)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    code CONSTANT text := billing_internal.the_entity(entity);
BEGIN
    PERFORM billing_internal.check_amount(nullif(payment_tolerance, 0), (SELECT e.currency FROM billing.entity e WHERE e.code = set_payment_rules.entity),
                                          'payment_tolerance'),
            billing_internal.check_rules(allocation_rules), billing_internal.check_one_of(collect, 'time to collect', 'issue', 'due', 'never'),
            billing_internal.check_language(language), billing_internal.check_scheme_fits(dunning_scheme, code, NULL);
    IF retry_policy <> '' AND NOT EXISTS (SELECT FROM billing.retry_policy p WHERE p.code = set_payment_rules.retry_policy) THEN
        PERFORM billing_internal.fail('unknown_retry_policy', format('retry policy "%s" does not exist', retry_policy));
    END IF;
    UPDATE billing.entity e
       SET payment_tolerance = coalesce(set_payment_rules.payment_tolerance, e.payment_tolerance),
           allocation_rules = coalesce(set_payment_rules.allocation_rules, e.allocation_rules), collect = coalesce(set_payment_rules.collect, e.collect),
           retry_policy = nullif(coalesce(set_payment_rules.retry_policy, e.retry_policy), ''),
           dunning_scheme = nullif(coalesce(set_payment_rules.dunning_scheme, e.dunning_scheme), ''), language = coalesce(set_payment_rules.language, e.language)
     WHERE e.code = set_payment_rules.entity;
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.set_payment_rules(text, numeric, text[], text, text, text, text) IS 'body of billing.set_payment_rules';
