/*
 * claim.c
 *		Claiming a job and noting how it ended.
 *
 * A job's row says by which process and since when it runs; it is committed
 * before the job begins, so that two never run it at once and a process that
 * dies leaves a trace.  Whoever looks next notes a trace without process as
 * interrupted.  A job that failed is tried again after a delay that doubles;
 * after a success it waits for its next planned instant, so that any number of
 * missed ones is caught up once.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "billing.h"
#include "compat.h"
#include "lib/spi.h"
#include "run/run.h"
#include "worker/job.h"

#define LAST_DELAY 3600000		/* milliseconds */

/*
 * In a worker's fresh transaction: opens the books as their owner, restricted, so
 * that no trigger of his is put off until the worker is itself again, and
 * whatever the role's or the database's settings of transactions are.
 */
void
job_open(BooksScope *scope)
{
	Oid			user;
	int			security;

	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	SPI_connect();
	PushActiveSnapshot(GetTransactionSnapshot());
	books_become_owner(scope);
	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(user, security | SECURITY_RESTRICTED_OPERATION);
}

/* Commits that transaction. */
void
job_commit(BooksScope *scope)
{
	books_leave(scope);
	PopActiveSnapshot();
	SPI_finish();
	CommitTransactionCommand();
	pgstat_report_stat(true);
}

/*
 * Claims a job as of now and fills it; false when it is not due, paused, gone
 * or running.  By hand it need not be due.  Texts are palloc'd in the current
 * context.  Runs as the owner of the books, connected to SPI.
 */
bool
job_claim(Job *job, TimestampTz now, bool by_hand)
{
	static SpiQuery claim = {
		.text = "UPDATE billing.job SET running_pid = $2, running_since = $3, runs = runs + 1"
		" WHERE name = $1 AND running_pid IS NULL AND ($4 OR NOT paused AND next_run <= $3)"
		" RETURNING owner, procedure, arguments::text, proof, runs, CASE WHEN next_run <= $3 THEN next_run END",
		.nargs = 4, .argtypes = {TEXTOID, INT4OID, TIMESTAMPTZOID, BOOLOID}
	};
	Datum		values[4] = {CStringGetTextDatum(job->name), Int32GetDatum(MyProcPid), TimestampTzGetDatum(now),
	BoolGetDatum(by_hand)};

	if (query_run(&claim, values, NULL, false) == 0)
		return false;
	job->owner = query_text(0, 1);
	job->procedure = query_text(0, 2);
	job->arguments = query_text(0, 3);
	job->proof = query_text(0, 4);
	job->run_no = query_int64(0, 5, 0);
	job->planned_at = query_int64(0, 6, 0);
	job->pid = MyProcPid;
	job->started_at = now;
	return true;
}

/* Frees the row of a run that has ended and plans the next; false when the row says something else by now. */
static bool
free_row(const Job *job, TimestampTz now, bool worked)
{
	static SpiQuery update = {
		.text = "UPDATE billing.job SET running_pid = NULL, running_since = NULL,"
		" failures = CASE WHEN $4 THEN 0 ELSE failures + 1 END, next_run = CASE WHEN next_run > $3 THEN next_run"
		" WHEN $4 THEN billing_internal.job_instant(first_start, every, time_zone, $3 + interval '1 microsecond')"
		" ELSE $3 + least($5 * (1 << least(failures, 12)), $6) * interval '1 millisecond' END"
		" WHERE name = $1 AND runs = $2 AND running_pid = $7",
		.nargs = 7, .argtypes = {TEXTOID, INT8OID, TIMESTAMPTZOID, BOOLOID, INT8OID, INT8OID, INT4OID}
	};
	Datum		values[7] = {CStringGetTextDatum(job->name), Int64GetDatum(job->run_no), TimestampTzGetDatum(now),
		BoolGetDatum(worked), Int64GetDatum((int64) billing_job_retry * 1000),
	Int64GetDatum(Max(LAST_DELAY, (int64) billing_job_retry * 1000)), Int32GetDatum(job->pid)};

	return query_run(&update, values, NULL, false) == 1;
}

/* Keeps the last runs of the job. */
static void
forget_old_runs(const Job *job)
{
	static SpiQuery forget = {
		.text = "DELETE FROM billing.job_history WHERE job = $1 AND run_no <= $2",
		.nargs = 2, .argtypes = {TEXTOID, INT8OID}
	};
	Datum		values[2] = {CStringGetTextDatum(job->name), Int64GetDatum(job->run_no - billing_job_history)};

	(void) query_run(&forget, values, NULL, false);
}

/*
 * Notes how a claimed run ended: succeeded, failed (with the error) or
 * interrupted.  Runs as the owner of the books, connected to SPI.
 */
void
job_finish(const Job *job, const char *status, const ErrorData *error)
{
	static SpiQuery insert = {
		.text = "INSERT INTO billing.job_history (job, run_no, status, sqlstate, message, detail, hint, context,"
		" planned_at, started_at, finished_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
		.nargs = 11, .argtypes = {TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
		TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID}
	};
	TimestampTz now = GetCurrentTimestamp();
	const char *texts[5] = {NULL};
	Datum		values[11];
	char		nulls[12] = "           ";

	if (!free_row(job, now, strcmp(status, "succeeded") == 0))
		return;
	if (error != NULL)
	{
		texts[0] = unpack_sql_state(error->sqlerrcode);
		texts[1] = error->message;
		texts[2] = error->detail;
		texts[3] = error->hint;
		texts[4] = error->context;
	}
	values[0] = CStringGetTextDatum(job->name);
	values[1] = Int64GetDatum(job->run_no);
	values[2] = CStringGetTextDatum(status);
	for (int i = 0; i < 5; i++)
	{
		if (texts[i] == NULL)
			nulls[3 + i] = 'n';
		else
			values[3 + i] = CStringGetTextDatum(texts[i]);
	}
	values[8] = TimestampTzGetDatum(job->planned_at);
	nulls[8] = job->planned_at == 0 ? 'n' : ' ';
	values[9] = TimestampTzGetDatum(job->started_at);
	values[10] = TimestampTzGetDatum(Max(now, job->started_at));
	(void) query_run(&insert, values, nulls, false);
	forget_old_runs(job);
}

/* Notes runs whose process is gone.  Runs as the owner of the books, connected to SPI. */
void
job_finish_interrupted(void)
{
	static SpiQuery running = {
		.text = "SELECT name, runs, running_pid, running_since, CASE WHEN next_run <= running_since THEN next_run END"
		" FROM billing.job WHERE running_pid IS NOT NULL FOR UPDATE SKIP LOCKED"
	};
	ErrorData	gone = {
		.sqlerrcode = ERRCODE_ADMIN_SHUTDOWN,
		.message = "the run did not come to its end",
		.hint = "Its process went away, or an error ended the call of billing.run_job(); the server log tells."
	};
	int			count = (int) query_run(&running, NULL, NULL, false);
	Job		   *jobs = palloc(sizeof(Job) * Max(count, 1));
	int			ngone = 0;

	for (int i = 0; i < count; i++)
	{
		Job		   *job = &jobs[ngone];

		job->name = query_text(i, 1);
		job->run_no = query_int64(i, 2, 0);
		job->pid = DatumGetInt32(query_value(i, 3));
		job->started_at = query_int64(i, 4, 0);
		job->planned_at = query_int64(i, 5, 0);
		if (!run_is_under_way(job->pid, job->started_at))
			ngone++;
	}
	for (int i = 0; i < ngone; i++)
		job_finish(&jobs[i], "interrupted", &gone);
}
