/*
 * load.c
 *		What a batch of accounts brings along, from the books into structs.
 *
 * One query per kind of row for the whole batch.  What only edited accounts
 * need (live charges, credited amounts) is asked for these alone, so an
 * ordinary run's cost does not grow with history.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "lib/amount.h"
#include "lib/currency.h"
#include "lib/num.h"
#include "lib/spi.h"
#include "run/account_batch.h"

/* The account with an id of the batch. */
BatchAccount *
batch_find(AccountBatch *batch, int64 account_id)
{
	int			low = 0;
	int			high = batch->count - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int64		id = batch->ids[middle];

		if (id == account_id)
			return &batch->accounts[middle];
		if (id < account_id)
			low = middle + 1;
		else
			high = middle - 1;
	}
	elog(ERROR, "account " INT64_FORMAT " is not in the batch", account_id);
}

/* Takes down the ranges of consecutive ids in the batch. */
static void
note_ranges(AccountBatch *batch)
{
	int64	   *lows = palloc(sizeof(int64) * Max(batch->count, 1));
	int64	   *highs = palloc(sizeof(int64) * Max(batch->count, 1));
	int			count = 0;

	for (int i = 0; i < batch->count; i++)
	{
		if (count == 0 || batch->ids[i] != highs[count - 1] + 1)
			lows[count++] = batch->ids[i];
		highs[count - 1] = batch->ids[i];
	}
	batch->lows = array_of_int64(lows, count);
	batch->highs = array_of_int64(highs, count);
}

/*
 * Begins a batch with the account_state rows of the last statement:
 * account_id, next_ordinal, billed_through, recompute_from, by account_id.
 */
void
batch_accept_states(AccountBatch *batch)
{
	batch->count = (int) SPI_processed;
	batch->overlay = NULL;
	batch->accounts = palloc0(sizeof(BatchAccount) * Max(batch->count, 1));
	batch->ids = palloc(sizeof(int64) * Max(batch->count, 1));
	for (int i = 0; i < batch->count; i++)
	{
		BatchAccount *account = &batch->accounts[i];

		batch->ids[i] = account->terms.account_id = query_int64(i, 1, 0);
		account->next_ordinal = DatumGetInt32(query_value(i, 2));
		account->billed_through = query_int64(i, 3, DT_NOBEGIN);
		account->recompute_from = query_int64(i, 4, DT_NOEND);
	}
	batch->id_array = array_of_int64(batch->ids, batch->count);
	SPI_freetuptable(SPI_tuptable);
	note_ranges(batch);
}

/* Columns of the query in load_terms. */
enum
{
	T_ACCOUNT = 1, T_ENTITY, T_CURRENCY, T_TAX_STATUS, T_TERMS, T_INVOICE_SERIES, T_CREDIT_NOTE_SERIES,
	T_REFERENCE, T_METADATA, T_ISSUED, T_NAME, T_COUNTRY, T_EMAIL, T_ADDRESS, T_TAX_IDS, T_BY_SUBSCRIPTION, T_GRACE
};

static void
push_member(JsonbParseState **state, char *name, JsonbValue *value)
{
	JsonbValue	key = {.type = jbvString, .val.string = {.len = strlen(name), .val = name}};

	(void) pushJsonbValue(state, WJB_KEY, &key);
	(void) pushJsonbValue(state, WJB_VALUE, value);
}

/* Adds a text column that is not null. */
static void
push_text(JsonbParseState **state, char *name, int row, int column)
{
	JsonbValue	member = {.type = jbvString};
	bool		isnull;
	Datum		value = query_datum(row, column, &isnull);
	text	   *string;

	if (isnull)
		return;
	string = DatumGetTextPP(value);
	member.val.string.len = VARSIZE_ANY_EXHDR(string);
	member.val.string.val = VARDATA_ANY(string);
	push_member(state, name, &member);
}

