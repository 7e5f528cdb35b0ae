-- One day of the provider, as the clerk.  What customers do follows from remainders, so every run of the demo is the same.

CALL billing.bill_run(at => date :'day' + time '06:00');

-- What is due of customers with a card or a mandate is asked for.  A payment worker takes the requests, goes to bank and
-- provider, and tells what became of each.
CALL billing.collection_run(at => date :'day' + time '07:00');
WITH claimed AS (SELECT * FROM billing.claim_collections('worker', 1000, at => date :'day' + time '07:00'))
SELECT count(billing.settle_collection(c.collection_id, CASE WHEN d.code IS NULL THEN 'succeeded' ELSE 'declined' END, code => d.code,
                                       reference => 'P' || c.attempt_key, effective_at => date :'day' + time '07:10')) AS settled
  FROM claimed c,
       LATERAL (SELECT CASE WHEN c.account_id % 71 = 4 THEN '54'   -- expired; then no funds on card or account
                            WHEN (c.account_id + 5 * c.attempt_no) % 17 = 6 THEN CASE c.type WHEN 'card' THEN '51' ELSE 'AM04' END END AS code) d \gset

-- Some have their bank take a direct debit back; the bank's fee is passed on to them.
SELECT count(billing.charge_back_payment(p.id, fee => 3, pass_on => true, reason => 'MD06', effective_at => date :'day' + time '07:30')) AS charged_back
  FROM billing.payment p
 WHERE p.method = 'direct_debit' AND p.account_id % 40 = 9 AND p.amount > 10 AND p.received_at::date = date :'day' - 12 \gset

-- Transfers: of an invoice some days after it came, or, by those who forget, of all that is open some days after a reminder.
WITH money AS (
    SELECT o.account_id, array_agg(o.invoice_id ORDER BY o.invoice_id) AS invoice_ids, sum(o.amount_due) AS amount
      FROM billing.open_item o
     WHERE o.account_id % 3 = 2 AND o.account_id % 5 <> 1 AND o.issued_on = date :'day' - 3 - (o.account_id % 19)::int
     GROUP BY 1
    UNION ALL
    SELECT o.account_id, array_agg(o.invoice_id ORDER BY o.invoice_id), CASE WHEN o.account_id % 13 = 2 THEN round(sum(o.amount_due) / 2, 2) ELSE sum(o.amount_due) END
      FROM billing.open_item o
     WHERE o.due_on < date :'day' AND o.account_id % 30 <> 11
       AND EXISTS (SELECT FROM billing.dunning_action x WHERE x.account_id = o.account_id
                      AND x.done_at::date = date :'day' - 1 - (x.account_id * (x.step_no + 3) % 24)::int)
     GROUP BY 1)
SELECT count(*) AS transfers FROM billing.record_payments((
    SELECT coalesce(jsonb_agg(jsonb_build_object('account_id', account_id, 'amount', amount, 'currency', 'EUR', 'method', 'transfer', 'invoice_ids', invoice_ids,
                                                 'effective_at', date :'day' + time '08:00') ORDER BY account_id), '[]') FROM money)) \gset

-- Then whoever is late is reminded; a sender takes the messages and tells that they went out; the agency opens its files.
CALL billing.dunning_run(at => date :'day' + time '09:00');
WITH claimed AS (SELECT * FROM billing.claim_notifications('mailer', 1000, at => date :'day' + time '10:00'))
SELECT count(billing.acknowledge_notification(notification_id, 'sent', effective_at => date :'day' + time '10:01')) AS sent FROM claimed \gset
SELECT count(billing.report_transfer(transfer_id, 'accepted', reference => 'N-' || transfer_id % 10000, effective_at => date :'day' + time '11:00')) AS accepted
  FROM billing.at_agency WHERE state = 'pending' \gset
