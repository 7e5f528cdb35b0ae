-- As the clerk, in the middle of February: customers change their minds.  Each change is one call, on the same
-- subscription; nobody computes a credit by hand.

\set at '2026-02-12 10:00 Europe/Berlin'

WITH changed AS (
    SELECT billing.change_plan(s.id, 'home-giga', effective_at => :'at', reason => 'faster line')
      FROM billing.subscription s WHERE s.plan = 'home-fibre' AND s.account_id % 9 = 2 AND s.start_at < :'at'
) SELECT count(*) || ' customers take a faster line' FROM changed;

WITH changed AS (
    SELECT billing.change_item(i.id, quantity => v.quantity + 5, effective_at => :'at', reason => 'five colleagues more')
      FROM billing.subscription_item i JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id
     WHERE v.price = 'extension' AND i.account_id % 7 = 0 AND i.start_at < :'at'
) SELECT count(*) || ' offices get five telephones more' FROM changed;

WITH changed AS (
    SELECT billing.pause_subscription(s.id, cycles => 1, effective_at => :'at', at_period_end => true, reason => 'away')
      FROM billing.subscription s WHERE s.plan LIKE 'home%' AND s.account_id % 31 = 3 AND s.start_at < :'at'
) SELECT count(*) || ' customers pause for a month' FROM changed;

WITH changed AS (
    SELECT billing.cancel_subscription(s.id, effective_at => :'at', reason => 'moved away')
      FROM billing.subscription s WHERE s.plan = 'home-dsl' AND s.account_id % 13 = 5 AND s.start_at < :'at' AND s.end_at IS NULL
) SELECT count(*) || ' customers leave at once' FROM changed;

WITH changed AS (
    SELECT billing.redeem_coupon(s.account_id, 'SPRING', subscription_id => s.id, effective_at => :'at')
      FROM billing.subscription s WHERE s.plan LIKE 'home%' AND s.account_id % 11 = 4 AND s.end_at IS NULL
) SELECT count(*) || ' coupons are redeemed' FROM changed;
