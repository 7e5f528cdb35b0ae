/*
 * terms.c
 *		Terms of items over time, and the times without service.
 */
#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "run/timeline.h"

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

/* The batch's rows of item_version, as TermsRow by item and time. */
KeyedRows
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
bool
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

/* By subscription, then by beginning. */
static int
compare_interruptions(const void *a, const void *b)
{
	const Interruption *x = a;
	const Interruption *y = b;
	int			order = compare_keys(&x->subscription_id, &y->subscription_id);

	return order != 0 ? order : compare_keys(&x->from, &y->from);
}

/* The batch's rows of interruption that hold, by subscription and beginning. */
KeyedRows
load_interruptions(const AccountBatch *batch, const RunContext *run)
{
	static BatchQuery query = BATCH_QUERY("x.subscription_id, x.from_at, x.to_at", "interruption",
										  "account_id, subscription_id, number", "");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(Interruption));
	int			count = 0;

	for (int i = 0; i < rows.count; i++)
	{
		Interruption row = {
			.subscription_id = query_int64(i, 1, 0), .from = query_int64(i, 2, 0),
			.to = query_int64(i, 3, DT_NOEND)
		};

		if (row.from < row.to)
			((Interruption *) rows.rows)[count++] = row;
	}
	rows.count = count;
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, compare_interruptions);
	return rows;
}

/* Adds terms, or dead ones where NULL, to those that begin earlier; dead after dead says nothing. */
static void
add_terms(SubscriptionItem *item, TimestampTz from, const Terms *terms)
{
	Terms		dead = {.price = NULL};

	if (terms == NULL && item->nterms > 0 && item->terms[item->nterms - 1].price == NULL)
		return;
	item->terms[item->nterms] = terms ? *terms : dead;
	item->terms[item->nterms++].from = from;
}

/* Adds terms that hold from one instant to another, but for the interruptions. */
static void
add_between(SubscriptionItem *item, const Terms *terms, TimestampTz from, TimestampTz to,
			const Interruption *interruptions, int count)
{
	for (int i = 0; i < count && from < to; i++)
	{
		const Interruption *gap = &interruptions[i];

		if (gap->to <= from || gap->from >= to)
			continue;
		if (gap->from > from)
			add_terms(item, from, terms);
		add_terms(item, Max(gap->from, from), NULL);
		from = gap->to;
	}
	if (from < to)
		add_terms(item, from, terms);
}

/* An item ends with its last living terms. */
static void
end_with_life(SubscriptionItem *item)
{
	while (item->nterms > 1)
	{
		const Terms *last = &item->terms[item->nterms - 1];

		if (last->price != NULL && last->from < item->end)
			break;
		item->end = Min(item->end, last->from);
		item->nterms--;
	}
	if (item->terms[0].price == NULL && item->nterms == 1)
		item->end = item->start;
	item->end = Max(item->end, item->start);
}

/*
 * Puts dead terms where the item's subscription is interrupted.  False where
 * it never is.
 */
bool
interrupt_terms(const KeyedRows *interruptions, SubscriptionItem *item)
{
	int			count;
	const Interruption *gaps = find_rows(interruptions, item->subscription->id, &count);
	Terms	   *terms = item->terms;
	int			nterms = item->nterms;

	if (count == 0)
		return false;
	item->terms = palloc(sizeof(Terms) * (nterms + 2 * count));
	item->nterms = 0;
	for (int i = 0; i < nterms; i++)
		add_between(item, &terms[i], i == 0 ? Min(terms[0].from, item->start) : terms[i].from,
					i + 1 < nterms ? terms[i + 1].from : DT_NOEND, gaps, count);
	end_with_life(item);
	return true;
}
