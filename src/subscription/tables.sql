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
    canceled_at timestamptz, -- first instant without service because it was canceled; null: not canceled
    cancel_reason text, -- why it was canceled
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
    first_period text NOT NULL DEFAULT 'prorate' CONSTRAINT schedule_version_first_period_check CHECK (first_period IN ('prorate', 'free', 'full')), -- what a start inside a period does; prorate: as the price says
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
    CONSTRAINT item_version_price_check CHECK ((price IS NULL) = (price_version IS NULL)),
    CONSTRAINT item_version_names_check CHECK (version > 1 OR price IS NOT NULL),
    CONSTRAINT item_version_key PRIMARY KEY (account_id, item_id, version),
    CONSTRAINT item_version_item_fkey FOREIGN KEY (account_id, item_id) REFERENCES billing.subscription_item,
    CONSTRAINT item_version_price_fkey FOREIGN KEY (price, price_version) REFERENCES billing.price_version
);
