/*
 * timeline.c
 *		Subscriptions of a batch of accounts, from the books into structs.
 *
 * One statement per table, each over ranges of accounts, and put together
 * here: a range is read at a fraction of the cost of looking up row by row
 * what belongs together, and no plan of a join can go wrong.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "lib/amount.h"
#include "run/timeline.h"

/* Subscriptions of many items keep the searches for regular charges that those ask for one after the other. */
#define MANY_ITEMS 16
#define KEPT_SEARCHES 61

/* A row of plan_version. */
typedef struct PlanRow
{
	int64		subscription_id;
	int			version;
	PlanTerms	terms;
} PlanRow;

/* By subscription, then in the order in which the plans hold: of two at one instant the later entered. */
static int
compare_plans(const void *a, const void *b)
{
	const PlanRow *x = a;
	const PlanRow *y = b;
	int			order = compare_keys(&x->subscription_id, &y->subscription_id);

	if (order == 0)
		order = compare_keys(&x->terms.from, &y->terms.from);
	return order != 0 ? order : x->version - y->version;
}

/* The plans of a batch's subscriptions, sorted. */
static KeyedRows
load_plans(const AccountBatch *batch, const RunContext *run)
{
	static BatchQuery query = BATCH_QUERY("x.subscription_id, x.version, x.valid_from, x.plan",
										  "plan_version", "account_id, subscription_id, version", "");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(PlanRow));

	for (int i = 0; i < rows.count; i++)
		((PlanRow *) rows.rows)[i] = (PlanRow)
	{
		.subscription_id = query_int64(i, 1, 0), .version = DatumGetInt32(query_value(i, 2)),
			.terms.from = query_int64(i, 3, 0), .terms.plan = query_text(i, 4)
	};
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, compare_plans);
	return rows;
}

/* Gives a subscription its plans: the one it was made from, then those of plan_version. */
static void
take_plans(const KeyedRows *rows, Subscription *sub, char *plan)
{
	int			count;
	const PlanRow *row = find_rows(rows, sub->id, &count);

	sub->plans = palloc(sizeof(PlanTerms) * (count + 1));
	sub->plans[0] = (PlanTerms)
	{
		.from = DT_NOBEGIN, .plan = plan
	};
	for (sub->nplans = 1; sub->nplans <= count; sub->nplans++)
		sub->plans[sub->nplans] = row[sub->nplans - 1].terms;
}

static void
fill_subscription(Subscription *sub, const ScheduleVersion *calendars, int ncalendars, int row)
{
	sub->id = query_int64(row, 1, 0);
	sub->start = query_int64(row, 2, 0);
	sub->end = query_int64(row, 3, DT_NOEND);
	sub->purchase_order = query_text(row, 4);
	sub->metadata = DatumGetJsonbPCopy(query_value(row, 5));
	sub->calendars = calendars;
	sub->ncalendars = ncalendars;
}

/*
 * Subscriptions whose items may still be due.  Those that wait for their first
 * payment, or did not get it, have no items: an activation that was withdrawn
 * leaves nothing charged.
 */
static KeyedRows
load_subscriptions(const AccountBatch *batch, const RunContext *run, const KeyedRows *calendars,
				   const KeyedRows *plans)
{
	static BatchQuery query = BATCH_QUERY("x.id, coalesce(x.trial_end_at, x.start_at), x.end_at, x.purchase_order, x.metadata, x.plan, x.activation = 'immediate'",
										  "subscription", "account_id, id",
										  " AND (coalesce(t.end_at, 'infinity') > $3 OR EXISTS (SELECT FROM billing.subscription_item i"
										  "  JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id"
										  "  JOIN billing.price p ON p.code = v.price"
										  "  WHERE i.account_id = t.account_id AND i.subscription_id = t.id AND p.timing = 'arrears'"
										  "   AND p.proration_credit = 'none' AND t.end_at + p.every > $3)"
										  " OR EXISTS (SELECT FROM billing.subscription_item i LEFT JOIN billing.instalment n"
										  "  ON n.account_id = i.account_id AND n.item_id = i.id"
										  "  WHERE i.account_id = t.account_id AND i.subscription_id = t.id AND i.kind <> 'recurring'"
										  "   AND greatest(i.start_at, n.due_at) > $3))");
	TimestampTz low = DT_NOEND;
	KeyedRows	rows;
	int			count = 0;

	for (int i = 0; i < batch->count; i++)
		low = Min(low, Min(batch->accounts[i].window.billed_through, batch->accounts[i].window.recompute_from));
	rows = rows_of_batch(&query, batch, run->read_only,
						 TIMESTAMP_NOT_FINITE(low) ? DT_NOBEGIN : low - LATE_DUE, sizeof(Subscription));
	for (int i = 0; i < rows.count; i++)
	{
		int			ncalendars;
		const ScheduleVersion *first = find_rows(calendars, query_int64(i, 1, 0), &ncalendars);
		Subscription *sub = &((Subscription *) rows.rows)[count];

		if (ncalendars == 0)
			continue;
		fill_subscription(sub, first, ncalendars, i);
		sub->waits = !DatumGetBool(query_value(i, 7));
		if (sub->waits)
			sub->end = sub->start;
		take_plans(plans, sub, query_text(i, 6));
		count++;
	}
	rows.count = count;
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, NULL);
	return rows;
}

