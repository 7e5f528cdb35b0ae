CREATE SEQUENCE IF NOT EXISTS billing.account_id_seq;
COMMENT ON SEQUENCE billing.account_id_seq IS 'numbers of accounts';

CREATE TABLE IF NOT EXISTS billing.account ( -- customers: who pays
    account_id bigint NOT NULL CONSTRAINT account_key PRIMARY KEY CONSTRAINT account_account_id_check CHECK (account_id BETWEEN 1 AND 536870911), -- number of the account
    entity text NOT NULL CONSTRAINT account_entity_fkey REFERENCES billing.entity, -- seller
    name text NOT NULL CONSTRAINT account_name_check CHECK (name <> ''), -- name of the buyer, as on documents
    external_id text, -- the application's own id, unique
    currency text NOT NULL CONSTRAINT account_currency_fkey REFERENCES billing.currency, -- of all its subscriptions and documents
    time_zone text NOT NULL, -- IANA zone of its periods and dates; later changes touch later subscriptions only
    tax_status text NOT NULL DEFAULT 'standard', -- selects the tax rate, as in tax_rate.tax_status
    payment_terms_days int NOT NULL CONSTRAINT account_payment_terms_check CHECK (payment_terms_days BETWEEN 0 AND 3650), -- days from issue to due date
    email text, -- electronic address for documents
    country text CONSTRAINT account_country_check CHECK (country ~ '^[A-Z]{2}$'), -- country of the buyer: two letters of ISO 3166-1
    address jsonb NOT NULL DEFAULT '{}', -- line1, line2, line3, city, postal_code, region
    tax_ids jsonb NOT NULL DEFAULT '[]', -- array of {"type", "value"}
    buyer_reference text, -- reference that the buyer wants to read on documents (EN 16931 BT-10)
    invoice_series text CONSTRAINT account_invoice_series_fkey REFERENCES billing.series, -- number series of its invoices; null: the entity's
    credit_note_series text CONSTRAINT account_credit_note_series_fkey REFERENCES billing.series, -- number series of its credit notes; null: the entity's
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep; copied to documents
    invoice_grouping text NOT NULL DEFAULT 'account' CONSTRAINT account_invoice_grouping_check CHECK (invoice_grouping IN ('account', 'subscription')), -- one invoice for all subscriptions, or one for each
    grace_period interval, -- drafts stay open for late usage so long after their due instant; null: as the entity says
    payment_method_id bigint, -- method that collects its invoices, where the subscription names none; null: it pays by itself
    dunning_scheme text, -- scheme of its overdue invoices; null: the entity's
    language text CONSTRAINT account_language_check CHECK (language ~ '^[a-z]{2,3}(-[A-Z]{2})?$'), -- BCP 47 language of its notifications; null: the entity's
    phone text -- number for text messages
);

CREATE TABLE IF NOT EXISTS billing.account_state ( -- what every act on an account locks: its counter and what is due
    account_id bigint NOT NULL CONSTRAINT account_state_key PRIMARY KEY, -- account
    entity text NOT NULL, -- the account's entity, here so that a run needs no join
    next_ordinal int NOT NULL DEFAULT 1 CONSTRAINT account_state_next_ordinal_check CHECK (next_ordinal BETWEEN 1 AND 16777216), -- ordinal of the next id of this account
    billed_through timestamptz, -- everything due until then was charged
    recompute_from timestamptz, -- earliest instant touched by an edit whose differences are not all written
    next_due timestamptz, -- nothing becomes due before
    event_no bigint NOT NULL DEFAULT 0, -- events of the account so far
    has_credit boolean NOT NULL DEFAULT false -- payments or credit notes of it are not used up: the next invoice takes them
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

CREATE TABLE IF NOT EXISTS billing.key ( -- the directory of everything that is unique across accounts
    kind text NOT NULL, -- account, subscription (external ids), payment, refund (providers' references), external_invoice (numbers), mandate (references) or idempotency
    key text NOT NULL, -- the caller's key
    account_id bigint, -- account it belongs to
    id bigint, -- row that was created; for idempotency the call's result
    fingerprint text, -- SHA-256 of the call and its arguments
    CONSTRAINT key_key PRIMARY KEY (kind, key)
);
