/*
 * work.c
 *		The work list of a run: listed once, claimed row by row, done.
 *
 * The list is table run_batch, so a killed run leaves only what it had not
 * committed, and the next one finds that by its accounts still being due.  The
 * leader and its workers claim rows alike; a row that one of them did not
 * commit can be claimed again.  No portal, tuple table or snapshot lives across
 * a commit: each batch is a new query by account id.  A batch runs in a
 * subtransaction; one that fails is halved until the bad account stands alone,
 * which is parked in run_error.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "lib/spi.h"
#include "run/run.h"
#include "run/work.h"

#define NOTICE_INTERVAL (5 * USECS_PER_SEC)

/*
 * What is due at $1, of entity $2.  Spread over $3 seconds an account waits for
 * its slot, a share of them that its number alone decides: multiples of the
 * golden ratio lie evenly, also those of neighbours.
 */
#define SLOT "(s.account_id * 2654435769 & 4294967295) * $3 >> 32"
#define DUE "(s.next_due <= $1 AND ($3 = 0 OR s.next_due <= $1 - (" SLOT ") * interval '1 second')" \
	" OR s.recompute_from IS NOT NULL) AND ($2 IS NULL OR s.entity = $2)"

/*
 * Accounts with more ids than this are batches of their own and come last, so
 * that nobody else's documents wait for them.  Items, documents and the like
 * draw an id each, so the counter bounds what there is to load; so many take a few
 * tenths of a second.
 */
#define BIG "s.next_ordinal > 10000"

#define BILLING_FROM(range) "billing.account_state s WHERE " DUE " AND " range
#define DUNNING_FROM(range) \
	"billing_internal.dunning_accounts($1, $2, " range ") d (account_id)" \
	" JOIN billing.account_state s ON s.account_id = d.account_id"
#define COLLECTION_FROM(range) \
	"billing_internal.collection_accounts($1, $2, " range ") d (account_id)" \
	" JOIN billing.account_state s ON s.account_id = d.account_id"
#define ALL_ACCOUNTS "0, 9223372036854775807"
#define BILLING_ALL BILLING_FROM("true")
#define DUNNING_ALL DUNNING_FROM(ALL_ACCOUNTS)
#define COLLECTION_ALL COLLECTION_FROM(ALL_ACCOUNTS)

/*
 * Lists accounts in ranges of at most $5.  A big account ends a range, so that
 * none holds one, and is a range by itself.  All is counted in one order, the
 * accounts', as sorting is what is dear here.
 */
#define LIST(from) { \
		.text = "WITH due AS (SELECT s.account_id, " BIG " AS big, row_number() OVER (ORDER BY s.account_id) AS no" \
		" FROM " from "), parted AS (SELECT *, coalesce(max(no) FILTER (WHERE big)" \
		" OVER (ORDER BY account_id ROWS UNBOUNDED PRECEDING), 0) AS part FROM due), cut AS (" \
		"SELECT *, CASE WHEN big THEN 0 ELSE (no - part - 1) / $5 END AS n FROM parted), batch AS (" \
		"INSERT INTO billing.run_batch (run_id, batch_no, first_account_id, last_account_id, accounts)" \
		" SELECT $4, row_number() OVER (ORDER BY big, part, n), min(account_id), max(account_id), count(*)" \
		" FROM cut GROUP BY big, part, n RETURNING accounts)" \
		" UPDATE billing.run SET accounts = b.accounts FROM (SELECT coalesce(sum(accounts), 0) AS accounts," \
		" count(*) AS batches FROM batch) b WHERE id = $4 RETURNING b.accounts::bigint, b.batches", \
		.nargs = 5, .argtypes = {TIMESTAMPTZOID, TEXTOID, INT8OID, INT8OID, INT4OID} \
	}

#define LOCK(from) { \
		.text = "SELECT count(*) FROM (SELECT FROM " from " ORDER BY s.account_id FOR NO KEY UPDATE OF s) locked", \
		.nargs = 3, .argtypes = {TIMESTAMPTZOID, TEXTOID, INT8OID} \
	}

#define MEMBERS(from) { \
		.text = "SELECT s.account_id FROM " from " ORDER BY 1", \
		.nargs = 5, .argtypes = {TIMESTAMPTZOID, TEXTOID, INT8OID, INT8OID, INT8OID} \
	}

