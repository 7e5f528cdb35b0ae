CREATE TABLE IF NOT EXISTS billing.subscription ( -- what an account has subscribed to
    account_id bigint NOT NULL CONSTRAINT subscription_account_fkey REFERENCES billing.account, -- account that pays
    id bigint NOT NULL, -- account_id << 24 | ordinal
    plan text NOT NULL CONSTRAINT subscription_plan_fkey REFERENCES billing.plan, -- plan it was created from
    external_id text, -- the application's own id, unique
    start_at timestamptz NOT NULL, -- first instant of service
    end_at timestamptz, -- first instant without service; null: endless
    cycles int CONSTRAINT subscription_cycles_check CHECK (cycles > 0), -- number of cycles after which it ends, as asked for
    purchase_order text, -- the buyer's order number, printed on documents
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep; copied to documents
    cycles_from timestamptz, -- cycles are counted from then on; null: from the first paid instant
    trial_end_at timestamptz, -- first paid instant after a trial; null: no trial
    trial_end_action text CONSTRAINT subscription_trial_end_action_check CHECK (trial_end_action IN ('activate', 'cancel')), -- what the end of the trial does
    activation text NOT NULL DEFAULT 'immediate' CONSTRAINT subscription_activation_check CHECK (activation IN ('immediate', 'pending', 'failed')), -- pending: comes to life when its first payment succeeds; failed: it did not
    trial_every interval, -- length of the trial, which follows the start; null: none, or its end was named
    payment_method_id bigint, -- method that collects its invoices; null: the account's
    dunning_scheme text, -- scheme of its overdue invoices; null: the account's
    CONSTRAINT subscription_trial_check CHECK (trial_end_at >= start_at AND (trial_end_at IS NULL) = (trial_end_action IS NULL)),
    CONSTRAINT subscription_key PRIMARY KEY (account_id, id),
    CONSTRAINT subscription_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT subscription_life_check CHECK (end_at IS NULL OR end_at >= start_at)
);
CREATE INDEX IF NOT EXISTS subscription_id_idx ON billing.subscription (id);

CREATE TABLE IF NOT EXISTS billing.schedule_version ( -- the calendar of a subscription
    account_id bigint NOT NULL, -- account
    subscription_id bigint NOT NULL, -- subscription
    version int NOT NULL CONSTRAINT schedule_version_version_check CHECK (version > 0), -- 1, 2, 3 ...
    valid_from timestamptz NOT NULL, -- holds from then on to the next version
    anchor timestamptz NOT NULL, -- start of period 0
    every interval NOT NULL, -- length of a cycle: whole months or whole days
    time_zone text NOT NULL, -- IANA zone
    billing_day int CONSTRAINT schedule_version_billing_day_check CHECK (billing_day BETWEEN 1 AND 31), -- day of the month on which periods start; null: the anchor's
    first_period text NOT NULL DEFAULT 'prorate' CONSTRAINT schedule_version_first_period_check CHECK (first_period IN ('prorate', 'free', 'full', 'join')), -- what a start inside a period does; prorate: as the price says
    CONSTRAINT schedule_version_key PRIMARY KEY (account_id, subscription_id, version),
    CONSTRAINT schedule_version_subscription_fkey FOREIGN KEY (account_id, subscription_id) REFERENCES billing.subscription
);

CREATE TABLE IF NOT EXISTS billing.subscription_item ( -- the priced parts of a subscription
    account_id bigint NOT NULL, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    subscription_id bigint NOT NULL, -- subscription
    start_at timestamptz NOT NULL, -- first instant of service
    end_at timestamptz, -- first instant without service; null: as the subscription
    cycles int CONSTRAINT subscription_item_cycles_check CHECK (cycles > 0), -- number of cycles after which it ends, as asked for
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep
    kind text NOT NULL DEFAULT 'recurring' CONSTRAINT subscription_item_kind_check CHECK (kind IN ('recurring', 'instalment', 'one_off', 'setup', 'event')), -- charged every period, in instalments, or once at start_at
    cycles_from timestamptz, -- cycles are counted from then on; null: from start_at
    instalments int CONSTRAINT subscription_item_instalments_check CHECK (instalments > 0), -- number of instalments its charge is divided into
    charge_from date, -- first billing date on which it may be charged; null: any
    charge_until date, -- last billing date on which it may be charged; null: any
    own_invoice boolean NOT NULL DEFAULT false, -- charged on an invoice of its own, at once
    description text, -- line description; null: the price's name
    event text CONSTRAINT subscription_item_event_check CHECK (event IN ('subscription_creation', 'trial_start', 'subscription_activation', 'plan_activation', 'contract_termination')), -- what brought the charge about
    occurrence int, -- the how manieth such event of the subscription
    from_plan boolean NOT NULL DEFAULT false, -- came with the plan, and goes with it
    CONSTRAINT subscription_item_instalment_check CHECK ((kind = 'instalment') = (instalments IS NOT NULL)),
    CONSTRAINT subscription_item_event_kind_check CHECK ((kind = 'event') = (event IS NOT NULL)),
    CONSTRAINT subscription_item_window_check CHECK (charge_until >= charge_from),
    CONSTRAINT subscription_item_key PRIMARY KEY (account_id, id),
    CONSTRAINT subscription_item_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT subscription_item_life_check CHECK (end_at IS NULL OR end_at >= start_at),
    CONSTRAINT subscription_item_subscription_fkey FOREIGN KEY (account_id, subscription_id) REFERENCES billing.subscription
);
CREATE INDEX IF NOT EXISTS subscription_item_subscription_idx ON billing.subscription_item (account_id, subscription_id);

