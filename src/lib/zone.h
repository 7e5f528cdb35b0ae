/*
 * zone.h
 *		Instants and local times, for calendar.c.
 */
#ifndef BILLING_ZONE_H
#define BILLING_ZONE_H

#include "datatype/timestamp.h"
#include "pgtime.h"

/* 10000-01-01 00:00 UTC: instants lie before it (doc/rules.md 3). */
#define END_OF_INSTANTS INT64CONST(252455616000000000)

extern void local_clock(TimestampTz at, pg_tz *tz, struct pg_tm *tm, int64 *time);
extern TimestampTz local_instant(int year, int month, int day, int64 time, pg_tz *tz);

#endif							/* BILLING_ZONE_H */
