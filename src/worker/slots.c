/*
 * slots.c
 *		The places of schedulers and runners in shared memory.
 *
 * A scheduler has its database's slot.  A runner's place is reserved by its
 * scheduler, entered by the runner, and freed by the scheduler once the process
 * is gone, or by whichever of the two leaves last.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"

#include "billing.h"
#include "worker/shared.h"

static SchedulerSlot *my_scheduler = NULL;
static bool retiring = false;
static RunnerSlot *my_runner = NULL;

/* What the scheduler leaves of its runners: those that run go on alone. */
static void
leave_runners(void)
{
	for (int i = 0; i < shared->nrunners; i++)
	{
		RunnerSlot *runner = &shared->runners[i];

		if (runner->state == RUNNER_FREE || runner->scheduler != MyProcPid)
			continue;
		runner->scheduler = 0;
		if (runner->pid == 0)
			runner->state = RUNNER_FREE;
	}
}

/* At a scheduler's exit: it is to be started again, unless it has retired and nothing changed since. */
static void
scheduler_leave(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	leave_runners();
	my_scheduler->pid = 0;
	my_scheduler->serving = false;
	my_scheduler->waiting = false;
	if (my_scheduler->woken || my_scheduler->holds > 0)
		my_scheduler->wish = WISH_NOW;
	else if (!retiring)
		my_scheduler->wish = WISH_AFTER_FAILURE;
	slot_tidy(my_scheduler);
	wake_launcher();
	LWLockRelease(shared->lock);
	my_scheduler = NULL;
}

/* Makes this process the scheduler of a database; false where there is one or none may be. */
bool
scheduler_enter(Oid database)
{
	SchedulerSlot *slot;
	bool		entered = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = slot_of(database, true);
	if (slot != NULL && slot->pid == 0 && slot->holds == 0)
	{
		slot->pid = MyProcPid;
		slot->latch = MyLatch;
		slot->serving = false;
		slot->woken = false;
		slot->waiting = false;
		slot->wish = WISH_NONE;
		my_scheduler = slot;
		entered = true;
	}
	else if (slot != NULL && slot->pid == 0)
		slot->wish = WISH_NOW;
	LWLockRelease(shared->lock);
	if (entered)
		before_shmem_exit(scheduler_leave, (Datum) 0);
	return entered;
}

/* What changes from now on is not seen by the look that follows. */
void
scheduler_take_wake(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_scheduler->woken = false;
	my_scheduler->waiting = false;
	LWLockRelease(shared->lock);
}

/* Has something changed since the last look? */
bool
scheduler_is_woken(void)
{
	bool		woken;

	LWLockAcquire(shared->lock, LW_SHARED);
	woken = my_scheduler->woken;
	LWLockRelease(shared->lock);
	return woken;
}

/* There are books to serve; the launcher may go on to the next database. */
void
scheduler_serves(void)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	if (!my_scheduler->serving)
		wake_launcher();
	my_scheduler->serving = true;
	LWLockRelease(shared->lock);
}

/* There is nothing to serve here; the exit that follows is no failure. */
void
scheduler_retires(void)
{
	retiring = true;
}

/*
 * Takes a place among the runners of the server; -1 when all are taken: then
 * the scheduler is woken when one ends.
 */
int
runner_reserve(uint32 *cookie)
{
	int			used = 0;
	int			slot = -1;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->nrunners; i++)
	{
		if (shared->runners[i].state != RUNNER_FREE)
			used++;
		else if (slot < 0)
			slot = i;
	}
	if (used >= billing_max_runners)
		slot = -1;
	if (slot >= 0)
	{
		RunnerSlot *runner = &shared->runners[slot];

		runner->state = RUNNER_RESERVED;
		runner->database = my_scheduler->database;
		runner->cookie = *cookie = ++shared->cookie;
		runner->scheduler = MyProcPid;
		runner->pid = 0;
	}
	else
		my_scheduler->waiting = true;
	LWLockRelease(shared->lock);
	return slot;
}

/* Other schedulers may want the place. */
static void
wake_waiting(void)
{
	for (int i = 0; i < shared->nschedulers; i++)
		if (shared->schedulers[i].pid != 0 && shared->schedulers[i].waiting)
			SetLatch(shared->schedulers[i].latch);
}

/* Gives the place back. */
void
runner_unreserve(int slot)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->runners[slot].state = RUNNER_FREE;
	wake_waiting();
	LWLockRelease(shared->lock);
}

/* How far the runner in a place came. */
RunnerState
runner_state(int slot)
{
	RunnerState state;

	LWLockAcquire(shared->lock, LW_SHARED);
	state = shared->runners[slot].state;
	LWLockRelease(shared->lock);
	return state;
}

/* --- Runner --- */

/* At a runner's exit: frees its place if the scheduler that would do so is gone. */
static void
runner_leave(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_runner->pid = 0;
	if (my_runner->scheduler == 0)
	{
		/*
		 * Nobody waits for this end; whoever serves the books now has to see what became of the
		 * job.
		 */
		SchedulerSlot *slot = slot_of(my_runner->database, false);

		my_runner->state = RUNNER_FREE;
		if (slot != NULL && slot->pid != 0)
		{
			slot->woken = true;
			SetLatch(slot->latch);
		}
		wake_waiting();
	}
	LWLockRelease(shared->lock);
	my_runner = NULL;
}

/* Enters a runner where it was reserved; false where the reservation is gone or the database is held. */
bool
runner_enter(const RunnerEntry *entry)
{
	RunnerSlot *runner = &shared->runners[entry->slot];
	SchedulerSlot *slot;
	bool		entered = false;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = slot_of(entry->database, false);
	if (runner->state == RUNNER_RESERVED && runner->cookie == entry->cookie &&
		(slot == NULL || slot->holds == 0))
	{
		runner->state = RUNNER_STARTED;
		runner->pid = MyProcPid;
		my_runner = runner;
		entered = true;
	}
	LWLockRelease(shared->lock);
	if (entered)
		before_shmem_exit(runner_leave, (Datum) 0);
	return entered;
}

/* How far this runner came, for its scheduler. */
void
runner_reached(RunnerState state)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	my_runner->state = state;
	LWLockRelease(shared->lock);
}

/* Is this process a runner? */
bool
in_runner(void)
{
	return my_runner != NULL;
}
