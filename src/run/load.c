/*
 * load.c
 *		What a batch of accounts brings along, from the books into structs.
 *
 * One query per kind of row for the whole batch.  What only edited accounts
 * need (live.c) is asked for these alone, so an ordinary run's cost does not
 * grow with history.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/date.h"
#include "utils/timestamp.h"

#include "charge/minimum.h"
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

/* The ranges of consecutive ids among ascending ones, as bigint[] of lows, highs and their places (from 1). */
AccountRanges
account_ranges(const int64 *ids, int count)
{
	int64	   *lows = palloc(sizeof(int64) * Max(count, 1));
	int64	   *highs = palloc(sizeof(int64) * Max(count, 1));
	int64	   *places = palloc(sizeof(int64) * Max(count, 1));
	int			nranges = 0;

	for (int i = 0; i < count; i++)
	{
		if (nranges == 0 || ids[i] != highs[nranges - 1] + 1)
		{
			places[nranges] = i + 1;
			lows[nranges++] = ids[i];
		}
		highs[nranges - 1] = ids[i];
	}
	return (AccountRanges)
	{
		.lows = array_of_int64(lows, nranges), .highs = array_of_int64(highs, nranges),
			.places = array_of_int64(places, nranges)
	};
}

/*
 * Begins a batch with the account_state rows of the last statement:
 * account_id, next_ordinal, billed_through, recompute_from, event_no, has_credit, by account_id.
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
		account->event_no = query_int64(i, 5, 0);
		account->has_credit = DatumGetBool(query_value(i, 6));
	}
	batch->id_array = array_of_int64(batch->ids, batch->count);
	SPI_freetuptable(SPI_tuptable);
	batch->ranges = account_ranges(batch->ids, batch->count);
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

/*
 * What documents copy from the accounts.  Each has an entity; joined as if it
 * might have none, the accounts are not read again for every entity.
 */
static void
load_terms(AccountBatch *batch, RunContext *run)
{
	static SpiQuery query = {
		.text = "SELECT x.account_id, x.entity, x.currency, x.tax_status, x.payment_terms_days,"
		" coalesce(x.invoice_series, e.invoice_series), coalesce(x.credit_note_series, e.credit_note_series),"
		" x.buyer_reference, x.metadata, s.last_issued_on, x.name, x.country, x.email, x.address, x.tax_ids,"
		" x.invoice_grouping = 'subscription', coalesce(x.grace_period, e.grace_period)"
		OF_BATCH("account", "") " LEFT JOIN billing.entity e ON e.code = x.entity"
		" LEFT JOIN billing.series s ON s.code = coalesce(x.invoice_series, e.invoice_series)",
		.nargs = 2, .argtypes = {INT8ARRAYOID, INT8ARRAYOID}
	};
	Datum		ranges[2] = {batch->ranges.lows, batch->ranges.highs};
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

/* How many rows of the last result, by account in column 1, belong to the account of a row, its first. */
int
rows_of_account(int row, int count)
{
	int64		account_id = query_int64(row, 1, 0);
	int			next = row;

	while (next < count && query_int64(next, 1, 0) == account_id)
		next++;
	return next - row;
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
			account->drafts = palloc0(sizeof(Draft) * rows_of_account(row, count));
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
	if (once_is_over(item, low))
		return from;
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
		{
			for (int k = 0; k < account->subs[s].nitems; k++)
			{
				TimestampTz start = earliest_of_item(&account->subs[s].items[k], low);

				from = Min(from, start);
			}
			from = account->subs[s].waits ? DT_NOBEGIN : minimums_start(&account->subs[s], from);
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
	batch_load_minimums(batch, run);
	for (int i = 0; i < batch->count; i++)
		if (batch->accounts[i].window.recompute_from < DT_NOEND)
			edited[nedited++] = batch->ids[i];
	if (nedited > 0)
		batch_load_live(batch, run, array_of_int64(edited, nedited), earliest_range(batch));
}
