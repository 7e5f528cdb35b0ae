/*
 * origins.c
 *		Which lines a correction gives back.
 *
 * A range that was charged further after its first line stands on several
 * lines: late usage, a range regained.  What is given back of it comes from the
 * latest of them first, never more than the line still holds, and at last from
 * the line that charged it first.  So no invoice is given back beyond itself.
 *
 * What people gave back, a line holds no more, though its charge is given up
 * whole where its terms change.  What is missing comes from other lines of the
 * key, and at last off what the key charges anew in the same run: no key is
 * granted more than it charges, so that is enough.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "lib/num.h"
#include "lib/search.h"
#include "lib/spi.h"
#include "run/account_batch.h"

/* Was any of the batch's live charges corrected before? */
static bool
any_revised(const AccountBatch *batch)
{
	for (int i = 0; i < batch->count; i++)
		for (int k = 0; k < batch->accounts[i].nlive; k++)
			if (batch->accounts[i].live[k].revision > 0)
				return true;
	return false;
}

/* The accounts of the batch in which people gave something back, as bigint[]. */
static Datum
granted_accounts(const AccountBatch *batch)
{
	int64	   *ids = palloc(sizeof(int64) * Max(batch->count, 1));
	int			count = 0;

	for (int i = 0; i < batch->count; i++)
		for (int k = 0; k < batch->accounts[i].nlive; k++)
			if (batch->accounts[i].live[k].granted > 0)
			{
				ids[count++] = batch->accounts[i].terms.account_id;
				break;
			}
	return array_of_int64(ids, count);
}

/*
 * Loads the lines that charged ranges of edited accounts further, by item, the latest first; of accounts
 * in which people gave something back also the first ones.  Each line is looked up by its key, whatever the planner
 * thinks of tables that were empty when the plan was made.
 */
void
batch_load_added(AccountBatch *batch, const RunContext *run, Datum edited, TimestampTz from)
{
	static SpiQuery query = {
		.text = "SELECT r.account_id, r.item_id, r.kind, r.ordinal, r.period_start, b.invoice_id, b.line_no,"
		" r.schedule_version, r.period_no, b.nature = 'charge', b.tax_category, b.tax_rate, b.tax_inclusive,"
		" b.amount + coalesce((SELECT sum(CASE g.kind WHEN 'credit_note' THEN -c.amount ELSE c.amount END) FROM billing.invoice_line c"
		"  JOIN billing.invoice_header g ON g.account_id = c.account_id AND g.id = c.invoice_id"
		"  WHERE c.account_id = b.account_id AND c.corrects_invoice_id = b.invoice_id AND c.corrects_line_no = b.line_no"
		"   AND (g.kind = 'credit_note' OR c.amount < 0) AND g.status <> 'draft'), 0)"
		" FROM billing.charge r CROSS JOIN LATERAL (SELECT l.* FROM billing.invoice_line l"
		"  JOIN billing.invoice_header h ON h.account_id = l.account_id AND h.id = l.invoice_id"
		"  WHERE l.account_id = r.account_id AND l.invoice_id = r.invoice_id AND l.line_no = r.line_no AND l.amount > 0"
		"   AND (l.nature = 'correction' OR l.nature = 'charge' AND l.account_id = ANY ($3))"
		"   AND h.kind = 'invoice' AND h.status <> 'draft' OFFSET 0) b"
		" WHERE r.account_id = ANY ($1) AND r.period_start >= $2 ORDER BY r.account_id, r.item_id, r.revision DESC, 6 DESC, 7 DESC",
		.nargs = 3, .argtypes = {INT8ARRAYOID, TIMESTAMPTZOID, INT8ARRAYOID}
	};
	Datum		values[3] = {edited, TimestampTzGetDatum(from), granted_accounts(batch)};
	int			count;

	if (!any_revised(batch))
		return;
	count = (int) query_run(&query, values, NULL, run->read_only);
	for (int row = 0; row < count; row++)
	{
		BatchAccount *account = batch_find(batch, query_int64(row, 1, 0));

		if (account->added == NULL)
			account->added = palloc(sizeof(AddedLine) * rows_of_account(row, count));
		account->added[account->nadded++] = (AddedLine)
		{
			.item_id = query_int64(row, 2, 0), .kind = kind_named(query_text(row, 3)), .ordinal = query_int64(row, 4, 0),
				.start = query_int64(row, 5, 0), .invoice_id = query_int64(row, 6, 0),
				.line_no = DatumGetInt32(query_value(row, 7)), .version = DatumGetInt32(query_value(row, 8)),
				.period_no = query_int64(row, 9, 0), .first = DatumGetBool(query_value(row, 10)), .tax_category = query_text(row, 11),
				.tax_rate = DatumGetNumericCopy(query_value(row, 12)), .tax_inclusive = DatumGetBool(query_value(row, 13)),
				.holds = query_amount(row, 14, account->terms.minor_units)
		};
	}
	SPI_freetuptable(SPI_tuptable);
}

