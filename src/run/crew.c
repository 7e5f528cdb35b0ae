/*
 * crew.c
 *		The leader's side of the background workers of a bill run.
 *
 * The leader starts them dynamically, so nothing is preloaded, and takes part
 * itself: however few there are, the run ends.  What a worker has to know lies
 * in a shared segment (orders.c), what it does in crew_worker.c.  When the leader
 * fails, or its session ends, all workers are terminated.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "run/crew.h"
#include "run/orders.h"

/* The workers of the run that this session leads. */
typedef struct Crew
{
	dsm_segment *segment;
	Orders	   *orders;
	int			count;
	BackgroundWorkerHandle *workers[FLEXIBLE_ARRAY_MEMBER];
} Crew;

static Crew *crew = NULL;

static void
terminate_all(const Crew *gone)
{
	for (int i = 0; i < gone->count; i++)
		TerminateBackgroundWorker(gone->workers[i]);
}

/* A session that ends in the middle of its run, by FATAL, does not come back to stop its workers. */
static void
session_ends(int code, Datum arg)
{
	if (crew != NULL)
		terminate_all(crew);
}

/* Nobody is left who could be stopped. */
static void
forget_crew(void)
{
	if (crew != NULL)
		dsm_detach(crew->segment);
	crew = NULL;
}

/* Stops the workers, if there are any, and waits until they are gone. */
void
crew_stop(void)
{
	Crew	   *gone = crew;

	if (gone == NULL)
		return;
	crew = NULL;
	terminate_all(gone);
	dsm_detach(gone->segment);
	for (int i = 0; i < gone->count; i++)
		(void) WaitForBackgroundWorkerShutdown(gone->workers[i]);
}

/* Asks for worker number of a run; NULL where no slot is free. */
static BackgroundWorkerHandle *
start_one(const BillRun *run, const Crew *members, int number)
{
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "billing run " INT64_FORMAT " worker %d", run->id, number);
	strlcpy(worker.bgw_type, "billing run worker", BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "$libdir/billing", BGW_MAXLEN);
	strlcpy(worker.bgw_function_name, "billing_run_worker", BGW_MAXLEN);
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(members->segment));
	memcpy(worker.bgw_extra, &number, sizeof(number));
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, &handle) ? handle : NULL;
}

/*
 * Starts so many workers, or as many as the server has slots for; returns how
 * many.  From here on the caller stops them when it fails.
 */
int
crew_start(const BillRun *run, int workers)
{
	static bool watching = false;
	MemoryContext old = MemoryContextSwitchTo(run->memory);
	Crew	   *members;

	workers = Min(workers, max_worker_processes);
	members = palloc0(offsetof(Crew, workers) + sizeof(BackgroundWorkerHandle *) * workers);
	if (!watching)
		before_shmem_exit(session_ends, (Datum) 0);
	watching = true;
	members->segment = orders_write(run, workers);
	if (members->segment != NULL)
	{
		members->orders = dsm_segment_address(members->segment);
		crew = members;
	}
	while (crew != NULL && members->count < workers)
	{
		members->workers[members->count] = start_one(run, members, members->count + 1);
		if (members->workers[members->count] == NULL)
			break;
		members->count++;
	}
	MemoryContextSwitchTo(old);
	if (members->count == 0)
		forget_crew();
	return members->count;
}

/*
 * Waits at most so long until all workers have ended; true when they have, and
 * their errors are told and counted.  To be called when nothing is left to
 * claim: who has not begun need not.
 */
bool
crew_ended(int milliseconds, int *failures)
{
	static uint32 event = 0;
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);

	if (event == 0)
		event = WaitEventExtensionNew("BillingRunWorkers");
	for (;;)
	{
		int			running = 0;
		long		left;
		pid_t		pid;

		for (int i = 0; i < crew->count; i++)
		{
			BgwHandleStatus status = GetBackgroundWorkerPid(crew->workers[i], &pid);

			if (status == BGWH_NOT_YET_STARTED)
			{
				crew->orders->dismissed = true;
				TerminateBackgroundWorker(crew->workers[i]);
			}
			running += status != BGWH_STOPPED;
		}
		if (running == 0)
			break;
		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
		if (left <= 0)
			return false;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, event);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
	*failures = orders_report_failures(crew->orders);
	forget_crew();
	return true;
}
