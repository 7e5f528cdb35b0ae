/*
 * seal.c
 *		Numbers of finished documents: gapless series, chained by hash.
 *
 * The counter is a row, locked last and held until commit, so there are no
 * gaps; everything dear (the payload hashes) was computed before.  Series are
 * locked in ascending order, after all accounts.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datetime.h"
#include "utils/guc.h"

#include "account/account.h"
#include "billing.h"
#include "invoice/columns.h"
#include "invoice/seal.h"
#include "lib/calendar.h"
#include "lib/errors.h"
#include "lib/spi.h"

/* A series row while it is locked. */
typedef struct Series
{
	char	   *format;
	bool		restart_yearly;
	int64		position;
	int64		counter;
	int			counter_year;
	DateADT		last_issued_on;
	Digest		chain;			/* zeros before the first seal */
} Series;

static int
year_of(DateADT date)
{
	int			year,
				month,
				day;

	j2date(date + POSTGRES_EPOCH_JDATE, &year, &month, &day);
	return year;
}

/* Length of {number:6} and the like at the beginning of format, else 0. */
static int
padded_number(const char *format, int *width)
{
	char	   *end;

	if (strncmp(format, "{number:", 8) != 0 || format[8] < '1' || format[8] > '9')
		return 0;
	*width = (int) strtol(format + 8, &end, 10);
	return *end == '}' && *width < 100 ? (int) (end + 1 - format) : 0;
}

/* Decimal digits with leading zeros up to a width; without the server's printf, which is dear here. */
static void
append_digits(StringInfo text, int64 value, int width)
{
	char		digits[32];
	int			length = pg_lltoa(value, digits);

	for (; width > length; width--)
		appendStringInfoChar(text, '0');
	appendBinaryStringInfo(text, digits, length);
}

/*
 * The number of a document: format with {number} or {number:6}, {year} and
 * {yy} filled in; palloc'd.  Other text stands as it is.
 */
static char *
series_number(const char *format, int64 counter, int year)
{
	StringInfoData number;
	int			width;

	initStringInfo(&number);
	while (*format != '\0')
	{
		int			length = padded_number(format, &width);

		if (strncmp(format, "{number}", 8) == 0)
		{
			append_digits(&number, counter, 1);
			format += 8;
		}
		else if (length > 0)
		{
			append_digits(&number, counter, width);
			format += length;
		}
		else if (strncmp(format, "{year}", 6) == 0)
		{
			append_digits(&number, year, 4);
			format += 6;
		}
		else if (strncmp(format, "{yy}", 4) == 0)
		{
			append_digits(&number, year % 100, 2);
			format += 4;
		}
		else
			appendStringInfoChar(&number, *format++);
	}
	return number.data;
}

/*
 * The next chain hash: over the one before and what the seal says.  The date
 * is written year-month-day, whatever the session's DateStyle.
 */
Digest
chain_link(const Digest *before, const char *series, int64 position, const char *number,
		   DateADT issued_on, const Digest *payload)
{
	StringInfoData seal;
	Digest		link;
	int			date[3];

	j2date(issued_on + POSTGRES_EPOCH_JDATE, &date[0], &date[1], &date[2]);
	initStringInfo(&seal);
	appendStringInfoString(&seal, series);
	appendStringInfoChar(&seal, '\n');
	append_digits(&seal, position, 1);
	appendStringInfoChar(&seal, '\n');
	appendStringInfoString(&seal, number);
	for (int i = 0; i < 3; i++)
	{
		appendStringInfoChar(&seal, i == 0 ? '\n' : '-');
		append_digits(&seal, date[i], i == 0 ? 4 : 2);
	}
	appendStringInfoChar(&seal, '\n');
	appendBinaryStringInfo(&seal, (const char *) payload->bytes, sizeof(payload->bytes));
	link = hash_pair(before, seal.data, seal.len);
	pfree(seal.data);
	return link;
}

