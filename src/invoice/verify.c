/*
 * verify.c
 *		Sealing one stored document, and proving a chain of seals.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "compat.h"
#include "invoice/canonical.h"
#include "invoice/seal.h"
#include "lib/calendar.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"

/* Columns of the cursor in verify_series. */
enum
{
	V_POSITION = 1, V_NUMBER, V_ISSUED_ON, V_ACCOUNT, V_INVOICE, V_PAYLOAD, V_CHAIN
};

#define VERIFY_BATCH 500

/* What is known of a chain up to a position. */
typedef struct Chain
{
	const char *series;
	int64		position;
	DateADT		issued_on;
	Digest		hash;
} Chain;

PG_FUNCTION_INFO_V1(billing_seal_document);
PG_FUNCTION_INFO_V1(billing_verify_chain);
PG_FUNCTION_INFO_V1(billing_verify_chain_any_version);

/*
 * billing_internal.seal_document(account_id, invoice_id, at): numbers a
 * document that a body has just written; the account is locked.
 */
Datum
billing_seal_document(PG_FUNCTION_ARGS)
{
	static SpiQuery query = {
		.text = "SELECT h.series, e.time_zone FROM billing.invoice_header h JOIN billing.entity e ON e.code = h.entity"
		" WHERE h.account_id = $1 AND h.id = $2",
		.nargs = 2, .argtypes = {INT8OID, INT8OID}
	};
	SealRequest request = {.account_id = PG_GETARG_INT64(0), .invoice_id = PG_GETARG_INT64(1)};
	Datum		key[2] = {PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)};
	bool		found;

	SPI_connect();
	if (query_run(&query, key, NULL, false) != 1)
		elog(ERROR, "document " INT64_FORMAT " does not exist", request.invoice_id);
	request.series = query_text(0, 1);
	request.tz = time_zone_lookup(query_text(0, 2));
	request.payload = canonical_stored_document(request.account_id, request.invoice_id, false, &found);
	seal_documents(&request, 1, PG_GETARG_TIMESTAMPTZ(2));
	SPI_finish();
	PG_RETURN_VOID();
}

static bool
same_hash(Datum stored, const Digest *hash)
{
	bytea	   *bytes = DatumGetByteaPP(stored);

	return VARSIZE_ANY_EXHDR(bytes) == sizeof(hash->bytes) &&
		memcmp(VARDATA_ANY(bytes), hash->bytes, sizeof(hash->bytes)) == 0;
}

/* What is wrong with the seal in a row of the cursor; NULL: nothing.  The chain moves on. */
static const char *
check_seal(Chain *chain, SPITupleTable *rows, uint64 row)
{
	int64		account_id,
				invoice_id;
	char	   *number;
	Datum		payload,
				link;
	DateADT		issued_on;
	int64		position;
	Digest		hash;
	bool		found;

	SPI_tuptable = rows;
	position = query_int64(row, V_POSITION, 0);
	number = query_text(row, V_NUMBER);
	issued_on = DatumGetDateADT(query_value(row, V_ISSUED_ON));
	account_id = query_int64(row, V_ACCOUNT, 0);
	invoice_id = query_int64(row, V_INVOICE, 0);
	payload = query_value(row, V_PAYLOAD);
	link = query_value(row, V_CHAIN);
	if (position != chain->position + 1)
		return psprintf("position " INT64_FORMAT " is missing", chain->position + 1);
	if (issued_on < chain->issued_on)
		return "the date of issue lies before the one of the previous document";
	hash = canonical_stored_document(account_id, invoice_id, true, &found);
	if (!found)
		return "the document is missing";
	if (!same_hash(payload, &hash))
		return "the document was changed after it was sealed";
	chain->hash = chain_link(&chain->hash, chain->series, position, number, issued_on, &hash);
	if (!same_hash(link, &chain->hash))
		return "the seal or one before it was changed";
	chain->position = position;
	chain->issued_on = issued_on;
	return NULL;
}

