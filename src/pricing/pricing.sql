CREATE FUNCTION billing.charge(scheme jsonb, quantity numeric) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'billing_charge';
COMMENT ON FUNCTION billing.charge(jsonb, numeric) IS
    'exact, unrounded charge of a quantity under a price scheme';

CREATE FUNCTION billing.explain_charge(scheme jsonb, quantity numeric,
        OUT tier int, OUT from_quantity numeric, OUT to_quantity numeric, OUT quantity numeric,
        OUT unit_amount numeric, OUT flat_amount numeric, OUT amount numeric) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 5
    AS 'MODULE_PATHNAME', 'billing_explain_charge';
COMMENT ON FUNCTION billing.explain_charge(jsonb, numeric) IS
    'brackets behind a charge; they sum to it, a minimum or maximum being a row without tier';

CREATE FUNCTION billing_internal.check_scheme(scheme jsonb) RETURNS boolean
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'billing_check_scheme';
COMMENT ON FUNCTION billing_internal.check_scheme(jsonb) IS
    'true for a well-formed price scheme, else invalid_scheme with the key at fault';

CREATE FUNCTION billing_internal.charge_transactions(scheme jsonb, amounts numeric[]) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'billing_charge_transactions';
COMMENT ON FUNCTION billing_internal.charge_transactions(jsonb, numeric[]) IS
    'exact charge of a period''s transactions, in order, under a scheme of model percentage';

CREATE FUNCTION billing_internal.charge_rate(scheme jsonb, quantity numeric,
        OUT unit_amount numeric, OUT base_quantity numeric) RETURNS record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'billing_charge_rate';
COMMENT ON FUNCTION billing_internal.charge_rate(jsonb, numeric) IS
    'the one rate that makes charge = quantity x unit_amount / base_quantity, or null';
