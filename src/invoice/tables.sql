CREATE TABLE IF NOT EXISTS billing.invoice_header ( -- documents: invoices, credit notes and claims
    account_id bigint NOT NULL, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    kind text NOT NULL CONSTRAINT invoice_header_kind_check CHECK (kind IN ('invoice', 'credit_note', 'claim')), -- what the document is; amounts of all are positive
    status text NOT NULL CONSTRAINT invoice_header_status_check CHECK (status IN ('draft', 'open', 'paid', 'void', 'uncollectible')), -- draft, open, paid, void or uncollectible
    entity text NOT NULL, -- seller
    series text NOT NULL, -- series that numbers it; empty where it was made outside
    currency text NOT NULL, -- currency of all its amounts
    tax_scope text NOT NULL, -- taxed, outside, or the one exemption reason
    billing_group text NOT NULL DEFAULT '', -- what of the account is billed together; empty: all
    billed_at timestamptz NOT NULL, -- due instant of its regular charges
    period_start timestamptz, -- union of its lines' service periods: start
    period_end timestamptz, -- union of its lines' service periods: end
    net_total numeric NOT NULL, -- sum without tax
    tax_total numeric NOT NULL, -- sum of its taxes
    total numeric NOT NULL, -- net_total + tax_total
    rounding_amount numeric NOT NULL DEFAULT 0, -- what net and tax of inclusive prices miss
    amount_paid numeric NOT NULL DEFAULT 0, -- money allocated to it; of a credit note: paid out
    amount_credited numeric NOT NULL DEFAULT 0, -- credit allocated to it; of a credit note: allocated from it
    payment_terms_days int NOT NULL, -- days from issue to due date
    credits_invoice_id bigint, -- credit note: the invoice it corrects, where it is one
    reason text, -- credit note: why
    purchase_order text, -- the buyer's order number
    buyer_reference text, -- the buyer's reference
    seller jsonb NOT NULL, -- name, country, address, tax ids of the entity at that time
    buyer jsonb NOT NULL, -- name, country, address, tax ids, email of the account at that time
    metadata jsonb NOT NULL DEFAULT '{}', -- metadata of account and subscriptions at that time
    finalize_after timestamptz, -- draft: takes late usage until then
    claims_invoice_id bigint, -- claim: the invoice for whose delay it is made
    external_number text, -- number of an invoice that was made outside; it has no seal
    external_issued_on date, -- date of issue of an invoice that was made outside
    CONSTRAINT invoice_header_external_check CHECK ((external_number IS NULL) = (external_issued_on IS NULL)),
    CONSTRAINT invoice_header_claims_check CHECK (claims_invoice_id IS NULL OR kind = 'claim'),
    CONSTRAINT invoice_header_key PRIMARY KEY (account_id, id),
    CONSTRAINT invoice_header_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT invoice_header_total_check CHECK (total = net_total + tax_total),
    CONSTRAINT invoice_header_sign_check CHECK (total + rounding_amount >= 0),
    CONSTRAINT invoice_header_settled_check CHECK (amount_paid >= 0 AND amount_credited >= 0 AND amount_paid + amount_credited <= total + rounding_amount),
    CONSTRAINT invoice_header_paid_check CHECK (kind = 'credit_note' OR status <> 'paid' OR amount_paid + amount_credited = total + rounding_amount),
    CONSTRAINT invoice_header_open_check CHECK (kind = 'credit_note' OR status <> 'open' OR amount_paid + amount_credited < total + rounding_amount),
    CONSTRAINT invoice_header_period_check CHECK (period_end >= period_start)
) WITH (fillfactor = 90);
CREATE INDEX IF NOT EXISTS invoice_header_id_idx ON billing.invoice_header (id);
CREATE INDEX IF NOT EXISTS invoice_header_open_idx ON billing.invoice_header (account_id) WHERE status = 'open' AND kind = 'invoice';
CREATE INDEX IF NOT EXISTS invoice_header_credit_idx ON billing.invoice_header (account_id) WHERE status = 'open' AND kind = 'credit_note';
CREATE INDEX IF NOT EXISTS invoice_header_draft_idx ON billing.invoice_header (account_id) WHERE status = 'draft';

