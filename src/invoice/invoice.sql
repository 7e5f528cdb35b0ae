-- Documents.

CREATE FUNCTION billing_internal.header_immutable() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_header_immutable';
COMMENT ON FUNCTION billing_internal.header_immutable() IS 'keeps finished documents; only status and settled amounts move';

CREATE FUNCTION billing_internal.part_immutable() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_part_immutable';
COMMENT ON FUNCTION billing_internal.part_immutable() IS 'keeps lines, taxes and charges of finished documents';

CREATE FUNCTION billing_internal.always_immutable() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'billing_always_immutable';
COMMENT ON FUNCTION billing_internal.always_immutable() IS 'refuses every change';
