/*
 * step.c
 *		The transactions of a process of a run, and the memory between them.
 *
 * No portal, tuple table or snapshot lives across a commit; what does is in
 * the contexts made here.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/pmsignal.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "lib/spi.h"
#include "run/work.h"

/* What a batch of 1,000 accounts takes; a reset keeps it, or each batch would fault its pages in anew. */
#define BATCH_MEMORY (16 * 1024 * 1024)

/* Contexts and catalogue of a run, below a context that outlives its transactions. */
void
work_open(BillRun *run, MemoryContext memory)
{
	run->memory = memory;
	run->batch_context = AllocSetContextCreate(memory, "billing batch", BATCH_MEMORY,
											   ALLOCSET_DEFAULT_INITSIZE, BATCH_MEMORY);
	run->context = run_context_create(memory, false);
	run->last_notice = GetCurrentTimestamp();
}

void
work_close(BillRun *run)
{
	run_context_destroy(run->context);
	MemoryContextDelete(run->batch_context);
}

/*
 * A worker's transaction begins, connected to SPI and with the snapshot that a
 * command of a client has from its portal.
 */
void
work_begin(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
}

/* A worker's transaction ends; table statistics go out, as they do after a client's command. */
void
work_end(void)
{
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
	pgstat_report_stat(false);
}

/* Commits and goes on: the leader through SPI, as a procedure has to, a worker for itself. */
static void
commit_transaction(const BillRun *run)
{
	if (run->worker > 0)
	{
		work_end();
		work_begin();
		return;
	}
	SPI_commit();
	SPI_start_transaction();
	XactIsoLevel = XACT_READ_COMMITTED;
}

/*
 * A process that never waits does not notice that the postmaster has died, and
 * as long as it lives no other can be started.
 */
static void
check_postmaster(void)
{
	if (IsUnderPostmaster && !PostmasterIsAlive())
		ereport(FATAL,
				(errcode(ERRCODE_ADMIN_SHUTDOWN), errmsg("terminating run because the postmaster has exited")));
}

/*
 * Ends the transaction, where that is allowed, and begins the next as the
 * owner; forgets the batch.  Processes claim rows from one table, so each has
 * to see what the others committed, whatever the session's default is.
 */
void
work_step(BillRun *run)
{
	if (!run->atomic)
	{
		books_leave(&run->scope);
		commit_transaction(run);
		check_postmaster();
		books_become_owner(&run->scope);
		MemoryContextSwitchTo(run->batch_context);
	}
	MemoryContextReset(run->batch_context);
}
