CREATE TABLE IF NOT EXISTS billing.currency ( -- currencies of ISO 4217
    code text NOT NULL CONSTRAINT currency_key PRIMARY KEY, -- alphabetic code
    numeric_code text NOT NULL, -- three-digit code
    minor_units int NOT NULL CONSTRAINT currency_minor_units_check CHECK (minor_units BETWEEN 0 AND 4), -- digits after the decimal point
    name text NOT NULL -- English name
);
INSERT INTO billing.currency SELECT * FROM billing_internal.currencies()
    ON CONFLICT (code) DO UPDATE SET numeric_code = excluded.numeric_code, minor_units = excluded.minor_units, name = excluded.name;

CREATE TABLE IF NOT EXISTS billing.entity ( -- sellers: the legal entities that issue documents
    code text NOT NULL CONSTRAINT entity_key PRIMARY KEY CONSTRAINT entity_code_check CHECK (code <> ''), -- code that calls use
    name text NOT NULL, -- legal name, as on documents
    country text NOT NULL CONSTRAINT entity_country_check CHECK (country ~ '^[A-Z]{2}$'), -- two letters of ISO 3166-1
    currency text NOT NULL CONSTRAINT entity_currency_fkey REFERENCES billing.currency, -- default of its accounts
    time_zone text NOT NULL, -- IANA zone: default of its accounts, zone of its dates
    payment_terms_days int NOT NULL DEFAULT 14 CONSTRAINT entity_payment_terms_check CHECK (payment_terms_days BETWEEN 0 AND 3650), -- days from issue to due date, default of its accounts
    address jsonb NOT NULL DEFAULT '{}', -- line1, line2, line3, city, postal_code, region
    tax_ids jsonb NOT NULL DEFAULT '[]', -- array of {"type", "value"}
    invoice_series text, -- series of its invoices where the account names none
    credit_note_series text, -- series of its credit notes where the account names none
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep
    grace_period interval NOT NULL DEFAULT '0', -- drafts stay open for late usage so long after their due instant, default of its accounts
    claim_series text, -- series of its claims: interest, fixed sums and fees outside the scope of tax
    payment_tolerance numeric NOT NULL DEFAULT 0 CONSTRAINT entity_payment_tolerance_check CHECK (payment_tolerance >= 0), -- an invoice paid but for so much is paid: the rest is written off
    allocation_rules text[] NOT NULL DEFAULT '{named,exact,oldest}' CONSTRAINT entity_allocation_rules_check CHECK (allocation_rules <@ '{named,exact,oldest,pro_rata}'), -- rules by which payments are set against invoices, in this order
    collect text NOT NULL DEFAULT 'due' CONSTRAINT entity_collect_check CHECK (collect IN ('issue', 'due', 'never')), -- when invoices are collected with automatic methods: at issue, when due, never
    retry_policy text, -- how failed collections are tried again; null: they are not
    dunning_scheme text, -- scheme of overdue invoices, where account and subscription name none; null: none
    language text NOT NULL DEFAULT 'en' CONSTRAINT entity_language_check CHECK (language ~ '^[a-z]{2,3}(-[A-Z]{2})?$') -- BCP 47 language of notifications where the account names none
);

CREATE TABLE IF NOT EXISTS billing.series ( -- gapless number series, each one chain of seals
    code text NOT NULL CONSTRAINT series_key PRIMARY KEY CONSTRAINT series_code_check CHECK (code <> ''), -- code that entities and accounts name
    entity text NOT NULL CONSTRAINT series_entity_fkey REFERENCES billing.entity, -- entity that numbers by it
    format text NOT NULL CONSTRAINT series_format_check CHECK (format ~ '\{number(:[1-9][0-9]?)?\}' AND length(format) <= 60), -- text with {number}, {number:6} (zero-padded), {year}, {yy}
    restart_yearly boolean NOT NULL DEFAULT false CONSTRAINT series_restart_check CHECK (NOT restart_yearly OR format ~ '\{(year|yy)\}'), -- begin at 1 in each year of issue
    position bigint NOT NULL DEFAULT 0, -- documents sealed so far: the counter of the chain
    counter bigint NOT NULL DEFAULT 0, -- last number given
    counter_year int, -- year of issue of the last number; numbers that restart yearly begin anew in another
    last_issued_on date, -- issue date of the last document; dates never go back
    chain_hash bytea -- chain hash of the last seal
);