/* Does the series row agree with the end of its chain? */
static const char *
check_series_row(const Chain *chain)
{
	static SpiQuery query = {
		.text = "SELECT position, chain_hash, last_issued_on FROM billing.series WHERE code = $1",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	bool		isnull;
	Datum		hash;

	(void) query_run1(&query, true, CStringGetTextDatum(chain->series));
	if (query_int64(0, 1, 0) > chain->position)
		return "the last documents of the series are missing";
	hash = query_datum(0, 2, &isnull);
	if (query_int64(0, 1, 0) != chain->position || isnull != (chain->position == 0) ||
		(!isnull && !same_hash(hash, &chain->hash)))
		return "the counter of the series does not fit its last seal";
	return NULL;
}

/*
 * Puts a finding about a position of the chain; of a stored document, where there is one, also its number and id.
 */
static void
report_break(ReturnSetInfo *rsinfo, const Chain *chain, int64 position, SPITupleTable *rows, uint64 row,
			 const char *problem)
{
	Datum		values[5] = {CStringGetTextDatum(chain->series), Int64GetDatum(position)};
	bool		nulls[5] = {false, false, rows == NULL, rows == NULL, false};

	if (rows != NULL)
	{
		SPI_tuptable = rows;
		values[2] = query_value(row, V_NUMBER);
		values[3] = query_value(row, V_INVOICE);
	}
	values[4] = CStringGetTextDatum(problem);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
}

/* Walks a chain by a cursor; reports its first broken position. */
static void
verify_series(const char *series, ReturnSetInfo *rsinfo)
{
	static SpiQuery query = {
		.text = "SELECT position, number, issued_on, account_id, invoice_id, payload_hash, chain_hash"
		" FROM billing.seal WHERE series = $1 ORDER BY position",
		.nargs = 1, .argtypes = {TEXTOID}
	};
	Chain		chain = {.series = series, .issued_on = DATEVAL_NOBEGIN};
	Portal		cursor = query_cursor(&query, CStringGetTextDatum(series));
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "billing verify", ALLOCSET_DEFAULT_SIZES);
	const char *problem = NULL;

	do
	{
		SPITupleTable *rows;
		uint64		count;
		MemoryContext old = MemoryContextSwitchTo(scratch);

		SPI_cursor_fetch(cursor, true, VERIFY_BATCH);
		rows = SPI_tuptable;
		count = SPI_processed;
		if (count == 0)
			break;
		for (uint64 row = 0; row < count && problem == NULL; row++)
		{
			CHECK_FOR_INTERRUPTS();
			problem = check_seal(&chain, rows, row);
			if (problem != NULL)
				report_break(rsinfo, &chain, chain.position + 1, rows, row, problem);
		}
		SPI_freetuptable(rows);
		MemoryContextSwitchTo(old);
		if (problem == NULL)
			MemoryContextReset(scratch);
	} while (problem == NULL);
	SPI_cursor_close(cursor);
	if (problem == NULL && (problem = check_series_row(&chain)) != NULL)
		report_break(rsinfo, &chain, chain.position, NULL, 0, problem);
	MemoryContextDelete(scratch);
}

/* Set of broken positions, one per series; null: all series that the caller may see. */
static Datum
verify_chain(FunctionCallInfo fcinfo, bool any_version)
{
	static SpiQuery list = {
		.text = "SELECT code FROM billing.series WHERE (code = $1 OR $1 IS NULL) AND (entity = ANY ($2) OR $2 IS NULL) ORDER BY code",
		.nargs = 2, .argtypes = {TEXTOID, TEXTARRAYOID}
	};
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	BooksScope	scope;
	Datum		values[2] = {PG_ARGISNULL(0) ? (Datum) 0 : PG_GETARG_DATUM(0)};
	char		nulls[2] = {PG_ARGISNULL(0) ? 'n' : ' '};
	bool		all;
	int			count;
	char	  **codes;

	InitMaterializedSRF(fcinfo, 0);
	SPI_connect();
	books_become_owner(&scope);
	if (!any_version)
		books_check(false);
	values[1] = books_entities(&scope, ACCESS_READER, &all);
	nulls[1] = all ? 'n' : ' ';
	count = (int) query_run(&list, values, nulls, true);
	if (count == 0 && !PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_UNKNOWN_SERIES),
				 errmsg("series \"%s\" does not exist", TextDatumGetCString(values[0]))));
	codes = palloc(sizeof(char *) * Max(count, 1));
	for (int i = 0; i < count; i++)
		codes[i] = query_text(i, 1);
	for (int i = 0; i < count; i++)
		verify_series(codes[i], rsinfo);
	books_leave(&scope);
	SPI_finish();
	return (Datum) 0;
}

/* billing.verify_chain(series) */
Datum
billing_verify_chain(PG_FUNCTION_ARGS)
{
	return verify_chain(fcinfo, false);
}

/* billing_internal.verify_chain(series), for check() of books that wait for their migration. */
Datum
billing_verify_chain_any_version(PG_FUNCTION_ARGS)
{
	return verify_chain(fcinfo, true);
}
