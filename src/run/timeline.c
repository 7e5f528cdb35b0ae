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
#include "run/keyed_rows.h"

/* A row of schedule_version. */
typedef struct CalendarRow
{
	int64		subscription_id;
	int			version;
	TimestampTz anchor;
	char	   *time_zone;
	int			billing_day;	/* 0: none */
	char	   *first_period;
} CalendarRow;

/* A row of plan_version. */
typedef struct PlanRow
{
	int64		subscription_id;
	int			version;
	PlanTerms	terms;
} PlanRow;

/* A row of item_version; what it does not name is NULL. */
typedef struct TermsRow
{
	int64		item_id;
	int			version;
	Terms		terms;
	Jsonb	   *scheme;			/* of this customer instead of the price's */
} TermsRow;

static KeyedRows
load_calendars(const AccountBatch *batch, const RunContext *run)
{
	static BatchQuery query = BATCH_QUERY("x.subscription_id, x.version, x.anchor, x.time_zone, coalesce(x.billing_day, 0), x.first_period",
										  "schedule_version", "account_id, subscription_id, version", "");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(CalendarRow));

	for (int i = 0; i < rows.count; i++)
		((CalendarRow *) rows.rows)[i] = (CalendarRow)
	{
		.subscription_id = query_int64(i, 1, 0), .version = DatumGetInt32(query_value(i, 2)),
			.anchor = query_int64(i, 3, 0), .time_zone = query_text(i, 4),
			.billing_day = DatumGetInt32(query_value(i, 5)), .first_period = query_text(i, 6)
	};
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, NULL);
	return rows;
}

/* By item, then in the order in which the changes hold: of two at one instant the later entered. */
static int
compare_terms(const void *a, const void *b)
{
	const TermsRow *x = a;
	const TermsRow *y = b;
	int			order = compare_keys(&x->item_id, &y->item_id);

	if (order == 0)
		order = compare_keys(&x->terms.from, &y->terms.from);
	return order != 0 ? order : x->version - y->version;
}

static KeyedRows
load_item_terms(const AccountBatch *batch, RunContext *run)
{
	static BatchQuery query = BATCH_QUERY("x.item_id, x.version, x.valid_from, x.price, x.price_version, x.quantity, x.scheme",
										  "item_version", "account_id, item_id, version", "");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(TermsRow));

	for (int i = 0; i < rows.count; i++)
	{
		TermsRow   *row = &((TermsRow *) rows.rows)[i];
		char	   *price = query_text(i, 4);
		bool		isnull;
		Datum		value = query_datum(i, 6, &isnull);

		row->item_id = query_int64(i, 1, 0);
		row->version = DatumGetInt32(query_value(i, 2));
		row->terms.from = query_int64(i, 3, 0);
		row->terms.quantity = isnull ? NULL : DatumGetNumericCopy(value);
		value = query_datum(i, 7, &isnull);
		row->scheme = isnull ? NULL : DatumGetJsonbPCopy(value);
		if (price != NULL)
			row->terms.price = run_price(run, price, DatumGetInt32(query_value(i, 5)), row->scheme);
	}
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, compare_terms);
	return rows;
}

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
fill_subscription(Subscription *sub, const CalendarRow *calendar, int row)
{
	sub->id = query_int64(row, 1, 0);
	sub->start = query_int64(row, 2, 0);
	sub->end = query_int64(row, 3, DT_NOEND);
	sub->purchase_order = query_text(row, 4);
	sub->metadata = DatumGetJsonbPCopy(query_value(row, 5));
	sub->version = calendar->version;
	sub->first_period_set = strcmp(calendar->first_period, "prorate") != 0;
	sub->first_period = strcmp(calendar->first_period, "free") == 0 ? SIDE_NONE : SIDE_FULL;
}

/* The price of the item's last terms, with a scheme of its own where one is named. */
static const Price *
price_before(RunContext *run, const SubscriptionItem *item, Jsonb *scheme)
{
	const Price *price = item->terms[item->nterms - 1].price;

	return scheme == NULL ? price : run_price(run, price->code, price->version, scheme);
}

/*
 * Gives an item its terms: what a version does not name stays as before, and
 * of two at one instant the later entered wins.  False where it has none.
 */
static bool
take_terms(RunContext *run, const KeyedRows *rows, SubscriptionItem *item)
{
	int			count;
	const TermsRow *row = find_rows(rows, item->id, &count);

	if (row == NULL)
		return false;
	item->terms = palloc(sizeof(Terms) * count);
	for (int i = 0; i < count; i++)
	{
		Terms		terms = row[i].terms;

		if (item->nterms > 0 && terms.price == NULL)
			terms.price = price_before(run, item, row[i].scheme);
		if (item->nterms > 0 && terms.quantity == NULL)
			terms.quantity = item->terms[item->nterms - 1].quantity;
		if (item->nterms > 0 && item->terms[item->nterms - 1].from == terms.from)
			item->nterms--;
		item->terms[item->nterms++] = terms;
	}
	item->price = item->terms[0].price;
	return item->price != NULL;
}

