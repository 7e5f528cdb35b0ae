-- Catalogue calls.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing_internal.entity_check() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_currency(NEW.currency);
    PERFORM billing_internal.check_time_zone(NEW.time_zone);
    PERFORM billing_internal.check_address(NEW.address);
    PERFORM billing_internal.check_tax_ids(NEW.tax_ids);
    PERFORM billing_internal.check_grace_period(NEW.grace_period);
    IF NEW.invoice_series IS NULL THEN NEW.invoice_series := NEW.code || '-invoice'; END IF;
    IF NEW.credit_note_series IS NULL THEN NEW.credit_note_series := NEW.code || '-credit-note'; END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION billing_internal.entity_check() IS 'checks an entity and names its series';

CREATE FUNCTION billing_internal.entity_make_series() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO billing.series (code, entity, format, restart_yearly)
        VALUES (NEW.invoice_series, NEW.code, 'INV-{year}-{number:6}', true),
               (NEW.credit_note_series, NEW.code, 'CN-{year}-{number:6}', true)
            ON CONFLICT (code) DO NOTHING;
    END IF;
    PERFORM billing_internal.check_series(NEW.code, NEW.invoice_series), billing_internal.check_series(NEW.code, NEW.credit_note_series);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION billing_internal.entity_make_series() IS
    'makes the series that a new entity names and that do not exist; refuses those of another entity';

CREATE FUNCTION billing_internal.check_series(entity text, series text) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF series IS NOT NULL AND NOT EXISTS (
        SELECT FROM billing.series s WHERE s.code = check_series.series AND s.entity = check_series.entity) THEN
        PERFORM billing_internal.fail('unknown_series', format('entity "%s" has no series "%s"', entity, series));
    END IF;
END $$;
COMMENT ON FUNCTION billing_internal.check_series(text, text) IS 'refuses a series that is not one of the entity''s; null passes';

-- What a price says about money never changes once an item uses it.
CREATE FUNCTION billing_internal.price_check() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND EXISTS (SELECT FROM billing.price_version v WHERE v.price = OLD.code AND v.in_use) AND
       -- as text, since one month equals thirty days
       (TG_OP = 'DELETE' OR (NEW.code, NEW.currency, NEW.every::text, NEW.timing, NEW.tax, NEW.tax_inclusive, NEW.meter,
                             NEW.proration_charge, NEW.proration_credit)
            IS DISTINCT FROM (OLD.code, OLD.currency, OLD.every::text, OLD.timing, OLD.tax, OLD.tax_inclusive, OLD.meter,
                              OLD.proration_charge, OLD.proration_credit)) THEN
        PERFORM billing_internal.fail('price_in_use', format('price "%s" is in use and cannot be changed', OLD.code), NULL,
                                      'Create a new price, or a new version with billing.create_price_version().');
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    PERFORM billing_internal.check_currency(NEW.currency);
    IF NEW.every IS NOT NULL THEN
        PERFORM billing_internal.check_interval(NEW.every);
    ELSIF NEW.meter IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_argument', format('metered price "%s" needs an interval', NEW.code), 'What is charged once has no usage.');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION billing_internal.price_check() IS 'checks a price and keeps one that is in use unchanged';

CREATE FUNCTION billing_internal.price_version_check() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.in_use AND
       (TG_OP = 'DELETE' OR (NEW.price, NEW.version, NEW.scheme, NEW.in_use)
            IS DISTINCT FROM (OLD.price, OLD.version, OLD.scheme, OLD.in_use)) THEN
        PERFORM billing_internal.fail('price_in_use',
            format('version %s of price "%s" is in use and cannot be changed', OLD.version, OLD.price), NULL,
            'Create a new version with billing.create_price_version().');
    END IF;
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    PERFORM billing_internal.check_price_scheme(NEW.scheme, (SELECT p.meter FROM billing.price p WHERE p.code = NEW.price));
    RETURN NEW;
END $$;
COMMENT ON FUNCTION billing_internal.price_version_check() IS 'checks a scheme and keeps one that is in use unchanged';

