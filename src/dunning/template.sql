-- Templates of messages to customers: texts with {fields}.  billing.x is the door (rights, owner), billing_internal.x the body.

-- Those that a message has nothing for are empty.
CREATE FUNCTION billing_internal.template_fields() RETURNS text[]
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT '{account_id,account_name,seller_name,buyer_reference,currency,kind,number,issued_on,due_on,total,amount_due,total_due,claimed_number,purchase_order,payment_amount,received_on,method,step_no,round,fee,interest}'::text[]
$$;
COMMENT ON FUNCTION billing_internal.template_fields() IS 'fields that templates may have';

-- A text is cut into fields, doubled braces, which stand for one, and the rest.
CREATE FUNCTION billing_internal.template_parts(template text, OUT part text, OUT no bigint) RETURNS SETOF record
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT m[1], n FROM regexp_matches($1, '(\{\{|\}\}|\{[a-z_]+\}|[^{}]+|.)', 'g') WITH ORDINALITY r (m, n)
$$;
COMMENT ON FUNCTION billing_internal.template_parts(text) IS 'parts of a template in order: {field}, doubled braces, other text, or a brace that stands alone';

CREATE FUNCTION billing_internal.check_template(template text, what text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known CONSTANT text[] := billing_internal.template_fields();
    wrong text;
BEGIN
    SELECT p.part INTO wrong FROM billing_internal.template_parts(template) p
     WHERE p.part IN ('{', '}') OR p.part ~ '^\{[a-z_]+\}$' AND btrim(p.part, '{}') <> ALL (known) ORDER BY p.no LIMIT 1;
    IF wrong IN ('{', '}') THEN
        PERFORM billing_internal.fail('invalid_template', format('%s has a brace "%s" that belongs to no field', what, wrong), NULL, 'Write it twice where it is text.');
    ELSIF wrong IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_template', format('%s has an unknown field "%s"', what, btrim(wrong, '{}')), 'Fields are ' || array_to_string(known, ', ') || '.');
    END IF;
    RETURN template;
END $$;
COMMENT ON FUNCTION billing_internal.check_template(text, text) IS 'refuses a text with unknown fields or single braces';

CREATE FUNCTION billing_internal.render_template(template text, fields jsonb) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_render_template';
COMMENT ON FUNCTION billing_internal.render_template(text, jsonb) IS 'a text with its fields filled in';

CREATE FUNCTION billing.create_template(entity text, code text, channel text, language text, body text, subject text DEFAULT NULL) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.create_template(text, text, text, text, text, text) IS
    'creates or replaces the text of a message for a channel (mail, sms, letter) and language; with the code invoice, credit_note, claim or receipt it is written for every such document or payment, others are named by steps of dunning schemes; returns its code';
CREATE FUNCTION billing_internal.create_template(entity text, code text, channel text, language text, body text, subject text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM billing_internal.the_entity(entity), billing_internal.check_not_empty(code, 'code'), billing_internal.check_one_of(channel, 'channel', 'mail', 'sms', 'letter'),
            billing_internal.check_not_empty(body, 'body'), billing_internal.check_template(body, 'body'),
            billing_internal.check_not_empty(subject, 'subject'), billing_internal.check_template(subject, 'subject'), billing_internal.check_language(language);
    IF channel = 'mail' AND subject IS NULL OR channel = 'sms' AND subject IS NOT NULL THEN
        PERFORM billing_internal.fail('invalid_argument', CASE channel WHEN 'mail' THEN 'a mail needs a subject' ELSE 'a text message has no subject' END);
    END IF;
    INSERT INTO billing.template (entity, code, channel, language, subject, body)
    VALUES (create_template.entity, create_template.code, create_template.channel, create_template.language, create_template.subject, create_template.body)
        ON CONFLICT ON CONSTRAINT template_key DO UPDATE SET subject = excluded.subject, body = excluded.body;
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.create_template(text, text, text, text, text, text) IS 'body of billing.create_template';

CREATE FUNCTION billing.drop_template(entity text, code text, channel text, language text) RETURNS text
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_call_administrator';
COMMENT ON FUNCTION billing.drop_template(text, text, text, text) IS 'removes the text of a message; messages that were written stay; returns its code';
CREATE FUNCTION billing_internal.drop_template(entity text, code text, channel text, language text) RETURNS text
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    needed record;
BEGIN
    DELETE FROM billing.template t WHERE t.entity = drop_template.entity AND t.code = drop_template.code
       AND t.channel = drop_template.channel AND t.language = drop_template.language;
    IF NOT FOUND THEN
        PERFORM billing_internal.fail('unknown_template', format('entity "%s" has no template "%s" for %s in "%s"', entity, code, channel, language));
    END IF;
    SELECT s.scheme, s.step_no INTO needed FROM billing.dunning_step s
     WHERE s.template = drop_template.code AND s.version = (SELECT max(m.version) FROM billing.dunning_scheme m WHERE m.code = s.scheme)
       AND NOT EXISTS (SELECT FROM billing.template t WHERE t.code = s.template AND t.channel = ANY (s.channels)) LIMIT 1;
    IF FOUND THEN
        PERFORM billing_internal.fail('invalid_template', format('template "%s" is needed by dunning scheme "%s"', code, needed.scheme),
                                      format('Step %s would have no text for any of its channels.', needed.step_no));
    END IF;
    RETURN code;
END $$;
COMMENT ON FUNCTION billing_internal.drop_template(text, text, text, text) IS 'body of billing.drop_template';
