/*
 * calendar.h
 *		Billing periods and their lengths.
 *
 * Pure: no table, no SPI, no session setting; only the time zone data.  A
 * period is half-open, [start, end).  The rules are in README.md.
 */
#ifndef BILLING_CALENDAR_H
#define BILLING_CALENDAR_H

#include "datatype/timestamp.h"
#include "pgtime.h"
#include "utils/date.h"

/* Where the periods of a schedule begin; filled by schedule_init, read-only afterwards. */
typedef struct Schedule
{
	TimestampTz anchor;			/* start of period 0 */
	int32		months;			/* of months and days exactly one is positive */
	int32		days;
	pg_tz	   *tz;
	int			billing_day;	/* 1 to 31, or 0: none */

	/* the anchor on the wall of tz; private to calendar.c */
	int64		local_month;	/* 12 * year + month - 1 */
	int			local_day;		/* of the month, before it is clamped */
	int64		local_julian;
	int64		local_time;		/* microseconds since midnight */
} Schedule;

typedef enum ProrationBasis
{
	BASIS_DAY,
	BASIS_SECOND,
	BASIS_30_360
} ProrationBasis;

extern void schedule_init(Schedule *s, TimestampTz anchor, const Interval *every,
						  const char *time_zone, int billing_day);
extern TimestampTz schedule_start(const Schedule *s, int64 n);
extern int64 schedule_period_at(const Schedule *s, TimestampTz at);
extern TimestampTz schedule_anchor(TimestampTz start, const char *time_zone, int billing_day);

extern TimestampTz instant_after(TimestampTz at, const Interval *span, pg_tz *tz);
extern DateADT local_date(TimestampTz at, pg_tz *tz);
extern TimestampTz local_midnight(DateADT date, pg_tz *tz);
extern ProrationBasis proration_basis(const char *name);
extern int64 proration_length(ProrationBasis basis, TimestampTz from, TimestampTz to, pg_tz *tz);

extern pg_tz *time_zone_lookup(const char *name);
extern void check_instant(TimestampTz at, const char *what);
extern void check_interval(const Interval *every);
extern void check_billing_day(int billing_day);

#endif							/* BILLING_CALENDAR_H */
