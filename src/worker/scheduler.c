/*
 * scheduler.c
 *		The worker that finds due jobs and starts runners; one per database with books.
 *
 * It looks at table job when it is woken, when the next job is due, when runners
 * have ended and none of the due jobs it knows is left, and otherwise once in
 * billing.scheduler_interval, so that a change of the clock or a row edited
 * by hand is seen.  Between looks it sleeps and holds no lock.  It only reads
 * and starts: a runner claims its job by itself, so a scheduler that dies
 * takes nothing with it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "commands/extension.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "billing.h"
#include "compat.h"
#include "lib/spi.h"
#include "worker/job.h"
#include "worker/scheduler.h"
#include "worker/worker.h"

static Scheduler me;

PGDLLEXPORT void billing_scheduler_main(Datum arg);

/* Ends the process; that is no failure. */
static void
retire(void)
{
	scheduler_retires();
	proc_exit(0);
}

/* Are there an engine and books in this database?  In a transaction. */
static bool
has_books(void)
{
	return OidIsValid(get_extension_oid("billing", true)) && OidIsValid(books_relation("book")) &&
		OidIsValid(books_relation("job"));
}

/*
 * Are the books of the engine's version, and adopted?  If not, the log says so.
 * As the owner of the books, connected to SPI.
 */
static bool
books_may_bill(void)
{
	static SpiQuery query = {.text = "SELECT version, system_identifier, database_oid FROM billing.book"};
	const char *why;

	if (query_run(&query, NULL, NULL, true) != 1)
		return false;
	if (strcmp(query_text(0, 1), BILLING_VERSION) != 0)
		why = "engine and books have different versions";
	else if (query_int64(0, 2, 0) != (int64) GetSystemIdentifier() || query_int64(0, 3, 0) != (int64) MyDatabaseId)
		why = "the books were copied here and not adopted";
	else
		return true;
	ereport(LOG,
			(errmsg("billing runs no jobs in database \"%s\": %s", get_database_name(MyDatabaseId), why)));
	return false;
}

/*
 * After the clock was set back: jobs planned for a time that is further off than
 * two of their intervals begin anew from now.
 */
static void
heal_plans(TimestampTz now)
{
	static SpiQuery heal = {
		.text = "UPDATE billing.job SET next_run = billing_internal.job_instant(first_start, every, time_zone, $1)"
		" WHERE running_pid IS NULL AND next_run > first_start AND next_run > $1 + 2 * every + interval '1 hour'",
		.nargs = 1, .argtypes = {TIMESTAMPTZOID}
	};

	if (now < me.looked_at || me.looked_at == 0)
		(void) query_run1(&heal, false, TimestampTzGetDatum(now));
	me.looked_at = now;
}

/* Lists what is due now, and when the next is. */
static void
list_jobs(TimestampTz now)
{
	static SpiQuery due = {
		.text = "SELECT j.name, r.oid, coalesce(r.rolcanlogin, false), j.owner"
		" FROM billing.job j LEFT JOIN pg_catalog.pg_roles r ON r.rolname = j.owner"
		" WHERE NOT j.paused AND j.running_pid IS NULL AND j.next_run <= $1 ORDER BY j.next_run, j.name LIMIT 100",
		.nargs = 1, .argtypes = {TIMESTAMPTZOID}
	};
	static SpiQuery next = {
		.text = "SELECT min(next_run) FILTER (WHERE NOT paused AND running_pid IS NULL AND next_run > $1), count(*)"
		" FROM billing.job",
		.nargs = 1, .argtypes = {TIMESTAMPTZOID}
	};
	int			count = (int) query_run1(&due, false, TimestampTzGetDatum(now));

	me.nqueued = me.queue_at = 0;
	for (int i = 0; i < count; i++)
	{
		char	   *name = query_text(i, 1);
		DueJob	   *job = &me.queue[me.nqueued];

		if (scheduler_has_runner(&me, name))
			continue;
		strlcpy(job->name, name, sizeof(job->name));
		job->role = DatumGetBool(query_value(i, 3)) ? DatumGetObjectId(query_value(i, 2)) : InvalidOid;
		strlcpy(job->owner, query_text(i, 4), sizeof(job->owner));
		me.nqueued++;
	}
	me.full = count == MAX_QUEUE && me.nqueued > 0;
	(void) query_run1(&next, false, TimestampTzGetDatum(now));
	me.next_run = query_int64(0, 1, DT_NOEND);
	me.njobs = query_int64(0, 2, 0);
}

/* Notes a run that failed before a runner could claim it. */
static void
fail_job(const char *name, int sqlstate, char *message, char *hint)
{
	ErrorData	error = {.sqlerrcode = sqlstate, .message = message, .hint = hint};
	Job			job = {.name = (char *) name};

	if (job_claim(&job, GetCurrentTimestamp(), false))
		job_finish(&job, "failed", &error);
}