CREATE TABLE IF NOT EXISTS billing.item_version ( -- terms of an item over time
    account_id bigint NOT NULL, -- account
    item_id bigint NOT NULL, -- item
    version int NOT NULL CONSTRAINT item_version_version_check CHECK (version > 0), -- 1, 2, 3 ... in the order of entry
    valid_from timestamptz NOT NULL, -- the terms hold from then on to the next change
    price text, -- price; null: as before
    price_version int, -- version of its scheme, kept until the item is moved
    quantity numeric CONSTRAINT item_version_quantity_check CHECK (quantity >= 0 AND quantity < 'Infinity'), -- quantity; null: as before, or from usage
    reason text, -- why it was changed
    scheme jsonb, -- scheme of this customer instead of the price's, until the price changes; null: as before, or with a price named: the price's
    CONSTRAINT item_version_price_check CHECK ((price IS NULL) = (price_version IS NULL)),
    CONSTRAINT item_version_names_check CHECK (version > 1 OR price IS NOT NULL),
    CONSTRAINT item_version_key PRIMARY KEY (account_id, item_id, version),
    CONSTRAINT item_version_item_fkey FOREIGN KEY (account_id, item_id) REFERENCES billing.subscription_item,
    CONSTRAINT item_version_price_fkey FOREIGN KEY (price, price_version) REFERENCES billing.price_version
);

CREATE TABLE IF NOT EXISTS billing.plan_version ( -- later plans of a subscription; before the first of them it has subscription.plan
    account_id bigint NOT NULL, -- account
    subscription_id bigint NOT NULL, -- subscription
    version int NOT NULL CONSTRAINT plan_version_version_check CHECK (version > 0), -- 1, 2, 3 ... in the order of entry
    valid_from timestamptz NOT NULL, -- the plan holds from then on to the next change
    plan text NOT NULL CONSTRAINT plan_version_plan_fkey REFERENCES billing.plan, -- plan
    CONSTRAINT plan_version_key PRIMARY KEY (account_id, subscription_id, version),
    CONSTRAINT plan_version_subscription_fkey FOREIGN KEY (account_id, subscription_id) REFERENCES billing.subscription
);

CREATE TABLE IF NOT EXISTS billing.interruption ( -- times without service: pauses, stops, cancellations
    account_id bigint NOT NULL, -- account
    subscription_id bigint NOT NULL, -- subscription
    number int NOT NULL CONSTRAINT interruption_number_check CHECK (number > 0), -- 1, 2, 3 ... in the order of entry
    kind text NOT NULL CONSTRAINT interruption_kind_check CHECK (kind IN ('pause', 'stop', 'cancel')), -- pause, stop or cancel
    from_at timestamptz NOT NULL, -- first instant without service
    to_at timestamptz, -- first instant with service again; null: open; equal to from_at: taken back
    requested_at timestamptz NOT NULL, -- moment of the request
    reason text, -- why, as the call said
    taken_back_at timestamptz, -- moment from which on it was not to come any more
    CONSTRAINT interruption_range_check CHECK (to_at >= from_at),
    CONSTRAINT interruption_key PRIMARY KEY (account_id, subscription_id, number),
    CONSTRAINT interruption_subscription_fkey FOREIGN KEY (account_id, subscription_id) REFERENCES billing.subscription
);