/* Does what is due of accounts by one call. */
#define CALL(function) { \
		.text = "SELECT c.made::bigint, c.left_out FROM billing_internal." function "($1, $2, $3) c (made, left_out)", \
		.nargs = 3, .argtypes = {INT8ARRAYOID, TIMESTAMPTZOID, BOOLOID} \
	}

static void bill_them(BillRun *run, int64 *ids, int count, bool wait, BillResult *result);
static void call_for_them(BillRun *run, int64 *ids, int count, bool wait, BillResult *result);

RunKind		bill_run_kind = {
	.procedure = "bill_run", .name = "bill run", .verb = "bill", .phase = "billing", .made = "documents",
	.list = LIST(BILLING_ALL), .lock = LOCK(BILLING_ALL),
	.members = MEMBERS(BILLING_FROM("s.account_id BETWEEN $4 AND $5")), .act = bill_them
};

RunKind		dunning_run_kind = {
	.procedure = "dunning_run", .name = "dunning run", .verb = "dun", .phase = "dunning", .made = "steps",
	.list = LIST(DUNNING_ALL), .lock = LOCK(DUNNING_ALL),
	.members = MEMBERS(DUNNING_FROM("$4, $5")), .act = call_for_them, .call = CALL("dun_accounts")
};

RunKind		collection_run_kind = {
	.procedure = "collection_run", .name = "collection run", .verb = "collect from",
	.phase = "collecting", .made = "requests",
	.list = LIST(COLLECTION_ALL), .lock = LOCK(COLLECTION_ALL),
	.members = MEMBERS(COLLECTION_FROM("$4, $5")), .act = call_for_them, .call = CALL("collect_accounts")
};

/* Arguments of the statements that list due accounts. */
static void
due_arguments(const BillRun *run, Datum *values, char *nulls)
{
	values[0] = TimestampTzGetDatum(run->options.at);
	values[1] = run->entity ? CStringGetTextDatum(run->entity) : (Datum) 0;
	values[2] = Int64GetDatum(run->spread);
	nulls[1] = run->entity ? ' ' : 'n';
}

/* Lists the accounts that have work. */
void
work_list(BillRun *run)
{
	Datum		values[5];
	char		nulls[6] = "     ";

	due_arguments(run, values, nulls);
	values[3] = Int64GetDatum(run->id);
	values[4] = Int32GetDatum(run->batch_size);
	(void) query_run(&run->kind->list, values, nulls, false);
	run->total = query_int64(0, 1, 0);
	run->batches = (int) query_int64(0, 2, 0);
}

/*
 * In a transaction block all accounts stay locked until it ends, so they are
 * locked in order before the first batch takes a series.  Where the block
 * holds one already, accounts that others hold are left out.
 */
void
work_lock_everything(BillRun *run)
{
	Datum		values[3];
	char		nulls[4] = "   ";

	due_arguments(run, values, nulls);
	(void) query_run(&run->kind->lock, values, nulls, false);
	run->locked = true;
}

/* The elements of an array of ids; returns how many. */
static int
int64_of_array(Datum array, int64 **ids)
{
	Datum	   *elements;
	int			count;

	deconstruct_array(DatumGetArrayTypeP(array), INT8OID, sizeof(int64), FLOAT8PASSBYVAL, TYPALIGN_DOUBLE, &elements,
					  NULL, &count);
	*ids = palloc(sizeof(int64) * Max(count, 1));
	for (int i = 0; i < count; i++)
		(*ids)[i] = DatumGetInt64(elements[i]);
	return count;
}

/* Accounts of a batch that were left out, in the batch's context. */
typedef struct LeftOut
{
	int64	   *ids;
	int			count;
} LeftOut;

static void
leave_out(LeftOut *left_out, const BillResult *result)
{
	int			total = left_out->count + result->nskipped;

	if (result->nskipped == 0)
		return;
	left_out->ids = left_out->ids == NULL ? palloc(sizeof(int64) * total)
		: repalloc(left_out->ids, sizeof(int64) * total);
	memcpy(left_out->ids + left_out->count, result->skipped, sizeof(int64) * result->nskipped);
	left_out->count = total;
}

