/*
 * init.c
 *		Starting the launcher with the server, and what all workers do alike.
 *
 * Workers exist only where the library is preloaded, and not while pg_upgrade
 * runs the server.  A session that changes jobs or books wakes the scheduler of
 * its database when it commits, once per transaction.
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"

#include "compat.h"
#include "worker/worker.h"

#define LAUNCHER_RESTART 5		/* seconds */

static bool preloaded = false;
static bool wake_wanted = false;

PG_FUNCTION_INFO_V1(billing_wake_workers);

/* At the end of a transaction: frees databases, wakes the scheduler where that was asked for. */
static void
at_end(XactEvent event, void *arg)
{
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_PREPARE && event != XACT_EVENT_ABORT)
		return;
	databases_release();
	if (wake_wanted && event != XACT_EVENT_ABORT)
		database_wake(MyDatabaseId);
	wake_wanted = false;
}

/* What the transaction did concerns the scheduler of this database. */
void
wake_at_commit(void)
{
	wake_wanted = preloaded && OidIsValid(MyDatabaseId);
}

/* Trigger on the tables that a scheduler reads; a runner's own changes are no news. */
Datum
billing_wake_workers(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "wake_workers() is a trigger function");
	if (!in_runner())
		wake_at_commit();
	PG_RETURN_POINTER(NULL);
}

/* Is the library loaded since the server's start? */
bool
workers_preloaded(void)
{
	return preloaded;
}

/* While the library is preloaded: memory, hooks, and the launcher, which starts after recovery. */
void
workers_init(void)
{
	BackgroundWorker worker = {
		.bgw_name = "billing launcher",
		.bgw_type = "billing launcher",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = LAUNCHER_RESTART,
		.bgw_library_name = "billing",
		.bgw_function_name = "billing_launcher_main"
	};

	if (!process_shared_preload_libraries_in_progress || IsBinaryUpgrade)
		return;
	preloaded = true;
	shared_init();
	databases_install_hooks();
	RegisterXactCallback(at_end, NULL);
	RegisterBackgroundWorker(&worker);
}

/* Signals of a worker: it ends wherever it may be interrupted, and learns when settings changed. */
void
worker_signals(void)
{
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
}

/* Sleeps until woken, at most so long (below zero: for ever). */
void
worker_sleep(int64 milliseconds, uint32 wait_event)
{
	int			events = WL_LATCH_SET | WL_EXIT_ON_PM_DEATH;

	if (milliseconds >= 0)
		events |= WL_TIMEOUT;
	(void) WaitLatch(MyLatch, events, (long) Min(milliseconds, INT_MAX), wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
}
