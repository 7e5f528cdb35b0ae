/*
 * worker.h
 *		Launcher, schedulers, runners; what they share and how they are started.
 */
#ifndef BILLING_WORKER_H
#define BILLING_WORKER_H

#include "storage/latch.h"

#define MAX_JOB_NAME 100		/* bytes: a runner gets the name with its entry */

/* How far a runner came. */
typedef enum RunnerState
{
	RUNNER_FREE,
	RUNNER_RESERVED,			/* registered, not started yet */
	RUNNER_STARTED,				/* connecting, or could not */
	RUNNER_CLAIMED,				/* the job's row says that it runs */
	RUNNER_DONE					/* the job's row says how it ended */
} RunnerState;

/* What a runner is told (bgw_extra). */
typedef struct RunnerEntry
{
	Oid			database;
	Oid			role;
	int			slot;
	uint32		cookie;
	char		name[MAX_JOB_NAME + 1];
} RunnerEntry;

/* Why the launcher is asked to start a scheduler. */
typedef enum SchedulerWish
{
	WISH_NONE,
	WISH_NOW,
	WISH_AFTER_FAILURE
} SchedulerWish;

typedef struct DatabaseWish
{
	Oid			database;
	SchedulerWish wish;
} DatabaseWish;

/* init.c */
extern void workers_init(void);
extern bool workers_preloaded(void);
extern void wake_at_commit(void);
extern void worker_signals(void);
extern void worker_sleep(int64 milliseconds, uint32 wait_event);

/* databases.c */
extern void databases_install_hooks(void);
extern void databases_release(void);

/* shared.c */
extern void shared_init(void);
extern void launcher_enter(void);
extern int	launcher_take_wishes(DatabaseWish *wishes, int max, bool *everywhere);
extern bool launcher_may_start(Oid database, bool *served);
extern bool launcher_is_settled(Oid database);
extern void database_wake(Oid database);
extern void database_hold(Oid database);
extern int	database_signal_workers(Oid database, int signal);
extern void database_release(Oid database);
extern bool scheduler_enter(Oid database);
extern void scheduler_take_wake(void);
extern bool scheduler_is_woken(void);
extern void scheduler_serves(void);
extern void scheduler_retires(void);
extern int	runner_reserve(uint32 *cookie);
extern void runner_unreserve(int slot);
extern RunnerState runner_state(int slot);
extern bool runner_enter(const RunnerEntry *entry);
extern void runner_reached(RunnerState state);
extern bool in_runner(void);

#endif							/* BILLING_WORKER_H */
