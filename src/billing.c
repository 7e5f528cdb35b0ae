/*
 * billing.c
 *		Entry point of the library: magic, settings and hooks; nothing else.
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "utils/guc.h"

#include "billing.h"
#include "compat.h"
#include "worker/worker.h"

PG_MODULE_MAGIC;

bool		billing_enabled = true;
int			billing_job_history = 100;
int			billing_job_retry = 30;
int			billing_max_future = 24 * 60;
int			billing_max_runners = 2;
int			billing_scheduler_interval = 60;
int			billing_seal_timeout = 10000;
bool		billing_workers = true;

void		_PG_init(void);

/* Settings of background workers. */
static void
define_worker_settings(void)
{
	DefineCustomIntVariable("billing.job_history",
							"How many runs of each job table job_history keeps.",
							"Older ones are deleted when a run is noted.",
							&billing_job_history, 100, 1, 1000000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("billing.job_retry",
							"How long after its first failure a job is tried again.",
							"With each further failure in a row the time doubles, up to an hour.",
							&billing_job_retry, 30, 1, INT_MAX / 1000, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomIntVariable("billing.max_runners",
							"How many jobs run at once in the whole server.",
							"Others that are due wait for their turn. Each running job takes one of "
							"max_worker_processes, besides one for the launcher and one per database with books.",
							&billing_max_runners, 2, 1, 1000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("billing.scheduler_interval",
							"How long a scheduler sleeps at most.",
							"It is woken by the calls that change jobs and when the next job is due; "
							"looking now and then it also sees changes of the clock and rows edited by hand.",
							&billing_scheduler_interval, 60, 1, 3600, PGC_SIGHUP, GUC_UNIT_S,
							NULL, NULL, NULL);
	DefineCustomBoolVariable("billing.workers",
							 "Runs jobs.",
							 "Off, no job is started in any database of the server; those under way go on to their "
							 "end. Jobs run only where shared_preload_libraries holds billing.",
							 &billing_workers, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

/* Defines the settings; called when a process loads the library. */
void
_PG_init(void)
{
	DefineCustomBoolVariable("billing.enabled",
							 "Allows runs to bill.",
							 "Off in a physical copy of the books (a snapshot, a base backup) that must not bill: "
							 "such a copy cannot be told from a fail-over by itself.",
							 &billing_enabled, true, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("billing.max_future",
							"How far ahead of the clock a run may bill.",
							"A run or bill_account with a later at is refused, since its documents would carry "
							"dates that have not come, and those of a series never go back. Tests and "
							"demonstrations raise it.",
							&billing_max_future, 24 * 60, 0, INT_MAX, PGC_SUSET, GUC_UNIT_MIN,
							NULL, NULL, NULL);
	DefineCustomIntVariable("billing.seal_timeout",
							"How long a run waits for a number series.",
							"When another transaction holds the series longer, the run rolls its batch back and "
							"tries it again.",
							&billing_seal_timeout, 10000, 1, INT_MAX, PGC_USERSET, GUC_UNIT_MS,
							NULL, NULL, NULL);
	define_worker_settings();
	MarkGUCPrefixReserved("billing");
	workers_init();
}
