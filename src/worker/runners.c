/*
 * runners.c
 *		A scheduler's runners: starting them, seeing them end.
 *
 * A runner counts as gone only when the postmaster says so: until then its entry
 * among the server's processes may still look alive.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "worker/scheduler.h"

#define NO_SLOT_DELAY 5000		/* milliseconds until the next try to get a worker */

/* Sets a connected scheduler up; locks are waited for, whatever the database's settings say. */
void
scheduler_init(Scheduler *me)
{
	me->next_run = DT_NOEND;
	me->runners = MemoryContextAllocZero(TopMemoryContext, sizeof(Runner) * max_worker_processes);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
}

/* Is a runner for this job under way? */
bool
scheduler_has_runner(const Scheduler *me, const char *name)
{
	for (int i = 0; i < me->nrunners; i++)
		if (strcmp(me->runners[i].name, name) == 0)
			return true;
	return false;
}

/* The server has no worker for a runner: the job stays due.  Says so once until one is there again. */
static void
no_worker(Scheduler *me)
{
	me->no_worker_until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), NO_SLOT_DELAY);
	if (!me->warned)
		ereport(WARNING,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("billing found no free background worker for a job"),
				 errdetail("The job stays due and is tried again."),
				 errhint("Consider raising max_worker_processes or lowering billing.max_runners.")));
	me->warned = true;
}

/* Asks the server for a runner in a reserved place. */
static bool
register_runner(Runner *runner, const RunnerEntry *entry)
{
	BackgroundWorker worker = {
		.bgw_type = "billing runner",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "billing",
		.bgw_function_name = "billing_runner_main",
		.bgw_notify_pid = MyProcPid
	};
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		started;

	StaticAssertStmt(sizeof(RunnerEntry) <= BGW_EXTRALEN, "a runner's entry must fit");
	snprintf(worker.bgw_name, BGW_MAXLEN, "billing runner for job %.*s",
			 pg_mbcliplen(entry->name, strlen(entry->name), 60), entry->name);
	memcpy(worker.bgw_extra, entry, sizeof(RunnerEntry));
	started = RegisterDynamicBackgroundWorker(&worker, &runner->handle);
	MemoryContextSwitchTo(old);
	return started;
}

/* Starts a runner; false when there is no room now. */
bool
scheduler_start_runner(Scheduler *me, const DueJob *job)
{
	Runner	   *runner = &me->runners[me->nrunners];
	RunnerEntry entry = {.database = MyDatabaseId, .role = job->role};

	if (me->no_worker_until > GetCurrentTimestamp())
		return false;
	if (me->nrunners == max_worker_processes || (entry.slot = runner_reserve(&entry.cookie)) < 0)
		return false;
	strlcpy(entry.name, job->name, sizeof(entry.name));
	if (!register_runner(runner, &entry))
	{
		runner_unreserve(entry.slot);
		no_worker(me);
		return false;
	}
	runner->slot = entry.slot;
	strlcpy(runner->name, job->name, sizeof(runner->name));
	me->nrunners++;
	me->warned = false;
	return true;
}

/* Forgets runners that have ended, remembers jobs that they did not claim; true: there were any. */
bool
scheduler_reap(Scheduler *me)
{
	int			left = 0;
	int			before = me->nrunners;

	for (int i = 0; i < before; i++)
	{
		Runner	   *runner = &me->runners[i];
		RunnerState state;
		pid_t		pid;

		if (GetBackgroundWorkerPid(runner->handle, &pid) != BGWH_STOPPED)
		{
			me->runners[left++] = *runner;
			continue;
		}
		state = runner_state(runner->slot);
		if ((state == RUNNER_RESERVED || state == RUNNER_STARTED) && me->nlost < MAX_QUEUE)
			strlcpy(me->lost[me->nlost++], runner->name, sizeof(me->lost[0]));
		runner_unreserve(runner->slot);
		pfree(runner->handle);
	}
	me->nrunners = left;
	return left < before;
}
