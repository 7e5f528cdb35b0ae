-- What follows when a collection is declined: codes of providers, policies of retrying.

CREATE FUNCTION billing_internal.decline_codes(OUT provider text, OUT code text, OUT class text, OUT meaning text)
    RETURNS SETOF record LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('', 'AC01', 'data', 'SEPA: account number is wrong'),
           ('', 'AC04', 'dead', 'SEPA: account is closed'),
           ('', 'AC06', 'dead', 'SEPA: account is blocked'),
           ('', 'AC13', 'dead', 'SEPA: account of a consumer'),
           ('', 'AG01', 'dead', 'SEPA: account allows no direct debits'),
           ('', 'AG02', 'ours', 'SEPA: wrong operation code'),
           ('', 'AM04', 'temporary', 'SEPA: insufficient funds'),
           ('', 'AM05', 'ours', 'SEPA: duplicate collection'),
           ('', 'BE05', 'ours', 'SEPA: creditor identifier is wrong'),
           ('', 'FF01', 'ours', 'SEPA: file format is wrong'),
           ('', 'MD01', 'refused', 'SEPA: no mandate'),
           ('', 'MD06', 'refused', 'SEPA: refund asked for by the customer'),
           ('', 'MD07', 'dead', 'SEPA: customer is deceased'),
           ('', 'MS02', 'refused', 'SEPA: refused by the customer'),
           ('', 'MS03', 'temporary', 'SEPA: no reason given'),
           ('', 'RC01', 'data', 'SEPA: bank identifier is wrong'),
           ('', 'SL01', 'refused', 'SEPA: blocked by the customer for this creditor'),
           ('', '04', 'dead', 'card: keep it'),
           ('', '05', 'temporary', 'card: do not honour'),
           ('', '12', 'ours', 'card: invalid transaction'),
           ('', '14', 'data', 'card: number is wrong'),
           ('', '41', 'dead', 'card: lost'),
           ('', '43', 'dead', 'card: stolen'),
           ('', '51', 'temporary', 'card: insufficient funds'),
           ('', '54', 'dead', 'card: expired'),
           ('', '57', 'refused', 'card: not permitted to the holder'),
           ('', '61', 'temporary', 'card: limit of amount reached'),
           ('', '65', 'temporary', 'card: limit of frequency reached'),
           ('', '91', 'temporary', 'card: issuer does not answer'),
           ('', '96', 'temporary', 'card: system failure'),
           ('', 'R0', 'refused', 'card: the holder stopped this payment'),
           ('', 'R1', 'refused', 'card: the holder stopped all payments')
$$;
COMMENT ON FUNCTION billing_internal.decline_codes() IS 'the codes of declines that new books know; rows of billing.decline_code may be added and changed';

CREATE FUNCTION billing.create_decline_code(provider text, code text, class text, meaning text) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_decline_code(text, text, text, text) IS
    'tells what a payment provider''s code means: temporary, data (wrong), dead (method), refused (by the customer) or ours (fault); an empty provider is any; returns the code';
