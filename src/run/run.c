/*
 * run.c
 *		Runs over many accounts: procedures that commit batch by batch.
 *
 * It enters itself, lists the work, does it (work.c), alone or with background
 * workers (crew.c), and notes how it ended.  Inside a transaction block
 * everything happens in the caller's transaction.
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
#include "utils/timestamp.h"

#include "account/account.h"
#include "lib/errors.h"
#include "lib/spi.h"
#include "run/crew.h"
#include "run/run.h"

#define MAX_BATCH_SIZE 100000
#define MAX_SPREAD_DAYS 31

/* How often the leader that waits for its workers tells how far they are, in milliseconds. */
#define WAIT_INTERVAL 5000

PG_FUNCTION_INFO_V1(billing_bill_run);
PG_FUNCTION_INFO_V1(billing_dunning_run);
PG_FUNCTION_INFO_V1(billing_collection_run);

/* Enters the run and its leader. */
static void
enter_run(BillRun *run)
{
	static SpiQuery enter = {
		.text = "WITH run AS (INSERT INTO billing.run (procedure, at, entity, finalize, batch_size, status, started_at, pid, spread)"
		" VALUES ($6, $1, CASE WHEN $2 IS NOT NULL THEN billing_internal.the_entity($2) END,"
		" $3, $4, 'running', clock_timestamp(), pg_backend_pid(), nullif($5, 0) * interval '1 second') RETURNING id)"
		" INSERT INTO billing.run_worker (run_id, worker, pid, phase, updated_at)"
		" SELECT id, 0, pg_backend_pid(), $7, clock_timestamp() FROM run RETURNING run_id",
		.nargs = 7, .argtypes = {TIMESTAMPTZOID, TEXTOID, BOOLOID, INT4OID, INT8OID, TEXTOID, TEXTOID}
	};
	Datum		values[7] = {TimestampTzGetDatum(run->options.at),
		run->entity ? CStringGetTextDatum(run->entity) : (Datum) 0,
		BoolGetDatum(run->options.finalize), Int32GetDatum(run->batch_size), Int64GetDatum(run->spread),
	CStringGetTextDatum(run->kind->procedure), CStringGetTextDatum(run->kind->phase)};

	(void) query_run(&enter, values, run->entity ? NULL : " n     ", false);
	run->id = query_int64(0, 1, 0);
}

/* Notes workers that ended early.  Of those beyond the failures that were told the server's log may tell. */
static void
note_stopped_workers(const BillRun *run, int failures)
{
	static SpiQuery update = {
		.text = "UPDATE billing.run_worker SET phase = 'stopped' WHERE run_id = $1 AND worker > 0 AND phase <> 'done'",
		.nargs = 1, .argtypes = {INT8OID}
	};
	int			count = (int) query_run1(&update, false, Int64GetDatum(run->id));

	if (count > failures)
		ereport(WARNING,
				(errmsg("bill run " INT64_FORMAT ": %d of its workers ended early", run->id, count),
				 errdetail("What they had not finished was billed by the others."),
				 errhint("The server's log tells why.")));
}

/* Waits for the workers, and bills what those left that ended early. */
static void
wait_for_workers(BillRun *run)
{
	int			failures;

	do
	{
		work_report(run, "waiting");
		work_step(run);
	} while (!crew_ended(WAIT_INTERVAL, &failures));
	note_stopped_workers(run, failures);
	work_do(run);
}

/* Notes how the run ended. */
static void
finish_run(BillRun *run)
{
	static SpiQuery update = {
		.text = "UPDATE billing.run SET status = 'finished', finished_at = clock_timestamp(), done = w.done,"
		" documents = w.documents, errors = w.errors FROM (SELECT sum(done) AS done, sum(documents) AS documents,"
		" sum(errors)::bigint AS errors FROM billing.run_worker WHERE run_id = $1) w WHERE id = $1 RETURNING w.errors",
		.nargs = 1, .argtypes = {INT8OID}
	};
	int64		errors;

	work_report(run, "done");
	(void) query_run1(&update, false, Int64GetDatum(run->id));
	errors = query_int64(0, 1, 0);
	if (errors > 0)
		ereport(WARNING,
				(errmsg("%s " INT64_FORMAT " could not %s " INT64_FORMAT " accounts", run->kind->name, run->id, run->kind->verb, errors),
				 errhint("See billing.run_error; they stay due.")));
}

/* Bills with so many processes, or as many as there are slots and ranges for. */
static void
bill_everything(BillRun *run, int workers)
{
	int			wanted = Min(workers, run->batches) - 1;
	int			started = wanted > 0 ? crew_start(run, wanted) : 0;

	if (started < wanted)
		ereport(NOTICE,
				(errmsg("bill run " INT64_FORMAT " has %d workers instead of %d", run->id, started + 1, wanted + 1),
				 errhint("Raise max_worker_processes to have more.")));
	work_do(run);
	if (started > 0)
		wait_for_workers(run);
	finish_run(run);
}

/* The same; whatever ends it, its workers end too. */
static void
bill_or_stop(BillRun *run, int workers)
{
	PG_TRY();
	{
		bill_everything(run, workers);
	}
	PG_CATCH();
	{
		crew_stop();
		PG_RE_THROW();
	}
	PG_END_TRY();
}

