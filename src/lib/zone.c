/*
 * zone.c
 *		Time zones: names, and instants on their walls.
 */
#include "postgres.h"

#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "lib/calendar.h"
#include "lib/errors.h"
#include "lib/zone.h"

/*
 * Whether the name is one of the time zone data.  The server also takes POSIX
 * descriptions, so a misspelt Europe/Berlin5 would be a zone five hours west;
 * those come back in capitals and with a digit.
 */
static bool
time_zone_is_named(const char *name)
{
	static const char *const with_digit[] = {
		"GMT0", "GMT+0", "GMT-0", "EST5EDT", "CST6CDT", "MST7MDT", "PST8PDT"
	};
	bool		digit = false;

	for (const char *c = name; *c != '\0'; c++)
	{
		if (*c >= 'a' && *c <= 'z')
			return true;
		digit = digit || (*c >= '0' && *c <= '9');
	}
	for (int i = 0; i < (int) lengthof(with_digit); i++)
		if (strcmp(name, with_digit[i]) == 0)
			return true;
	return !digit;
}

/*
 * The zone of an IANA name, in any case; lives as long as the session.  Raises
 * invalid_time_zone.
 */
pg_tz *
time_zone_lookup(const char *name)
{
	pg_tz	   *tz = strlen(name) <= TZ_STRLEN_MAX ? pg_tzset(name) : NULL;

	if (tz == NULL || !pg_tz_acceptable(tz) || !time_zone_is_named(pg_get_timezone_name(tz)))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_TIME_ZONE),
				 errmsg("time zone \"%s\" does not exist", name),
				 errhint("Use an IANA name such as Europe/Berlin; see pg_timezone_names.")));
	return tz;
}

/*
 * A zone's offset from UTC within a block of time, remembered: a run asks for
 * the same few weeks of the same few zones over and over, and the zone data
 * are dear to search.
 */
#define BLOCK_BITS 40			/* of microseconds: some 13 days */

typedef struct OffsetBlock
{
	pg_tz	   *tz;				/* NULL: not used yet */
	int64		block;
	bool		constant;		/* the offset does not change within */
	int64		offset;			/* to be added to UTC, in microseconds */
} OffsetBlock;

/* Looks a block up in the zone data. */
static void
fill_offset_block(OffsetBlock *entry, pg_tz *tz, int64 block)
{
	pg_time_t	start = timestamptz_to_time_t(block << BLOCK_BITS);
	pg_time_t	end = timestamptz_to_time_t((block + 1) << BLOCK_BITS) + 1;
	pg_time_t	before = start - 1;
	pg_time_t	boundary;
	long		offset_before;
	long		offset_after;
	int			dst_before;
	int			dst_after;
	int			found = pg_next_dst_boundary(&before, &offset_before, &dst_before, &boundary,
											 &offset_after, &dst_after, tz);

	*entry = (OffsetBlock)
	{
		.tz = tz, .block = block, .constant = found == 0 || (found > 0 && boundary > end),
			.offset = offset_before * USECS_PER_SEC
	};
}

/* Is the offset the same from one instant to another, at most a block later?  Then *offset is it. */
static bool
constant_offset(TimestampTz from, TimestampTz to, pg_tz *tz, int64 *offset)
{
	static OffsetBlock known[64];

	*offset = 0;
	if (from < USECS_PER_DAY)	/* before 2000 divisions would have to round down */
		return false;
	for (int64 block = from >> BLOCK_BITS; block <= to >> BLOCK_BITS; block++)
	{
		OffsetBlock *entry = &known[((uintptr_t) tz / 64 * 7 + block) % lengthof(known)];

		if (entry->tz != tz || entry->block != block)
			fill_offset_block(entry, tz, block);
		if (!entry->constant || (block > from >> BLOCK_BITS && entry->offset != *offset))
			return false;
		*offset = entry->offset;
	}
	return true;
}

/* The wall clock of tz at an instant that check_instant accepts: date, and microseconds since midnight. */
void
local_clock(TimestampTz at, pg_tz *tz, struct pg_tm *tm, int64 *time)
{
	fsec_t		fraction;
	int64		offset;
	int			west;

	if (constant_offset(at, at, tz, &offset))
	{
		int64		day = (at + offset) / USECS_PER_DAY;

		*time = (at + offset) % USECS_PER_DAY;
		j2date(day + POSTGRES_EPOCH_JDATE, &tm->tm_year, &tm->tm_mon, &tm->tm_mday);
		return;
	}
	if (timestamp2tm(at, &west, tm, &fraction, NULL, tz) != 0)
		elog(ERROR, "instant without local time");
	*time = ((tm->tm_hour * 60 + tm->tm_min) * 60 + tm->tm_sec) * USECS_PER_SEC + fraction;
}

/* What the server adds to a local time for UTC, in microseconds. */
static int64
offset_at_wall(int year, int month, int day, int64 seconds, pg_tz *tz)
{
	struct pg_tm tm = {0};

	tm.tm_year = year;
	tm.tm_mon = month;
	tm.tm_mday = day;
	tm.tm_hour = seconds / SECS_PER_HOUR;
	tm.tm_min = seconds / SECS_PER_MINUTE % MINS_PER_HOUR;
	tm.tm_sec = seconds % SECS_PER_MINUTE;
	return DetermineTimeZoneOffset(&tm, tz) * USECS_PER_SEC;
}

/* The instant of a local time; DT_NOBEGIN or DT_NOEND outside the range of instants. */
TimestampTz
local_instant(int year, int month, int day, int64 time, pg_tz *tz)
{
	TimestampTz at = (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) * USECS_PER_DAY + time;
	int64		offset;

	/* No zone is a day off UTC, so that no other offset comes into question. */
	if (constant_offset(at - USECS_PER_DAY, at + USECS_PER_DAY, tz, &offset))
		at -= offset;
	else
		at += offset_at_wall(year, month, day, time / USECS_PER_SEC, tz);
	if (at >= END_OF_INSTANTS)
		return DT_NOEND;
	return at < MIN_TIMESTAMP ? DT_NOBEGIN : at;
}
