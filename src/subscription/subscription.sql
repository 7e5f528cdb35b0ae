-- Subscriptions.  billing.x is the door (rights, owner), billing_internal.x the body.

CREATE FUNCTION billing.subscription_id(external_id text) RETURNS bigint
    LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.subscription_id(text) IS 'id of the subscription with an external id';
CREATE FUNCTION billing_internal.subscription_id(external_id text) RETURNS bigint
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$ SELECT billing_internal.find_key('subscription', $1) $$;
COMMENT ON FUNCTION billing_internal.subscription_id(text) IS 'body of billing.subscription_id';

-- An edit makes the account due from its instant on, and to be compared again where that was billed
-- already: in arrears before it, of what exists also in advance beyond it.
CREATE FUNCTION billing_internal.timeline_changed(account_id bigint, from_at timestamptz, existing boolean) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE billing.account_state s SET next_due = least(s.next_due, from_at),
           recompute_from = CASE WHEN from_at < s.billed_through OR existing AND s.billed_through IS NOT NULL
                                 THEN least(s.recompute_from, from_at) ELSE s.recompute_from END
     WHERE s.account_id = timeline_changed.account_id;
END $$;
COMMENT ON FUNCTION billing_internal.timeline_changed(bigint, timestamptz, boolean) IS
    'notes that an account''s timeline changed from an instant on; existing: of something that may be charged already';

-- What a new item is, or why it cannot be.  once: what it is where its price is charged once, not in instalments.
CREATE FUNCTION billing_internal.item_kind(price text, once text, cycles int, instalments int, charge_from date, charge_until date, own_invoice boolean)
    RETURNS text LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    recurring CONSTANT boolean := (SELECT p.every IS NOT NULL FROM billing.price p WHERE p.code = item_kind.price);
    misfit CONSTANT text := CASE
        WHEN recurring AND instalments IS NOT NULL THEN 'is not charged once and takes no instalments'
        WHEN recurring AND own_invoice THEN 'is not charged once and takes no invoice of its own'
        WHEN NOT recurring AND cycles IS NOT NULL THEN 'is charged once and takes no cycles'
        WHEN instalments IS NOT NULL AND own_invoice THEN 'is charged in instalments and takes no invoice of its own'
        WHEN NOT recurring AND instalments IS NULL AND coalesce(charge_from, charge_until) IS NOT NULL THEN
            'is charged once and takes no dates; with one instalment it does'
        WHEN charge_until < charge_from THEN 'may be charged until a day before it may be charged from' END;
BEGIN
    IF misfit IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" %s', price, misfit));
    END IF;
    RETURN CASE WHEN recurring THEN 'recurring' WHEN instalments IS NOT NULL THEN 'instalment' ELSE once END;
END $$;
COMMENT ON FUNCTION billing_internal.item_kind(text, text, int, int, date, date, boolean) IS
    'kind of a new item by its price and what is said of it, or invalid_item';

-- The plan's items with the caller's merged over them by price.  What the plan charges for an event is no part of it.
CREATE FUNCTION billing_internal.merge_items(plan text, items jsonb)
    RETURNS TABLE (ordinal int, price text, quantity numeric, cycles int, metadata jsonb, instalments int, scheme jsonb, charge_from date,
                   charge_until date, own_invoice boolean, description text, planned boolean, meter text)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known CONSTANT text[] := ARRAY['price', 'quantity', 'cycles', 'metadata', 'scheme', 'instalments', 'charge_from', 'charge_until', 'own_invoice', 'description'];
    twice text;
