/*
 * calendars.c
 *		Versions of subscriptions' calendars, and the cycles that they skip.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "run/timeline.h"

/* A row of skipped_cycle. */
typedef struct SkippedRow
{
	int64		subscription_id;
	int			version;
	int64		period_no;
} SkippedRow;

static FirstPeriod
first_period_of(const char *name)
{
	return strcmp(name, "free") == 0 ? FIRST_FREE : strcmp(name, "full") == 0 ? FIRST_FULL
		: strcmp(name, "join") == 0 ? FIRST_JOIN : FIRST_PRORATE;
}

static void
fill_calendar(ScheduleVersion *calendar, int row)
{
	calendar->subscription_id = query_int64(row, 1, 0);
	calendar->version = DatumGetInt32(query_value(row, 2));
	calendar->from = query_int64(row, 3, 0);
	calendar->first_period = first_period_of(query_text(row, 8));
	schedule_init(&calendar->cycles, query_int64(row, 4, 0), DatumGetIntervalP(query_value(row, 5)),
				  query_text(row, 6), DatumGetInt32(query_value(row, 7)));
}

/*
 * By subscription, then in the order in which the versions hold: of two at one
 * instant the later entered.
 */
static int
compare_calendars(const void *a, const void *b)
{
	const ScheduleVersion *x = a;
	const ScheduleVersion *y = b;
	int			order = compare_keys(&x->subscription_id, &y->subscription_id);

	if (order == 0)
		order = compare_keys(&x->from, &y->from);
	return order != 0 ? order : x->version - y->version;
}

/* Lets the first version of each subscription hold from ever, and each until the next. */
static void
join_calendars(KeyedRows *rows)
{
	ScheduleVersion *calendars = rows->rows;

	for (int i = 0; i < rows->count; i++)
	{
		int64		id = calendars[i].subscription_id;
		bool		last = i + 1 == rows->count || calendars[i + 1].subscription_id != id;

		if (i == 0 || calendars[i - 1].subscription_id != id)
			calendars[i].from = DT_NOBEGIN;
		calendars[i].to = last ? DT_NOEND : calendars[i + 1].from;
	}
}

/* The cycles skipped by a batch's subscriptions, sorted. */
static KeyedRows
load_skipped(const AccountBatch *batch, const RunContext *run)
{
	static BatchQuery query = BATCH_QUERY("x.subscription_id, x.schedule_version, x.period_no, x.skipped", "skipped_cycle",
										  "account_id, subscription_id, schedule_version, period_no", " AND t.skipped");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(SkippedRow));
	int			count = 0;

	for (int i = 0; i < rows.count; i++)
		if (DatumGetBool(query_value(i, 4)))
			((SkippedRow *) rows.rows)[count++] = (SkippedRow)
		{
			.subscription_id = query_int64(i, 1, 0), .version = DatumGetInt32(query_value(i, 2)),
				.period_no = query_int64(i, 3, 0)
		};
	rows.count = count;
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, NULL);
	return rows;
}

/* Tells a version the cycles that it skips. */
static void
take_skipped(const KeyedRows *rows, ScheduleVersion *calendar)
{
	int			count;
	const SkippedRow *row = find_rows(rows, calendar->subscription_id, &count);
	int64	   *skipped;

	if (count == 0)
		return;
	skipped = palloc(sizeof(int64) * count);
	for (int i = 0; i < count; i++)
		if (row[i].version == calendar->version)
			skipped[calendar->nskipped++] = row[i].period_no;
	calendar->skipped = skipped;
}

/* The versions of the batch's calendars, as ScheduleVersion by subscription and time. */
KeyedRows
load_calendars(const AccountBatch *batch, const RunContext *run)
{
	static BatchQuery query = BATCH_QUERY("x.subscription_id, x.version, x.valid_from, x.anchor, x.every, x.time_zone,"
										  " coalesce(x.billing_day, 0), x.first_period",
										  "schedule_version", "account_id, subscription_id, version", "");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(ScheduleVersion));
	KeyedRows	skipped;

	for (int i = 0; i < rows.count; i++)
		fill_calendar(&((ScheduleVersion *) rows.rows)[i], i);
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, compare_calendars);
	join_calendars(&rows);
	skipped = load_skipped(batch, run);
	for (int i = 0; i < rows.count && skipped.count > 0; i++)
		take_skipped(&skipped, &((ScheduleVersion *) rows.rows)[i]);
	return rows;
}
