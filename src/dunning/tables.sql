CREATE TABLE IF NOT EXISTS billing.interest_rate ( -- statutory interest on arrears
    code text NOT NULL CONSTRAINT interest_rate_code_check CHECK (code <> ''), -- code that schemes use
    valid_from date NOT NULL, -- first day; the rate holds until the next row's
    rate numeric NOT NULL CONSTRAINT interest_rate_rate_check CHECK (rate >= 0 AND rate <= 1000), -- percent a year, by days of 365
    CONSTRAINT interest_rate_key PRIMARY KEY (code, valid_from)
);

CREATE TABLE IF NOT EXISTS billing.dunning_scheme ( -- schedules of reminders; cases keep the version with which they began
    code text NOT NULL CONSTRAINT dunning_scheme_code_check CHECK (code <> ''), -- code that entities, accounts and subscriptions name
    version int NOT NULL CONSTRAINT dunning_scheme_version_check CHECK (version > 0), -- 1, 2, 3 ...
    name text NOT NULL, -- for people
    scope text NOT NULL DEFAULT 'invoice' CONSTRAINT dunning_scheme_scope_check CHECK (scope IN ('invoice', 'account')), -- a case for each invoice, or one for the account
    currency text, -- currency of threshold and fixed_sum; null: any, and they are null too
    threshold numeric CONSTRAINT dunning_scheme_threshold_check CHECK (threshold >= 0), -- nothing is done while less is overdue
    interest text, -- interest_rate that runs from the day after the due date; null: none
    fixed_sum numeric CONSTRAINT dunning_scheme_fixed_sum_check CHECK (fixed_sum > 0), -- lump sum for the costs of recovery, once per invoice
    claim_tax text, -- tax class of interest, fixed sum and fees
    retry_policy text, -- how collections are tried again
    step_cap int CONSTRAINT dunning_scheme_step_cap_check CHECK (step_cap > 0), -- steps per invoice over all rounds; null: no cap
    rounds_restart boolean NOT NULL DEFAULT false, -- step cap and fees begin anew with each round
    final_invoice text NOT NULL DEFAULT 'keep' CONSTRAINT dunning_scheme_final_invoice_check CHECK (final_invoice IN ('keep', 'write_off')), -- what becomes of the invoice after the last step
    created_at timestamptz NOT NULL, -- cases that open from then on have it
    CONSTRAINT dunning_scheme_key PRIMARY KEY (code, version),
    CONSTRAINT dunning_scheme_currency_check CHECK (currency IS NOT NULL OR num_nonnulls(threshold, fixed_sum) = 0)
);

