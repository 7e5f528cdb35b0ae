CREATE TABLE IF NOT EXISTS billing.charge ( -- memory of what was charged: revisions of ranges, the highest is live
    account_id bigint NOT NULL, -- account
    item_id bigint NOT NULL, -- item; 0 where the charge belongs to the subscription, whose id ordinal then holds
    kind text NOT NULL CONSTRAINT charge_kind_check CHECK (kind IN ('recurring', 'usage', 'instalment', 'one_off', 'setup', 'event', 'minimum')), -- kind of charge, as on its line
    period_start timestamptz NOT NULL, -- start of the range
    ordinal bigint NOT NULL DEFAULT 0, -- tells charges without a range apart
    revision int NOT NULL CONSTRAINT charge_revision_check CHECK (revision >= 0), -- 0 is the first charge, each correction the next
    period_end timestamptz NOT NULL, -- end of the range; equal to its start: nothing is left
    subscription_id bigint NOT NULL, -- subscription
    schedule_version int NOT NULL, -- schedule version of the key
    period_no bigint NOT NULL, -- aligned period of the key, counted by the item
    amount numeric NOT NULL, -- what is still charged, in the price's terms (with tax where tax_inclusive)
    granted numeric NOT NULL DEFAULT 0, -- of it given back by people, for ever
    quantity numeric, -- quantity rated; null: none
    price text, -- price rated; null: a minimum has none
    price_version int, -- version of its scheme
    invoice_id bigint NOT NULL, -- document that carried this revision
    line_no int NOT NULL, -- line of that document
    gross_amount numeric, -- of amount before discounts and increments; null: amount
    discount_amount numeric, -- taken off; null: nothing
    increment_amount numeric, -- added; null: nothing
    document_discount numeric, -- share of the document's discounts still given; null: nothing
    scheme jsonb, -- scheme of this customer instead of the price's
    CONSTRAINT charge_key PRIMARY KEY (account_id, item_id, kind, period_start, ordinal, revision),
    CONSTRAINT charge_price_check CHECK ((kind = 'minimum') = (price IS NULL) AND (price IS NULL) = (price_version IS NULL)),
    CONSTRAINT charge_range_check CHECK (period_end >= period_start),
    CONSTRAINT charge_nothing_check CHECK (period_end > period_start OR amount = 0)
);