static void
bill_them(BillRun *run, int64 *ids, int count, bool wait, BillResult *result)
{
	BillOptions options = run->options;

	options.wait = wait;
	bill_accounts(run->context, ids, count, &options, result);
}

/* One call for all of them; what it leaves out is copied to the caller's context. */
static void
call_for_them(BillRun *run, int64 *ids, int count, bool wait, BillResult *result)
{
	Datum		values[3] = {array_of_int64(ids, count), TimestampTzGetDatum(run->options.at), BoolGetDatum(wait)};

	(void) query_run(&run->kind->call, values, NULL, false);
	result->ninvoices = (int) query_int64(0, 1, 0);
	result->nskipped = int64_of_array(query_value(0, 2), &result->skipped);
	result->accounts = count - result->nskipped;
}

/*
 * Whoever uses the books may have deferred constraints on them.  Their errors
 * are those of accounts, so they have to come while the account is known, not
 * at the commit.  In a caller's transaction they are the caller's.
 */
static void
check_deferred(const BillRun *run)
{
	if (!run->atomic && SPI_execute("SET CONSTRAINTS ALL IMMEDIATE", false, 0) != SPI_OK_UTILITY)
		elog(ERROR, "deferred constraints could not be checked");
}

/*
 * Does what is due of accounts in a subtransaction; those that others hold are left out, or,
 * where left_out is NULL, waited for.  True when it worked; else everything
 * they did is undone and *error is what went wrong.
 */
static bool
try_accounts(BillRun *run, int64 *ids, int count, LeftOut *left_out, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	BillResult	result = {0};
	bool		wait = left_out == NULL;
	volatile bool worked = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		/* A connection of its own, so that an error also forgets published rows. */
		SPI_connect();
		MemoryContextSwitchTo(context);
		for (int i = 0; wait && i < count; i++)
			account_lock(ids[i]);
		run->kind->act(run, ids, count, wait, &result);
		check_deferred(run);
		SPI_finish();
		ReleaseCurrentSubTransaction();
		worked = true;
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		*error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (worked)
	{
		run->done += result.accounts;
		run->documents += result.ninvoices;
		/* What others hold although everything was locked is due only since then. */
		if (left_out != NULL && !run->locked)
			leave_out(left_out, &result);
	}
	return worked;
}

/* Does what is due of accounts; parks those of which it cannot be done. */
static void
bill_range(BillRun *run, int64 *ids, int count, LeftOut *left_out)
{
	ErrorData  *error;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (try_accounts(run, ids, count, left_out, &error))
			return;
		/* Only a transaction of our own gives its locks back by trying again. */
		if (!run->atomic && failure_is_passing(error->sqlerrcode))
			continue;
		if (!failure_is_about_account(error->sqlerrcode))
			ReThrowError(error);
		break;
	}
	if (count == 1)
	{
		failure_park(run->id, ids[0], error);
		run->errors++;
		return;
	}
	bill_range(run, ids, count / 2, left_out);
	bill_range(run, ids + count / 2, count - count / 2, left_out);
}

/* How far this process is, for watchers; the leader also tells its caller now and then. */
void
work_report(BillRun *run, const char *phase)
{
	static SpiQuery update = {
		.text = "UPDATE billing.run_worker SET phase = $3, done = $4, documents = $5, errors = $6,"
		" updated_at = clock_timestamp() WHERE run_id = $1 AND worker = $2",
		.nargs = 6, .argtypes = {INT8OID, INT4OID, TEXTOID, INT8OID, INT8OID, INT8OID}
	};
	static SpiQuery sum = {
		.text = "SELECT sum(done)::bigint, sum(documents)::bigint FROM billing.run_worker WHERE run_id = $1",
		.nargs = 1, .argtypes = {INT8OID}
	};
	Datum		values[6] = {Int64GetDatum(run->id), Int32GetDatum(run->worker), CStringGetTextDatum(phase),
	Int64GetDatum(run->done), Int64GetDatum(run->documents), Int64GetDatum(run->errors)};
	TimestampTz now = GetCurrentTimestamp();

	(void) query_run(&update, values, NULL, false);
	if (run->worker > 0 || now < run->last_notice + NOTICE_INTERVAL)
		return;
	run->last_notice = now;
	(void) query_run1(&sum, false, Int64GetDatum(run->id));
	ereport(NOTICE,
			(errmsg("%s " INT64_FORMAT ": " INT64_FORMAT " of " INT64_FORMAT " accounts, " INT64_FORMAT " %s",
					run->kind->name, run->id, query_int64(0, 1, 0), run->total, query_int64(0, 2, 0), run->kind->made)));
}

