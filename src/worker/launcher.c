/*
 * launcher.c
 *		The worker that starts schedulers.
 *
 * Only a process inside a database can tell whether there are books.  So at its
 * start, and when the settings are read anew, the launcher starts a scheduler
 * in every database, one after the other; one that finds nothing to serve ends
 * at once and is not started again until something there changes: setup(),
 * adopt_books() and jobs wake the launcher when they commit.  Between that it
 * sleeps.  It is connected to no database and stands in nobody's way.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "billing.h"
#include "compat.h"
#include "worker/worker.h"

#define FIRST_DELAY 1000		/* milliseconds until a scheduler that failed is started again */
#define LAST_DELAY 300000
#define HEALTHY 300000			/* one that lived so long begins with the first delay again */
#define PATIENCE 5000			/* milliseconds that a scheduler has to decide whether it stays */
#define NO_SLOT_DELAY 5000		/* milliseconds until the next try to get a worker */

/* A database in which a scheduler was started or shall be. */
typedef struct Database
{
	Oid			database;		/* hash key */
	bool		pending;
	TimestampTz not_before;
	TimestampTz started_at;
	int			delay;			/* milliseconds, of the last failure */
} Database;

static HTAB *databases = NULL;
static BackgroundWorkerHandle *starting = NULL; /* a scheduler that has not yet decided */
static Oid	starting_database = InvalidOid;
static TimestampTz starting_since = 0;
static TimestampTz no_worker_until = 0;
static bool warned = false;

PGDLLEXPORT void billing_launcher_main(Datum arg);

/* Enters a wish for a scheduler. */
static void
take_wish(Oid database, SchedulerWish wish)
{
	bool		found;
	Database   *entry = hash_search(databases, &database, HASH_ENTER, &found);
	TimestampTz now = GetCurrentTimestamp();

	if (!found)
	{
		entry->started_at = 0;
		entry->delay = 0;
	}
	entry->pending = true;
	entry->not_before = now;
	if (wish == WISH_NOW)
		return;
	if (entry->delay == 0 || TimestampDifferenceExceeds(entry->started_at, now, HEALTHY))
		entry->delay = FIRST_DELAY;
	else
		entry->delay = Min(2 * entry->delay, LAST_DELAY);
	entry->not_before = TimestampTzPlusMilliseconds(now, entry->delay);
}

/* Enters the wishes of sessions and schedulers. */
static void
take_wishes(bool *everywhere)
{
	DatabaseWish wishes[32];
	int			count;

	do
	{
		count = launcher_take_wishes(wishes, lengthof(wishes), everywhere);
		for (int i = 0; i < count; i++)
			take_wish(wishes[i].database, wishes[i].wish);
	} while (count == lengthof(wishes));
}

/* Can a scheduler be in the database at all? */
static bool
is_eligible(Form_pg_database form)
{
	return form->datallowconn && !form->datistemplate && form->datconnlimit >= -1;
}

/* Reads the list of databases: wishes for all, or forgets the one given where it cannot have a scheduler. */
static bool
scan_databases(Oid only)
{
	Relation	relation;
	TableScanDesc scan;
	HeapTuple	tuple;
	bool		found = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	(void) GetTransactionSnapshot();
	relation = table_open(DatabaseRelationId, AccessShareLock);
	scan = table_beginscan_catalog(relation, 0, NULL);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		Form_pg_database form = (Form_pg_database) GETSTRUCT(tuple);

		if (!is_eligible(form) || (OidIsValid(only) && form->oid != only))
			continue;
		found = true;
		if (!OidIsValid(only))
			take_wish(form->oid, WISH_NOW);
	}
	table_endscan(scan);
	table_close(relation, AccessShareLock);
	CommitTransactionCommand();
	return found;
}

/*
 * Has the scheduler that was started last not yet decided whether it stays?  One
 * that waits too long, for a lock perhaps, is left to itself.
 */