CREATE TABLE IF NOT EXISTS billing.tax_class ( -- tax classes that prices name
    code text NOT NULL CONSTRAINT tax_class_key PRIMARY KEY CONSTRAINT tax_class_code_check CHECK (code <> ''), -- code that prices use
    name text NOT NULL, -- name for people
    tax_point text NOT NULL DEFAULT 'service_end' CONSTRAINT tax_class_tax_point_check CHECK (tax_point IN ('service_end', 'service_start', 'issue_date', 'split')) -- instant whose rate applies; split: a change of rate cuts the charge
);

CREATE TABLE IF NOT EXISTS billing.tax_rate ( -- what a tax class means for a seller and a kind of buyer, and when
    entity text NOT NULL CONSTRAINT tax_rate_entity_fkey REFERENCES billing.entity, -- seller
    tax text NOT NULL CONSTRAINT tax_rate_tax_fkey REFERENCES billing.tax_class, -- tax class
    tax_status text NOT NULL DEFAULT 'standard', -- kind of buyer, as in account.tax_status
    valid_from date NOT NULL DEFAULT '-infinity', -- first day; the rate holds until the next row's
    category text NOT NULL CONSTRAINT tax_rate_category_check CHECK (category IN ('S', 'Z', 'E', 'AE', 'K', 'G', 'O', 'L', 'M')), -- VAT category of EN 16931; S: standard rate, Z: zero rate, E: exempt, AE: reverse charge, K: intra-community supply, G: export, O: outside the scope, L and M: Canary Islands, Ceuta and Melilla
    rate numeric NOT NULL, -- percent: 19 means 19 %
    reason text, -- exemption reason, printed on the document
    CONSTRAINT tax_rate_key PRIMARY KEY (entity, tax, tax_status, valid_from),
    CONSTRAINT tax_rate_rate_check CHECK (rate >= 0 AND rate <= 1000),
    CONSTRAINT tax_rate_zero_check CHECK (rate = 0 OR category IN ('S', 'L', 'M')),
    CONSTRAINT tax_rate_reason_check CHECK (reason IS NOT NULL OR category IN ('S', 'Z', 'L', 'M', 'O'))
);

CREATE TABLE IF NOT EXISTS billing.product ( -- what is sold
    code text NOT NULL CONSTRAINT product_key PRIMARY KEY CONSTRAINT product_code_check CHECK (code <> ''), -- code that prices use
    name text NOT NULL, -- name, as on documents
    metadata jsonb NOT NULL DEFAULT '{}' -- anything the caller wants to keep
);

CREATE TABLE IF NOT EXISTS billing.meter ( -- what usage events count
    code text NOT NULL CONSTRAINT meter_key PRIMARY KEY CONSTRAINT meter_code_check CHECK (code <> ''), -- code that prices and usage use
    name text NOT NULL, -- name for people
    aggregation text NOT NULL DEFAULT 'sum' CONSTRAINT meter_aggregation_check CHECK (aggregation IN ('sum', 'count', 'max', 'last')), -- how the events of a period become its quantity
    unit_code text -- UN/ECE Recommendation 20 code, as on documents
);