CREATE FUNCTION billing_internal.plan_item_check() RETURNS trigger LANGUAGE plpgsql
    SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p billing.price;
    misfit CONSTANT text := CASE
        WHEN NEW.charge_once AND NEW.event IS NULL THEN 'charge_once without an event'
        WHEN NEW.event IS NOT NULL AND NEW.optional THEN 'an event and is optional'
        WHEN NEW.event IS NOT NULL AND NEW.instalments IS NOT NULL THEN 'an event and instalments'
        WHEN NEW.own_invoice AND NEW.instalments IS NOT NULL THEN 'an invoice of its own and instalments' END;
BEGIN
    SELECT * INTO p FROM billing.price x WHERE x.code = NEW.price;
    IF p.meter IS NOT NULL AND NEW.quantity IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" is metered and takes no quantity', NEW.price));
    ELSIF p.every IS NOT NULL AND (NEW.event IS NOT NULL OR NEW.charge_once OR NEW.own_invoice OR NEW.instalments IS NOT NULL) THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" is not charged once', NEW.price),
                                      'event, charge_once, own_invoice and instalments are for prices that are charged once.');
    ELSIF p.every IS NULL AND NEW.cycles IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" is charged once and takes no cycles', NEW.price), NULL,
                                      'To divide it over cycles use instalments.');
    ELSIF misfit IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_item', format('item of price "%s" has %s', NEW.price, misfit));
    END IF;
    IF p.meter IS NULL THEN NEW.quantity := coalesce(NEW.quantity, 1); END IF;
    IF EXISTS (SELECT FROM billing.plan_item i JOIN billing.price x ON x.code = i.price
                WHERE i.plan = NEW.plan AND (i.plan, i.ordinal) IS DISTINCT FROM (OLD.plan, OLD.ordinal) AND x.currency <> p.currency) THEN
        PERFORM billing_internal.fail('currency_mismatch', format('prices of plan "%s" have different currencies', NEW.plan));
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION billing_internal.plan_item_check() IS 'checks an item of a plan against its price';