static bool
is_starting(TimestampTz now)
{
	pid_t		pid;

	if (starting == NULL)
		return false;
	if (GetBackgroundWorkerPid(starting, &pid) != BGWH_STOPPED && !launcher_is_settled(starting_database) &&
		!TimestampDifferenceExceeds(starting_since, now, PATIENCE))
		return true;
	pfree(starting);
	starting = NULL;
	return false;
}

/* Asks the server for a scheduler; false when it has no worker left. */
static bool
start_scheduler(Database *entry)
{
	BackgroundWorker worker = {
		.bgw_type = "billing scheduler",
		.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION,
		.bgw_start_time = BgWorkerStart_RecoveryFinished,
		.bgw_restart_time = BGW_NEVER_RESTART,
		.bgw_library_name = "billing",
		.bgw_function_name = "billing_scheduler_main",
		.bgw_main_arg = ObjectIdGetDatum(entry->database),
		.bgw_notify_pid = MyProcPid
	};
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool		started;

	snprintf(worker.bgw_name, BGW_MAXLEN, "billing scheduler for database %u", entry->database);
	started = RegisterDynamicBackgroundWorker(&worker, &starting);
	MemoryContextSwitchTo(old);
	if (!started)
	{
		starting = NULL;
		return false;
	}
	starting_database = entry->database;
	entry->started_at = starting_since = GetCurrentTimestamp();
	return true;
}

/* The pending database that comes first, of those that may have a scheduler now; NULL: none. */
static Database *
next_database(void)
{
	HASH_SEQ_STATUS sequence;
	Database   *entry;
	Database   *next = NULL;

	hash_seq_init(&sequence, databases);
	while ((entry = hash_seq_search(&sequence)) != NULL)
	{
		bool		served;

		if (!entry->pending)
			continue;
		if (launcher_may_start(entry->database, &served) &&
			(next == NULL || entry->not_before < next->not_before))
			next = entry;
		if (served)
			entry->pending = false;
	}
	return next;
}

/* Starts the next scheduler, if one is to be; returns how long to sleep, below zero: until woken. */
static int64
start_next(void)
{
	Database   *entry;
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz when;

	while ((entry = next_database()) != NULL)
	{
		if (is_starting(now))
			return PATIENCE;
		when = Max(entry->not_before, no_worker_until);
		if (when > now)
			return TimestampDifferenceMilliseconds(now, when) + 1;
		if (!scan_databases(entry->database))
		{
			hash_search(databases, &entry->database, HASH_REMOVE, NULL);
			continue;
		}
		if (start_scheduler(entry))
		{
			entry->pending = false;
			warned = false;
			continue;
		}
		if (!warned)
			ereport(WARNING,
					(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
					 errmsg("billing found no free background worker for a scheduler"),
					 errdetail("It goes on trying."),
					 errhint("Consider raising max_worker_processes.")));
		warned = true;
		no_worker_until = TimestampTzPlusMilliseconds(now, NO_SLOT_DELAY);
	}
	return -1;
}

/* The launcher's life. */
void
billing_launcher_main(Datum arg)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Database)};
	uint32		wait_event;

	worker_signals();
	databases = hash_create("billing databases", 64, &ctl, HASH_ELEM | HASH_BLOBS);
	launcher_enter();
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	pgstat_report_appname("billing launcher");
	pgstat_report_activity(STATE_IDLE, "starting schedulers");
	wait_event = WaitEventExtensionNew("BillingLauncher");
	for (;;)
	{
		bool		everywhere = ConfigReloadPending;

		if (everywhere)
		{
			ConfigReloadPending = false;
			ProcessConfigFile(PGC_SIGHUP);
		}
		take_wishes(&everywhere);
		if (!billing_enabled || !billing_workers)
		{
			pgstat_report_activity(STATE_IDLE, billing_enabled ? "billing.workers is off" : "billing.enabled is off");
			worker_sleep(-1, wait_event);
			continue;
		}
		if (everywhere)
			(void) scan_databases(InvalidOid);
		pgstat_report_activity(STATE_IDLE, "starts schedulers where books are set up or jobs change");
		worker_sleep(start_next(), wait_event);
	}
}