CREATE TABLE IF NOT EXISTS billing.invoice_line ( -- lines of documents
    account_id bigint NOT NULL, -- account
    invoice_id bigint NOT NULL, -- document
    line_no int NOT NULL CONSTRAINT invoice_line_line_no_check CHECK (line_no > 0), -- number of the line: 1, 2, 3 ...
    nature text NOT NULL CONSTRAINT invoice_line_nature_check CHECK (nature IN ('charge', 'correction', 'grant', 'external')), -- charge; correction by the engine; grant by a person; external
    subscription_id bigint, -- subscription
    item_id bigint, -- item
    kind text, -- kind of charge; on a claim: interest, fixed_sum, fee or costs
    schedule_version int, -- schedule version of the charge's key
    period_no bigint, -- aligned period of the charge's key
    price text, -- price
    price_version int, -- version of its scheme
    product text, -- product
    description text NOT NULL, -- text for the buyer
    quantity numeric, -- quantity rated; negative on a correction that gives back
    unit_code text, -- unit of the quantity
    unit_amount numeric CONSTRAINT invoice_line_unit_amount_check CHECK (unit_amount >= 0), -- price per base_quantity; null where no single one gives gross_amount
    base_quantity numeric CONSTRAINT invoice_line_base_quantity_check CHECK (base_quantity > 0), -- quantity that unit_amount is for
    brackets jsonb, -- how the scheme's brackets make the amount
    gross_amount numeric NOT NULL, -- before discounts and increments
    discount_amount numeric NOT NULL DEFAULT 0, -- taken off; on a correction: what it takes off more
    increment_amount numeric NOT NULL DEFAULT 0, -- added
    amount numeric NOT NULL, -- gross_amount - discount_amount + increment_amount, with tax where tax_inclusive
    document_discount numeric NOT NULL DEFAULT 0, -- its share of the document's discounts
    net_amount numeric NOT NULL, -- amount without tax and after document discounts: its share of net_total
    tax_inclusive boolean NOT NULL DEFAULT false, -- the amounts but net_amount contain the tax
    tax text, -- tax class
    tax_category text NOT NULL, -- EN 16931 VAT category
    tax_rate numeric NOT NULL, -- percent
    tax_reason text, -- exemption reason
    period_start timestamptz, -- service period: start
    period_end timestamptz, -- service period: end
    corrects_invoice_id bigint, -- document of the line it corrects
    corrects_line_no int, -- the line it corrects
    plan text, -- plan of the subscription at its start
    scheme jsonb, -- scheme of this customer instead of the price's
    CONSTRAINT invoice_line_key PRIMARY KEY (account_id, invoice_id, line_no),
    CONSTRAINT invoice_line_amount_check CHECK (amount = gross_amount - discount_amount + increment_amount),
    CONSTRAINT invoice_line_net_amount_check CHECK (tax_inclusive OR net_amount = amount - document_discount),
    CONSTRAINT invoice_line_period_check CHECK (period_end >= period_start),
    CONSTRAINT invoice_line_corrects_check CHECK ((corrects_invoice_id IS NULL) = (corrects_line_no IS NULL))
);
CREATE INDEX IF NOT EXISTS invoice_line_corrects_idx ON billing.invoice_line (account_id, corrects_invoice_id, corrects_line_no) WHERE corrects_invoice_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS billing.invoice_tax ( -- taxes of documents, one row per category and rate
    account_id bigint NOT NULL, -- account
    invoice_id bigint NOT NULL, -- document
    category text NOT NULL, -- EN 16931 VAT category
    rate numeric NOT NULL, -- percent
    taxable_amount numeric NOT NULL, -- sum of its lines' net_amount
    tax_amount numeric NOT NULL, -- tax on it
    reason text, -- exemption reason
    CONSTRAINT invoice_tax_key PRIMARY KEY (account_id, invoice_id, category, rate)
);

CREATE TABLE IF NOT EXISTS billing.discount_use ( -- what documents took of discounts on whole documents, and brought back
    account_id bigint NOT NULL, -- account
    discount_id bigint NOT NULL, -- discount
    invoice_id bigint NOT NULL, -- document that takes, or brings back
    origin_invoice_id bigint NOT NULL, -- document that took it; of one that takes: itself
    currency text NOT NULL, -- currency of the amount
    amount numeric NOT NULL CONSTRAINT discount_use_amount_check CHECK (amount <> 0), -- taken; negative: brought back with a correction
    CONSTRAINT discount_use_key PRIMARY KEY (account_id, discount_id, invoice_id, origin_invoice_id)
);