CREATE TABLE IF NOT EXISTS billing.skipped_cycle ( -- cycles for which nothing is charged
    account_id bigint NOT NULL, -- account
    subscription_id bigint NOT NULL, -- subscription
    schedule_version int NOT NULL, -- schedule version
    period_no bigint NOT NULL, -- number of the cycle in that version
    skipped boolean NOT NULL DEFAULT true, -- false: taken back
    reason text, -- why, as the call said
    CONSTRAINT skipped_cycle_key PRIMARY KEY (account_id, subscription_id, schedule_version, period_no),
    CONSTRAINT skipped_cycle_schedule_version_fkey FOREIGN KEY (account_id, subscription_id, schedule_version) REFERENCES billing.schedule_version
);

CREATE TABLE IF NOT EXISTS billing.instalment ( -- which cycle takes which instalment of an item; those that no cycle takes have no row
    account_id bigint NOT NULL, -- account
    item_id bigint NOT NULL, -- item
    ordinal int NOT NULL CONSTRAINT instalment_ordinal_check CHECK (ordinal > 0), -- 1, 2, 3 ...
    schedule_version int NOT NULL, -- schedule version of its cycle
    period_no bigint NOT NULL, -- number of its cycle in that version
    period_start timestamptz NOT NULL, -- the cycle, without what lies before the subscription
    period_end timestamptz NOT NULL, -- end of the cycle
    due_at timestamptz NOT NULL, -- when the cycle's regular invoice is due to be made
    currency text NOT NULL, -- currency of the amount
    amount numeric NOT NULL, -- what it takes; the last takes the rest
    active boolean NOT NULL DEFAULT true, -- false: taken back
    CONSTRAINT instalment_range_check CHECK (period_end > period_start),
    CONSTRAINT instalment_key PRIMARY KEY (account_id, item_id, ordinal),
    CONSTRAINT instalment_item_fkey FOREIGN KEY (account_id, item_id) REFERENCES billing.subscription_item
);

CREATE TABLE IF NOT EXISTS billing.subscription_change ( -- what was done to a subscription, and what it changed
    account_id bigint NOT NULL, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    subscription_id bigint NOT NULL, -- subscription
    verb text NOT NULL, -- call that was made
    entered_at timestamptz NOT NULL, -- when it was made
    effective_at timestamptz NOT NULL, -- when it takes effect
    arguments jsonb NOT NULL, -- arguments of the call
    reason text, -- why, as the call said
    edits jsonb NOT NULL, -- the timeline's rows after it, by table
    replaced jsonb NOT NULL, -- those of them that were there before, by table
    withdrawn_at timestamptz, -- when it was withdrawn; null: it holds
    CONSTRAINT subscription_change_key PRIMARY KEY (account_id, id),
    CONSTRAINT subscription_change_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT subscription_change_subscription_fkey FOREIGN KEY (account_id, subscription_id) REFERENCES billing.subscription
);
CREATE INDEX IF NOT EXISTS subscription_change_subscription_idx ON billing.subscription_change (account_id, subscription_id, effective_at);

CREATE TABLE IF NOT EXISTS billing.state_transition ( -- which state of a subscription may follow which
    from_state text NOT NULL, -- state; new: none yet
    to_state text NOT NULL, -- state that may follow
    CONSTRAINT state_transition_key PRIMARY KEY (from_state, to_state)
);
INSERT INTO billing.state_transition (from_state, to_state)
SELECT f, t FROM (VALUES ('new', ARRAY['pending', 'future', 'trialing', 'active', 'non_renewing', 'canceled', 'failed']),
                         ('pending', ARRAY['future', 'trialing', 'active', 'non_renewing', 'canceled', 'failed']),
                         ('future', ARRAY['trialing', 'active', 'non_renewing', 'canceled']),
                         ('trialing', ARRAY['active', 'non_renewing', 'stopped', 'canceled']),
                         ('active', ARRAY['non_renewing', 'paused', 'stopped', 'canceled']),
                         ('non_renewing', ARRAY['active', 'paused', 'stopped', 'canceled']),
                         ('paused', ARRAY['active', 'non_renewing', 'stopped', 'canceled']),
                         ('stopped', ARRAY['trialing', 'active', 'non_renewing', 'canceled']),
                         ('canceled', ARRAY['trialing', 'active', 'non_renewing'])) x (f, ts), unnest(x.ts) t
    ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS billing.subscription_state ( -- states of subscriptions over time, past and to come
    account_id bigint NOT NULL, -- account
    subscription_id bigint NOT NULL, -- subscription
    valid_from timestamptz NOT NULL, -- the state holds from then on to the next
    state text NOT NULL CONSTRAINT subscription_state_state_check CHECK (state IN ('pending', 'future', 'trialing', 'active', 'non_renewing', 'paused', 'stopped', 'canceled', 'failed')), -- state from then on
    CONSTRAINT subscription_state_key PRIMARY KEY (account_id, subscription_id, valid_from),
    CONSTRAINT subscription_state_subscription_fkey FOREIGN KEY (account_id, subscription_id) REFERENCES billing.subscription
);

