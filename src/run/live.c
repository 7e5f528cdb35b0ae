/*
 * live.c
 *		What was charged to edited accounts, and what was given back of it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "charge/minimum.h"
#include "lib/amount.h"
#include "lib/num.h"
#include "lib/spi.h"
#include "run/account_batch.h"

/* Columns of the query in load_live. */
enum
{
	L_ACCOUNT = 1, L_ITEM, L_SUBSCRIPTION, L_START, L_END, L_REVISION, L_VERSION, L_PERIOD, L_AMOUNT, L_GRANTED,
	L_QUANTITY, L_PRICE, L_PRICE_VERSION, L_ORIGIN, L_ORIGIN_LINE, L_CATEGORY, L_RATE, L_REASON,
	L_PLAN, L_SCHEME, L_GROSS, L_DISCOUNT, L_INCREMENT,
	L_SHARE, L_KIND, L_ORDINAL, L_TAX, L_INCLUSIVE
};

/* A money column in minor units. */
int64
query_amount(int row, int column, int minor_units)
{
	return amount_round(DatumGetNumeric(query_value(row, column)), minor_units);
}

/* A live charge from a row of the query. */
static void
fill_live(LiveCharge *live, RunContext *run, int minor_units, int row)
{
	bool		isnull;
	Datum		quantity = query_datum(row, L_QUANTITY, &isnull);
	Datum		scheme;

	live->item_id = query_int64(row, L_ITEM, 0);
	live->kind = kind_named(query_text(row, L_KIND));
	live->ordinal = query_int64(row, L_ORDINAL, 0);
	live->subscription_id = query_int64(row, L_SUBSCRIPTION, 0);
	live->start = query_int64(row, L_START, 0);
	live->end = query_int64(row, L_END, 0);
	live->revision = DatumGetInt32(query_value(row, L_REVISION));
	live->version = DatumGetInt32(query_value(row, L_VERSION));
	live->period_no = query_int64(row, L_PERIOD, 0);
	live->money = (Money)
	{
		.gross = query_amount(row, L_GROSS, minor_units), .discount = query_amount(row, L_DISCOUNT, minor_units),
			.increment = query_amount(row, L_INCREMENT, minor_units), .amount = query_amount(row, L_AMOUNT, minor_units)
	};
	live->document_discount = query_amount(row, L_SHARE, minor_units);
	live->granted = query_amount(row, L_GRANTED, minor_units);
	live->plan = query_text(row, L_PLAN);
	live->quantity = isnull ? NULL : DatumGetNumericCopy(quantity);
	live->origin_invoice = query_int64(row, L_ORIGIN, 0);
	live->origin_line = DatumGetInt32(query_value(row, L_ORIGIN_LINE));
	live->tax_category = query_text(row, L_CATEGORY);
	live->tax_rate = DatumGetNumericCopy(query_value(row, L_RATE));
	live->tax_reason = query_text(row, L_REASON);
	scheme = query_datum(row, L_SCHEME, &isnull);
	if (live->kind == KIND_MINIMUM)
		live->price = minimum_price(query_text(row, L_TAX), DatumGetBool(query_value(row, L_INCLUSIVE)));
	else
		live->price = run_price(run, query_text(row, L_PRICE), DatumGetInt32(query_value(row, L_PRICE_VERSION)),
								isnull ? NULL : DatumGetJsonbP(scheme));
}

/*
 * Live charges that may differ: of the edited accounts, whose range ends after
 * the earliest edit.  What only drafts carry does not count.  Each comes with
 * the line that charged it first, also where only a correction cut its range
 * out of another one: that is what corrections name.
 */