CREATE TABLE IF NOT EXISTS billing.seal ( -- numbers of finished documents, chained by hash
    account_id bigint NOT NULL, -- account
    invoice_id bigint NOT NULL, -- document
    series text NOT NULL, -- series
    position bigint NOT NULL CONSTRAINT seal_position_check CHECK (position > 0), -- position in the series' chain, without gaps
    number text NOT NULL, -- number printed on the document
    issued_on date NOT NULL, -- date of issue; never earlier than the one before it
    payload_hash bytea NOT NULL, -- SHA-256 of the document's canonical form
    chain_hash bytea NOT NULL, -- SHA-256 of the previous chain_hash and this seal
    CONSTRAINT seal_key PRIMARY KEY (account_id, invoice_id),
    CONSTRAINT seal_position_key UNIQUE (series, position),
    CONSTRAINT seal_number_key UNIQUE (series, number)
);

CREATE TABLE IF NOT EXISTS billing.credit_allocation ( -- credit notes set off against invoices; rows are only added, a negative one takes back
    account_id bigint NOT NULL, -- account
    credit_note_id bigint NOT NULL, -- credit note
    invoice_id bigint NOT NULL, -- invoice
    amount numeric NOT NULL CONSTRAINT credit_allocation_amount_check CHECK (amount <> 0), -- amount set off
    allocation_no int NOT NULL DEFAULT 1, -- 1, 2, 3 ... of the two documents
    allocated_at timestamptz, -- instant from which it counts; null: the credit note's date of issue
    reason text, -- why it was taken back, or by which rule it was set; null: by a run, against what it corrects
    CONSTRAINT credit_allocation_key PRIMARY KEY (account_id, credit_note_id, invoice_id, allocation_no),
    CONSTRAINT credit_allocation_credit_note_fkey FOREIGN KEY (account_id, credit_note_id) REFERENCES billing.invoice_header,
    CONSTRAINT credit_allocation_invoice_fkey FOREIGN KEY (account_id, invoice_id) REFERENCES billing.invoice_header
);

CREATE OR REPLACE TRIGGER invoice_header_immutable BEFORE UPDATE OR DELETE ON billing.invoice_header
    FOR EACH ROW EXECUTE FUNCTION billing_internal.header_immutable();
CREATE OR REPLACE TRIGGER invoice_line_immutable BEFORE UPDATE OR DELETE ON billing.invoice_line
    FOR EACH ROW EXECUTE FUNCTION billing_internal.part_immutable();
CREATE OR REPLACE TRIGGER invoice_tax_immutable BEFORE UPDATE OR DELETE ON billing.invoice_tax
    FOR EACH ROW EXECUTE FUNCTION billing_internal.part_immutable();
CREATE OR REPLACE TRIGGER charge_immutable BEFORE UPDATE OR DELETE ON billing.charge
    FOR EACH ROW EXECUTE FUNCTION billing_internal.part_immutable();
CREATE OR REPLACE TRIGGER discount_use_immutable BEFORE UPDATE OR DELETE ON billing.discount_use
    FOR EACH ROW EXECUTE FUNCTION billing_internal.part_immutable();
CREATE OR REPLACE TRIGGER seal_immutable BEFORE UPDATE OR DELETE ON billing.seal
    FOR EACH ROW EXECUTE FUNCTION billing_internal.always_immutable();
CREATE OR REPLACE TRIGGER invoice_header_truncate BEFORE TRUNCATE ON billing.invoice_header
    FOR EACH STATEMENT EXECUTE FUNCTION billing_internal.always_immutable();
CREATE OR REPLACE TRIGGER invoice_line_truncate BEFORE TRUNCATE ON billing.invoice_line
    FOR EACH STATEMENT EXECUTE FUNCTION billing_internal.always_immutable();
