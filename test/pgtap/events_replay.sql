-- What events tell is what happened: whatever happens in random lives, an account's events, played in the order of
-- their numbers, end in its present states, documents and changes.
--
-- The lives are those of path_independence.sql.  Settings: test.lives how many, test.seed which.
\set ON_ERROR_STOP on
SET billing.max_future = '100000d';
SET client_min_messages = warning;
SET timezone = 'UTC';
SELECT no_plan();

\ir include/life_catalog.psql
\ir include/life_plans.psql
\ir include/life_verbs.psql
\ir include/life_play.psql
\ir include/life_draw.psql
\ir include/life_compare.psql
\ir include/life_loop.psql

SELECT statement
  FROM (SELECT coalesce(nullif(current_setting('test.lives', true), ''), '50')::int AS lives, coalesce(nullif(current_setting('test.seed', true), ''), '77') AS seed) s,
       generate_series(1, lives) i,
       unnest(CASE WHEN i IN (5, 20) THEN ARRAY['ANALYZE'] ELSE '{}' END || format('SELECT live_through(%s, %s)', i, seed)) WITH ORDINALITY x (statement, o)
 ORDER BY i, o \gexec

SELECT is((SELECT count(*) FROM failure WHERE what LIKE 'error%'), 0::bigint, 'the lives are lived');
SELECT is_empty('SELECT * FROM billing.check()', 'the books are sound');

-- States: an event replaces what was known from its first instant on.
CREATE VIEW told AS
SELECT e.subscription_id, e.event_no, (e.payload->'states'->0->>'from')::timestamptz AS first, (s->>'from')::timestamptz AS valid_from, s->>'state' AS state
  FROM billing.event e, jsonb_array_elements(e.payload->'states') s;
SELECT set_eq('SELECT subscription_id, valid_from, state FROM billing.subscription_state', $$
    SELECT t.subscription_id, t.valid_from, t.state FROM told t
     WHERE NOT EXISTS (SELECT FROM told later WHERE later.subscription_id = t.subscription_id AND later.event_no > t.event_no AND later.first <= t.valid_from)$$,
    'states of subscriptions, past and to come');

-- Documents.
SELECT set_eq($$SELECT id, kind, number, currency, total, due_on, CASE WHEN kind = 'invoice' THEN status END AS status FROM billing.invoice WHERE status <> 'draft'$$, $$
    SELECT e.invoice_id, CASE e.type WHEN 'credit_note.issued' THEN 'credit_note' ELSE 'invoice' END AS kind, e.payload->>'number' AS number, e.payload->>'currency' AS currency, (e.payload->>'total')::numeric AS total,
           (e.payload->>'due_on')::date AS due_on, CASE WHEN e.type = 'invoice.finalized' THEN coalesce(last.status, 'open') END AS status
      FROM billing.event e
      LEFT JOIN LATERAL (SELECT CASE s.type WHEN 'invoice.paid' THEN 'paid' WHEN 'invoice.voided' THEN 'void' WHEN 'invoice.reopened' THEN 'open' END AS status FROM billing.event s
                          WHERE s.account_id = e.account_id AND s.invoice_id = e.invoice_id AND s.type IN ('invoice.paid', 'invoice.voided', 'invoice.reopened')
                            AND s.event_no > e.event_no ORDER BY s.event_no DESC LIMIT 1) last ON true
     WHERE e.type IN ('invoice.finalized', 'credit_note.issued')$$, 'documents with number, total, due date and status');
SELECT bag_eq($$SELECT id FROM billing.invoice WHERE status <> 'draft'$$,
              $$SELECT invoice_id FROM billing.event WHERE type IN ('invoice.finalized', 'credit_note.issued')$$, 'each is told once');
SELECT set_eq($$SELECT id, credits_invoice_id FROM billing.invoice WHERE kind = 'credit_note' AND credits_invoice_id IN (SELECT id FROM billing.invoice WHERE status = 'void')
                   AND id IN (SELECT (payload->>'credit_note_id')::bigint FROM billing.event)$$,
              $$SELECT (payload->>'credit_note_id')::bigint AS id, invoice_id FROM billing.event WHERE type = 'invoice.voided'$$, 'voids name their credit notes');

-- Accounts, subscriptions, changes.
SELECT bag_eq('SELECT account_id FROM billing.account', $$SELECT account_id FROM billing.event WHERE type = 'account.created' AND event_no = 1$$, 'accounts');
SELECT bag_eq('SELECT account_id, id, plan, external_id FROM billing.subscription',
              $$SELECT account_id, subscription_id, payload->>'plan' AS plan, payload->>'external_id' AS external_id FROM billing.event WHERE type = 'subscription.created'$$, 'subscriptions');
SELECT bag_eq('SELECT id, subscription_id, verb, effective_at FROM billing.subscription_change',
              $$SELECT (payload->>'change_id')::bigint AS id, subscription_id, payload->>'verb' AS verb, occurred_at FROM billing.event WHERE type = 'subscription.changed'$$, 'changes');
SELECT bag_eq('SELECT id, withdrawn_at FROM billing.subscription_change WHERE withdrawn_at IS NOT NULL',
              $$SELECT (payload->>'change_id')::bigint AS id, occurred_at FROM billing.event WHERE type = 'subscription.change_withdrawn'$$, 'and those that were taken back');
SELECT cmp_ok((SELECT count(*) FROM billing.event WHERE type = x), '>', 0::bigint, 'there were events ' || x)
  FROM unnest(ARRAY['subscription.changed', 'subscription.change_withdrawn', 'invoice.finalized', 'credit_note.issued', 'invoice.voided', 'invoice.paid']) x;
SELECT * FROM finish();