CREATE TABLE IF NOT EXISTS billing.dunning_step ( -- steps of a scheme, in order
    scheme text NOT NULL, -- scheme
    version int NOT NULL, -- version of the scheme
    step_no int NOT NULL CONSTRAINT dunning_step_step_no_check CHECK (step_no > 0), -- 1, 2, 3 ...
    after interval NOT NULL, -- how long after the due date or the step before; negative, from the due date only: before it
    counted_from text NOT NULL DEFAULT 'due' CONSTRAINT dunning_step_counted_from_check CHECK (counted_from IN ('due', 'previous')), -- the due date, or the step before
    weekdays int[] NOT NULL DEFAULT '{1,2,3,4,5,6,7}', -- ISO days of the week on which it is done, in the debtor's zone; else on the next
    not_before time NOT NULL DEFAULT '00:00', -- earliest time of the day, in the debtor's zone
    not_after time NOT NULL DEFAULT '24:00', -- latest time of the day, in the debtor's zone
    actions text[] NOT NULL CONSTRAINT dunning_step_actions_check CHECK (cardinality(actions) > 0 AND actions <@ '{remind,retry_collection,fee,interest,suspend,stop,cancel,agency,write_off,event}'), -- what it does, in this order
    channels text[] NOT NULL DEFAULT '{mail}' CONSTRAINT dunning_step_channels_check CHECK (channels <@ '{mail,sms,letter}'), -- channels of the reminder: the first for which the customer has an address
    template text, -- template of the reminder
    fee numeric CONSTRAINT dunning_step_fee_check CHECK (fee > 0), -- costs charged by it, in the scheme's currency
    minimum_due numeric CONSTRAINT dunning_step_minimum_due_check CHECK (minimum_due >= 0), -- passed over while less is open
    agency text, -- agency to which it hands over
    CONSTRAINT dunning_step_key PRIMARY KEY (scheme, version, step_no),
    CONSTRAINT dunning_step_scheme_fkey FOREIGN KEY (scheme, version) REFERENCES billing.dunning_scheme,
    CONSTRAINT dunning_step_after_check CHECK (after >= '0' OR counted_from = 'due'),
    CONSTRAINT dunning_step_time_check CHECK (not_before < not_after),
    CONSTRAINT dunning_step_remind_check CHECK (('remind' = ANY (actions)) = (template IS NOT NULL)),
    CONSTRAINT dunning_step_fee_action_check CHECK (('fee' = ANY (actions)) = (fee IS NOT NULL)),
    CONSTRAINT dunning_step_agency_check CHECK (('agency' = ANY (actions)) = (agency IS NOT NULL))
);

