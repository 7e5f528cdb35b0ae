/*
 * crew_worker.c
 *		A background worker of a bill run.
 *
 * It connects as the leader's session did, becomes its user, proves that user's
 * right once more and goes on as the leader does.  It tells the leader nothing
 * but by the rows it commits, by ending, and by the error that ends it; so one
 * that dies needs no handling, its range is claimed again.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"

#include "compat.h"
#include "lib/spi.h"
#include "run/orders.h"

PGDLLEXPORT void billing_run_worker(Datum orders_handle);

static Orders *orders;
static emit_log_hook_type next_emit_log_hook;

/* The number that the leader gave this process. */
static int
worker_number(void)
{
	int			number;

	memcpy(&number, MyBgworkerEntry->bgw_extra, sizeof(number));
	return number;
}

/* Whatever ends the process, be it its own error or a signal, is logged; the leader learns it too. */
static void
tell_leader(ErrorData *error)
{
	if (error->elevel >= ERROR)
		orders_leave_failure(orders, worker_number(), error);
	if (next_emit_log_hook != NULL)
		next_emit_log_hook(error);
}

/* Takes the leader's user for as long as the process lives; outside of any transaction. */
static void
take_identity(void)
{
	if (orders->session_user != orders->authenticated_user)
		SetSessionAuthorization(orders->session_user, orders->session_is_superuser);
	SetUserIdAndSecContext(orders->caller, 0);
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
work_as_ordered(void)
{
	BillRun    *run = orders_take(orders, TopMemoryContext);

	run->worker = worker_number();
	pgstat_report_activity(STATE_RUNNING, psprintf("billing.bill_run: run " INT64_FORMAT ", worker %d",
												   run->id, run->worker));
	work_begin();
	orders_take_settings(orders);
	join_run(run);
	work_step(run);
	work_do(run);
	work_report(run, "done");
	books_leave(&run->scope);
	work_end();
}

/* Entry point of a worker; an error ends the process. */
void
billing_run_worker(Datum orders_handle)
{
	dsm_segment *segment;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	segment = dsm_attach(DatumGetUInt32(orders_handle));
	if (segment == NULL)
		proc_exit(0);			/* the leader has ended meanwhile */
	orders = dsm_segment_address(segment);
	next_emit_log_hook = emit_log_hook;
	emit_log_hook = tell_leader;
	BackgroundWorkerInitializeConnectionByOid(orders->database, orders->authenticated_user,
											  BGWORKER_BYPASS_ROLELOGINCHECK);
	take_identity();
	work_as_ordered();
	proc_exit(0);
}