CREATE OR REPLACE TRIGGER invoice_tax_truncate BEFORE TRUNCATE ON billing.invoice_tax
    FOR EACH STATEMENT EXECUTE FUNCTION billing_internal.always_immutable();
CREATE OR REPLACE TRIGGER charge_truncate BEFORE TRUNCATE ON billing.charge
    FOR EACH STATEMENT EXECUTE FUNCTION billing_internal.always_immutable();
CREATE OR REPLACE TRIGGER discount_use_truncate BEFORE TRUNCATE ON billing.discount_use
    FOR EACH STATEMENT EXECUTE FUNCTION billing_internal.always_immutable();
CREATE OR REPLACE TRIGGER seal_truncate BEFORE TRUNCATE ON billing.seal
    FOR EACH STATEMENT EXECUTE FUNCTION billing_internal.always_immutable();
ALTER TABLE billing.invoice_header ENABLE ALWAYS TRIGGER invoice_header_immutable, ENABLE ALWAYS TRIGGER invoice_header_truncate;
ALTER TABLE billing.invoice_line ENABLE ALWAYS TRIGGER invoice_line_immutable, ENABLE ALWAYS TRIGGER invoice_line_truncate;
ALTER TABLE billing.invoice_tax ENABLE ALWAYS TRIGGER invoice_tax_immutable, ENABLE ALWAYS TRIGGER invoice_tax_truncate;
ALTER TABLE billing.charge ENABLE ALWAYS TRIGGER charge_immutable, ENABLE ALWAYS TRIGGER charge_truncate;
ALTER TABLE billing.discount_use ENABLE ALWAYS TRIGGER discount_use_immutable, ENABLE ALWAYS TRIGGER discount_use_truncate;
ALTER TABLE billing.seal ENABLE ALWAYS TRIGGER seal_immutable, ENABLE ALWAYS TRIGGER seal_truncate;

CREATE OR REPLACE VIEW billing.invoice ( -- documents with number, dates and what is open
    id, -- document
    number, -- number; null for a draft
    account_id, -- account
    kind, -- invoice, credit_note or claim
    status, -- draft, open, paid, void or uncollectible
    issued_on, -- date of issue; null for a draft
    due_on, -- last day for payment; null for a draft and for credit notes
    currency, -- currency of the amounts
    net_total, -- sum without tax
    tax_total, -- sum of the taxes
    total, -- net_total + tax_total
    rounding_amount, -- what net and tax of inclusive prices miss
    amount_paid, -- money allocated; of a credit note: paid out
    amount_credited, -- credit allocated to it, or from it
    amount_due, -- what is still to be paid; of a credit note: negative, what is still to be given
    entity, -- seller
    series, -- series that numbers it
    position, -- position in the series
    period_start, -- service period: start
    period_end, -- service period: end
    billed_at, -- due instant of its regular charges
    credits_invoice_id, -- credit note: the invoice it corrects, where it is one
    reason, -- credit note: why
    purchase_order, -- the buyer's order number
    buyer_reference, -- the buyer's reference
    metadata, -- metadata of account and subscriptions at that time
    claims_invoice_id, -- claim: the invoice for whose delay it is made
    external -- it was made outside and entered: it has no seal
) AS
SELECT h.id, coalesce(s.number, h.external_number), h.account_id, h.kind, h.status, coalesce(s.issued_on, h.external_issued_on),
       CASE WHEN h.kind <> 'credit_note' THEN coalesce(s.issued_on, h.external_issued_on) + h.payment_terms_days END,
       h.currency, h.net_total, h.tax_total, h.total, h.rounding_amount, h.amount_paid, h.amount_credited,
       CASE WHEN h.kind = 'credit_note' THEN h.amount_paid + h.amount_credited - h.total - h.rounding_amount
            WHEN h.status = 'void' THEN h.total - h.total
            ELSE h.total + h.rounding_amount - h.amount_paid - h.amount_credited END,
       h.entity, h.series, s.position, h.period_start, h.period_end, h.billed_at,
       h.credits_invoice_id, h.reason, h.purchase_order, h.buyer_reference, h.metadata, h.claims_invoice_id, h.external_number IS NOT NULL
  FROM billing.invoice_header h LEFT JOIN billing.seal s ON s.account_id = h.account_id AND s.invoice_id = h.id;
