/*
 * crew.c
 *		The background workers of a bill run.
 *
 * The leader starts them dynamically, so nothing is preloaded, and takes part
 * itself: however few there are, the run ends.  What a worker has to know lies
 * in a shared segment: who called, what to bill, and what the caller changed of
 * the settings.  A worker connects as the leader's session did, becomes its
 * user, proves that user's right once more and goes on as the leader does.  It
 * tells the leader nothing but by the rows it commits and by ending; so one
 * that dies needs no handling, its range is claimed again.
 *
 * When the leader fails, or its session ends, all workers are terminated.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/dsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "lib/spi.h"
#include "run/crew.h"

/* What the leader tells its workers. */
typedef struct Orders
{
	Oid			database;
	Oid			authenticated_user;
	Oid			session_user;
	Oid			caller;
	bool		session_is_superuser;
	bool		finalize;
	int			batch_size;
	int64		run_id;
	int64		spread;
	TimestampTz at;
	Size		length;			/* of text */
	char		text[FLEXIBLE_ARRAY_MEMBER];	/* entity or "", then names and values of settings */
} Orders;

/* The workers of the run that this session leads. */
typedef struct Crew
{
	dsm_segment *orders;
	int			count;
	BackgroundWorkerHandle *workers[FLEXIBLE_ARRAY_MEMBER];
} Crew;

static Crew *crew = NULL;

PGDLLEXPORT void billing_run_worker(Datum orders_handle);

/* --- The leader --- */

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
		dsm_detach(crew->orders);
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
	dsm_detach(gone->orders);
	for (int i = 0; i < gone->count; i++)
		(void) WaitForBackgroundWorkerShutdown(gone->workers[i]);
}

/* Must workers have a setting as this session changed it?  They have no client, and transactions of their own. */
static bool
is_passed_on(const struct config_generic *setting)
{
	return (setting->source == PGC_S_SESSION || setting->source == PGC_S_CLIENT) &&
		(setting->context == PGC_USERSET || setting->context == PGC_SUSET) &&
		!(setting->flags & GUC_NO_RESET_ALL) && strcmp(setting->name, "client_encoding") != 0;
}

/*
 * Entity, and names and values of settings that the caller's session changed;
 * those of the user and the database the workers find themselves.
 */
static void
append_text(StringInfo text, const BillRun *run)
{
	int			count;
	struct config_generic **settings = get_guc_variables(&count);

	appendBinaryStringInfo(text, run->entity ? run->entity : "", (run->entity ? strlen(run->entity) : 0) + 1);
	for (int i = 0; i < count; i++)
	{
		const char *value = is_passed_on(settings[i]) ? GetConfigOption(settings[i]->name, false, false) : NULL;

		if (value == NULL)
			continue;
		appendBinaryStringInfo(text, settings[i]->name, strlen(settings[i]->name) + 1);
		appendBinaryStringInfo(text, value, strlen(value) + 1);
	}
}

/* The orders in a segment that lasts until it is detached; NULL where the server has none to spare. */
static dsm_segment *
write_orders(const BillRun *run)
{
	StringInfoData text;
	dsm_segment *segment;
	Orders	   *orders;

	initStringInfo(&text);
	append_text(&text, run);
	segment = dsm_create(offsetof(Orders, text) + text.len, DSM_CREATE_NULL_IF_MAXSEGMENTS);
	if (segment == NULL)
		return NULL;
	dsm_pin_mapping(segment);
	orders = dsm_segment_address(segment);
	orders->database = MyDatabaseId;
	orders->authenticated_user = GetAuthenticatedUserId();
	orders->session_user = GetSessionUserId();
	orders->session_is_superuser = superuser_arg(GetSessionUserId());
	orders->caller = run->scope.saved_user;
	orders->finalize = run->options.finalize;
	orders->batch_size = run->batch_size;
	orders->run_id = run->id;
	orders->spread = run->spread;
	orders->at = run->options.at;
	orders->length = text.len;
	memcpy(orders->text, text.data, text.len);
	return segment;
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
	worker.bgw_main_arg = UInt32GetDatum(dsm_segment_handle(members->orders));
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
	Crew	   *members = palloc0(offsetof(Crew, workers) + sizeof(BackgroundWorkerHandle *) *
								  Min(workers, max_worker_processes));

	if (!watching)
		before_shmem_exit(session_ends, (Datum) 0);
	watching = true;
	members->orders = write_orders(run);
	if (members->orders != NULL)
		crew = members;
	while (crew != NULL && members->count < Min(workers, max_worker_processes))
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
 * Waits at most so long until all workers have ended; true when they have.  To
 * be called when nothing is left to claim: who has not begun need not.
 */
bool
crew_ended(int milliseconds)
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
				TerminateBackgroundWorker(crew->workers[i]);
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
	forget_crew();
	return true;
}

