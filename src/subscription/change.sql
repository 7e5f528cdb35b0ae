-- Changes of running subscriptions.  A verb is a plan, which says what the rows of the timeline are after
-- it, and the one writer of plans below.  A preview lays the same plan over the tables and writes nothing.
--
-- A plan ("edits") is an object: by table the full rows after the change; ids: how many new ids it takes;
-- effective_at; changed_from: earliest instant that it touches; result: what the call returns; planned: its
-- rows without those that follow from them (what counting cycles moves, charges for events).  Rows are never
-- deleted by a verb.

CREATE FUNCTION billing_internal.timeline_tables(OUT name text, OUT key text[]) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
    VALUES ('subscription', '{account_id,id}'::text[]), ('subscription_item', '{account_id,id}'),
           ('item_version', '{account_id,item_id,version}'), ('schedule_version', '{account_id,subscription_id,version}'),
           ('plan_version', '{account_id,subscription_id,version}'), ('interruption', '{account_id,subscription_id,number}'),
           ('skipped_cycle', '{account_id,subscription_id,schedule_version,period_no}'), ('discount', '{account_id,id}'),
           ('minimum', '{account_id,id}'), ('instalment', '{account_id,item_id,ordinal}')
$$;
COMMENT ON FUNCTION billing_internal.timeline_tables() IS 'tables that a change may edit, those before that others refer to, with their keys';

-- The helpers of plans are written in plpgsql, which keeps their statements prepared.
CREATE FUNCTION billing_internal.row_key(table_name text, row_json jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN CASE WHEN table_name IN ('subscription', 'subscription_item', 'discount', 'minimum') THEN row_json->>'id'
                WHEN table_name IN ('schedule_version', 'plan_version') THEN row_json->>'version'
                WHEN table_name = 'interruption' THEN row_json->>'number'
                WHEN table_name = 'item_version' THEN concat_ws(' ', row_json->>'item_id', row_json->>'version')
                WHEN table_name = 'instalment' THEN concat_ws(' ', row_json->>'item_id', row_json->>'ordinal')
                WHEN table_name = 'skipped_cycle' THEN concat_ws(' ', row_json->>'schedule_version', row_json->>'period_no') END;
END $$;
COMMENT ON FUNCTION billing_internal.row_key(text, jsonb) IS 'key of a row among those of its table in a timeline';

CREATE FUNCTION billing_internal.with_row(edits jsonb, table_name text, row_json jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN edits || jsonb_build_object(table_name, coalesce((SELECT jsonb_agg(e) FROM jsonb_array_elements(edits->table_name) e
        WHERE billing_internal.row_key(table_name, e) <> billing_internal.row_key(table_name, row_json)), '[]') || row_json);
END $$;
COMMENT ON FUNCTION billing_internal.with_row(jsonb, text, jsonb) IS 'a plan with one more row, in place of one of that key';

CREATE FUNCTION billing_internal.with_new_row(edits jsonb, table_name text, row_json jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN billing_internal.with_row(edits, table_name, row_json) || jsonb_build_object('ids', (edits->>'ids')::int + 1);
END $$;
COMMENT ON FUNCTION billing_internal.with_new_row(jsonb, text, jsonb) IS 'a plan with one more row that took the plan''s new_id';

CREATE FUNCTION billing_internal.new_id(account_id bigint, edits jsonb) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT billing_internal.make_id(s.account_id, s.next_ordinal + (edits->>'ids')::int) FROM billing.account_state s WHERE s.account_id = new_id.account_id);
END $$;
COMMENT ON FUNCTION billing_internal.new_id(bigint, jsonb) IS 'the next id that a plan may take; the writer draws them';

CREATE FUNCTION billing_internal.new_edits(result bigint, effective_at timestamptz) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN jsonb_build_object('ids', 0, 'result', result, 'effective_at', effective_at, 'changed_from', effective_at);
END $$;
COMMENT ON FUNCTION billing_internal.new_edits(bigint, timestamptz) IS 'a plan that changes nothing yet';

CREATE FUNCTION billing_internal.overlay_rows(timeline jsonb, edits jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT jsonb_object_agg(t.name, coalesce((
               SELECT jsonb_agg(e) FROM jsonb_array_elements(nullif(timeline->t.name, 'null')) e
                WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(edits->t.name) n
                                   WHERE billing_internal.row_key(t.name, n) = billing_internal.row_key(t.name, e))), '[]')
               || coalesce(edits->t.name, '[]'))
      FROM billing_internal.timeline_tables() t);
END $$;
COMMENT ON FUNCTION billing_internal.overlay_rows(jsonb, jsonb) IS 'a timeline with the rows of a plan laid over';

CREATE FUNCTION billing_internal.timeline(subscription_id bigint, edits jsonb DEFAULT '{}') RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := subscription_id >> 24;
    sid CONSTANT bigint := subscription_id;
    result CONSTANT jsonb := jsonb_build_object(
        'subscription', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.subscription x WHERE x.account_id = account AND x.id = sid),
        'subscription_item', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.subscription_item x
                               WHERE x.account_id = account AND x.subscription_id = sid),
        'item_version', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.subscription_item i
                           JOIN billing.item_version x ON x.account_id = i.account_id AND x.item_id = i.id
                          WHERE i.account_id = account AND i.subscription_id = sid),
        'schedule_version', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.schedule_version x WHERE x.account_id = account AND x.subscription_id = sid),
        'plan_version', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.plan_version x WHERE x.account_id = account AND x.subscription_id = sid),
        'interruption', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.interruption x WHERE x.account_id = account AND x.subscription_id = sid),
        'skipped_cycle', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.skipped_cycle x WHERE x.account_id = account AND x.subscription_id = sid),
        'discount', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.discount x WHERE x.account_id = account AND x.subscription_id = sid),
        'minimum', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.minimum x WHERE x.account_id = account AND x.subscription_id = sid),
        'instalment', (SELECT jsonb_agg(to_jsonb(x)) FROM billing.subscription_item i
                         JOIN billing.instalment x ON x.account_id = i.account_id AND x.item_id = i.id
                        WHERE i.account_id = account AND i.subscription_id = sid));