/* The window in seconds. */
static int64
check_spread(const Interval *spread)
{
	int64		seconds = spread->day * INT64CONST(86400) + spread->time / USECS_PER_SEC;

	if (spread->month != 0 || spread->day < -MAX_SPREAD_DAYS || spread->day > MAX_SPREAD_DAYS ||
		seconds <= 0 || seconds > MAX_SPREAD_DAYS * 86400)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("spread must be a window of days, hours, minutes or seconds"),
				 errdetail("It lies between one second and %d days.", MAX_SPREAD_DAYS)));
	return seconds;
}

static void
check_batch_size(int batch_size)
{
	if (batch_size < 1 || batch_size > MAX_BATCH_SIZE)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT),
				 errmsg("batch_size is %d", batch_size),
				 errdetail("It lies between 1 and %d.", MAX_BATCH_SIZE)));
}

/* Checks at, batch_size and entity and copies them to where they outlive commits. */
static void
take_three_arguments(FunctionCallInfo fcinfo, BillRun *run)
{
	run->options.at = PG_ARGISNULL(0) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(0);
	run->options.finalize = true;
	run->batch_size = PG_ARGISNULL(1) ? 1000 : PG_GETARG_INT32(1);
	run->entity = PG_ARGISNULL(2) ? NULL : MemoryContextStrdup(PortalContext, text_to_cstring(PG_GETARG_TEXT_PP(2)));
	books_check_at(run->options.at);
	check_batch_size(run->batch_size);
}

/* Checks the arguments of bill_run and copies them to where they outlive commits; returns workers. */
static int
take_arguments(FunctionCallInfo fcinfo, BillRun *run)
{
	MemoryContext old = MemoryContextSwitchTo(PortalContext);
	int			workers = PG_ARGISNULL(1) ? 1 : PG_GETARG_INT32(1);

	run->options.at = PG_ARGISNULL(0) ? GetCurrentTransactionStartTimestamp() : PG_GETARG_TIMESTAMPTZ(0);
	run->batch_size = PG_ARGISNULL(2) ? 1000 : PG_GETARG_INT32(2);
	run->entity = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	run->options.finalize = PG_ARGISNULL(4) ? true : PG_GETARG_BOOL(4);
	/* the procedure of 0.1.0 has no sixth argument */
	run->spread = PG_NARGS() < 6 || PG_ARGISNULL(5) ? 0 : check_spread(PG_GETARG_INTERVAL_P(5));
	MemoryContextSwitchTo(old);
	books_check_at(run->options.at);
	if (workers < 1)
		ereport(ERROR,
				(errcode(ERRCODE_BILLING_INVALID_ARGUMENT), errmsg("workers must be positive")));
	check_batch_size(run->batch_size);
	if (workers > 1 && run->atomic)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a bill run in a transaction block cannot have several workers"),
				 errhint("Call bill_run outside of a transaction block, with autocommit, or with one worker.")));
	return workers;
}

/* A run of a kind, in the context that lasts as long as its call. */
static BillRun *
new_run(FunctionCallInfo fcinfo, RunKind *kind)
{
	BillRun    *run = MemoryContextAllocZero(PortalContext, sizeof(BillRun));

	run->kind = kind;
	run->atomic = !(fcinfo->context && IsA(fcinfo->context, CallContext) &&
					!castNode(CallContext, fcinfo->context)->atomic);
	return run;
}

/* Commits after each batch, except in a transaction block. */
static void
run_everything(BillRun *run, int workers)
{
	MemoryContext old = CurrentMemoryContext;

	SPI_connect_ext(run->atomic ? 0 : SPI_OPT_NONATOMIC);
	books_become_owner(&run->scope);
	books_check(true);
	books_authorize(&run->scope, ACCESS_OPERATOR, 0, run->entity);
	if (run->atomic)
		ereport(NOTICE,
				(errmsg("%s in a transaction block: its %s stay or go with the transaction", run->kind->name,
						run->kind->made)));
	work_open(run, PortalContext);
	if (run->entity != NULL)
		(void) run_entity(run->context, run->entity);
	runs_mark_interrupted();
	enter_run(run);
	work_list(run);
	if (run->atomic && !account_holds_series())
		work_lock_everything(run);
	work_step(run);
	bill_or_stop(run, workers);
	books_leave(&run->scope);
	SPI_finish();
	MemoryContextSwitchTo(old);
	work_close(run);
}

/* billing.bill_run(at, workers, batch_size, entity, finalize, spread) */
Datum
billing_bill_run(PG_FUNCTION_ARGS)
{
	BillRun    *run = new_run(fcinfo, &bill_run_kind);

	run_everything(run, take_arguments(fcinfo, run));
	PG_RETURN_VOID();
}

/* A run of a kind with one process. */
static void
run_kind(FunctionCallInfo fcinfo, RunKind *kind)
{
	BillRun    *run = new_run(fcinfo, kind);

	take_three_arguments(fcinfo, run);
	run_everything(run, 1);
}

/* billing.dunning_run(at, batch_size, entity) */
Datum
billing_dunning_run(PG_FUNCTION_ARGS)
{
	run_kind(fcinfo, &dunning_run_kind);
	PG_RETURN_VOID();
}

/* billing.collection_run(at, batch_size, entity) */
Datum
billing_collection_run(PG_FUNCTION_ARGS)
{
	run_kind(fcinfo, &collection_run_kind);
	PG_RETURN_VOID();
}
