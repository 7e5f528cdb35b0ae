/*
 * run.c
 *		The bill run: a procedure that commits batch by batch.
 *
 * The work list is table run_batch, so a killed run leaves only what it had
 * not committed, and the next one finds that by its accounts still being due.
 * No portal, tuple table or snapshot lives across a commit: each batch is a new
 * query by account id.  A batch runs in a subtransaction; one that fails is
 * halved until the bad account stands alone, which is parked in run_error.
 * Inside a transaction block everything happens in the caller's transaction.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "account/account.h"
#include "lib/errors.h"
#include "lib/gate.h"
#include "lib/spi.h"
#include "run/bill.h"
#include "run/run.h"

#define NOTICE_INTERVAL (5 * USECS_PER_SEC)
#define MAX_BATCH_SIZE 100000

/* What a batch of 1,000 accounts takes; a reset keeps it, or each batch would fault its pages in anew. */
#define BATCH_MEMORY (16 * 1024 * 1024)
#define DUE "(s.next_due <= $1 OR s.recompute_from IS NOT NULL) AND ($2 IS NULL OR s.entity = $2)"

typedef struct BillRun
{
	BillOptions options;
	const char *entity;			/* NULL: all */
	int			batch_size;
	bool		atomic;			/* in a transaction block: no commits */
	bool		locked;			/* everything due at the start is locked */
	BooksScope	scope;
	RunContext *context;
	MemoryContext batch_context;	/* reset after each batch */
	int64		id;
	int64		total;			/* accounts due at the start */
	int64		done;
	int64		documents;
	int64		errors;
	int64	   *skipped;		/* accounts that others held: swept at the end */
	int			nskipped;
	TimestampTz last_notice;
} BillRun;

PG_FUNCTION_INFO_V1(billing_bill_run);

/* Ends the transaction, where that is allowed, and begins the next as the owner. */
static void
commit_step(BillRun *run)
{
	if (run->atomic)
		return;
	books_leave(&run->scope);
	SPI_commit();
	SPI_start_transaction();
	books_become_owner(&run->scope);
	MemoryContextSwitchTo(run->batch_context);
}

/* Arguments of the statements that list due accounts. */
static void
due_arguments(const BillRun *run, Datum *values, char *nulls)
{
	values[0] = TimestampTzGetDatum(run->options.at);
	values[1] = run->entity ? CStringGetTextDatum(run->entity) : (Datum) 0;
	nulls[0] = ' ';
	nulls[1] = run->entity ? ' ' : 'n';
}

/* Enters the run and its work list; returns nothing but what run then holds. */
static void
list_work(BillRun *run)
{
	static SpiQuery enter = {
		.text = "INSERT INTO billing.run (procedure, at, entity, finalize, batch_size, status, started_at, pid)"
		" VALUES ('bill_run', $1, CASE WHEN $2 IS NOT NULL THEN billing_internal.the_entity($2) END,"
		" $3, $4, 'running', clock_timestamp(), pg_backend_pid()) RETURNING id",
		.nargs = 4, .argtypes = {TIMESTAMPTZOID, TEXTOID, BOOLOID, INT4OID}
	};
	static SpiQuery list = {
		.text = "WITH due AS (SELECT s.account_id, (row_number() OVER (ORDER BY s.account_id) - 1) / $4 AS n"
		" FROM billing.account_state s WHERE " DUE "), batch AS (INSERT INTO billing.run_batch"
		" (run_id, batch_no, first_account_id, last_account_id, accounts)"
		" SELECT $3, n + 1, min(account_id), max(account_id), count(*) FROM due GROUP BY n RETURNING accounts),"
		" worker AS (INSERT INTO billing.run_worker (run_id, worker, pid, phase, updated_at)"
		" VALUES ($3, 0, pg_backend_pid(), 'billing', clock_timestamp()))"
		" UPDATE billing.run SET accounts = (SELECT coalesce(sum(accounts), 0) FROM batch) WHERE id = $3 RETURNING accounts",
		.nargs = 4, .argtypes = {TIMESTAMPTZOID, TEXTOID, INT8OID, INT4OID}
	};
	Datum		values[4];
	char		nulls[4] = "    ";

	due_arguments(run, values, nulls);
	values[2] = BoolGetDatum(run->options.finalize);
	values[3] = Int32GetDatum(run->batch_size);
	(void) query_run(&enter, values, nulls, false);
	run->id = query_int64(0, 1, 0);
	values[2] = Int64GetDatum(run->id);
	(void) query_run(&list, values, nulls, false);
	run->total = query_int64(0, 1, 0);
}

/*
 * In a transaction block all accounts stay locked until it ends, so they are
 * locked in order before the first batch takes a series.  Where the block
 * holds one already, accounts that others hold are left out.
 */