CREATE FUNCTION billing_internal.create_decline_code(provider text, code text, class text, meaning text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_not_empty(code, 'code'), billing_internal.check_not_empty(meaning, 'meaning'),
            billing_internal.check_one_of(class, 'class', 'temporary', 'data', 'dead', 'refused', 'ours');
    INSERT INTO billing.decline_code (provider, code, class, meaning) VALUES (provider, code, class, meaning);
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.create_decline_code(text, text, text, text) IS 'body of billing.create_decline_code';

CREATE FUNCTION billing.create_retry_policy(code text, delays interval[], counted_from text DEFAULT 'first', window_length interval DEFAULT NULL,
    window_attempts int DEFAULT NULL, actions jsonb DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_retry_policy(text, interval[], text, interval, int, jsonb) IS
    'creates a schedule of further attempts after declined ones: delays from the first attempt or from the previous one; at most so many attempts with a method in any window, as card networks limit them; actions {"class": "retry", "ask" or "stop"} where not the usual ones; returns its code';
CREATE FUNCTION billing_internal.create_retry_policy(code text, delays interval[], counted_from text, window_length interval, window_attempts int, actions jsonb) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    stray text;
BEGIN
    PERFORM billing_internal.check_not_empty(code, 'code'), billing_internal.check_one_of(counted_from, 'counted_from', 'first', 'previous'),
            billing_internal.check_between(window_attempts, 'window_attempts', 1, 1000);
    IF array_ndims(delays) > 1 OR cardinality(delays) > 100 OR array_position(delays, NULL) IS NOT NULL
       OR EXISTS (SELECT FROM unnest(delays) d WHERE d < '0' OR d > interval '10 years')
       OR coalesce(counted_from, 'first') = 'first' AND delays IS DISTINCT FROM ARRAY(SELECT d FROM unnest(delays) d ORDER BY d) THEN
        PERFORM billing_internal.fail('invalid_argument', 'delays are at most 100 intervals of up to ten years, in order where they count from the first attempt');
    ELSIF (window_length IS NULL) <> (window_attempts IS NULL) OR window_length <= '0' OR window_length > interval '10 years' THEN
        PERFORM billing_internal.fail('invalid_argument', 'a window has a positive length and a number of attempts');
    ELSIF jsonb_typeof(actions) <> 'object' THEN
        PERFORM billing_internal.fail('invalid_argument', 'actions must be an object');
    END IF;
    SELECT a.key INTO stray FROM jsonb_each(actions) a
     WHERE a.key NOT IN ('temporary', 'data', 'dead', 'refused', 'ours') OR a.value NOT IN ('"retry"', '"ask"', '"stop"') LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('invalid_argument', format('unknown class or action at "%s"', stray),
                                      'Classes are temporary, data, dead, refused, ours; actions are retry, ask, stop.');
    END IF;
    INSERT INTO billing.retry_policy (code, delays, counted_from, window_length, window_attempts, actions)
    VALUES (code, delays, coalesce(counted_from, 'first'), window_length, window_attempts, coalesce(actions, '{}'));
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.create_retry_policy(text, interval[], text, interval, int, jsonb) IS 'body of billing.create_retry_policy';

CREATE FUNCTION billing_internal.decline_class(provider text, code text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT d.class FROM billing.decline_code d WHERE d.provider IN (coalesce($1, ''), '') AND d.code = $2 ORDER BY d.provider DESC LIMIT 1), 'temporary')
$$;
COMMENT ON FUNCTION billing_internal.decline_class(text, text) IS 'class of a provider''s code; unknown ones are temporary';

CREATE FUNCTION billing_internal.decline_action(policy text, class text) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT coalesce((SELECT p.actions->>$2 FROM billing.retry_policy p WHERE p.code = $1),
                    CASE WHEN $2 IN ('temporary', 'ours') THEN 'retry' WHEN $2 IN ('data', 'dead') THEN 'ask' ELSE 'stop' END)
$$;
COMMENT ON FUNCTION billing_internal.decline_action(text, text) IS 'what a policy does after a decline: retry, ask for another method, stop';

-- Attempts that were lost with their worker are no declines.
CREATE FUNCTION billing_internal.next_attempt(account_id bigint, collection_id bigint, at timestamptz) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT greatest($3, CASE p.counted_from WHEN 'first' THEN c.first_attempt_at ELSE a.last_at END + p.delays[a.declined])
      FROM billing.collection c
      JOIN billing.retry_policy p ON p.code = c.policy,
           LATERAL (SELECT count(*) FILTER (WHERE t.outcome = 'declined')::int AS declined, max(t.claimed_at) AS last_at
                      FROM billing.collection_attempt t WHERE t.account_id = c.account_id AND t.collection_id = c.id) a
     WHERE c.account_id = $1 AND c.id = $2 AND a.declined <= cardinality(p.delays)
$$;
COMMENT ON FUNCTION billing_internal.next_attempt(bigint, bigint, timestamptz) IS 'when a declined collection is tried again; null: not any more';

-- When the limit of attempts with a method in a rolling window allows the next one; null: now.  Networks count by card: the
-- same token, or account number, entered once more is no new one.
CREATE FUNCTION billing_internal.window_opens_at(account_id bigint, payment_method_id bigint, policy text, at timestamptz) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p billing.retry_policy;
BEGIN
    SELECT * INTO p FROM billing.retry_policy x WHERE x.code = policy;
    RETURN (SELECT x.claimed_at + p.window_length
              FROM billing.collection_attempt x
             WHERE x.account_id = window_opens_at.account_id AND x.claimed_at > at - p.window_length
               AND x.payment_method_id IN (SELECT o.id FROM billing.payment_method m
                     JOIN billing.payment_method o ON o.account_id = m.account_id AND (o.id = m.id OR o.iban = m.iban OR o.token = m.token AND o.provider IS NOT DISTINCT FROM m.provider)
                    WHERE m.account_id = window_opens_at.account_id AND m.id = window_opens_at.payment_method_id)
             ORDER BY x.claimed_at DESC OFFSET p.window_attempts - 1 LIMIT 1);
END $$;
COMMENT ON FUNCTION billing_internal.window_opens_at(bigint, bigint, text, timestamptz) IS
    'when so few attempts with a method lie in the policy''s window that another one may be made; null: now';
