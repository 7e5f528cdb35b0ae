-- Exact arithmetic and calendar (amount.c, calendar.c, currency.c).  They depend on their
-- arguments and, like the server's own timezone(text, timestamptz), on the time zone data.

CREATE FUNCTION billing.round_amount(amount numeric, currency text) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_round_amount';
COMMENT ON FUNCTION billing.round_amount(numeric, text) IS
    'the amount in the minor units of the currency, rounded half away from zero';

CREATE FUNCTION billing.nth_period(anchor timestamptz, every interval, n int, time_zone text,
                                   billing_day int DEFAULT NULL) RETURNS tstzrange
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_nth_period';
COMMENT ON FUNCTION billing.nth_period(timestamptz, interval, int, text, int) IS
    'billing period n, computed from the anchor, which is the start of period 0; n may be negative. With a billing day, an anchor that is not its local midnight is first moved to the latest one not after it';

CREATE FUNCTION billing_internal.period_at(anchor timestamptz, every interval, time_zone text,
                                           billing_day int, at timestamptz) RETURNS int
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_period_at';
COMMENT ON FUNCTION billing_internal.period_at(timestamptz, interval, text, int, timestamptz) IS
    'number of the period in which a moment lies; billing_day may be null';

CREATE FUNCTION billing_internal.schedule_anchor(start_at timestamptz, time_zone text, billing_day int)
    RETURNS timestamptz
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_schedule_anchor';
COMMENT ON FUNCTION billing_internal.schedule_anchor(timestamptz, text, int) IS
    'latest local midnight of the billing day, clamped to its month, that is not after the start';

CREATE FUNCTION billing_internal.proration_length(basis text, from_at timestamptz, until_at timestamptz,
                                                  time_zone text) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_proration_length';
COMMENT ON FUNCTION billing_internal.proration_length(text, timestamptz, timestamptz, text) IS
    'length of a part of a period by basis: day (local days), second (in microseconds) or 30/360 (days of months of 30 days)';

CREATE FUNCTION billing_internal.prorate(level numeric, length bigint, full_length bigint, currency text)
    RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_prorate';
COMMENT ON FUNCTION billing_internal.prorate(numeric, bigint, bigint, text) IS
    'level × length / full_length, exact, rounded once to the currency';

CREATE FUNCTION billing_internal.split_amount(total numeric, weights numeric[], currency text)
    RETURNS numeric[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_split_amount';
COMMENT ON FUNCTION billing_internal.split_amount(numeric, numeric[], text) IS
    'the total split in proportion to weights, which are amounts of the currency, by largest remainder, ties to the earlier; where they sum to zero the first takes all';

CREATE FUNCTION billing_internal.currencies(OUT code text, OUT numeric_code text, OUT minor_units int,
                                            OUT name text) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 165 AS 'MODULE_PATHNAME', 'billing_currencies';
COMMENT ON FUNCTION billing_internal.currencies() IS
    'the currencies of ISO 4217 that have minor units, which excludes precious metals and test codes';

CREATE FUNCTION billing_internal.check_currency(currency text) RETURNS void
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_check_currency';
COMMENT ON FUNCTION billing_internal.check_currency(text) IS 'raises unknown_currency';

CREATE FUNCTION billing_internal.check_time_zone(time_zone text) RETURNS void
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_check_time_zone';
COMMENT ON FUNCTION billing_internal.check_time_zone(text) IS
    'raises invalid_time_zone unless the name is one of the time zone data';

CREATE FUNCTION billing_internal.check_interval(every interval) RETURNS void
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_check_interval';
COMMENT ON FUNCTION billing_internal.check_interval(interval) IS
    'raises invalid_interval unless it is a positive number of whole months or whole days';

CREATE FUNCTION billing_internal.check_instant(at timestamptz, what text) RETURNS void
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_check_instant';
COMMENT ON FUNCTION billing_internal.check_instant(timestamptz, text) IS
    'raises datetime_field_overflow, naming what, unless the moment is finite and before the year 10000';

-- Errors (errors.h).

CREATE FUNCTION billing_internal.error_codes(OUT code text, OUT name text, OUT meaning text,
                                             OUT action text) RETURNS SETOF record
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE ROWS 50 AS 'MODULE_PATHNAME', 'billing_error_codes';
COMMENT ON FUNCTION billing_internal.error_codes() IS 'the SQLSTATEs of class LB';

CREATE FUNCTION billing_internal.fail(name text, message text, detail text DEFAULT NULL,
                                      hint text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL SAFE AS 'MODULE_PATHNAME', 'billing_fail';
COMMENT ON FUNCTION billing_internal.fail(text, text, text, text) IS
    'raises the error with this condition name';
