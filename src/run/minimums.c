/*
 * minimums.c
 *		Minimums of a batch of accounts, from the books into structs.
 *
 * The periods of a minimum are those of an item in arrears that lives as long
 * as its subscription, or as the item that it is of.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "lib/num.h"
#include "run/timeline.h"

/* A row of table minimum. */
typedef struct MinimumRow
{
	int64		subscription_id;
	Interval	every;			/* zero: as the cycle, or as the item */
	Minimum		minimum;
	Price	   *price;			/* whose level is the amount */
} MinimumRow;

/* By subscription, those of items first, then the shorter first: the longer count what they add. */
static int
compare_minimums(const void *a, const void *b)
{
	const MinimumRow *x = a;
	const MinimumRow *y = b;
	int			order = compare_keys(&x->subscription_id, &y->subscription_id);

	if (order == 0)
		order = (x->minimum.item_id == 0) - (y->minimum.item_id == 0);
	if (order == 0)
		order = 31 * (x->every.month - y->every.month) + x->every.day - y->every.day;
	return order != 0 ? order : compare_keys(&x->minimum.id, &y->minimum.id);
}

/* A price whose level is an amount; only what changes of the level ask for is set. */
static Price *
level_price(Numeric amount)
{
	Price	   *price = palloc0(sizeof(Price));
	char	   *scheme = psprintf("{\"model\": \"flat\", \"flat_amount\": \"%s\"}", num_out(amount));

	price->name = "Minimum";
	price->scheme = scheme_parse(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(scheme))));
	return price;
}

/* Columns of the query in load_rows. */
enum
{
	M_SUBSCRIPTION = 1, M_ID, M_ITEM, M_AMOUNT, M_EVERY, M_PRORATED, M_TAX, M_FROM, M_TO
};

/* A minimum from row n of the query. */
static void
fill_row(MinimumRow *row, int minor_units, int n)
{
	bool		isnull;
	Datum		every = query_datum(n, M_EVERY, &isnull);

	row->subscription_id = query_int64(n, M_SUBSCRIPTION, 0);
	if (!isnull)
		row->every = *DatumGetIntervalP(every);
	row->minimum = (Minimum)
	{
		.id = query_int64(n, M_ID, 0), .item_id = query_int64(n, M_ITEM, 0), .longer = !isnull,
			.amount = query_amount(n, M_AMOUNT, minor_units), .prorated = DatumGetBool(query_value(n, M_PRORATED)),
			.tax = query_text(n, M_TAX), .from = query_int64(n, M_FROM, DT_NOBEGIN), .to = query_int64(n, M_TO, DT_NOEND)
	};
	row->price = level_price(DatumGetNumeric(query_value(n, M_AMOUNT)));
}

/* Rows that ask for something, by subscription. */
static KeyedRows
load_rows(AccountBatch *batch, const RunContext *run)
{
	static BatchQuery query = BATCH_QUERY("x.subscription_id, x.id, x.item_id, x.amount, x.every, x.proration = 'day',"
										  " x.tax, x.from_at, x.to_at",
										  "minimum", "account_id, id", "");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(MinimumRow));
	int			count = 0;

	for (int i = 0; i < rows.count; i++)
	{
		MinimumRow *row = &((MinimumRow *) rows.rows)[count];

		memset(row, 0, sizeof(MinimumRow));
		fill_row(row, batch_find(batch, account_of_id(query_int64(i, M_ID, 0)))->terms.minor_units, i);
		if (row->minimum.from < row->minimum.to && row->minimum.amount > 0)
			count++;
	}
	rows.count = count;
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, compare_minimums);
	return rows;
}

/* The first start of a period of a segment at or after an instant, without what lies before the segment. */
static TimestampTz
period_boundary(const SubscriptionItem *segment, TimestampTz at)
{
	TimestampTz first = Max(segment->calendar->from, segment->subscription->start);
	TimestampTz start;
	int64		n;

	if (at <= first || at >= segment->to)
		return at <= first ? DT_NOBEGIN : segment->to;
	n = schedule_period_at(&segment->schedule, at);
	start = Max(schedule_start(&segment->schedule, n), first);
	return start >= at ? start : schedule_start(&segment->schedule, n + 1);
}

