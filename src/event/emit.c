/*
 * emit.c
 *		Writing events: one from SQL, or those of many accounts at once.
 *
 * An event is written in the transaction of what it tells, and numbered under
 * the lock of its account.  Readers take events in the order of adoption and
 * transaction id.  The ids of another cluster or database say nothing about
 * those given here, so the first event written in a copy of the books begins a
 * new adoption number for events, whether or not the copy was adopted: it
 * follows all that came along.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/async.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "event/emit.h"
#include "lib/errors.h"

PG_FUNCTION_INFO_V1(billing_emit);
PG_FUNCTION_INFO_V1(billing_event_adoption);

/* Columns of the rows that a batch writes. */
#define EVENT_COLUMNS(X) \
	X(account_id, INT8OID) X(adoption_number, INT4OID) X(xid, XID8OID) X(event_no, INT8OID) \
	X(type, TEXTOID) X(occurred_at, TIMESTAMPTZOID) X(recorded_at, TIMESTAMPTZOID) \
	X(invoice_id, INT8OID) X(payload, JSONBOID)

#define X(name, type) EVENT_##name,
enum
{
	EVENT_COLUMNS(X) EVENT_COUNT
};
#undef X
#define X(name, type) {#name, sizeof(#name) - 1, type, false},
static const Column event_columns[EVENT_COUNT] = {
	EVENT_COLUMNS(X)
};
#undef X

pg_noreturn static void
refuse_without_book(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_BILLING_BOOKS_NOT_SET_UP),
			 errmsg("books not set up"),
			 errhint("Call billing.setup() as a superuser.")));
}

/* The adoption number that the book gives events, where it is that of this database; else 0. */
static int32
adoption_here(int row, int column)
{
	bool		here = query_int64(row, column + 1, 0) == (int64) GetSystemIdentifier() &&
	query_int64(row, column + 2, 0) == (int64) MyDatabaseId;

	return here ? DatumGetInt32(query_value(row, column)) : 0;
}

/* The same read anew; in a copy of the books the number is raised first.  Connected to SPI. */
static int32
event_adoption(void)
{
	static SpiQuery read = {
		.text = "SELECT event_adoption_number, event_system_identifier, event_database_oid FROM billing.book"
	};
	static SpiQuery begin = {
		.text = "UPDATE billing.book SET event_adoption_number = greatest(event_adoption_number + 1, adoption_number),"
		" event_system_identifier = $1, event_database_oid = $2"
		" WHERE (event_system_identifier, event_database_oid) <> ($1, $2)",
		.nargs = 2, .argtypes = {INT8OID, INT8OID}
	};
	Datum		identity[2] = {Int64GetDatum((int64) GetSystemIdentifier()), Int64GetDatum((int64) MyDatabaseId)};
	int32		number = query_run(&read, NULL, NULL, false) == 1 ? adoption_here(0, 1) : 0;

	if (number != 0)
		return number;
	(void) query_run(&begin, identity, NULL, false);
	if (query_run(&read, NULL, NULL, false) != 1)
		refuse_without_book();
	return adoption_here(0, 1);
}

/* billing_internal.event_adoption() */
Datum
billing_event_adoption(PG_FUNCTION_ARGS)
{
	int32		number;

	SPI_connect();
	number = event_adoption();
	SPI_finish();
	PG_RETURN_INT32(number);
}

/* Finds out which types are kept, and for whom. */
static void
read_settings(EventLog *log, const char *const *types, int ntypes)
{
	static SpiQuery query = {
		.text = "SELECT b.event_adoption_number, b.event_system_identifier, b.event_database_oid,"
		" EXISTS (SELECT FROM billing.event_consumer), t.kept"
		" FROM unnest($1) WITH ORDINALITY u (type, n) LEFT JOIN billing.event_type t ON t.type = u.type,"
		" billing.book b ORDER BY u.n",
		.nargs = 1, .argtypes = {TEXTARRAYOID}
	};
	Datum		names[MAX_EVENT_TYPES];
	ArrayType  *array;

	Assert(ntypes <= MAX_EVENT_TYPES);
	for (int i = 0; i < ntypes; i++)
		names[i] = CStringGetTextDatum(types[i]);
	array = construct_array(names, ntypes, TEXTOID, -1, false, TYPALIGN_INT);
	if (query_run1(&query, false, PointerGetDatum(array)) != (uint64) ntypes)
		refuse_without_book();
	log->types = types;
	log->ntypes = ntypes;
	log->adoption_number = adoption_here(0, 1);
	log->has_consumers = DatumGetBool(query_value(0, 4));
	for (int i = 0; i < ntypes; i++)
	{
		bool		unknown;

		log->kept[i] = DatumGetBool(query_datum(i, 5, &unknown));
		if (unknown)
			elog(ERROR, "no event has type \"%s\"", types[i]);
	}
	SPI_freetuptable(SPI_tuptable);
}