BEGIN
    SELECT e->>'price' INTO twice FROM jsonb_array_elements(CASE WHEN jsonb_typeof(items) = 'array' THEN items ELSE '[]' END) e
     GROUP BY 1 HAVING count(*) > 1 LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('invalid_item', format('price "%s" is named twice', twice));
    END IF;
    RETURN QUERY
    WITH given AS (SELECT * FROM billing_internal.parse_items(coalesce(items, '[]'), known)),
         planned AS (SELECT * FROM billing.plan_item i WHERE i.plan = merge_items.plan AND i.event IS NULL)
    SELECT row_number() OVER (ORDER BY m.ordinal, g.ordinal)::int, p.code, coalesce(g.quantity, m.quantity, CASE WHEN p.meter IS NULL THEN 1 END),
           coalesce(g.cycles, m.cycles), coalesce(g.metadata, '{}'), coalesce(g.instalments, m.instalments), g.scheme, g.charge_from,
           g.charge_until, coalesce(g.own_invoice, m.own_invoice, false), g.description, m.price IS NOT NULL, p.meter
      FROM planned m FULL JOIN given g ON g.price = m.price
      JOIN billing.price p ON p.code = coalesce(m.price, g.price)
     WHERE g.price IS NOT NULL OR NOT m.optional;
END $$;
COMMENT ON FUNCTION billing_internal.merge_items(text, jsonb) IS 'the items of a new subscription: the plan''s with the caller''s merged over them by price';

-- The first paid instant of a new subscription: the end of its trial, or null where it has none.
CREATE FUNCTION billing_internal.trial_end(start_at timestamptz, time_zone text, trial_every interval, trial_end_at timestamptz)
    RETURNS timestamptz LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF trial_end_at IS NOT NULL THEN
        PERFORM billing_internal.check_instant(trial_end_at, 'trial_end_at');
        RETURN nullif(greatest(trial_end_at, start_at), start_at);
    ELSIF trial_every IS NOT NULL THEN
        PERFORM billing_internal.check_interval(trial_every);
        RETURN upper(billing.nth_period(start_at, trial_every, 0, time_zone));
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION billing_internal.trial_end(timestamptz, text, interval, timestamptz) IS
    'end of a trial that lasts so long or until then; null: there is none';

-- The subscription and its calendar, from the arguments and what the plan says where they are silent.
CREATE FUNCTION billing_internal.plan_new_subscription(account_id bigint, change jsonb, every interval) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    p billing.plan;
    s billing.subscription;
    v billing.schedule_version;
BEGIN
    SELECT * INTO STRICT p FROM billing.plan x WHERE x.code = change->>'plan';
    s.account_id := account_id;
    s.id := billing_internal.new_id(account_id, '{"ids":0}');
    s.plan := p.code;
    s.external_id := billing_internal.check_not_empty(change->>'external_id', 'external_id');
    s.start_at := coalesce((change->>'start_at')::timestamptz, now());
    s.end_at := change->>'end_at';
    s.cycles := billing_internal.check_between(coalesce((change->>'cycles')::int, p.cycles), 'cycles', 1, 100000);
    s.purchase_order := change->>'purchase_order';
    s.metadata := billing_internal.check_metadata(nullif(change->'metadata', 'null'));
    s.activation := CASE WHEN (change->>'await_payment')::boolean THEN 'pending' ELSE 'immediate' END;
    PERFORM billing_internal.check_instant(s.start_at, 'start_at'), billing_internal.check_instant(coalesce(s.end_at, s.start_at), 'end_at');
    IF s.end_at < s.start_at THEN
        PERFORM billing_internal.fail('invalid_argument', 'end_at lies before start_at');
    END IF;
    v.time_zone := coalesce(change->>'time_zone', (SELECT a.time_zone FROM billing.account a WHERE a.account_id = s.account_id));
    PERFORM billing_internal.check_time_zone(v.time_zone);
    s.trial_every := CASE WHEN change->>'trial_end_at' IS NULL THEN coalesce((change->>'trial_every')::interval, p.trial_every) END;
    s.trial_end_at := billing_internal.trial_end(s.start_at, v.time_zone, s.trial_every, (change->>'trial_end_at')::timestamptz);
    IF change->>'trial_every' IS NOT NULL AND change->>'trial_end_at' IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_argument', 'trial_every and trial_end_at exclude each other');
    ELSIF (change->>'trial_end_at')::timestamptz < s.start_at THEN
        PERFORM billing_internal.fail('invalid_argument', 'trial_end_at lies before start_at');
    ELSIF s.trial_end_at IS NULL AND change->>'trial_end_action' IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_argument', 'trial_end_action needs a trial');
    ELSIF s.trial_end_at IS NOT NULL THEN
        s.trial_end_action := billing_internal.check_one_of(coalesce(change->>'trial_end_action', p.trial_end_action), 'end of a trial', 'activate', 'cancel');
    END IF;
    v.account_id := account_id;
    v.subscription_id := s.id;
    v.version := 1;
    v.valid_from := s.start_at;
    v.every := every;
    v.billing_day := coalesce((change->>'billing_day')::int, p.billing_day);
    v.first_period := billing_internal.check_one_of(coalesce(change->>'first_period', 'prorate'), 'first period', 'prorate', 'free', 'full', 'join');
    v.anchor := coalesce(s.trial_end_at, s.start_at);
    IF v.billing_day IS NOT NULL THEN
        v.anchor := billing_internal.schedule_anchor(v.anchor, v.time_zone, v.billing_day);
    END IF;
    PERFORM billing.nth_period(v.anchor, every, 0, v.time_zone, v.billing_day);
    RETURN jsonb_build_object('subscription', jsonb_build_array(to_jsonb(s)), 'schedule_version', jsonb_build_array(to_jsonb(v)));
