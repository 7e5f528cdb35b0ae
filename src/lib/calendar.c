/*
 * calendar.c
 *		Billing periods, computed from their anchor, and their lengths.
 *
 * Period n is the anchor's local wall-clock time plus n intervals, never
 * period n - 1 plus one: that alone brings 31 January back to 31 March after
 * 28 February.  Local times become instants as the server resolves them
 * (DetermineTimeZoneOffset): one that a spring forward skips is moved past the
 * gap, one that occurs twice is the later.  The anchor is taken apart once, in
 * schedule_init, since a bill run asks for several periods per account.
 */
#include "postgres.h"

#include "common/int.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "lib/calendar.h"
#include "lib/errors.h"
#include "lib/zone.h"

/* A year in which every instant is over, and one before the first. */
#define YEAR_TOO_LATE 10001
#define YEAR_TOO_EARLY (-4714)

/* doc/rules.md 3: an instant is finite and lies before year 10000; what names it in the message. */
void
check_instant(TimestampTz at, const char *what)
{
	if (!TIMESTAMP_NOT_FINITE(at) && at < END_OF_INSTANTS)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
			 errmsg("%s is out of range", what),
			 errdetail("Instants are finite and lie before the year 10000.")));
}

/* For messages; palloc'd. */
static char *
interval_text(const Interval *every)
{
	return DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(every)));
}

/*
 * doc/rules.md 3: a positive number of whole months or of whole days (a week is 7
 * days).  Raises invalid_interval.
 */
void
check_interval(const Interval *every)
{
	if (every->time == 0 && every->month >= 0 && every->day >= 0 &&
		(every->month > 0) != (every->day > 0))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_INVALID_INTERVAL),
			 errmsg("interval \"%s\" is not a positive number of whole months or whole days",
					interval_text(every)),
			 errhint("Use, for example, 1 month, 1 year, 2 weeks or 30 days.")));
}

/* Months since year 0. */
static int64
month_of(const struct pg_tm *tm)
{
	return (int64) tm->tm_year * MONTHS_PER_YEAR + tm->tm_mon - 1;
}

/* Local time on a day of the month, clamped to the month's last; month counts from year 0. */
static TimestampTz
instant_in_month(int64 month, int day, int64 time, pg_tz *tz)
{
	int			year;
	int			of_year = month % MONTHS_PER_YEAR;

	if (of_year < 0)
		of_year += MONTHS_PER_YEAR;
	if (month >= YEAR_TOO_LATE * MONTHS_PER_YEAR)
		return DT_NOEND;
	if (month < YEAR_TOO_EARLY * MONTHS_PER_YEAR)
		return DT_NOBEGIN;
	year = (month - of_year) / MONTHS_PER_YEAR;
	return local_instant(year, of_year + 1, Min(day, day_tab[isleap(year)][of_year]), time, tz);
}

/* Local time on a Julian day. */
static TimestampTz
instant_on_day(int64 julian, int64 time, pg_tz *tz)
{
	int			year;
	int			month;
	int			day;

	if (julian >= date2j(YEAR_TOO_LATE, 1, 1))
		return DT_NOEND;
	if (julian < 0)
		return DT_NOBEGIN;
	j2date(julian, &year, &month, &day);
	return local_instant(year, month, day, time, tz);
}

/*
 * An interval after an instant: months, then days on the wall of the zone, then
 * time that passes.  DT_NOEND beyond the range of instants.
 */
TimestampTz
instant_after(TimestampTz at, const Interval *span, pg_tz *tz)
{
	struct pg_tm tm;
	int64		time;

	if (span->month != 0)
	{
		local_clock(at, tz, &tm, &time);
		at = instant_in_month(month_of(&tm) + span->month, tm.tm_mday, time, tz);
	}
	if (span->day != 0 && !TIMESTAMP_NOT_FINITE(at))
	{
		local_clock(at, tz, &tm, &time);
		at = instant_on_day((int64) date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) + span->day, time, tz);
	}
	if (TIMESTAMP_NOT_FINITE(at) || pg_add_s64_overflow(at, span->time, &at) || at >= END_OF_INSTANTS)
		return DT_NOEND;
	return at;
}

/*
 * Month, counted from year 0, of the latest local midnight of billing_day, clamped
 * to its month, that is not after start (doc/rules.md 3).
 */
static int64
billing_month(TimestampTz start, pg_tz *tz, int billing_day)
{
	struct pg_tm tm;
	int64		time;
	int64		month;

	local_clock(start, tz, &tm, &time);
	month = month_of(&tm);
	return instant_in_month(month, billing_day, 0, tz) <= start ? month : month - 1;
}

/* doc/rules.md 3: 1 to 31.  Raises invalid_argument. */
void
check_billing_day(int billing_day)
{
	if (billing_day < 1 || billing_day > 31)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("billing day %d is out of range", billing_day),
				 errdetail("A billing day is a day of the month, 1 to 31; "
						   "in shorter months the last day stands for it.")));
}

/* The anchor that a billing day gives a subscription: doc/rules.md 3. */
TimestampTz
schedule_anchor(TimestampTz start, const char *time_zone, int billing_day)
{
	pg_tz	   *tz = time_zone_lookup(time_zone);
	TimestampTz anchor;

	check_instant(start, "start");
	check_billing_day(billing_day);
	anchor = instant_in_month(billing_month(start, tz, billing_day), billing_day, 0, tz);
	check_instant(anchor, "anchor");
	return anchor;
}

/*
 * Takes the anchor apart; with a billing day it is that day, even where it is
 * clamped in the anchor's month or its midnight was skipped.
 */