CREATE TABLE IF NOT EXISTS billing.price ( -- prices: how one thing is charged
    code text NOT NULL CONSTRAINT price_key PRIMARY KEY CONSTRAINT price_code_check CHECK (code <> ''), -- code that plans and items use
    name text NOT NULL, -- line description on documents
    product text CONSTRAINT price_product_fkey REFERENCES billing.product, -- what is sold
    currency text NOT NULL CONSTRAINT price_currency_fkey REFERENCES billing.currency, -- currency of all amounts of its schemes
    every interval, -- period: whole months or whole days; null: charged once
    timing text NOT NULL CONSTRAINT price_timing_check CHECK (timing IN ('advance', 'arrears')), -- charged at the start or at the end of the period
    tax text NOT NULL CONSTRAINT price_tax_fkey REFERENCES billing.tax_class, -- tax class
    tax_inclusive boolean NOT NULL DEFAULT false, -- amounts of the scheme contain the tax
    meter text CONSTRAINT price_meter_fkey REFERENCES billing.meter, -- quantity comes from usage; null: from the item
    proration_charge text NOT NULL DEFAULT 'day' CONSTRAINT price_proration_charge_check CHECK (proration_charge IN ('day', 'second', '30/360', 'none', 'full')), -- what a rise inside a period does
    proration_credit text NOT NULL DEFAULT 'day' CONSTRAINT price_proration_credit_check CHECK (proration_credit IN ('day', 'second', '30/360', 'none', 'full')), -- what a fall inside a period does
    unit_code text, -- UN/ECE Recommendation 20 code, as on documents
    archived_at timestamptz, -- from then on no new items
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep
    CONSTRAINT price_once_check CHECK (every IS NOT NULL OR meter IS NULL),
    CONSTRAINT price_metered_timing_check CHECK (meter IS NULL OR timing = 'arrears'),
    CONSTRAINT price_proration_basis_check CHECK (proration_charge IN ('none', 'full') OR proration_credit IN ('none', 'full', proration_charge)),
    CONSTRAINT price_proration_months_check CHECK ('30/360' NOT IN (proration_charge, proration_credit) OR extract(day FROM every) = 0)
);

CREATE TABLE IF NOT EXISTS billing.price_version ( -- the schemes of a price, one after the other
    price text NOT NULL CONSTRAINT price_version_price_fkey REFERENCES billing.price, -- price
    version int NOT NULL CONSTRAINT price_version_version_check CHECK (version > 0), -- 1, 2, 3 ... in the order of entry
    scheme jsonb NOT NULL, -- price scheme: an object with a model and its keys
    valid_from timestamptz NOT NULL DEFAULT '-infinity', -- new items that start from then on take it
    in_use boolean NOT NULL DEFAULT false, -- an item was created with it, so it never changes
    CONSTRAINT price_version_key PRIMARY KEY (price, version),
    CONSTRAINT price_version_valid_from_key UNIQUE (price, valid_from)
);

CREATE TABLE IF NOT EXISTS billing.plan ( -- plans: prices sold together
    code text NOT NULL CONSTRAINT plan_key PRIMARY KEY CONSTRAINT plan_code_check CHECK (code <> ''), -- code that subscriptions use
    name text NOT NULL, -- name for people
    billing_day int CONSTRAINT plan_billing_day_check CHECK (billing_day BETWEEN 1 AND 31), -- default day of the month on which its subscriptions are billed; null: the day they start
    cycles int CONSTRAINT plan_cycles_check CHECK (cycles > 0), -- default number of cycles; null: endless
    archived_at timestamptz, -- from then on no new subscriptions
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep
    trial_every interval, -- default length of a trial; null: none
    trial_end_action text NOT NULL DEFAULT 'activate' CONSTRAINT plan_trial_end_action_check CHECK (trial_end_action IN ('activate', 'cancel')), -- what the end of a trial does
    resume_anchor text NOT NULL DEFAULT 'keep' CONSTRAINT plan_resume_anchor_check CHECK (resume_anchor IN ('keep', 'resume')) -- resuming in a later period: keep the billing day, or bill from then on
);

CREATE TABLE IF NOT EXISTS billing.plan_item ( -- the prices of a plan
    plan text NOT NULL CONSTRAINT plan_item_plan_fkey REFERENCES billing.plan, -- plan
    ordinal int NOT NULL, -- order on documents
    price text NOT NULL CONSTRAINT plan_item_price_fkey REFERENCES billing.price, -- price
    quantity numeric CONSTRAINT plan_item_quantity_check CHECK (quantity >= 0 AND quantity < 'Infinity'), -- default quantity; null for metered prices
    optional boolean NOT NULL DEFAULT false, -- only where the subscription names it
    cycles int CONSTRAINT plan_item_cycles_check CHECK (cycles > 0), -- charged for so many cycles only
    event text CONSTRAINT plan_item_event_check CHECK (event IN ('subscription_creation', 'trial_start', 'subscription_activation', 'plan_activation', 'contract_termination')), -- charged whenever this happens; null: with the subscription
    charge_once boolean NOT NULL DEFAULT false, -- charged only the first time of a subscription's whole life
    own_invoice boolean NOT NULL DEFAULT false, -- on an invoice of its own, at once
    instalments int CONSTRAINT plan_item_instalments_check CHECK (instalments > 0), -- its charge is divided over so many cycles
    CONSTRAINT plan_item_key PRIMARY KEY (plan, ordinal)
);
CREATE UNIQUE INDEX IF NOT EXISTS plan_item_price_idx ON billing.plan_item (plan, price, coalesce(event, ''));