END $$;
COMMENT ON FUNCTION billing_internal.plan_new_subscription(bigint, jsonb, interval) IS
    'a new subscription and its calendar, from the arguments of create_subscription';

-- Its items with their terms, in the order of the plan, and the shortest of their intervals.
CREATE FUNCTION billing_internal.plan_new_items(account_id bigint, change jsonb, OUT every interval, OUT edits jsonb)
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id CONSTANT bigint := billing_internal.new_id(account_id, '{"ids":0}');
    start_at CONSTANT timestamptz := coalesce((change->>'start_at')::timestamptz, now());
    item_rows jsonb[] := '{}';
    terms jsonb[] := '{}';
    prices text[] := '{}';
    kind text;
    i record;
BEGIN
    FOR i IN SELECT * FROM billing_internal.merge_items(change->>'plan', nullif(change->'items', 'null')) m ORDER BY m.ordinal LOOP
        kind := billing_internal.item_kind(i.price, 'setup', i.cycles, i.instalments, i.charge_from, i.charge_until, i.own_invoice);
        item_rows := item_rows || jsonb_build_object('account_id', account_id, 'id', id + i.ordinal, 'subscription_id', id,
            'start_at', start_at, 'cycles', i.cycles, 'metadata', i.metadata, 'kind', kind, 'instalments', i.instalments,
            'charge_from', i.charge_from, 'charge_until', i.charge_until, 'own_invoice', i.own_invoice, 'description', i.description,
            'from_plan', i.planned AND kind = 'recurring');
        -- the intervals of all are compared below
        terms := terms || jsonb_build_object('account_id', account_id, 'item_id', id + i.ordinal, 'version', 1, 'valid_from', start_at,
            'price', i.price, 'quantity', i.quantity, 'scheme', billing_internal.check_price_scheme(i.scheme, i.meter),
            'price_version', billing_internal.check_item_price(id, NULL, i.price, i.quantity, start_at, true));
        prices := prices || i.price;
    END LOOP;
    every := billing_internal.common_interval(prices);
    IF every IS NULL THEN
        PERFORM billing_internal.fail('invalid_item', format('a subscription of plan "%s" needs an item that recurs', change->>'plan'),
                                      'Its interval makes the cycles.');
    END IF;
    edits := jsonb_build_object('subscription_item', to_jsonb(item_rows), 'item_version', to_jsonb(terms), 'ids', 1 + cardinality(item_rows));
END $$;
COMMENT ON FUNCTION billing_internal.plan_new_items(bigint, jsonb) IS 'items of a new subscription with their terms, and its interval';