/* --- A worker --- */

/* Takes the leader's user for as long as the process lives; outside of any transaction. */
static void
take_identity(const Orders *orders)
{
	if (orders->session_user != orders->authenticated_user)
		SetSessionAuthorization(orders->session_user, orders->session_is_superuser);
	SetUserIdAndSecContext(orders->caller, 0);
}

/* Takes the settings behind the entity; one that cannot be had here is logged. */
static void
take_settings(const Orders *orders)
{
	const char *end = orders->text + orders->length;
	const char *name = orders->text + strlen(orders->text) + 1;

	while (name < end)
	{
		const char *value = name + strlen(name) + 1;

		(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SET, true, WARNING, false);
		name = value + strlen(value) + 1;
	}
}

/* The run as the leader ordered it. */
static BillRun *
take_orders(const Orders *orders, MemoryContext memory)
{
	BillRun    *run = MemoryContextAllocZero(memory, sizeof(BillRun));

	run->id = orders->run_id;
	run->options.at = orders->at;
	run->options.finalize = orders->finalize;
	run->spread = orders->spread;
	run->batch_size = orders->batch_size;
	if (orders->text[0] != '\0')
		run->entity = MemoryContextStrdup(memory, orders->text);
	memcpy(&run->worker, MyBgworkerEntry->bgw_extra, sizeof(run->worker));
	return run;
}

/* Proves the caller's right and enters itself among the run's processes. */
static void
join_run(BillRun *run)
{
	static SpiQuery enter = {
		.text = "INSERT INTO billing.run_worker (run_id, worker, pid, phase, updated_at)"
		" VALUES ($1, $2, pg_backend_pid(), 'billing', clock_timestamp())",
		.nargs = 2, .argtypes = {INT8OID, INT4OID}
	};
	Datum		values[2] = {Int64GetDatum(run->id), Int32GetDatum(run->worker)};

	books_become_owner(&run->scope);
	books_check(true);
	books_authorize(&run->scope, ACCESS_OPERATOR, 0, run->entity);
	work_open(run, TopMemoryContext);
	(void) query_run(&enter, values, NULL, false);
}

/* Claims and bills until nothing is left. */
static void
work_as_ordered(const Orders *orders)
{
	BillRun    *run = take_orders(orders, TopMemoryContext);

	pgstat_report_activity(STATE_RUNNING, psprintf("billing.bill_run: run " INT64_FORMAT ", worker %d",
												   run->id, run->worker));
	work_begin();
	take_settings(orders);
	join_run(run);
	work_step(run);
	work_do(run);
	work_report(run, "done");
	books_leave(&run->scope);
	work_end();
}

/* Entry point of a worker; an error, which the server logs, ends the process. */
void
billing_run_worker(Datum orders_handle)
{
	dsm_segment *segment;
	const Orders *orders;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	segment = dsm_attach(DatumGetUInt32(orders_handle));
	if (segment == NULL)
		proc_exit(0);			/* the leader has ended meanwhile */
	orders = dsm_segment_address(segment);
	BackgroundWorkerInitializeConnectionByOid(orders->database, orders->authenticated_user,
											  BGWORKER_BYPASS_ROLELOGINCHECK);
	take_identity(orders);
	work_as_ordered(orders);
	proc_exit(0);
}