static void
lock_everything(BillRun *run)
{
	static SpiQuery lock = {
		.text = "SELECT count(*) FROM (SELECT FROM billing.account_state s WHERE " DUE
		" ORDER BY s.account_id FOR NO KEY UPDATE) locked",
		.nargs = 2, .argtypes = {TIMESTAMPTZOID, TEXTOID}
	};
	Datum		values[2];
	char		nulls[2];

	due_arguments(run, values, nulls);
	(void) query_run(&lock, values, nulls, false);
	run->locked = true;
}

/* Keeps the accounts that were left out until the sweep, beyond the batch's context. */
static void
remember_skipped(BillRun *run, const BillResult *result)
{
	int			total = run->nskipped + result->nskipped;

	if (result->nskipped == 0)
		return;
	if (run->skipped == NULL)
		run->skipped = MemoryContextAlloc(PortalContext, sizeof(int64) * total);
	else
		run->skipped = repalloc(run->skipped, sizeof(int64) * total);
	memcpy(run->skipped + run->nskipped, result->skipped, sizeof(int64) * result->nskipped);
	run->nskipped = total;
}

/*
 * Bills accounts in a subtransaction.  True when it worked; else everything
 * they did is undone and *error is what went wrong.
 */
static bool
try_accounts(BillRun *run, int64 *ids, int count, bool wait, ErrorData **error)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	BillOptions options = run->options;
	BillResult	result = {0};
	volatile bool worked = false;

	options.wait = wait;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		/* A connection of its own, so that an error also forgets published rows. */
		SPI_connect();
		MemoryContextSwitchTo(context);
		for (int i = 0; wait && i < count; i++)
			account_lock(ids[i]);
		bill_accounts(run->context, ids, count, &options, &result);
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
		if (!wait && !run->locked)
			remember_skipped(run, &result);
	}
	return worked;
}

/* Bills accounts; parks those that cannot be billed. */
static void
bill_range(BillRun *run, int64 *ids, int count, bool wait)
{
	ErrorData  *error;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (try_accounts(run, ids, count, wait, &error))
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
	bill_range(run, ids, count / 2, wait);
	bill_range(run, ids + count / 2, count - count / 2, wait);
}

/* The first column of the last result as ids; frees it, as the run's connection outlives the batch. */
static int64 *
result_ids(int count)
{
	int64	   *ids = palloc(sizeof(int64) * Max(count, 1));

	for (int i = 0; i < count; i++)
		ids[i] = query_int64(i, 1, 0);
	SPI_freetuptable(SPI_tuptable);
	return ids;
}

/* Tells watchers in table run_worker, and now and then the caller, how far the run is. */
static void
report_progress(BillRun *run, const char *phase)
{
	static SpiQuery update = {
		.text = "UPDATE billing.run_worker SET phase = $2, done = $3, documents = $4, errors = $5,"
		" updated_at = clock_timestamp() WHERE run_id = $1 AND worker = 0",
		.nargs = 5, .argtypes = {INT8OID, TEXTOID, INT8OID, INT8OID, INT8OID}
	};
	Datum		values[5] = {Int64GetDatum(run->id), CStringGetTextDatum(phase), Int64GetDatum(run->done),
	Int64GetDatum(run->documents), Int64GetDatum(run->errors)};
	TimestampTz now = GetCurrentTimestamp();

	(void) query_run(&update, values, NULL, false);
	if (now < run->last_notice + NOTICE_INTERVAL)
		return;
	run->last_notice = now;
	ereport(NOTICE,
			(errmsg("bill run " INT64_FORMAT ": " INT64_FORMAT " of " INT64_FORMAT " accounts, " INT64_FORMAT " documents",
					run->id, run->done, run->total, run->documents)));
}

/* Claims and bills one batch; false when none is left. */
static bool
bill_next_batch(BillRun *run)
{
	static SpiQuery claim = {
		.text = "SELECT batch_no, first_account_id, last_account_id FROM billing.run_batch"
		" WHERE run_id = $1 AND status = 'pending' ORDER BY batch_no LIMIT 1 FOR UPDATE SKIP LOCKED",
		.nargs = 1, .argtypes = {INT8OID}
	};
	static SpiQuery members = {
		.text = "SELECT s.account_id FROM billing.account_state s WHERE " DUE
		" AND s.account_id BETWEEN $3 AND $4 ORDER BY 1",
		.nargs = 4, .argtypes = {TIMESTAMPTZOID, TEXTOID, INT8OID, INT8OID}
	};
	static SpiQuery finish = {
		.text = "UPDATE billing.run_batch SET status = 'done' WHERE run_id = $1 AND batch_no = $2",
		.nargs = 2, .argtypes = {INT8OID, INT4OID}
	};
	Datum		values[4];
	char		nulls[4] = "    ";
	Datum		key[2] = {Int64GetDatum(run->id)};
	int64	   *ids;
	int			count;

	if (query_run1(&claim, false, Int64GetDatum(run->id)) == 0)
		return false;
	key[1] = query_value(0, 1);
	due_arguments(run, values, nulls);
	values[2] = query_value(0, 2);
	values[3] = query_value(0, 3);
	SPI_freetuptable(SPI_tuptable);
	count = (int) query_run(&members, values, nulls, false);
	ids = result_ids(count);
	if (count > 0)
		bill_range(run, ids, count, false);
	(void) query_run(&finish, key, NULL, false);
	report_progress(run, "billing");
	return true;
}