/* Begins a batch of events of some types. */
void
events_open(EventLog *log, const char *const *types, int ntypes)
{
	read_settings(log, types, ntypes);
	rows_open(&log->rows, "event", event_columns, EVENT_COUNT);
}

/* Adds an event of a type that is kept, by its place in the list given to events_open(). */
void
events_put(EventLog *log, int type, int64 account_id, int64 event_no, int64 invoice_id,
		   TimestampTz occurred_at, Datum payload)
{
	Datum		values[EVENT_COUNT];
	bool		nulls[EVENT_COUNT] = {false};

	if (log->adoption_number == 0)
		log->adoption_number = event_adoption();
	values[EVENT_account_id] = Int64GetDatum(account_id);
	values[EVENT_adoption_number] = Int32GetDatum(log->adoption_number);
	values[EVENT_xid] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	values[EVENT_event_no] = Int64GetDatum(event_no);
	values[EVENT_type] = CStringGetTextDatum(log->types[type]);
	values[EVENT_occurred_at] = TimestampTzGetDatum(occurred_at);
	values[EVENT_recorded_at] = TimestampTzGetDatum(GetCurrentTransactionStartTimestamp());
	values[EVENT_invoice_id] = Int64GetDatum(invoice_id);
	values[EVENT_payload] = payload;
	rows_put(&log->rows, values, nulls);
}

/* Consumers are woken when the transaction commits, once however often this is called. */
static void
wake_consumers(void)
{
	Async_Notify("billing_event", "");
}

/* Writes the batch. */
void
events_write(EventLog *log)
{
	if (log->rows.count > 0 && log->has_consumers)
		wake_consumers();
	rows_insert(&log->rows);
}

/* The counter moves and the row is written by one statement; false: there is no such account. */
static bool
write_one(FunctionCallInfo fcinfo, int32 adoption_number)
{
	static SpiQuery query = {
		.text = "WITH counter AS (UPDATE billing.account_state SET event_no = event_no + 1"
		" WHERE account_id = $1 RETURNING event_no)"
		" INSERT INTO billing.event (account_id, type, occurred_at, subscription_id, invoice_id, payment_id,"
		" case_id, payload, adoption_number, xid, event_no, recorded_at)"
		" SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, event_no, now() FROM counter",
		.nargs = 10,
		.argtypes = {INT8OID, TEXTOID, TIMESTAMPTZOID, INT8OID, INT8OID, INT8OID, INT8OID, JSONBOID, INT4OID, XID8OID}
	};
	Datum		values[10];
	char		nulls[10];

	for (int i = 0; i < 8; i++)
	{
		values[i] = fcinfo->args[i].value;
		nulls[i] = PG_ARGISNULL(i) ? 'n' : ' ';
	}
	values[8] = Int32GetDatum(adoption_number);
	values[9] = FullTransactionIdGetDatum(GetTopFullTransactionId());
	nulls[8] = nulls[9] = ' ';
	return query_run(&query, values, nulls, false) == 1;
}

/*
 * billing_internal.emit(account_id, type, occurred_at, subscription_id, invoice_id,
 * payment_id, case_id, payload): the account is locked.
 */
Datum
billing_emit(PG_FUNCTION_ARGS)
{
	const char *type;
	EventLog	log;

	SPI_connect();
	type = text_to_cstring(PG_GETARG_TEXT_PP(1));
	read_settings(&log, &type, 1);
	if (log.kept[0])
	{
		if (!write_one(fcinfo, log.adoption_number != 0 ? log.adoption_number : event_adoption()))
			ereport(ERROR,
					(errcode(ERRCODE_BILLING_UNKNOWN_ACCOUNT),
					 errmsg("account " INT64_FORMAT " does not exist", PG_GETARG_INT64(0))));
		if (log.has_consumers)
			wake_consumers();
	}
	SPI_finish();
	PG_RETURN_VOID();
}
