CREATE TABLE IF NOT EXISTS billing.payment_method_type ( -- ways to pay, and what follows from each
    type text NOT NULL CONSTRAINT payment_method_type_key PRIMARY KEY, -- card, direct_debit, transfer ...
    automatic boolean NOT NULL, -- can be collected without the customer
    recurring text NOT NULL CONSTRAINT payment_method_type_recurring_check CHECK (recurring IN ('same', 'direct_debit', 'none')), -- what recurs after a first payment by it: the same, a direct debit on the IBAN received, nothing
    reversible_for interval, -- how long a payment by it can come back; null: never
    name text NOT NULL -- for people
);
INSERT INTO billing.payment_method_type (type, automatic, recurring, reversible_for, name) SELECT * FROM billing_internal.payment_method_types()
    ON CONFLICT (type) DO NOTHING;

CREATE TABLE IF NOT EXISTS billing.payment_method ( -- how accounts pay; tokens only, never a card number
    account_id bigint NOT NULL CONSTRAINT payment_method_account_fkey REFERENCES billing.account, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    type text NOT NULL CONSTRAINT payment_method_type_fkey REFERENCES billing.payment_method_type, -- card, direct_debit, transfer ...
    status text NOT NULL DEFAULT 'active' CONSTRAINT payment_method_status_check CHECK (status IN ('pending', 'active', 'expired', 'dead', 'revoked')), -- pending: not confirmed; dead: the provider says it cannot be used any more; revoked: by the customer
    provider text, -- payment provider that knows the token
    token text, -- the provider's token
    display text, -- for people, such as the last four digits
    iban text CONSTRAINT payment_method_iban_check CHECK (iban ~ '^[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}$'), -- direct debit: account to debit, check digits proved
    expires_on date, -- last day on which it can be used
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep
    created_at timestamptz NOT NULL, -- since when
    CONSTRAINT payment_method_key PRIMARY KEY (account_id, id),
    CONSTRAINT payment_method_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT payment_method_direct_debit_check CHECK (type <> 'direct_debit' OR iban IS NOT NULL OR token IS NOT NULL)
);

CREATE TABLE IF NOT EXISTS billing.mandate ( -- what customers signed so that direct debits may be collected
    account_id bigint NOT NULL, -- account
    payment_method_id bigint NOT NULL, -- direct debit
    reference text NOT NULL, -- mandate reference, unique for the creditor
    signed_on date NOT NULL, -- date of signature
    scheme text NOT NULL DEFAULT 'core' CONSTRAINT mandate_scheme_check CHECK (scheme IN ('core', 'b2b')), -- SEPA scheme
    sequence text NOT NULL DEFAULT 'first' CONSTRAINT mandate_sequence_check CHECK (sequence IN ('first', 'recurring', 'final', 'one_off')), -- sequence type of the next collection
    status text NOT NULL DEFAULT 'active' CONSTRAINT mandate_status_check CHECK (status IN ('active', 'revoked', 'expired')), -- expired: not used for 36 months
    last_used_on date, -- last collection
    CONSTRAINT mandate_key PRIMARY KEY (account_id, payment_method_id),
    CONSTRAINT mandate_payment_method_fkey FOREIGN KEY (account_id, payment_method_id) REFERENCES billing.payment_method
);