/* Bills the accounts that others held before, from the given one on; they are waited for. */
static int
sweep_batch(BillRun *run, int from)
{
	int			count = Min(run->batch_size, run->nskipped - from);

	bill_range(run, run->skipped + from, count, true);
	report_progress(run, "sweeping");
	return from + count;
}

/* Notes how the run ended. */
static void
finish_run(BillRun *run)
{
	static SpiQuery update = {
		.text = "UPDATE billing.run SET status = 'finished', finished_at = clock_timestamp(), done = $2, documents = $3,"
		" errors = $4 WHERE id = $1",
		.nargs = 4, .argtypes = {INT8OID, INT8OID, INT8OID, INT8OID}
	};
	Datum		values[4] = {Int64GetDatum(run->id), Int64GetDatum(run->done), Int64GetDatum(run->documents),
	Int64GetDatum(run->errors)};

	report_progress(run, "done");
	(void) query_run(&update, values, NULL, false);
	if (run->errors > 0)
		ereport(WARNING,
				(errmsg("bill run " INT64_FORMAT " could not bill " INT64_FORMAT " accounts", run->id, run->errors),
				 errhint("See billing.run_error; they stay due.")));
}

/* All batches, then what others held. */
static void
bill_everything(BillRun *run)
{
	bool		more = true;

	MemoryContextSwitchTo(run->batch_context);
	while (more)
	{
		more = bill_next_batch(run);
		commit_step(run);
		MemoryContextReset(run->batch_context);
	}
	for (int from = 0; from < run->nskipped;)
	{
		from = sweep_batch(run, from);
		commit_step(run);
		MemoryContextReset(run->batch_context);
	}
	finish_run(run);
}

/* Checks the arguments of bill_run and copies them to where they outlive commits. */
static void
take_arguments(FunctionCallInfo fcinfo, BillRun *run)
{
	MemoryContext old = MemoryContextSwitchTo(PortalContext);
	int			workers = PG_ARGISNULL(1) ? 1 : PG_GETARG_INT32(1);

	run->options.at = PG_ARGISNULL(0) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(0);
	run->batch_size = PG_ARGISNULL(2) ? 1000 : PG_GETARG_INT32(2);
	run->entity = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	run->options.finalize = PG_ARGISNULL(4) ? true : PG_GETARG_BOOL(4);
	MemoryContextSwitchTo(old);
	books_check_at(run->options.at);
	if (workers < 1)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT), errmsg("workers must be positive")));
	if (run->batch_size < 1 || run->batch_size > MAX_BATCH_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("batch_size is %d", run->batch_size),
				 errdetail("It lies between 1 and %d.", MAX_BATCH_SIZE)));
	if (workers > 1)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a bill run with several workers is not supported"),
				 errhint("Call bill_run from several sessions at once: they share the accounts that are due.")));
}

/*
 * billing.bill_run(at, workers, batch_size, entity, finalize): commits after
 * each batch, except in a transaction block.
 */
Datum
billing_bill_run(PG_FUNCTION_ARGS)
{
	BillRun    *run = MemoryContextAllocZero(PortalContext, sizeof(BillRun));
	MemoryContext old = CurrentMemoryContext;

	run->atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
					!castNode(CallContext, fcinfo->context)->atomic);
	take_arguments(fcinfo, run);
	run->last_notice = GetCurrentTimestamp();
	SPI_connect_ext(run->atomic ? 0 : SPI_OPT_NONATOMIC);
	books_become_owner(&run->scope);
	books_check(true);
	books_authorize(&run->scope, ACCESS_OPERATOR, 0, run->entity);
	if (run->atomic)
		ereport(NOTICE,
				(errmsg("bill run in a transaction block: its documents stay or go with the transaction")));
	run->batch_context = AllocSetContextCreate(PortalContext, "billing batch", BATCH_MEMORY,
											   ALLOCSET_DEFAULT_INITSIZE, BATCH_MEMORY);
	run->context = run_context_create(PortalContext, false);
	if (run->entity != NULL)
		(void) run_entity(run->context, run->entity);
	runs_mark_interrupted();
	list_work(run);
	if (run->atomic && !account_holds_series())
		lock_everything(run);
	commit_step(run);
	bill_everything(run);
	books_leave(&run->scope);
	SPI_finish();
	MemoryContextSwitchTo(old);
	run_context_destroy(run->context);
	MemoryContextDelete(run->batch_context);
	PG_RETURN_VOID();
}