BEGIN
    IF result->'subscription' = 'null' THEN
        PERFORM billing_internal.fail('unknown_subscription', format('subscription %s does not exist', subscription_id));
    END IF;
    RETURN billing_internal.overlay_rows(result, edits);
END $$;
COMMENT ON FUNCTION billing_internal.timeline(bigint, jsonb) IS
    'by table the rows that make up a subscription''s timeline, with a plan laid over, or unknown_subscription';

-- Everything that a plan of a verb needs to know of it: its arguments as they were given.
CREATE FUNCTION billing_internal.plan_verb(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    before CONSTANT jsonb := billing_internal.timeline(subscription_id);
    planned jsonb;
    edits jsonb;
BEGIN
    IF before->'subscription'->0->>'activation' = 'failed' THEN
        PERFORM billing_internal.fail('wrong_subscription_state', format('subscription %s failed', subscription_id));
    END IF;
    planned := CASE change->>'verb'
        WHEN 'add_item' THEN billing_internal.plan_add_item(subscription_id, change)
        WHEN 'change_item' THEN billing_internal.plan_change_item(subscription_id, change)
        WHEN 'end_item' THEN billing_internal.plan_end_item(subscription_id, change)
        WHEN 'cancel_subscription' THEN billing_internal.plan_cancel_subscription(subscription_id, change)
        WHEN 'change_plan' THEN billing_internal.plan_change_plan(subscription_id, change)
        WHEN 'stop_subscription' THEN billing_internal.plan_stop_subscription(subscription_id, change)
        WHEN 'restart_subscription' THEN billing_internal.plan_restart_subscription(subscription_id, change)
        WHEN 'pause_subscription' THEN billing_internal.plan_pause_subscription(subscription_id, change)
        WHEN 'resume_subscription' THEN billing_internal.plan_resume_subscription(subscription_id, change)
        WHEN 'skip_cycles' THEN billing_internal.plan_skip_cycles(subscription_id, change)
        WHEN 'move_billing_day' THEN billing_internal.plan_move_billing_day(subscription_id, change)
        WHEN 'change_term' THEN billing_internal.plan_change_term(subscription_id, change)
        WHEN 'move_start' THEN billing_internal.plan_move_start(subscription_id, change)
        WHEN 'change_trial' THEN billing_internal.plan_change_trial(subscription_id, change)
        WHEN 'activate_subscription' THEN billing_internal.plan_activate_subscription(subscription_id, change)
        WHEN 'fail_subscription' THEN billing_internal.plan_fail_subscription(subscription_id, change)
        WHEN 'undo_cancellation' THEN billing_internal.plan_undo_cancellation(subscription_id, change)
        WHEN 'add_discount' THEN billing_internal.plan_add_discount(subscription_id, change)
        WHEN 'end_discount' THEN billing_internal.plan_end_discount(subscription_id, change)
        WHEN 'redeem_coupon' THEN billing_internal.plan_redeem_coupon(subscription_id, change)
        WHEN 'set_minimum' THEN billing_internal.plan_set_minimum(subscription_id, change)
        WHEN 'end_minimum' THEN billing_internal.plan_end_minimum(subscription_id, change)
    END;
    IF planned IS NULL THEN
        PERFORM billing_internal.fail('invalid_argument', format('unknown verb "%s"', change->>'verb'),
                                      'It is the name of a call that changes a subscription.');
    END IF;
    edits := billing_internal.recount(before, billing_internal.overlay_rows(before, planned), planned);
    RETURN billing_internal.with_event_charges(edits, before, billing_internal.overlay_rows(before, edits)) || jsonb_build_object('planned', planned);
END $$;
COMMENT ON FUNCTION billing_internal.plan_verb(bigint, jsonb) IS 'the plan of a call that changes a subscription; writes and locks nothing';

CREATE FUNCTION billing_internal.plan_change(subscription_id bigint, change jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    edits jsonb;
    missing text;
BEGIN
    IF jsonb_typeof(change) <> 'object' OR jsonb_typeof(change->'verb') IS DISTINCT FROM 'string' THEN
        PERFORM billing_internal.fail('invalid_argument', 'a change must be an object with the key "verb"',
                                      'Its other keys are the arguments of that call.');
    ELSIF NOT EXISTS (SELECT FROM billing.subscription s WHERE s.account_id = plan_change.subscription_id >> 24 AND s.id = plan_change.subscription_id) THEN
        PERFORM billing_internal.fail('unknown_subscription', format('subscription %s does not exist', subscription_id));
    END IF;
    PERFORM billing_internal.check_bulk(jsonb_build_array(change - 'verb'), change->>'verb');
    SELECT a.name INTO missing FROM pg_proc p, unnest(p.proargnames[1:p.pronargs - p.pronargdefaults]) a (name)
     WHERE p.pronamespace = 'billing'::regnamespace AND p.proname = change->>'verb' AND a.name NOT IN ('account_id', 'subscription_id')
       AND change->>a.name IS NULL LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('null_value_not_allowed', format('"%s" of %s() must not be null', missing, change->>'verb'));
    END IF;
    IF change->>'subscription_id' <> subscription_id::text THEN
        PERFORM billing_internal.fail('invalid_argument', format('the change names another subscription than %s', subscription_id));
    END IF;
    edits := billing_internal.plan_verb(subscription_id, change);
    PERFORM billing_internal.checked_history(subscription_id, billing_internal.timeline(subscription_id, edits), billing_internal.decided_at(change, edits));
    RETURN edits;
END $$;
COMMENT ON FUNCTION billing_internal.plan_change(bigint, jsonb) IS
    'the plan of a change given as {"verb": ..., its arguments}, for previews; unknown verbs and keys are errors';

-- Marks the price versions of a plan as used, by price so that sessions do it in one order.  True where one
-- was not: until now it could have changed, so the caller plans again.
CREATE FUNCTION billing_internal.use_price_versions(edits jsonb) RETURNS boolean
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    x record;
    result boolean := false;
BEGIN
    FOR x IN SELECT DISTINCT v.price, v.price_version FROM jsonb_populate_recordset(NULL::billing.item_version, edits->'item_version') v
              WHERE v.price IS NOT NULL ORDER BY 1, 2 LOOP
        UPDATE billing.price_version v SET in_use = true WHERE v.price = x.price AND v.version = x.price_version AND NOT v.in_use;
        result := result OR FOUND;
    END LOOP;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.use_price_versions(jsonb) IS 'marks the price versions of a plan as used; true where one was not';

-- Brings rows to the columns and the notation that the tables have now, so that they compare.
CREATE FUNCTION billing_internal.normal_rows(edits jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET "TimeZone" = 'UTC' SET "IntervalStyle" = 'postgres' AS $$
DECLARE
    result jsonb := '{}';
    t record;
    row_array jsonb;
BEGIN
    FOR t IN SELECT x.name FROM billing_internal.timeline_tables() x WHERE jsonb_array_length(edits->x.name) > 0 LOOP
        EXECUTE format('SELECT jsonb_agg(to_jsonb(x)) FROM jsonb_populate_recordset(NULL::billing.%I, $1) x', t.name)
           INTO row_array USING edits->t.name;
        result := result || jsonb_build_object(t.name, row_array);
    END LOOP;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.normal_rows(jsonb) IS 'the rows of a plan or a timeline in the form in which changes keep them';

CREATE FUNCTION billing_internal.rows_there(timeline jsonb, edits jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (SELECT coalesce(jsonb_object_agg(x.name, x.row_array) FILTER (WHERE x.row_array IS NOT NULL), '{}')
      FROM (SELECT t.name, (SELECT jsonb_agg(e) FROM jsonb_array_elements(timeline->t.name) e
                             WHERE EXISTS (SELECT FROM jsonb_array_elements(edits->t.name) n
                                            WHERE billing_internal.row_key(t.name, n) = billing_internal.row_key(t.name, e))) AS row_array
              FROM billing_internal.timeline_tables() t) x);
END $$;
COMMENT ON FUNCTION billing_internal.rows_there(jsonb, jsonb) IS 'the rows of a timeline that have the keys of a plan''s';

CREATE FUNCTION billing_internal.write_rows(edits jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    t record;
    other_columns text;
BEGIN
    FOR t IN SELECT x.name, x.key FROM billing_internal.timeline_tables() x WHERE jsonb_array_length(edits->x.name) > 0 LOOP
        SELECT string_agg(format('%I = excluded.%1$I', a.attname), ', ') INTO STRICT other_columns FROM pg_attribute a
         WHERE a.attrelid = format('billing.%I', t.name)::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> ALL (t.key);
        EXECUTE format('INSERT INTO billing.%I SELECT * FROM jsonb_populate_recordset(NULL::billing.%1$I, $1) ON CONFLICT (%s) DO UPDATE SET %s',
                       t.name, array_to_string(t.key, ', '), other_columns) USING edits->t.name;
    END LOOP;
END $$;
COMMENT ON FUNCTION billing_internal.write_rows(jsonb) IS 'writes the rows of a plan over those that have their keys';

CREATE FUNCTION billing_internal.decided_at(change jsonb, edits jsonb) RETURNS timestamptz
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN $1->>'verb' IN ('activate_subscription', 'fail_subscription') THEN ($2->>'effective_at')::timestamptz END
$$;
COMMENT ON FUNCTION billing_internal.decided_at(jsonb, jsonb) IS 'when a change says what becomes of a subscription that waits for its first payment';

-- The one writer of plans; the account is locked and the plan is of now.
CREATE FUNCTION billing_internal.commit_change(subscription_id bigint, change jsonb, edits jsonb) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    account CONSTANT bigint := subscription_id >> 24;
    ids CONSTANT int := edits->>'ids';
    planned CONSTANT jsonb := billing_internal.normal_rows(edits->'planned');
    there CONSTANT jsonb := billing_internal.normal_rows(billing_internal.rows_there(billing_internal.timeline(subscription_id), planned));
    arguments CONSTANT jsonb := (SELECT coalesce(jsonb_object_agg(e.key, e.value), '{}') FROM jsonb_each(change - 'verb') e WHERE e.value <> 'null');
    effective_at CONSTANT timestamptz := edits->>'effective_at';
    change_id CONSTANT bigint := billing_internal.next_id(account, ids + 1) + ids;
BEGIN
    INSERT INTO billing.subscription_change (account_id, id, subscription_id, verb, entered_at, effective_at, arguments, reason, edits, replaced)
    VALUES (account, change_id, subscription_id, change->>'verb', now(), effective_at, arguments, change->>'reason', planned, there);
    PERFORM billing_internal.write_rows(edits);
    PERFORM billing_internal.emit(account, 'subscription.changed', effective_at, subscription_id, payload => jsonb_strip_nulls(
        jsonb_build_object('verb', change->'verb', 'change_id', change_id,
                           'states', billing_internal.write_states(subscription_id, billing_internal.decided_at(change, edits)))));
    PERFORM billing_internal.timeline_changed(account, (edits->>'changed_from')::timestamptz, true);
END $$;
COMMENT ON FUNCTION billing_internal.commit_change(bigint, jsonb, jsonb) IS 'writes a plan, remembers what it changed and makes the account due';

-- Body of every verb: the change is {"verb": ..., its arguments}.
CREATE FUNCTION billing_internal.change_subscription(subscription_id bigint, change jsonb, invoice_now boolean) RETURNS bigint
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    edits jsonb;
BEGIN
    PERFORM billing_internal.lock_subscription(subscription_id);
    LOOP
        edits := billing_internal.plan_verb(subscription_id, change);
        EXIT WHEN NOT billing_internal.use_price_versions(edits);
    END LOOP;
    PERFORM billing_internal.commit_change(subscription_id, change, edits);
    IF invoice_now THEN
        PERFORM billing_internal.bill_now(subscription_id >> 24, coalesce((change->>'effective_at')::timestamptz, now()));
    END IF;
    RETURN (edits->>'result')::bigint;
END $$;
COMMENT ON FUNCTION billing_internal.change_subscription(bigint, jsonb, boolean) IS
    'plans and writes a change of a subscription, bills the account where wanted, returns what the plan says';

CREATE FUNCTION billing_internal.lock_subscription(subscription_id bigint) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing.subscription s WHERE s.account_id = subscription_id >> 24 AND s.id = subscription_id) THEN
        PERFORM billing_internal.fail('unknown_subscription', format('subscription %s does not exist', subscription_id));
    END IF;
    PERFORM billing_internal.lock_account(subscription_id >> 24);
END $$;
COMMENT ON FUNCTION billing_internal.lock_subscription(bigint) IS 'locks the account of a subscription, or unknown_subscription';

CREATE FUNCTION billing_internal.subscription_of(item_id bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result CONSTANT bigint := (SELECT i.subscription_id FROM billing.subscription_item i WHERE i.account_id = item_id >> 24 AND i.id = item_id);
BEGIN
    IF result IS NULL THEN
        PERFORM billing_internal.fail('unknown_item', format('item %s does not exist', item_id));
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.subscription_of(bigint) IS 'subscription of an item, or unknown_item';
