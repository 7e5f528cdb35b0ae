CREATE TABLE IF NOT EXISTS billing.book ( -- the identity of these books: one row
    singleton boolean NOT NULL DEFAULT true CONSTRAINT book_key PRIMARY KEY CONSTRAINT book_is_one_row CHECK (singleton), -- always true
    version text NOT NULL, -- version of the engine that the tables fit
    system_identifier bigint NOT NULL, -- cluster in which the books may bill
    database_oid bigint NOT NULL, -- database in which the books may bill
    adoption_number int NOT NULL DEFAULT 1 CONSTRAINT book_adoption_number_check CHECK (adoption_number > 0), -- raised by every adopt_books()
    adopted_at timestamptz NOT NULL, -- when the books were made or last adopted
    event_adoption_number int NOT NULL DEFAULT 1 CONSTRAINT book_event_adoption_number_check CHECK (event_adoption_number > 0), -- adoption under which events are written here; those of older ones came from elsewhere
    event_system_identifier bigint NOT NULL, -- cluster in which they are written
    event_database_oid bigint NOT NULL -- database in which they are written
);

CREATE TABLE IF NOT EXISTS billing.access ( -- what billing.grant_access() granted
    role_name text NOT NULL, -- role that may act; its members may too
    kind text NOT NULL CONSTRAINT access_kind_check CHECK (kind IN ('administrator', 'operator', 'application', 'reader')), -- each includes those after it
    entity text NOT NULL DEFAULT '', -- entity to which the right is limited; empty: all
    CONSTRAINT access_key PRIMARY KEY (role_name, kind, entity)
);

CREATE OR REPLACE VIEW billing.own_access ( -- access that the current user has, of his own or as a member of a role
    role_name, -- role that has it
    kind, -- administrator, operator, application or reader
    entity -- entity to which it is limited; empty: all
) WITH (security_barrier) AS
SELECT a.role_name, a.kind, a.entity
  FROM billing.access a JOIN pg_catalog.pg_roles r ON r.rolname = a.role_name
 WHERE pg_catalog.pg_has_role(r.oid, 'USAGE');

CREATE TABLE IF NOT EXISTS billing.error_code ( -- the SQLSTATEs of class LB
    code text NOT NULL CONSTRAINT error_code_key PRIMARY KEY, -- SQLSTATE
    name text NOT NULL CONSTRAINT error_code_name_key UNIQUE, -- condition name
    meaning text NOT NULL, -- what happened
    action text NOT NULL -- what the caller should do
);
INSERT INTO billing.error_code SELECT * FROM billing_internal.error_codes()
    ON CONFLICT (code) DO UPDATE SET name = excluded.name, meaning = excluded.meaning, action = excluded.action;