/* Adds a jsonb column that is not empty. */
static void
push_jsonb(JsonbParseState **state, char *name, int row, int column)
{
	Jsonb	   *json = DatumGetJsonbP(query_value(row, column));
	JsonbValue	member = {.type = jbvBinary};

	if (JB_ROOT_COUNT(json) == 0)
		return;
	member.val.binary.len = VARSIZE(json) - VARHDRSZ;
	member.val.binary.data = &json->root;
	push_member(state, name, &member);
}

/* The buyer as documents copy it; what is null or empty is left out. */
static Jsonb *
buyer_of(int row)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, "name", row, T_NAME);
	push_text(&state, "country", row, T_COUNTRY);
	push_text(&state, "email", row, T_EMAIL);
	push_jsonb(&state, "address", row, T_ADDRESS);
	push_jsonb(&state, "tax_ids", row, T_TAX_IDS);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* What documents copy from the accounts. */
static void
load_terms(AccountBatch *batch, RunContext *run)
{
	static SpiQuery query = {
		.text = "SELECT x.account_id, x.entity, x.currency, x.tax_status, x.payment_terms_days,"
		" coalesce(x.invoice_series, e.invoice_series), coalesce(x.credit_note_series, e.credit_note_series),"
		" x.buyer_reference, x.metadata, s.last_issued_on, x.name, x.country, x.email, x.address, x.tax_ids,"
		" x.invoice_grouping = 'subscription', coalesce(x.grace_period, e.grace_period)"
		OF_BATCH("account", "") " JOIN billing.entity e ON e.code = x.entity"
		" LEFT JOIN billing.series s ON s.code = coalesce(x.invoice_series, e.invoice_series)",
		.nargs = 2, .argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		ranges[2] = {batch->lows, batch->highs};
	int			count = (int) query_run(&query, ranges, NULL, run->read_only);

	for (int i = 0; i < count; i++)
	{
		AccountTerms *terms = &batch_find(batch, query_int64(i, T_ACCOUNT, 0))->terms;
		const Entity *entity = run_entity(run, query_text(i, T_ENTITY));
		bool		isnull;
		Datum		last_issued_on = query_datum(i, T_ISSUED, &isnull);

		terms->entity = entity->code;
		terms->entity_tz = entity->tz;
		terms->seller = entity->snapshot;
		terms->currency = query_text(i, T_CURRENCY);
		terms->minor_units = currency_minor_units(terms->currency);
		terms->tax_status = query_text(i, T_TAX_STATUS);
		terms->payment_terms_days = DatumGetInt32(query_value(i, T_TERMS));
		terms->invoice_series = query_text(i, T_INVOICE_SERIES);
		terms->credit_note_series = query_text(i, T_CREDIT_NOTE_SERIES);
		terms->buyer_reference = query_text(i, T_REFERENCE);
		terms->metadata = DatumGetJsonbPCopy(query_value(i, T_METADATA));
		terms->last_issued_on = isnull ? DATEVAL_NOBEGIN : DatumGetDateADT(last_issued_on);
		terms->buyer = buyer_of(i);
		terms->by_subscription = DatumGetBool(query_value(i, T_BY_SUBSCRIPTION));
		terms->grace = *DatumGetIntervalP(query_value(i, T_GRACE));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Drafts of the accounts: what they carry is compared again. */
static void
load_drafts(AccountBatch *batch, const RunContext *run)
{
	static SpiQuery query = {
		.text = "SELECT h.account_id, h.id, h.kind = 'credit_note', h.billed_at, h.tax_scope, h.billing_group,"
		" (SELECT min(c.period_start) FROM billing.charge c WHERE c.account_id = h.account_id AND c.invoice_id = h.id)"
		", h.finalize_after FROM billing.invoice_header h WHERE h.account_id = ANY ($1) AND h.status = 'draft' ORDER BY 1, 2",
		.nargs = 1, .argtypes = {INT8ARRAYOID}
	};
	int			count = (int) query_run1(&query, run->read_only, batch->id_array);

	for (int row = 0; row < count; row++)
	{
		BatchAccount *account = batch_find(batch, query_int64(row, 1, 0));
		Draft	   *draft;

		if (account->drafts == NULL)
			account->drafts = palloc0(sizeof(Draft) * count);
		draft = &account->drafts[account->ndrafts++];
		draft->id = query_int64(row, 2, 0);
		draft->credit_note = DatumGetBool(query_value(row, 3));
		draft->due = query_int64(row, 4, 0);
		draft->scope = query_text(row, 5);
		draft->billing_group = query_text(row, 6);
		draft->finalize_after = query_int64(row, 8, DT_NOEND);
		account->window.billed_through = Min(account->window.billed_through, draft->due - 1);
		account->window.recompute_from = Min(account->window.recompute_from, query_int64(row, 7, DT_NOEND));
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Columns of the query in load_live. */
enum
{
	L_ACCOUNT = 1, L_ITEM, L_SUBSCRIPTION, L_START, L_END, L_REVISION, L_VERSION, L_PERIOD, L_AMOUNT, L_GRANTED,
	L_QUANTITY, L_PRICE, L_PRICE_VERSION, L_ORIGIN, L_ORIGIN_LINE, L_CATEGORY, L_RATE, L_REASON,
	L_PLAN, L_SCHEME, L_GROSS, L_DISCOUNT, L_INCREMENT,
	L_SHARE, L_KIND, L_ORDINAL
};

/* A money column in minor units. */
int64
query_amount(int row, int column, int minor_units)
{
	return amount_round(DatumGetNumeric(query_value(row, column)), minor_units);
}

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
		" c.kind, c.ordinal FROM (SELECT DISTINCT ON (account_id, item_id, kind, period_start, ordinal) *"
		"  FROM billing.charge x WHERE account_id = ANY ($1) AND period_start >= $2 AND NOT EXISTS (SELECT FROM"
		"   billing.invoice_header h WHERE h.account_id = x.account_id AND h.id = x.invoice_id AND h.status = 'draft')"
		"  ORDER BY account_id, item_id, kind, period_start, ordinal, revision DESC) c"
		" CROSS JOIN LATERAL (SELECT o.* FROM billing.charge r"
		"  JOIN billing.invoice_line b ON b.account_id = r.account_id AND b.invoice_id = r.invoice_id AND b.line_no = r.line_no"
		"  JOIN billing.invoice_line o ON o.account_id = r.account_id"
		"   AND o.invoice_id = CASE WHEN b.nature = 'charge' THEN b.invoice_id ELSE b.corrects_invoice_id END"
		"   AND o.line_no = CASE WHEN b.nature = 'charge' THEN b.line_no ELSE b.corrects_line_no END"
		"  WHERE r.account_id = c.account_id AND r.item_id = c.item_id AND r.kind = c.kind AND r.period_start = c.period_start"
		"   AND r.ordinal = c.ordinal AND r.revision <= c.revision"
		"  ORDER BY b.nature = 'charge' DESC, CASE WHEN b.nature = 'charge' THEN -r.revision ELSE r.revision END LIMIT 1) l"
		" ORDER BY c.account_id, c.item_id, c.period_start",
		.nargs = 2, .argtypes = {INT8ARRAYOID, TIMESTAMPTZOID}
	};
	Datum		values[2] = {edited, TimestampTzGetDatum(from)};
	int			count = (int) query_run(&query, values, NULL, run->read_only);

	for (int row = 0; row < count; row++)
	{
		BatchAccount *account = batch_find(batch, query_int64(row, L_ACCOUNT, 0));

		if (account->live == NULL)
			account->live = palloc0(sizeof(LiveCharge) * (count - row));
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
		count += batch->accounts[i].nlive;
	ids = palloc(sizeof(int64) * Max(count, 1));
	count = 0;
	for (int i = 0; i < batch->count; i++)
		for (int k = 0; k < batch->accounts[i].nlive; k++)
			ids[count++] = batch->accounts[i].live[k].origin_invoice;
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
			history->origins = palloc0(sizeof(OriginDocument) * (count - row));
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
		" FROM billing.invoice_header h JOIN billing.invoice_line l ON l.account_id = h.account_id AND l.invoice_id = h.id"
		" WHERE h.account_id = ANY ($1) AND l.corrects_invoice_id = ANY ($2) AND h.kind = 'credit_note' AND h.status <> 'draft'"
		" GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2",
		.nargs = 2, .argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	int			count = (int) query_run(&query, keys, NULL, run->read_only);

	for (int row = 0; row < count; row++)
	{
		BatchAccount *account = batch_find(batch, query_int64(row, 1, 0));
		CorrectionHistory *history = &account->history;

		if (history->credited == NULL)
			history->credited = palloc0(sizeof(CreditedBefore) * (count - row));
		history->credited[history->ncredited++] = (CreditedBefore)
		{
			.invoice_id = query_int64(row, 2, 0), .category = query_text(row, 3),
				.rate = DatumGetNumericCopy(query_value(row, 4)), .inclusive = DatumGetBool(query_value(row, 5)),
				.amount = query_amount(row, 6, account->terms.minor_units)
		};
	}
	SPI_freetuptable(SPI_tuptable);
}

/* How far back a range of an item may begin that is compared from an instant on. */
static TimestampTz
earliest_of_item(const SubscriptionItem *item, TimestampTz low)
{
	TimestampTz from = DT_NOEND;
	PieceList	pieces = {0};

	if (low == DT_NOBEGIN)
		return low;
	if (has_periods(item))
		return schedule_start(&item->schedule, schedule_period_at(&item->schedule, low) - 1);
	once_pieces(item, &pieces);
	for (int i = 0; i < pieces.count; i++)
		if (piece_latest(&pieces.pieces[i]) > low)
			from = Min(from, pieces.pieces[i].start);
	return from;
}

/*
 * How far back a range may begin that an edited account has to compare: the
 * period before the earliest edit, or before what becomes due late.
 */
static TimestampTz
earliest_range(const AccountBatch *batch)
{
	TimestampTz from = DT_NOEND;

	for (int i = 0; i < batch->count; i++)
	{
		const BatchAccount *account = &batch->accounts[i];
		TimestampTz low = Min(account->window.recompute_from, account->window.billed_through);

		if (account->window.recompute_from == DT_NOEND)
			continue;
		low = low == DT_NOBEGIN ? low : low - LATE_DUE;
		for (int s = 0; s < account->nsubs; s++)
			for (int k = 0; k < account->subs[s].nitems; k++)
			{
				TimestampTz start = earliest_of_item(&account->subs[s].items[k], low);

				from = Min(from, start);
			}
	}
	return from;
}

/* Loads everything but usage; the states are there. */
void
batch_load(AccountBatch *batch, RunContext *run, TimestampTz at)
{
	int64	   *edited = palloc(sizeof(int64) * Max(batch->count, 1));
	int			nedited = 0;

	for (int i = 0; i < batch->count; i++)
		batch->accounts[i].window = (Window)
	{
		.billed_through = batch->accounts[i].billed_through,
			.recompute_from = batch->accounts[i].recompute_from,
			.horizon = Max(at, batch->accounts[i].billed_through)
	};
	load_drafts(batch, run);
	load_terms(batch, run);
	batch_load_timelines(batch, run);
	batch_load_discounts(batch, run);
	for (int i = 0; i < batch->count; i++)
		if (batch->accounts[i].window.recompute_from < DT_NOEND)
			edited[nedited++] = batch->ids[i];
	if (nedited > 0)
	{
		Datum		keys[2] = {array_of_int64(edited, nedited)};

		load_live(batch, run, keys[0], earliest_range(batch));
		keys[1] = origin_array(batch);
		load_origins(batch, run, keys);
		load_credited(batch, run, keys);
		batch_load_uses(batch, run, keys);
	}
}