CREATE FUNCTION billing.create_entity(code text, name text, country text, currency text, time_zone text,
    payment_terms_days int DEFAULT 14, address jsonb DEFAULT NULL, tax_ids jsonb DEFAULT NULL, grace_period interval DEFAULT NULL,
    metadata jsonb DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_entity(text, text, text, text, text, int, jsonb, jsonb, interval, jsonb) IS
    'creates a seller with its invoice and credit-note series; returns its code';
CREATE FUNCTION billing_internal.create_entity(code text, name text, country text, currency text, time_zone text,
    payment_terms_days int, address jsonb, tax_ids jsonb, grace_period interval, metadata jsonb)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_currency(currency), billing_internal.check_not_empty(code, 'code'),
            billing_internal.check_not_empty(name, 'name'), billing_internal.check_country(country),
            billing_internal.check_between(payment_terms_days, 'payment_terms_days', 0, 3650);
    INSERT INTO billing.entity (code, name, country, currency, time_zone, payment_terms_days, address, tax_ids, grace_period, metadata)
    VALUES (code, name, country, currency, time_zone, coalesce(payment_terms_days, 14), billing_internal.check_address(address),
            billing_internal.check_tax_ids(tax_ids), coalesce(grace_period, '0'), billing_internal.check_metadata(metadata));
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.create_entity(text, text, text, text, text, int, jsonb, jsonb, interval, jsonb) IS 'body of billing.create_entity';

CREATE FUNCTION billing.create_series(code text, entity text, format text, restart_yearly boolean DEFAULT false)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_series(text, text, text, boolean) IS
    'creates a number series; format holds {number} or {number:6} and may hold {year} or {yy}; returns its code';
CREATE FUNCTION billing_internal.create_series(code text, entity text, format text, restart_yearly boolean)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.the_entity(entity), billing_internal.check_not_empty(code, 'code');
    IF format !~ '\{number(:[1-9][0-9]?)?\}' OR length(format) > 60 OR restart_yearly AND format !~ '\{(year|yy)\}' THEN
        PERFORM billing_internal.fail('invalid_argument', format('malformed series format "%s"', format),
            'At most 60 characters, with {number} or {number:6}; where the series restarts yearly also with {year} or {yy}.');
    END IF;
    INSERT INTO billing.series (code, entity, format, restart_yearly)
    VALUES (code, entity, format, coalesce(restart_yearly, false));
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.create_series(text, text, text, boolean) IS 'body of billing.create_series';

CREATE FUNCTION billing.create_tax(code text, category text, rate numeric, entity text DEFAULT NULL, name text DEFAULT NULL,
    tax_status text DEFAULT 'standard', valid_from date DEFAULT NULL, reason text DEFAULT NULL, tax_point text DEFAULT 'service_end')
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_tax(text, text, numeric, text, text, text, date, text, text) IS
    'creates a tax class with its first rate; further rates: billing.create_tax_rate(); returns its code';
CREATE FUNCTION billing_internal.create_tax(code text, category text, rate numeric, entity text, name text,
    tax_status text, valid_from date, reason text, tax_point text)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_not_empty(code, 'code');
    INSERT INTO billing.tax_class (code, name, tax_point)
    VALUES (code, coalesce(name, code), billing_internal.check_one_of(
                coalesce(tax_point, 'service_end'), 'tax point', 'service_end', 'service_start', 'issue_date', 'split'));
    RETURN billing_internal.create_tax_rate(code, category, rate, entity, tax_status, valid_from, reason);
END $$;
COMMENT ON FUNCTION billing_internal.create_tax(text, text, numeric, text, text, text, date, text, text) IS 'body of billing.create_tax';

CREATE FUNCTION billing.create_tax_rate(tax text, category text, rate numeric, entity text DEFAULT NULL,
    tax_status text DEFAULT 'standard', valid_from date DEFAULT NULL, reason text DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_tax_rate(text, text, numeric, text, text, date, text) IS
    'adds a rate to a tax class: for another seller, another kind of buyer, or from a date on; returns the class';
CREATE FUNCTION billing_internal.create_tax_rate(tax text, category text, rate numeric, entity text,
    tax_status text, valid_from date, reason text)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    seller CONSTANT text := billing_internal.the_entity(entity);
BEGIN
    IF NOT EXISTS (SELECT FROM billing.tax_class c WHERE c.code = create_tax_rate.tax) THEN
        PERFORM billing_internal.fail('unknown_tax', format('tax class "%s" does not exist', tax));
    END IF;
    PERFORM billing_internal.check_one_of(category, 'tax category', 'S', 'Z', 'E', 'AE', 'K', 'G', 'O', 'L', 'M'),
            billing_internal.check_not_empty(tax_status, 'tax_status');
    IF NOT (rate >= 0 AND rate <= 1000) THEN
        PERFORM billing_internal.fail('invalid_argument', format('tax rate is %s', rate), 'It is in percent, from 0 to 1000.');
    ELSIF rate <> 0 AND category NOT IN ('S', 'L', 'M') THEN
        PERFORM billing_internal.fail('invalid_argument', format('tax category "%s" has the rate 0, not %s', category, rate));
    ELSIF reason IS NULL AND category NOT IN ('S', 'Z', 'L', 'M', 'O') THEN
        PERFORM billing_internal.fail('invalid_argument', format('tax category "%s" needs a reason', category),
                                      'Documents print why no tax is due.');
    ELSIF valid_from >= '10000-01-01' THEN
        PERFORM billing_internal.fail('datetime_field_overflow', format('valid_from %s lies beyond the year 9999', valid_from));
    END IF;
    INSERT INTO billing.tax_rate (entity, tax, tax_status, valid_from, category, rate, reason)
    VALUES (seller, tax, coalesce(tax_status, 'standard'), coalesce(valid_from, '-infinity'), category, rate, reason);
    RETURN tax;
END $$;
COMMENT ON FUNCTION billing_internal.create_tax_rate(text, text, numeric, text, text, date, text) IS 'body of billing.create_tax_rate';

CREATE FUNCTION billing.create_product(code text, name text, metadata jsonb DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_product(text, text, jsonb) IS 'creates a product; returns its code';
CREATE FUNCTION billing_internal.create_product(code text, name text, metadata jsonb)
    RETURNS text LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO billing.product (code, name, metadata)
    VALUES (billing_internal.check_not_empty($1, 'code'), $2, billing_internal.check_metadata($3)) RETURNING code
$$;
COMMENT ON FUNCTION billing_internal.create_product(text, text, jsonb) IS 'body of billing.create_product';

CREATE FUNCTION billing.create_meter(code text, name text DEFAULT NULL, aggregation text DEFAULT 'sum', unit_code text DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_meter(text, text, text, text) IS
    'creates a meter that aggregates the events of a period by sum, count, max or last; returns its code';
CREATE FUNCTION billing_internal.create_meter(code text, name text, aggregation text, unit_code text)
    RETURNS text LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO billing.meter (code, name, aggregation, unit_code)
    VALUES (billing_internal.check_not_empty($1, 'code'), coalesce($2, $1), billing_internal.check_one_of(coalesce($3, 'sum'), 'aggregation', 'sum', 'count', 'max', 'last'), $4)
    RETURNING code
$$;
COMMENT ON FUNCTION billing_internal.create_meter(text, text, text, text) IS 'body of billing.create_meter';

CREATE FUNCTION billing.create_price(code text, currency text, tax text, scheme jsonb, every interval DEFAULT NULL, timing text DEFAULT NULL,
    name text DEFAULT NULL, product text DEFAULT NULL, meter text DEFAULT NULL, tax_inclusive boolean DEFAULT false,
    proration_charge text DEFAULT 'day', proration_credit text DEFAULT 'day', unit_code text DEFAULT NULL, metadata jsonb DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_price(text, text, text, jsonb, interval, text, text, text, text, boolean, text, text, text, jsonb) IS
    'creates a price with its first scheme, charged every so often, or without an interval once; timing is advance, or arrears, which metered prices always are; returns its code';
CREATE FUNCTION billing_internal.create_price(code text, currency text, tax text, scheme jsonb, every interval, timing text,
    name text, product text, meter text, tax_inclusive boolean,
    proration_charge text, proration_credit text, unit_code text, metadata jsonb)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_currency(currency), billing_internal.check_not_empty(code, 'code');
    IF NOT EXISTS (SELECT FROM billing.tax_class c WHERE c.code = create_price.tax) THEN
        PERFORM billing_internal.fail('unknown_tax', format('tax class "%s" does not exist', tax));
    ELSIF product IS NOT NULL AND NOT EXISTS (SELECT FROM billing.product p WHERE p.code = create_price.product) THEN
        PERFORM billing_internal.fail('unknown_product', format('product "%s" does not exist', product));
    ELSIF meter IS NOT NULL AND NOT EXISTS (SELECT FROM billing.meter m WHERE m.code = create_price.meter) THEN
        PERFORM billing_internal.fail('unknown_meter', format('meter "%s" does not exist', meter));
    ELSIF meter IS NOT NULL AND timing = 'advance' THEN
        PERFORM billing_internal.fail('invalid_argument', format('metered price "%s" cannot be charged in advance', code), NULL,
                                      'Leave timing out, or use arrears.');
    END IF;
    proration_charge := billing_internal.check_one_of(coalesce(proration_charge, 'day'), 'proration', 'day', 'second', '30/360', 'none', 'full');
    proration_credit := billing_internal.check_one_of(coalesce(proration_credit, 'day'), 'proration', 'day', 'second', '30/360', 'none', 'full');
    IF proration_charge NOT IN ('none', 'full') AND proration_credit NOT IN ('none', 'full', proration_charge) THEN
        PERFORM billing_internal.fail('invalid_argument', 'proration_charge and proration_credit have different bases',
                                      format('They are %s and %s.', proration_charge, proration_credit));
    ELSIF '30/360' IN (proration_charge, proration_credit) AND extract(day FROM every) <> 0 THEN
        PERFORM billing_internal.fail('invalid_argument', format('proration by 30/360 needs months, and the interval is %s', every));
    END IF;
    INSERT INTO billing.price (code, name, product, currency, every, timing, tax, tax_inclusive, meter,
                               proration_charge, proration_credit, unit_code, metadata)
    VALUES (code, coalesce(name, (SELECT p.name FROM billing.product p WHERE p.code = create_price.product), code), product, currency, every,
            billing_internal.check_one_of(coalesce(timing, CASE WHEN meter IS NULL THEN 'advance' ELSE 'arrears' END),
                                          'timing', 'advance', 'arrears'),
            tax, coalesce(tax_inclusive, false), meter,
            proration_charge, proration_credit, coalesce(unit_code, (SELECT m.unit_code FROM billing.meter m WHERE m.code = create_price.meter)),
            billing_internal.check_metadata(metadata));
    INSERT INTO billing.price_version (price, version, scheme) VALUES (code, 1, scheme);
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.create_price(text, text, text, jsonb, interval, text, text, text, text, boolean, text, text, text, jsonb) IS
    'body of billing.create_price';

CREATE FUNCTION billing.create_price_version(price text, scheme jsonb, from_at timestamptz DEFAULT NULL)
    RETURNS int LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_price_version(text, jsonb, timestamptz) IS
    'supersedes a price''s scheme for items that start from an instant on (default now); running items keep theirs; returns the version';
CREATE FUNCTION billing_internal.create_price_version(price text, scheme jsonb, from_at timestamptz)
    RETURNS int LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result int;
BEGIN
    PERFORM FROM billing.price p WHERE p.code = create_price_version.price FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_price', format('price "%s" does not exist', price));
    END IF;
    from_at := coalesce(from_at, now());
    PERFORM billing_internal.check_instant(from_at, 'from_at');
    INSERT INTO billing.price_version (price, version, scheme, valid_from)
    SELECT create_price_version.price, coalesce(max(v.version), 0) + 1, create_price_version.scheme, from_at
      FROM billing.price_version v WHERE v.price = create_price_version.price
    RETURNING version INTO result;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.create_price_version(text, jsonb, timestamptz) IS 'body of billing.create_price_version';

CREATE FUNCTION billing.create_plan(code text, items jsonb, name text DEFAULT NULL, billing_day int DEFAULT NULL,
    cycles int DEFAULT NULL, trial_every interval DEFAULT NULL, trial_end_action text DEFAULT 'activate',
    resume_anchor text DEFAULT 'keep', metadata jsonb DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_plan(text, jsonb, text, int, int, interval, text, text, jsonb) IS
    'creates a plan of [{"price", "quantity", "optional", "cycles", "event", "charge_once", "own_invoice", "instalments"}, ...]; returns its code';
CREATE FUNCTION billing_internal.create_plan(code text, items jsonb, name text, billing_day int, cycles int,
    trial_every interval, trial_end_action text, resume_anchor text, metadata jsonb)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known CONSTANT text[] := ARRAY['price', 'quantity', 'optional', 'cycles', 'event', 'charge_once', 'own_invoice', 'instalments'];
    twice text;
    archived text;
    shortest interval;
BEGIN
    PERFORM billing_internal.check_not_empty(code, 'code'), billing_internal.check_between(billing_day, 'billing_day', 1, 31),
            billing_internal.check_between(cycles, 'cycles', 1, 100000);
    IF trial_every IS NOT NULL THEN PERFORM billing_internal.check_interval(trial_every); END IF;
    INSERT INTO billing.plan (code, name, billing_day, cycles, trial_every, trial_end_action, resume_anchor, metadata)
    VALUES (code, coalesce(name, code), billing_day, cycles, trial_every,
            billing_internal.check_one_of(coalesce(trial_end_action, 'activate'), 'end of a trial', 'activate', 'cancel'),
            billing_internal.check_one_of(coalesce(resume_anchor, 'keep'), 'anchor', 'keep', 'resume'), billing_internal.check_metadata(metadata));
    SELECT i.price INTO twice FROM billing_internal.parse_items(items, known) i GROUP BY i.price, i.event HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" is named twice', twice));
    END IF;
    INSERT INTO billing.plan_item (plan, ordinal, price, quantity, optional, cycles, event, charge_once, own_invoice, instalments)
    SELECT create_plan.code, i.ordinal, i.price, i.quantity, i.optional, i.cycles,
           billing_internal.check_one_of(i.event, 'event', VARIADIC billing_internal.events()),
           coalesce(i.charge_once, false), coalesce(i.own_invoice, false), i.instalments
      FROM billing_internal.parse_items(items, known) i;
    SELECT p.code INTO archived FROM billing.plan_item i JOIN billing.price p ON p.code = i.price
     WHERE i.plan = create_plan.code AND p.archived_at <= now() LIMIT 1;
    IF archived IS NOT NULL THEN
        PERFORM billing_internal.fail('archived_object', format('price "%s" is archived', archived));
    END IF;
    shortest := billing_internal.common_interval(ARRAY(SELECT i.price FROM billing.plan_item i WHERE i.plan = create_plan.code));
    IF billing_day IS NOT NULL AND extract(day FROM shortest) <> 0 THEN
        PERFORM billing_internal.fail('invalid_interval', format('plan "%s" has a billing day and prices by the day', code));
    END IF;
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.create_plan(text, jsonb, text, int, int, interval, text, text, jsonb) IS 'body of billing.create_plan';

CREATE FUNCTION billing_internal.events() RETURNS text[]
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY['subscription_creation', 'trial_start', 'subscription_activation', 'plan_activation', 'contract_termination']
$$;
COMMENT ON FUNCTION billing_internal.events() IS 'the events of a subscription that a plan can charge for';

CREATE FUNCTION billing_internal.is_multiple(every interval, of interval) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    days CONSTANT int := extract(day FROM every);
    months CONSTANT int := extract(year FROM every) * 12 + extract(month FROM every);
    of_days CONSTANT int := extract(day FROM of);
BEGIN
    IF every IS NULL THEN RETURN false; END IF;
    IF of_days > 0 THEN RETURN days > 0 AND days % of_days = 0; END IF;
    RETURN days = 0 AND months % (extract(year FROM of) * 12 + extract(month FROM of))::int = 0;
END $$;
COMMENT ON FUNCTION billing_internal.is_multiple(interval, interval) IS 'is an interval of whole months or days a whole multiple of another';

CREATE FUNCTION billing_internal.common_interval(prices text[]) RETURNS interval
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    shortest interval := (SELECT min(p.every) FROM billing.price p WHERE p.code = ANY (prices));
    misfit text := (SELECT p.code FROM billing.price p WHERE p.code = ANY (prices) AND p.every IS NOT NULL
                      AND NOT billing_internal.is_multiple(p.every, shortest) ORDER BY p.code LIMIT 1);
BEGIN
    IF misfit IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_interval', format('interval of price "%s" is not a multiple of %s', misfit, shortest),
                                      'The periods of all items are whole multiples of the shortest.');
    END IF;
    RETURN shortest;
END $$;
COMMENT ON FUNCTION billing_internal.common_interval(text[]) IS 'the shortest interval of prices, of which all others must be multiples; null where all are charged once';

CREATE FUNCTION billing.archive_price(price text, effective_at timestamptz DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.archive_price(text, timestamptz) IS 'takes a price off sale from an instant on (default now); running items keep it; returns its code';
CREATE FUNCTION billing_internal.archive_price(price text, effective_at timestamptz)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_instant(coalesce(effective_at, now()), 'effective_at');
    UPDATE billing.price p SET archived_at = coalesce(effective_at, now()) WHERE p.code = archive_price.price;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_price', format('price "%s" does not exist', price));
    END IF;
    RETURN price;
END $$;
COMMENT ON FUNCTION billing_internal.archive_price(text, timestamptz) IS 'body of billing.archive_price';

CREATE FUNCTION billing.archive_plan(plan text, effective_at timestamptz DEFAULT NULL)
    RETURNS text LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.archive_plan(text, timestamptz) IS 'takes a plan off sale from an instant on (default now); running subscriptions keep it; returns its code';
CREATE FUNCTION billing_internal.archive_plan(plan text, effective_at timestamptz)
    RETURNS text LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.check_instant(coalesce(effective_at, now()), 'effective_at');
    UPDATE billing.plan p SET archived_at = coalesce(effective_at, now()) WHERE p.code = archive_plan.plan;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_plan', format('plan "%s" does not exist', plan));
    END IF;
    RETURN plan;
END $$;
COMMENT ON FUNCTION billing_internal.archive_plan(text, timestamptz) IS 'body of billing.archive_plan';