CREATE TABLE IF NOT EXISTS billing.payment ( -- money received, and what is forgiven of small differences
    account_id bigint NOT NULL CONSTRAINT payment_account_fkey REFERENCES billing.account, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    kind text NOT NULL DEFAULT 'payment' CONSTRAINT payment_kind_check CHECK (kind IN ('payment', 'write_off')), -- money, or a small difference given up: then only what is allocated of it counts
    currency text NOT NULL, -- currency of the amounts
    amount numeric NOT NULL CONSTRAINT payment_amount_check CHECK (amount > 0), -- amount received
    amount_allocated numeric NOT NULL DEFAULT 0, -- set against invoices
    amount_refunded numeric NOT NULL DEFAULT 0, -- paid back
    amount_charged_back numeric NOT NULL DEFAULT 0, -- taken back by the payer's bank
    received_at timestamptz NOT NULL, -- when it was received
    reversible_until timestamptz, -- it may come back until then; null: final
    method text, -- way of payment
    payment_method_id bigint, -- method of the account it was made with
    provider text, -- payment provider
    reference text, -- the provider's reference, unique with the provider
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep
    CONSTRAINT payment_key PRIMARY KEY (account_id, id),
    CONSTRAINT payment_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT payment_used_check CHECK (amount_allocated >= 0 AND amount_refunded >= 0 AND amount_charged_back >= 0
        AND amount_allocated + amount_refunded + amount_charged_back <= amount)
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS payment_id_idx ON billing.payment (id);
CREATE INDEX IF NOT EXISTS payment_credit_idx ON billing.payment (account_id, received_at) WHERE kind = 'payment' AND amount_allocated + amount_refunded + amount_charged_back < amount;

CREATE TABLE IF NOT EXISTS billing.payment_allocation ( -- payments set against invoices; rows are only added, a negative one takes back
    account_id bigint NOT NULL, -- account
    payment_id bigint NOT NULL, -- payment
    allocation_no int NOT NULL, -- 1, 2, 3 ... of the payment
    invoice_id bigint NOT NULL, -- invoice
    amount numeric NOT NULL CONSTRAINT payment_allocation_amount_check CHECK (amount <> 0), -- amount in the payment's currency
    allocated_at timestamptz NOT NULL, -- instant from which it counts: never before the payment and what was allocated of it, or to the invoice, before
    reason text, -- why it was taken back, or by which rule it was set
    CONSTRAINT payment_allocation_key PRIMARY KEY (account_id, payment_id, allocation_no),
    CONSTRAINT payment_allocation_payment_fkey FOREIGN KEY (account_id, payment_id) REFERENCES billing.payment,
    CONSTRAINT payment_allocation_invoice_fkey FOREIGN KEY (account_id, invoice_id) REFERENCES billing.invoice_header
);
CREATE INDEX IF NOT EXISTS payment_allocation_invoice_idx ON billing.payment_allocation (account_id, invoice_id);

CREATE TABLE IF NOT EXISTS billing.refund ( -- money given back: of a payment, or a credit note paid out; chargebacks are those that the payer's bank takes
    account_id bigint NOT NULL, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    kind text NOT NULL CONSTRAINT refund_kind_check CHECK (kind IN ('refund', 'chargeback')), -- given, or taken by the bank
    payment_id bigint, -- payment it gives back
    credit_note_id bigint, -- credit note it pays out
    currency text NOT NULL, -- currency of the amounts
    amount numeric NOT NULL CONSTRAINT refund_amount_check CHECK (amount > 0), -- amount given back
    fee numeric NOT NULL DEFAULT 0 CONSTRAINT refund_fee_check CHECK (fee >= 0), -- what the bank took for it
    refunded_at timestamptz NOT NULL, -- when
    provider text, -- payment provider
    reference text, -- the provider's reference, unique with the provider
    reason text, -- why
    metadata jsonb NOT NULL DEFAULT '{}', -- anything the caller wants to keep
    CONSTRAINT refund_key PRIMARY KEY (account_id, id),
    CONSTRAINT refund_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT refund_of_check CHECK (num_nonnulls(payment_id, credit_note_id) = 1 AND (kind = 'refund' OR payment_id IS NOT NULL)),
    CONSTRAINT refund_payment_fkey FOREIGN KEY (account_id, payment_id) REFERENCES billing.payment,
    CONSTRAINT refund_credit_note_fkey FOREIGN KEY (account_id, credit_note_id) REFERENCES billing.invoice_header
);

CREATE TABLE IF NOT EXISTS billing.write_off ( -- invoices given up as uncollectible, and what of them came in or was taken back after all
    account_id bigint NOT NULL, -- account
    invoice_id bigint NOT NULL, -- invoice
    write_off_no int NOT NULL, -- 1, 2, 3 ... of the invoice
    currency text NOT NULL, -- currency of the amount
    amount numeric NOT NULL CONSTRAINT write_off_amount_check CHECK (amount <> 0), -- given up; negative: recovered
    written_off_at timestamptz NOT NULL, -- when
    reason text, -- why
    CONSTRAINT write_off_key PRIMARY KEY (account_id, invoice_id, write_off_no),
    CONSTRAINT write_off_invoice_fkey FOREIGN KEY (account_id, invoice_id) REFERENCES billing.invoice_header
);

CREATE TABLE IF NOT EXISTS billing.decline_code ( -- what the providers' codes mean
    provider text NOT NULL, -- payment provider; empty: any
    code text NOT NULL, -- the provider's code
    class text NOT NULL CONSTRAINT decline_code_class_check CHECK (class IN ('temporary', 'data', 'dead', 'refused', 'ours')), -- temporary; wrong data; the method is dead; refused by the customer; our own fault
    meaning text NOT NULL, -- for people
    CONSTRAINT decline_code_key PRIMARY KEY (provider, code)
);
INSERT INTO billing.decline_code (provider, code, class, meaning) SELECT * FROM billing_internal.decline_codes()
    ON CONFLICT (provider, code) DO NOTHING;

CREATE TABLE IF NOT EXISTS billing.retry_policy ( -- how failed collections are tried again
    code text NOT NULL CONSTRAINT retry_policy_key PRIMARY KEY, -- code that entities and steps use
    delays interval[] NOT NULL, -- after the first attempt, one delay per further attempt
    counted_from text NOT NULL DEFAULT 'first' CONSTRAINT retry_policy_counted_from_check CHECK (counted_from IN ('first', 'previous')), -- delays count from the first attempt, or from the one before
    window_length interval, -- rolling window of a limit; null: no limit
    window_attempts int CONSTRAINT retry_policy_window_attempts_check CHECK (window_attempts > 0), -- attempts per method in the window, as card networks limit them
    actions jsonb NOT NULL DEFAULT '{}', -- class of decline -> retry, ask or stop, where it is not the usual
    CONSTRAINT retry_policy_window_check CHECK ((window_length IS NULL) = (window_attempts IS NULL))
);

CREATE TABLE IF NOT EXISTS billing.collection ( -- requests to collect an invoice automatically, which payment workers claim and settle
    account_id bigint NOT NULL, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    invoice_id bigint NOT NULL, -- invoice
    payment_method_id bigint NOT NULL, -- method to collect with
    currency text NOT NULL, -- currency of the amount
    amount numeric NOT NULL CONSTRAINT collection_amount_check CHECK (amount > 0), -- amount to collect, fixed when it is claimed
    status text NOT NULL DEFAULT 'waiting' CONSTRAINT collection_status_check CHECK (status IN ('waiting', 'claimed', 'submitted', 'succeeded', 'failed', 'canceled')), -- waiting for its time or a worker; claimed by one; submitted: the provider decides later; succeeded; failed for good; canceled
    policy text, -- retry policy
    attempts int NOT NULL DEFAULT 0, -- attempts so far
    next_attempt_at timestamptz, -- not claimed before; null: no more
    first_attempt_at timestamptz, -- when it was first tried
    claimed_by text, -- worker that holds it
    lease_until timestamptz, -- free again from then on
    requested_at timestamptz NOT NULL, -- instant for which it was made
    settled_at timestamptz, -- when it succeeded, failed or was canceled
    payment_id bigint, -- payment that came of it
    failure text, -- why it failed for good or was canceled; of one that was submitted: it was canceled before
    CONSTRAINT collection_key PRIMARY KEY (account_id, id),
    CONSTRAINT collection_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT collection_invoice_fkey FOREIGN KEY (account_id, invoice_id) REFERENCES billing.invoice_header,
    CONSTRAINT collection_payment_method_fkey FOREIGN KEY (account_id, payment_method_id) REFERENCES billing.payment_method
);
CREATE UNIQUE INDEX IF NOT EXISTS collection_open_idx ON billing.collection (account_id, invoice_id) WHERE status IN ('waiting', 'claimed', 'submitted');
CREATE INDEX IF NOT EXISTS collection_waiting_idx ON billing.collection (next_attempt_at, account_id, id) WHERE status IN ('waiting', 'claimed');

CREATE TABLE IF NOT EXISTS billing.collection_attempt ( -- each try of a collection
    account_id bigint NOT NULL, -- account
    collection_id bigint NOT NULL, -- collection
    attempt_no int NOT NULL, -- 1, 2, 3 ...
    payment_method_id bigint NOT NULL, -- method tried
    currency text NOT NULL, -- currency of the amount
    amount numeric NOT NULL, -- amount that the worker was told to collect
    claimed_at timestamptz NOT NULL, -- when a worker took it
    outcome text CONSTRAINT collection_attempt_outcome_check CHECK (outcome IN ('succeeded', 'declined', 'submitted', 'lost')), -- null: not settled; lost: its lease ran out
    code text, -- the provider's code
    class text, -- class of the decline
    reference text, -- the provider's reference
    settled_at timestamptz, -- when its outcome became known
    CONSTRAINT collection_attempt_key PRIMARY KEY (account_id, collection_id, attempt_no),
    CONSTRAINT collection_attempt_collection_fkey FOREIGN KEY (account_id, collection_id) REFERENCES billing.collection
);