/* Subscriptions whose items may still be due. */
static KeyedRows
load_subscriptions(const AccountBatch *batch, const RunContext *run, const KeyedRows *calendars,
				   const KeyedRows *plans)
{
	static BatchQuery query = BATCH_QUERY("x.id, x.start_at, least(x.end_at, (SELECT min(i.from_at) FROM billing.interruption i"
										  "  WHERE i.account_id = x.account_id AND i.subscription_id = x.id AND i.to_at IS NULL)),"
										  " x.purchase_order, x.metadata, x.plan",
										  "subscription", "account_id, id",
										  " AND (coalesce(t.end_at, 'infinity') > $3 OR EXISTS (SELECT FROM billing.subscription_item i"
										  "  JOIN billing.item_version v ON v.account_id = i.account_id AND v.item_id = i.id"
										  "  JOIN billing.price p ON p.code = v.price"
										  "  WHERE i.account_id = t.account_id AND i.subscription_id = t.id AND p.timing = 'arrears'"
										  "   AND p.proration_credit = 'none' AND t.end_at + p.every > $3))");
	TimestampTz low = DT_NOEND;
	KeyedRows	rows;
	int			count = 0;

	for (int i = 0; i < batch->count; i++)
		low = Min(low, Min(batch->accounts[i].window.billed_through, batch->accounts[i].window.recompute_from));
	rows = rows_of_batch(&query, batch, run->read_only,
						 TIMESTAMP_NOT_FINITE(low) ? DT_NOBEGIN : low - LATE_DUE, sizeof(Subscription));
	for (int i = 0; i < rows.count; i++)
	{
		int			versions;
		const CalendarRow *calendar = find_rows(calendars, query_int64(i, 1, 0), &versions);
		Subscription *sub = &((Subscription *) rows.rows)[count];

		if (calendar == NULL)
			continue;
		fill_subscription(sub, calendar, i);
		take_plans(plans, sub, query_text(i, 6));
		count++;
	}
	rows.count = count;
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, NULL);
	return rows;
}

/* By subscription, then by id. */
static int
compare_items(const void *a, const void *b)
{
	const SubscriptionItem *x = a;
	const SubscriptionItem *y = b;
	int			order = compare_keys(&x->subscription->id, &y->subscription->id);

	return order != 0 ? order : compare_keys(&x->id, &y->id);
}

/* The items of the subscriptions, in their order; returns how many. */
static int
load_items(const AccountBatch *batch, RunContext *run, const KeyedRows *subs,
		   const KeyedRows *calendars, const KeyedRows *terms_rows, SubscriptionItem **items)
{
	static BatchQuery query = BATCH_QUERY("x.id, x.subscription_id, x.start_at, x.end_at",
										  "subscription_item", "account_id, id", "");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(SubscriptionItem));
	int			count = 0;

	*items = rows.rows;
	for (int i = 0; i < rows.count; i++)
	{
		SubscriptionItem *item = &(*items)[count];
		int64		id = query_int64(i, 1, 0);
		int			found;
		const Subscription *sub = find_rows(subs, query_int64(i, 2, 0), &found);
		const CalendarRow *calendar;

		item->id = id;
		item->nterms = 0;
		if (sub == NULL || !take_terms(run, terms_rows, item))
			continue;
		calendar = find_rows(calendars, sub->id, &found);
		item->subscription = sub;
		item->start = query_int64(i, 3, 0);
		item->end = Min(query_int64(i, 4, DT_NOEND), sub->end);
		schedule_init(&item->schedule, calendar->anchor, &item->price->every, calendar->time_zone,
					  calendar->billing_day);
		count++;
	}
	SPI_freetuptable(SPI_tuptable);
	qsort(*items, count, sizeof(SubscriptionItem), compare_items);
	return count;
}

/* Fills the accounts' subscriptions. */
void
batch_load_timelines(AccountBatch *batch, RunContext *run)
{
	KeyedRows	calendars = load_calendars(batch, run);
	KeyedRows	plans = load_plans(batch, run);
	KeyedRows	subs = load_subscriptions(batch, run, &calendars, &plans);
	KeyedRows	terms = load_item_terms(batch, run);
	SubscriptionItem *items;
	int			nitems = load_items(batch, run, &subs, &calendars, &terms, &items);
	int			next = 0;

	for (int i = 0; i < subs.count; i++)
	{
		Subscription *sub = &((Subscription *) subs.rows)[i];
		BatchAccount *account = batch_find(batch, account_of_id(sub->id));

		if (account->nsubs++ == 0)
			account->subs = sub;
		sub->items = &items[next];
		while (next < nitems && items[next].subscription == sub)
			next++;
		sub->nitems = (int) (&items[next] - sub->items);
	}
}
