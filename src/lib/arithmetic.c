/*
 * arithmetic.c
 *		SQL faces of amount.c and calendar.c.
 *
 * Functions that plpgsql bodies rely on are not STRICT: a null there would pass
 * a check in silence.
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rangetypes.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "lib/amount.h"
#include "lib/argument.h"
#include "lib/calendar.h"
#include "lib/currency.h"
#include "lib/errors.h"
#include "lib/num.h"

PG_FUNCTION_INFO_V1(billing_round_amount);
PG_FUNCTION_INFO_V1(billing_prorate);
PG_FUNCTION_INFO_V1(billing_split_amount);
PG_FUNCTION_INFO_V1(billing_nth_period);
PG_FUNCTION_INFO_V1(billing_period_at);
PG_FUNCTION_INFO_V1(billing_schedule_anchor);
PG_FUNCTION_INFO_V1(billing_proration_length);
PG_FUNCTION_INFO_V1(billing_check_time_zone);
PG_FUNCTION_INFO_V1(billing_check_interval);
PG_FUNCTION_INFO_V1(billing_check_instant);

/* Text argument as a C string. */
static char *
argument_text(FunctionCallInfo fcinfo, int position)
{
	return text_to_cstring(PG_GETARG_TEXT_PP(position));
}

/* billing.round_amount(amount, currency) */
Datum
billing_round_amount(PG_FUNCTION_ARGS)
{
	int			minor_units = currency_minor_units(argument_text(fcinfo, 1));

	PG_RETURN_NUMERIC(amount_numeric(amount_round(PG_GETARG_NUMERIC(0), minor_units), minor_units));
}

/* billing_internal.prorate(level, length, full_length, currency) */
Datum
billing_prorate(PG_FUNCTION_ARGS)
{
	int64		full = PG_GETARG_INT64(2);
	int			minor_units = currency_minor_units(argument_text(fcinfo, 3));
	int64		share;

	if (full <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("full length of a period must be positive")));
	share = amount_prorate(PG_GETARG_NUMERIC(0), PG_GETARG_INT64(1), full, minor_units);
	PG_RETURN_NUMERIC(amount_numeric(share, minor_units));
}

/* billing_internal.split_amount(total, weights, currency); weights are amounts of the currency. */
Datum
billing_split_amount(PG_FUNCTION_ARGS)
{
	int			minor_units = currency_minor_units(argument_text(fcinfo, 2));
	int64		total = amount_round(PG_GETARG_NUMERIC(0), minor_units);
	Datum	   *elements;
	bool	   *nulls;
	int			count;
	int64	   *weights;
	int64	   *parts;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), NUMERICOID, -1, false, TYPALIGN_INT, &elements,
					  &nulls, &count);
	if (count == 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("an amount cannot be split without weights")));
	weights = palloc(sizeof(int64) * count);
	parts = palloc(sizeof(int64) * count);
	for (int i = 0; i < count; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("weights must not contain null")));
		weights[i] = amount_round(DatumGetNumeric(elements[i]), minor_units);
	}
	amount_split(total, weights, count, parts);
	for (int i = 0; i < count; i++)
		elements[i] = NumericGetDatum(amount_numeric(parts[i], minor_units));
	PG_RETURN_ARRAYTYPE_P(construct_array(elements, count, NUMERICOID, -1, false, TYPALIGN_INT));
}

/* Schedule of anchor and every, the first two arguments, and zone and billing day at zone. */
static void
argument_schedule(FunctionCallInfo fcinfo, int zone, Schedule *schedule)
{
	int			billing_day = 0;

	argument_not_null(fcinfo, 0, "anchor");
	argument_not_null(fcinfo, 1, "every");
	argument_not_null(fcinfo, zone, "time_zone");
	if (!PG_ARGISNULL(zone + 1))
	{
		billing_day = PG_GETARG_INT32(zone + 1);
		check_billing_day(billing_day);
	}
	schedule_init(schedule, PG_GETARG_TIMESTAMPTZ(0), PG_GETARG_INTERVAL_P(1),
				  argument_text(fcinfo, zone), billing_day);
}

/* billing.nth_period(anchor, every, n, time_zone, billing_day) */
Datum
billing_nth_period(PG_FUNCTION_ARGS)
{
	RangeBound	lower = {.inclusive = true, .lower = true};
	RangeBound	upper = {.inclusive = false, .lower = false};
	Schedule	schedule;
	int64		n;

	argument_not_null(fcinfo, 2, "n");
	argument_schedule(fcinfo, 3, &schedule);
	n = PG_GETARG_INT32(2);
	lower.val = TimestampTzGetDatum(schedule_start(&schedule, n));
	upper.val = TimestampTzGetDatum(schedule_start(&schedule, n + 1));
	PG_RETURN_RANGE_P(make_range(range_get_typcache(fcinfo, TSTZRANGEOID), &lower, &upper, false,
								 NULL));
}

/* billing_internal.period_at(anchor, every, time_zone, billing_day, at) */
Datum
billing_period_at(PG_FUNCTION_ARGS)
{
	Schedule	schedule;

	argument_not_null(fcinfo, 4, "at");
	argument_schedule(fcinfo, 2, &schedule);
	PG_RETURN_INT32((int32) schedule_period_at(&schedule, PG_GETARG_TIMESTAMPTZ(4)));
}

/* billing_internal.schedule_anchor(start_at, time_zone, billing_day) */
Datum
billing_schedule_anchor(PG_FUNCTION_ARGS)
{
	argument_not_null(fcinfo, 0, "start_at");
	argument_not_null(fcinfo, 1, "time_zone");
	argument_not_null(fcinfo, 2, "billing_day");
	PG_RETURN_TIMESTAMPTZ(schedule_anchor(PG_GETARG_TIMESTAMPTZ(0), argument_text(fcinfo, 1),
										  PG_GETARG_INT32(2)));
}

/* billing_internal.proration_length(basis, from_at, until_at, time_zone) */
Datum
billing_proration_length(PG_FUNCTION_ARGS)
{
	ProrationBasis basis = proration_basis(argument_text(fcinfo, 0));
	pg_tz	   *tz = time_zone_lookup(argument_text(fcinfo, 3));

	PG_RETURN_INT64(proration_length(basis, PG_GETARG_TIMESTAMPTZ(1), PG_GETARG_TIMESTAMPTZ(2),
									 tz));
}

/* billing_internal.check_time_zone(time_zone) */
Datum
billing_check_time_zone(PG_FUNCTION_ARGS)
{
	argument_not_null(fcinfo, 0, "time_zone");
	(void) time_zone_lookup(argument_text(fcinfo, 0));
	PG_RETURN_VOID();
}

/* billing_internal.check_interval(every) */
Datum
billing_check_interval(PG_FUNCTION_ARGS)
{
	argument_not_null(fcinfo, 0, "every");
	check_interval(PG_GETARG_INTERVAL_P(0));
	PG_RETURN_VOID();
}

/* billing_internal.check_instant(at, what) */
Datum
billing_check_instant(PG_FUNCTION_ARGS)
{
	char	   *what = PG_ARGISNULL(1) ? "moment" : argument_text(fcinfo, 1);

	argument_not_null(fcinfo, 0, what);
	check_instant(PG_GETARG_TIMESTAMPTZ(0), what);
	PG_RETURN_VOID();
}