CREATE TABLE IF NOT EXISTS billing.coupon ( -- codes that customers redeem for a discount
    code text NOT NULL CONSTRAINT coupon_key PRIMARY KEY CONSTRAINT coupon_code_check CHECK (code <> ''), -- code that customers enter
    name text NOT NULL, -- name for people
    scope text NOT NULL CONSTRAINT coupon_scope_check CHECK (scope IN ('document', 'subscription', 'item')), -- what it is taken off: documents, all lines of a subscription, or one item's
    price text CONSTRAINT coupon_price_fkey REFERENCES billing.price, -- scope item: items of this price
    type text NOT NULL CONSTRAINT coupon_type_check CHECK (type IN ('percentage', 'fixed')), -- percentage, or an amount
    value numeric NOT NULL CONSTRAINT coupon_value_check CHECK (value >= 0 AND value < 'Infinity'), -- percent (19 means 19 %), or amount
    currency text CONSTRAINT coupon_currency_fkey REFERENCES billing.currency, -- currency of a fixed amount; null for a percentage
    cycles int CONSTRAINT coupon_cycles_check CHECK (cycles > 0), -- cycles it lasts; null: for ever (of a fixed document coupon: until it is used up)
    valid_from timestamptz, -- redeemable from then on; null: at once
    expires_at timestamptz, -- redeemable before then; null: always
    max_redemptions int CONSTRAINT coupon_max_redemptions_check CHECK (max_redemptions > 0), -- how often in all; null: any number
    max_redemptions_per_account int CONSTRAINT coupon_max_redemptions_per_account_check CHECK (max_redemptions_per_account > 0), -- how often by one account; null: any number
    redemptions int NOT NULL DEFAULT 0, -- how often it was redeemed
    archived_at timestamptz, -- from then on no redemption
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep
    CONSTRAINT coupon_currency_check CHECK ((type = 'fixed') = (currency IS NOT NULL)),
    CONSTRAINT coupon_scope_price_check CHECK ((scope = 'item') = (price IS NOT NULL)),
    CONSTRAINT coupon_redemptions_check CHECK (redemptions >= 0 AND redemptions <= max_redemptions)
);

CREATE OR REPLACE TRIGGER entity_check BEFORE INSERT OR UPDATE ON billing.entity
    FOR EACH ROW EXECUTE FUNCTION billing_internal.entity_check();
CREATE OR REPLACE TRIGGER entity_make_series AFTER INSERT OR UPDATE ON billing.entity
    FOR EACH ROW EXECUTE FUNCTION billing_internal.entity_make_series();
CREATE OR REPLACE TRIGGER price_check BEFORE INSERT OR UPDATE OR DELETE ON billing.price
    FOR EACH ROW EXECUTE FUNCTION billing_internal.price_check();
CREATE OR REPLACE TRIGGER price_version_check BEFORE INSERT OR UPDATE OR DELETE ON billing.price_version
    FOR EACH ROW EXECUTE FUNCTION billing_internal.price_version_check();
CREATE OR REPLACE TRIGGER plan_item_check BEFORE INSERT OR UPDATE ON billing.plan_item
    FOR EACH ROW EXECUTE FUNCTION billing_internal.plan_item_check();
ALTER TABLE billing.price ENABLE ALWAYS TRIGGER price_check;
ALTER TABLE billing.price_version ENABLE ALWAYS TRIGGER price_version_check;
