/*
 * runner.c
 *		The worker that runs one job, as the role that scheduled it.
 *
 * Three transactions: claim the job, run it, note how it ended.  The job itself
 * runs in a portal of its own as a statement of a client would, so that a
 * procedure may commit; it has the settings of its role and database, like any
 * session of that role, statement_timeout among them.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "tcop/dest.h"
#include "tcop/pquery.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "compat.h"
#include "worker/job.h"
#include "worker/worker.h"

PGDLLEXPORT void billing_runner_main(Datum arg);

/* Names the job in messages. */
static void
job_context(void *arg)
{
	errcontext("job \"%s\"", ((const Job *) arg)->name);
}

/* Plans and runs the call in the current transaction, or in those that it makes. */
static void
run_call(const JobCall *call)
{
	List	   *queries;
	List	   *plans;
	Portal		portal;
	DestReceiver *dest = CreateDestReceiver(DestNone);

	PushActiveSnapshot(GetTransactionSnapshot());
	queries = job_call_analyze(call);
	plans = pg_plan_queries(queries, call->text, 0, call->params);
	PopActiveSnapshot();
	portal = CreatePortal("", true, true);
	portal->visible = false;
	PortalDefineQuery(portal, NULL, call->text, call->is_procedure ? CMDTAG_CALL : CMDTAG_SELECT, plans, NULL);
	PortalStart(portal, call->params, 0, InvalidSnapshot);
	(void) PortalRun(portal, FETCH_ALL, true, dest, dest, NULL);
	PortalDrop(portal, false);
}

/* Runs a claimed job; NULL when it worked, else the error, logged, its transaction undone. */
static ErrorData *
run_job(const Job *job)
{
	MemoryContext context = CurrentMemoryContext;
	ErrorContextCallback callback = {
		.callback = job_context, .arg = (void *) job, .previous = error_context_stack
	};
	ErrorData  *volatile error = NULL;

	error_context_stack = &callback;
	PG_TRY();
	{
		JobCall    *call;

		StartTransactionCommand();
		MemoryContextSwitchTo(context);
		PushActiveSnapshot(GetTransactionSnapshot());
		job_check_proof(job);
		call = job_call(job->procedure, job_arguments(job), job->started_at);
		PopActiveSnapshot();
		pgstat_report_activity(STATE_RUNNING, psprintf("job \"%s\": %s", job->name, call->text));
		debug_query_string = call->text;
		if (StatementTimeout > 0)
			enable_timeout_after(STATEMENT_TIMEOUT, StatementTimeout);
		run_call(call);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		EmitErrorReport();
		FlushErrorState();
		AbortCurrentTransaction();
		PortalErrorCleanup();
		RESUME_INTERRUPTS();
	}
	PG_END_TRY();
	/* What was meant for the job does not hit the note of its end. */
	disable_all_timeouts(false);
	QueryCancelPending = false;
	debug_query_string = NULL;
	error_context_stack = callback.previous;
	MemoryContextSwitchTo(context);
	return error;
}

/* Claims the job, in a transaction of its own; its texts stay in the current context. */
static bool
claim(Job *job)
{
	MemoryContext context = CurrentMemoryContext;
	BooksScope	scope;
	bool		claimed;

	StartTransactionCommand();
	job_open(&scope);
	books_check(true);
	MemoryContextSwitchTo(context);
	claimed = job_claim(job, GetCurrentStatementStartTimestamp(), false);
	job_commit(&scope);
	MemoryContextSwitchTo(context);
	return claimed;
}

/* A runner's life. */
void
billing_runner_main(Datum arg)
{
	RunnerEntry entry;
	MemoryContext context;
	BooksScope	scope;
	ErrorData  *error;
	Job			job = {0};

	memcpy(&entry, MyBgworkerEntry->bgw_extra, sizeof(entry));
	worker_signals();
	if (!runner_enter(&entry))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(entry.database, entry.role, 0);
	context = AllocSetContextCreate(TopMemoryContext, "billing job", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	pgstat_report_appname("billing runner");
	/* The claim begins at this moment, so that others see by the activity that it is under way. */
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, psprintf("job \"%s\"", entry.name));
	job.name = entry.name;
	if (claim(&job))
	{
		runner_reached(RUNNER_CLAIMED);
		error = run_job(&job);
		StartTransactionCommand();
		job_open(&scope);
		job_finish(&job, error == NULL ? "succeeded" : "failed", error);
		job_commit(&scope);
	}
	runner_reached(RUNNER_DONE);
	proc_exit(0);
}