/* Locks and reads a series; waits at most billing.seal_timeout (55P03). */
static Series
series_lock(const char *code)
{
	static SpiQuery query = {
		.text = "SELECT format, restart_yearly, position, counter, counter_year, last_issued_on, chain_hash"
		" FROM billing.series WHERE code = $1 FOR NO KEY UPDATE",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	int			level = NewGUCNestLevel();
	Series		series;
	bool		isnull;
	Datum		value;

	(void) set_config_option("lock_timeout", psprintf("%dms", billing_seal_timeout), PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (query_run1(&query, false, CStringGetTextDatum(code)) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_UNKNOWN_SERIES), errmsg("series \"%s\" does not exist", code)));
	AtEOXact_GUC(true, level);
	account_series_locked();
	series.format = query_text(0, 1);
	series.restart_yearly = DatumGetBool(query_value(0, 2));
	series.position = query_int64(0, 3, 0);
	series.counter = query_int64(0, 4, 0);
	value = query_datum(0, 5, &isnull);
	series.counter_year = isnull ? 0 : DatumGetInt32(value);
	value = query_datum(0, 6, &isnull);
	series.last_issued_on = isnull ? DATEVAL_NOBEGIN : DatumGetDateADT(value);
	value = query_datum(0, 7, &isnull);
	memset(&series.chain, 0, sizeof(series.chain));
	if (!isnull)
		memcpy(series.chain.bytes, VARDATA_ANY(DatumGetByteaPP(value)), sizeof(series.chain.bytes));
	return series;
}

static void
series_store(const char *code, const Series *series)
{
	static SpiQuery query = {
		.text = "UPDATE billing.series SET position = $2, counter = $3, counter_year = $4, last_issued_on = $5,"
		" chain_hash = $6 WHERE code = $1",
		.nargs = 6, .argtypes = {TEXTOID, INT8OID, INT8OID, INT4OID, DATEOID, BYTEAOID}
	};
	Datum		values[6] = {CStringGetTextDatum(code), Int64GetDatum(series->position),
		Int64GetDatum(series->counter), Int32GetDatum(series->counter_year),
	DateADTGetDatum(series->last_issued_on), PointerGetDatum(hash_bytea(&series->chain))};

	(void) query_run(&query, values, NULL, false);
}

/* Gives the next number of a locked series to a document. */
static void
seal_one(Series *series, SealRequest *request, Rows *seals)
{
	DateADT		issued_on = Max(request->local_date, series->last_issued_on);
	int			year = year_of(issued_on);
	Datum		values[SEAL_COUNT];
	bool		nulls[SEAL_COUNT] = {false};
	char	   *number;

	if (series->restart_yearly && year != series->counter_year)
		series->counter = 0;
	series->counter_year = year;
	series->counter++;
	series->position++;
	series->last_issued_on = issued_on;
	number = series_number(series->format, series->counter, year);
	series->chain = chain_link(&series->chain, request->series, series->position, number, issued_on,
							   &request->payload);
	request->number = number;
	request->issued_on = issued_on;
	values[SEAL_account_id] = Int64GetDatum(request->account_id);
	values[SEAL_invoice_id] = Int64GetDatum(request->invoice_id);
	values[SEAL_series] = CStringGetTextDatum(request->series);
	values[SEAL_position] = Int64GetDatum(series->position);
	values[SEAL_number] = CStringGetTextDatum(number);
	values[SEAL_issued_on] = DateADTGetDatum(issued_on);
	values[SEAL_payload_hash] = PointerGetDatum(hash_bytea(&request->payload));
	values[SEAL_chain_hash] = PointerGetDatum(hash_bytea(&series->chain));
	rows_put(seals, values, nulls);
}

/*
 * Numbers documents of any series as of at, each series in the order given.
 * From here on the transaction holds the series until it ends.
 */
void
seal_documents(SealRequest *requests, int count, TimestampTz at)
{
	const char *done = "";
	Rows		seals;

	for (int i = 0; i < count; i++)
		requests[i].local_date = i > 0 && requests[i].tz == requests[i - 1].tz
			? requests[i - 1].local_date : local_date(at, requests[i].tz);
	rows_open(&seals, "seal", seal_columns, SEAL_COUNT);
	for (;;)
	{
		const char *next = NULL;
		Series		series;

		for (int i = 0; i < count; i++)
			if (strcmp(requests[i].series, done) > 0 && (next == NULL || strcmp(requests[i].series, next) < 0))
				next = requests[i].series;
		if (next == NULL)
			break;
		series = series_lock(next);
		for (int i = 0; i < count; i++)
			if (strcmp(requests[i].series, next) == 0)
				seal_one(&series, &requests[i], &seals);
		series_store(next, &series);
		done = next;
	}
	rows_insert(&seals);
}
