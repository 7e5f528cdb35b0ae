/*
 * discounts.c
 *		Discounts and increments of a batch of accounts, from the books into structs.
 *
 * Those on lines go to the subscriptions, those on whole documents to the
 * account.  A fixed discount of a whole account is one on documents.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "run/keyed_rows.h"

/* A row of table discount. */
typedef struct DiscountRow
{
	int64		account_id;
	bool		document;
	Discount	discount;
} DiscountRow;

static int
compare_discounts(const void *a, const void *b)
{
	const DiscountRow *x = a;
	const DiscountRow *y = b;

	return compare_keys(&x->discount.id, &y->discount.id);
}

/* Columns of the query in load_rows. */
enum
{
	D_ACCOUNT = 1, D_ID, D_SUBSCRIPTION, D_ITEM, D_INCREMENT, D_PERCENTAGE, D_VALUE, D_DOCUMENT, D_FROM, D_TO
};

/* A discount from row n of the query. */
static void
fill_row(DiscountRow *row, int minor_units, int n)
{
	Discount   *discount = &row->discount;
	Numeric		value = DatumGetNumeric(query_value(n, D_VALUE));

	row->account_id = query_int64(n, D_ACCOUNT, 0);
	discount->id = query_int64(n, D_ID, 0);
	discount->subscription_id = query_int64(n, D_SUBSCRIPTION, 0);
	discount->item_id = query_int64(n, D_ITEM, 0);
	discount->increment = DatumGetBool(query_value(n, D_INCREMENT));
	if (DatumGetBool(query_value(n, D_PERCENTAGE)))
		discount->percent = DatumGetNumericCopy(NumericGetDatum(value));
	else
		discount->amount = amount_round(value, minor_units);
	discount->from = query_int64(n, D_FROM, DT_NOBEGIN);
	discount->to = query_int64(n, D_TO, DT_NOEND);
	row->document = DatumGetBool(query_value(n, D_DOCUMENT)) ||
		(discount->percent == NULL && !discount->increment && discount->subscription_id == 0);
}

/* The discounts of a batch's accounts, sorted. */
static KeyedRows
load_rows(AccountBatch *batch, const RunContext *run)
{
	static BatchQuery query = BATCH_QUERY("x.account_id, x.id, x.subscription_id, x.item_id, x.kind = 'increment',"
										  " x.type = 'percentage', x.value, x.document, x.from_at, x.to_at",
										  "discount", "account_id, id", "");
	KeyedRows	rows = rows_of_batch(&query, batch, run->read_only, 0, sizeof(DiscountRow));

	for (int i = 0; i < rows.count; i++)
		fill_row(&((DiscountRow *) rows.rows)[i],
				 batch_find(batch, query_int64(i, D_ACCOUNT, 0))->terms.minor_units, i);
	SPI_freetuptable(SPI_tuptable);
	sort_rows(&rows, compare_discounts);
	return rows;
}

/* Gives a subscription those of its account's rows that work on its lines. */
static void
take_line_discounts(Subscription *sub, const DiscountRow *rows, int count)
{
	sub->discounts = palloc(sizeof(Discount) * count);
	for (int i = 0; i < count; i++)
	{
		const Discount *discount = &rows[i].discount;

		if (!rows[i].document && (discount->subscription_id == 0 || discount->subscription_id == sub->id))
			sub->discounts[sub->ndiscounts++] = *discount;
	}
}

/* Those of an account's discounts that are taken off whole documents. */
static void
take_document_discounts(DocumentDiscounts *discounts, const DiscountRow *rows, int count)
{
	discounts->discounts = palloc(sizeof(DocumentDiscount) * count);
	for (int i = 0; i < count; i++)
	{
		const Discount *discount = &rows[i].discount;

		if (rows[i].document)
			discounts->discounts[discounts->count++] = (DocumentDiscount)
		{
			.id = discount->id, .subscription_id = discount->subscription_id, .percent = discount->percent,
				.left = discount->amount, .from = discount->from, .to = discount->to
		};
	}
}

/* What finished documents used of the fixed discounts on documents is no longer left. */
static void
subtract_uses(AccountBatch *batch, const RunContext *run)
{
	static SpiQuery query = {
		.text = "SELECT u.account_id, u.discount_id, sum(u.amount) FROM billing.discount_use u"
		" JOIN billing.invoice_header h ON h.account_id = u.account_id AND h.id = u.invoice_id"
		" JOIN billing.discount d ON d.account_id = u.account_id AND d.id = u.discount_id"
		" WHERE u.account_id = ANY ($1) AND h.status <> 'draft' AND d.type = 'fixed' GROUP BY 1, 2",
		.nargs = 1, .argtypes = {INT8ARRAYOID}
	};
	int			count = (int) query_run1(&query, run->read_only, batch->id_array);

	for (int row = 0; row < count; row++)
	{
		BatchAccount *account = batch_find(batch, query_int64(row, 1, 0));
		DocumentDiscounts *discounts = &account->history.discounts;

		for (int i = 0; i < discounts->count; i++)
			if (discounts->discounts[i].id == query_int64(row, 2, 0))
				discounts->discounts[i].left -= query_amount(row, 3, account->terms.minor_units);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Gives the accounts and their subscriptions, which are loaded, their discounts. */
void
batch_load_discounts(AccountBatch *batch, const RunContext *run)
{
	KeyedRows	rows = load_rows(batch, run);
	bool		fixed = false;

	for (int i = 0; i < batch->count && rows.count > 0; i++)
	{
		BatchAccount *account = &batch->accounts[i];
		int			count;
		const DiscountRow *row = find_rows(&rows, batch->ids[i], &count);

		if (row == NULL)
			continue;
		take_document_discounts(&account->history.discounts, row, count);
		for (int k = 0; k < account->history.discounts.count; k++)
			fixed = fixed || account->history.discounts.discounts[k].percent == NULL;
		for (int s = 0; s < account->nsubs; s++)
			take_line_discounts(&account->subs[s], row, count);
	}
	if (fixed)
		subtract_uses(batch, run);
}

/*
 * What documents that may be corrected still hold of discounts; keys are the
 * accounts and the documents, bigint[] each.
 */
void
batch_load_uses(AccountBatch *batch, const RunContext *run, Datum *keys)
{
	static SpiQuery query = {
		.text = "SELECT u.account_id, u.origin_invoice_id, u.discount_id, sum(u.amount) FROM billing.discount_use u"
		" JOIN billing.invoice_header h ON h.account_id = u.account_id AND h.id = u.invoice_id"
		" WHERE u.account_id = ANY ($1) AND u.origin_invoice_id = ANY ($2) AND h.status <> 'draft'"
		" GROUP BY 1, 2, 3 HAVING sum(u.amount) > 0 ORDER BY 1, 2, 3",
		.nargs = 2, .argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	int			count = (int) query_run(&query, keys, NULL, run->read_only);

	for (int row = 0; row < count; row++)
	{
		BatchAccount *account = batch_find(batch, query_int64(row, 1, 0));
		DocumentDiscounts *discounts = &account->history.discounts;

		if (discounts->uses == NULL)
			discounts->uses = palloc(sizeof(DiscountUse) * rows_of_account(row, count));
		discounts->uses[discounts->nuses++] = (DiscountUse)
		{
			.origin_invoice = query_int64(row, 2, 0), .discount_id = query_int64(row, 3, 0),
				.amount = query_amount(row, 4, account->terms.minor_units)
		};
	}
	SPI_freetuptable(SPI_tuptable);
}