/* A row of table instalment. */
typedef struct InstalmentRow
{
	int64		item_id;
	Instalment	instalment;
} InstalmentRow;

/* By item, then by ordinal. */
static int
compare_instalments(const void *a, const void *b)
{
	const InstalmentRow *x = a;
	const InstalmentRow *y = b;
	int			order = compare_keys(&x->item_id, &y->item_id);

	return order != 0 ? order : compare_keys(&x->instalment.ordinal, &y->instalment.ordinal);
}

/* The instalments of a batch's items that are not withdrawn, sorted. */
static KeyedRows
load_instalments(AccountBatch *batch, const RunContext *run)
{
	static BatchQuery query = BATCH_QUERY("x.item_id, x.ordinal, x.period_start, x.period_end, x.due_at, x.amount, x.active",
										  "instalment", "account_id, item_id, ordinal", " AND t.active");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(InstalmentRow));
	int			count = 0;

	for (int i = 0; i < rows.count; i++)
	{
		InstalmentRow *row = &((InstalmentRow *) rows.rows)[count];

		if (!DatumGetBool(query_value(i, 7)))
			continue;
		row->item_id = query_int64(i, 1, 0);
		row->instalment = (Instalment)
		{
			.ordinal = DatumGetInt32(query_value(i, 2)), .start = query_int64(i, 3, 0),
				.end = query_int64(i, 4, 0), .due = query_int64(i, 5, 0),
				.amount = amount_round(DatumGetNumeric(query_value(i, 6)),
									   batch_find(batch, account_of_id(row->item_id))->terms.minor_units)
		};
		count++;
	}
	rows.count = count;
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, compare_instalments);
	return rows;
}

static void
take_instalments(const KeyedRows *rows, SubscriptionItem *item)
{
	int			count;
	const InstalmentRow *row = find_rows(rows, item->id, &count);

	item->instalments = palloc(sizeof(Instalment) * count);
	for (int i = 0; i < count; i++)
		item->instalments[item->ninstalments++] = row[i].instalment;
}

/* What is put together to items. */
typedef struct ItemRows
{
	KeyedRows	terms;
	KeyedRows	interruptions;
	KeyedRows	instalments;
	SubscriptionItem *items;
	int			count;
	int			capacity;
} ItemRows;

static void
add_item(ItemRows *rows, const SubscriptionItem *item)
{
	if (rows->count == rows->capacity)
	{
		rows->capacity *= 2;
		rows->items = repalloc_huge(rows->items, sizeof(SubscriptionItem) * rows->capacity);
	}
	rows->items[rows->count++] = *item;
}

/* An item from a row of the query in load_items, which is of a subscription's. */
static SubscriptionItem
read_item(const Subscription *sub, int row)
{
	char	   *kind = query_text(row, 5);
	bool		isnull;
	SubscriptionItem item = {
		.subscription = sub, .charge_from = DATEVAL_NOBEGIN, .charge_until = DATEVAL_NOEND
	};
	Datum		date = query_datum(row, 6, &isnull);

	item.id = query_int64(row, 1, 0);
	item.start = query_int64(row, 3, 0);
	item.end = query_int64(row, 4, DT_NOEND);
	item.kind = kind ? kind_named(kind) : KIND_RECURRING;
	if (!isnull)
		item.charge_from = DatumGetDateADT(date);
	date = query_datum(row, 7, &isnull);
	if (!isnull)
		item.charge_until = DatumGetDateADT(date);
	item.own_invoice = DatumGetBool(query_value(row, 8));
	item.description = query_text(row, 9);
	return item;
}