CREATE FUNCTION billing_internal.plan_create_subscription(account_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    archived_at timestamptz;
    every interval;
    edits jsonb;
    s jsonb;
BEGIN
    SELECT p.archived_at INTO archived_at FROM billing.plan p WHERE p.code = change->>'plan';
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_plan', format('plan "%s" does not exist', change->>'plan'));
    ELSIF archived_at <= now() THEN
        PERFORM billing_internal.fail('archived_object', format('plan "%s" is archived', change->>'plan'));
    END IF;
    SELECT i.every, i.edits INTO every, edits FROM billing_internal.plan_new_items(account_id, change) i;
    edits := edits || billing_internal.plan_new_subscription(account_id, change, every);
    s := edits->'subscription'->0;
    edits := edits || jsonb_build_object('result', s->'id', 'effective_at', s->'start_at', 'changed_from', s->'start_at');
    IF s->>'trial_end_action' = 'cancel' THEN
        edits := edits || jsonb_build_object('interruption', jsonb_build_array(jsonb_build_object('account_id', account_id, 'subscription_id', s->'id',
            'number', 1, 'kind', 'cancel', 'from_at', s->'trial_end_at', 'requested_at', s->'start_at', 'reason', 'end of trial')));
    END IF;
    edits := billing_internal.recount('{}', jsonb_build_object('interruption', '[]'::jsonb, 'instalment', '[]'::jsonb) || edits, edits);
    RETURN billing_internal.with_event_charges(edits, '{}', edits);
END $$;
COMMENT ON FUNCTION billing_internal.plan_create_subscription(bigint, jsonb) IS
    'plan of billing.create_subscription, the change being its arguments; writes and locks nothing';

-- The writer for what is new: nothing is there that could be in the way, so its rows go straight into the tables.
CREATE FUNCTION billing_internal.write_new_subscription(account_id bigint, edits jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    id CONSTANT bigint := edits->>'result';
    s CONSTANT jsonb := edits->'subscription'->0;
    external_id CONSTANT text := s->>'external_id';
BEGIN
    PERFORM billing_internal.next_id(account_id, (edits->>'ids')::int);
    INSERT INTO billing.subscription SELECT * FROM jsonb_populate_recordset(NULL::billing.subscription, edits->'subscription');
    INSERT INTO billing.schedule_version SELECT * FROM jsonb_populate_recordset(NULL::billing.schedule_version, edits->'schedule_version');
    INSERT INTO billing.subscription_item SELECT * FROM jsonb_populate_recordset(NULL::billing.subscription_item, edits->'subscription_item');
    INSERT INTO billing.item_version SELECT * FROM jsonb_populate_recordset(NULL::billing.item_version, edits->'item_version');
    IF edits ? 'interruption' THEN
        INSERT INTO billing.interruption SELECT * FROM jsonb_populate_recordset(NULL::billing.interruption, edits->'interruption');
    END IF;
    IF edits ? 'instalment' THEN
        INSERT INTO billing.instalment SELECT * FROM jsonb_populate_recordset(NULL::billing.instalment, edits->'instalment');
    END IF;
    IF external_id IS NOT NULL THEN
        PERFORM billing_internal.claim_key('subscription', external_id, account_id, id);
    END IF;
    PERFORM billing_internal.timeline_changed(account_id, (edits->>'changed_from')::timestamptz, false),
            billing_internal.emit(account_id, 'subscription.created', (edits->>'effective_at')::timestamptz, id, payload => jsonb_strip_nulls(
                jsonb_build_object('plan', s->'plan', 'external_id', external_id, 'states', billing_internal.write_states(id, NULL, edits))));
END $$;
COMMENT ON FUNCTION billing_internal.write_new_subscription(bigint, jsonb) IS 'writes the plan of a new subscription and makes the account due';

-- Body of the single call and of the bulk call: the change is the arguments.
CREATE FUNCTION billing_internal.make_subscription(account_id bigint, change jsonb) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    edits jsonb;
BEGIN
    PERFORM billing_internal.lock_account(account_id);
    LOOP
        edits := billing_internal.plan_create_subscription(account_id, change);
        EXIT WHEN NOT billing_internal.use_price_versions(edits);
    END LOOP;
    PERFORM billing_internal.write_new_subscription(account_id, edits);
    IF change->>'coupon' IS NOT NULL THEN
        PERFORM billing_internal.redeem_coupon(account_id, change->>'coupon', (edits->>'result')::bigint, (edits->>'effective_at')::timestamptz, NULL);
    END IF;
    RETURN edits->>'result';
END $$;
COMMENT ON FUNCTION billing_internal.make_subscription(bigint, jsonb) IS 'plans and writes a new subscription; returns its id';

CREATE FUNCTION billing.create_subscription(account_id bigint, plan text, start_at timestamptz DEFAULT NULL, items jsonb DEFAULT NULL,
    end_at timestamptz DEFAULT NULL, cycles int DEFAULT NULL, billing_day int DEFAULT NULL, time_zone text DEFAULT NULL,
    first_period text DEFAULT 'prorate', trial_every interval DEFAULT NULL, trial_end_at timestamptz DEFAULT NULL,
    trial_end_action text DEFAULT NULL, coupon text DEFAULT NULL, await_payment boolean DEFAULT false, external_id text DEFAULT NULL,
    purchase_order text DEFAULT NULL, metadata jsonb DEFAULT NULL, idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.create_subscription(bigint, text, timestamptz, jsonb, timestamptz, int, int, text, text, interval, timestamptz, text, text, boolean, text, text, jsonb, text) IS
    'subscribes an account to a plan from an instant (default now) on; items [{"price", "quantity", "cycles", "metadata", "scheme", "instalments", "charge_from", "charge_until", "own_invoice", "description"}, ...] are merged by price over the plan''s; returns its id';
CREATE FUNCTION billing_internal.create_subscription(account_id bigint, plan text, start_at timestamptz, items jsonb,
    end_at timestamptz, cycles int, billing_day int, time_zone text, first_period text, trial_every interval, trial_end_at timestamptz,
    trial_end_action text, coupon text, await_payment boolean, external_id text, purchase_order text, metadata jsonb, idempotency_key text)
    RETURNS bigint LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
    SELECT billing_internal.make_subscription($1, jsonb_build_object('plan', $2, 'start_at', $3, 'items', $4, 'end_at', $5, 'cycles', $6,
        'billing_day', $7, 'time_zone', $8, 'first_period', $9, 'trial_every', $10, 'trial_end_at', $11, 'trial_end_action', $12,
        'coupon', $13, 'await_payment', $14, 'external_id', $15, 'purchase_order', $16, 'metadata', $17))
$$;
COMMENT ON FUNCTION billing_internal.create_subscription(bigint, text, timestamptz, jsonb, timestamptz, int, int, text, text, interval, timestamptz, text, text, boolean, text, text, jsonb, text) IS
    'body of billing.create_subscription';

CREATE FUNCTION billing.create_subscriptions(subscriptions jsonb) RETURNS SETOF bigint
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.create_subscriptions(jsonb) IS
    'makes many subscriptions: an array of objects with the arguments of create_subscription as keys; returns their ids in order';
CREATE FUNCTION billing_internal.create_subscriptions(subscriptions jsonb) RETURNS SETOF bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    s jsonb;
BEGIN
    IF jsonb_typeof(subscriptions) <> 'array' THEN
        PERFORM billing_internal.fail('invalid_argument', 'subscriptions must be an array');
    END IF;
    PERFORM billing_internal.check_bulk(subscriptions, 'create_subscription');
    -- Accounts are locked in ascending order, whatever the order of the elements.
    PERFORM billing_internal.lock_account(x.id) FROM (
        SELECT DISTINCT (e->>'account_id')::bigint AS id FROM jsonb_array_elements(subscriptions) e ORDER BY 1) x;
    FOR s IN SELECT jsonb_array_elements(subscriptions) LOOP
        IF s->>'account_id' IS NULL OR s->>'plan' IS NULL THEN
            PERFORM billing_internal.fail('null_value_not_allowed', 'every subscription must have an account_id and a plan');
        END IF;
        RETURN NEXT billing_internal.make_subscription((s->>'account_id')::bigint, s);
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.create_subscriptions(jsonb) IS 'body of billing.create_subscriptions';