/* Jobs whose role cannot have a session, and those whose runner did not come so far, have failed. */
static void
fail_hopeless(void)
{
	for (int i = 0; i < me.nlost; i++)
		fail_job(me.lost[i], ERRCODE_CANNOT_CONNECT_NOW, "the job's process could not begin its session",
				 "The server log tells why.");
	me.nlost = 0;
	for (int i = 0; i < me.nqueued; i++)
		if (!OidIsValid(me.queue[i].role))
			fail_job(me.queue[i].name, ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
					 psprintf("role \"%s\" does not exist or may not log in", me.queue[i].owner),
					 "Let it log in, or schedule the job anew as another role.");
}

/*
 * Are there an engine and books to serve?  In a transaction that touches no
 * other table, so that whoever drops or migrates the books never waits for a
 * scheduler that waits for him.
 */
static bool
finds_books(void)
{
	BooksScope	scope;
	bool		serving;

	StartTransactionCommand();
	if (!has_books())
	{
		CommitTransactionCommand();
		return false;
	}
	job_open(&scope);
	serving = books_may_bill();
	job_commit(&scope);
	return serving;
}

/* Looks at the books; ends the process where there are none to serve. */
static void
look(void)
{
	TimestampTz now = GetCurrentTimestamp();
	BooksScope	scope;

	scheduler_take_wake();
	SetCurrentStatementStartTimestamp();
	pgstat_report_activity(STATE_RUNNING, "looking for due jobs");
	if (!finds_books())
		retire();
	StartTransactionCommand();
	job_open(&scope);
	job_finish_interrupted();
	heal_plans(now);
	list_jobs(now);
	fail_hopeless();
	job_commit(&scope);
	scheduler_serves();
}

/* Starts runners for the jobs that are queued, as far as there is room. */
static void
start_queued(void)
{
	while (me.queue_at < me.nqueued)
	{
		const DueJob *job = &me.queue[me.queue_at];

		if (OidIsValid(job->role) && !scheduler_start_runner(&me, job))
			return;
		me.queue_at++;
	}
}

/* What pg_stat_activity shows of a scheduler that sleeps. */
static void
report_sleep(void)
{
	char		text[160];

	if (me.nrunners > 0)
		snprintf(text, sizeof(text), "%d of " INT64_FORMAT " jobs running, %d waiting", me.nrunners, me.njobs,
				 me.nqueued - me.queue_at);
	else if (me.next_run == DT_NOEND)
		snprintf(text, sizeof(text), INT64_FORMAT " jobs, none planned", me.njobs);
	else
		snprintf(text, sizeof(text), INT64_FORMAT " jobs, next at %s", me.njobs, timestamptz_to_str(me.next_run));
	pgstat_report_activity(STATE_IDLE, text);
}

/* Milliseconds until something may be due. */
static int64
sleep_length(void)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz until = TimestampTzPlusMilliseconds(now, (int64) billing_scheduler_interval * 1000);

	if (me.queue_at < me.nqueued)
		until = Min(until, me.no_worker_until > now ? me.no_worker_until : DT_NOEND);
	else
		until = Min(until, me.next_run);
	return until <= now ? 0 : TimestampDifferenceMilliseconds(now, until) + 1;
}

/* Is it time to read the table again? */
static bool
must_look(bool ended)
{
	TimestampTz now = GetCurrentTimestamp();

	return scheduler_is_woken() || now < me.looked_at || me.nlost > 0 ||
		TimestampDifferenceExceeds(me.looked_at, now, billing_scheduler_interval * 1000) ||
		(me.queue_at == me.nqueued && (me.next_run <= now || me.full || ended));
}

/*
 * A scheduler's life.  When settings are read anew it ends and lets itself be
 * started again, since those of the database are read with the connection.
 */
void
billing_scheduler_main(Datum arg)
{
	uint32		wait_event;

	worker_signals();
	if (!scheduler_enter(DatumGetObjectId(arg)))
		proc_exit(0);
	BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(arg), InvalidOid, 0);
	if (!billing_enabled || !billing_workers)
		retire();
	scheduler_init(&me);
	pgstat_report_appname("billing scheduler");
	wait_event = WaitEventExtensionNew("BillingScheduler");
	look();
	while (!ConfigReloadPending)
	{
		bool		ended = scheduler_reap(&me);

		if (must_look(ended))
			look();
		start_queued();
		report_sleep();
		worker_sleep(sleep_length(), wait_event);
	}
	database_wake(MyDatabaseId);
	retire();
}
