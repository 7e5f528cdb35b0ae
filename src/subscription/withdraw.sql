-- Changes that have not taken effect: what is to come, and taking it back.

CREATE FUNCTION billing.pending_changes(subscription_id bigint, at timestamptz DEFAULT NULL, OUT change_id bigint, OUT verb text,
    OUT entered_at timestamptz, OUT effective_at timestamptz, OUT arguments jsonb, OUT reason text)
    RETURNS SETOF record LANGUAGE c STABLE AS 'MODULE_PATHNAME', 'billing_call_reader';
COMMENT ON FUNCTION billing.pending_changes(bigint, timestamptz) IS
    'changes of a subscription that take effect after a moment (default now), the next one first; billing.withdraw_change() takes one back';
CREATE FUNCTION billing_internal.pending_changes(subscription_id bigint, at timestamptz, OUT change_id bigint, OUT verb text,
    OUT entered_at timestamptz, OUT effective_at timestamptz, OUT arguments jsonb, OUT reason text)
    RETURNS SETOF record LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM billing.subscription s WHERE s.account_id = pending_changes.subscription_id >> 24 AND s.id = pending_changes.subscription_id) THEN
        PERFORM billing_internal.fail('unknown_subscription', format('subscription %s does not exist', subscription_id));
    END IF;
    RETURN QUERY SELECT c.id, c.verb, c.entered_at, c.effective_at, c.arguments, c.reason FROM billing.subscription_change c
                  WHERE c.account_id = pending_changes.subscription_id >> 24 AND c.subscription_id = pending_changes.subscription_id
                    AND c.effective_at > coalesce(at, now()) AND c.withdrawn_at IS NULL
                  ORDER BY c.effective_at, c.id;
END $$;
COMMENT ON FUNCTION billing_internal.pending_changes(bigint, timestamptz) IS 'body of billing.pending_changes';

-- What counting cycles anew may have moved since does not stand in the way of taking a change back.
CREATE FUNCTION billing_internal.without_counted(table_name text, row_json jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE WHEN $2->>'cycles' IS NULL THEN $2 WHEN $1 = 'discount' THEN $2 - 'to_at' ELSE $2 - 'end_at' END
$$;
COMMENT ON FUNCTION billing_internal.without_counted(text, jsonb) IS 'a row without the end that follows from its number of cycles';

CREATE FUNCTION billing_internal.check_unchanged(subscription_id bigint, change_id bigint, edits jsonb, timeline jsonb) RETURNS void
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    was CONSTANT jsonb := billing_internal.normal_rows(edits);
    there CONSTANT jsonb := billing_internal.normal_rows(billing_internal.rows_there(timeline, edits));
    touched text;
    later record;
BEGIN
    SELECT t.name INTO touched FROM billing_internal.timeline_tables() t, jsonb_array_elements(was->t.name) w
     WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(there->t.name) e
                        WHERE billing_internal.without_counted(t.name, e) = billing_internal.without_counted(t.name, w)) LIMIT 1;
    IF NOT FOUND THEN RETURN; END IF;
    SELECT c.id, c.verb INTO later FROM billing.subscription_change c
     WHERE c.account_id = change_id >> 24 AND c.subscription_id = check_unchanged.subscription_id AND c.id > change_id AND c.withdrawn_at IS NULL
       AND billing_internal.rows_there(c.edits, check_unchanged.edits) ? touched ORDER BY c.id DESC LIMIT 1;
    PERFORM billing_internal.fail('change_in_effect', format('change %s cannot be withdrawn, since what it changed was changed again', change_id),
        format('Change %s (%s) edited the same row of billing.%s.', later.id, later.verb, touched), 'Withdraw the later change first.');
END $$;
COMMENT ON FUNCTION billing_internal.check_unchanged(bigint, bigint, jsonb, jsonb) IS 'refuses to take back a change whose rows are no longer as it left them';

-- What a change made new: what others may refer to by id ends as it begins, the rest goes.
CREATE FUNCTION billing_internal.remove_rows(edits jsonb, replaced jsonb) RETURNS jsonb
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    result jsonb := '{}';
    t record;
    r jsonb;
