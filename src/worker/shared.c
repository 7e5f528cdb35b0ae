/*
 * shared.c
 *		What launcher, schedulers, runners and sessions know of each other.
 *
 * One lock guards everything; it is held for a look at two short arrays and
 * never across anything that may fail.  A worker enters its process id here
 * before it connects and takes it out in a callback, so that whoever needs a
 * database for himself first forbids new workers (a hold), then signals those
 * entered, and misses none.  Nothing here outlives the server: who may run
 * what, and what ran, stands in the books.
 */
#include "postgres.h"

#include <signal.h>

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "compat.h"
#include "worker/shared.h"

WorkerShared *shared = NULL;

static shmem_startup_hook_type previous_startup = NULL;
static shmem_request_hook_type previous_request = NULL;

/* More databases than can have a scheduler may be held or wished for at once. */
static int
scheduler_slots(void)
{
	return 2 * max_worker_processes + 16;
}

/* Bytes before the runners. */
static Size
schedulers_size(void)
{
	return MAXALIGN(offsetof(WorkerShared, schedulers) + mul_size(scheduler_slots(), sizeof(SchedulerSlot)));
}

/* Bytes in all. */
static Size
shared_size(void)
{
	return add_size(schedulers_size(), mul_size(max_worker_processes, sizeof(RunnerSlot)));
}

/* Asks the server for memory and lock. */
static void
shared_request(void)
{
	if (previous_request != NULL)
		previous_request();
	RequestAddinShmemSpace(shared_size());
	RequestNamedLWLockTranche("billing", 1);
}

/* Makes the memory, empty, or finds it. */
static void
shared_startup(void)
{
	bool		found;

	if (previous_startup != NULL)
		previous_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("billing workers", shared_size(), &found);
	if (!found)
	{
		memset(shared, 0, shared_size());
		shared->lock = &GetNamedLWLockTranche("billing")->lock;
		shared->nschedulers = scheduler_slots();
		shared->nrunners = max_worker_processes;
		shared->runners = (RunnerSlot *) ((char *) shared + schedulers_size());
	}
	LWLockRelease(AddinShmemInitLock);
}

/* While the library is preloaded: asks for the memory. */
void
shared_init(void)
{
	request_shmem_by(shared_request, previous_request);
	previous_startup = shmem_startup_hook;
	shmem_startup_hook = shared_startup;
}

/* The slot of a database, or NULL; a new one where asked for and there is room. */
SchedulerSlot *
slot_of(Oid database, bool make)
{
	SchedulerSlot *empty = NULL;

	for (int i = 0; i < shared->nschedulers; i++)
	{
		SchedulerSlot *slot = &shared->schedulers[i];

		if (slot->database == database)
			return slot;
		if (empty == NULL && !OidIsValid(slot->database))
			empty = slot;
	}
	if (!make || empty == NULL)
		return NULL;
	memset(empty, 0, sizeof(SchedulerSlot));
	empty->database = database;
	return empty;
}

/* Gives the slot back when it says nothing any more. */
void
slot_tidy(SchedulerSlot *slot)
{
	if (slot->pid == 0 && slot->wish == WISH_NONE && slot->holds == 0)
		slot->database = InvalidOid;
}

/* The caller holds the lock. */
void
wake_launcher(void)
{
	if (shared->launcher != NULL)
		SetLatch(shared->launcher);
}

/* --- Launcher --- */

/* At the launcher's exit. */
static void
launcher_leave(int code, Datum arg)
{
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher = NULL;
	LWLockRelease(shared->lock);
}

/* Makes this process the one that is woken by wishes; it has to look everywhere first. */
void
launcher_enter(void)
{
	before_shmem_exit(launcher_leave, (Datum) 0);
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	shared->launcher = MyLatch;
	shared->look_everywhere = true;
	LWLockRelease(shared->lock);
}

/*
 * Takes over up to max wishes and returns how many; *everywhere is set when all
 * databases are to be looked at.
 */
int
launcher_take_wishes(DatabaseWish *wishes, int max, bool *everywhere)
{
	int			count = 0;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	*everywhere |= shared->look_everywhere;
	shared->look_everywhere = false;
	for (int i = 0; i < shared->nschedulers && count < max; i++)
	{
		SchedulerSlot *slot = &shared->schedulers[i];

		if (!OidIsValid(slot->database) || slot->wish == WISH_NONE)
			continue;
		wishes[count].database = slot->database;
		wishes[count++].wish = slot->wish;
		slot->wish = WISH_NONE;
		slot_tidy(slot);
	}
	LWLockRelease(shared->lock);
	return count;
}

/* May a scheduler be started for the database?  Not where there is one, nor while it is held. */
bool
launcher_may_start(Oid database, bool *served)
{
	SchedulerSlot *slot;
	bool		held;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = slot_of(database, false);
	*served = slot != NULL && slot->pid != 0;
	held = slot != NULL && slot->holds > 0;
	LWLockRelease(shared->lock);
	return !*served && !held;
}

/* Has the scheduler of the database found books to serve? */
bool
launcher_is_settled(Oid database)
{
	SchedulerSlot *slot;
	bool		settled;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = slot_of(database, false);
	settled = slot != NULL && slot->pid != 0 && slot->serving;
	LWLockRelease(shared->lock);
	return settled;
}

/* --- Any session --- */

/* Something changed in the books of a database: its scheduler looks, or one is started. */
void
database_wake(Oid database)
{
	SchedulerSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = slot_of(database, true);
	if (slot != NULL && slot->pid != 0)
	{
		slot->woken = true;
		SetLatch(slot->latch);
	}
	else
	{
		if (slot != NULL)
			slot->wish = WISH_NOW;
		else
			shared->look_everywhere = true;
		wake_launcher();
	}
	LWLockRelease(shared->lock);
}

/* No worker enters the database until database_release. */
void
database_hold(Oid database)
{
	SchedulerSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = slot_of(database, true);
	if (slot != NULL)
		slot->holds++;
	LWLockRelease(shared->lock);
}

/* Ends the hold; a scheduler may be there again. */
void
database_release(Oid database)
{
	SchedulerSlot *slot;

	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	slot = slot_of(database, false);
	if (slot != NULL && slot->holds > 0)
	{
		slot->holds--;
		slot_tidy(slot);
	}
	wake_launcher();
	LWLockRelease(shared->lock);
}

/* Sends a signal (0: none) to the workers in a database; returns how many there are. */
int
database_signal_workers(Oid database, int signal)
{
	SchedulerSlot *slot;
	int			count = 0;

	LWLockAcquire(shared->lock, LW_SHARED);
	slot = slot_of(database, false);
	if (slot != NULL && slot->pid != 0)
	{
		count++;
		if (signal != 0)
			kill(slot->pid, signal);
	}
	for (int i = 0; i < shared->nrunners; i++)
	{
		const RunnerSlot *runner = &shared->runners[i];

		if (runner->database != database || runner->pid == 0)
			continue;
		count++;
		if (signal != 0)
			kill(runner->pid, signal);
	}
	LWLockRelease(shared->lock);
	return count;
}