/* Adds an item that is charged once, or in instalments. */
static void
add_once(ItemRows *rows, SubscriptionItem *item)
{
	item->calendar = subscription_calendar_at(item->subscription, item->start);
	item->schedule = item->calendar->cycles;
	item->from = item->start;
	item->to = item->end;
	if (item->kind == KIND_INSTALMENT)
		take_instalments(&rows->instalments, item);
	add_item(rows, item);
}

/*
 * Adds an item that recurs, once for each version of the calendar that it lives
 * through, but at least once.
 */
static void
add_recurring(ItemRows *rows, SubscriptionItem *item)
{
	const Subscription *sub = item->subscription;
	const ScheduleVersion *first;

	if (item->price->aggregation != AGGREGATE_NONE)
		item->kind = KIND_USAGE;
	item->start = Max(item->start, sub->start);
	first = subscription_calendar_at(sub, item->start);
	item->end = Min(item->end, sub->end);
	item->irregular = interrupt_terms(&rows->interruptions, item) || sub->ncalendars > 1 ||
		item->charge_from != DATEVAL_NOBEGIN || item->charge_until != DATEVAL_NOEND;
	for (int i = 0; i < sub->ncalendars; i++)
	{
		const ScheduleVersion *calendar = &sub->calendars[i];

		item->from = Max(item->start, calendar->from);
		item->to = Min(item->end, calendar->to);
		if (item->from >= item->to && calendar != first)
			continue;
		item->calendar = calendar;
		item->schedule = calendar->cycles;
		item->schedule.months = item->price->every.month;
		item->schedule.days = item->price->every.day;
		item->irregular = item->irregular || calendar->nskipped > 0 ||
			calendar->first_period == FIRST_JOIN;
		add_item(rows, item);
	}
}

/* By subscription, then by id, then by calendar. */
static int
compare_items(const void *a, const void *b)
{
	const SubscriptionItem *x = a;
	const SubscriptionItem *y = b;
	int			order = compare_keys(&x->subscription->id, &y->subscription->id);

	if (order == 0)
		order = compare_keys(&x->id, &y->id);
	return order != 0 ? order : compare_keys(&x->calendar->from, &y->calendar->from);
}

/* The items of the subscriptions, in their order. */
static ItemRows
load_items(AccountBatch *batch, RunContext *run, const KeyedRows *subs)
{
	static BatchQuery query = BATCH_QUERY("x.id, x.subscription_id, x.start_at, x.end_at, nullif(x.kind, 'recurring'),"
										  " x.charge_from, x.charge_until, x.own_invoice, x.description",
										  "subscription_item", "account_id, id", "");
	ItemRows	rows = {
		.terms = load_item_terms(batch, run), .interruptions = load_interruptions(batch, run),
		.instalments = load_instalments(batch, run)
	};
	int			count = (int) rows_of_batch(&query, batch, run->read_only, 0, 1).count;

	rows.capacity = Max(count, 1);
	rows.items = palloc(sizeof(SubscriptionItem) * rows.capacity);
	for (int i = 0; i < count; i++)
	{
		int			found;
		const Subscription *sub = find_rows(subs, query_int64(i, 2, 0), &found);
		SubscriptionItem item;

		if (sub == NULL || sub->waits)
			continue;
		item = read_item(sub, i);
		if (!take_terms(run, &rows.terms, &item))
			continue;
		if (has_periods(&item))
			add_recurring(&rows, &item);
		else
			add_once(&rows, &item);
	}
	SPI_freetuptable(SPI_tuptable);
	qsort(rows.items, rows.count, sizeof(SubscriptionItem), compare_items);
	return rows;
}

/* Fills the accounts' subscriptions. */
void
batch_load_timelines(AccountBatch *batch, RunContext *run)
{
	KeyedRows	calendars = load_calendars(batch, run);
	KeyedRows	plans = load_plans(batch, run);
	KeyedRows	subs = load_subscriptions(batch, run, &calendars, &plans);
	ItemRows	items = load_items(batch, run, &subs);
	int			next = 0;

	for (int i = 0; i < subs.count; i++)
	{
		Subscription *sub = &((Subscription *) subs.rows)[i];
		BatchAccount *account = batch_find(batch, account_of_id(sub->id));

		if (account->nsubs++ == 0)
			account->subs = sub;
		sub->items = &items.items[next];
		while (next < items.count && items.items[next].subscription == sub)
			next++;
		sub->nitems = (int) (&items.items[next] - sub->items);
		sub->nsearches = sub->nitems < MANY_ITEMS ? 1 : KEPT_SEARCHES;
		sub->searches = palloc0(sizeof(RegularSearch) * sub->nsearches);
	}
}
