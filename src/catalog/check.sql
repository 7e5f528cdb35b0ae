-- Checks of arguments, for the bodies of all modules: each returns what it was given, or raises.

-- The elements of an items argument, checked one by one.
CREATE FUNCTION billing_internal.parse_items(items jsonb, allowed text[])
    RETURNS TABLE (ordinal int, price text, quantity numeric, optional boolean, cycles int, metadata jsonb, event text, charge_once boolean,
                   own_invoice boolean, instalments int, scheme jsonb, charge_from date, charge_until date, description text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    element jsonb;
    stray text;
BEGIN
    IF jsonb_typeof(items) <> 'array' THEN
        PERFORM billing_internal.fail('invalid_item', 'items must be an array', format('It is of type %s.', jsonb_typeof(items)));
    END IF;
    FOR element, ordinal IN SELECT * FROM jsonb_array_elements(items) WITH ORDINALITY LOOP
        IF jsonb_typeof(element) <> 'object' THEN
            PERFORM billing_internal.fail('invalid_item', format('item %s must be an object', ordinal));
        END IF;
        SELECT k INTO stray FROM jsonb_object_keys(element) k WHERE k <> ALL (allowed) LIMIT 1;
        IF FOUND THEN
            PERFORM billing_internal.fail('invalid_item', format('item %s has the unknown key "%s"', ordinal, stray),
                                          format('Known keys are %s.', array_to_string(allowed, ', ')));
        END IF;
        IF jsonb_typeof(element->'price') IS DISTINCT FROM 'string' THEN
            PERFORM billing_internal.fail('invalid_item', format('item %s must name its price', ordinal));
        END IF;
        price := element->>'price';
        IF NOT EXISTS (SELECT FROM billing.price p WHERE p.code = parse_items.price) THEN
            PERFORM billing_internal.fail('unknown_price', format('price "%s" does not exist', price));
        END IF;
        quantity := billing_internal.json_quantity(element->'quantity', price);
        optional := coalesce(billing_internal.json_boolean(element->'optional', 'optional'), false);
        cycles := billing_internal.json_count(element->'cycles', 'cycles');
        metadata := billing_internal.check_metadata(nullif(element->'metadata', 'null'));
        event := billing_internal.json_text(element->'event', 'event');
        charge_once := billing_internal.json_boolean(element->'charge_once', 'charge_once');
        own_invoice := billing_internal.json_boolean(element->'own_invoice', 'own_invoice');
        instalments := billing_internal.json_count(element->'instalments', 'instalments');
        scheme := nullif(element->'scheme', 'null');
        charge_from := billing_internal.json_text(element->'charge_from', 'charge_from')::date;
        charge_until := billing_internal.json_text(element->'charge_until', 'charge_until')::date;
        description := billing_internal.json_text(element->'description', 'description');
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.parse_items(jsonb, text[]) IS 'the elements of an items argument, checked one by one';

CREATE FUNCTION billing_internal.json_quantity(value jsonb, price text) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    quantity numeric;
BEGIN
    IF value IS NULL OR value = 'null' THEN RETURN NULL; END IF;
    IF jsonb_typeof(value) NOT IN ('number', 'string') THEN
        PERFORM billing_internal.fail('invalid_item', format('quantity of price "%s" must be a number', price));
    END IF;
    quantity := (value #>> '{}')::numeric;
    IF quantity < 0 OR quantity >= 'Infinity' THEN
        PERFORM billing_internal.fail('invalid_quantity', format('quantity of price "%s" is %s', price, quantity),
                                      'A quantity is finite and not negative.');
    END IF;
    RETURN quantity;
END $$;
COMMENT ON FUNCTION billing_internal.json_quantity(jsonb, text) IS 'a quantity given as JSON number or decimal string; null where absent';

CREATE FUNCTION billing_internal.json_boolean(value jsonb, key text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NOT NULL AND jsonb_typeof(value) NOT IN ('boolean', 'null') THEN
        PERFORM billing_internal.fail('invalid_item', format('%s must be true or false', key));
    END IF;
    RETURN (value #>> '{}')::boolean;
END $$;
COMMENT ON FUNCTION billing_internal.json_boolean(jsonb, text) IS 'a JSON boolean; null where absent';

CREATE FUNCTION billing_internal.json_text(value jsonb, key text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NOT NULL AND jsonb_typeof(value) NOT IN ('string', 'null') THEN
        PERFORM billing_internal.fail('invalid_item', format('%s must be a string', key));
    END IF;
    RETURN value #>> '{}';
END $$;
COMMENT ON FUNCTION billing_internal.json_text(jsonb, text) IS 'a JSON string; null where absent';

CREATE FUNCTION billing_internal.json_count(value jsonb, key text) RETURNS int
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value IS NULL OR value = 'null' THEN RETURN NULL; END IF;
    IF jsonb_typeof(value) <> 'number' OR value::numeric <> trunc(value::numeric) OR value::numeric NOT BETWEEN 1 AND 100000 THEN
        PERFORM billing_internal.fail('invalid_item', format('%s must be a whole number from 1 to 100000', key));
    END IF;
    RETURN value::int;
END $$;
COMMENT ON FUNCTION billing_internal.json_count(jsonb, text) IS 'a positive whole JSON number; null where absent';

CREATE FUNCTION billing_internal.check_not_empty(value text, what text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value = '' THEN
        PERFORM billing_internal.fail('invalid_argument', format('%s must not be empty', what));
    END IF;
    RETURN value;
END $$;
COMMENT ON FUNCTION billing_internal.check_not_empty(text, text) IS 'a text that is not empty, or null';

CREATE FUNCTION billing_internal.check_between(value int, what text, lowest int, highest int) RETURNS int
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value NOT BETWEEN lowest AND highest THEN
        PERFORM billing_internal.fail('invalid_argument', format('%s is %s', what, value), format('It lies between %s and %s.', lowest, highest));
    END IF;
    RETURN value;
END $$;
COMMENT ON FUNCTION billing_internal.check_between(int, text, int, int) IS 'a number within bounds, or null';

CREATE FUNCTION billing_internal.check_country(country text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF country !~ '^[A-Z]{2}$' THEN
        PERFORM billing_internal.fail('invalid_argument', format('"%s" is not the code of a country', country),
                                      'It is an ISO 3166-1 alpha-2 code of two capital letters.');
    END IF;
    RETURN country;
END $$;
COMMENT ON FUNCTION billing_internal.check_country(text) IS 'the code of a country, or null';

CREATE FUNCTION billing_internal.check_metadata(metadata jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF jsonb_typeof(metadata) <> 'object' THEN
        PERFORM billing_internal.fail('invalid_argument', 'metadata must be a JSON object');
    END IF;
    RETURN coalesce(metadata, '{}');
END $$;
COMMENT ON FUNCTION billing_internal.check_metadata(jsonb) IS 'metadata as an object; null becomes the empty one';

CREATE FUNCTION billing_internal.check_address(address jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known CONSTANT text[] := ARRAY['line1', 'line2', 'line3', 'city', 'postal_code', 'region'];
BEGIN
    IF jsonb_typeof(address) <> 'object' OR EXISTS (
        SELECT FROM jsonb_each(CASE WHEN jsonb_typeof(address) = 'object' THEN address ELSE '{}' END) e
         WHERE e.key <> ALL (known) OR jsonb_typeof(e.value) <> 'string') THEN
        PERFORM billing_internal.fail('invalid_argument', 'malformed address',
            format('An address is an object of texts with the keys %s.', array_to_string(known, ', ')));
    END IF;
    RETURN coalesce(address, '{}');
END $$;
COMMENT ON FUNCTION billing_internal.check_address(jsonb) IS 'a structured address; null becomes the empty one';

CREATE FUNCTION billing_internal.check_tax_ids(tax_ids jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF jsonb_typeof(tax_ids) <> 'array' OR EXISTS (
        SELECT FROM jsonb_array_elements(CASE WHEN jsonb_typeof(tax_ids) = 'array' THEN tax_ids ELSE '[]' END) e
         WHERE jsonb_typeof(e) <> 'object' OR jsonb_typeof(e->'type') IS DISTINCT FROM 'string'
            OR jsonb_typeof(e->'value') IS DISTINCT FROM 'string' OR e - 'type' - 'value' <> '{}') THEN
        PERFORM billing_internal.fail('invalid_argument', 'malformed tax ids',
            'Tax ids are an array of objects {"type": "...", "value": "..."}.');
    END IF;
    RETURN coalesce(tax_ids, '[]');
END $$;
COMMENT ON FUNCTION billing_internal.check_tax_ids(jsonb) IS 'tax ids as an array; null becomes the empty one';

CREATE FUNCTION billing_internal.check_grace_period(grace_period interval) RETURNS interval
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT (grace_period >= '0' AND extract(month FROM grace_period) = 0 AND extract(year FROM grace_period) = 0 AND grace_period <= '366 days') THEN
        PERFORM billing_internal.fail('invalid_argument', format('grace_period is %s', grace_period), 'It consists of days and hours, 366 days at most.');
    END IF;
    RETURN grace_period;
END $$;
COMMENT ON FUNCTION billing_internal.check_grace_period(interval) IS 'a grace period of days and hours, or null';

CREATE FUNCTION billing_internal.check_price_scheme(scheme jsonb, meter text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_scheme(scheme);
    IF meter IS NULL AND scheme->>'model' = 'percentage' AND (scheme ? 'free_count' OR scheme ? 'free_amount') THEN
        PERFORM billing_internal.fail('invalid_scheme', 'free_count and free_amount need a metered price',
            'They count the transactions of a period, and a price without meter has none.');
    END IF;
    RETURN scheme;
END $$;
COMMENT ON FUNCTION billing_internal.check_price_scheme(jsonb, text) IS 'a scheme that a price with this meter can have, or null';

CREATE FUNCTION billing_internal.the_entity(entity text) RETURNS text
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    codes text[] := ARRAY(SELECT e.code FROM billing.entity e WHERE the_entity.entity IS NULL OR e.code = the_entity.entity LIMIT 2);
BEGIN
    IF entity IS NOT NULL AND cardinality(codes) = 0 THEN
        PERFORM billing_internal.fail('unknown_entity', format('entity "%s" does not exist', entity));
    ELSIF cardinality(codes) <> 1 THEN
        PERFORM billing_internal.fail('entity_required', 'entity must be named',
            format('There are %s entities.', CASE WHEN cardinality(codes) = 0 THEN 'no' ELSE 'several' END),
            'Pass entity => ''...''.');
    END IF;
    RETURN codes[1];
END $$;
COMMENT ON FUNCTION billing_internal.the_entity(text) IS 'code of the named entity, or of the only one';

CREATE FUNCTION billing_internal.check_entity(entity text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF entity IS NOT NULL THEN
        PERFORM billing_internal.the_entity(entity);
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_entity(text) IS 'refuses an unknown entity; null means all and is let pass';

CREATE FUNCTION billing_internal.check_claim(worker text, max int, lease interval, at timestamptz, entity text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_entity(entity);
    PERFORM billing_internal.check_billable(at), billing_internal.check_not_empty(worker, 'worker'), billing_internal.check_between(max, 'max', 1, 10000);
    IF lease <= '0' OR lease > interval '1 day' THEN
        PERFORM billing_internal.fail('invalid_argument', format('lease is %s', lease), 'It is longer than nothing and at most one day.');
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_claim(text, int, interval, timestamptz, text) IS 'refuses what a worker cannot claim by: collections and messages alike';

CREATE FUNCTION billing_internal.check_one_of(value text, what text, VARIADIC known text[]) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value <> ALL (known) THEN
        PERFORM billing_internal.fail('invalid_argument', format('unknown %s "%s"', what, value),
                                      format('Known are %s.', array_to_string(known, ', ')));
    END IF;
    RETURN value;
END $$;
COMMENT ON FUNCTION billing_internal.check_one_of(text, text, text[]) IS 'a value that is one of the known ones, or null';

-- NaN is greater than infinity.
CREATE FUNCTION billing_internal.check_amount(amount numeric, currency text, name text) RETURNS numeric
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    rounded numeric;
BEGIN
    PERFORM billing_internal.check_currency(currency);
    IF amount > 0 AND amount < 'Infinity' THEN
        rounded := billing.round_amount(amount, currency);
    END IF;
    IF rounded <> amount OR rounded IS NULL AND amount IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_amount', format('%s is %s', name, amount),
                                      format('It is positive, finite and in whole minor units of %s.', currency));
    END IF;
    RETURN rounded;
END $$;
COMMENT ON FUNCTION billing_internal.check_amount(numeric, text, text) IS 'a positive amount in whole minor units, or null';
