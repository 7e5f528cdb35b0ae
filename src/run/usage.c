/*
 * usage.c
 *		Quantities of a batch's metered pieces, by one statement.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "lib/num.h"
#include "lib/spi.h"
#include "run/account_batch.h"

#define REQUEST_COLUMNS(X) \
	X(n, INT4OID, false) X(account_id, INT8OID, false) X(subscription_id, INT8OID, false) \
	X(meter, TEXTOID, false) X(start_at, TIMESTAMPTZOID, false) X(end_at, TIMESTAMPTZOID, false) \
	X(aggregation, INT4OID, false)

#define X(name, type, sealed) REQUEST_##name,
enum
{
	REQUEST_COLUMNS(X) REQUEST_COUNT
};
#undef X

static const Column request_columns[REQUEST_COUNT] = {
#define X(name, type, sealed) {#name, sizeof(#name) - 1, type, sealed},
	REQUEST_COLUMNS(X)
#undef X
};

/* All metered pieces of the batch, in order. */
static Piece **
metered_pieces(AccountBatch *batch, int *count)
{
	Piece	  **pieces = NULL;
	int			capacity = 0;

	*count = 0;
	for (int i = 0; i < batch->count; i++)
		for (int k = 0; k < batch->accounts[i].pieces.count; k++)
		{
			Piece	   *piece = &batch->accounts[i].pieces.pieces[k];

			if (piece->price->aggregation == AGGREGATE_NONE)
				continue;
			if (*count == capacity)
			{
				capacity = Max(256, 2 * capacity);
				pieces = pieces == NULL ? palloc(sizeof(Piece *) * capacity)
					: repalloc(pieces, sizeof(Piece *) * capacity);
			}
			piece->quantity = num_from_int(0);
			pieces[(*count)++] = piece;
		}
	return pieces;
}

/* Asks for the usage in a range, for piece n. */
static void
put_request(Rows *requests, int n, const Piece *piece, TimestampTz start, TimestampTz end)
{
	Datum		values[REQUEST_COUNT];
	bool		nulls[REQUEST_COUNT] = {false};

	if (start >= end)
		return;
	values[REQUEST_n] = Int32GetDatum(n);
	values[REQUEST_account_id] = Int64GetDatum(piece->item->id >> 24);
	values[REQUEST_subscription_id] = Int64GetDatum(piece->item->subscription->id);
	values[REQUEST_meter] = CStringGetTextDatum(piece->price->meter);
	values[REQUEST_start_at] = TimestampTzGetDatum(start);
	values[REQUEST_end_at] = TimestampTzGetDatum(end);
	values[REQUEST_aggregation] = Int32GetDatum(piece->price->aggregation);
	rows_put(requests, values, nulls);
}

/* Asks for the usage of piece n: all in its range, but for that while it was interrupted. */
static void
put_requests(Rows *requests, int n, const Piece *piece)
{
	const SubscriptionItem *item = piece->item;
	TimestampTz start = terms_at(item, piece->start) ? piece->start : piece->end;

	for (int i = 0; i < item->nterms; i++)
	{
		TimestampTz at = item->terms[i].from;

		if (at <= piece->start || at >= piece->end)
			continue;
		if (item->terms[i].price == NULL)
		{
			put_request(requests, n, piece, start, at);
			start = piece->end;
		}
		else
			start = Min(start, at);
	}
	put_request(requests, n, piece, start, piece->end);
}

/* The amounts of a percentage price's transactions, copied. */
static void
take_transactions(Piece *piece, ArrayType *array)
{
	Datum	   *elements;
	bool	   *nulls;

	deconstruct_array(array, NUMERICOID, -1, false, TYPALIGN_INT, &elements, &nulls, &piece->ntransactions);
	piece->transactions = palloc(sizeof(Numeric) * piece->ntransactions);
	for (int i = 0; i < piece->ntransactions; i++)
		piece->transactions[i] = DatumGetNumericCopy(elements[i]);
}

/* Result columns: n, count, sum, max, last, transactions. */
static void
take_result(Piece **pieces, int row)
{
	Piece	   *piece = pieces[DatumGetInt32(query_value(row, 1))];
	bool		isnull;
	Datum		transactions;

	switch (piece->price->aggregation)
	{
		case AGGREGATE_COUNT:
			piece->quantity = num_from_int(query_int64(row, 2, 0));
			break;
		case AGGREGATE_MAX:
			piece->quantity = DatumGetNumericCopy(query_value(row, 4));
			break;
		case AGGREGATE_LAST:
			piece->quantity = DatumGetNumericCopy(query_value(row, 5));
			break;
		default:
			piece->quantity = DatumGetNumericCopy(query_value(row, 3));
			break;
	}
	transactions = query_datum(row, 6, &isnull);
	if (!isnull)
		take_transactions(piece, DatumGetArrayTypeP(transactions));
}

/*
 * Sets the quantities of all metered pieces; zero where nothing was used.  An
 * event that was recorded before the account was locked, but after this
 * transaction took its snapshot, must be found: it did not know itself late.
 */
void
batch_load_usage(AccountBatch *batch, const RunContext *run)
{
	static SpiQuery query = {
		.text = "SELECT r.n, count(*), sum(u.quantity), max(u.quantity),"
		" (array_agg(u.quantity ORDER BY u.at DESC, u.event_key DESC) FILTER (WHERE r.aggregation = 4))[1],"
		" array_agg(u.quantity ORDER BY u.at, u.event_key) FILTER (WHERE r.aggregation = 5)"
		" FROM new_usage_request r JOIN billing.usage_event u ON u.account_id = r.account_id"
		" AND u.subscription_id = r.subscription_id AND u.meter = r.meter AND u.at >= r.start_at AND u.at < r.end_at"
		" GROUP BY r.n"
	};
	Rows		requests;
	int			count;
	Piece	  **pieces = metered_pieces(batch, &count);
	uint64		found;

	StaticAssertStmt(AGGREGATE_LAST == 4 && AGGREGATE_TRANSACTIONS == 5, "the query names them by number");
	if (count == 0)
		return;
	rows_open(&requests, "usage_request", request_columns, REQUEST_COUNT);
	for (int i = 0; i < count; i++)
		put_requests(&requests, i, pieces[i]);
	rows_publish(&requests);
	found = run->read_only ? query_run(&query, NULL, NULL, true) : query_run_locked(&query);
	for (uint64 row = 0; row < found; row++)
		take_result(pieces, row);
	SPI_freetuptable(SPI_tuptable);
	rows_unpublish(&requests);
	rows_close(&requests);
}