/* round(value x part / whole), of either sign. */
static int64
share_of(int64 value, int64 part, int64 whole)
{
	int64		share = amount_prorate(num_from_int(value < 0 ? -value : value), part, whole, 0);

	return value < 0 ? -share : share;
}

/*
 * Cuts an amount off a correction that gives back: a correction of the added
 * line, after which the live row stands as before but for that amount.
 */
static Delta
cut_off(Delta *delta, const AddedLine *added, int64 amount)
{
	LiveCharge *live = palloc(sizeof(LiveCharge));
	int64		whole = -delta->money.amount;
	Delta		part = *delta;

	*live = *delta->live;
	live->origin_invoice = added->invoice_id;
	live->origin_line = added->line_no;
	part.live = live;
	part.money.amount = -amount;
	part.money.discount = share_of(delta->money.discount, amount, whole);
	part.money.increment = share_of(delta->money.increment, amount, whole);
	part.money.gross = part.money.amount + part.money.discount - part.money.increment;
	part.document_discount = 0;
	part.quantity = NULL;
	delta->money = money_sub(delta->money, part.money);
	return part;
}

/* The lines of an item, which are some of its account's. */
static AddedLine *
added_of_item(const BatchAccount *account, int64 item_id, int *count)
{
	int			first = FIRST_OF_KEY(AddedLine, item_id, account->added, account->nadded, item_id);
	int			next = first;

	while (next < account->nadded && account->added[next].item_id == item_id)
		next++;
	*count = next - first;
	return account->added + first;
}

/* Notes that one of an item's lines gave an amount back; it may have charged several ranges. */
static void
note_given(AddedLine *added, int nadded, const AddedLine *line, int64 amount)
{
	for (int i = 0; i < nadded; i++)
		if (added[i].invoice_id == line->invoice_id && added[i].line_no == line->line_no && &added[i] != line)
			added[i].holds -= amount;
}

static bool
is_origin(const AddedLine *added, const Delta *delta)
{
	return added->invoice_id == delta->live->origin_invoice && added->line_no == delta->live->origin_line;
}

/* Did the line charge the range further? */
static bool
charged_further(const AddedLine *added, const Delta *delta)
{
	return !added->first && added->kind == delta->kind && added->ordinal == delta->ordinal &&
		added->start == delta->live->start;
}

/* Did the line charge something of the correction's key, with the tax that the correction has? */
static bool
shares_key(const AddedLine *added, const Delta *delta)
{
	return added->kind == delta->kind && (counts_ranges(delta->kind) || added->ordinal == delta->ordinal) &&
		added->version == delta->version && added->period_no == delta->period_no && !is_origin(added, delta) &&
		strcmp(added->tax_category, delta->live->tax_category) == 0 && same_numeric(added->tax_rate, delta->live->tax_rate) &&
		added->tax_inclusive == delta->live->price->tax_inclusive;
}

/* Cuts parts off a correction, no more than left in all, that lines give back which belong to it in one way; returns how many. */
static int
cut_parts(AddedLine *lines, int nlines, bool (*belongs) (const AddedLine *, const Delta *), Delta *rest, int64 left, Delta *parts)
{
	int			count = 0;

	for (int i = 0; i < nlines && left > 0; i++)
	{
		AddedLine  *added = &lines[i];
		int64		amount = Min(left, added->holds);

		if (amount <= 0 || !belongs(added, rest))
			continue;
		parts[count++] = cut_off(rest, added, amount);
		added->holds -= amount;
		note_given(lines, nlines, added, amount);
		left -= amount;
	}
	return count;
}

/* What a correction would give back of the line that charged its range first beyond what that holds. */
static int64
beyond_origin(const AddedLine *lines, int nlines, const Delta *rest)
{
	int64		left = -rest->money.amount + rest->document_discount;

	for (int i = 0; i < nlines; i++)
		if (is_origin(&lines[i], rest))
			return Min(left, -rest->money.amount - Max(lines[i].holds, 0));
	return 0;
}

/* What of the item is charged in the run; NULL: nothing. */
static const Delta *
charged_anew(const DeltaList *list, const Delta *delta)
{
	for (int i = 0; i < list->count; i++)
		if (list->deltas[i].item_id == delta->item_id && list->deltas[i].kind == delta->kind && list->deltas[i].money.amount > 0)
			return &list->deltas[i];
	return NULL;
}

