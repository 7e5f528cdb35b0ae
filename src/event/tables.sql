CREATE TABLE IF NOT EXISTS billing.event_type ( -- kinds of events
    type text NOT NULL CONSTRAINT event_type_key PRIMARY KEY CONSTRAINT event_type_type_check CHECK (type ~ '^[a-z_]+[.][a-z_]+$'), -- object and what happened to it
    meaning text NOT NULL, -- when it is written
    ids text[] NOT NULL, -- columns of event that it may fill, besides account_id
    payload_keys text[] NOT NULL, -- keys that its payload may have; what has no value is null or left out
    kept boolean NOT NULL DEFAULT true -- whether it is written at all: billing.keep_events()
);
INSERT INTO billing.event_type (type, meaning, ids, payload_keys) SELECT * FROM billing_internal.event_types()
    ON CONFLICT (type) DO UPDATE SET meaning = excluded.meaning, ids = excluded.ids, payload_keys = excluded.payload_keys;

CREATE TABLE IF NOT EXISTS billing.event ( -- what happened, for consumers, in an order that never skips
    account_id bigint NOT NULL, -- account
    adoption_number int NOT NULL, -- as in book.event_adoption_number when it was written: what came from elsewhere has a lower one
    xid xid8 NOT NULL, -- transaction that wrote it
    event_no bigint NOT NULL CONSTRAINT event_event_no_check CHECK (event_no > 0), -- 1, 2, 3 ... of the account, in the order in which its transactions committed
    type text NOT NULL, -- what happened, as in event_type
    occurred_at timestamptz NOT NULL, -- instant for which it holds
    recorded_at timestamptz NOT NULL, -- when its transaction began
    subscription_id bigint, -- subscription
    invoice_id bigint, -- document
    payment_id bigint, -- payment
    case_id bigint, -- dunning case
    payload jsonb NOT NULL DEFAULT '{}', -- more about it, with keys as in event_type
    CONSTRAINT event_key PRIMARY KEY (account_id, adoption_number, xid, event_no)
);
CREATE INDEX IF NOT EXISTS event_order_idx ON billing.event (adoption_number, xid, account_id, event_no);

CREATE TABLE IF NOT EXISTS billing.event_consumer ( -- readers of events, and how far they are
    name text NOT NULL CONSTRAINT event_consumer_key PRIMARY KEY CONSTRAINT event_consumer_name_check CHECK (name <> ''), -- name that read_events() takes
    types text[], -- types that it reads; null: all
    last_adoption_number int NOT NULL, -- last event acknowledged: adoption
    last_xid xid8 NOT NULL, -- last event acknowledged: transaction
    last_account_id bigint NOT NULL, -- last event acknowledged: account
    last_event_no bigint NOT NULL, -- last event acknowledged: its number in the account
    acknowledged_at timestamptz NOT NULL, -- when it last acknowledged, or was created
    entity text CONSTRAINT event_consumer_entity_fkey REFERENCES billing.entity -- seller whose events it reads; null: all
);

CREATE OR REPLACE TRIGGER account_changed AFTER UPDATE ON billing.account
    FOR EACH ROW EXECUTE FUNCTION billing_internal.account_changed();

CREATE TABLE IF NOT EXISTS billing.template ( -- texts of notifications
    entity text NOT NULL CONSTRAINT template_entity_fkey REFERENCES billing.entity, -- seller
    code text NOT NULL CONSTRAINT template_code_check CHECK (code <> ''), -- name that steps and settings use
    channel text NOT NULL CONSTRAINT template_channel_check CHECK (channel IN ('mail', 'sms', 'letter')), -- what it is for
    language text NOT NULL CONSTRAINT template_language_check CHECK (language ~ '^[a-z]{2,3}(-[A-Z]{2})?$'), -- BCP 47 language, as in account.language
    subject text, -- subject with {fields}; null for sms
    body text NOT NULL, -- text with {fields}
    CONSTRAINT template_key PRIMARY KEY (entity, code, channel, language)
);

CREATE TABLE IF NOT EXISTS billing.notification ( -- messages to customers, as rows that a sender claims and acknowledges
    account_id bigint NOT NULL, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    code text NOT NULL, -- template
    channel text NOT NULL CONSTRAINT notification_channel_check CHECK (channel IN ('mail', 'sms', 'letter')), -- mail, sms or letter
    language text NOT NULL, -- language of the text
    recipient jsonb NOT NULL, -- name and email, phone or address
    subject text, -- subject, final
    body text NOT NULL, -- text, final
    invoice_id bigint, -- document it is about
    payment_id bigint, -- payment it is about
    case_id bigint, -- dunning case it is about
    status text NOT NULL DEFAULT 'waiting' CONSTRAINT notification_status_check CHECK (status IN ('waiting', 'claimed', 'sent', 'failed', 'canceled')), -- waiting, claimed by a sender, sent, failed for good, canceled
    created_at timestamptz NOT NULL, -- instant for which it was written
    not_before timestamptz NOT NULL, -- not sent before
    attempts int NOT NULL DEFAULT 0, -- claims so far
    claimed_by text, -- sender that holds it
    lease_until timestamptz, -- free again from then on
    finished_at timestamptz, -- when it was sent, failed or was canceled
    failure text, -- why it failed
    CONSTRAINT notification_key PRIMARY KEY (account_id, id),
    CONSTRAINT notification_id_check CHECK (id >> 24 = account_id)
);
CREATE INDEX IF NOT EXISTS notification_waiting_idx ON billing.notification (not_before, account_id, id) WHERE status IN ('waiting', 'claimed');