/* Adds the periods of a minimum under one version of the calendar, if it has any: whole ones that begin in its range. */
static void
add_segment(Minimum *minimum, SubscriptionItem *segment)
{
	segment->start = Max(segment->start, period_boundary(segment, minimum->from));
	segment->end = Min(segment->end, minimum->to == DT_NOEND ? DT_NOEND : period_boundary(segment, minimum->to));
	segment->from = Max(segment->from, segment->start);
	segment->to = Min(segment->to, segment->end);
	if (segment->from < segment->to)
		minimum->segments[minimum->nsegments++] = *segment;
}

/* Gives a minimum with an interval of its own periods of that length. */
static void
set_every(SubscriptionItem *segment, const MinimumRow *row)
{
	ScheduleVersion *calendar = palloc(sizeof(ScheduleVersion));

	if (!row->minimum.longer)
		return;
	segment->schedule.months = row->every.month;
	segment->schedule.days = row->every.day;
	segment->charge_from = DATEVAL_NOBEGIN;
	segment->charge_until = DATEVAL_NOEND;
	/* A skipped cycle shortens a longer period and does not take it away. */
	*calendar = *segment->calendar;
	calendar->nskipped = 0;
	segment->calendar = calendar;
}

/* The periods of a minimum of a whole subscription. */
static void
add_subscription_segments(const Subscription *sub, const KeyedRows *interruptions, MinimumRow *row)
{
	Terms		terms = {.from = DT_NOBEGIN, .price = row->price, .quantity = num_from_int(1)};
	SubscriptionItem life = {
		.subscription = sub, .kind = KIND_MINIMUM, .start = sub->start, .end = sub->end, .price = row->price,
		.terms = &terms, .nterms = 1, .irregular = true, .charge_from = DATEVAL_NOBEGIN, .charge_until = DATEVAL_NOEND
	};

	life.terms = memcpy(palloc(sizeof(Terms)), &terms, sizeof(Terms));
	(void) interrupt_terms(interruptions, &life);
	row->minimum.segments = palloc(sizeof(SubscriptionItem) * sub->ncalendars);
	for (int i = 0; i < sub->ncalendars; i++)
	{
		SubscriptionItem segment = life;

		segment.calendar = &sub->calendars[i];
		segment.schedule = segment.calendar->cycles;
		segment.from = Max(life.start, segment.calendar->from);
		segment.to = Min(life.end, segment.calendar->to);
		set_every(&segment, row);
		add_segment(&row->minimum, &segment);
	}
}

/* The periods of a minimum of one item: its own, while it lives. */
static void
add_item_segments(const Subscription *sub, MinimumRow *row)
{
	row->minimum.segments = palloc(sizeof(SubscriptionItem) * Max(sub->nitems, 1));
	for (int i = 0; i < sub->nitems; i++)
	{
		const SubscriptionItem *item = &sub->items[i];
		SubscriptionItem segment = *item;

		if (item->id != row->minimum.item_id || !has_periods(item))
			continue;
		segment.kind = KIND_MINIMUM;
		segment.price = row->price;
		segment.description = NULL;
		segment.irregular = true;
		segment.terms = palloc(sizeof(Terms) * item->nterms);
		for (int t = 0; t < item->nterms; t++)
			segment.terms[t] = (Terms)
		{
			.from = item->terms[t].from, .price = item->terms[t].price ? row->price : NULL, .quantity = num_from_int(1)
		};
		set_every(&segment, row);
		add_segment(&row->minimum, &segment);
	}
}

/* Gives the subscriptions, which are loaded, their minimums. */
void
batch_load_minimums(AccountBatch *batch, const RunContext *run)
{
	KeyedRows	rows = load_rows(batch, run);
	KeyedRows	interruptions;

	if (rows.count == 0)
		return;
	interruptions = load_interruptions(batch, run);
	for (int i = 0; i < batch->count; i++)
		for (int s = 0; s < batch->accounts[i].nsubs; s++)
		{
			Subscription *sub = &batch->accounts[i].subs[s];
			int			count;
			MinimumRow *row = find_rows(&rows, sub->id, &count);

			sub->minimums = palloc(sizeof(Minimum) * Max(count, 1));
			for (int k = 0; k < count; k++)
			{
				if (row[k].minimum.item_id != 0)
					add_item_segments(sub, &row[k]);
				else
					add_subscription_segments(sub, &interruptions, &row[k]);
				sub->minimums[sub->nminimums++] = row[k].minimum;
			}
		}
}