static void
load_live(AccountBatch *batch, RunContext *run, Datum edited, TimestampTz from)
{
	static SpiQuery query = {
		.text = "SELECT c.account_id, c.item_id, c.subscription_id, c.period_start, c.period_end, c.revision,"
		" c.schedule_version, c.period_no, c.amount, c.granted, c.quantity, c.price, c.price_version,"
		" l.invoice_id, l.line_no, l.tax_category, l.tax_rate, l.tax_reason, l.plan, c.scheme,"
		" coalesce(c.gross_amount, c.amount), coalesce(c.discount_amount, 0), coalesce(c.increment_amount, 0), coalesce(c.document_discount, 0),"
		" c.kind, c.ordinal, l.tax, l.tax_inclusive FROM (SELECT DISTINCT ON (account_id, item_id, kind, period_start, ordinal) *"
		"  FROM billing.charge x WHERE account_id = ANY ($1) AND period_start >= $2 AND NOT EXISTS (SELECT FROM"
		"   billing.invoice_header h WHERE h.account_id = x.account_id AND h.id = x.invoice_id AND h.status = 'draft')"
		"  ORDER BY account_id, item_id, kind, period_start, ordinal, revision DESC) c"
		" JOIN billing.invoice_line w ON w.account_id = c.account_id AND w.invoice_id = c.invoice_id AND w.line_no = c.line_no"
		" CROSS JOIN LATERAL (SELECT w.invoice_id, w.line_no, w.tax_category, w.tax_rate, w.tax_reason, w.plan, w.tax, w.tax_inclusive WHERE w.nature = 'charge'"
		"  UNION ALL (SELECT o.invoice_id, o.line_no, o.tax_category, o.tax_rate, o.tax_reason, o.plan, o.tax, o.tax_inclusive FROM billing.charge r"
		"  JOIN billing.invoice_line b ON b.account_id = r.account_id AND b.invoice_id = r.invoice_id AND b.line_no = r.line_no"
		"  JOIN billing.invoice_line o ON o.account_id = r.account_id"
		"   AND o.invoice_id = CASE WHEN b.nature = 'charge' THEN b.invoice_id ELSE b.corrects_invoice_id END"
		"   AND o.line_no = CASE WHEN b.nature = 'charge' THEN b.line_no ELSE b.corrects_line_no END"
		"  WHERE w.nature <> 'charge' AND r.account_id = c.account_id AND r.item_id = c.item_id AND r.kind = c.kind AND r.period_start = c.period_start"
		"   AND r.ordinal = c.ordinal AND r.revision <= c.revision"
		"  ORDER BY b.nature = 'charge' DESC, CASE WHEN b.nature = 'charge' THEN -r.revision ELSE r.revision END LIMIT 1)) l"
		" ORDER BY c.account_id, c.item_id, c.period_start, c.kind, c.ordinal",
		.nargs = 2, .argtypes = {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {edited, TimestampTzGetDatum(from)};
	int			count = (int) query_run(&query, values, NULL, run->read_only);

	for (int row = 0; row < count; row++)
	{
		BatchAccount *account = batch_find(batch, query_int64(row, L_ACCOUNT, 0));

		if (account->live == NULL)
			account->live = palloc0(sizeof(LiveCharge) * rows_of_account(row, count));
		fill_live(&account->live[account->nlive++], run, account->terms.minor_units, row);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* The documents that the live charges of the batch stand on, as bigint[]. */
static Datum
origin_array(const AccountBatch *batch)
{
	int64	   *ids;
	int			count = 0;

	for (int i = 0; i < batch->count; i++)
		count += batch->accounts[i].nlive + batch->accounts[i].nadded;
	ids = palloc(sizeof(int64) * Max(count, 1));
	count = 0;
	for (int i = 0; i < batch->count; i++)
	{
		const BatchAccount *account = &batch->accounts[i];

		for (int k = 0; k < account->nlive; k++)
			ids[count++] = account->live[k].origin_invoice;
		for (int k = 0; k < account->nadded; k++)
			ids[count++] = account->added[k].invoice_id;
	}
	return array_of_int64(ids, count);
}

/* What of those documents is settled. */
static void
load_origins(AccountBatch *batch, const RunContext *run, Datum *keys)
{
	static SpiQuery query = {
		.text = "SELECT account_id, id, status IN ('paid', 'void'), total + rounding_amount - amount_paid - amount_credited"
		" FROM billing.invoice_header WHERE account_id = ANY ($1) AND id = ANY ($2) ORDER BY 1, 2",
		.nargs = 2, .argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	int			count = (int) query_run(&query, keys, NULL, run->read_only);

	for (int row = 0; row < count; row++)
	{
		BatchAccount *account = batch_find(batch, query_int64(row, 1, 0));
		CorrectionHistory *history = &account->history;

		if (history->origins == NULL)
			history->origins = palloc0(sizeof(OriginDocument) * rows_of_account(row, count));
		history->origins[history->norigins++] = (OriginDocument)
		{
			.id = query_int64(row, 2, 0), .settled = DatumGetBool(query_value(row, 3)),
				.amount_due = query_amount(row, 4, account->terms.minor_units)
		};
	}
	SPI_freetuptable(SPI_tuptable);
}

/* What credit notes gave back of them before. */
static void
load_credited(AccountBatch *batch, const RunContext *run, Datum *keys)
{
	static SpiQuery query = {
		.text = "SELECT l.account_id, l.corrects_invoice_id, l.tax_category, l.tax_rate, l.tax_inclusive, sum(l.amount - l.document_discount)"
		" FROM (SELECT DISTINCT id FROM unnest($2) id) o, LATERAL (SELECT * FROM billing.invoice_line x"
		"  WHERE x.account_id = o.id >> 24 AND x.corrects_invoice_id = o.id OFFSET 0) l"
		" JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id"
		" WHERE l.account_id = ANY ($1) AND h.kind = 'credit_note' AND h.status <> 'draft'"
		" GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2",
		.nargs = 2, .argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	int			count = (int) query_run(&query, keys, NULL, run->read_only);

	for (int row = 0; row < count; row++)
	{
		BatchAccount *account = batch_find(batch, query_int64(row, 1, 0));
		CorrectionHistory *history = &account->history;

		if (history->credited == NULL)
			history->credited = palloc0(sizeof(CreditedBefore) * rows_of_account(row, count));
		history->credited[history->ncredited++] = (CreditedBefore)
		{
			.invoice_id = query_int64(row, 2, 0), .category = query_text(row, 3),
				.rate = DatumGetNumericCopy(query_value(row, 4)), .inclusive = DatumGetBool(query_value(row, 5)),
				.amount = query_amount(row, 6, account->terms.minor_units)
		};
	}
	SPI_freetuptable(SPI_tuptable);
}

/*
 * Loads the live charges of the edited accounts (bigint[]) whose range begins at
 * an instant or later, and what is known of the documents that they stand on.
 */
void
batch_load_live(AccountBatch *batch, RunContext *run, Datum edited, TimestampTz from)
{
	Datum		keys[2] = {edited};

	load_live(batch, run, edited, from);
	batch_load_added(batch, run, edited, from);
	keys[1] = origin_array(batch);
	load_origins(batch, run, keys);
	load_credited(batch, run, keys);
	batch_load_uses(batch, run, keys);
}