/* Cuts off what no line holds, to be set off against what is charged anew; returns how many parts that makes. */
static int
cut_beyond(const DeltaList *list, const AddedLine *lines, int nlines, Delta *rest, Delta *part)
{
	int64		amount = beyond_origin(lines, nlines, rest);
	const Delta *charge = amount > 0 ? charged_anew(list, rest) : NULL;
	AddedLine	origin = {.invoice_id = rest->live->origin_invoice, .line_no = rest->live->origin_line};

	if (charge == NULL)
		return 0;
	*part = cut_off(rest, &origin, amount);
	part->set_off = true;
	part->due = charge->due;
	return 1;
}

/*
 * Splits a correction that gives back between the item's lines; returns the number of parts, the last of
 * which is what the line gives back that charged the range first, unless that is
 * nothing.  A share of document discounts comes back with that line, which has it.
 */
static int
split_correction(const DeltaList *list, AddedLine *lines, int nlines, const Delta *delta, Delta *parts)
{
	Delta		rest = *delta;
	int			count;

	count = cut_parts(lines, nlines, charged_further, &rest, -rest.money.amount + rest.document_discount, parts);
	count += cut_parts(lines, nlines, shares_key, &rest, beyond_origin(lines, nlines, &rest), parts + count);
	count += cut_beyond(list, lines, nlines, &rest, parts + count);
	for (int i = 0; i < nlines; i++)
		if (is_origin(&lines[i], &rest))
			lines[i].holds += rest.money.amount;
	if (count == 0 || rest.money.amount != 0 || rest.money.gross != 0 || rest.document_discount != 0)
		parts[count++] = rest;
	parts[count - 1].quantity = delta->quantity;
	return count;
}

/* The row of a correction that revises what begins where its live row does. */
static const ChargeRow *
revising_row(const Delta *delta)
{
	for (int i = 0; i < delta->nrows; i++)
		if (delta->rows[i].start == delta->live->start)
			return &delta->rows[i];
	elog(ERROR, "a correction without a revision");
}

/* Makes room for more revisions of what the row begins with; places are the list's, by item. */
static void
shift_revisions(const DeltaList *list, const DeltaPlace *places, const Delta *delta, const ChargeRow *from, int more)
{
	TimestampTz start = from->start;
	int			revision = from->revision;

	for (int i = FIRST_OF_KEY(DeltaPlace, item_id, places, list->count, delta->item_id);
		 i < list->count && places[i].item_id == delta->item_id; i++)
	{
		const Delta *other = &list->deltas[places[i].place];

		if (other->kind != delta->kind || other->ordinal != delta->ordinal)
			continue;
		for (int k = 0; k < other->nrows; k++)
			if (other->rows[k].start == start && other->rows[k].revision >= revision)
				other->rows[k].revision += more;
	}
}

/* Gives each part but the last, which keeps the rows, the row that is live after it. */
static void
number_parts(const DeltaList *list, const DeltaPlace *places, const Delta *delta, Delta *parts, int count)
{
	const LiveCharge *live = delta->live;
	const ChargeRow *revising = revising_row(delta);
	Money		money = live->money;
	int			revision = revising->revision;

	for (int i = 0; i < count - 1; i++)
	{
		ChargeRow  *row = palloc(sizeof(ChargeRow));

		money = money_add(money, parts[i].money);
		*row = (ChargeRow)
		{
			.start = live->start, .end = live->end, .revision = revision + i, .money = money,
				.document_discount = live->document_discount, .granted = revising->granted,
				.quantity = live->quantity, .price = live->price
		};
		parts[i].rows = row;
		parts[i].nrows = 1;
	}
	shift_revisions(list, places, delta, revising, count - 1);
}

/* Makes room in a list for more differences. */
static void
reserve(DeltaList *list, int more)
{
	if (list->count + more <= list->capacity)
		return;
	list->capacity = Max(2 * list->capacity, list->count + more);
	list->deltas = list->deltas == NULL ? palloc(sizeof(Delta) * list->capacity)
		: repalloc_huge(list->deltas, sizeof(Delta) * list->capacity);
}

/* Splits the account's corrections to the lines that they give back. */
void
split_corrections(BatchAccount *account)
{
	DeltaList  *list = &account->deltas;
	DeltaList	split = {.postponed = list->postponed, .early_from = list->early_from};

	DeltaPlace *places;

	if (account->nadded == 0)
		return;
	places = deltas_by_item(list);
	for (int i = 0; i < list->count; i++)
	{
		const Delta *delta = &list->deltas[i];
		int			nlines = 0;
		AddedLine  *lines = NULL;
		int			parts = 1;

		if (delta->correction && delta->money.amount < 0)
			lines = added_of_item(account, delta->item_id, &nlines);
		reserve(&split, nlines + 2);
		Assert(split.deltas != NULL);
		if (nlines > 0)
			parts = split_correction(list, lines, nlines, delta, split.deltas + split.count);
		else
			split.deltas[split.count] = *delta;
		if (parts > 1)
			number_parts(list, places, delta, split.deltas + split.count, parts);
		split.count += parts;
	}
	*list = split;
}
