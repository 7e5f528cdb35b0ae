-- What looks like a number of a bank account, and what must not look like one of a card.

-- Lengths by country, as the registry of ISO 13616 lists them.
CREATE FUNCTION billing_internal.iban_length(country text) RETURNS int
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT substring('AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 '
                     'FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 '
                     'LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 '
                     'SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30'
                     FROM '\m' || $1 || '([0-9]{2})')::int
$$;
COMMENT ON FUNCTION billing_internal.iban_length(text) IS 'length of the account numbers (IBAN) of a country; null: it has none';

-- The country and the check digits move to the end, letters count from 10; the number so written is 1 modulo 97.
CREATE FUNCTION billing_internal.is_iban(iban text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    c text;
    rest int := 0;
BEGIN
    IF iban !~ '^[A-Z]{2}(0[2-9]|[1-8][0-9]|9[0-8])[A-Z0-9]+$' OR length(iban) IS DISTINCT FROM billing_internal.iban_length(left(iban, 2)) THEN
        RETURN false;
    END IF;
    FOREACH c IN ARRAY string_to_array(substr(iban, 5) || left(iban, 4), NULL) LOOP
        rest := CASE WHEN c BETWEEN '0' AND '9' THEN rest * 10 + c::int ELSE rest * 100 + ascii(c) - ascii('A') + 10 END % 97;
    END LOOP;
    RETURN rest = 1;
END $$;
COMMENT ON FUNCTION billing_internal.is_iban(text) IS 'is a text the number of a bank account: its country, its length, its check digits?';

CREATE FUNCTION billing_internal.check_iban(iban text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    compact CONSTANT text := upper(replace(iban, ' ', ''));
BEGIN
    IF NOT billing_internal.is_iban(compact) THEN
        PERFORM billing_internal.fail('invalid_iban', format('"%s" is not the number of a bank account', iban));
    END IF;
    RETURN compact;
END $$;
COMMENT ON FUNCTION billing_internal.check_iban(text) IS 'an account number without spaces, or null';

-- 13 to 19 digits, with single spaces or hyphens between them, of which every second from the right doubled makes a
-- sum of digits that 10 divides.
CREATE FUNCTION billing_internal.holds_card_number(value text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM regexp_matches($1, '(?<![0-9])[0-9](?:[ -]?[0-9]){12,18}(?![ -]?[0-9])', 'g') m
         CROSS JOIN LATERAL (SELECT reverse(regexp_replace(m[1], '[^0-9]', '', 'g')) AS digits) d
         WHERE (SELECT sum(CASE WHEN n % 2 = 1 THEN x ELSE x * 2 / 10 + x * 2 % 10 END)
                  FROM (SELECT n, substr(d.digits, n, 1)::int AS x FROM generate_series(1, length(d.digits)) n) y) % 10 = 0)
$$;
COMMENT ON FUNCTION billing_internal.holds_card_number(text) IS 'does a text hold what looks like the number of a card?';

CREATE FUNCTION billing_internal.check_no_card_number(VARIADIC texts text[]) RETURNS void
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM unnest(texts) t WHERE billing_internal.holds_card_number(t)) THEN
        PERFORM billing_internal.fail('invalid_argument', 'numbers of cards are not kept', NULL, 'Pass the token that the payment provider gives for it.');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_no_card_number(text[]) IS 'refuses texts that hold what looks like the number of a card';