/*
 * Claims the next row of a status beyond a batch number, as done when this
 * transaction commits; false when there is none.  The row stays in
 * SPI_tuptable: the caller frees it, as in a transaction block the run's
 * connection outlives the batch.  By the number the search need not pass all
 * that is done each time.
 */
static bool
claim(const BillRun *run, const char *status, int after)
{
	static SpiQuery query = {
		.text = "UPDATE billing.run_batch SET status = 'done' WHERE run_id = $1 AND batch_no = ("
		"SELECT batch_no FROM billing.run_batch WHERE run_id = $1 AND status = $2 AND batch_no > $3"
		" ORDER BY batch_no LIMIT 1 FOR UPDATE SKIP LOCKED)"
		" RETURNING batch_no, first_account_id, last_account_id, left_out",
		.nargs = 3, .argtypes = {INT8OID, TEXTOID, INT4OID}
	};
	Datum		values[3] = {Int64GetDatum(run->id), CStringGetTextDatum(status), Int32GetDatum(after)};

	return query_run(&query, values, NULL, false) == 1;
}

/* Puts a claimed row back for the sweep, with the accounts that others hold. */
static void
hold(const BillRun *run, int batch_no, const LeftOut *left_out)
{
	static SpiQuery query = {
		.text = "UPDATE billing.run_batch SET status = 'held', left_out = $3 WHERE run_id = $1 AND batch_no = $2",
		.nargs = 3, .argtypes = {INT8OID, INT4OID, INT8ARRAYOID}
	};
	Datum		values[3] = {Int64GetDatum(run->id), Int32GetDatum(batch_no),
	array_of_int64(left_out->ids, left_out->count)};

	(void) query_run(&query, values, NULL, false);
}

/* The accounts of a range that have work, ascending. */
static int
members(const BillRun *run, int64 first, int64 last, int64 **ids)
{
	Datum		values[5];
	char		nulls[6] = "     ";
	int			count;

	due_arguments(run, values, nulls);
	values[3] = Int64GetDatum(first);
	values[4] = Int64GetDatum(last);
	count = (int) query_run(&run->kind->members, values, nulls, false);
	*ids = palloc(sizeof(int64) * Max(count, 1));
	for (int i = 0; i < count; i++)
		(*ids)[i] = query_int64(i, 1, 0);
	SPI_freetuptable(SPI_tuptable);
	return count;
}

/* Claims and bills one range beyond *after, which it moves on; false when none is left there. */
static bool
bill_next(BillRun *run, int *after)
{
	LeftOut		left_out = {0};
	int64		first;
	int64		last;
	int64	   *ids;
	int			count;

	if (!claim(run, "pending", *after))
		return false;
	*after = DatumGetInt32(query_value(0, 1));
	first = query_int64(0, 2, 0);
	last = query_int64(0, 3, 0);
	SPI_freetuptable(SPI_tuptable);
	count = members(run, first, last, &ids);
	if (count > 0)
		bill_range(run, ids, count, &left_out);
	if (left_out.count > 0)
		hold(run, *after, &left_out);
	work_report(run, run->kind->phase);
	return true;
}

/* Claims a range of which accounts were left out and waits for those; false when none is left. */
static bool
sweep_next(BillRun *run)
{
	int64	   *ids;
	int			count;

	if (!claim(run, "held", 0))
		return false;
	count = int64_of_array(query_value(0, 4), &ids);
	SPI_freetuptable(SPI_tuptable);
	bill_range(run, ids, count, NULL);
	work_report(run, "sweeping");
	return true;
}

/* Bills ranges until no other can be claimed, then what others held. */
void
work_do(BillRun *run)
{
	int			after = 0;

	MemoryContextSwitchTo(run->batch_context);
	for (;;)
	{
		if (bill_next(run, &after))
			work_step(run);
		else if (after > 0)
			after = 0;			/* one that was given back may lie before */
		else
			break;
	}
	while (sweep_next(run))
		work_step(run);
}
