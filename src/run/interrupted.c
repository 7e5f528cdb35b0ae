/*
 * interrupted.c
 *		Runs that ended without an end.
 *
 * A run that is killed or canceled cannot say so: its last transaction is
 * gone.  The next run looks whether those that call themselves running are
 * still being executed, by what the server itself knows of its processes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/backend_status.h"

#include "compat.h"
#include "lib/spi.h"
#include "run/run.h"

/*
 * Is a process still executing the statement that began a run?  A session
 * outlives a run that was canceled, and process ids come again.
 */
bool
run_is_under_way(int pid, TimestampTz started_at)
{
	pgstat_clear_backend_activity_snapshot();
	for (int i = 1; i <= pgstat_fetch_stat_numbackends(); i++)
	{
		const PgBackendStatus *status = &pgstat_get_local_beentry_by_index(i)->backendStatus;

		if (status->st_procpid == pid && pid != MyProcPid)
			return status->st_state == STATE_DISABLED ||
				(status->st_state == STATE_RUNNING && status->st_activity_start_timestamp <= started_at);
	}
	return false;
}

/*
 * Runs that are no longer under way and did not finish were interrupted; they
 * count what their processes had committed by then.  Only those are locked: in
 * a transaction block a lock would last, and a run under way would wait for it.
 */
void
runs_mark_interrupted(void)
{
	static SpiQuery running = {
		.text = "SELECT id, pid, started_at FROM billing.run WHERE status = 'running'"
	};
	static SpiQuery mark = {
		.text = "WITH gone AS (UPDATE billing.run SET status = 'interrupted', finished_at = now(), done = w.done,"
		" documents = w.documents, errors = w.errors FROM (SELECT coalesce(sum(done), 0) AS done,"
		" coalesce(sum(documents), 0) AS documents, coalesce(sum(errors), 0)::bigint AS errors"
		" FROM billing.run_worker WHERE run_id = $1) w WHERE id = (SELECT id FROM billing.run"
		" WHERE id = $1 AND status = 'running' FOR NO KEY UPDATE SKIP LOCKED) RETURNING id)"
		" UPDATE billing.run_worker SET phase = 'stopped' WHERE run_id = (SELECT id FROM gone) AND phase <> 'done'",
		.nargs = 1, .argtypes = {INT8OID}
	};
	int			count = (int) query_run(&running, NULL, NULL, false);
	int64	   *ids = palloc(sizeof(int64) * Max(count, 1));
	int			ngone = 0;

	for (int i = 0; i < count; i++)
		if (!run_is_under_way(DatumGetInt32(query_value(i, 2)), query_int64(i, 3, 0)))
			ids[ngone++] = query_int64(i, 1, 0);
	for (int i = 0; i < ngone; i++)
		(void) query_run1(&mark, false, Int64GetDatum(ids[i]));
}
