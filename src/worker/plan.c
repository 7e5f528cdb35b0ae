/*
 * plan.c
 *		When a job runs: an interval counted from the first start in a time zone.
 *
 * Months and days are counted on the wall, as billing periods are: every day at
 * 3 stays at 3 when the clocks change.  Shorter intervals are elapsed time.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "lib/calendar.h"
#include "lib/errors.h"
#include "worker/job.h"

PG_FUNCTION_INFO_V1(billing_job_instant);

/* Months, days or time, one of them; raises invalid_interval. */
void
job_check_interval(const Interval *every)
{
	if (every->month == 0 && every->day == 0 && every->time >= USECS_PER_SEC)
		return;
	if (every->time == 0 && every->month >= 0 && every->day >= 0 && (every->month > 0) != (every->day > 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_INVALID_INTERVAL),
			 errmsg("interval \"%s\" is not one of a job",
					DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(every)))),
			 errdetail("A job runs every so many months, days, or hours, minutes and seconds, at least one second."),
			 errhint("Use, for example, 1 month, 1 day, 15 minutes.")));
}

/* The first planned instant that is not before a moment. */
TimestampTz
job_instant(TimestampTz first_start, const Interval *every, const char *time_zone, TimestampTz at)
{
	Schedule	schedule;
	int64		n;
	TimestampTz instant;

	if (at <= first_start)
		return first_start;
	if (every->time > 0)
		return first_start + (at - first_start + every->time - 1) / every->time * every->time;
	schedule_init(&schedule, first_start, every, time_zone, 0);
	n = schedule_period_at(&schedule, at);
	while ((instant = schedule_start(&schedule, n)) < at)
		n++;
	return instant;
}

/* billing_internal.job_instant(first_start, every, time_zone, at) */
Datum
billing_job_instant(PG_FUNCTION_ARGS)
{
	const Interval *every = PG_GETARG_INTERVAL_P(1);

	job_check_interval(every);
	PG_RETURN_TIMESTAMPTZ(job_instant(PG_GETARG_TIMESTAMPTZ(0), every, text_to_cstring(PG_GETARG_TEXT_PP(2)),
									  PG_GETARG_TIMESTAMPTZ(3)));
}
