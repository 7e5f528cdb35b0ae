CREATE TABLE IF NOT EXISTS billing.usage_event ( -- measured use
    account_id bigint NOT NULL, -- account
    event_key text NOT NULL CONSTRAINT usage_event_event_key_check CHECK (event_key <> ''), -- the caller's key: the same event is stored once
    subscription_id bigint NOT NULL, -- subscription that uses
    meter text NOT NULL CONSTRAINT usage_event_meter_fkey REFERENCES billing.meter, -- meter: what was used
    at timestamptz NOT NULL CONSTRAINT usage_event_at_check CHECK (at < '10000-01-01 00:00+00' AND at > '-infinity'), -- moment of use
    quantity numeric NOT NULL CONSTRAINT usage_event_quantity_check CHECK (quantity >= 0 AND quantity < 'Infinity'), -- how much was used
    properties jsonb, -- anything the caller wants to keep
    CONSTRAINT usage_event_key PRIMARY KEY (account_id, event_key)
);
CREATE INDEX IF NOT EXISTS usage_event_at_idx ON billing.usage_event (account_id, subscription_id, meter, at);
CREATE OR REPLACE TRIGGER usage_event_arrived AFTER INSERT ON billing.usage_event
    REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION billing_internal.usage_event_arrived();
