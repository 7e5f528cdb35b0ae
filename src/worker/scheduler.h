/*
 * scheduler.h
 *		What a scheduler knows; private to scheduler.c and runners.c.
 */
#ifndef BILLING_WORKER_SCHEDULER_H
#define BILLING_WORKER_SCHEDULER_H

#include "datatype/timestamp.h"
#include "postmaster/bgworker.h"
#include "worker/worker.h"

#define MAX_QUEUE 100			/* due jobs read at once */

/* A job that is due. */
typedef struct DueJob
{
	char		name[MAX_JOB_NAME + 1];
	char		owner[NAMEDATALEN];
	Oid			role;			/* of its owner; InvalidOid: there is none that may log in */
} DueJob;

/* A runner that was started and not yet seen to end. */
typedef struct Runner
{
	BackgroundWorkerHandle *handle;
	int			slot;
	char		name[MAX_JOB_NAME + 1];
} Runner;

typedef struct Scheduler
{
	TimestampTz looked_at;		/* 0: never */
	TimestampTz next_run;		/* of the job that is due next; DT_NOEND: none */
	TimestampTz no_worker_until;	/* the server had no worker left */
	bool		warned;			/* of that */
	bool		full;			/* more is due than the queue took */
	int64		njobs;
	int			nqueued;
	int			queue_at;		/* first of the queue that was not started */
	DueJob		queue[MAX_QUEUE];
	int			nlost;			/* jobs whose runner ended before it claimed them */
	char		lost[MAX_QUEUE][MAX_JOB_NAME + 1];
	int			nrunners;
	Runner	   *runners;		/* of max_worker_processes */
} Scheduler;

extern void scheduler_init(Scheduler *me);
extern bool scheduler_has_runner(const Scheduler *me, const char *name);
extern bool scheduler_start_runner(Scheduler *me, const DueJob *job);
extern bool scheduler_reap(Scheduler *me);

#endif							/* BILLING_WORKER_SCHEDULER_H */
