-- What follows from counting cycles: the ends of what lasts so many of them, and which cycle takes which instalment.

CREATE FUNCTION billing_internal.counted_from(timeline jsonb, row_json jsonb, from_column text) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN coalesce(row_json->>'cycles_from', row_json->>from_column, timeline->'subscription'->0->>'trial_end_at', timeline->'subscription'->0->>'start_at')::timestamptz;
END $$;
COMMENT ON FUNCTION billing_internal.counted_from(jsonb, jsonb, text) IS
    'the instant from which the cycles of a row are counted: its own, that of its column, or the first paid instant';

-- The end of what lasts so many cycles, after a plan.  An end that somebody set is not put off by counting.
CREATE FUNCTION billing_internal.counted_end(before jsonb, after jsonb, old_row jsonb, new_row jsonb, what text, from_column text, starting boolean)
    RETURNS timestamptz LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    cycles CONSTANT int := new_row->>'cycles';
    given timestamptz;
BEGIN
    IF old_row->what IS DISTINCT FROM new_row->what THEN
        given := new_row->>what;
    ELSIF old_row->'cycles' = new_row->'cycles' THEN
        IF (old_row->>what)::timestamptz IS DISTINCT FROM billing_internal.end_of_cycles(before, billing_internal.counted_from(before, old_row, from_column), cycles, starting) THEN
            given := old_row->>what;
        END IF;
    END IF;
    RETURN least(given, billing_internal.end_of_cycles(after, billing_internal.counted_from(after, new_row, from_column), cycles, starting));
END $$;
COMMENT ON FUNCTION billing_internal.counted_end(jsonb, jsonb, jsonb, jsonb, text, text, boolean) IS
    'the end of a row that lasts so many cycles, in the timeline after a plan';

-- A row in both timelines, before a plan and after it.
CREATE FUNCTION billing_internal.row_pairs(before jsonb, after jsonb, table_name text, OUT old_row jsonb, OUT new_row jsonb) RETURNS SETOF record
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN QUERY
    SELECT o, n FROM jsonb_array_elements(after->table_name) n
      LEFT JOIN jsonb_array_elements(before->table_name) o ON billing_internal.row_key(table_name, o) = billing_internal.row_key(table_name, n);
END $$;
COMMENT ON FUNCTION billing_internal.row_pairs(jsonb, jsonb, text) IS 'the rows of a table after a plan with those before it';

CREATE FUNCTION billing_internal.instalments(timeline jsonb, item jsonb) RETURNS SETOF jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    i CONSTANT billing.subscription_item := jsonb_populate_record(NULL::billing.subscription_item, item);
    terms CONSTANT record := billing_internal.terms_at(timeline, i.id, i.start_at);
    p billing.price;
    total numeric;
    part numeric;
    over_at CONSTANT timestamptz := coalesce(least(i.end_at, (timeline->'subscription'->0->>'end_at')::timestamptz), 'infinity');
    window_from timestamptz;
BEGIN
    SELECT * INTO STRICT p FROM billing.price x WHERE x.code = terms.price;
    total := billing.round_amount(billing.charge(terms.scheme, coalesce(terms.quantity, 0)), p.currency);
    -- cut off, not rounded: the last would be negative where many share little
    part := trunc(total / i.instalments, scale(total));
    SELECT i.charge_from::timestamp AT TIME ZONE c.time_zone - interval '1 microsecond' INTO window_from FROM billing_internal.cycle_at(timeline, i.start_at) c;
    RETURN QUERY
    SELECT jsonb_build_object('account_id', i.account_id, 'item_id', i.id, 'ordinal', d.ordinal, 'schedule_version', d.version, 'period_no', d.period_no,
               'period_start', greatest(d.start_at, i.start_at), 'period_end', d.end_at, 'due_at', d.due_at, 'currency', p.currency,
               'amount', CASE WHEN d.ordinal < i.instalments THEN part ELSE total - part * (i.instalments - 1) END, 'active', true)
      FROM (SELECT row_number() OVER (ORDER BY c.n) AS ordinal, c.*, u.due_at
              FROM billing_internal.cycles(timeline, greatest(i.start_at, window_from), i.instalments + 2) c,
                   LATERAL (SELECT CASE p.timing WHEN 'advance' THEN c.advance_at ELSE c.end_at END) u (due_at)
             WHERE u.due_at >= i.start_at AND (i.charge_from IS NULL OR (u.due_at AT TIME ZONE c.time_zone)::date >= i.charge_from)) d
     WHERE d.ordinal <= i.instalments AND d.start_at < over_at
       AND (i.charge_until IS NULL OR (d.due_at AT TIME ZONE d.time_zone)::date <= i.charge_until);
END $$;
COMMENT ON FUNCTION billing_internal.instalments(jsonb, jsonb) IS 'the instalments of an item that its cycles take; the last takes the rest of the total';

-- Lays what follows from counting over a plan that makes one timeline of another.
CREATE FUNCTION billing_internal.recount(before jsonb, after jsonb, edits jsonb) RETURNS jsonb
    LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    x record;
    end_at timestamptz;
    counted jsonb;
BEGIN
    IF NOT jsonb_path_exists(after, '$.*[*] ? (@.cycles != null || @.kind == "instalment")') THEN RETURN edits; END IF;
    FOR x IN SELECT t.*, r.*
               FROM (VALUES ('subscription', 'end_at', NULL, false), ('subscription_item', 'end_at', 'start_at', false),
                            ('discount', 'to_at', 'from_at', true)) t (name, what, from_column, starting),
                    LATERAL billing_internal.row_pairs(before, after, t.name) r
              WHERE r.new_row->>'cycles' IS NOT NULL LOOP
        end_at := billing_internal.counted_end(before, after, x.old_row, x.new_row, x.what, x.from_column, x.starting);
        IF end_at IS DISTINCT FROM (x.new_row->>x.what)::timestamptz THEN
            edits := billing_internal.with_row(edits, x.name, x.new_row || jsonb_build_object(x.what, end_at));
            after := billing_internal.overlay_rows(after, edits);
        END IF;
    END LOOP;
    FOR x IN SELECT i AS item FROM jsonb_array_elements(after->'subscription_item') i WHERE i->>'kind' = 'instalment' LOOP
        FOR counted IN SELECT r FROM billing_internal.instalments(after, x.item) r WHERE NOT after->'instalment' @> jsonb_build_array(r) UNION ALL
                       SELECT o || '{"active":false}' FROM jsonb_array_elements(after->'instalment') o
                        WHERE o->'item_id' = x.item->'id' AND o->'active' = 'true'
                          AND NOT EXISTS (SELECT FROM billing_internal.instalments(after, x.item) r WHERE r->'ordinal' = o->'ordinal') LOOP
            edits := billing_internal.with_row(edits, 'instalment', counted);
        END LOOP;
    END LOOP;
    RETURN edits;
END $$;
COMMENT ON FUNCTION billing_internal.recount(jsonb, jsonb, jsonb) IS
    'a plan that makes one timeline of another, with what follows from counting cycles after it: ends of subscription, items and discounts, and instalments';