static void
schedule_set_anchor(Schedule *s, TimestampTz anchor)
{
	struct pg_tm tm;

	if (s->billing_day != 0)
	{
		s->local_month = billing_month(anchor, s->tz, s->billing_day);
		s->local_day = s->billing_day;
		s->local_julian = 0;
		s->local_time = 0;
		s->anchor = instant_in_month(s->local_month, s->local_day, 0, s->tz);
		check_instant(s->anchor, "anchor");
		return;
	}
	local_clock(anchor, s->tz, &tm, &s->local_time);
	s->local_month = month_of(&tm);
	s->local_day = tm.tm_mday;
	s->local_julian = date2j(tm.tm_year, tm.tm_mon, tm.tm_mday);
	s->anchor = anchor;
}

/*
 * Checks and fills a schedule.  billing_day 0 means none; with one, an anchor
 * that is not its local midnight is moved to the latest one not after it.
 * Raises invalid_interval, invalid_time_zone, invalid_argument and
 * datetime_field_overflow.
 */
void
schedule_init(Schedule *s, TimestampTz anchor, const Interval *every, const char *time_zone,
			  int billing_day)
{
	check_instant(anchor, "anchor");
	check_interval(every);
	if (billing_day != 0)
		check_billing_day(billing_day);
	if (billing_day != 0 && every->day > 0)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_INTERVAL),
				 errmsg("interval \"%s\" is not a number of months", interval_text(every)),
				 errdetail("A billing day needs periods of whole months.")));
	s->tz = time_zone_lookup(time_zone);
	s->months = every->month;
	s->days = every->day;
	s->billing_day = billing_day;
	schedule_set_anchor(s, anchor);
}

/* Start of period n; DT_NOBEGIN or DT_NOEND outside the range of instants. */
static TimestampTz
schedule_start_clamped(const Schedule *s, int64 n)
{
	/* the anchor itself: of a local time that occurs twice it may be the earlier */
	if (n == 0)
		return s->anchor;
	if (n > PG_INT32_MAX || n < PG_INT32_MIN)
		return n < 0 ? DT_NOBEGIN : DT_NOEND;
	if (s->months > 0)
		return instant_in_month(s->local_month + n * s->months, s->local_day, s->local_time, s->tz);
	return instant_on_day(s->local_julian + n * s->days, s->local_time, s->tz);
}

/*
 * Start of period n, which may be negative, computed from the anchor; the end
 * of period n is the start of n + 1.  Raises datetime_field_overflow from year
 * 10000 on and before the server's first instant.
 */
TimestampTz
schedule_start(const Schedule *s, int64 n)
{
	TimestampTz at = schedule_start_clamped(s, n);

	if (TIMESTAMP_NOT_FINITE(at))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("start of period %lld is out of range", (long long) n),
				 errdetail("Periods begin and end before the year 10000.")));
	return at;
}

/*
 * The n with start(n) <= at < start(n + 1).  The local calendar tells it to
 * within two; the loops settle the rest.
 */
int64
schedule_period_at(const Schedule *s, TimestampTz at)
{
	struct pg_tm tm;
	int64		time;
	int64		n;

	check_instant(at, "moment");
	local_clock(at, s->tz, &tm, &time);
	if (s->months > 0)
		n = (month_of(&tm) - s->local_month) / s->months;
	else
		n = (date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - s->local_julian) / s->days;
	while (schedule_start_clamped(s, n) > at)
		n--;
	while (schedule_start_clamped(s, n + 1) <= at)
		n++;
	return n;
}

/* The date on the wall of tz. */
DateADT
local_date(TimestampTz at, pg_tz *tz)
{
	struct pg_tm tm;
	int64		time;

	check_instant(at, "moment");
	local_clock(at, tz, &tm, &time);
	return date2j(tm.tm_year, tm.tm_mon, tm.tm_mday) - POSTGRES_EPOCH_JDATE;
}

/* The instant at which a day begins in a zone; the date is finite. */
TimestampTz
local_midnight(DateADT date, pg_tz *tz)
{
	return instant_on_day((int64) date + POSTGRES_EPOCH_JDATE, 0, tz);
}

/* day, second or 30/360.  Raises invalid_argument. */
ProrationBasis
proration_basis(const char *name)
{
	if (strcmp(name, "day") == 0)
		return BASIS_DAY;
	if (strcmp(name, "second") == 0)
		return BASIS_SECOND;
	if (strcmp(name, "30/360") == 0)
		return BASIS_30_360;
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
			 errmsg("proration basis \"%s\" does not exist", name),
			 errdetail("The bases that measure a length are day, second and 30/360.")));
}

/* doc/rules.md 4: the place of an instant on a calendar of months of 30 days. */
static int64
commercial_day(TimestampTz at, pg_tz *tz)
{
	struct pg_tm tm;
	int64		time;

	local_clock(at, tz, &tm, &time);
	return (int64) 360 * tm.tm_year + 30 * tm.tm_mon + Min(tm.tm_mday, 30);
}

/*
 * Length of [from, to) for a share of a period (doc/rules.md 4): local days,
 * microseconds, or local days of a year of 360.  Only lengths of one basis
 * compare.
 */
int64
proration_length(ProrationBasis basis, TimestampTz from, TimestampTz to, pg_tz *tz)
{
	check_instant(from, "start");
	check_instant(to, "end");
	switch (basis)
	{
		case BASIS_DAY:
			return (int64) local_date(to, tz) - local_date(from, tz);
		case BASIS_SECOND:
			return to - from;
		case BASIS_30_360:
			return commercial_day(to, tz) - commercial_day(from, tz);
	}
	elog(ERROR, "unknown proration basis %d", (int) basis);
}