CREATE TABLE IF NOT EXISTS billing.dunning_case ( -- the pursuit of an invoice, or of all that an account owes
    account_id bigint NOT NULL CONSTRAINT dunning_case_account_fkey REFERENCES billing.account, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    invoice_id bigint, -- invoice; null: all of the account
    scheme text NOT NULL, -- scheme
    version int NOT NULL, -- version of the scheme with which it opened
    round int NOT NULL DEFAULT 1, -- 1, and one more each time it reopened
    state text NOT NULL DEFAULT 'not_started' CONSTRAINT dunning_case_state_check CHECK (state IN ('not_started', 'running', 'paused', 'at_agency', 'exhausted', 'stopped', 'succeeded', 'written_off')), -- not started, running, paused, at agency, exhausted (all steps done), stopped (by a person), succeeded (paid), written off
    step_no int NOT NULL DEFAULT 0, -- last step done in this round
    next_step_at timestamptz, -- when the run looks at it next: the next step is due, or a pause ends; null: never
    stepped_at timestamptz, -- when the last was done, in whatever round
    base_on date NOT NULL, -- offsets of its steps count from it: the due date, or the day it reopened
    resume_state text, -- paused: state to go back to
    pause_reason text CONSTRAINT dunning_case_pause_reason_check CHECK (pause_reason IN ('dispute', 'promise', 'arrangement', 'data_error', 'direct_debit')), -- paused: why
    paused_until timestamptz, -- paused: until then; null: until it is resumed
    opened_at timestamptz NOT NULL, -- when its first round began
    changed_at timestamptz NOT NULL, -- when its state last changed
    CONSTRAINT dunning_case_key PRIMARY KEY (account_id, id),
    CONSTRAINT dunning_case_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT dunning_case_invoice_key UNIQUE (account_id, invoice_id),
    CONSTRAINT dunning_case_scheme_fkey FOREIGN KEY (scheme, version) REFERENCES billing.dunning_scheme,
    CONSTRAINT dunning_case_pause_check CHECK ((state = 'paused') = (pause_reason IS NOT NULL) AND (state = 'paused') = (resume_state IS NOT NULL))
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX IF NOT EXISTS dunning_case_account_idx ON billing.dunning_case (account_id) WHERE invoice_id IS NULL;
-- Its columns change with the state only, so steps stay heap-only updates.
CREATE INDEX IF NOT EXISTS dunning_case_active_idx ON billing.dunning_case (account_id) WHERE state IN ('not_started', 'running', 'paused');

CREATE TABLE IF NOT EXISTS billing.dunning_case_change ( -- how cases went from state to state
    account_id bigint NOT NULL, -- account
    case_id bigint NOT NULL, -- case
    change_no int NOT NULL, -- 1, 2, 3 ... of the case
    changed_at timestamptz NOT NULL, -- when
    from_state text, -- state before; null: it opened
    to_state text NOT NULL, -- state after
    round int NOT NULL, -- round after
    actor text NOT NULL, -- role that did it
    reason text, -- why
    until timestamptz, -- a pause: until when
    CONSTRAINT dunning_case_change_key PRIMARY KEY (account_id, case_id, change_no),
    CONSTRAINT dunning_case_change_case_fkey FOREIGN KEY (account_id, case_id) REFERENCES billing.dunning_case
);

CREATE TABLE IF NOT EXISTS billing.dunning_action ( -- steps done: one per case, round and step
    account_id bigint NOT NULL, -- account
    case_id bigint NOT NULL, -- case
    round int NOT NULL, -- round
    step_no int NOT NULL, -- step
    due_at timestamptz NOT NULL, -- when it was due
    done_at timestamptz NOT NULL, -- instant for which it was done
    currency text NOT NULL, -- currency of the amount
    amount_due numeric NOT NULL, -- what was open then
    fee numeric NOT NULL DEFAULT 0, -- costs that it charged
    interest numeric NOT NULL DEFAULT 0, -- interest that it charged
    fixed_sum numeric NOT NULL DEFAULT 0, -- lump sum that it charged
    done text[] NOT NULL, -- what it did
    passed_over text, -- why it did nothing, or less than the scheme says
    notification_id bigint, -- reminder
    claim_id bigint, -- claim document with fees and interest
    collection_id bigint, -- collection it asked for
    CONSTRAINT dunning_action_key PRIMARY KEY (account_id, case_id, round, step_no),
    CONSTRAINT dunning_action_case_fkey FOREIGN KEY (account_id, case_id) REFERENCES billing.dunning_case
);

CREATE TABLE IF NOT EXISTS billing.promise ( -- promises to pay
    account_id bigint NOT NULL, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    case_id bigint NOT NULL, -- case that it pauses
    currency text NOT NULL, -- currency of the amount
    amount numeric NOT NULL CONSTRAINT promise_amount_check CHECK (amount > 0), -- promised amount
    promised_on date NOT NULL, -- last day, in the debtor's zone
    state text NOT NULL DEFAULT 'open' CONSTRAINT promise_state_check CHECK (state IN ('open', 'kept', 'broken', 'canceled')), -- open, kept, broken the day after, canceled
    made_at timestamptz NOT NULL, -- when it was made
    ended_at timestamptz, -- when it was kept, broken or canceled
    note text, -- who promised, and what else was said
    amount_due numeric NOT NULL, -- what was open when it was made
    CONSTRAINT promise_key PRIMARY KEY (account_id, id),
    CONSTRAINT promise_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT promise_case_fkey FOREIGN KEY (account_id, case_id) REFERENCES billing.dunning_case
);
CREATE UNIQUE INDEX IF NOT EXISTS promise_open_idx ON billing.promise (account_id, case_id) WHERE state = 'open';

CREATE TABLE IF NOT EXISTS billing.arrangement ( -- agreements to pay overdue invoices in parts
    account_id bigint NOT NULL CONSTRAINT arrangement_account_fkey REFERENCES billing.account, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    currency text NOT NULL, -- currency of the amounts
    total numeric NOT NULL CONSTRAINT arrangement_total_check CHECK (total > 0), -- sum of its instalments
    costs numeric NOT NULL DEFAULT 0 CONSTRAINT arrangement_costs_check CHECK (costs >= 0), -- costs in it, charged as a claim
    claim_id bigint, -- claim document with the costs
    state text NOT NULL DEFAULT 'active' CONSTRAINT arrangement_state_check CHECK (state IN ('active', 'completed', 'broken', 'terminated')), -- active; completed: all is paid; broken: an instalment was missed; terminated by a person
    made_at timestamptz NOT NULL, -- when it was made
    ended_at timestamptz, -- when it was completed, broken or terminated
    reason text, -- why it ended
    next_check_at timestamptz, -- when the run looks at it next: the day after a part is due; null: it has ended
    CONSTRAINT arrangement_key PRIMARY KEY (account_id, id),
    CONSTRAINT arrangement_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT arrangement_check_check CHECK ((state = 'active') = (next_check_at IS NOT NULL))
);
CREATE INDEX IF NOT EXISTS arrangement_active_idx ON billing.arrangement (account_id) WHERE state = 'active';

CREATE TABLE IF NOT EXISTS billing.arrangement_invoice ( -- what an arrangement is about
    account_id bigint NOT NULL, -- account
    arrangement_id bigint NOT NULL, -- arrangement
    invoice_id bigint NOT NULL, -- invoice
    CONSTRAINT arrangement_invoice_key PRIMARY KEY (account_id, arrangement_id, invoice_id),
    CONSTRAINT arrangement_invoice_arrangement_fkey FOREIGN KEY (account_id, arrangement_id) REFERENCES billing.arrangement
);

CREATE TABLE IF NOT EXISTS billing.arrangement_instalment ( -- parts of an arrangement
    account_id bigint NOT NULL, -- account
    arrangement_id bigint NOT NULL, -- arrangement
    instalment_no int NOT NULL, -- 0: the initial amount; 1, 2, 3 ...
    due_on date NOT NULL, -- last day, in the debtor's zone
    currency text NOT NULL, -- currency of the amount
    amount numeric NOT NULL CONSTRAINT arrangement_instalment_amount_check CHECK (amount > 0), -- amount
    CONSTRAINT arrangement_instalment_key PRIMARY KEY (account_id, arrangement_id, instalment_no),
    CONSTRAINT arrangement_instalment_arrangement_fkey FOREIGN KEY (account_id, arrangement_id) REFERENCES billing.arrangement
);

CREATE TABLE IF NOT EXISTS billing.agency_transfer ( -- cases handed over to a collection agency
    account_id bigint NOT NULL, -- account
    id bigint NOT NULL, -- account_id << 24 | ordinal
    case_id bigint NOT NULL, -- case
    agency text NOT NULL, -- agency
    currency text NOT NULL, -- currency of the amounts
    amount numeric NOT NULL, -- amount handed over, with claims for its delay
    amount_recovered numeric NOT NULL DEFAULT 0, -- what the agency reported as paid
    state text NOT NULL DEFAULT 'pending' CONSTRAINT agency_transfer_state_check CHECK (state IN ('pending', 'transferred', 'accepted', 'paid', 'paid_in_part', 'pending_recall', 'recalled', 'recall_failed', 'refused')), -- pending: the agency does not know yet; transferred; accepted; paid; paid in part and closed; pending recall; recalled; recall failed; refused
    created_at timestamptz NOT NULL, -- when it was handed over
    changed_at timestamptz NOT NULL, -- last report
    reference text, -- the agency's file
    report jsonb NOT NULL DEFAULT '{}', -- last report of the agency
    recall_reason text, -- why it was recalled
    CONSTRAINT agency_transfer_key PRIMARY KEY (account_id, id),
    CONSTRAINT agency_transfer_id_check CHECK (id >> 24 = account_id),
    CONSTRAINT agency_transfer_case_fkey FOREIGN KEY (account_id, case_id) REFERENCES billing.dunning_case
);
CREATE UNIQUE INDEX IF NOT EXISTS agency_transfer_open_idx ON billing.agency_transfer (account_id, case_id) WHERE state IN ('pending', 'transferred', 'accepted', 'pending_recall', 'recall_failed');