BEGIN
    FOR t IN SELECT x.name, x.key FROM billing_internal.timeline_tables() WITH ORDINALITY x (name, key, n) ORDER BY x.n DESC LOOP
        FOR r IN SELECT e FROM jsonb_array_elements(edits->t.name) e
                  WHERE NOT EXISTS (SELECT FROM jsonb_array_elements(replaced->t.name) o
                                     WHERE billing_internal.row_key(t.name, o) = billing_internal.row_key(t.name, e)) LOOP
            IF t.name = 'subscription_item' THEN
                result := billing_internal.with_row(result, t.name, r || jsonb_build_object('end_at', r->'start_at'));
            ELSIF t.name IN ('discount', 'minimum') THEN
                result := billing_internal.with_row(result, t.name, r || jsonb_build_object('to_at', r->'from_at'));
            ELSIF t.name = 'schedule_version' AND EXISTS (SELECT FROM billing.skipped_cycle x WHERE x.account_id = (r->>'account_id')::bigint
                      AND x.subscription_id = (r->>'subscription_id')::bigint AND x.schedule_version = (r->>'version')::int) THEN
                PERFORM billing_internal.fail('change_in_effect', 'the change cannot be withdrawn, since cycles of its calendar were skipped', NULL,
                                              'Withdraw the later change first.');
            ELSIF t.name <> 'item_version' OR NOT EXISTS (SELECT FROM jsonb_array_elements(edits->'subscription_item') i
                                                           WHERE i->'id' = r->'item_id' AND r->>'version' = '1') THEN
                EXECUTE format('DELETE FROM billing.%I x USING jsonb_populate_record(NULL::billing.%1$I, $1) r WHERE (%s) = (%s)', t.name,
                               (SELECT string_agg('x.' || k, ', ') FROM unnest(t.key) k), (SELECT string_agg('r.' || k, ', ') FROM unnest(t.key) k))
                  USING r;
            END IF;
        END LOOP;
    END LOOP;
    RETURN result;
END $$;
COMMENT ON FUNCTION billing_internal.remove_rows(jsonb, jsonb) IS 'takes away what a change made new; returns the rows that stay as if they had never been';

CREATE FUNCTION billing.withdraw_change(change_id bigint, effective_at timestamptz DEFAULT NULL, reason text DEFAULT NULL,
    idempotency_key text DEFAULT NULL)
    RETURNS bigint LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_application';
COMMENT ON FUNCTION billing.withdraw_change(bigint, timestamptz, text, text) IS
    'takes back a change that has not taken effect at a moment (default now), as if it had never been made; returns its id';
CREATE FUNCTION billing_internal.withdraw_change(change_id bigint, effective_at timestamptz, reason text, idempotency_key text)
    RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment CONSTANT timestamptz := coalesce(effective_at, now());
    account CONSTANT bigint := change_id >> 24;
    c billing.subscription_change;
    before jsonb;
    edits jsonb;
BEGIN
    PERFORM billing_internal.check_instant(moment, 'effective_at');
    IF NOT EXISTS (SELECT FROM billing.subscription_change x WHERE x.account_id = account AND x.id = change_id) THEN
        PERFORM billing_internal.fail('unknown_change', format('change %s does not exist', change_id));
    END IF;
    PERFORM billing_internal.lock_account(account);
    SELECT * INTO STRICT c FROM billing.subscription_change x WHERE x.account_id = account AND x.id = change_id;
    IF c.withdrawn_at IS NOT NULL THEN
        PERFORM billing_internal.fail('change_in_effect', format('change %s was withdrawn already', change_id));
    ELSIF c.effective_at <= moment THEN
        PERFORM billing_internal.fail('change_in_effect', format('change %s took effect at %s', change_id, c.effective_at),
                                      NULL, 'Make another change.');
    END IF;
    before := billing_internal.timeline(c.subscription_id);
    PERFORM billing_internal.check_unchanged(c.subscription_id, change_id, c.edits, before);
    PERFORM billing_internal.write_rows(billing_internal.remove_rows(c.edits, c.replaced)), billing_internal.write_rows(c.replaced);
    PERFORM billing_internal.count_redemption(d->>'coupon', -1) FROM jsonb_array_elements(c.edits->'discount') d WHERE c.verb = 'redeem_coupon';
    UPDATE billing.subscription_change x SET withdrawn_at = moment, reason = coalesce(withdraw_change.reason, x.reason)
     WHERE x.account_id = account AND x.id = change_id;
    PERFORM billing_internal.write_rows(billing_internal.recount(before, billing_internal.timeline(c.subscription_id), '{}'));
    edits := billing_internal.with_event_charges(billing_internal.new_edits(NULL, moment), before, billing_internal.timeline(c.subscription_id));
    PERFORM billing_internal.next_id(account, (edits->>'ids')::int), billing_internal.use_price_versions(edits), billing_internal.write_rows(edits);
    PERFORM billing_internal.timeline_changed(account, c.effective_at, true),
            billing_internal.emit(account, 'subscription.change_withdrawn', moment, c.subscription_id, payload => jsonb_strip_nulls(
                jsonb_build_object('verb', c.verb, 'change_id', change_id, 'states', billing_internal.write_states(c.subscription_id))));
    RETURN change_id;
END $$;
COMMENT ON FUNCTION billing_internal.withdraw_change(bigint, timestamptz, text, text) IS 'body of billing.withdraw_change';