CREATE TABLE IF NOT EXISTS billing.discount ( -- discounts and increments of an account, a subscription or an item
    account_id bigint NOT NULL CONSTRAINT discount_account_fkey REFERENCES billing.account, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    subscription_id bigint, -- of this subscription only; null: of all
    item_id bigint, -- of this item only; null: of all
    kind text NOT NULL CONSTRAINT discount_kind_check CHECK (kind IN ('discount', 'increment')), -- discount: takes off; increment: adds
    type text NOT NULL CONSTRAINT discount_type_check CHECK (type IN ('percentage', 'fixed')), -- percentage of the amount, or an amount of the account's currency
    value numeric NOT NULL CONSTRAINT discount_value_check CHECK (value >= 0 AND value < 'Infinity'), -- percent (19 means 19 %), or amount
    currency text, -- currency of a fixed amount; null for a percentage
    document boolean NOT NULL DEFAULT false, -- taken off whole documents, before tax, instead of lines
    from_at timestamptz NOT NULL, -- cycles that start from then on
    to_at timestamptz, -- and before then; null: endless; equal to from_at: taken back
    cycles int CONSTRAINT discount_cycles_check CHECK (cycles > 0), -- number of cycles, as asked for
    cycles_from timestamptz, -- cycles are counted from then on
    coupon text, -- coupon that brought it; null: none
    description text, -- for people
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep
    reason text, -- why it was given
    end_reason text, -- why it was ended by hand
    CONSTRAINT discount_range_check CHECK (to_at >= from_at),
    CONSTRAINT discount_scope_check CHECK (item_id IS NULL OR subscription_id IS NOT NULL),
    CONSTRAINT discount_document_check CHECK (NOT document OR kind = 'discount' AND item_id IS NULL),
    CONSTRAINT discount_key PRIMARY KEY (account_id, id),
    CONSTRAINT discount_id_check CHECK (id >> 24 = account_id)
);

CREATE TABLE IF NOT EXISTS billing.minimum ( -- least amounts of an item or a subscription
    account_id bigint NOT NULL, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    subscription_id bigint NOT NULL, -- subscription
    item_id bigint, -- of this item only; null: of the subscription
    currency text NOT NULL, -- currency of the amount
    amount numeric NOT NULL CONSTRAINT minimum_amount_check CHECK (amount >= 0 AND amount < 'Infinity'), -- least amount of a whole period
    every interval, -- its period, a multiple of the cycle; null: the cycle, of an item the item's period
    proration text NOT NULL DEFAULT 'day' CONSTRAINT minimum_proration_check CHECK (proration IN ('day', 'none')), -- day: shrinks with the days of service
    tax text CONSTRAINT minimum_tax_fkey REFERENCES billing.tax_class, -- tax class of what is added; null: as the lines it completes
    from_at timestamptz NOT NULL, -- periods that start from then on
    to_at timestamptz, -- and before then; null: endless; equal to from_at: taken back
    CONSTRAINT minimum_range_check CHECK (to_at >= from_at),
    CONSTRAINT minimum_key PRIMARY KEY (account_id, id),
    CONSTRAINT minimum_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT minimum_subscription_fkey FOREIGN KEY (account_id, subscription_id) REFERENCES billing.subscription
);

CREATE OR REPLACE VIEW billing.subscription_status ( -- state, plan, current period and next billing of subscriptions now
    account_id, -- account
    subscription_id, -- subscription
    external_id, -- the application's own id
    plan, -- plan it has now
    state, -- state now
    start_at, -- first instant of service
    trial_end_at, -- first paid instant after a trial
    end_at, -- first instant without service, by its term
    canceled_at, -- first instant without service because it was canceled, also one to come
    reason, -- why it was canceled
    period_start, -- current period: start
    period_end, -- current period: end
    next_billing_at -- when its next regular charge is due; null: none to come
) AS
SELECT account_id, subscription_id, external_id, plan, state, start_at, trial_end_at, end_at, canceled_at, reason, period_start, period_end, next_billing_at
  FROM billing.subscription_status_on(now());
